//! Nothing goes wrong any more: everything has to come to its end.

use std::time::Duration;

use convoke_core::broker::SettleBy;
use convoke_core::{Epoch, PartId};
use convoke_engine::{In, RouteId, Verdict};

use super::broker::Log;
use super::{Lived, PARTS, World, ms};
use crate::Violation;

impl World {
    fn finished(&self) -> bool {
        let done = |log: &Log| match self.config.settle {
            SettleBy::Watermark => log.kept.last().is_none_or(|kept| log.upto > kept.position),
            _ => log.kept.iter().all(|kept| kept.acked),
        };
        self.logs.iter().all(done) && self.engine.idle() && self.ops.is_empty() && self.running.is_empty()
    }

    /// Nothing goes wrong any more: everything has to come to its end.
    pub(super) fn heal(&mut self) -> Lived {
        for _ in 0..5000 {
            if self.drained {
                self.restart(false)?;
            }
            self.take_back()?;
            if !self.draining && self.finished() {
                return Ok(());
            }
            if !self.heal_step()? {
                break;
            }
        }
        Err(Violation { number: 16, what: format!("stuck; next wake {:?}, {:?}", self.engine.next_wake(), self.oracle) })
    }

    fn heal_step(&mut self) -> Result<bool, Violation> {
        let far = self.now.after(Duration::from_secs(3600));
        for p in 0..PARTS {
            if !self.logs[p].assigned && !self.draining {
                self.assign_now(p, None)?;
            }
            if self.logs[p].assigned && self.logs[p].until.is_some_and(|until| until < self.now.after(Duration::from_secs(60))) {
                self.logs[p].until = Some(far);
                self.feed(In::Renewed { part: PartId(p as u32), epoch: Epoch(self.logs[p].epoch), until: far })?;
            }
        }
        for r in 0..self.paused.len() {
            if std::mem::take(&mut self.paused[r]) {
                self.feed(In::Resume { route: RouteId(r as u16) })?;
            }
        }
        if !self.ops.is_empty() {
            self.answer_one(0, false)?;
            return Ok(true);
        }
        if let Some(&slot) = self.running.first() {
            if self.engine.next_wake().is_some_and(|wake| wake <= self.now) {
                self.feed(In::Tick)?;
                return Ok(true);
            }
            self.running.remove(0);
            let verdicts = vec![Verdict::Ack; self.engine.batch(slot).len()];
            self.feed(In::Finished { slot, verdicts: &verdicts, returned: false })?;
            return Ok(true);
        }
        let mut delivered = false;
        for p in 0..PARTS {
            delivered |= !self.drained && self.deliver_from(p, 8)?;
        }
        if delivered {
            return Ok(true);
        }
        let mut next = self.engine.next_wake();
        for log in &self.logs {
            let after = log.kept.iter().filter(|kept| !kept.acked && kept.out.is_none() && kept.after > self.now);
            next = next.into_iter().chain(after.map(|kept| kept.after)).chain(log.revoking.map(|by| by.after(ms(6)))).min();
        }
        let Some(next) = next else { return Ok(false) };
        self.now = self.now.max(next);
        self.take_back()?;
        if !self.drained {
            self.feed(In::Tick)?;
        }
        Ok(true)
    }
}
