//! D1: a delivery is settled only when its outcome is final.

use convoke_core::broker::{Fault, Settle};
use convoke_core::{BoxError, Outcome};

use crate::act::{on, returning};
use crate::calls::How;
use crate::lab::Lab;
use crate::note::{Note, notes};
use crate::stop::{CaseResult, check, check_eq};
use crate::tap::Sent;

pub(super) async fn d01_a_message_is_settled_only_when_what_it_returned_is_confirmed(lab: Lab) -> CaseResult {
    let (input, output) = (lab.topic("in"), lab.topic("out"));
    let work = on("work", input).does(move |call| async move { returning(output, &[call.note]) });
    let app = lab.process("a").with(work).start().await?;
    lab.inject(Fault::PublishSlow { topic: output.into(), count: 1, by: lab.ms(3000) }).await?;
    app.publish(input, &[Note::new("k", 1)]).await?;
    lab.until("the handler returns", || lab.calls().that(How::Done).len() == 1).await?;
    lab.wait(lab.ms(1000)).await;
    let during = app.status("work").await?;
    check_eq!((during.in_flight, during.handled), (1, 0), "while the result is not confirmed (in flight, handled)");
    app.settled().await?;
    check_eq!(app.status("work").await?.handled, 1, "handled");
    check_eq!(lab.read(output).await?.len(), 1, "what was returned is there");
    let (mut confirmed, mut acked) = (None, None);
    for sent in lab.wire().sent() {
        match sent {
            Sent::Published { topic, confirmed: true, at, .. } if topic == output => confirmed = Some(at),
            Sent::Settled { settle: Settle::Ack, at, .. } => acked = Some(at),
            _ => {}
        }
    }
    check!(acked.is_none() || confirmed <= acked, "the input was acknowledged before the result was confirmed");
    Ok(())
}

pub(super) async fn d01_what_was_not_answered_is_published_again_under_the_same_id(lab: Lab) -> CaseResult {
    let (input, output) = (lab.topic("in"), lab.topic("out"));
    let work = on("work", input).does(move |call| async move { returning(output, &[call.note.clone(), call.note]) });
    let app = lab.process("a").with(work).start().await?;
    for stored in [true, false] {
        lab.inject(Fault::PublishUnknown { topic: output.into(), count: 2, stored }).await?;
    }
    app.publish(input, &[Note::new("k", 1)]).await?;
    app.settled().await?;
    check_eq!(lab.calls().len(), 1, "calls of the handler");
    let ids: std::collections::BTreeSet<_> =
        lab.read(output).await?.iter().map(|message| message.text("ce-id").unwrap_or("none").to_owned()).collect();
    check_eq!(ids.len(), 2, "different ids of what was returned, in all copies: {ids:?}");
    let again =
        lab.wire().sent().into_iter().filter(|sent| matches!(sent, Sent::Published { topic, .. } if topic == output)).count();
    check!(again >= 4, "it was published {again} times only");
    Ok(())
}

pub(super) async fn d01_a_message_is_thrown_away_only_where_the_code_says_drop(lab: Lab) -> CaseResult {
    let topic = lab.topic("in");
    let does = |call: crate::act::Call| async move {
        match call.note.key.as_str() {
            "drop" => Ok(Outcome::Drop),
            "fail" => Err(BoxError::from("this is no drop")),
            _ => Ok(Outcome::Ack),
        }
    };
    let work = on("work", topic).retry(2, lab.ms(100), lab.ms(100)).does(does);
    let app = lab.process("a").with(work.clone()).start().await?;
    app.publish(topic, &[Note::new("drop", 1), Note::new("fail", 2), Note::new("ack", 3)]).await?;
    app.settled().await?;
    let status = app.status("work").await?;
    check_eq!((status.dropped, status.dead, status.handled), (1, 1, 1), "(dropped, dead, handled)");
    let dead = lab.read(&lab.dead(topic, "work")).await?;
    check_eq!(
        dead.iter().filter_map(|letter| Note::number_in(letter.payload.as_ref()?)).collect::<Vec<_>>(),
        [2],
        "dead letters"
    );
    app.drain().await?;
    let before = lab.calls().len();
    let app = lab.process("b").with(work).start().await?;
    app.settled().await?;
    check_eq!(lab.calls().len(), before, "calls after a restart: everything was final");
    Ok(())
}

pub(super) async fn d01_a_settlement_that_was_lost_is_repeated_and_the_handler_is_not(lab: Lab) -> CaseResult {
    let topic = lab.topic("in");
    let app = lab.process("a").with(on("work", topic)).start().await?;
    lab.inject(Fault::SettleLost { group: lab.group("work"), count: 15 }).await?;
    app.publish(topic, &notes(20, 4)).await?;
    app.settled().await?;
    lab.calls().each_done_once(0..20)?;
    check_eq!(app.status("work").await?.handled, 20, "handled");
    app.drain().await?;
    let app = lab.process("b").with(on("work", topic)).start().await?;
    app.settled().await?;
    lab.calls().each_done_once(0..20)
}
