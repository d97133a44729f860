//! A member of a group: what it does, in turn, for as long as it lives.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use convoke_broker_common::Backoff;
use convoke_core::broker::SubscriptionEvent;
use convoke_core::{Epoch, Error, ErrorKind, PartId};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::chores::Chores;
use super::desk::Desk;
use super::settling;
use super::waiting::Waiting;
use crate::failure::Failure;
use crate::link::{Link, State};

/// How long a close waits for what is being settled.
const LAST_ORDERS: Duration = Duration::from_secs(5);
/// How often somebody who reads to a marked end looks whether it is reached.
const LOOK_FOR_END: Duration = Duration::from_millis(200);

/// Who has worked for so long begins anew at once.
const LONG_ENOUGH: Duration = Duration::from_secs(10);

/// Why a member has stopped.
pub(super) enum Stopped {
    /// It was closed, or has come to its end.
    Closed,
    /// The connection is gone.
    Interrupted(Failure),
    /// A topic or the group is gone.
    Gone(Failure),
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        if failure.is_gone() { Self::Gone(failure) } else { Self::Interrupted(failure) }
    }
}

pub(super) struct Member {
    pub(super) desk: Arc<Desk>,
    pub(super) link: Arc<Link>,
    /// When to say next that it is alive, and when it was said last.
    pub(super) beat_at: Instant,
    pub(super) beaten_at: Option<Instant>,
    pub(super) waiting: Waiting,
    pub(super) chores: Chores,
    look_for_end_at: Instant,
    /// The generation of the connection that this goes through.
    generation: u64,
}

/// Says that a subscription has ended, however it did: also if its task was thrown away.
struct Ends(Arc<Desk>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.events.end();
        self.0.end();
    }
}

/// Lives until the subscription is closed or its stream is dropped; the latter is a crash, and gives nothing back.
pub(super) async fn run(desk: Arc<Desk>, link: Arc<Link>) {
    let _ends = Ends(Arc::clone(&desk));
    let live = live(Arc::clone(&desk), Arc::clone(&link));
    let settle = settling::run(Arc::clone(&desk), link);
    tokio::select! {
        () = live => {}
        () = settle => {}
        () = desk.events.gone() => {}
    }
}

async fn live(desk: Arc<Desk>, link: Arc<Link>) {
    let mut state = link.watch();
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
    loop {
        let Some(generation) = up(&mut state, &desk).await else { return };
        let begun = Instant::now();
        let stopped = match Member::new(&desk, &link, generation).await {
            Ok(mut member) => member.work(&mut state).await,
            Err(stopped) => stopped,
        };
        match stopped {
            Stopped::Closed => return,
            Stopped::Gone(failure) => {
                tracing::error!(group = desk.group, error = %failure.error("the subscription ends"), "a topic or the group is gone");
                return;
            }
            Stopped::Interrupted(failure) => {
                abandon(&desk);
                desk.events.interrupted(failure.error("the subscription is interrupted"));
                // A server that refuses everything is not asked all the time.
                if begun.elapsed() > LONG_ENOUGH {
                    backoff.reset();
                }
                sleep(backoff.failed()).await;
            }
        }
    }
}

/// Waits until there is a connection; nothing if the subscription or the connection is closed before.
async fn up(state: &mut watch::Receiver<State>, desk: &Desk) -> Option<u64> {
    loop {
        let present = state.borrow_and_update().clone();
        match present {
            State::Up { generation, .. } => return Some(generation),
            State::Closed => return None,
            State::Down { .. } => {}
        }
        if desk.is_closing() {
            return None;
        }
        tokio::select! {
            changed = state.changed() => changed.ok()?,
            () = desk.changed.notified() => {}
        }
    }
}

/// Nothing is ours any more, as far as we know.
fn abandon(desk: &Desk) {
    for (index, part) in (0..).zip(&mut *desk.parts()) {
        if let Some(own) = part.own.take() {
            part.place = own.place();
            desk.events.tell(SubscriptionEvent::Lost { part: PartId(index), epoch: own.epoch });
        }
    }
}

impl Member {
    async fn new(desk: &Arc<Desk>, link: &Arc<Link>, generation: u64) -> Result<Self, Stopped> {
        let waiting = Waiting::open(link).await.map_err(|error| Stopped::Interrupted(Failure::NoAnswer(error.to_string())))?;
        let now = Instant::now();
        let member = Self {
            desk: Arc::clone(desk),
            link: Arc::clone(link),
            beat_at: now,
            beaten_at: None,
            waiting,
            chores: Chores::new(desk, &link.options),
            look_for_end_at: now,
            generation,
        };
        Ok(member)
    }

