//! What handlers return.

use std::fmt;
use std::time::Duration;

use convoke::prelude::*;
use convoke::{BoxError, Verdict, class_of};

use crate::support::{OrderPaid, StockReserved, World, assert_outcome, call, handler, message, paid, topics};

fn reserved(order: u64) -> StockReserved {
    StockReserved { order }
}

/// An error that knows its class.
#[derive(Debug)]
enum StockError {
    Unknown,
    Busy,
    Offline,
}

impl fmt::Display for StockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stock: {self:?}")
    }
}

impl std::error::Error for StockError {}

impl Classify for StockError {
    fn class(&self) -> Class {
        match self {
            Self::Unknown => Class::Permanent,
            Self::Busy => Class::After(Duration::from_secs(5)),
            Self::Offline => Class::Unavailable,
        }
    }
}

type StockResult<T = ()> = Result<T, StockError>;

macro_rules! handlers {
    ($($name:ident: $returned:ty = $value:expr;)*) => {$(
        #[handler]
        async fn $name(_paid: OrderPaid) -> $returned {
            tokio::task::yield_now().await;
            $value
        }
    )*};
}

handlers! {
    gives_unit: () = ();
    gives_event: StockReserved = reserved(1);
    gives_some: Option<StockReserved> = Some(reserved(1));
    gives_none: Option<StockReserved> = None;
    gives_vec: Vec<StockReserved> = vec![reserved(1), reserved(2)];
    gives_tuple: (StockReserved, OrderPaid) = (reserved(1), paid(1));
    gives_nested: Result<(Option<StockReserved>, Vec<OrderPaid>), std::io::Error> = Ok((None, vec![paid(1)]));
    gives_outcome: Outcome = Outcome::retry_after(Duration::from_secs(1));
    gives_ok_outcome: Result<Outcome, BoxError> = Ok(Outcome::Drop);
    gives_io_error: Result<(), std::io::Error> = Err(std::io::Error::other("disk"));
    gives_box: Result<(), Box<dyn std::error::Error + Send + Sync>> = Err("boxed".into());
    gives_text: Result<(), &'static str> = Err("in words");
    gives_permanent: Result<StockReserved, BoxError> = Err(permanent("gone").into());
    gives_classified: Result<StockReserved, StockError> = Err(StockError::Unknown);
    gives_alias: StockResult<StockReserved> = Err(StockError::Busy);
    gives_alias_of_unit: StockResult = Err(StockError::Offline);
    gives_full_path: std::result::Result<::core::option::Option<StockReserved>, StockError> = Ok(Some(reserved(1)));
    gives_infallible: Result<(), std::convert::Infallible> = Ok(());
}

/// Nothing is written.
#[handler]
async fn gives_nothing(_paid: OrderPaid) {}

#[handler(batch(size = 100, wait = "50ms"))]
async fn gives_verdicts(batch: Batch<OrderPaid>) -> Result<BatchReply, BoxError> {
    let mut reply = BatchReply::new();
    for item in batch.items() {
        if item.event.order == 2 {
            reply.fail(item.index, permanent("two"));
        }
    }
    reply.publish(reserved(1))?;
    Ok(reply)
}

#[tokio::test]
async fn what_is_returned_is_published_and_acknowledged() {
    let cases: [(&str, &[&str]); 9] = [
        ("gives_nothing", &[]),
        ("gives_unit", &[]),
        ("gives_event", &["stock.reserved"]),
        ("gives_some", &["stock.reserved"]),
        ("gives_none", &[]),
        ("gives_vec", &["stock.reserved", "stock.reserved"]),
        ("gives_tuple", &["stock.reserved", "orders.paid"]),
        ("gives_nested", &["orders.paid"]),
        ("gives_full_path", &["stock.reserved"]),
    ];
    for (name, expected) in cases {
        let reply = call(name).await.expect(name);
        assert_outcome(&reply, &Outcome::Ack);
        assert_eq!(topics(&reply), expected, "{name}");
    }
    call("gives_infallible").await.expect("it cannot fail");
}

#[tokio::test]
async fn an_outcome_is_the_verdict() {
    assert_outcome(&call("gives_outcome").await.expect("it replies"), &Outcome::retry_after(Duration::from_secs(1)));
    assert_outcome(&call("gives_ok_outcome").await.expect("it replies"), &Outcome::Drop);
}

#[tokio::test]
async fn an_error_says_its_class_or_is_transient() {
    let cases = [
        ("gives_io_error", "disk", Class::Transient),
        ("gives_box", "boxed", Class::Transient),
        ("gives_text", "in words", Class::Transient),
        ("gives_permanent", "gone", Class::Permanent),
        ("gives_classified", "stock: Unknown", Class::Permanent),
        ("gives_alias", "stock: Busy", Class::After(Duration::from_secs(5))),
        ("gives_alias_of_unit", "stock: Offline", Class::Unavailable),
    ];
    for (name, text, class) in cases {
        let error = call(name).await.expect_err(name);
        assert_eq!((error.to_string().as_str(), class_of(&*error)), (text, class), "{name}");
    }
}

#[tokio::test]
async fn a_batch_may_have_a_verdict_for_each() {
    let messages = vec![message(&paid(1)), message(&paid(2)), message(&paid(3))];
    let reply = World::default().call_batch("gives_verdicts", messages).await.expect("it replies");
    let Verdict::Each(each) = &reply.verdict else { panic!("{:?}", reply.verdict) };
    assert_eq!(each.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(topics(&reply), ["stock.reserved"]);
}

#[test]
fn the_signature_sees_through_every_wrapper() {
    for (name, expected) in [
        ("gives_unit", vec![]),
        ("gives_nested", vec!["stock.reserved", "orders.paid"]),
        ("gives_alias", vec!["stock.reserved"]),
        ("gives_full_path", vec!["stock.reserved"]),
        ("gives_outcome", vec![]),
    ] {
        let outputs = handler(name).signature().outputs;
        assert_eq!(outputs.iter().map(|event| event.name).collect::<Vec<_>>(), expected, "{name}");
    }
}
