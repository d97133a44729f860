//! Retries that wait in a group's own place, because the broker cannot delay a message by itself.
//!
//! What waits there is the message as it came: key, payload, id and headers. What is known of it beside that stands in headers that
//! are taken off again before anybody sees it. So it waits without this process, over restarts, and in whatever process reads it
//! next.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use convoke_core::{Error, Incoming, Outgoing, Position, Topic, names};
use convoke_engine::{In, Published, Slot, Time};

use super::Core;
use super::bodies::Failure;
use super::core::Todo;
use super::route::Source;
use crate::observe::What;

/// What was known of a message when it was sent to wait.
#[derive(Debug)]
pub(super) struct Waited {
    pub(super) attempts: u32,
    /// How much longer it is to wait.
    pub(super) due_in: Duration,
    pub(super) failure: Option<Box<Failure>>,
}

impl Core {
    /// Sends a message to wait. Where there is no place for it, it waits here.
    pub(super) fn send_to_wait(&mut self, slot: Slot, delay: Duration, attempts: u32, todo: &mut Todo) {
        let Some(body) = self.bodies.get_mut(slot) else { return };
        let Some(incoming) = body.incoming.clone() else { return };
        let (route, failure) = (body.route, body.failure.as_deref());
        let source = self.routes[route.0 as usize].source(incoming.message.topic());
        let Some(tier) = tier(&source, delay) else {
            self.refusals.push(slot);
            return;
        };
        let outgoing = copy(&incoming, tier, attempts, delay, failure);
        let size = outgoing.message.size();
        if self.max_message.is_some_and(|max| size > max) {
            tracing::warn!(topic = %incoming.message.topic(), size, "a retry is too large to wait elsewhere with its headers: it waits here");
            self.refusals.push(slot);
            return;
        }
        body.waits = true;
        let error = failure.map(|failure| failure.error.clone());
        tracing::debug!(
            topic = %incoming.message.topic(), partition = incoming.partition, position = %incoming.position, attempts, ?delay,
            error, "an attempt failed; the message waits in a place of its group"
        );
        self.observe(route, &incoming, What::Retrying { attempts, delay, error: error.as_deref() });
        todo.publishes.push((slot, outgoing));
    }

    /// Says of what could not be sent to wait that it waits here.
    pub(super) fn refuse_waits(&mut self, now: Time) {
        for slot in std::mem::take(&mut self.refusals) {
            self.step(now, In::Published { slot, result: Published::Refused });
        }
    }

    /// A publish was refused; `true` if it was that of a message that was to wait.
    pub(super) fn refused_wait(&mut self, slot: Slot, error: &Error) -> bool {
        let waits = self.bodies.get_mut(slot).is_some_and(|body| std::mem::take(&mut body.waits));
        if waits {
            tracing::warn!(%error, "a retry cannot wait in its group's place: it waits here");
        }
        waits
    }
}

/// The place for what waits so long.
fn tier(source: &Source, delay: Duration) -> Option<&Topic> {
    let fits = source.tiers.iter().rev().find(|(least, _)| *least <= delay);
    fits.or(source.tiers.first()).map(|(_, topic)| topic)
}

/// What is published to wait.
fn copy(incoming: &Incoming, tier: &Topic, attempts: u32, delay: Duration, failure: Option<&Failure>) -> Outgoing {
    let mut copy = incoming.message.clone().into_builder().topic(tier.clone());
    let headers = copy.headers_mut();
    headers.append(names::RETRY_ATTEMPTS, attempts.to_string());
    headers.append(names::RETRY_DUE, millis(wall() + delay).to_string());
    headers.append(names::RETRY_FROM, format!("{} {}", incoming.partition, place(incoming.position)));
    if let Some(failure) = failure {
        headers.append(names::RETRY_FIRST_FAILED_AT, millis(failure.first_at).to_string());
        headers.append(names::RETRY_ERROR, failure.error.clone());
    }
    let mut outgoing = Outgoing::new(copy.build());
    outgoing.verbatim = true;
    outgoing
}

