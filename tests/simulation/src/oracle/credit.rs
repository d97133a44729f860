//! What may be granted.

use convoke_engine::Time;

use super::{Checked, Oracle, Share};
use crate::stats::{Reached, Stats};

impl Oracle {
    pub(super) fn granted(
        &mut self,
        now: Time,
        (p, epoch): (usize, u64),
        (messages, bytes): (i64, i64),
        stats: &mut Stats,
    ) -> Checked {
        let share = &self.shares[p];
        ensure!(9, share.ours && share.epoch == epoch, "a grant for a partition that is not ours");
        ensure!(13, share.by.is_none() && self.draining.is_none(), "a grant while giving back");
        ensure!(9, messages > 0 || bytes > 0, "a grant of nothing");
        self.shares[p].unused += messages;
        self.shares[p].unused_bytes += bytes;
        let ours: Vec<&Share> = self.shares.iter().filter(|share| share.ours && !share.over).collect();
        let count = ours.len() as i64;
        let (limit, limit_bytes) = (i64::from(self.config.messages), self.config.bytes as i64);
        let (r, r_bytes) = ((limit / (2 * count)).max(1), (limit_bytes / (2 * count)).max(1));
        let sum: i64 = ours.iter().map(|share| (share.held + share.unused).max(r)).sum();
        let sum_bytes: i64 = ours.iter().map(|share| (share.held_bytes + share.unused_bytes).max(r_bytes)).sum();
        let share = &self.shares[p];
        let used = share.held + share.unused;
        ensure!(9, messages == 0 || used <= r || sum <= limit.max(count), "{used} of {r}, {sum} of {limit} are lent");
        let used = share.held_bytes + share.unused_bytes;
        ensure!(9, bytes == 0 || used <= r_bytes || sum_bytes <= limit_bytes, "{sum_bytes} of {limit_bytes} bytes are lent");
        if share.waits && messages > 0 {
            let waiting = ours.iter().filter(|share| share.waits).count() as i64;
            let (used, window) = (share.held + share.unused, (limit / (4 * waiting)).max(1));
            ensure!(9, used <= window, "{used} messages of a partition that waits, which may have {window}");
            stats.count(Reached::GrantWaiting);
        }
        if share.held > 0 && self.watermark() {
            ensure!(
                9,
                self.has_room(now, p, false),
                "a grant for a partition whose commits have no room for what is done already"
            );
        }
        Ok(())
    }
}
