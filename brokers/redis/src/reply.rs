//! Reading replies: no tables are built on the way from the server to a message.

use convoke_core::Position;
use redis::Value;

/// The id of an entry: when it was added, in milliseconds, and its number within that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(crate) struct Id(pub(crate) u64, pub(crate) u64);

impl Id {
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let (ms, seq) = std::str::from_utf8(text).ok()?.split_once('-')?;
        Some(Self(ms.parse().ok()?, seq.parse().ok()?))
    }

    pub(crate) const fn position(self) -> Position {
        Position::Entry(self.0, self.1)
    }

    pub(crate) const fn of(position: Position) -> Option<Self> {
        match position {
            Position::Entry(ms, seq) => Some(Self(ms, seq)),
            _ => None,
        }
    }

    /// The id right before this one.
    pub(crate) const fn previous(self) -> Self {
        match (self.0, self.1) {
            (0, 0) => Self(0, 0),
            (ms, 0) => Self(ms - 1, u64::MAX),
            (ms, seq) => Self(ms, seq - 1),
        }
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.0, self.1)
    }
}

/// The elements of an array; none of anything else.
pub(crate) fn list(value: Value) -> std::vec::IntoIter<Value> {
    match value {
        Value::Array(values) | Value::Set(values) => values,
        Value::Map(pairs) => pairs.into_iter().flat_map(|(name, value)| [name, value]).collect(),
        _ => Vec::new(),
    }
    .into_iter()
}

/// The bytes of a string; empty for anything else.
pub(crate) fn bytes(value: Value) -> Vec<u8> {
    match value {
        Value::BulkString(bytes) => bytes,
        Value::SimpleString(text) => text.into_bytes(),
        Value::Int(number) => number.to_string().into_bytes(),
        Value::Okay => b"OK".to_vec(),
        _ => Vec::new(),
    }
}

pub(crate) fn text(value: Value) -> String {
    String::from_utf8(bytes(value)).unwrap_or_default()
}

pub(crate) fn number(value: Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(number),
        other => text(other).parse().ok(),
    }
}

pub(crate) fn unsigned(value: Value) -> u64 {
    number(value).and_then(|number| u64::try_from(number).ok()).unwrap_or_default()
}

/// Whether a script refused because another has the partition.
pub(crate) fn is_fenced(value: &Value) -> bool {
    matches!(value, Value::BulkString(text) if text == b"FENCED")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_written_and_in_order() {
        let id = Id::parse(b"1700000000000-7").unwrap();
        assert_eq!(id.to_string(), "1700000000000-7");
        assert!(id < Id(1_700_000_000_000, 10) && Id(9, 0) < Id(10, 0));
        assert_eq!([Id(5, 3).previous(), Id(5, 0).previous()], [Id(5, 2), Id(4, u64::MAX)]);
        assert_eq!(Id::parse(b"7"), None);
        assert_eq!(Id::of(id.position()), Some(id));
    }
}
