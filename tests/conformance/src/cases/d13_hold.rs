//! D13: what a waiting retry means for its key.

use convoke_core::BoxError;

use crate::act::{Call, on};
use crate::calls::How;
use crate::lab::Lab;
use crate::note::Note;
use crate::stop::{CaseResult, check, check_eq};

async fn first_fails_once(call: Call) -> Result<(), BoxError> {
    if call.note.number == 1 && call.attempt == 1 { Err("the first time never works".into()) } else { Ok(()) }
}

fn three_and_another() -> Vec<Note> {
    vec![Note::new("k", 1), Note::new("k", 2), Note::new("k", 3), Note::new("other", 4)]
}

pub(super) async fn d13_a_held_key_waits_in_order_and_others_do_not(lab: Lab) -> CaseResult {
    let topic = lab.topic("in");
    let delay = lab.ms(8000);
    let app = lab.process("a").with(on("work", topic).retry(3, delay, delay).does(first_fails_once)).start().await?;
    app.publish(topic, &three_and_another()).await?;
    lab.wait(delay / 2).await;
    lab.until("another key is done", || lab.calls().of_key("other").done().len() == 1).await?;
    check_eq!(lab.calls().of_key("k").numbers(), [1], "calls of the held key while it waits");
    app.settled().await?;
    check_eq!(lab.calls().of_key("k").numbers(), [1, 1, 2, 3], "calls of the held key");
    Ok(())
}

pub(super) async fn d13_with_pass_later_ones_overtake(lab: Lab) -> CaseResult {
    let topic = lab.topic("in");
    let delay = lab.ms(8000);
    let app = lab.process("a").with(on("work", topic).passing().retry(3, delay, delay).does(first_fails_once)).start().await?;
    app.publish(topic, &three_and_another()).await?;
    lab.wait(delay / 2).await;
    lab.until("later ones are begun", || lab.calls().of_key("k").len() >= 3).await?;
    check_eq!(lab.calls().of_key("k").numbers(), [1, 2, 3], "calls of the key while its first message waits");
    app.settled().await?;
    check_eq!(lab.calls().of_key("k").numbers(), [1, 2, 3, 1], "calls of the key");
    Ok(())
}

pub(super) async fn d13_a_held_key_keeps_some_followers_and_then_the_intake_of_its_partition_stops(lab: Lab) -> CaseResult {
    let topic = lab.topic("in");
    let delay = lab.ms(15_000);
    let app = lab.process("a").with(on("work", topic).retry(3, delay, delay).does(first_fails_once)).start().await?;
    app.publish(topic, &(1..=600).map(|number| Note::new("k", number)).collect::<Vec<_>>()).await?;
    app.publish(topic, &(601..=700).map(|number| Note::new(format!("k{number}"), number)).collect::<Vec<_>>()).await?;
    lab.wait(delay / 2).await;
    let others = lab.calls().that(How::Done).len();
    check!(others >= 50, "{others} of 100 messages of other keys are done: only those of the held partition may wait");
    let status = app.status_with_lag("work").await?;
    check!(status.in_flight < 512, "{} messages are held for a key that waits", status.in_flight);
    let unread = status.lag.and_then(|lag| lag.backlog).unwrap_or(0);
    check!(unread > 0, "that the intake stopped does not show in the lag: {status:?}");
    app.settled().await?;
    lab.calls().each_done_once(1..=700)?;
    lab.calls().first_starts_in_order()
}
