//! How much of a partition may be delivered, and how much of that was asked for already.

/// The credit of one partition, for brokers that are asked for messages: what was granted is asked for once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Credit {
    granted: u32,
    asked: u32,
}

impl Credit {
    /// So many more may be delivered.
    pub fn grant(&mut self, messages: u32) {
        self.granted = self.granted.saturating_add(messages);
    }

    /// What is not asked for yet, `most` at a time; from here on it is asked for.
    pub fn ask(&mut self, most: u32) -> u32 {
        let count = self.granted.min(most);
        self.granted -= count;
        self.asked += count;
        count
    }

    /// What is not asked for yet.
    #[must_use]
    pub const fn granted(&self) -> u32 {
        self.granted
    }

    /// What is asked for and has not come.
    #[must_use]
    pub const fn asked(&self) -> u32 {
        self.asked
    }

    /// One that was asked for has come, and is delivered.
    pub fn delivered(&mut self) {
        self.asked = self.asked.saturating_sub(1);
    }

    /// So many that were asked for do not come, or are not delivered: they may be asked for anew.
    pub fn unasked(&mut self, messages: u32) {
        let count = messages.min(self.asked);
        self.asked -= count;
        self.granted += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_granted_is_delivered_once_however_often_asking_fails() {
        let mut credit = Credit::default();
        let (mut granted, mut delivered, mut state) = (0, 0, 7_u32);
        for _step in 0..10_000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let amount = state >> 29;
            match state >> 8 & 3 {
                0 => {
                    credit.grant(amount);
                    granted += amount;
                }
                1 => assert!(credit.ask(amount) <= amount),
                2 if credit.asked() > 0 => {
                    credit.delivered();
                    delivered += 1;
                }
                _ => credit.unasked(amount),
            }
            assert_eq!(credit.granted() + credit.asked() + delivered, granted);
        }
        assert!(delivered > 1000);
    }
}
