//! Faults that are planted between the engine and those who watch it, to see that the oracle is not blind.

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// A message is acknowledged before what its handler returned is confirmed.
    AckBeforeConfirmed,
    /// A settlement is forgotten.
    SettleDropped,
    /// A commit goes beyond what is not done.
    CommitPastGap,
    /// A later message of a key starts first.
    KeyReordered,
    /// The next message of a key starts while a retry holds it.
    KeyReleasedEarly,
    /// The engine does not hear of a revocation.
    RevokeIgnored,
    /// A message is acknowledged in place of being dead-lettered.
    DeadLetterDropped,
    /// A failed attempt is not counted.
    AttemptForgotten,
    /// More is granted than there is.
    CreditInflated,
    /// What is granted gets lost.
    CreditLeaked,
    /// Leases are not extended.
    LeaseNeverExtended,
    /// The engine does not know of the local deadline.
    DeadlineUnknown,
    /// A message is freed twice.
    FreedTwice,
    /// The time of a retry comes before its delay is over.
    DelayCutShort,
    /// The engine does not hear that what a partition holds waits.
    WaitUnheard,
    /// The engine does not know how much room a commit has.
    RoomUnknown,
}

impl Sabotage {
    /// All of them, each with the invariants that may catch it.
    pub const ALL: [(Self, &'static [u8]); 16] = [
        (Self::AckBeforeConfirmed, &[7]),
        (Self::SettleDropped, &[16]),
        (Self::CommitPastGap, &[8]),
        (Self::KeyReordered, &[4]),
        // What starts too early may also start on a route that takes nothing.
        (Self::KeyReleasedEarly, &[3, 12]),
        (Self::RevokeIgnored, &[13]),
        (Self::DeadLetterDropped, &[7]),
        (Self::AttemptForgotten, &[6]),
        (Self::CreditInflated, &[9]),
        (Self::CreditLeaked, &[9]),
        (Self::LeaseNeverExtended, &[10]),
        (Self::DeadlineUnknown, &[11]),
        (Self::FreedTwice, &[1]),
        (Self::DelayCutShort, &[5]),
        (Self::WaitUnheard, &[9]),
        (Self::RoomUnknown, &[8, 9]),
    ];
}
