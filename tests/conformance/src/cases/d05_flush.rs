//! D5: closing waits for what was accepted.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use convoke_core::broker::{Broker, CloseReport, Fault, PublishOutcome};
use tokio::time::Instant;

use crate::act::on;
use crate::calls::listed;
use crate::lab::Lab;
use crate::note::Note;
use crate::process::{Process, outgoing};
use crate::stop::{CaseResult, Stop, check, check_eq};

pub(super) async fn d05_a_drain_waits_for_what_was_accepted(lab: Lab) -> CaseResult {
    let topic = lab.topic("in");
    let app = lab.process("a").with(on("work", topic)).start().await?;
    app.handle().pause("work")?;
    lab.inject(Fault::PublishSlow { topic: topic.into(), count: 1, by: lab.ms(3000) }).await?;
    let publisher = app.handle().publisher().clone();
    let publishing = tokio::spawn(async move { publisher.publish(&Note::new("k", 1)).topic(topic).await.map(drop) });
    lab.wait(lab.ms(200)).await;
    let report = app.drain().await?;
    check!(report.took >= lab.ms(2500), "it did not wait: {report:?}");
    publishing.await.map_err(|error| Stop::failed(format!("publishing panicked: {error}")))??;
    check_eq!(lab.read(topic).await?.len(), 1, "messages that are there");
    Ok(())
}

pub(super) async fn d05_closing_a_connection_waits_for_what_was_accepted(lab: Lab) -> CaseResult {
    let topic = lab.topic("in");
    let app = lab.process("a").with(on("work", topic)).start().await?;
    if lab.is_falling() {
        return while_the_server_falls(&lab, topic, &app).await;
    }
    let connection = lab.harness().open().await?;
    let (report, confirmed) = close_while_publishing(&lab, topic, &connection, 0..100).await?;
    check_eq!(report.unconfirmed, 0, "messages that were accepted and not confirmed");
    let there: Vec<_> =
        lab.read(topic).await?.into_iter().filter_map(|message| Note::number_in(message.payload.as_ref()?)).collect();
    for number in &confirmed {
        check!(there.contains(number), "message {number} was confirmed, and is not there");
    }
    let again = connection.close(lab.ms(1000)).await;
    check_eq!((again.unsettled, again.unconfirmed), (0, 0), "closing twice (unsettled, unconfirmed)");
    app.handle().abort();
    Ok(())
}

/// Closes a connection that has just begun to publish these numbers. Returns those that were confirmed.
async fn close_while_publishing(
    lab: &Lab,
    topic: &'static str,
    connection: &Arc<dyn Broker>,
    numbers: Range<u64>,
) -> Result<(CloseReport, Vec<u64>), Stop> {
    let mut publishing = Vec::new();
    for number in numbers {
        let (connection, note) = (Arc::clone(connection), outgoing(lab, topic, &Note::new("k", number))?);
        publishing.push((number, tokio::spawn(async move { connection.publish(vec![note]).await })));
    }
    tokio::task::yield_now().await;
    let report = connection.close(lab.ms(5000)).await;
    let mut confirmed = Vec::new();
    for (number, one) in publishing {
        let outcomes = one.await.map_err(|error| Stop::failed(format!("publishing panicked: {error}")))?;
        if matches!(outcomes[..], [PublishOutcome::Confirmed(_)]) {
            confirmed.push(number);
        }
    }
    Ok((report, confirmed))
}

/// One connection after the other, whatever befalls the server: closing ends in time, and what was confirmed comes to its handler.
async fn while_the_server_falls(lab: &Lab, topic: &'static str, app: &Process) -> CaseResult {
    let (mut sent, mut all) = (0, BTreeSet::new());
    while !lab.is_over() {
        let Ok(connection) = lab.harness().open().await else {
            lab.wait(lab.ms(20)).await;
            continue;
        };
        let begun = Instant::now();
        let (report, confirmed) = close_while_publishing(lab, topic, &connection, sent..sent + 100).await?;
        let took = begun.elapsed();
        lab.story().event("closing", format!("{} of 100 confirmed, {report:?}, in {took:?}", confirmed.len()));
        check!(took <= lab.ms(5000) + lab.slack(), "closing took {took:?}");
        check!(report.unconfirmed > 0 || took < lab.ms(5000), "it says that nothing is left, and waited to the end: {report:?}");
        all.extend(confirmed);
        sent += 100;
        lab.wait(lab.ms(50)).await;
    }
    lab.see_the_weather_out().await?;
    app.settled().await?;
    let done: BTreeSet<_> = lab.calls().done().into_iter().collect();
    let lost: Vec<_> = all.difference(&done).copied().collect();
    if lost.is_empty() {
        return Ok(());
    }
    Err(Stop::failed(format!("confirmed, and never handled: {}", listed(&lost))).about(lost))
}
