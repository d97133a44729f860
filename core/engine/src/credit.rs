//! Who may deliver how much.
//!
//! Half of the credit is divided evenly between the partitions, as their reserve, the rest lies in a pool. A partition uses
//! what it holds (delivered, not settled) and what was granted to it but not used yet. Up to its reserve it is always granted
//! more; beyond that only while the sum over the partitions of what each uses, or its reserve if that is more, stays within the
//! limit. So nobody can use up what another partition is entitled to. Each time a partition is added, reserves shrink, and what
//! others have lent counts against the pool until it returns.
//!
//! All partitions whose messages wait hold a quarter of the credit at most, in equal parts.
//!
//! Bytes work in the same way. A message that goes over what was left of them is a debt, which the next grant pays.

use convoke_core::{Epoch, PartId};

use crate::engine::Engine;
use crate::{Cap, Note, Out};

/// The credit of the engine.
#[derive(Debug, Default)]
pub(crate) struct Credit {
    /// What each partition is entitled to.
    reserve: i64,
    reserve_bytes: i64,
    limit: i64,
    limit_bytes: i64,
    /// How many messages a partition holds at most whose messages wait.
    window: i64,
    /// The sum over the partitions of what each uses, or its reserve if that is more.
    sum: i64,
    sum_bytes: i64,
    /// Partitions to look at.
    touched: Vec<u32>,
    /// Partitions that wait for the pool.
    hungry: Vec<u32>,
}

/// What a partition has of it.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Account {
    /// Delivered and not settled.
    held: i64,
    held_bytes: i64,
    /// Granted and not delivered.
    unused: i64,
    unused_bytes: i64,
    touched: bool,
    hungry: bool,
}

impl Account {
    const fn used(&self) -> i64 {
        self.held + self.unused
    }

    const fn used_bytes(&self) -> i64 {
        self.held_bytes + self.unused_bytes
    }
}

impl Engine {
    pub(crate) fn waits(&mut self, id: PartId, epoch: Epoch) {
        if let Some(p) = self.part(id, epoch) {
            self.parts[p as usize].waits = true;
            self.divide();
        }
    }

    /// Divides the credit anew: the number of partitions has changed.
    pub(crate) fn divide(&mut self) {
        let count = self.parts.iter().filter(|part| part.assigned && !part.over).count().max(1) as i64;
        let messages = i64::from(self.config.messages);
        // As good as without a limit, and sums of it do not overflow.
        let bytes = i64::try_from(self.config.bytes).unwrap_or(i64::MAX).min(i64::MAX / 4);
        let waiting = self.parts.iter().filter(|part| part.waits && part.assigned && !part.over).count().max(1) as i64;
        let credit = &mut self.credit;
        credit.window = (messages / (4 * waiting)).max(1);
        credit.reserve = (messages / (2 * count)).max(1);
        credit.reserve_bytes = (bytes / (2 * count)).max(1);
        credit.limit = messages.max(count);
        credit.limit_bytes = bytes;
        credit.sum = 0;
        credit.sum_bytes = 0;
        for (p, part) in self.parts.iter_mut().enumerate() {
            if part.assigned && !part.over {
                credit.sum += part.account.used().max(credit.reserve);
                credit.sum_bytes += part.account.used_bytes().max(credit.reserve_bytes);
                if !part.account.touched {
                    part.account.touched = true;
                    credit.touched.push(p as u32);
                }
            }
        }
    }

    /// Looks at the partition's credit at the end of the step.
    pub(crate) fn touch(&mut self, p: u32) {
        let account = &mut self.parts[p as usize].account;
        if !account.touched {
            account.touched = true;
            self.credit.touched.push(p);
        }
    }

    /// A message was delivered: what was granted is now held.
    pub(crate) fn charge(&mut self, p: u32, bytes: u32) {
        let account = &mut self.parts[p as usize].account;
        account.held += 1;
        account.held_bytes += i64::from(bytes);
        account.unused -= 1;
        account.unused_bytes -= i64::from(bytes);
        if account.unused < 0 {
            // More than was granted; that the adapter should not do, but it must not distort what is granted from now on.
            account.unused = 0;
            self.credit.sum += i64::from(account.used() > self.credit.reserve);
        }
        self.touch(p);
    }

