//! How clients of each broker write what the suite calls a foreign message.

use convoke_conformance::Foreign;
use convoke_core::cloudevents::Spelling;
use convoke_core::{Headers, escape, names, unescape};

use crate::Kind;

/// Where a broker has no tombstones, this header marks one.
const TOMBSTONE: &str = "convoke-tombstone";
/// What NATS calls the media type of the payload.
const NATS_CONTENT_TYPE: &str = "ce-datacontenttype";

fn spelling(kind: Kind) -> Spelling {
    match kind {
        Kind::Kafka | Kind::Redis => Spelling::Underscore,
        _ => Spelling::Dash,
    }
}

/// The message as a client of this broker writes it.
pub(crate) fn dressed(kind: Kind, mut message: Foreign) -> Foreign {
    if kind == Kind::Nats {
        // Headers are text there, the key's included.
        let key = message.key.take().map(|key| (names::PARTITION_KEY.to_owned(), key));
        message.headers = escape(&message.headers.into_iter().chain(key).collect::<Headers>()).iter().map(owned).collect();
    }
    spelled(kind, message)
}

/// The message with the names of its headers as this broker's clients spell them, and their values as they are.
pub(crate) fn spelled(kind: Kind, mut message: Foreign) -> Foreign {
    for (name, _) in &mut message.headers {
        *name = match (kind, &**name) {
            (Kind::Nats, names::CONTENT_TYPE) => NATS_CONTENT_TYPE.to_owned(),
            (_, name) => spelling(kind).write(name).into_owned(),
        };
    }
    message
}

/// The message that such a client has read.
pub(crate) fn undressed(kind: Kind, mut message: Foreign) -> Foreign {
    // What servers add.
    message.headers.retain(|(name, _)| kind != Kind::Nats || !name.starts_with("Nats-"));
    for (name, _) in &mut message.headers {
        *name = spelling(kind).read(name).into_owned();
    }
    if kind == Kind::Nats {
        message.headers = unescape(message.headers.into_iter().collect::<Headers>()).iter().map(owned).collect();
    }
    if kind != Kind::Kafka {
        message.key = take(&mut message.headers, names::PARTITION_KEY);
        if take(&mut message.headers, TOMBSTONE).is_some() {
            message.payload = None;
        }
    }
    message
}

fn owned((name, value): (&str, &bytes::Bytes)) -> (String, Vec<u8>) {
    (name.to_owned(), value.to_vec())
}

fn take(headers: &mut Vec<(String, Vec<u8>)>, name: &str) -> Option<Vec<u8>> {
    let at = headers.iter().position(|(other, _)| other == name)?;
    Some(headers.remove(at).1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_writes_is_read_as_the_same_message() {
        for kind in Kind::BROKERS {
            let message =
                Foreign::of("payload").key("k ö").header("ce-id", "100 %").header("content-type", "text/plain").header("x", "1");
            let mut written = dressed(kind, message.clone());
            if matches!(kind, Kind::Redis | Kind::RabbitMq) {
                // As the clients do.
                let key = written.key.take().unwrap();
                written.headers.push((spelling(kind).write(names::PARTITION_KEY).into_owned(), key));
            }
            assert_eq!(undressed(kind, written), message, "{kind}");
        }
    }

    #[test]
    fn names_are_as_the_clients_of_each_broker_expect_them() {
        let names = |kind| {
            let written = dressed(kind, Foreign::of("").header("ce-id", "1").header("content-type", "a/b"));
            written.headers.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert_eq!(names(Kind::Kafka), ["ce_id", "content-type"]);
        assert_eq!(names(Kind::Nats), ["ce-id", "ce-datacontenttype"]);
        assert_eq!(names(Kind::Redis), ["ce_id", "content-type"]);
        assert_eq!(names(Kind::RabbitMq), ["ce-id", "content-type"]);
    }
}
