//! Older versions of an event, and events under older names.

use convoke::prelude::*;
use convoke::{DecodeError, Key, Recognised, decode, encode};
use serde::{Deserialize, Serialize};

use crate::support::message;

#[derive(Serialize, Deserialize)]
struct PaidV1 {
    order: u64,
}

#[derive(Serialize, Deserialize)]
struct PaidV2 {
    order: u64,
    cents: i64,
}

/// What shops without a till wrote.
#[derive(Serialize, Deserialize)]
struct Settled {
    number: String,
}

#[event(
    topic = "accepts.paid",
    name = "paid",
    version = 4,
    key = order,
    accepts(1 = PaidV1, 2 = PaidV2, 3 = from_v3, "settled.v2" = Settled, "paid.old" = upcasts::renamed, "payed.v4" = Paid)
)]
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Paid {
    order: u64,
    cents: u64,
    currency: String,
}

impl From<PaidV1> for PaidV2 {
    fn from(old: PaidV1) -> Self {
        Self { order: old.order, cents: if old.order == 13 { -1 } else { 100 } }
    }
}

impl TryFrom<PaidV2> for Paid {
    type Error = std::num::TryFromIntError;

    fn try_from(old: PaidV2) -> Result<Self, Self::Error> {
        Ok(Self { order: old.order, cents: old.cents.try_into()?, currency: "EUR".to_owned() })
    }
}

impl TryFrom<Settled> for Paid {
    type Error = String;

    fn try_from(old: Settled) -> Result<Self, Self::Error> {
        let order = old.number.parse().map_err(|_| format!("`{}` is no number", old.number))?;
        Ok(Self { order, cents: 0, currency: "DEM".to_owned() })
    }
}

fn from_v3((order, cents): (u64, u64)) -> Paid {
    Paid { order, cents, currency: "USD".to_owned() }
}

mod upcasts {
    use super::*;

    pub(super) fn renamed(old: PaidV2) -> Result<Paid, BoxError> {
        Ok(old.try_into()?)
    }
}

fn paid(order: u64, cents: u64, currency: &str) -> Paid {
    Paid { order, cents, currency: currency.to_owned() }
}

fn read(wire_type: &'static str, payload: &'static str) -> Result<Paid, DecodeError> {
    decode(&Message::builder("accepts.paid").header("ce-type", wire_type).payload(payload).build())
}

/// An error with its causes.
fn refused(wire_type: &'static str, payload: &'static str) -> String {
    let error = read(wire_type, payload).expect_err("it is refused");
    let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    format!("{error}: {cause}")
}

#[test]
fn an_older_version_is_read_as_its_type_and_taken_up() {
    assert_eq!(read("paid.v2", r#"{"order":7,"cents":250}"#).unwrap(), paid(7, 250, "EUR"));
    assert_eq!(read("paid.v3", "[7,250]").unwrap(), paid(7, 250, "USD"), "by a function");
    assert_eq!(read("paid.v4", r#"{"order":7,"cents":1,"currency":"CHF"}"#).unwrap(), paid(7, 1, "CHF"), "its own");
}

#[test]
fn where_there_is_no_straight_way_it_goes_by_the_next_version() {
    assert_eq!(read("paid.v1", r#"{"order":7}"#).unwrap(), paid(7, 100, "EUR"));
}

#[test]
fn an_older_name_is_read_with_and_without_its_version() {
    assert_eq!(read("settled.v2", r#"{"number":"7"}"#).unwrap(), paid(7, 0, "DEM"));
    assert_eq!(read("settled", r#"{"number":"7"}"#).unwrap(), paid(7, 0, "DEM"));
    assert_eq!(read("paid.old.v1", r#"{"order":7,"cents":3}"#).unwrap(), paid(7, 3, "EUR"));
    assert_eq!(read("payed.v4", r#"{"order":7,"cents":3,"currency":"CHF"}"#).unwrap(), paid(7, 3, "CHF"), "as it is");
    assert_eq!(Paid::DEF.recognise("settled.v1"), Recognised::OtherVersion);
}

#[test]
fn what_cannot_be_taken_up_says_why() {
    let broken = refused("paid.v2", r#"{"order":7}"#);
    assert!(broken.starts_with("the payload (11 bytes) is no `paid.v2` in json: missing field `cents`"), "{broken}");
    let failed = refused("paid.v1", r#"{"order":13}"#);
    assert!(failed.starts_with("this `paid.v1` cannot become `paid.v4`: out of range"), "{failed}");
    assert_eq!(refused("settled.v2", r#"{"number":"x"}"#), "this `settled.v2` cannot become `paid.v4`: `x` is no number");
}

#[test]
fn a_key_is_that_of_the_event_which_an_older_version_becomes() {
    let old = Message::builder("accepts.paid").header("ce-type", "settled.v2").payload(r#"{"number":"007"}"#).build();
    assert_eq!((Paid::DEF.key_of)(&old).unwrap(), Some(Key::new("7")));
}

#[test]
fn what_is_written_is_the_present_version() {
    let written = message(&paid(7, 1, "CHF"));
    assert_eq!(written.event_type(), Some("paid.v4"));
    assert!(encode(&paid(7, 1, "CHF")).is_ok());
}
