//! Which messages of a delivery go on, and how the handler's answer about these becomes one about all.

use convoke_core::{BoxError, Delivered, Delivery, Outcome, Rejected, Reply, Verdict};

use super::BatchError;

/// What a predicate makes of a delivery.
pub(super) enum Choice {
    /// Every message is wanted.
    All,
    /// Some are, and the delivery has only these left.
    Some(Plan),
    /// None is; this is the answer.
    None(Reply),
}

/// How to find back from the messages that went on to those that were there.
#[derive(Debug)]
pub(super) struct Plan {
    /// How many there were.
    count: usize,
    /// The indices of those that went on, ascending.
    kept: Vec<usize>,
    /// Those that did not, but had been given up already.
    rejected: Vec<Rejected>,
}

impl Plan {
    pub(super) fn choose(delivery: &mut Delivery, predicate: impl Fn(&Delivered) -> bool) -> Choice {
        let messages = delivery.messages();
        let count = messages.len();
        // The usual case, that all are wanted, takes no memory.
        let Some(first) = messages.iter().position(|message| !predicate(message)) else { return Choice::All };
        let mut kept: Vec<usize> = (0..first).collect();
        kept.extend((first + 1..count).filter(|&index| predicate(&messages[index])));
        if kept.is_empty() {
            let mut reply = Reply::outcome(Outcome::Drop);
            reply.rejected = delivery.take_rejected();
            return Choice::None(reply);
        }
        let rejected = delivery.retain(|index, _| kept.binary_search(&index).is_ok());
        Choice::Some(Self { count, kept, rejected })
    }

    /// The answer about all messages, from that about those that went on.
    pub(super) fn widen(self, result: Result<Reply, BoxError>) -> Reply {
        let (mut reply, verdicts) = match result {
            Ok(mut reply) => match std::mem::replace(&mut reply.verdict, Verdict::All(Outcome::Drop)) {
                Verdict::All(outcome) => (reply, self.spread(|| Ok(outcome.clone()))),
                Verdict::Each(each) => {
                    let mut each = each.into_iter();
                    // A verdict that is missing is a defect further in, and no reason to lose the message.
                    let verdicts =
                        self.spread(|| each.next().unwrap_or_else(|| Err("there is no verdict for this message".into())));
                    (reply, verdicts)
                }
            },
            Err(error) => {
                let error = BatchError::new(error);
                (Reply::ack(), self.spread(|| Err(error.clone().into())))
            }
        };
        reply.verdict = Verdict::Each(verdicts);
        let Self { kept, rejected, .. } = self;
        reply.rejected.retain_mut(|one| kept.get(one.index).map(|&index| one.index = index).is_some());
        reply.rejected.extend(rejected);
        reply
    }

    /// A verdict for each: the next of these for what went on, and for the others that they are dropped.
    fn spread(&self, mut verdict: impl FnMut() -> Result<Outcome, BoxError>) -> Vec<Result<Outcome, BoxError>> {
        let mut verdicts: Vec<_> = (0..self.count).map(|_| Ok(Outcome::Drop)).collect();
        for &index in &self.kept {
            verdicts[index] = verdict();
        }
        verdicts
    }
}