    async fn work(&mut self, state: &mut watch::Receiver<State>) -> Stopped {
        if self.desk.broadcast {
            self.take_all();
        }
        loop {
            if self.desk.is_closing() {
                return self.close().await;
            }
            let more = match self.turn().await {
                Ok(more) => more,
                Err(stopped) => return stopped,
            };
            // A connection is not enough: the server has answered over it.
            self.desk.events.resumed();
            if more {
                continue;
            }
            let next = self.next();
            let desk = Arc::clone(&self.desk);
            tokio::select! {
                () = desk.changed.notified() => {}
                told = self.waiting.told() => if let Err(stopped) = self.heard(told).await { return stopped },
                () = sleep_until(next) => {}
                _ = state.changed() => {}
            }
            match &*state.borrow() {
                State::Up { generation, .. } if *generation == self.generation => {}
                State::Up { .. } => return Stopped::Interrupted(Failure::NotSent("it was made anew".to_owned())),
                State::Down { reason, .. } => return Stopped::Interrupted(Failure::NotSent(reason.clone())),
                State::Closed => return Stopped::Closed,
            }
        }
    }

    /// Does what there is to do. Returns whether there may be more.
    async fn turn(&mut self) -> Result<bool, Stopped> {
        if !self.desk.broadcast {
            self.look_after_parts().await?;
            if Instant::now() >= self.beat_at {
                self.beat().await?;
            }
        }
        if self.read().await? {
            return Ok(true);
        }
        self.do_chores().await?;
        if self.is_at_end().await? {
            self.give_everything_back().await?;
            self.desk.events.tell(SubscriptionEvent::AtEnd);
            return Err(Stopped::Closed);
        }
        self.watch().await?;
        Ok(false)
    }

    /// When something is to be done even if nobody tells.
    fn next(&self) -> Instant {
        let mut next = self.chores.next();
        next = self.waiting.next().map_or(next, |at| next.min(at));
        if !self.desk.broadcast {
            next = next.min(self.beat_at);
        }
        let mut reads_to_end = false;
        for part in &*self.desk.parts() {
            reads_to_end |= part.end.is_some();
            let Some(own) = &part.own else { continue };
            if let Some(due) = own.due.filter(|_| own.credit > 0) {
                next = next.min(due);
            }
            if let Some(revoking) = &own.revoking {
                next = next.min(revoking.until);
            }
        }
        if reads_to_end { next.min(self.look_for_end_at) } else { next }
    }

    pub(super) fn tell_lost(&self, part: PartId, epoch: Epoch) {
        self.desk.events.tell(SubscriptionEvent::Lost { part, epoch });
    }

    /// Whether everything below the marks is settled, whoever of the group did it.
    async fn is_at_end(&mut self) -> Result<bool, Stopped> {
        let now = Instant::now();
        let marked: Vec<_> = {
            let parts = self.desk.parts();
            // What was delivered beyond the marks there is none; while anything is open, nothing has to be asked.
            let open = parts.iter().filter_map(|part| part.own.as_ref()).any(|own| !own.hand.is_empty() || !own.again.is_empty());
            if open || now < self.look_for_end_at {
                return Ok(false);
            }
            let marks = parts.iter().filter_map(|part| Some((part.keys.stream.clone(), part.reached(), part.end?)));
            marks.collect()
        };
        if marked.is_empty() {
            return Ok(false);
        }
        self.look_for_end_at = now + LOOK_FOR_END;
        if self.desk.broadcast {
            return Ok(marked.iter().all(|(_, place, end)| place >= end));
        }
        self.all_settled(&marked.into_iter().map(|(stream, _, end)| (stream, end)).collect::<Vec<_>>()).await
    }

    /// Finishes, gives everything back, and says so to the others.
    async fn close(&mut self) -> Stopped {
        // What was said before the close is done before it.
        let settled = async {
            let mut open = self.desk.open_orders.subscribe();
            // The sender is ours.
            let _ = open.wait_for(|open| *open == 0).await;
        };
        let _ = tokio::time::timeout(LAST_ORDERS, settled).await;
        let unsettled: usize = self.desk.parts().iter().filter_map(|part| part.own.as_ref()).map(|own| own.hand.len()).sum();
        self.desk.unsettled.store(unsettled as u64, SeqCst);
        if let Err(Stopped::Interrupted(failure) | Stopped::Gone(failure)) = self.give_everything_back().await {
            let error = failure.error("partitions cannot be given back; they go to others when their leases run out");
            tracing::warn!(group = self.desk.group, %error, "the subscription is closed");
        }
        Stopped::Closed
    }
}

/// What a task that ended says.
pub(super) fn no_script() -> Failure {
    let error = Error::new(ErrorKind::Internal, "Redis answered otherwise than the script does");
    Failure::NoAnswer(error.to_string())
}
