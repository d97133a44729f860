//! Handlers: what they say, and that they are paused.

use convoke_core::DeadReason;
use convoke_engine::{In, Verdict};

use super::{Lived, World, ms};
use crate::Reached;

impl World {
    fn verdict(&mut self) -> Verdict {
        match self.rng.below(100) {
            0..58 => Verdict::Ack,
            58..62 => Verdict::Drop,
            62..82 => Verdict::Failed {
                after: if self.rng.chance(40) { Some(ms(self.rng.pick(&[0, 7, 50, 400]))) } else { None },
                reason: DeadReason::HandlerError,
            },
            82..86 => Verdict::Dead(DeadReason::HandlerError),
            86..92 => Verdict::Unavailable,
            92..96 => Verdict::Later(ms(self.rng.pick(&[0, 7, 50, 400]))),
            _ => Verdict::NotTaken,
        }
    }

    pub(super) fn finish(&mut self) -> Lived {
        if self.running.is_empty() {
            return Ok(());
        }
        let k = self.rng.below(self.running.len() as u64) as usize;
        let slot = self.running[k];
        // A timer may cancel it before it can say anything.
        if !self.gathering && self.engine.next_wake().is_some_and(|wake| wake <= self.now) {
            return self.feed(In::Tick);
        }
        self.running.swap_remove(k);
        let count = self.engine.batch(slot).len();
        let same = self.rng.chance(60);
        let first = self.verdict();
        let verdicts: Vec<_> = (0..count).map(|_| if same { first } else { self.verdict() }).collect();
        let returned = self.rng.chance(40);
        self.feed(In::Finished { slot, verdicts: &verdicts, returned })
    }

    pub(super) fn pause(&mut self, paused: bool) -> Lived {
        let route = self.route();
        self.paused[route.0 as usize] = paused;
        if paused {
            self.stats.count(Reached::FaultPause);
        }
        self.feed(if paused { In::Pause { route } } else { In::Resume { route } })
    }
}
