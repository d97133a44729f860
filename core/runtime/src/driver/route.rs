//! A handler as the driver sees it: which messages are its own, and how it is called.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use convoke_core::{
    DeadReason, EventDef, HandlerContext, HeaderMatch, Headers, Incoming, Key, Recognised, Topic, TopicPattern, cloudevents,
    names,
};

/// What messages of an unknown event name on a shared topic come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum UnknownEvents {
    /// They are acknowledged, and counted: they belong to others.
    #[default]
    Skip,
    /// They go to the dead-letter topic.
    DeadLetter,
    /// The subscription stops there, and is reported unhealthy: [`StopReason::UnknownEvent`](super::StopReason::UnknownEvent).
    Fail,
}

/// One handler of a subscription.
pub(crate) struct RouteRunner {
    pub(crate) context: Arc<HandlerContext>,
    pub(crate) event: Option<&'static EventDef>,
    /// The event's `type` on the wire, made once.
    pub(crate) wire_type: String,
    /// The header that its messages have.
    pub(crate) matches: Option<HeaderMatch>,
    /// What it reads.
    pub(crate) sources: Vec<Source>,
    pub(crate) ordered: bool,
    /// How long an attempt may take; the engine keeps it.
    pub(crate) timeout: Option<Duration>,
    pub(crate) counters: Arc<Counters>,
}

/// A topic that a handler reads, or a pattern of them, and what its group has beside it.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) topic: Topic,
    /// The group's own place for messages of this topic that come again.
    pub(crate) place: Topic,
    /// Where messages of this topic go that are given up.
    pub(crate) dead: Topic,
    /// Where its retries wait that the broker cannot delay, by the shortest delay of each place, ascending. Known once there is a
    /// broker.
    pub(crate) tiers: Vec<(Duration, Topic)>,
}

impl Source {
    fn reads(&self, topic: &Topic) -> bool {
        meant(&self.topic, topic)
    }

    /// The same for one topic that the pattern matches: what is named after the pattern is named after the topic.
    fn at(&self, topic: &Topic) -> Self {
        let here = |name: &Topic| match name.as_str().strip_prefix(self.topic.as_str()) {
            Some(rest) => format!("{topic}{rest}").into(),
            None => name.clone(),
        };
        let tiers = self.tiers.iter().map(|(least, tier)| (*least, here(tier))).collect();
        Self { topic: topic.clone(), place: here(&self.place), dead: here(&self.dead), tiers }
    }

    fn origin(&self, here: &Topic) -> Option<(Topic, bool)> {
        if self.reads(here) {
            return Some((here.clone(), false));
        }
        let waits = self.tiers.iter().find(|(_, tier)| meant(tier, here));
        let place = waits.map(|(_, tier)| tier).or_else(|| Some(&self.place).filter(|place| meant(place, here)))?;
        let rest = place.as_str().strip_prefix(self.topic.as_str())?;
        Some((here.as_str().strip_suffix(rest)?.into(), waits.is_some()))
    }
}

fn meant(name: &Topic, topic: &Topic) -> bool {
    TopicPattern::overlap(name.as_str(), topic.as_str())
}

/// What a handler has done so far.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) handled: AtomicU64,
    pub(crate) known: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) dead: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) skipped: AtomicU64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Where a message goes.
pub(crate) enum Routed {
    /// To this handler.
    To(usize),
    /// To the dead-letter topic of this handler's group, because of this.
    Dead(usize, DeadReason, String),
    /// Nowhere: nobody in the group wants it.
    Skip(usize),
    /// Nowhere: the subscription stops here, because of this.
    Fail(String),
}

/// Takes a message out of its envelope, if it is in one, and says who takes it. One whose envelope is broken is as undecodable as a
/// broken payload is.
pub(crate) fn take_in(routes: &[RouteRunner], reading: &[usize], incoming: &mut Incoming, unknown: UnknownEvents) -> Routed {
    match cloudevents::unwrap(&incoming.message) {
        Ok(unwrapped) => {
            incoming.unwrapped = unwrapped;
            dispatch(routes, reading, incoming, unknown)
        }
        Err(error) => {
            reading.first().map_or(Routed::Skip(0), |first| Routed::Dead(*first, DeadReason::Undecodable, error.to_string()))
        }
    }
}

