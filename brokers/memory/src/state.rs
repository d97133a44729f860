//! Everything a broker knows, behind one lock that is held for one batch at a time.
//!
//! Whoever locks brings the state up to the present first ([`State::tick`]), collects whom to wake and what to throw away, and
//! does both after unlocking. Nothing runs by itself: what is due is done by whoever comes next, and each stream sleeps until
//! something is due for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;
use std::time::SystemTime;

use convoke_core::broker::SubscriptionEvent;
use convoke_core::{Error, ErrorKind, Topic};

use crate::clock::{self, Clock, Moment, NEVER};
use crate::faults::PublishFault;
use crate::group::Group;
use crate::log::{Stored, TopicLog};
use crate::member::Member;
use crate::options::Options;

/// Names a subscription; never used twice.
pub(crate) type MemberId = u64;

/// A broker: what its connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    name: Option<String>,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) options: Options,
    pub(crate) topics: Vec<TopicLog>,
    /// Places of topics that were deleted.
    pub(crate) free_topics: Vec<usize>,
    pub(crate) names: HashMap<Topic, usize>,
    pub(crate) groups: Vec<Option<Group>>,
    pub(crate) members: HashMap<MemberId, Member>,
    /// The last number given to a member or a connection.
    last_id: u64,
    /// When the connection is back, while it is cut.
    pub(crate) cut: Option<Moment>,
    /// How often it was cut.
    pub(crate) cuts: u64,
    pub(crate) publish_faults: Vec<PublishFault>,
    /// The present.
    pub(crate) now: Moment,
    /// Nothing is due before.
    pub(crate) timer: Moment,
    /// Whom to wake once the lock is released.
    pub(crate) wakes: Vec<Waker>,
    /// What to drop once the lock is released.
    pub(crate) trash: Vec<Stored>,
    /// Wakers to drop once the lock is released, because dropping one may run anything.
    pub(crate) retired: Vec<Waker>,
}

static NAMED: Mutex<Option<HashMap<String, Weak<Shared>>>> = Mutex::new(None);

impl Shared {
    /// A broker that no other connection can find.
    pub(crate) fn private(options: Options) -> Arc<Self> {
        Arc::new(Self::new(None, options))
    }

    /// The broker of this name, made with these options if there is none.
    pub(crate) fn named(name: &str, options: Options) -> Arc<Self> {
        let mut named = NAMED.lock().unwrap_or_else(PoisonError::into_inner);
        let named = named.get_or_insert_default();
        if let Some(broker) = named.get(name).and_then(Weak::upgrade) {
            return broker;
        }
        named.retain(|_, broker| broker.strong_count() > 0);
        let broker = Arc::new(Self::new(Some(name.to_owned()), options));
        named.insert(name.to_owned(), Arc::downgrade(&broker));
        broker
    }

    fn new(name: Option<String>, options: Options) -> Self {
        let state = State {
            options,
            topics: Vec::new(),
            free_topics: Vec::new(),
            names: HashMap::new(),
            groups: Vec::new(),
            members: HashMap::new(),
            last_id: 0,
            cut: None,
            cuts: 0,
            publish_faults: Vec::new(),
            now: 0,
            timer: NEVER,
            wakes: Vec::new(),
            trash: Vec::new(),
            retired: Vec::new(),
        };
        Self { name, clock: Clock::new(), state: Mutex::new(state) }
    }

    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the state, brought up to the present.
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut State, Moment) -> R) -> R {
        let now = self.clock.now();
        let mut state = self.lock();
        state.now = now;
        if now >= state.timer {
            state.tick(now);
        }
        let result = act(&mut state, now);
        let wakes = std::mem::take(&mut state.wakes);
        let garbage = (std::mem::take(&mut state.trash), std::mem::take(&mut state.retired));
        drop(state);
        wakes.into_iter().for_each(Waker::wake);
        drop(garbage);
        result
    }
}

impl State {
    pub(crate) fn new_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Does what is due.
    fn tick(&mut self, now: Moment) {
        if self.cut.is_some_and(|until| until <= now) {
            self.cut = None;
            for member in self.members.values_mut() {
                member.queue.push_back(SubscriptionEvent::Resumed);
                self.wakes.extend(member.waker.take());
            }
            for g in 0..self.groups.len() {
                self.hand_over(g, now);
            }
        }
        for g in 0..self.groups.len() {
            if self.groups[g].as_ref().is_some_and(|group| group.deadline <= now) {
                self.end_revocations(g, now);
            }
        }
        let wall = clock::wall(SystemTime::now());
        for t in 0..self.topics.len() {
            while let Some(partition) = self.topics[t].append_due(now, wall) {
                self.wake_readers(t, partition as usize);
            }
        }
        let deadlines = self.groups.iter().flatten().map(|group| group.deadline);
        let due = self.topics.iter().map(TopicLog::next_due);
        self.timer = deadlines.chain(due).chain(self.cut).min().unwrap_or(NEVER);
    }

    /// Wakes the owners of a partition who may be handed something.
    pub(crate) fn wake_readers(&mut self, t: usize, p: usize) {
        for (g, k) in &self.topics[t].groups {
            let Some(group) = self.groups.get_mut(*g).and_then(Option::as_mut) else { continue };
            let part = &mut group.topics[*k].parts[p];
            if let Some(owner) = &part.owner
                && owner.revoking.is_none()
                && owner.credit.any()
            {
                self.wakes.extend(self.members.get_mut(&owner.member).and_then(|member| member.waker.take()));
            }
        }
    }

    /// The topic of this name.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) fn topic(&self, name: &Topic) -> Result<usize, Error> {
        self.names.get(name).copied().ok_or_else(|| no_topic(name))
    }

    /// # Errors
    /// While the connection is cut.
    pub(crate) fn connected(&self) -> Result<(), Error> {
        if self.cut.is_some() { Err(cut_off()) } else { Ok(()) }
    }
}

pub(crate) fn no_topic(name: &Topic) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!("there is no topic `{name}` on the memory broker; create it with `Broker::ensure`, or correct the name"),
    )
}

pub(crate) fn cut_off() -> Error {
    Error::new(ErrorKind::Connection, "the connection to the memory broker is cut, as injected; it comes back by itself")
}
