//! How the span of a delivery is filled in.

use std::fmt::Display;

use convoke_core::{Delivered, Delivery, names};
use tracing::field::Empty;
use tracing::{Level, Span};

use super::TARGET;

/// The span of a delivery; disabled if nobody wants it, and then nothing was computed for it.
pub(super) fn open(system: Option<&str>, delivery: &Delivery) -> Span {
    let context = delivery.context();
    // The macro looks at no value unless the span is wanted, so they are written where they stand.
    let span = tracing::info_span!(
        target: TARGET,
        // Not a child of whatever span the application runs in: that would make all deliveries one trace.
        parent: None,
        "process",
        otel.name = %format_args!("process {}", delivery.first().map_or("", topic)),
        otel.kind = "consumer",
        otel.status_code = Empty,
        messaging.system = system,
        "messaging.operation.type" = "process",
        messaging.operation.name = "process",
        messaging.destination.name = same(delivery, topic),
        messaging.destination.partition.id = same(delivery, |message| message.incoming.partition).map(tracing::field::display),
        messaging.consumer.group.name = &*context.group,
        messaging.message.id = single(delivery).map(Delivered::id).as_deref(),
        messaging.message.body.size = single(delivery).map(|message| message.message().payload().len()),
        messaging.batch.message_count = delivery.is_batch().then(|| delivery.messages().len()),
        traceparent = single(delivery).and_then(traceparent),
        convoke.handler = &*context.handler,
        convoke.attempt = delivery.messages().iter().map(|message| message.attempt).max(),
        convoke.outcome = Empty,
        "error.type" = Empty,
    );
    if delivery.is_batch() && tracing::event_enabled!(target: TARGET, Level::TRACE) {
        span.in_scope(|| delivery.messages().iter().enumerate().for_each(|(index, message)| list(index, message)));
    }
    span
}

/// A message of a batch, so that a subscriber can link the span to its trace too.
fn list(index: usize, message: &Delivered) {
    tracing::trace!(
        target: TARGET,
        index,
        messaging.destination.partition.id = %message.incoming.partition,
        messaging.message.id = &*message.id(),
        messaging.message.body.size = message.message().payload().len(),
        traceparent = traceparent(message),
        convoke.attempt = message.attempt,
        "message of a batch"
    );
}

pub(super) fn topic(message: &Delivered) -> &str {
    message.message().topic().as_str()
}

fn single(delivery: &Delivery) -> Option<&Delivered> {
    delivery.first().filter(|_| !delivery.is_batch())
}

/// What is the same for all messages: by the conventions, an attribute is set only then.
fn same<'d, T: PartialEq + Display>(delivery: &'d Delivery, of: impl Fn(&'d Delivered) -> T) -> Option<T> {
    let mut all = delivery.messages().iter().map(of);
    let first = all.next()?;
    all.all(|other| other == first).then_some(first)
}

/// The trace context that the message came with. Whatever else a foreign publisher put there does not get into logs.
fn traceparent(message: &Delivered) -> Option<&str> {
    let value = message.message().headers().get_str(names::TRACE_PARENT)?;
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    let mut parts = value.split('-');
    let well_formed = value.len() == 55
        && [2, 32, 16, 2].into_iter().all(|length| parts.next().is_some_and(|part| part.len() == length && digits(part)));
    well_formed.then_some(value)
}
