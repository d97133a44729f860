//! D6: what comes in broken is a dead letter, byte for byte and at once, and the stream goes on.

use convoke_runtime::{StopReason, UnknownEvents};

use crate::Foreign;
use crate::act::{on, on_anything};
use crate::lab::Lab;
use crate::note::Note;
use crate::process::Process;
use crate::stop::{CaseResult, Stop, check, check_eq};

async fn start(lab: &Lab, topic: &'static str, policy: UnknownEvents) -> Result<Process, Stop> {
    lab.process("a").with(on("work", topic)).configure(move |app| app.unknown_events(policy)).start().await
}

/// The headers that a message came with, but for those of its death, sorted: not every broker keeps their order.
fn own(message: &Foreign) -> Vec<(String, Vec<u8>)> {
    let mut own: Vec<_> = message.headers.iter().filter(|(name, _)| !name.starts_with("convoke-dead-")).cloned().collect();
    own.sort();
    own
}

/// Puts each between two good ones of the same key; the good ones are handled, and the bad ones are dead letters, unchanged.
async fn all_die(lab: &Lab, topic: &'static str, bad: Vec<Foreign>, says: &str) -> CaseResult {
    let app = start(lab, topic, UnknownEvents::Skip).await?;
    let count = bad.len();
    let mut number = 0;
    for message in &bad {
        app.publish(topic, &[Note::new("k", number)]).await?;
        lab.produce(topic, message.clone()).await?;
        number += 1;
    }
    app.publish(topic, &[Note::new("k", number)]).await?;
    app.settled().await?;
    lab.calls().each_done_once(0..=number)?;
    let letters = lab.read(&lab.dead(topic, "work")).await?;
    check_eq!(letters.len(), count, "dead letters");
    for message in &bad {
        let same =
            |letter: &&Foreign| (&letter.payload, &letter.key, own(letter)) == (&message.payload, &message.key, own(message));
        let Some(letter) = letters.iter().find(same) else {
            return Err(Stop::failed(format!(
                "no dead letter has this payload, key and headers: {message:?}; there are {letters:?}"
            )));
        };
        let [reason, attempts] = ["reason", "attempts"].map(|name| letter.text(&format!("convoke-dead-{name}")));
        check_eq!((reason, attempts), (Some(says), Some("0")), "(reason, attempts) of {letter:?}");
    }
    let status = app.status("work").await?;
    check_eq!((status.dead, status.failed, status.in_flight), (count as u64, 0, 0), "(dead, failed attempts, in flight)");
    Ok(())
}

pub(super) async fn d06_what_does_not_decode_is_a_dead_letter_byte_for_byte_and_at_once(lab: Lab) -> CaseResult {
    let topic = lab.topic("in");
    let note = r#"{"key":"k","number":9}"#;
    let bad = vec![
        Foreign::of("{\"key\": \"k\", \"num").key("k").header("tenant", "acme"),
        Foreign::of(vec![0, 159, 146, 150, 255]).key("k"),
        Foreign::of("").key("k").header("empty", ""),
        Foreign::of(format!("{note} trailing")).key("k").header("unicode", "naïve ☃"),
        Foreign::of(note).key("k").header("content-type", "application/xml"),
        Foreign::of("{}").key("k").header("ce-type", vec![0xff, 0xfe, b'\n']),
    ];
    all_die(&lab, topic, bad, "undecodable").await
}

pub(super) async fn d06_an_unknown_version_is_a_dead_letter_and_never_a_skip(lab: Lab) -> CaseResult {
    let topic = lab.topic("in");
    let bad = Foreign::of(r#"{"key":"k","number":9}"#).key("k").header("ce-type", "conformance.note.v9");
    all_die(&lab, topic, vec![bad], "undecodable").await
}

pub(super) async fn d06_an_unknown_event_is_skipped_and_counted(lab: Lab) -> CaseResult {
    let topic = lab.topic("in");
    let app = start(&lab, topic, UnknownEvents::Skip).await?;
    for name in ["somebody.elses.v1", "conformance.note.other.v1"] {
        lab.produce(topic, Foreign::of("?").key("k").header("ce-type", name)).await?;
    }
    app.publish(topic, &[Note::new("k", 1)]).await?;
    app.settled().await?;
    lab.calls().each_done_once([1])?;
    let status = app.status("work").await?;
    check_eq!((status.skipped, status.dead), (2, 0), "(skipped, dead)");
    check!(lab.read(&lab.dead(topic, "work")).await?.is_empty(), "what was skipped is no dead letter");
    Ok(())
}

pub(super) async fn d06_an_unknown_event_is_a_dead_letter_if_the_policy_says_so(lab: Lab) -> CaseResult {
    let topic = lab.topic("in");
    let app = start(&lab, topic, UnknownEvents::DeadLetter).await?;
    lab.produce(topic, Foreign::of("?").key("k").header("ce-type", "somebody.elses.v1")).await?;
    app.publish(topic, &[Note::new("k", 1)]).await?;
    app.settled().await?;
    lab.calls().each_done_once([1])?;
    let letters = lab.read(&lab.dead(topic, "work")).await?;
    let reasons: Vec<_> = letters.iter().map(|letter| letter.text("convoke-dead-reason")).collect();
    check_eq!(reasons, [Some("unknown-event")], "reasons of dead letters");
    Ok(())
}

pub(super) async fn d06_at_an_unknown_event_the_subscription_stops_if_the_policy_says_so(lab: Lab) -> CaseResult {
    let (topic, other) = (lab.topic("in"), lab.topic("other"));
    let fails = |app: convoke_runtime::App| app.unknown_events(UnknownEvents::Fail);
    let app = lab.process("1").with(on("work", topic)).with(on("rest", other)).configure(fails).start().await?;
    app.publish(topic, &[Note::new("k", 1)]).await?;
    lab.produce(topic, Foreign::of("?").key("k").header("ce-type", "somebody.elses.v1")).await?;
    app.publish(topic, &[Note::new("k", 2), Note::new("k", 3)]).await?;
    let status = app.stopped("work").await?;
    let [stopped] = &status.stopped[..] else { return Err(Stop::failed(format!("it stops more than once: {status:?}"))) };
    check_eq!((stopped.reason, stopped.topic.as_str()), (StopReason::UnknownEvent, topic), "(reason, topic) of {stopped:?}");
    // What is before it is handled, and the rest of the application goes on; nothing behind it is.
    app.publish(other, &[Note::new("k", 100)]).await?;
    lab.until("the rest goes on", || lab.calls().of_handler("rest").done() == [100]).await?;
    lab.wait(lab.ms(2000)).await;
    lab.calls().of_handler("work").each_done_once([1])?;
    check!(app.status("rest").await?.healthy, "what did not stop is called unhealthy");
    app.drain().await?;
    // One that knows it, which the suite numbers 0, goes on exactly there.
    let app = lab.process("2").with(on_anything("work", topic)).with(on("rest", other)).configure(fails).start().await?;
    app.settled().await?;
    lab.calls().of_process("2").each_done_once([0, 2, 3])?;
    check!(lab.read(&lab.dead(topic, "work")).await?.is_empty(), "there is a dead letter");
    Ok(())
}

pub(super) async fn d06_a_tombstone_is_a_dead_letter_and_stays_one(lab: Lab) -> CaseResult {
    let topic = lab.topic("in");
    let mut tombstone = Foreign::of("").key("k");
    tombstone.payload = None;
    all_die(&lab, topic, vec![tombstone], "undecodable").await
}
