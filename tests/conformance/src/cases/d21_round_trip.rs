//! D21: what goes in comes out.

use bytes::Bytes;
use convoke_core::{ErrorKind, Headers, Message, names};

use crate::Foreign;
use crate::act::{on, on_anything};
use crate::lab::Lab;
use crate::note::Note;
use crate::stop::{CaseResult, Stop, check, check_eq};

/// Values of each name, in order: not every broker keeps the order of different names.
fn by_name(headers: &Headers) -> std::collections::BTreeMap<String, Vec<Bytes>> {
    let mut by_name = std::collections::BTreeMap::<String, Vec<Bytes>>::new();
    headers.iter().for_each(|(name, value)| by_name.entry(name.to_owned()).or_default().push(value.clone()));
    by_name
}

fn strange(topic: &str) -> Vec<Message> {
    let message = |id: &str| Message::builder(topic).header(names::ID, id.to_owned()).header(names::SOURCE, "elsewhere");
    let every_byte: Vec<u8> = (0..=255).collect();
    let mut repeated = message("repeated").key("k").payload("2");
    for value in ["1", "", "2", "1"] {
        repeated.headers_mut().append("x-repeated", value);
    }
    vec![
        message("unicode").key("schlüssel ☃").header("x-text", "naïve ☃ 100% \"sure\"").payload("☃").build(),
        message("binary").key(every_byte.clone()).header("x-bytes", every_byte.clone()).payload(every_byte).build(),
        repeated.build(),
        message("empty").key("").header("x-empty", "").payload("").build(),
        message("without key").payload("no key").build(),
        message("id with spaces & 100% ☃").key("k").payload("id").build(),
        message("many headers")
            .key("k")
            .headers((0..50).map(|i| (format!("x-{i}"), format!("value {i}"))).collect())
            .payload("many")
            .build(),
    ]
}

pub(super) async fn d21_id_key_headers_and_payload_come_back_equal(lab: Lab) -> CaseResult {
    let topic = lab.topic("in");
    let app = lab.process("a").with(on_anything("work", topic)).start().await?;
    let sent = strange(topic);
    for message in &sent {
        app.handle().publisher().publish_message(message.clone()).await?;
    }
    app.settled().await?;
    let calls = lab.calls();
    check_eq!(calls.len(), sent.len(), "calls");
    for message in &sent {
        let what = message.id().unwrap_or("many headers");
        let found = calls.0.iter().find(|call| call.message.payload() == message.payload());
        let found = found.ok_or_else(|| Stop::failed(format!("the payload of {what:?} did not come back")))?;
        check_eq!(found.message.key(), message.key(), "the key of {what:?}");
        check_eq!(by_name(found.message.headers()), by_name(message.headers()), "the headers of {what:?}");
        check_eq!(found.message.is_tombstone(), false, "whether {what:?} became a tombstone");
        if let Some(id) = message.id() {
            check_eq!(found.id, id, "the id of {what:?}");
        }
    }
    Ok(())
}

pub(super) async fn d21_an_event_has_the_attributes_of_a_cloud_event(lab: Lab) -> CaseResult {
    let topic = lab.topic("in");
    let app = lab.process("a").with(on("work", topic)).start().await?;
    let receipt = app.handle().publisher().publish(&Note::new("ada", 7)).topic(topic).header("tenant", "acme").await?;
    app.settled().await?;
    let calls = lab.calls();
    check_eq!((calls.len(), &calls.0[0].id), (1, &receipt.id), "(calls, id)");
    let source = lab.app_name();
    for (name, value) in [
        (names::ID, &*receipt.id),
        (names::SOURCE, &source),
        (names::SPEC_VERSION, "1.0"),
        (names::TYPE, "conformance.note.v1"),
        (names::CONTENT_TYPE, "application/json"),
        ("tenant", "acme"),
    ] {
        let foreign = lab.read(topic).await?;
        check_eq!(calls.0[0].message.headers().get_str(name), Some(value), "`{name}`, as the handler sees it");
        check_eq!(foreign[0].text(name), Some(value), "`{name}`, as a foreign client sees it");
    }
    check_eq!(calls.0[0].message.key().map(ToString::to_string).as_deref(), Some("ada"), "the key");
    Ok(())
}

