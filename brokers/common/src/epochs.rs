//! Which assignment of a partition is the present one.

use convoke_core::{Epoch, PartId};

/// The partitions of one subscription that are ours now, each with the generation of its assignment.
#[derive(Debug, Clone, Default)]
pub struct Epochs(Vec<Option<Epoch>>);

impl Epochs {
    /// A partition is ours from here on.
    pub fn begin(&mut self, part: PartId, epoch: Epoch) {
        let index = part.0 as usize;
        if self.0.len() <= index {
            self.0.resize(index + 1, None);
        }
        self.0[index] = Some(epoch);
    }

    /// An assignment is over. `false` if it was not the present one.
    pub fn end(&mut self, part: PartId, epoch: Epoch) -> bool {
        let present = self.is_present(part, epoch);
        if present {
            self.0[part.0 as usize] = None;
        }
        present
    }

    /// The present assignment of a partition, if it is ours.
    #[must_use]
    pub fn of(&self, part: PartId) -> Option<Epoch> {
        self.0.get(part.0 as usize).copied().flatten()
    }

    /// Whether this is the present assignment: what belongs to any other settles nothing.
    #[must_use]
    pub fn is_present(&self, part: PartId, epoch: Epoch) -> bool {
        self.of(part) == Some(epoch)
    }

    /// All that are ours.
    pub fn all(&self) -> impl Iterator<Item = (PartId, Epoch)> + '_ {
        (0..).zip(&self.0).filter_map(|(part, epoch)| Some((PartId(part), (*epoch)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_present_assignment_counts() {
        let mut epochs = Epochs::default();
        let (part, other) = (PartId(2), PartId(0));
        epochs.begin(part, Epoch(5));
        assert!(epochs.is_present(part, Epoch(5)) && !epochs.is_present(part, Epoch(4)) && !epochs.is_present(other, Epoch(5)));
        epochs.begin(part, Epoch(6));
        assert!(!epochs.end(part, Epoch(5)), "over already");
        assert_eq!(epochs.all().collect::<Vec<_>>(), [(part, Epoch(6))]);
        assert!(epochs.end(part, Epoch(6)));
        assert_eq!(epochs.of(part), None);
    }
}
