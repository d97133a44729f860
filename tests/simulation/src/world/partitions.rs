//! Partitions: given, renewed, taken back and lost.

use convoke_core::broker::Resume;
use convoke_core::{Epoch, PartId};
use convoke_engine::{In, Time};

use super::{Lived, PARTS, World, ms};
use crate::Reached;

impl World {
    /// The broker takes back what was revoked, when the time is over.
    pub(super) fn take_back(&mut self) -> Lived {
        for p in 0..PARTS {
            if self.logs[p].assigned && self.logs[p].revoking.is_some_and(|by| by.after(ms(5)) < self.now) {
                let epoch = Epoch(self.logs[p].epoch);
                self.feed(In::Tick)?;
                if self.logs[p].assigned {
                    self.end(p, false);
                    self.feed(In::Lost { part: PartId(p as u32), epoch })?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn assign(&mut self) -> Lived {
        let p = self.rng.below(PARTS as u64) as usize;
        if self.logs[p].assigned {
            if !self.rng.chance(8) {
                return Ok(());
            }
            self.stats.count(Reached::FaultAssignedWithoutALoss);
            self.end(p, true);
        }
        let until = if self.rng.chance(40) { Some(self.now.after(ms(20 + self.rng.below(300)))) } else { None };
        self.assign_now(p, until)
    }

    pub(super) fn assign_now(&mut self, p: usize, until: Option<Time>) -> Lived {
        let log = &mut self.logs[p];
        log.epoch += 1;
        log.assigned = true;
        log.revoking = None;
        log.credit = 0;
        log.bytes = 0;
        log.until = until;
        log.cursor = log.kept.iter().position(|kept| kept.position >= log.upto).unwrap_or(log.kept.len());
        log.begin = log.cursor;
        let mut resume = Resume::default();
        resume.unclean = std::mem::take(&mut log.unclean);
        resume.progress = log.progress.clone();
        if resume.unclean {
            self.stats.count(Reached::FaultUncleanAssignment);
        }
        let (part, epoch, waits) = (PartId(p as u32), Epoch(self.logs[p].epoch), self.logs[p].waits);
        self.together(|world| {
            world.feed(In::Assigned { part, epoch, until, resume: &resume })?;
            if waits { world.feed(In::Waits { part, epoch }) } else { Ok(()) }
        })
    }

    pub(super) fn revoke(&mut self) -> Lived {
        let p = self.rng.below(PARTS as u64) as usize;
        if !self.logs[p].assigned || self.logs[p].revoking.is_some() {
            return Ok(());
        }
        self.stats.count(Reached::FaultRevoked);
        let by = self.now.after(ms(self.rng.pick(&[0, 10, 60, 400])));
        self.logs[p].revoking = Some(by);
        self.feed(In::Revoking { part: PartId(p as u32), epoch: Epoch(self.logs[p].epoch), by })
    }

    pub(super) fn lose(&mut self) -> Lived {
        let p = self.rng.below(PARTS as u64) as usize;
        let epoch = Epoch(self.logs[p].epoch);
        if self.logs[p].assigned {
            self.stats.count(Reached::FaultLost);
            let unclean = self.rng.chance(50);
            self.end(p, unclean);
        }
        self.feed(In::Lost { part: PartId(p as u32), epoch })
    }

    pub(super) fn renew(&mut self) -> Lived {
        let p = self.rng.below(PARTS as u64) as usize;
        if self.logs[p].until.is_none() || !self.logs[p].assigned {
            return Ok(());
        }
        let late = self.rng.chance(5);
        let until = if late { self.now } else { self.now.after(ms(20 + self.rng.below(300))) };
        if late {
            self.stats.count(Reached::FaultRenewedTooLate);
        }
        self.logs[p].until = Some(until);
        self.feed(In::Renewed { part: PartId(p as u32), epoch: Epoch(self.logs[p].epoch), until })
    }
}
