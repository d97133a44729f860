//! D8: what is given up is in the dead-letter topic before it is settled.

use convoke_core::broker::Fault;
use convoke_core::{BoxError, permanent};
use convoke_runtime::StopReason;

use crate::Foreign;
use crate::act::{Call, on};
use crate::lab::Lab;
use crate::note::Note;
use crate::stop::{CaseResult, Stop, check, check_eq};

async fn fails(_: Call) -> Result<(), BoxError> {
    Err("it never works".into())
}

async fn gives_up(call: Call) -> Result<(), BoxError> {
    if call.note.key == "bad" { Err(permanent("it can never work").into()) } else { Ok(()) }
}

pub(super) async fn d08_after_the_last_attempt_a_dead_letter_says_everything(lab: Lab) -> CaseResult {
    let topic = lab.topic("in");
    let app = lab.process("a").with(on("work", topic).retry(3, lab.ms(50), lab.ms(50)).does(fails)).start().await?;
    let publish = app.handle().publisher().publish(&Note::new("ada", 1)).topic(topic).header("tenant", "acme");
    let receipt = publish.await?;
    app.settled().await?;
    let letters = lab.read(&lab.dead(topic, "work")).await?;
    check_eq!(letters.len(), 1, "dead letters");
    let (letter, original) = (&letters[0], &lab.read(topic).await?[0]);
    check_eq!((&letter.payload, &letter.key), (&original.payload, &original.key), "payload and key of the dead letter");
    for (name, value) in original.headers.iter() {
        let same: Vec<_> = letter.headers.iter().filter(|(other, _)| other == name).map(|(_, value)| value).collect();
        check_eq!(same, [value], "the header `{name}` of the dead letter");
    }
    let group = lab.group("work");
    let place = receipt.stored.map(|(partition, position)| (partition.to_string(), position.to_string()));
    let mut expected = vec![
        ("reason", "handler-error"),
        ("error", "it never works"),
        ("error-chain", "it never works"),
        ("attempts", "3"),
        ("topic", topic),
        ("key", "ada"),
        ("group", &group),
        ("handler", "work"),
    ];
    if let Some((partition, position)) = &place {
        expected.extend([("partition", partition.as_str()), ("offset", position.as_str())]);
    }
    for (name, value) in expected {
        check_eq!(letter.text(&format!("convoke-dead-{name}")), Some(value), "`convoke-dead-{name}`");
    }
    for name in ["at", "first-failed-at", "host", "partition", "offset"] {
        let there = letter.text(&format!("convoke-dead-{name}")).is_some_and(|value| !value.is_empty());
        check!(there, "`convoke-dead-{name}` is missing or empty: {letter:?}");
    }
    Ok(())
}

pub(super) async fn d08_a_permanent_error_is_a_dead_letter_at_once(lab: Lab) -> CaseResult {
    let topic = lab.topic("in");
    let app = lab.process("a").with(on("work", topic).does(gives_up)).start().await?;
    app.publish(topic, &[Note::new("bad", 1), Note::new("bad", 2), Note::new("good", 3)]).await?;
    app.settled().await?;
    check_eq!(lab.calls().of_key("bad").numbers(), [1, 2], "calls with what can never work");
    check_eq!(lab.read(&lab.dead(topic, "work")).await?.len(), 2, "dead letters");
    lab.calls().each_done_once([3])
}

pub(super) async fn d08_while_the_dead_letter_is_not_confirmed_the_original_is_not_settled(lab: Lab) -> CaseResult {
    let topic = lab.topic("in");
    let dead = lab.dead(topic, "work");
    for (number, fault) in [
        Fault::PublishRejected { topic: (&*dead).into(), count: 1000, retryable: true },
        Fault::PublishRejected { topic: (&*dead).into(), count: 1000, retryable: false },
        Fault::PublishUnknown { topic: (&*dead).into(), count: 1000, stored: false },
    ]
    .into_iter()
    .enumerate()
    {
        let number = number as u64;
        let app = lab.process("1").with(on("work", topic).does(gives_up)).start().await?;
        lab.inject(fault.clone()).await?;
        app.publish(topic, &[Note::new("bad", number)]).await?;
        lab.until("the handler gives up", || lab.calls().of_number(number).len() == 1).await?;
        lab.wait(lab.ms(2000)).await;
        let during = app.status("work").await?;
        check_eq!((during.dead, during.in_flight), (0, 1), "(dead, in flight) while {fault:?}");
        // Not even a death makes it go away.
        app.kill().await;
        lab.wire().heal();
        let app = lab.process("2").with(on("work", topic).does(gives_up)).start().await?;
        app.settled().await?;
        let letters = lab.read(&dead).await?;
        let found = letters.iter().filter(|letter| letter.payload.as_deref().and_then(Note::number_in) == Some(number)).count();
        check!(found >= 1, "after {fault:?} and a death, the message is neither settled nor a dead letter");
        app.drain().await?;
    }
    Ok(())
}

pub(super) async fn d08_a_foreign_message_of_nearly_the_maximum_size_dies_with_fewer_headers(lab: Lab) -> CaseResult {
    let Some(max) = lab.capabilities().await?.max_message else {
        return Err(Stop::lacking("the broker declares no largest message"));
    };
    let topic = lab.topic("in");
    let app = lab.process("a").with(on("work", topic)).start().await?;
    let large = Foreign::of(vec![b'?'; max - 700]).key("k");
    lab.produce(topic, large.clone()).await?;
    app.settled().await?;
    let letters = lab.read(&lab.dead(topic, "work")).await?;
    check_eq!(letters.len(), 1, "dead letters");
    check!(letters[0].payload == large.payload, "the payload of the dead letter is another");
    check_eq!(letters[0].text("convoke-dead-topic"), Some(topic), "`convoke-dead-topic`");
    Ok(())
}

pub(super) async fn d08_a_message_whose_dead_letter_does_not_fit_stays_and_is_seen(lab: Lab) -> CaseResult {
    let Some(max) = lab.capabilities().await?.max_message else {
        return Err(Stop::lacking("the broker declares no largest message"));
    };
    let topic = lab.topic("in");
    let app = lab.process("a").with(on("work", topic)).start().await?;
    let large = Foreign::of(vec![b'?'; max - 20]).key("k");
    lab.produce(topic, large.clone()).await?;
    app.publish(topic, &(0..20).map(|number| Note::new(format!("k{number}"), number)).collect::<Vec<_>>()).await?;
    lab.until("the others are done", || lab.calls().done().len() >= 10).await?;
    lab.wait(lab.ms(3000)).await;
    let (letters, status) = (lab.read(&lab.dead(topic, "work")).await?, app.status("work").await?);
    if let [letter] = &letters[..] {
        // A copy of what the broker has may be larger there than what applications publish.
        check!(letter.payload == large.payload, "the payload of the dead letter is another");
        check!(status.healthy && status.stopped.is_empty(), "it is a dead letter, and does not stay: {status:?}");
        return Ok(());
    }
    check!(letters.is_empty(), "there is more than one dead letter: {}", letters.len());
    check!(status.in_flight >= 1 && !status.healthy, "it is not seen: {status:?}");
    let [stopped] = &status.stopped[..] else { return Err(Stop::failed(format!("it is not said where it stands: {status:?}"))) };
    check_eq!((stopped.reason, stopped.topic.as_str()), (StopReason::DeadLetterRefused, topic), "(reason, topic) of {stopped:?}");
    Ok(())
}
