//! What a member knows of the others: from the bucket, in the server's order and by the server's clock.

use std::collections::BTreeMap;
use std::time::Duration;

/// Members and owners, as far as they were heard of.
///
/// Whether a member lives is a matter of the server's clock alone: its last beat is older than its term, compared with the newest
/// entry of all. Everything older than that entry was heard before it, so that being late in hearing makes nobody dead.
#[derive(Debug, Default)]
pub(crate) struct View {
    members: BTreeMap<String, Beat>,
    owners: BTreeMap<u32, Owner>,
    newest: i128,
}

#[derive(Debug, Clone, Copy)]
struct Beat {
    at: i128,
    term: Duration,
}

/// Who has a partition, since which revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) member: String,
    pub(crate) revision: u64,
}

impl View {
    /// Something was written at this time of the server, in nanoseconds.
    pub(crate) fn at(&mut self, time: i128) {
        self.newest = self.newest.max(time);
    }

    pub(crate) fn lives(&mut self, member: &str, at: i128, term: Duration) {
        self.members.insert(member.to_owned(), Beat { at, term });
    }

    pub(crate) fn left(&mut self, member: &str) {
        self.members.remove(member);
    }

    pub(crate) fn owned(&mut self, unit: u32, member: &str, revision: u64) {
        self.owners.insert(unit, Owner { member: member.to_owned(), revision });
    }

    pub(crate) fn free(&mut self, unit: u32) {
        self.owners.remove(&unit);
    }

    /// Who is said to have a partition, dead or alive.
    pub(crate) fn owner(&self, unit: u32) -> Option<&Owner> {
        self.owners.get(&unit)
    }

    /// The members that live, sorted.
    pub(crate) fn living(&self) -> Vec<&str> {
        let lives = |beat: &Beat| self.newest - beat.at <= i128::try_from(beat.term.as_nanos()).unwrap_or(i128::MAX);
        self.members.iter().filter(|(_, beat)| lives(beat)).map(|(member, _)| member.as_str()).collect()
    }

    /// Members that are dead, and were given up by all: nothing is theirs any more.
    pub(crate) fn buried(&self) -> Vec<String> {
        let living = self.living();
        let owns = |member: &String| self.owners.values().any(|owner| owner.member == *member);
        self.members.keys().filter(|member| !living.contains(&member.as_str()) && !owns(member)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i128 = 1_000_000_000;

    #[test]
    fn who_was_not_heard_of_for_a_term_is_dead_and_who_is_late_in_hearing_buries_nobody() {
        let mut view = View::default();
        let term = Duration::from_secs(3);
        for member in ["a", "b"] {
            view.lives(member, 0, term);
        }
        view.owned(0, "b", 7);
        view.lives("a", 3 * SECOND, term);
        view.at(3 * SECOND);
        assert_eq!(view.living(), ["a", "b"]);
        view.at(3 * SECOND + 1);
        assert_eq!(view.living(), ["a"]);
        assert!(view.buried().is_empty(), "it has a partition yet");
        view.owned(0, "a", 9);
        assert_eq!(view.buried(), ["b"]);
        view.at(0);
        assert_eq!(view.living(), ["a"], "time does not go back");
        view.left("b");
        assert!(view.buried().is_empty());
    }
}
