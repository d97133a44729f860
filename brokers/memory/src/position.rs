//! What a message's place is called: always an offset in here.

use convoke_core::Position;
use convoke_core::broker::Token;

use crate::options::Positions;

/// Entry ids have so many numbers within a millisecond, or what stands for one.
const BITS: u32 = 4;

/// What an offset is called outside; `tag` is the number of the delivery.
pub(crate) fn shown(positions: Positions, offset: u64, tag: u64) -> Position {
    match positions {
        Positions::Offset => Position::Offset(offset),
        Positions::Entry => Position::Entry(offset >> BITS, offset & ((1 << BITS) - 1)),
        Positions::Tag => Position::Tag(tag),
    }
}

/// The offset that a position from outside stands for, if it can.
pub(crate) fn offset(positions: Positions, position: Position) -> Option<u64> {
    match (positions, position) {
        (Positions::Offset, Position::Offset(offset)) => Some(offset),
        (Positions::Entry, Position::Entry(high, low)) => high.checked_mul(1 << BITS)?.checked_add(low),
        _ => None,
    }
}

/// The offset of a delivery.
pub(crate) fn of_token(positions: Positions, token: &Token) -> Option<u64> {
    match positions {
        Positions::Tag => Some(u64::from_be_bytes(token.tag.as_ref().try_into().ok()?)),
        _ => offset(positions, token.position),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_that_are_stable_are_read_back_and_in_order() {
        for positions in [Positions::Offset, Positions::Entry] {
            for at in [0, 15, 16, 1_000_000] {
                assert_eq!(offset(positions, shown(positions, at, 7)), Some(at));
                assert!(shown(positions, at, 0) < shown(positions, at + 1, 0));
            }
        }
        assert_eq!(offset(Positions::Tag, Position::Tag(3)), None);
    }
}
