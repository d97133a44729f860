//! What others hold of a driver: the core behind its mutex, a queue of commands, and what they may wait for.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Wake, Waker};
use std::time::Duration;

use convoke_core::Error;
use convoke_engine::{RouteId, Time};
use tokio::sync::watch;
use tokio::time::Instant;

use super::Core;

/// What a driver can be told.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Command {
    Pause(RouteId),
    Resume(RouteId),
    Resize(RouteId, u32),
    Drain(Duration),
    Abort,
}

/// See the module's documentation.
pub(crate) struct Remote {
    core: Mutex<Core>,
    commands: Mutex<Commands>,
    origin: Instant,
    /// Counts turns in which something happened, over all drivers of an application.
    turns: Arc<watch::Sender<u64>>,
    /// When the present turn began, in nanoseconds since `origin`; 0 between turns.
    turn_began: AtomicU64,
    /// When the last message was finished, likewise.
    last_done: AtomicU64,
    done: AtomicU64,
    gaps: AtomicU64,
    connection: Mutex<Connection>,
    ended: AtomicBool,
    /// Whether it ended because it was drained.
    drained: AtomicBool,
    /// Counts drivers of the application that have ended.
    ends: Arc<watch::Sender<usize>>,
}

/// How the connection of a subscription is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Connection {
    pub(crate) up: bool,
    pub(crate) failures: u32,
    pub(crate) reason: Option<String>,
}

#[derive(Default)]
struct Commands {
    queue: Vec<Command>,
    driver: Option<Waker>,
}

impl Remote {
    pub(crate) fn new(core: Core, turns: Arc<watch::Sender<u64>>, ends: Arc<watch::Sender<usize>>) -> Self {
        Self {
            core: Mutex::new(core),
            commands: Mutex::default(),
            origin: Instant::now(),
            turns,
            turn_began: AtomicU64::new(0),
            last_done: AtomicU64::new(0),
            done: AtomicU64::new(0),
            gaps: AtomicU64::new(0),
            connection: Mutex::default(),
            ended: AtomicBool::new(false),
            drained: AtomicBool::new(false),
            ends,
        }
    }

    pub(crate) fn now(&self) -> Time {
        Time(u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    pub(crate) fn instant(&self, time: Time) -> Instant {
        super::instant(self.origin, time)
    }

    pub(crate) fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the driver something.
    pub(crate) fn send(&self, command: Command) {
        let driver = {
            let mut commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
            commands.queue.push(command);
            commands.driver.take()
        };
        if let Some(driver) = driver {
            driver.wake();
        }
    }

    /// Wakes the driver, because there are outputs that it has not carried out.
    pub(crate) fn nudge(&self) {
        let driver = self.commands.lock().unwrap_or_else(PoisonError::into_inner).driver.take();
        if let Some(driver) = driver {
            driver.wake();
        }
    }

    /// What wakes the driver, as long as there is one.
    pub(crate) fn waker(self: &Arc<Self>) -> Waker {
        struct Nudge(Weak<Remote>);
        impl Wake for Nudge {
            fn wake(self: Arc<Self>) {
                if let Some(remote) = self.0.upgrade() {
                    remote.nudge();
                }
            }
        }
        Waker::from(Arc::new(Nudge(Arc::downgrade(self))))
    }

    pub(crate) fn take_commands(&self, driver: &Waker) -> Vec<Command> {
        let mut commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        if !commands.driver.as_ref().is_some_and(|waker| waker.will_wake(driver)) {
            commands.driver = Some(driver.clone());
        }
        std::mem::take(&mut commands.queue)
    }

    /// A turn begins.
    pub(crate) fn turn_begins(&self) {
        self.turn_began.store(self.now().0.max(1), Ordering::Release);
    }

    /// A turn is over.
    pub(crate) fn turn_ends(&self) {
        self.turn_began.store(0, Ordering::Release);
    }

    /// How long the present turn has taken so far; zero between turns.
    pub(crate) fn in_turn_for(&self) -> Duration {
        match self.turn_began.load(Ordering::Acquire) {
            0 => Duration::ZERO,
            began => self.now().since(Time(began)),
        }
    }

    /// Something happened in a round of a turn.
    pub(crate) fn progressed(&self) {
        let done = self.core().done();
        if self.done.swap(done, Ordering::AcqRel) != done {
            self.last_done.store(self.now().0, Ordering::Release);
        }
        self.turns.send_modify(|turns| *turns = turns.wrapping_add(1));
    }

    pub(crate) fn connected(&self, result: Result<(), &Error>) {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(()) => *connection = Connection { up: true, failures: 0, reason: None },
            Err(error) => {
                connection.up = false;
                connection.failures += 1;
                connection.reason = Some(error.to_string());
            }
        }
    }

    pub(crate) fn connection(&self) -> Connection {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn gap(&self) {
        self.gaps.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn gaps(&self) -> u64 {
        self.gaps.load(Ordering::Relaxed)
    }

    /// How long ago the last message was finished, or the driver started.
    pub(crate) fn since_done(&self) -> Duration {
        self.now().since(Time(self.last_done.load(Ordering::Acquire)))
    }

    pub(crate) fn ended(&self, drained: bool) {
        self.drained.store(drained, Ordering::Release);
        self.ended.store(true, Ordering::Release);
        self.ends.send_modify(|ends| *ends += 1);
        self.turns.send_modify(|turns| *turns = turns.wrapping_add(1));
    }

    pub(crate) fn has_drained(&self) -> bool {
        self.drained.load(Ordering::Acquire)
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}
