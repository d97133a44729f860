//! What goes wrong with Redis, in convoke's words.

use convoke_core::{Error, ErrorKind};
use redis::{ErrorKind as Kind, RedisError, ServerErrorKind};

/// Why a question has no answer.
#[derive(Debug, Clone)]
pub(crate) enum Failure {
    /// There is no connection: it was not sent.
    NotSent(String),
    /// It was sent, and no answer came.
    NoAnswer(String),
    /// The server refuses it.
    Refused(RedisError),
}

impl Failure {
    pub(crate) fn error(&self, what: &str) -> Error {
        match self {
            Self::NotSent(why) => Error::new(ErrorKind::Connection, format!("{what}: there is no connection to Redis: {why}")),
            Self::NoAnswer(why) => Error::new(ErrorKind::Unknown, format!("{what}: no answer came from Redis: {why}")),
            Self::Refused(error) => refused(what, error),
        }
    }

    /// Whether the group, or the stream, is not there any more.
    pub(crate) fn is_gone(&self) -> bool {
        let Self::Refused(error) = self else { return false };
        let text = error.to_string();
        text.contains("NOGROUP") || text.contains("no such key")
    }
}

/// What the server said.
pub(crate) fn refused(what: &str, error: &RedisError) -> Error {
    let code = error.code().unwrap_or_default();
    let (kind, advice) = match (error.kind(), code) {
        (_, "NOAUTH") => (ErrorKind::Unauthorized, "it wants a password; write it into the URL (`redis://user:password@host`)"),
        (Kind::AuthenticationFailed, _) | (_, "WRONGPASS") => {
            (ErrorKind::Unauthorized, "it refuses the user or the password; correct the URL (`redis://user:password@host`)")
        }
        (Kind::Server(ServerErrorKind::NoPerm), _) | (_, "NOPERM") => {
            (ErrorKind::Unauthorized, "the user may not do this; the book's page on Redis lists the commands that are needed")
        }
        (_, "WRONGTYPE") => {
            (ErrorKind::Configuration, "a key of this name is no stream; choose another topic, or another database")
        }
        (_, "OOM") => (ErrorKind::Rejected, "Redis is out of memory (`maxmemory`); give it more, or shorten `keep`"),
        (_, "MISCONF") => (ErrorKind::Rejected, "Redis cannot write to its disk; look at its log"),
        _ => (ErrorKind::Rejected, "Redis refuses it"),
    };
    Error::new(kind, format!("{what}: {advice}")).with_source(error.clone())
}

/// Whether another server, or the same one later, may say otherwise.
pub(crate) fn passes(error: &RedisError) -> bool {
    let Kind::Server(kind) = error.kind() else { return false };
    use ServerErrorKind::{BusyLoading, MasterDown, NoScript, ReadOnly};
    matches!(kind, BusyLoading | MasterDown | NoScript | ReadOnly)
}

/// Whether the connection has to be made anew after this.
pub(crate) fn breaks(error: &RedisError) -> bool {
    error.is_io_error() || passes(error) || error.is_unrecoverable_error()
}

/// Whether the server said this instead of doing anything.
pub(crate) fn is_said(error: &RedisError) -> bool {
    !error.is_io_error() && !matches!(error.kind(), Kind::Parse | Kind::Client)
}
