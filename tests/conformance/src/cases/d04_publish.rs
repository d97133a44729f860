//! D4: what `Ok` means when something is published.

use std::collections::BTreeSet;

use convoke_core::broker::PublishOutcome;
use convoke_core::{ErrorKind, Message, Outgoing};

use crate::act::on;
use crate::lab::Lab;
use crate::note::{Note, notes};
use crate::stop::{CaseResult, Stop, check, check_eq};

pub(super) async fn d04_ok_means_that_the_broker_has_it(lab: Lab) -> CaseResult {
    let topic = lab.topic("in");
    let app = lab.process("a").with(on("work", topic)).start().await?;
    let publisher = app.handle().publisher();
    // Whatever befalls the server, what was confirmed is there, and comes to its handler.
    let mut sent = 0;
    while lab.is_falling() && !lab.is_over() {
        app.publish_in_turn(topic, &[Note::new(format!("k{}", sent % 5), sent)]).await?;
        sent += 1;
        lab.wait(lab.ms(10)).await;
    }
    if lab.is_falling() {
        app.settled().await?;
        lab.calls().each_done(0..sent)?;
        return lab.calls().first_starts_in_order();
    }
    for note in notes(20, 5) {
        let receipt = publisher.publish(&note).topic(topic).await?;
        let there = lab.read(topic).await?;
        let found = there.iter().find(|message| message.text("ce-id") == Some(&*receipt.id));
        let found =
            found.ok_or_else(|| Stop::failed(format!("confirmed, and not there: {}", receipt.id)).about([note.number]))?;
        check_eq!(found.payload.as_deref().and_then(Note::number_in), Some(note.number), "the number under its id");
    }
    app.kill().await;
    let there = lab.read(topic).await?;
    let ids: BTreeSet<_> = there.iter().map(|message| message.text("ce-id")).collect();
    check_eq!(ids.len(), 20, "messages that are there after the publisher died");
    check!(lab.is_broken() || there.len() == 20, "{} copies of 20 messages are there, and nothing was repeated", there.len());
    Ok(())
}

pub(super) async fn d04_each_message_of_a_batch_has_its_own_result(lab: Lab) -> CaseResult {
    let topic = lab.topic("in");
    let app = lab.process("a").with(on("work", topic)).start().await?;
    let to = |topic: &str, payload: &str| Outgoing::new(Message::builder(topic).key("k").payload(payload.to_owned()).build());
    let missing = lab.name("nowhere");
    let batch = vec![to(topic, "1"), to(missing, "2"), to(topic, "3"), to(missing, "4"), to(topic, "5")];
    let outcomes = app.connection().publish(batch).await;
    check_eq!(outcomes.len(), 5, "answers");
    for (index, outcome) in outcomes.iter().enumerate() {
        let confirmed = matches!(outcome, PublishOutcome::Confirmed(_));
        check_eq!(confirmed, index % 2 == 0, "whether message {} is confirmed ({outcome:?})", index + 1);
    }
    let there: Vec<_> = lab.read(topic).await?.into_iter().filter_map(|message| message.payload).collect();
    check_eq!(there, [b"1", b"3", b"5"], "what is there, in the order of the batch");
    Ok(())
}

pub(super) async fn d04_a_missing_topic_is_an_error(lab: Lab) -> CaseResult {
    let topic = lab.topic("in");
    let patience = lab.ms(5000);
    let app = lab.process("a").with(on("work", topic)).configure(move |app| app.publish_within(patience)).start().await?;
    let missing = lab.name("nowhere");
    let Err(error) = app.handle().publisher().publish(&Note::new("k", 1)).topic(missing).await else {
        return Err(Stop::failed("a publish to a topic that does not exist was confirmed"));
    };
    check!(matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Rejected), "{:?}: {error}", error.kind());
    check!(error.to_string().contains(missing), "the error does not name the topic: {error}");
    check_eq!(lab.read(missing).await?.len(), 0, "messages in a topic that does not exist");
    Ok(())
}

/// Strictest with a group that begins at what is published from now on.
pub(super) async fn d04_groups_exist_before_the_first_message(lab: Lab) -> CaseResult {
    let topic = lab.topic("in");
    let can = lab.capabilities().await?.start_positions;
    let work = move || if can { on("work", topic).starting_new() } else { on("work", topic) };
    let app = lab.process("1").with(work()).start().await?;
    let publisher = app.handle().publisher().clone();
    publisher.publish(&Note::new("k", 1)).topic(topic).await?;
    app.kill().await;
    let app = lab.process("2").with(work()).start().await?;
    app.settled().await?;
    lab.calls().each_done([1])
}

pub(super) async fn d04_nobody_subscribed_is_ok(lab: Lab) -> CaseResult {
    let (topic, other) = (lab.topic("lonely"), lab.topic("other"));
    let app = lab.process("a").with(on("other", other)).start().await?;
    let receipt = app.handle().publisher().publish(&Note::new("k", 1)).topic(topic).await?;
    let drops = app.connection().capabilities().drops_unrouted;
    check_eq!(receipt.unrouted, drops, "whether the receipt says that nobody was there");
    if !drops {
        let late = lab.process("b").with(on("late", topic)).start().await?;
        late.settled().await?;
        lab.calls().of_handler("late").each_done_once([1])?;
    }
    Ok(())
}

/// The one kind of name that no broker has.
pub(super) async fn d04_a_name_that_the_broker_cannot_have_is_refused_before_anything_begins(lab: Lab) -> CaseResult {
    let name = lab.name("two\nlines");
    for work in [on("work", name), on("work", lab.topic("in")).option(|options| options.group = Some(name))] {
        let Err(error) = lab.process("a").with(work).try_start().await? else {
            return Err(Stop::failed("an application with a name of two lines has started"));
        };
        let text = error.to_string();
        check!(
            text.contains("cannot start; one thing is to be mended") && text.contains("handler `work`"),
            "it does not say whose: {text}"
        );
        check!(text.contains("letters, digits"), "it does not say what a name may hold: {text}");
    }
    Ok(())
}
