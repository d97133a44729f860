//! Which messages of a delivery go on, and how the handler's answer about these becomes one about all.

use convoke_core::{BoxError, Delivered, Delivery, Outcome, Rejected, Reply, Verdict};

use crate::filter::BatchError;

/// What is said of a message that does not go on.
pub(crate) type Said = Result<Outcome, BoxError>;

/// What a layer makes of a delivery.
pub(crate) enum Choice {
    /// Every message goes on.
    All,
    /// Some do, and the delivery has only these left.
    Some(Plan),
    /// None does; this is the answer.
    None(Result<Reply, BoxError>),
}

/// How to find back from the messages that went on to those that were there.
#[derive(Debug)]
pub(crate) struct Plan {
    /// For each that was there what is said of it, or nothing if it went on.
    said: Vec<Option<Said>>,
    /// Those that did not go on, but had been given up already.
    rejected: Vec<Rejected>,
}

impl Plan {
    /// Asks about each message, in order, what is said of it; nothing lets it go on.
    pub(crate) fn choose(delivery: &mut Delivery, mut say: impl FnMut(usize, &Delivered) -> Option<Said>) -> Choice {
        let messages = delivery.messages();
        // The usual case, that all go on, takes no memory.
        let mut rest = messages.iter().enumerate();
        let Some((first, word)) = rest.find_map(|(index, message)| say(index, message).map(|word| (index, word))) else {
            return Choice::All;
        };
        let mut said: Vec<Option<Said>> = (0..first).map(|_| None).collect();
        said.push(Some(word));
        said.extend(rest.map(|(index, message)| say(index, message)));
        if said.iter().all(Option::is_some) {
            let rejected = delivery.take_rejected();
            return Choice::None(answer(said.into_iter().flatten().collect(), delivery.is_batch(), rejected));
        }
        let rejected = delivery.retain(|index, _| said[index].is_none());
        Choice::Some(Self { said, rejected })
    }

    /// The answer about all messages, from that about those that went on.
    pub(crate) fn widen(self, result: Result<Reply, BoxError>) -> Reply {
        let Self { said, rejected } = self;
        let kept: Vec<usize> = (0..said.len()).filter(|&index| said[index].is_none()).collect();
        let (mut reply, verdicts) = match result {
            Ok(mut reply) => match std::mem::replace(&mut reply.verdict, Verdict::All(Outcome::Drop)) {
                Verdict::All(outcome) => (reply, spread(said, || Ok(outcome.clone()))),
                Verdict::Each(each) => {
                    let mut each = each.into_iter();
                    // A verdict that is missing is a defect further in, and no reason to lose the message.
                    let verdicts =
                        spread(said, || each.next().unwrap_or_else(|| Err("there is no verdict for this message".into())));
                    (reply, verdicts)
                }
            },
            Err(error) => {
                let error = BatchError::new(error);
                (Reply::ack(), spread(said, || Err(error.clone().into())))
            }
        };
        reply.verdict = Verdict::Each(verdicts);
        reply.rejected.retain_mut(|one| kept.get(one.index).map(|&index| one.index = index).is_some());
        reply.rejected.extend(rejected);
        reply
    }
}

/// A verdict for each: what is said of it, or the next of these for what went on.
fn spread(said: Vec<Option<Said>>, mut verdict: impl FnMut() -> Said) -> Vec<Said> {
    said.into_iter().map(|word| word.unwrap_or_else(&mut verdict)).collect()
}

/// The answer when nothing goes on.
fn answer(said: Vec<Said>, batch: bool, rejected: Vec<Rejected>) -> Result<Reply, BoxError> {
    let mut reply = Reply::ack();
    reply.rejected = rejected;
    let same = match said.first() {
        Some(Ok(first)) if said.iter().all(|one| one.as_ref().is_ok_and(|one| one == first)) => Some(first.clone()),
        _ => None,
    };
    reply.verdict = match same {
        Some(outcome) => Verdict::All(outcome),
        None if batch => Verdict::Each(said),
        None => return said.into_iter().next().unwrap_or_else(|| Err("a delivery without a message".into())).map(|_| reply),
    };
    Ok(reply)
}
