//! Errors: one opaque type with a kind, a sentence for people and a source.

use std::error::Error as StdError;
use std::fmt;

/// Any error, as handlers return and layers pass on.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// What went wrong in convoke or its broker.
///
/// `Display` is the sentence, which says what to do next; the cause is in `source()`, and is not repeated in the sentence.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    source: Option<BoxError>,
}

/// The kinds of [`Error`], for programs that decide by them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The application is put together wrongly: what `build()` reports.
    Configuration,
    /// What was asked for is not offered by this broker, or not yet by convoke.
    Unsupported,
    /// A URL or an environment variable cannot be read.
    InvalidUrl,
    /// The broker cannot be reached, or the connection was lost. Worth trying again.
    Connection,
    /// The broker refuses who we are or what we may do.
    Unauthorized,
    /// A topic, stream, exchange or group does not exist.
    NotFound,
    /// A parameter's value cannot be a part of a topic's name.
    InvalidTopic,
    /// A payload cannot be encoded or decoded.
    Codec,
    /// A message is larger than the broker takes.
    TooLarge,
    /// The broker refused a message.
    Rejected,
    /// A message was sent and no answer came: it may have been stored, or not.
    Unknown,
    /// It took longer than it may.
    Timeout,
    /// The application or the connection is closing or closed.
    Closed,
    /// A subscription stopped before its end, because a policy says so.
    Stopped,
    /// A defect in convoke or in an adapter; please report it.
    Internal,
}

impl Error {
    /// An error of `kind`; `message` is a whole sentence without a full stop that says what to do next.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, message: message.into(), source: None }))
    }

    /// Adds the cause, which `source()` then returns.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The kind.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether the same call may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Connection | ErrorKind::Unknown | ErrorKind::Timeout)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

/// Written for `fn main() -> Result<(), Error>`, which prints `Debug`: the sentence and its causes, one a line.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.message)?;
        let mut source = self.source();
        while let Some(cause) = source {
            write!(f, "\n  caused by: {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_ref().map(|source| &**source as _)
    }
}
