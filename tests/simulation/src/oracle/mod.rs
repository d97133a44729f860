//! The oracle: it sees what goes into the engine and what comes out, and knows what may not happen. It shares no code with the
//! engine, and is as naive as possible.
//!
//! [`Oracle::input`] and [`Oracle::outputs`] are its two ears; what they hear is judged by subject, in the modules.

use convoke_core::broker::SettleBy;
use convoke_core::{OnRetry, Position};
use convoke_engine::{Config, In, Slot, Time};

use crate::stats::{Reached, Stats};

/// Fails with the number of an invariant unless it holds.
macro_rules! ensure {
    ($number:expr, $holds:expr, $($what:tt)+) => {
        if !$holds {
            return Err($crate::Violation { number: $number, what: format!($($what)+) });
        }
    };
}

mod answers;
mod credit;
mod drain;
mod fenced;
mod intake;
mod order;
mod outputs;
mod settlement;
mod start;
mod state;
mod status;
mod suspects;
mod watermark;

use state::{Handler, Held, Share};

/// What may not happen, by the number in the documentation of the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The invariant.
    pub number: u8,
    /// What happened.
    pub what: String,
}

type Checked = Result<(), Violation>;

/// See the module.
#[derive(Debug)]
pub struct Oracle {
    config: Config,
    slots: Vec<Option<Held>>,
    shares: Vec<Share>,
    handlers: Vec<Handler>,
    batches: Vec<Vec<usize>>,
    alone: Option<usize>,
    /// The suspect whose mark is in the commit that was just asked for.
    mark_sent: Option<usize>,
    /// Commits that this step asked for, by partition and epoch.
    commits: Vec<(usize, u64)>,
    draining: Option<Time>,
    aborted: bool,
    drained: bool,
}

fn offset(position: Position) -> u64 {
    match position {
        Position::Offset(n) | Position::Tag(n) => n,
        Position::Entry(a, b) => a << 20 | b,
    }
}

impl Oracle {
    /// An oracle for an engine of this configuration.
    #[must_use]
    pub fn new(config: Config, parts: usize) -> Self {
        let handlers = config.routes.iter().map(|route| Handler { concurrency: route.concurrency.max(1), ..Handler::default() });
        Self {
            handlers: handlers.collect(),
            shares: (0..parts).map(|_| Share::default()).collect(),
            slots: Vec::new(),
            batches: Vec::new(),
            alone: None,
            mark_sent: None,
            commits: Vec::new(),
            draining: None,
            aborted: false,
            drained: false,
            config,
        }
    }

    fn watermark(&self) -> bool {
        self.config.settle == SettleBy::Watermark
    }

    fn held(&mut self, slot: Slot) -> Result<(usize, &mut Held), Violation> {
        let index = slot.index as usize;
        match self.slots.get_mut(index) {
            Some(Some(held)) if held.meta.slot == slot => Ok((index, held)),
            _ => Err(Violation { number: 1, what: format!("{slot:?} is named, but is not held") }),
        }
    }

    fn holds_lane(&self, i: usize) -> bool {
        self.slots[i].as_ref().is_some_and(|held| {
            held.meta.lane.is_some() && self.config.routes[held.meta.route.0 as usize].on_retry == OnRetry::Hold
        })
    }

    fn members(&self, i: usize) -> Vec<usize> {
        match self.slots[i].as_ref().and_then(|held| held.batch) {
            Some(b) => self.batches[b].clone(),
            None => vec![i],
        }
    }

    /// Takes note of an input.
    pub fn input(&mut self, now: Time, input: &In<'_>, stats: &mut Stats) {
        match *input {
            In::Assigned { part, epoch, until, resume } => self.assigned(now, part.0 as usize, epoch.0, until, resume, stats),
            In::Renewed { part, epoch, until } => self.renewed(now, part.0 as usize, epoch.0, until, stats),
            In::Delivered { part, epoch, metas } => {
                for meta in metas {
                    self.delivered(now, part.0 as usize, epoch.0, *meta);
                }
            }
            In::Revoking { part, epoch, by } => self.revoking(part.0 as usize, epoch.0, by),
            In::Lost { part, epoch } => self.lost(part.0 as usize, epoch.0, stats),
            In::Finished { slot, verdicts, returned } => self.finished(now, slot, verdicts, returned, true, stats),
            In::Published { slot, result } => self.published(now, slot, result, stats),
            In::Settled { slot, settle, answer } => self.settled(now, slot, settle, answer, stats),
            In::Ready { route } => {
                let handler = &mut self.handlers[route.0 as usize];
                if std::mem::replace(&mut handler.blocked, Time(0)) > now {
                    stats.count(Reached::ReadyAgain);
                }
            }
            In::Pause { route } => self.handlers[route.0 as usize].paused = true,
            In::Resume { route } => {
                if std::mem::replace(&mut self.handlers[route.0 as usize].paused, false) {
                    stats.count(Reached::Resumed);
                }
            }
            In::Resize { route, concurrency } => self.handlers[route.0 as usize].concurrency = concurrency.max(1),
            In::Drain { by } => self.draining = Some(by),
            In::Abort => self.abort(now),
            In::Committed { part, epoch, answer } => self.committed(part.0 as usize, epoch.0, answer, stats),
            In::Waits { part, epoch } => self.waits(part.0 as usize, epoch.0),
            In::Tick => {}
        }
    }
}
