//! What starts.

use convoke_engine::{RouteId, Slot, Time};

use super::{Checked, Held, Oracle};
use crate::stats::{Reached, Stats};

impl Oracle {
    pub(super) fn start_batch(&mut self, now: Time, slot: Slot, members: &[Slot], stats: &mut Stats) -> Checked {
        ensure!(12, members.first() == Some(&slot), "the first of the batch of {slot:?} is another");
        let mut indices = Vec::new();
        for &member in members {
            indices.push(self.held(member)?.0);
        }
        self.start(now, &indices, stats)?;
        if indices.len() > 1 {
            stats.count(Reached::Batch);
        }
        self.batches.push(indices.clone());
        for i in indices {
            if let Some(held) = self.slots[i].as_mut() {
                held.batch = Some(self.batches.len() - 1);
            }
        }
        Ok(())
    }

    pub(super) fn start_one(
        &mut self,
        now: Time,
        slot: Slot,
        (route, attempt, shard): (RouteId, u32, u32),
        stats: &mut Stats,
    ) -> Checked {
        ensure!(12, shard < self.config.shards, "shard {shard}");
        let (i, held) = self.held(slot)?;
        ensure!(6, attempt == held.attempts + 1, "{slot:?} has failed {} times, but starts attempt {attempt}", held.attempts);
        ensure!(12, held.meta.route == route, "{slot:?} starts on another route");
        self.start(now, &[i], stats)
    }

    fn start(&mut self, now: Time, indices: &[usize], stats: &mut Stats) -> Checked {
        // A marked suspect that could not start after all does not keep others from it.
        self.alone.take_if(|i| *i != indices[0] && self.slots[*i].as_ref().is_none_or(|held| held.marked && !held.running));
        ensure!(13, self.draining.is_none(), "a start in a drain");
        self.permitted(now, indices, stats)?;
        for (n, &i) in indices.iter().enumerate() {
            let Some(held) = self.slots[i].as_ref() else { continue };
            self.may_start(now, held)?;
            self.alone = self.alone_enough(i, held)?;
            for (k, other) in self.slots.iter().enumerate() {
                if let Some(other) = other
                    && !indices.contains(&k)
                {
                    self.beside(now, held, other)?;
                }
            }
            self.contiguous(held, &indices[..n])?;
        }
        for &i in indices {
            if let Some(held) = self.slots[i].as_mut() {
                stats.count(if !held.started {
                    Reached::ReadyToRunning
                } else if held.holds {
                    Reached::WaitingHeldToRunning
                } else {
                    Reached::PutBackToRunning
                });
                held.running = true;
                held.started = true;
                held.began = now;
                held.holds = false;
            }
        }
        Ok(())
    }

    /// What its route says.
    fn permitted(&mut self, now: Time, indices: &[usize], stats: &mut Stats) -> Checked {
        let route = self.slots[indices[0]].as_ref().map_or(0, |held| held.meta.route.0 as usize);
        let size = self.config.routes[route].batch.map_or(1, |batch| batch.size.max(1));
        ensure!(12, indices.len() <= size as usize, "{} messages in a batch", indices.len());
        let handler = &mut self.handlers[route];
        ensure!(12, !handler.paused, "a start on a paused route");
        ensure!(12, handler.running < handler.concurrency, "more than {} run", handler.concurrency);
        ensure!(12, handler.blocked <= now, "a start before {:?}", handler.blocked);
        if let Some(probe) = handler.probe {
            ensure!(12, probe <= now && !handler.probing && indices.len() == 1, "a start on a suspended route");
            handler.probing = true;
            stats.count(Reached::Probe);
        }
        handler.running += 1;
        Ok(())
    }

    /// What the message itself says.
    fn may_start(&self, now: Time, held: &Held) -> Checked {
        let slot = held.meta.slot;
        let share = &self.shares[held.part];
        ensure!(15, !held.lost, "{slot:?} is lost, but starts");
        ensure!(13, share.by.is_none(), "{slot:?} starts while its partition is given back");
        ensure!(11, share.until.is_none_or(|until| now < until), "{slot:?} starts past {:?}", share.until);
        ensure!(3, !held.running && held.publish.is_none() && !held.owes, "{slot:?} starts twice");
        ensure!(6, !held.dying && held.meta.dead.is_none(), "{slot:?} is to be given up, but starts");
        ensure!(7, held.end.is_none() && held.settling.is_none() && !held.given_back, "{slot:?} is final, but starts");
        ensure!(5, held.not_before <= now, "{slot:?} starts at {now:?} before {:?}", held.not_before);
        Ok(())
    }
}