pub(super) async fn d21_a_foreign_client_writes_and_reads_the_same_topics(lab: Lab) -> CaseResult {
    let topic = lab.topic("in");
    let app = lab.process("a").with(on("work", topic)).start().await?;
    let payload = r#"{"key":"k","number":1}"#;
    lab.produce(topic, Foreign::of(payload).key("k").header("tenant", "acme")).await?;
    lab.produce(topic, Foreign::of(r#"{"key":"k","number":2}"#)).await?;
    lab.produce(
        topic,
        Foreign::of(r#"{"key":"k","number":3}"#).key("k").header("ce-id", "mine").header("ce-type", "conformance.note"),
    )
    .await?;
    app.settled().await?;
    lab.calls().each_done_once(1..4)?;
    let first = &lab.calls().of_number(1).0[0];
    check_eq!(first.message.headers().get_str("tenant"), Some("acme"), "a foreign header");
    check_eq!(first.message.key().map(ToString::to_string).as_deref(), Some("k"), "a foreign key");
    check_eq!(lab.calls().of_number(3).0[0].id, "mine", "a foreign id");
    app.publish(topic, &[Note::new("k", 4)]).await?;
    let found =
        lab.read(topic).await?.into_iter().find(|message| message.payload.as_deref().and_then(Note::number_in) == Some(4));
    check_eq!(found.and_then(|message| message.key).as_deref(), Some(&b"k"[..]), "our key, as a foreign client sees it");
    Ok(())
}

pub(super) async fn d21_headers_that_are_not_text_come_as_the_bytes_that_they_are(lab: Lab) -> CaseResult {
    let topic = lab.topic("in");
    let app = lab.process("a").with(on("work", topic)).start().await?;
    // As somebody writes it who was never told of UTF-8.
    let city = b"Z\xfcrich".to_vec();
    let message = |payload: &str| Foreign::of(payload).key("k").header("city", city.clone());
    for payload in [r#"{"key":"k","number":1}"#, "{", r#"{"key":"k","number":2}"#] {
        lab.produce_careless(topic, message(payload)).await?;
    }
    app.publish(topic, &[Note::new("k", 3)]).await?;
    app.settled().await?;
    lab.calls().each_done_once(1..4)?;
    for number in [1, 2] {
        let found = lab.calls().of_number(number).0[0].message.headers().get("city").map(|value| value.to_vec());
        check_eq!(found.as_ref(), Some(&city), "the header of number {number}");
    }
    let letters = lab.read(&lab.dead(topic, "work")).await?;
    let found: Vec<_> = letters.iter().flat_map(|letter| &letter.headers).filter(|(name, _)| name == "city").collect();
    check_eq!(found, [&("city".to_owned(), city)], "the header of the dead letter");
    Ok(())
}

pub(super) async fn d21_the_largest_message_comes_back_and_a_larger_one_is_a_typed_error(lab: Lab) -> CaseResult {
    let Some(max) = lab.capabilities().await?.max_message else {
        return Err(Stop::lacking("the broker declares no largest message"));
    };
    let topic = lab.topic("in");
    let app = lab.process("a").with(on("work", topic)).with(on_anything("whole", topic)).start().await?;
    let publisher = app.handle().publisher();
    // What is kept free for the headers of a dead letter, and for our own.
    let largest = Note::new("k", 1).padded(max - 1024 - 600);
    publisher.publish(&largest).topic(topic).await?;
    let exact = Message::builder(topic).key("k").payload(vec![b' '; max - 1]).build();
    publisher.publish_message(exact).await?;
    lab.until("both have come", || lab.calls().of_handler("whole").len() == 2).await?;
    lab.until("the event is handled", || lab.calls().of_handler("work").done() == [1]).await?;
    lab.calls().of_number(1).of_handler("work").each_done_once([1])?;
    let sizes: Vec<_> = lab.calls().of_handler("whole").0.iter().map(|call| call.message.payload().len()).collect();
    check!(sizes.contains(&(max - 1)), "the largest message has become one of {sizes:?} bytes");
    for (what, answer) in [
        ("an event", publisher.publish(&Note::new("k", 2).padded(max)).topic(topic).await),
        ("a message", publisher.publish_message(Message::builder(topic).payload(vec![b' '; max + 1]).build()).await),
    ] {
        let Err(error) = answer else { return Err(Stop::failed(format!("{what} over the limit was taken"))) };
        check_eq!(error.kind(), ErrorKind::TooLarge, "the kind of the error of {what} over the limit ({error})");
    }
    check_eq!(lab.read(topic).await?.len(), 2, "messages that are there");
    Ok(())
}
