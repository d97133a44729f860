//! D5: closing waits for what was accepted.

use convoke_core::broker::{Fault, PublishOutcome};
use convoke_core::{Message, Outgoing};

use crate::act::on;
use crate::lab::Lab;
use crate::note::Note;
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
    let connection = lab.harness().open().await?;
    let publish = |number: u32| {
        let connection = std::sync::Arc::clone(&connection);
        let message = Message::builder(topic).key("k").payload(number.to_string()).build();
        tokio::spawn(async move { connection.publish(vec![Outgoing::new(message)]).await })
    };
    let publishing: Vec<_> = (0..100).map(publish).collect();
    tokio::task::yield_now().await;
    let report = connection.close(lab.ms(5000)).await;
    check_eq!(report.unconfirmed, 0, "messages that were accepted and not confirmed");
    let mut confirmed = Vec::new();
    for (number, one) in publishing.into_iter().enumerate() {
        let outcomes = one.await.map_err(|error| Stop::failed(format!("publishing panicked: {error}")))?;
        if matches!(outcomes[..], [PublishOutcome::Confirmed(_)]) {
            confirmed.push(number.to_string());
        }
    }
    let there: Vec<_> =
        lab.read(topic).await?.into_iter().filter_map(|message| String::from_utf8(message.payload?).ok()).collect();
    for number in &confirmed {
        check!(there.contains(number), "message {number} was confirmed, and is not there");
    }
    let again = connection.close(lab.ms(1000)).await;
    check_eq!((again.unsettled, again.unconfirmed), (0, 0), "closing twice (unsettled, unconfirmed)");
    app.handle().abort();
    Ok(())
}
