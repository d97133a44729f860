//! What the end of a call says of what the handler depends on.

use convoke_core::{BoxError, Outcome, Reply, Verdict, unavailable};

use crate::kind::Kind;

/// From what says least to what says most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Heard {
    Nothing,
    /// The handler says itself that it is down.
    Down,
    Fails,
    Works,
}

impl Heard {
    pub(super) fn of(result: &Result<Reply, BoxError>) -> Self {
        match result {
            Ok(Reply { verdict: Verdict::All(outcome), .. }) => Self::of_outcome(outcome),
            Ok(Reply { verdict: Verdict::Each(each), .. }) => {
                let of = |one: &Result<Outcome, BoxError>| one.as_ref().map_or_else(Self::of_error, Self::of_outcome);
                each.iter().map(of).max().unwrap_or(Self::Nothing)
            }
            Err(error) => Self::of_error(error),
        }
    }

    fn of_outcome(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Ack => Self::Works,
            Outcome::Retry(_) => Self::Fails,
            Outcome::Unavailable => Self::Down,
            _ => Self::Nothing,
        }
    }

    fn of_error(error: &BoxError) -> Self {
        match Kind::of(&**error) {
            Kind::Transient | Kind::Timeout => Self::Fails,
            Kind::Unavailable => Self::Down,
            Kind::Permanent | Kind::Overloaded | Kind::ClaimedElsewhere => Self::Nothing,
        }
    }
}

/// The same, but that what failed is unavailable: no attempt.
pub(super) fn excused(result: Result<Reply, BoxError>) -> Result<Reply, BoxError> {
    let error = |error: BoxError| if Heard::of_error(&error) == Heard::Fails { unavailable(error).into() } else { error };
    let outcome = |outcome| if matches!(outcome, Outcome::Retry(_)) { Outcome::Unavailable } else { outcome };
    let mut reply = result.map_err(error)?;
    reply.verdict = match reply.verdict {
        Verdict::All(one) => Verdict::All(outcome(one)),
        Verdict::Each(each) => Verdict::Each(each.into_iter().map(|one| one.map(outcome).map_err(error)).collect()),
    };
    Ok(reply)
}
