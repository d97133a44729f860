//! D16: what is in flight is bounded, and a flood costs no membership.

use convoke_core::broker::{Credit, PublishOutcome};

use crate::act::{Call, on};
use crate::lab::Lab;
use crate::note::{Note, notes};
use crate::process::{Process, outgoing};
use crate::stop::{CaseResult, Stop, check};
use crate::tap::Sent;

pub(super) async fn d16_a_flood_with_a_slow_handler_stays_in_the_broker(lab: Lab) -> CaseResult {
    let topic = lab.topic("in");
    let takes = lab.ms(20);
    let app = lab.process("a").with(on("work", topic).does(move |_| tokio::time::sleep(takes))).start().await?;
    if lab.is_falling() {
        return while_the_server_falls(&lab, topic, &app).await;
    }
    // From the first assignment on, and again with credit that has come back.
    let rounds: &[i64] = if lab.is_slow() { &[512] } else { &[512, 512] };
    for &most in rounds {
        app.forget_most_held();
        // On a slow wire the handler would be as fast as what is published, and done before it is known how much is left.
        if lab.is_slow() {
            app.handle().pause("work")?;
        }
        for _ in 0..6 {
            app.publish(topic, &notes(500, 250)).await?;
        }
        if !lab.is_slow() {
            lab.wait(lab.ms(500)).await;
        }
        let status = app.status_with_lag("work").await?;
        let backlog = status.lag.and_then(|lag| lag.backlog).unwrap_or(0);
        check!(backlog >= 500, "the backlog is not in the broker: {status:?}");
        if lab.is_slow() {
            app.handle().resume("work")?;
        }
        app.settled().await?;
        let (held, _) = app.most_held();
        check!(held <= most, "{held} messages were in flight, and {most} may be");
        check!(held >= 64, "only {held} messages were in flight: it is hardly a flood");
    }
    app.was_never_dispossessed()?;
    let (calls, sent) = (lab.calls().len(), rounds.len() * 3000);
    check!(calls == sent, "{calls} calls for {sent} messages");
    Ok(())
}

/// No server that comes back brings more than there is room for.
async fn while_the_server_falls(lab: &Lab, topic: &'static str, app: &Process) -> CaseResult {
    let mut left = notes(2000, 250);
    while !left.is_empty() {
        let batch = left.iter().map(|note| outgoing(lab, topic, note)).collect::<Result<_, _>>()?;
        let mut outcomes = app.handle().broker().publish(batch).await.into_iter();
        left.retain(|_| !matches!(outcomes.next(), Some(PublishOutcome::Confirmed(_))));
    }
    lab.see_the_weather_out().await?;
    app.settled().await?;
    let (held, _) = app.most_held();
    check!((64..=512).contains(&held), "{held} messages were in flight: 512 may be, and with fewer than 64 it is hardly a flood");
    lab.calls().each_done(0..2000)
}

pub(super) async fn d16_bytes_in_flight_are_bounded_too(lab: Lab) -> CaseResult {
    if lab.capabilities().await?.credit == Credit::Messages {
        return Err(Stop::lacking("the broker declares that its credit counts messages only"));
    }
    let topic = lab.topic("in");
    let (takes, limit, size) = (lab.ms(20), 128 * 1024, 8 * 1024);
    let work = on("work", topic).does(move |_: Call| tokio::time::sleep(takes));
    let app = lab.process("a").with(work).configure(move |app| app.in_flight(512, limit)).start().await?;
    let large: Vec<_> = (0..300).map(|number| Note::new(format!("k{}", number % 50), number).padded(size)).collect();
    app.publish(topic, &large).await?;
    app.settled().await?;
    let parts = lab.wire().sent().iter().filter(|sent| matches!(sent, Sent::Owned { assigned: true, .. })).count();
    // The last message that a partition is given may go over what was granted.
    let most = limit + (parts * (size + 1024)) as u64;
    let (_, bytes) = app.most_held();
    check!(bytes.unsigned_abs() <= most, "{bytes} bytes were in flight, and {most} may be");
    lab.calls().each_done_once(0..300)
}
