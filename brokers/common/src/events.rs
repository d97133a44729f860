//! What an adapter tells the runtime, and how long it holds when it is read.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use convoke_core::broker::{Deliveries, Resume, SubscriptionEvent};
use convoke_core::{Epoch, Error, PartId, Topic};
use futures_core::Stream;
use tokio::sync::Notify;

/// Two ends of a queue of events: the adapter tells, the runtime reads.
///
/// The queue needs no bound of its own. Deliveries are bounded by what was granted, and of the renewals of a partition only the last
/// one is kept.
#[must_use]
pub fn events() -> (Events, EventStream) {
    let shared = Arc::new(Shared { state: Mutex::default(), gone: Notify::new() });
    (Events(Arc::clone(&shared)), EventStream(shared))
}

/// The adapter's end.
#[derive(Debug, Clone)]
pub struct Events(Arc<Shared>);

/// The runtime's end: [`Subscription::events`](convoke_core::broker::Subscription::events).
///
/// Terms are counted from when an event is read, as the contract has it, and not from when it was told: a process that was frozen in
/// between finds that nothing is left of them.
#[derive(Debug)]
pub struct EventStream(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    gone: Notify,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Told>,
    renewed: BTreeMap<(PartId, Epoch), Instant>,
    waker: Option<Waker>,
    interrupted: bool,
    ended: bool,
    gone: bool,
}

#[derive(Debug)]
enum Told {
    Event(SubscriptionEvent),
    Assigned { part: PartId, topic: Topic, partition: u32, epoch: Epoch, until: Option<Instant>, resume: Resume },
}

impl Events {
    /// Tells what happened.
    pub fn tell(&self, event: SubscriptionEvent) {
        self.push(Told::Event(event));
    }

    /// Tells of messages; of none, nothing.
    pub fn deliver(&self, deliveries: Deliveries) {
        if !deliveries.messages.is_empty() {
            self.tell(SubscriptionEvent::Deliveries(deliveries));
        }
    }

    /// A partition is ours until then, unless renewed; without a time, until we are told otherwise.
    pub fn assigned(&self, part: PartId, topic: Topic, partition: u32, epoch: Epoch, until: Option<Instant>, resume: Resume) {
        self.push(Told::Assigned { part, topic, partition, epoch, until, resume });
    }

    /// A partition is ours until then.
    pub fn renewed(&self, part: PartId, epoch: Epoch, until: Instant) {
        self.0.change(|state| {
            state.renewed.insert((part, epoch), until);
        });
    }

    /// Reading is interrupted. Said once, until it goes on: what fails on the way back is the same interruption.
    pub fn interrupted(&self, error: Error) {
        let said = std::mem::replace(&mut self.0.lock().interrupted, true);
        if !said {
            self.tell(SubscriptionEvent::Interrupted(error));
        }
    }

    /// Reading goes on, if it was interrupted.
    pub fn resumed(&self) {
        let was = std::mem::take(&mut self.0.lock().interrupted);
        if was {
            self.tell(SubscriptionEvent::Resumed);
        }
    }

    /// Nothing comes after this.
    pub fn end(&self) {
        self.0.change(|state| state.ended = true);
    }

    /// Whether nobody reads any more.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.0.lock().gone
    }

    /// Waits until nobody reads any more: the subscription was dropped, which is a crash unless it was closed before.
    ///
    /// # Cancel safety
    /// Nothing is lost if the future is dropped.
    pub async fn gone(&self) {
        while !self.is_gone() {
            self.0.gone.notified().await;
        }
    }

    fn push(&self, told: Told) {
        self.0.change(|state| state.queue.push_back(told));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The waker is called after the lock is gone: it may lead back here.
    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        if state.gone {
            return;
        }
        change(&mut state);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Stream for EventStream {
    type Item = SubscriptionEvent;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<SubscriptionEvent>> {
        let mut state = self.0.lock();
        if let Some(told) = state.queue.pop_front() {
            return Poll::Ready(Some(match told {
                Told::Event(event) => event,
                Told::Assigned { part, topic, partition, epoch, until, resume } => {
                    SubscriptionEvent::Assigned { part, topic, partition, epoch, term: until.map(left), resume }
                }
            }));
        }
        // Behind the rest, so that a renewal never comes before its assignment; after its end it says nothing.
        if let Some(((part, epoch), until)) = state.renewed.pop_first() {
            return Poll::Ready(Some(SubscriptionEvent::Renewed { part, epoch, term: left(until) }));
        }
        if state.ended {
            return Poll::Ready(None);
        }
        if !state.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

fn left(until: Instant) -> std::time::Duration {
    until.saturating_duration_since(Instant::now())
}

impl Drop for EventStream {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.gone = true;
        // What nobody reads is not kept; it goes after the lock, since it is not ours.
        let queue = std::mem::take(&mut state.queue);
        drop(state);
        drop(queue);
        self.0.gone.notify_waiters();
        self.0.gone.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    async fn next(stream: &mut EventStream) -> Option<SubscriptionEvent> {
        poll_fn(|cx| Pin::new(&mut *stream).poll_next(cx)).await
    }

    #[tokio::test]
    async fn a_term_is_counted_from_when_it_is_read() {
        let (events, mut stream) = events();
        let (part, epoch, now) = (PartId(0), Epoch(1), Instant::now());
        events.assigned(part, "t".into(), 0, epoch, Some(now), Resume::default());
        let Some(SubscriptionEvent::Assigned { term: Some(Duration::ZERO), .. }) = next(&mut stream).await else {
            panic!("nothing was left of it");
        };
        for seconds in [1, 2, 60] {
            events.renewed(part, epoch, now + Duration::from_secs(seconds));
        }
        let Some(SubscriptionEvent::Renewed { term, .. }) = next(&mut stream).await else { panic!("renewed") };
        assert!(term > Duration::from_secs(50) && term <= Duration::from_secs(60), "the last one counts: {term:?}");
        events.end();
        assert!(next(&mut stream).await.is_none());
    }

    #[tokio::test]
    async fn the_adapter_learns_that_nobody_reads() {
        let (events, stream) = events();
        let waits = tokio::spawn({
            let events = events.clone();
            async move { events.gone().await }
        });
        tokio::task::yield_now().await;
        assert!(!events.is_gone());
        drop(stream);
        waits.await.unwrap();
        events.tell(SubscriptionEvent::Resumed);
        assert!(events.is_gone(), "and telling is in vain");
    }

    #[tokio::test]
    async fn an_interruption_and_its_end_are_said_once() {
        let (events, mut stream) = events();
        let error = || Error::new(convoke_core::ErrorKind::Connection, "gone");
        for _ in 0..2 {
            events.resumed();
            events.interrupted(error());
            events.interrupted(error());
            events.resumed();
        }
        events.end();
        for _ in 0..2 {
            assert!(matches!(next(&mut stream).await, Some(SubscriptionEvent::Interrupted(_))));
            assert!(matches!(next(&mut stream).await, Some(SubscriptionEvent::Resumed)));
        }
        assert!(next(&mut stream).await.is_none());
    }

    #[tokio::test]
    async fn who_waits_is_woken() {
        let (events, mut stream) = events();
        let reads = tokio::spawn(async move { next(&mut stream).await.is_some() });
        tokio::task::yield_now().await;
        events.tell(SubscriptionEvent::Resumed);
        assert!(reads.await.unwrap());
    }
}
