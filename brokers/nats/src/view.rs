//! What a member knows of the others: from the bucket, in the server's order and by the server's clock.

use std::collections::BTreeMap;
use std::time::Duration;

/// Members and owners, as far as they were heard of.
///
/// Whether a member lives is a matter of the server's clock alone: its last beat is older than its term, compared with the newest
/// entry of all. Everything older than that entry was heard before it, so that being late in hearing makes nobody dead.
///
/// What is known of a partition never goes back: what we did ourselves we know from the server's answer, which may come later than
/// the word of what others did behind it.
#[derive(Debug, Default)]
pub(crate) struct View {
    members: BTreeMap<String, Beat>,
    holdings: BTreeMap<u32, Holding>,
    newest: i128,
}

#[derive(Debug, Clone, Copy)]
struct Beat {
    at: i128,
    term: Duration,
}

/// Who has a partition, if anybody, since which revision.
#[derive(Debug)]
struct Holding {
    owner: Option<String>,
    revision: u64,
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

    /// Who has a partition since this revision; nobody, if it was given back. Says nothing new if more is known already.
    pub(crate) fn holds(&mut self, unit: u32, owner: Option<&str>, revision: u64) {
        if revision > self.revision(unit) {
            self.holdings.insert(unit, Holding { owner: owner.map(str::to_owned), revision });
        }
    }

    /// Who is said to have a partition, dead or alive.
    pub(crate) fn owner(&self, unit: u32) -> Option<&str> {
        self.holdings.get(&unit)?.owner.as_deref()
    }

    /// When a partition was taken or given back last; 0 if it never was.
    pub(crate) fn revision(&self, unit: u32) -> u64 {
        self.holdings.get(&unit).map_or(0, |holding| holding.revision)
    }

    /// The members that live, sorted.
    pub(crate) fn living(&self) -> Vec<&str> {
        let lives = |beat: &Beat| self.newest - beat.at <= i128::try_from(beat.term.as_nanos()).unwrap_or(i128::MAX);
        self.members.iter().filter(|(_, beat)| lives(beat)).map(|(member, _)| member.as_str()).collect()
    }

    /// Members that are dead, and were given up by all: nothing is theirs any more.
    pub(crate) fn buried(&self) -> Vec<String> {
        let living = self.living();
        let owns = |member: &String| self.holdings.values().any(|holding| holding.owner.as_ref() == Some(member));
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
        view.holds(0, Some("b"), 7);
        view.lives("a", 3 * SECOND, term);
        view.at(3 * SECOND);
        assert_eq!(view.living(), ["a", "b"]);
        view.at(3 * SECOND + 1);
        assert_eq!(view.living(), ["a"]);
        assert!(view.buried().is_empty(), "it has a partition yet");
        view.holds(0, Some("a"), 9);
        assert_eq!(view.buried(), ["b"]);
        view.at(0);
        assert_eq!(view.living(), ["a"], "time does not go back");
        view.left("b");
        assert!(view.buried().is_empty());
    }
    #[test]
    fn a_late_answer_does_not_hide_what_others_did_behind_it() {
        let mut view = View::default();
        view.holds(0, Some("a"), 5);
        view.holds(0, None, 6);
        view.holds(0, Some("b"), 7);
        view.holds(0, Some("a"), 5);
        assert_eq!((view.owner(0), view.revision(0)), (Some("b"), 7), "the answer to the taking of `a` came late");
        view.holds(0, None, 8);
        assert_eq!((view.owner(0), view.revision(0)), (None, 8), "whoever takes it next has to say so");
        assert_eq!((view.owner(1), view.revision(1)), (None, 0));
    }
}
