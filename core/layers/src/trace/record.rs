//! What is kept of a delivery while it is handled, and said at the end.

use std::error::Error as StdError;

use convoke_core::{BoxError, Delivery, Outcome, Reply, Verdict};
use tracing::{Level, Span};

use super::ending::Ending;
use super::event::{Happened, Subject};
use super::{TARGET, span};

/// The span of a delivery, and what names its messages in events.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) span: Span,
    /// Kept only if somebody wants events.
    subject: Option<Subject>,
    count: usize,
}

impl Record {
    pub(super) fn new(system: Option<&str>, delivery: &Delivery) -> Self {
        let span = span::open(system, delivery);
        let subject = tracing::event_enabled!(target: TARGET, Level::WARN).then(|| Subject::of(delivery));
        Self { span, subject, count: delivery.messages().len() }
    }

    /// The call came back with `result`.
    pub(super) fn done(&self, result: &Result<Reply, BoxError>) {
        if self.span.is_disabled() && self.subject.is_none() {
            return;
        }
        let mut ending = Ending::new();
        match result {
            Ok(reply) => self.replied(reply, &mut ending),
            Err(error) => self.failed(None, &**error, &mut ending),
        }
        ending.record(&self.span);
    }

    /// The call was dropped before it came back.
    pub(super) fn abandoned(&self, panicked: bool) {
        let mut ending = Ending::new();
        match panicked {
            true => ending.fail("panic", "panic"),
            false => ending.add("cancelled"),
        }
        ending.record(&self.span);
    }

    fn replied(&self, reply: &Reply, ending: &mut Ending) {
        for one in &reply.rejected {
            ending.fail("dead", one.reason.as_str());
            self.event(Some(one.index), Happened::Rejected(one.reason, &*one.error));
        }
        let is_rejected = |index| reply.rejected.iter().any(|one| one.index == index);
        match &reply.verdict {
            // Every message was given up, so that the verdict is about none.
            Verdict::All(_) if reply.rejected.len() >= self.count => {}
            Verdict::All(outcome) => self.said(None, outcome, ending),
            Verdict::Each(each) => {
                for (index, verdict) in each.iter().enumerate().filter(|(index, _)| !is_rejected(*index)) {
                    match verdict {
                        Ok(outcome) => self.said(Some(index), outcome, ending),
                        Err(error) => self.failed(Some(index), &**error, ending),
                    }
                }
            }
        }
    }

    fn said(&self, index: Option<usize>, outcome: &Outcome, ending: &mut Ending) {
        match outcome {
            Outcome::Ack => ending.add("ack"),
            Outcome::Drop => ending.add("drop"),
            Outcome::Retry(_) => {
                ending.add("retry");
                self.event(index, Happened::PutOff("retry"));
            }
            Outcome::Unavailable => {
                ending.add("unavailable");
                self.event(index, Happened::PutOff("unavailable"));
            }
            Outcome::Dead(why) => {
                ending.fail("dead", "handler-error");
                self.event(index, Happened::Dead(why));
            }
            // What a later version of the contract adds.
            _ => ending.add("other"),
        }
    }

    fn failed(&self, index: Option<usize>, error: &(dyn StdError + 'static), ending: &mut Ending) {
        let error_type = crate::kind::Kind::of(error).word();
        ending.fail("error", error_type);
        self.event(index, Happened::Failed(error_type, error));
    }

    fn event(&self, index: Option<usize>, happened: Happened<'_>) {
        if let Some(subject) = &self.subject {
            subject.event(index, happened);
        }
    }
}