/// Which of the handlers that read the message's topic takes it. There is at least one, named by its index in `routes`; those that
/// take only messages with a certain header come first.
fn dispatch(routes: &[RouteRunner], reading: &[usize], incoming: &Incoming, unknown: UnknownEvents) -> Routed {
    let Some(&first) = reading.first() else { return Routed::Skip(0) };
    let headers = incoming.content().headers();
    let wanting = || reading.iter().copied().filter(|index| routes[*index].wants(headers));
    let nobody = |why: &dyn Fn() -> String| match unknown {
        UnknownEvents::Skip => Routed::Skip(first),
        UnknownEvents::DeadLetter => Routed::Dead(first, DeadReason::UnknownEvent, why()),
        UnknownEvents::Fail => Routed::Fail(why()),
    };
    let Some(wire_type) = headers.get(names::TYPE) else {
        // A bare message is what the topic's event is: the one that says `bare`, or the first.
        let bare = wanting().find(|index| routes[*index].event.is_none_or(|event| event.bare));
        let unmatched = || "no handler of the group takes a message with these headers".to_owned();
        return bare.or_else(|| wanting().next()).map_or_else(|| nobody(&unmatched), Routed::To);
    };
    if let Some(index) =
        wanting().find(|index| routes[*index].wire_type.as_bytes() == wire_type || routes[*index].event.is_none())
    {
        return Routed::To(index);
    }
    let Ok(wire_type) = std::str::from_utf8(wire_type) else {
        return Routed::Dead(first, DeadReason::Undecodable, format!("the header `{}` is not text", names::TYPE));
    };
    // What is a version that one event does not know may be one that another accepts.
    let mut other_version = None;
    for index in wanting() {
        let Some(event) = routes[index].event else { continue };
        match event.recognise(wire_type) {
            Recognised::Yes | Recognised::Accepted(_) => return Routed::To(index),
            Recognised::OtherVersion => other_version = other_version.or(Some((index, event))),
            Recognised::No => {}
        }
    }
    if let Some((index, event)) = other_version {
        let error = format!("`{wire_type}` is a version that this program does not know; it knows {}", event.known_on_wire());
        return Routed::Dead(index, DeadReason::Undecodable, error);
    }
    nobody(&|| {
        let known = |index: &usize| routes[*index].event.is_none_or(|event| event.recognise(wire_type) != Recognised::No);
        let with = if reading.iter().any(known) { " with these headers" } else { "" };
        format!("no handler of the group {} `{wire_type}`{with}", if with.is_empty() { "knows the event" } else { "takes" })
    })
}

impl RouteRunner {
    /// What belongs to a message of this topic.
    pub(crate) fn source(&self, topic: &Topic) -> Source {
        // A message that was taken in is of one of them.
        self.sources.iter().find(|source| source.reads(topic)).unwrap_or(&self.sources[0]).at(topic)
    }

    /// Whether it reads this topic.
    pub(crate) fn reads(&self, topic: &Topic) -> bool {
        self.sources.iter().any(|source| source.reads(topic))
    }

    /// The topic whose messages are here, if this handler reads them, and whether they wait here.
    pub(crate) fn origin(&self, here: &Topic) -> Option<(Topic, bool)> {
        self.sources.iter().find_map(|source| source.origin(here))
    }

    /// Whether a message with these headers is for this handler, if its event is.
    fn wants(&self, headers: &Headers) -> bool {
        self.matches.is_none_or(|wanted| headers.get(wanted.header).is_some_and(|value| value == wanted.value.as_bytes()))
    }

    /// What the message is in order with: its key, as a hash. A native key wins; a bare message without one has the key that its
    /// payload says, if it decodes. `None`: in order with nothing.
    pub(crate) fn lane(&self, incoming: &Incoming) -> Option<u64> {
        if !self.ordered {
            return None;
        }
        match incoming.content().key() {
            Some(key) => Some(lane_of(key)),
            None => key_of_payload(self.event?, incoming).as_ref().map(lane_of),
        }
    }
}

/// The key that a payload says. One that does not decode has none, nor has one whose key expression panics: what is wrong with
/// it shows when it is tried.
fn key_of_payload(event: &EventDef, incoming: &Incoming) -> Option<Key> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (event.key_of)(incoming.content()))).ok()?.ok()?
}

/// A well-mixed hash of a key: eight bytes at a time, by folded multiplication. Keys that share a lane wait for each other, and
/// nothing worse.
fn lane_of(key: &Key) -> u64 {
    const fn fold(a: u64, b: u64) -> u64 {
        let product = (a as u128) * (b as u128);
        (product as u64) ^ ((product >> 64) as u64)
    }
    let bytes = key.as_bytes();
    let (words, rest) = bytes.as_chunks::<8>();
    let mut hash = 0x9e37_79b9_7f4a_7c15 ^ bytes.len() as u64;
    for word in words {
        hash = fold(hash ^ u64::from_le_bytes(*word), 0xa076_1d64_78bd_642f);
    }
    let rest = rest.iter().fold(0, |rest, byte| (rest << 8) | u64::from(*byte));
    fold(hash ^ rest, 0xe703_7ed1_a0b4_28db)
}

/// A well-mixed number for a place, for jitter (the finaliser of splitmix64).
pub(crate) fn identity(incoming: &Incoming) -> u64 {
    let place = match incoming.position {
        convoke_core::Position::Entry(ms, seq) => ms.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ seq,
        convoke_core::Position::Offset(n) | convoke_core::Position::Tag(n) => n,
    };
    let mut z = (place ^ (u64::from(incoming.partition) << 48)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
