//! Eager rebalances: everybody gives everything back before anything is assigned anew.

use crate::clock::Moment;
use crate::group::GroupPart;
use crate::state::State;

impl State {
    /// With eager rebalances: if anything is to change hands, everybody gives everything back first.
    pub(crate) fn take_everything(&mut self, g: usize, now: Moment) {
        let parts = self.all_parts(g);
        let moves = |part: &GroupPart| part.target.is_some() && part.owner.as_ref().map(|owner| owner.member) != part.target;
        if parts.iter().any(|(k, p)| self.part(g, *k, *p).is_some_and(|part| moves(part))) {
            for (k, p) in parts {
                self.revoke(g, k, p, None, now);
            }
        }
    }
}
