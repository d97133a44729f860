//! Delivery tags of a channel: which are not acknowledged, and how to say so in few words.

use std::collections::VecDeque;

/// The tags of one channel with one consumer: they rise by one from 1.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// The tag of the first entry, less one: everything up to it is acknowledged.
    below: u64,
    tags: VecDeque<Tag>,
    /// How many are neither acknowledged nor given back.
    open: usize,
    back: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tag {
    Open,
    Acked,
    /// Its end comes with the channel's: what is put back one by one does not come again in its place.
    Back,
}

/// What is to be said to the server.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Acks {
    /// Everything up to this tag.
    pub(crate) upto: Option<u64>,
    /// These alone.
    pub(crate) single: Vec<u64>,
}

impl Ledger {
    /// A delivery has come. `false` if its tag is not the next one.
    pub(crate) fn delivered(&mut self, tag: u64) -> bool {
        self.tags.push_back(Tag::Open);
        self.open += 1;
        self.below + self.tags.len() as u64 == tag
    }

    fn at(&mut self, tag: u64) -> Option<&mut Tag> {
        let index = tag.checked_sub(self.below + 1)?;
        self.tags.get_mut(usize::try_from(index).ok()?)
    }

    /// It is done. `false` if it was already, or was never here.
    pub(crate) fn done(&mut self, tag: u64, acks: &mut Acks) -> bool {
        let Some(place @ Tag::Open) = self.at(tag) else { return false };
        *place = Tag::Acked;
        self.open -= 1;
        acks.single.push(tag);
        true
    }

    /// It is to come again. `false` if it was done, or was never here.
    pub(crate) fn back(&mut self, tag: u64) -> bool {
        let Some(place @ Tag::Open) = self.at(tag) else { return false };
        *place = Tag::Back;
        self.open -= 1;
        self.back += 1;
        true
    }

    pub(crate) fn is_open(&mut self, tag: u64) -> bool {
        self.at(tag) == Some(&mut Tag::Open)
    }

    /// Says what was done since the last time in as few words as possible.
    pub(crate) fn settle(&mut self, acks: &mut Acks) {
        while self.tags.front() == Some(&Tag::Acked) {
            self.tags.pop_front();
            self.below += 1;
        }
        let below = self.below;
        // A tag that was acknowledged before is unknown to the server, also as the end of a range: it would close the channel.
        acks.upto = acks.single.iter().copied().filter(|tag| *tag <= below).max();
        acks.single.retain(|tag| *tag > below);
    }

    /// How many are not done.
    pub(crate) fn unsettled(&self) -> usize {
        self.open + self.back
    }

    /// How many are to come again, which they do when the channel ends.
    pub(crate) fn given_back(&self) -> usize {
        self.back
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(count: u64) -> Ledger {
        let mut ledger = Ledger::default();
        assert!((1..=count).all(|tag| ledger.delivered(tag)));
        ledger
    }

    fn done(ledger: &mut Ledger, tags: &[u64]) -> Acks {
        let mut acks = Acks::default();
        assert!(tags.iter().all(|tag| ledger.done(*tag, &mut acks)));
        ledger.settle(&mut acks);
        acks
    }

    #[test]
    fn what_is_contiguous_is_acknowledged_at_once_and_the_rest_alone() {
        let mut ledger = ledger(6);
        assert_eq!(done(&mut ledger, &[3, 5]), Acks { upto: None, single: vec![3, 5] });
        assert_eq!(done(&mut ledger, &[1]), Acks { upto: Some(1), single: vec![] });
        assert_eq!(done(&mut ledger, &[2]), Acks { upto: Some(2), single: vec![] }, "3 is acknowledged already");
        assert_eq!(done(&mut ledger, &[6, 4]), Acks { upto: Some(6), single: vec![] });
        assert_eq!(ledger.unsettled(), 0);
        assert!(!ledger.done(4, &mut Acks::default()), "it is done already");
    }

    #[test]
    fn nothing_is_acknowledged_over_what_comes_again() {
        let mut ledger = ledger(4);
        assert!(ledger.back(2) && !ledger.back(2));
        assert_eq!(done(&mut ledger, &[1, 3, 4]), Acks { upto: Some(1), single: vec![3, 4] });
        assert_eq!((ledger.unsettled(), ledger.given_back()), (1, 1));
    }

    #[test]
    fn a_tag_that_is_not_the_next_one_is_noticed() {
        let mut ledger = ledger(2);
        assert!(!ledger.delivered(7));
    }
}
