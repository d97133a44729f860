//! What goes wrong: leases, inputs that come too early or too late, processes that die.

use convoke_core::broker::Settle;
use convoke_core::{Epoch, PartId};
use convoke_engine::{Answer, In, Published, Slot, Time, Verdict};

use super::{Lived, PARTS, World, engine};
use crate::{Oracle, Reached, Violation};

impl World {
    /// The broker thinks that a consumer is dead, and delivers again.
    pub(super) fn lease_lost(&mut self) -> Lived {
        if self.config.lease.is_none() {
            return Ok(());
        }
        let p = self.rng.below(PARTS as u64) as usize;
        let held: Vec<_> = (0..self.logs[p].kept.len()).filter(|&k| self.logs[p].kept[k].out.is_some()).collect();
        if !held.is_empty() {
            self.stats.count(Reached::FaultLeaseLost);
            let k = self.rng.pick(&held);
            self.logs[p].kept[k].out = None;
        }
        Ok(())
    }

    /// A tick before its time changes nothing.
    pub(super) fn early_tick(&mut self) -> Lived {
        let Some(wake) = self.engine.next_wake().filter(|&wake| wake > self.now) else { return Ok(()) };
        let between = Time(self.now.0 + self.rng.below(wake.0 - self.now.0));
        self.now = between;
        self.stats.count(Reached::EarlyTick);
        let mut out = Vec::new();
        self.engine.step(between, In::Tick, &mut out);
        if !out.is_empty() || self.engine.next_wake() != Some(wake) {
            return Err(Violation { number: 17, what: format!("a tick at {between:?}, before {wake:?}, leads to {out:?}") });
        }
        Ok(())
    }

    /// Inputs that come too late.
    pub(super) fn outdated(&mut self) -> Lived {
        let places: Vec<_> = (0..self.bodies.len()).filter(|&k| self.bodies[k].generation > 1).collect();
        if places.is_empty() {
            return Ok(());
        }
        self.stats.count(Reached::FaultOutdatedInput);
        let k = self.rng.pick(&places);
        let slot = Slot { index: k as u32, generation: self.bodies[k].generation - 1 };
        let mut out = Vec::new();
        if self.engine.next_wake().is_some_and(|wake| wake <= self.now) {
            return Ok(());
        }
        let input = match self.rng.below(4) {
            0 => In::Finished { slot, verdicts: &[Verdict::Ack], returned: true },
            1 => In::Published { slot, result: Published::Confirmed },
            2 => In::Committed { part: PartId(0), epoch: Epoch(0), answer: Answer::Applied },
            _ => In::Settled { slot, settle: Settle::Ack, answer: Answer::Applied },
        };
        self.engine.step(self.now, input, &mut out);
        if out.is_empty() { Ok(()) } else { Err(Violation { number: 1, what: format!("{input:?} leads to {out:?}") }) }
    }

    /// Another process takes over, after a crash or a drain.
    pub(super) fn restart(&mut self, crash: bool) -> Lived {
        if crash {
            self.stats.count(Reached::FaultCrash);
        }
        self.settle_some(None);
        for p in 0..PARTS {
            if self.logs[p].assigned {
                self.end(p, crash);
            }
        }
        self.ops.clear();
        self.running.clear();
        self.bodies.clear();
        self.paused.fill(false);
        self.draining = false;
        self.drained = false;
        self.engine = engine(&self.config, self.sabotage);
        self.oracle = Oracle::new(self.config.clone(), PARTS);
        if self.record {
            self.trace.push("---------- another process".to_owned());
        }
        Ok(())
    }
}
