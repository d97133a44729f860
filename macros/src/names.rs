//! Names, checked where they are written.

use syn::{Error, LitStr, Result};

pub(crate) use crate::spelling::Extra;
use crate::spelling::problem;

/// Checks a name; `what` says in the message which.
pub(crate) fn check(what: &str, name: &LitStr, extra: Extra) -> Result<()> {
    problem(&name.value(), extra).map_or(Ok(()), |problem| Err(Error::new(name.span(), format!("{what} {problem}"))))
}