/// Makes of what was read from such a place the message that it was. `None` if nothing is known of it: then it is one that somebody
/// else put there, to be tried at once.
pub(super) fn restore(incoming: &mut Incoming) -> Option<Waited> {
    let headers = incoming.message.headers();
    headers.get(names::RETRY_ATTEMPTS)?;
    let number = |name: &str| headers.get_str(name).and_then(|text| text.parse::<u64>().ok());
    let first_at = number(names::RETRY_FIRST_FAILED_AT).and_then(|at| UNIX_EPOCH.checked_add(Duration::from_millis(at)));
    let error = headers.get_str(names::RETRY_ERROR).unwrap_or_default().to_owned();
    let due = number(names::RETRY_DUE).and_then(|due| UNIX_EPOCH.checked_add(Duration::from_millis(due)));
    let waited = Waited {
        attempts: number(names::RETRY_ATTEMPTS).and_then(|attempts| attempts.try_into().ok()).unwrap_or(0),
        due_in: due.and_then(|due| due.duration_since(wall()).ok()).unwrap_or_default(),
        failure: first_at.map(|first_at| Box::new(Failure { chain: error.clone(), error, first_at })),
    };
    if let Some((partition, position)) = headers.get_str(names::RETRY_FROM).and_then(from) {
        (incoming.partition, incoming.position) = (partition, position);
    }
    let mut message = incoming.message.clone().into_builder();
    message.headers_mut().retain(|name| !name.starts_with(names::RETRY_PREFIX));
    incoming.message = message.build();
    Some(waited)
}

fn place(position: Position) -> String {
    match position {
        Position::Offset(n) => format!("offset {n}"),
        Position::Entry(ms, seq) => format!("entry {ms} {seq}"),
        Position::Tag(n) => format!("tag {n}"),
    }
}

fn from(text: &str) -> Option<(u32, Position)> {
    let mut words = text.split(' ');
    let partition = words.next()?.parse().ok()?;
    let kind = words.next()?;
    let mut number = || words.next()?.parse().ok();
    let position = match kind {
        "offset" => Position::Offset(number()?),
        "entry" => Position::Entry(number()?, number()?),
        "tag" => Position::Tag(number()?),
        _ => return None,
    };
    Some((partition, position))
}

/// The time of day; where tokio's clock is not that of the system, as in tests, moved as far as that was.
fn wall() -> SystemTime {
    let (virtually, really) = (tokio::time::Instant::now().into_std(), std::time::Instant::now());
    let now = SystemTime::now();
    match virtually.checked_duration_since(really) {
        Some(ahead) => now + ahead,
        None => now - really.duration_since(virtually),
    }
}

/// Rounded up, so that nothing is tried before its time.
fn millis(time: SystemTime) -> u128 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().div_ceil(1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use convoke_core::broker::Token;
    use convoke_core::{Message, MessageBuilder};

    fn incoming(message: MessageBuilder, position: Position) -> Incoming {
        Incoming::new(message.build(), 3, position, Token::for_tests(position))
    }

    #[test]
    fn what_comes_back_is_what_was_sent_to_wait() {
        let message = || Message::builder("orders").key("ada").header("ce-id", "7").header("tenant", "acme").payload("{}");
        let failure = Failure { error: "no".to_owned(), chain: "no".to_owned(), first_at: UNIX_EPOCH + Duration::from_secs(5) };
        for position in [Position::Offset(7), Position::Entry(1, 2), Position::Tag(9)] {
            let sent =
                copy(&incoming(message(), position), &"orders.g.retry.5s".into(), 2, Duration::from_secs(8), Some(&failure));
            assert!(sent.verbatim && sent.message.topic().as_str() == "orders.g.retry.5s");
            let mut read = incoming(sent.message.into_builder().topic("orders"), Position::Offset(0));
            read.partition = 0;
            let waited = restore(&mut read).unwrap();
            assert_eq!(format!("{:?}", read.message), format!("{:?}", message().build()));
            assert_eq!((read.partition, read.position, waited.attempts), (3, position, 2));
            assert!(waited.due_in > Duration::from_secs(7) && waited.due_in <= Duration::from_millis(8001), "{waited:?}");
            assert_eq!(waited.failure.unwrap().first_at, failure.first_at);
        }
    }

    #[test]
    fn what_somebody_else_put_there_is_left_as_it_is() {
        let mut foreign = incoming(Message::builder("orders").header("convoke-retry-due", "junk"), Position::Offset(1));
        assert!(restore(&mut foreign).is_none());
        let mut damaged = incoming(
            Message::builder("orders").header("convoke-retry-attempts", "x").header("convoke-retry-from", "?"),
            Position::Offset(1),
        );
        let waited = restore(&mut damaged).unwrap();
        assert_eq!((waited.attempts, waited.due_in, damaged.position), (0, Duration::ZERO, Position::Offset(1)));
        assert!(damaged.message.headers().is_empty());
    }
}
