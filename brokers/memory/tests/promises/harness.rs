//! Short words for what the tests do over and over.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use convoke_core::broker::{
    Broker, EnsureMode, Lag, PublishOutcome, Resume, Settle, Settled, Settlement, Start, SubscribeSpec, SubscriptionControl,
    SubscriptionEvent, TopicSpec, Topology,
};
use convoke_core::{Epoch, ErrorKind, Incoming, Message, Outgoing, PartId, Position, Topic};
use convoke_memory::{MemoryBroker, Options};
use futures_core::Stream;

pub(crate) const TOPIC: &str = "orders";
pub(crate) const GROUP: &str = "warehouse";
pub(crate) const PLENTY: (u32, u64) = (1_000_000, 1 << 40);

/// A broker with the topic `orders` of so many partitions.
pub(crate) async fn broker(partitions: u32) -> MemoryBroker {
    broker_with(partitions, Options::default()).await
}

pub(crate) async fn broker_with(partitions: u32, options: Options) -> MemoryBroker {
    let broker = MemoryBroker::with(options).unwrap();
    ensure(&broker, TOPIC, partitions).await;
    broker
}

pub(crate) async fn ensure(broker: &MemoryBroker, topic: &str, partitions: u32) {
    let mut spec = TopicSpec::new(topic);
    spec.partitions = Some(partitions);
    let mut topology = Topology::default();
    topology.topics.push(spec);
    broker.ensure(&topology, EnsureMode::Create).await.unwrap();
}

pub(crate) fn message(key: &str, payload: &str) -> Outgoing {
    Outgoing::new(Message::builder(TOPIC).key(key.to_owned()).payload(payload.to_owned()).build())
}

pub(crate) fn unkeyed(payload: impl std::fmt::Display) -> Outgoing {
    Outgoing::new(Message::builder(TOPIC).payload(payload.to_string()).build())
}

/// Publishes messages that must all be confirmed.
pub(crate) async fn publish(broker: &MemoryBroker, batch: Vec<Outgoing>) {
    for outcome in broker.publish(batch).await {
        assert!(matches!(outcome, PublishOutcome::Confirmed(_)), "{outcome:?}");
    }
}

/// Publishes `range` as payloads, without a key.
pub(crate) async fn publish_numbers(broker: &MemoryBroker, range: std::ops::Range<u32>) {
    publish(broker, range.map(unkeyed).collect()).await;
}

pub(crate) async fn publish_one(broker: &MemoryBroker, outgoing: Outgoing) -> PublishOutcome {
    broker.publish(vec![outgoing]).await.pop().unwrap()
}

pub(crate) fn rejected(outcome: &PublishOutcome) -> Option<(bool, ErrorKind, String)> {
    match outcome {
        PublishOutcome::Rejected { retryable, error } => Some((*retryable, error.kind(), error.to_string())),
        _ => None,
    }
}

pub(crate) async fn lag(broker: &MemoryBroker) -> Lag {
    broker.lag(GROUP, &[Topic::from(TOPIC)]).await.unwrap()
}

/// Backlog, unsettled and delayed.
pub(crate) async fn counts(broker: &MemoryBroker) -> (u64, u64, u64) {
    let lag = lag(broker).await;
    (lag.backlog.unwrap(), lag.unsettled.unwrap(), lag.delayed.unwrap())
}

pub(crate) fn spec() -> SubscribeSpec {
    SubscribeSpec::new(GROUP, vec![Topic::from(TOPIC)])
}

pub(crate) fn spec_of(group: &str, start: Start) -> SubscribeSpec {
    let mut spec = SubscribeSpec::new(group, vec![Topic::from(TOPIC)]);
    spec.start = start;
    spec
}

pub(crate) fn text(incoming: &Incoming) -> String {
    String::from_utf8(incoming.message.payload().to_vec()).unwrap()
}

pub(crate) fn numbers(messages: &[Incoming]) -> Vec<u32> {
    messages.iter().map(|incoming| text(incoming).parse().unwrap()).collect()
}

