//! What a failure in a batch means for others of its lane.

use crate::engine::Engine;
use crate::list::NIL;
use crate::{Slot, Verdict};

impl Engine {
    /// Which messages of a call are done by these verdicts, in the order of [`batch`](Self::batch): not those that are tried again with
    /// another one of their lane.
    #[must_use]
    pub fn done_by(&self, slot: Slot, verdicts: &[Verdict]) -> Vec<bool> {
        let mut failed = NIL;
        let lanes = self.batch(slot).iter().map(|one| self.slots[one.index as usize].lane);
        let done = |(lane, verdict): (u32, &Verdict)| {
            !behind(&mut failed, lane, *verdict) && matches!(verdict, Verdict::Ack | Verdict::Drop)
        };
        lanes.zip(verdicts).map(done).collect()
    }
}

/// Whether a message of a batch is tried again with one before it in its lane, whatever its own verdict is. Members of a lane are
/// neighbours, so one place is enough to remember in which lane one failed.
pub(crate) fn behind(failed: &mut u32, lane: u32, verdict: Verdict) -> bool {
    if lane != NIL && lane == *failed && !matches!(verdict, Verdict::Failed { .. }) {
        return true;
    }
    if verdict.again() {
        *failed = lane;
    }
    false
}
