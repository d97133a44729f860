//! The events beside the span. They name the message themselves: where only warnings are wanted there is no span.

use std::error::Error as StdError;
use std::sync::Arc;

use convoke_core::{DeadReason, Delivered, Delivery, HandlerContext};

use super::{TARGET, span};

/// What names the messages of a delivery after it was handed on. Clones of messages are reference counts.
#[derive(Debug)]
pub(super) struct Subject {
    context: Arc<HandlerContext>,
    messages: Messages,
}

#[derive(Debug)]
enum Messages {
    One(Delivered),
    Many(Vec<Delivered>),
}

/// What there is to say about a message, or about all of a delivery.
#[derive(Debug, Clone, Copy)]
pub(super) enum Happened<'e> {
    /// The attempt failed, with an error of this type.
    Failed(&'static str, &'e (dyn StdError + 'static)),
    /// It was given up before the handler saw it.
    Rejected(DeadReason, &'e (dyn StdError + 'static)),
    /// The handler gave it up.
    Dead(&'e str),
    /// The handler asked for another time.
    PutOff(&'static str),
}

impl Subject {
    pub(super) fn of(delivery: &Delivery) -> Self {
        let messages = match delivery.messages() {
            [message] if !delivery.is_batch() => Messages::One(message.clone()),
            messages => Messages::Many(messages.to_vec()),
        };
        Self { context: Arc::clone(delivery.context()), messages }
    }

    /// Says what happened to the message at `index`, or to all.
    pub(super) fn event(&self, index: Option<usize>, happened: Happened<'_>) {
        let messages = match &self.messages {
            Messages::One(message) => std::slice::from_ref(message),
            Messages::Many(messages) => messages,
        };
        let batch = matches!(self.messages, Messages::Many(_)).then_some(messages.len());
        let message = match index {
            Some(index) => messages.get(index),
            None => messages.first().filter(|_| batch.is_none()),
        };
        // One list of fields, whatever the level and the words.
        macro_rules! say {
            ($level:ident, $words:literal, $($fields:tt)*) => {
                tracing::$level!(
                    target: TARGET,
                    {
                        convoke.handler = &*self.context.handler,
                        messaging.consumer.group.name = &*self.context.group,
                        messaging.destination.name = messages.first().map(span::topic),
                        messaging.batch.message_count = batch,
                        messaging.message.id = message.map(Delivered::id).as_deref(),
                        convoke.attempt = message.map(|message| message.attempt),
                        $($fields)*
                    },
                    $words
                )
            };
        }
        match happened {
            Happened::Failed(kind, error) => say!(warn, "attempt failed", "error.type" = kind, error = error),
            Happened::Rejected(reason, error) => say!(warn, "message given up", "error.type" = reason.as_str(), error = error),
            Happened::Dead(why) => say!(warn, "message given up by its handler", reason = why),
            Happened::PutOff(outcome) => say!(debug, "put off by the handler", convoke.outcome = outcome),
        }
    }
}
