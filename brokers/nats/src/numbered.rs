//! Messages of a stream by their numbers. The server puts them into JSON, so that whatever their headers are, the client reads them:
//! sent as they are, as deliveries and as answers to direct gets, they can end the connection.

use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_nats::HeaderMap;
use async_nats::header::NATS_MESSAGE_TTL;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::RawMessage;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use convoke_core::{Error, ErrorKind, Message, Topic};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

use crate::link::Link;
use crate::{expiry, failure, unreadable};

/// In so many parts a range is read at once.
const AT_ONCE: u64 = 16;

/// A message, and its place in the stream.
#[derive(Debug)]
pub(crate) struct Numbered {
    pub(crate) sequence: u64,
    pub(crate) published: SystemTime,
    headers: Option<Vec<u8>>,
    payload: Bytes,
}

impl Numbered {
    /// Whether the client can be sent it.
    pub(crate) fn is_readable(&self) -> bool {
        self.headers.as_deref().is_none_or(unreadable::is_readable)
    }

    pub(crate) fn message(&self, topic: &Topic) -> Message {
        unreadable::message(topic, self.headers.as_deref().unwrap_or_default(), self.payload.clone())
    }

    /// When it expires, if it does: its writer may have said for how long it lives.
    pub(crate) fn expires_at(&self) -> Option<SystemTime> {
        let headers = self.headers.as_deref()?;
        self.published.checked_add(expiry::read(&unreadable::value(headers, NATS_MESSAGE_TTL.as_ref())?)?)
    }

    /// Its headers, to be written as they are. `None` if they cannot be.
    pub(crate) fn headers(&self) -> Option<HeaderMap> {
        self.headers.as_deref().map_or_else(|| Some(HeaderMap::new()), unreadable::as_they_came)
    }
}

/// Which message is asked for.
#[derive(Debug, Default, Serialize)]
struct Query<'q> {
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_by_subj: Option<&'q str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_by_subj: Option<&'q str>,
}

#[derive(Debug, Deserialize)]
struct Found {
    message: RawMessage,
}

/// The message of this number.
pub(crate) async fn at(link: &Link, stream: &str, sequence: u64) -> Result<Option<Numbered>, Error> {
    get(link, stream, Query { seq: Some(sequence), ..Query::default() }).await
}

/// The first message of a subject from a number on.
pub(crate) async fn next(link: &Link, stream: &str, subject: &str, from: u64) -> Result<Option<Numbered>, Error> {
    get(link, stream, Query { seq: Some(from.max(1)), next_by_subj: Some(subject), ..Query::default() }).await
}

/// The last message of a subject.
pub(crate) async fn last(link: &Link, stream: &str, subject: &str) -> Result<Option<Numbered>, Error> {
    get(link, stream, Query { last_by_subj: Some(subject), ..Query::default() }).await
}

/// The messages of a subject in a range that are wanted, in order.
pub(crate) async fn range(
    link: &Link,
    stream: &str,
    subject: &str,
    range: RangeInclusive<u64>,
    wanted: fn(&Numbered) -> bool,
) -> Result<Vec<Numbered>, Error> {
    let (from, to) = range.into_inner();
    let step = (to.saturating_sub(from) / AT_ONCE + 1).max(64);
    let starts = (0..).map(|part| from + part * step).take_while(|start| *start <= to);
    let parts = starts.map(|start| async move {
        let (mut found, mut at, end) = (Vec::new(), start, to.min(start + step - 1));
        while let Some(one) = next(link, stream, subject, at).await?.filter(|one| one.sequence <= end) {
            at = one.sequence + 1;
            if wanted(&one) {
                found.push(one);
            }
            if at > end {
                break;
            }
        }
        Ok::<_, Error>(found)
    });
    let parts: Vec<_> = stream::iter(parts.collect::<Vec<_>>()).buffered(AT_ONCE as usize).try_collect().await?;
    Ok(parts.into_iter().flatten().collect())
}

async fn get(link: &Link, stream: &str, query: Query<'_>) -> Result<Option<Numbered>, Error> {
    let text = || format!("a message of the stream `{stream}` cannot be read");
    let answer: Result<Response<Found>, _> = link.jetstream.request(format!("STREAM.MSG.GET.{stream}"), &query).await;
    match answer.map_err(|error| failure::of(text(), error))? {
        Response::Ok(Found { message }) => numbered(message).map(Some).map_err(|error| {
            Error::new(ErrorKind::Codec, format!("{}: the server writes it in an unknown way", text())).with_source(error)
        }),
        Response::Err { error } if error.error_code() == ErrorCode::NO_MESSAGE_FOUND => Ok(None),
        Response::Err { error } => Err(failure::of(text(), error)),
    }
}

fn numbered(raw: RawMessage) -> Result<Numbered, base64::DecodeError> {
    let nanos = u64::try_from(raw.time.unix_timestamp_nanos()).unwrap_or(0);
    Ok(Numbered {
        sequence: raw.sequence,
        published: UNIX_EPOCH + Duration::from_nanos(nanos),
        headers: raw.headers.map(|headers| STANDARD.decode(headers)).transpose()?,
        payload: STANDARD.decode(raw.payload)?.into(),
    })
}