    /// A message is settled: what was held is free.
    pub(crate) fn repay(&mut self, p: u32, bytes: u32) {
        let account = &mut self.parts[p as usize].account;
        let bytes = i64::from(bytes);
        let credit = &mut self.credit;
        credit.sum -= i64::from(account.used() > credit.reserve);
        let before = account.used_bytes().max(credit.reserve_bytes);
        account.held -= 1;
        account.held_bytes -= bytes;
        credit.sum_bytes += account.used_bytes().max(credit.reserve_bytes) - before;
        self.touch(p);
    }

    /// Grants what can be granted.
    pub(crate) fn grant(&mut self, out: &mut Vec<Out>) {
        if self.credit.touched.is_empty() {
            return;
        }
        let mut touched = std::mem::take(&mut self.credit.touched);
        for &p in &touched {
            self.parts[p as usize].account.touched = false;
            self.consider(p, out);
        }
        touched.clear();
        if !self.credit.hungry.is_empty() {
            std::mem::swap(&mut touched, &mut self.credit.hungry);
            for &p in &touched {
                self.parts[p as usize].account.hungry = false;
                self.consider(p, out);
            }
            touched.clear();
        }
        self.credit.touched = touched;
    }

    fn consider(&mut self, p: u32, out: &mut Vec<Out>) {
        let stopping = self.stopping;
        let part = &self.parts[p as usize];
        if !part.assigned || part.by.is_some() || stopping {
            return;
        }
        let cap = if part.backlogged > 0 {
            Some(Cap::Backlog)
        } else if part.ranges + part.noted >= self.config.ahead.max(1) {
            Some(Cap::Ahead)
        } else if self.progress_full(p) {
            Some(Cap::Progress)
        } else {
            None
        };
        let part = &mut self.parts[p as usize];
        if let Some(cap) = cap {
            if part.full != Some(cap) {
                part.full = Some(cap);
                Self::note(out, Note::Full { part: part.id, cap });
            }
            return;
        }
        part.full = None;
        let credit = &mut self.credit;
        let account = &mut part.account;
        let room = (credit.reserve - account.used()).max(0) + (credit.limit - credit.sum).max(0);
        let room_bytes = (credit.reserve_bytes - account.used_bytes()).max(0) + (credit.limit_bytes - credit.sum_bytes).max(0);
        // What waits is looked at again when some of it is done; until then it is not hungry.
        let most = if part.waits { credit.window - account.used() } else { i64::MAX };
        let wanted = (credit.reserve - account.unused).min(most).max(0);
        let wanted_bytes = credit.reserve_bytes - account.unused_bytes;
        let messages = room.min(wanted).max(0);
        let bytes = room_bytes.min(wanted_bytes).max(0);
        // Not one grant for each message: a quarter at a time, or at once if there is nothing left.
        let worth = messages > 0 && (account.unused == 0 || messages * 4 >= credit.reserve);
        let worth_bytes = bytes > 0 && (account.unused_bytes <= 0 || bytes >= credit.reserve_bytes / 4);
        if worth || worth_bytes {
            let (before, before_bytes) = (account.used().max(credit.reserve), account.used_bytes().max(credit.reserve_bytes));
            account.unused += messages;
            account.unused_bytes += bytes;
            credit.sum += account.used().max(credit.reserve) - before;
            credit.sum_bytes += account.used_bytes().max(credit.reserve_bytes) - before_bytes;
            out.push(Out::Grant { part: part.id, epoch: part.epoch, messages: messages as u32, bytes: bytes as u64 });
        }
        if (messages < wanted || bytes < wanted_bytes) && !account.hungry {
            account.hungry = true;
            credit.hungry.push(p);
        }
    }
}
