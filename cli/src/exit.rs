//! How the program ends.

use std::process::ExitCode;

use convoke::{Error, ErrorKind};

/// How the program ends: its exit code. They are part of what the tool promises to scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All of it was done; or there was nothing to do.
    Done = 0,
    /// Some of it was not: messages were refused or failed, or somebody else works on the same topic.
    Partly = 1,
    /// The command line is wrong, or a confirmation is missing. Nothing was done.
    Usage = 2,
    /// The broker cannot be reached, does not let us, or cannot do it.
    Broker = 3,
    /// What was named does not exist.
    NotFound = 4,
    /// The lock file is out of date, and nothing is broken.
    OutOfDate = 5,
    /// The application is not compatible with its lock file.
    Incompatible = 6,
    /// The application does not describe itself.
    Application = 7,
}

impl Exit {
    /// What an error means for scripts.
    #[must_use]
    pub fn of(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::InvalidUrl | ErrorKind::Configuration => Self::Usage,
            ErrorKind::NotFound => Self::NotFound,
            _ => Self::Broker,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