pub(crate) fn offset(incoming: &Incoming) -> u64 {
    match incoming.position {
        Position::Offset(offset) => offset,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Moves virtual time.
pub(crate) async fn pass(time: Duration) {
    tokio::time::advance(time).await;
}

pub(crate) fn nack(delay: Duration, attempts: u32, hold: bool) -> Settle {
    Settle::Nack { delay, attempts, hold }
}

/// One member of a group.
pub(crate) struct Reader {
    pub(crate) events: Pin<Box<dyn Stream<Item = SubscriptionEvent> + Send>>,
    pub(crate) control: Box<dyn SubscriptionControl>,
    /// What it has, by part.
    pub(crate) owned: BTreeMap<PartId, (Topic, u32, Epoch)>,
    /// What it was told when it was assigned each part the last time.
    resumes: BTreeMap<PartId, Resume>,
    /// What it grants to every partition that it is assigned.
    credit: Option<(u32, u64)>,
    /// Whether it calls `revoked` as soon as it is asked.
    yields: bool,
}

impl Reader {
    /// Joins, and will take everything.
    pub(crate) async fn join(broker: &MemoryBroker) -> Self {
        Self::with(broker, spec()).await
    }

    pub(crate) async fn with(broker: &MemoryBroker, spec: SubscribeSpec) -> Self {
        let subscription = broker.subscribe(spec).await.unwrap();
        Self {
            events: subscription.events,
            control: subscription.control,
            owned: BTreeMap::new(),
            resumes: BTreeMap::new(),
            credit: Some(PLENTY),
            yields: true,
        }
    }

    /// Grants nothing by itself.
    pub(crate) fn frugal(mut self) -> Self {
        self.credit = None;
        self
    }

    /// Does not answer revocations.
    pub(crate) fn stubborn(mut self) -> Self {
        self.yields = false;
        self
    }

    /// The next event, once there is one.
    pub(crate) async fn next(&mut self) -> Option<SubscriptionEvent> {
        let event = poll_fn(|cx| self.events.as_mut().poll_next(cx)).await;
        self.note(event.as_ref());
        event
    }

    /// What is there now: `Pending`, an event, or the end.
    pub(crate) fn poll(&mut self) -> Poll<Option<SubscriptionEvent>> {
        let event = self.events.as_mut().poll_next(&mut Context::from_waker(Waker::noop()));
        if let Poll::Ready(event) = &event {
            self.note(event.as_ref());
        }
        event
    }

    fn note(&mut self, event: Option<&SubscriptionEvent>) {
        match event {
            Some(SubscriptionEvent::Assigned { part, topic, partition, epoch, resume, .. }) => {
                self.resumes.insert(*part, resume.clone());
                let before = self.owned.insert(*part, (topic.clone(), *partition, *epoch));
                assert!(before.is_none(), "assigned twice: {event:?}");
                if let Some((messages, bytes)) = self.credit {
                    self.control.grant(*part, *epoch, messages, bytes);
                }
            }
            Some(SubscriptionEvent::Revoking { part, epoch, .. }) if self.yields => {
                self.owned.remove(part);
                self.control.revoked(*part, *epoch);
            }
            Some(SubscriptionEvent::Lost { part, epoch }) => match self.owned.remove(part) {
                Some((_, _, owned)) => assert_eq!(owned, *epoch),
                None => assert!(self.yields, "lost what it never had"),
            },
            Some(SubscriptionEvent::Deliveries(deliveries)) => {
                assert_eq!(self.owned[&deliveries.part].2, deliveries.epoch);
                assert!(!deliveries.messages.is_empty());
            }
            _ => {}
        }
    }

    /// Everything that is there now.
    pub(crate) fn events(&mut self) -> Vec<SubscriptionEvent> {
        let mut events = Vec::new();
        while let Poll::Ready(Some(event)) = self.poll() {
            events.push(event);
        }
        events
    }

    /// The messages that are there now.
    pub(crate) fn messages(&mut self) -> Vec<Incoming> {
        let deliveries = self.events().into_iter().filter_map(|event| match event {
            SubscriptionEvent::Deliveries(deliveries) => Some(deliveries.messages),
            _ => None,
        });
        deliveries.flatten().collect()
    }

    /// Grants to everything that it has.
    pub(crate) fn grant(&self, messages: u32, bytes: u64) {
        for (part, (_, _, epoch)) in &self.owned {
            self.control.grant(*part, *epoch, messages, bytes);
        }
    }

    pub(crate) fn epoch(&self, part: u32) -> Epoch {
        self.owned[&PartId(part)].2
    }

    pub(crate) fn resume(&self, part: u32) -> &Resume {
        &self.resumes[&PartId(part)]
    }

    /// The numbers of the partitions that it has.
    pub(crate) fn partitions(&self) -> Vec<u32> {
        let mut partitions: Vec<u32> = self.owned.values().map(|(_, partition, _)| *partition).collect();
        partitions.sort_unstable();
        partitions
    }

    pub(crate) async fn settle(&self, incoming: &Incoming, settle: Settle) -> Settled {
        self.control.settle(vec![Settlement::new(incoming.token.clone(), settle)]).await.pop().unwrap()
    }

    /// Settles what must still be settled.
    pub(crate) async fn apply(&self, incoming: &Incoming, settle: Settle) {
        let settled = self.settle(incoming, settle).await;
        assert!(matches!(settled, Settled::Applied), "{settled:?}");
    }

    pub(crate) async fn stale(&self, incoming: &Incoming, settle: Settle) {
        let settled = self.settle(incoming, settle).await;
        assert!(matches!(settled, Settled::Stale), "{settled:?}");
    }

    pub(crate) async fn ack_all(&self, messages: &[Incoming]) {
        let batch = messages.iter().map(|incoming| Settlement::new(incoming.token.clone(), Settle::Ack)).collect();
        for settled in self.control.settle(batch).await {
            assert!(matches!(settled, Settled::Applied), "{settled:?}");
        }
    }
}
