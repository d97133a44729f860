//! From what a handler answered to what the engine is told.

use std::error::Error as StdError;
use std::fmt;

use convoke_core::Verdict as ReplyVerdict;
use convoke_core::{BoxError, Class, Classified, DeadReason, Outcome, Reply, class_of};
use convoke_engine::Verdict;

use super::calls::Ended;

/// Writes the verdicts for the messages of one call into `verdicts`, and returns what is to be published.
///
/// `count` is the number of messages; `record(i, error)` is called for each error of the `i`th one.
pub(crate) fn judge(
    ended: Ended,
    count: usize,
    verdicts: &mut Vec<Verdict>,
    mut record: impl FnMut(usize, &(dyn StdError + 'static)),
) -> Vec<convoke_core::MessageBuilder> {
    verdicts.clear();
    let reply = match ended {
        Ended::Returned(Ok(reply)) => reply,
        Ended::Returned(Err(error)) => {
            let verdict = of_error(&*error);
            for index in 0..count {
                record(index, &*error);
                verdicts.push(verdict);
            }
            return Vec::new();
        }
        Ended::NotTaken => {
            verdicts.extend((0..count).map(|_| Verdict::NotTaken));
            return Vec::new();
        }
        Ended::Panicked(message) => {
            let error = Panicked(message);
            for index in 0..count {
                record(index, &error);
                verdicts.push(Verdict::Failed { after: None, reason: DeadReason::Panic });
            }
            return Vec::new();
        }
    };
    let Reply { verdict, outgoing, rejected, .. } = reply;
    match verdict {
        ReplyVerdict::All(outcome) => {
            for index in 0..count {
                verdicts.push(of_outcome(&outcome, |error| record(index, error)));
            }
        }
        ReplyVerdict::Each(each) => {
            for (index, one) in each.into_iter().take(count).enumerate() {
                verdicts.push(match one {
                    Ok(outcome) => of_outcome(&outcome, |error| record(index, error)),
                    Err(error) => {
                        record(index, &*error);
                        of_error(&*error)
                    }
                });
            }
            // A layer that answers for fewer messages than it was given has not handled the rest.
            let missing: BoxError = "no verdict was given for this message of the batch".into();
            for index in verdicts.len()..count {
                record(index, &*missing);
                verdicts.push(Verdict::Failed { after: None, reason: DeadReason::HandlerError });
            }
        }
    }
    for one in rejected {
        if let Some(verdict) = verdicts.get_mut(one.index) {
            record(one.index, &*one.error);
            *verdict = Verdict::Dead(one.reason);
        }
    }
    outgoing
}

/// Whether a reply says that everything is done, and nothing else.
pub(crate) const fn is_plain(reply: &Reply) -> bool {
    matches!(reply.verdict, ReplyVerdict::All(Outcome::Ack)) && reply.outgoing.is_empty() && reply.rejected.is_empty()
}

fn of_outcome(outcome: &Outcome, record: impl FnOnce(&(dyn StdError + 'static))) -> Verdict {
    match outcome {
        Outcome::Ack => Verdict::Ack,
        Outcome::Drop => Verdict::Drop,
        Outcome::Unavailable => Verdict::Unavailable,
        Outcome::Retry(after) => {
            record(&Said("the handler asked for a retry".to_owned()));
            Verdict::Failed { after: *after, reason: DeadReason::HandlerError }
        }
        Outcome::Dead(why) => {
            record(&Said(why.clone().into_owned()));
            Verdict::Dead(DeadReason::HandlerError)
        }
        // `Outcome` may grow; what this version does not know is a failed attempt, never an acknowledgement.
        _ => Verdict::Failed { after: None, reason: DeadReason::HandlerError },
    }
}

/// What an error of a handler or of a layer means.
pub(crate) fn of_error(error: &(dyn StdError + 'static)) -> Verdict {
    let mut next = Some(error);
    while let Some(cause) = next {
        // Who classifies an error has looked at its sources; what lies below says nothing any more.
        if cause.is::<Classified>() {
            break;
        }
        if cause.is::<tower::load_shed::error::Overloaded>() {
            return Verdict::NotTaken;
        }
        if let Some(elsewhere) = cause.downcast_ref::<convoke_layers::dedup::ClaimedElsewhere>() {
            return Verdict::Later(elsewhere.again);
        }
        if cause.is::<tower::timeout::error::Elapsed>() {
            return Verdict::Failed { after: None, reason: DeadReason::Timeout };
        }
        if cause.is::<tower::buffer::error::Closed>() || cause.is::<tower::buffer::error::ServiceError>() {
            return Verdict::Unavailable;
        }
        next = cause.source();
    }
    match class_of(error) {
        Class::Permanent => Verdict::Dead(DeadReason::HandlerError),
        Class::After(delay) => Verdict::Failed { after: Some(delay), reason: DeadReason::HandlerError },
        Class::Unavailable => Verdict::Unavailable,
        _ => Verdict::Failed { after: None, reason: DeadReason::HandlerError },
    }
}

#[derive(Debug)]
struct Panicked(String);

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the handler panicked: {}", self.0)
    }
}

impl StdError for Panicked {}

#[derive(Debug)]
pub(crate) struct Said(pub(crate) String);

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for Said {}
