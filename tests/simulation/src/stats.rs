//! How often each transition and each fault was reached.

macro_rules! reached {
    ($($name:ident = $text:literal,)+) => {
        /// What a trace can reach. Every one of these has to be reached, and often.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Reached {
            $(#[doc = $text] $name,)+
        }

        impl Reached {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// As it is printed.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

reached! {
    // What goes wrong.
    FaultAbort = "fault: abort",
    FaultAssignedWithoutALoss = "fault: assigned without a loss",
    FaultCommitWithoutAnAnswer = "fault: commit without an answer",
    FaultCrash = "fault: crash",
    FaultDrain = "fault: drain",
    FaultLeaseLost = "fault: lease lost",
    FaultLost = "fault: lost",
    FaultOutdatedInput = "fault: outdated input",
    FaultPause = "fault: pause",
    FaultPublishRefused = "fault: publish refused",
    FaultPublishWithoutAnAnswer = "fault: publish without an answer",
    FaultRedelivery = "fault: redelivery",
    FaultResize = "fault: resize",
    FaultRenewedTooLate = "fault: renewed too late",
    FaultRevoked = "fault: revoked",
    FaultSettlementWithoutAnAnswer = "fault: settlement without an answer",
    FaultUncleanAssignment = "fault: unclean assignment",
    // What starts.
    ReadyToRunning = "ready > running",
    WaitingHeldToRunning = "waiting, held > running",
    PutBackToRunning = "put back > running",
    Batch = "ready > running, several at once",
    Probe = "probe",
    Suspended = "suspended",
    Restored = "restored",
    ReadyAgain = "blocked > ready",
    Resumed = "paused > resumed",
    // What becomes of what runs.
    RunningToPublishingReturned = "running > publishing returned",
    RunningToPublishingRetry = "running > publishing retry",
    RunningToWaitingHeld = "running > waiting, held",
    RunningToWaitingPassed = "running > waiting, passed",
    RunningToExhausted = "running > exhausted",
    RunningToGivenUp = "running > given up",
    RunningToQueuedBehindAFailedOne = "running > queued, behind a failed one",
    RunningToQueuedNotTaken = "running > queued, not taken",
    RunningToWaitingLater = "running > waiting, somebody else has it",
    RunningToQueuedUnavailable = "running > queued, unavailable",
    RunningToTimedOut = "running > timed out",
    RunningToCancelled = "running > cancelled",
    // What is published.
    PublishingReturnedToJudged = "publishing returned > judged",
    PublishingRetryToConfirmed = "publishing retry > confirmed",
    PublishingRetryToWaiting = "publishing retry > waiting",
    PublishingDead = "publishing dead",
    PublishingDeadToConfirmed = "publishing dead > confirmed",
    PublishingDeadToStuck = "publishing dead > stuck",
    PublishingToAgain = "publishing > again",
    Stuck = "stuck",
    // What is settled.
    Settling = "settling",
    SettlingToAcknowledged = "settling > acknowledged",
    SettlingToGivenBack = "settling > given back",
    SettlingToAgain = "settling > again",
    SettlingToStale = "settling > stale",
    GivingBack = "giving back",
    Extension = "extension",
    ExtensionToStale = "extension > stale",
    Commit = "commit",
    CommitCut = "commit, not all of it has room",
    CommitToKept = "commit > kept",
    CommitToAgain = "commit > again",
    CommitToStale = "commit > stale",
    Swap = "swap",
    // Suspects.
    Alone = "alone",
    AloneToInnocent = "alone > innocent",
    ReadyToMarking = "ready > marking",
    MarkingToMarked = "marking > marked",
    MarkingToMarkedByCommit = "marking > marked by commit",
    MarkingToFailed = "marking > failed",
    QueuedToDeadTooManyDeliveries = "queued > dead, too many deliveries",
    // What is lost.
    QueuedToLost = "queued > lost",
    WaitingToLost = "waiting > lost",
    MarkingToLost = "marking > lost",
    PublishingToLost = "publishing > lost",
    SettlingToLost = "settling > lost",
    LostPublishingToFree = "lost publishing > free",
    RunningToFenced = "running > fenced",
    FencedToFree = "fenced > free",
    // Partitions, credit and time.
    Grant = "grant",
    GrantWaiting = "grant, what comes waits",
    FullBacklog = "full: a lane",
    FullAhead = "full: above the watermark",
    FullProgress = "full: the text of commits",
    Expired = "expired",
    Renewed = "expired > renewed",
    Revoked = "revoked",
    RevokedLate = "revoked late",
    Drained = "drained",
    DrainedLate = "drained late",
    EarlyTick = "early tick",
    Several = "several inputs at once",
    // How messages end.
    FreeAcked = "free: acked",
    FreeDropped = "free: dropped",
    FreeSkipped = "free: skipped",
    FreeDead = "free: dead",
    FreeRetried = "free: retried",
    FreeReturned = "free: returned",
    FreeReturnedUntried = "free: returned untried",
    FreeLost = "free: lost",
    FreeDuplicate = "free: duplicate",
}

/// Counts of what was reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats([u64; Reached::ALL.len()]);

impl Default for Stats {
    fn default() -> Self {
        Self([0; Reached::ALL.len()])
    }
}

impl Stats {
    /// One more of these.
    pub fn count(&mut self, reached: Reached) {
        self.0[reached as usize] += 1;
    }

    /// How many there were.
    #[must_use]
    pub const fn get(&self, reached: Reached) -> u64 {
        self.0[reached as usize]
    }

    /// Adds those of another.
    pub fn merge(&mut self, other: &Self) {
        for (sum, more) in self.0.iter_mut().zip(other.0) {
            *sum += more;
        }
    }

    /// All, those that were never reached too.
    pub fn iter(&self) -> impl Iterator<Item = (Reached, u64)> + '_ {
        Reached::ALL.iter().map(|&reached| (reached, self.get(reached)))
    }
}
