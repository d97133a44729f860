//! Why a case ends before its end.

use std::fmt;

/// Why a case, or something that a harness was asked for, did not get to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// It cannot be tried here, because of this: the case is reported as lacking, and counts neither as passed nor as failed.
    Lacking(String),
    /// A promise was not kept.
    Failed {
        /// What is not as it should be.
        why: String,
        /// The numbers of the messages that it is about; none means all.
        about: Vec<u64>,
    },
}

impl Stop {
    /// It cannot be tried here, because of this.
    #[must_use]
    pub fn lacking(why: impl Into<String>) -> Self {
        Self::Lacking(why.into())
    }

    /// This is not as it should be.
    #[must_use]
    pub fn failed(why: impl Into<String>) -> Self {
        Self::Failed { why: why.into(), about: Vec::new() }
    }

    /// The same, about messages of these numbers.
    #[must_use]
    pub(crate) fn about(self, numbers: impl IntoIterator<Item = u64>) -> Self {
        match self {
            Self::Failed { why, .. } => Self::Failed { why, about: numbers.into_iter().collect() },
            lacking => lacking,
        }
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lacking(why) | Self::Failed { why, .. } => f.write_str(why),
        }
    }
}

impl std::error::Error for Stop {}

impl From<convoke_core::Error> for Stop {
    fn from(error: convoke_core::Error) -> Self {
        Self::failed(format!("an error that should not be: {error:?}"))
    }
}

/// What a case comes to.
pub(crate) type CaseResult = Result<(), Stop>;

/// Fails the case unless the condition holds.
macro_rules! check {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            let text = format!($($text)+);
            return Err($crate::Stop::failed(format!("{text} ({}:{})", file!(), line!())));
        }
    };
}

/// Fails the case unless both are equal.
macro_rules! check_eq {
    ($left:expr, $right:expr, $($text:tt)+) => {
        match (&$left, &$right) {
            (left, right) => if *left != *right {
                let text = format!($($text)+);
                return Err($crate::Stop::failed(format!("{text}: {left:?} in place of {right:?} ({}:{})", file!(), line!())));
            }
        }
    };
}

pub(crate) use {check, check_eq};
