//! The broker's clock: tokio's, as a number, so that virtual time moves it and comparing is cheap.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// A moment: nanoseconds, counted so that the broker's first one is [`BASE`].
pub(crate) type Moment = u64;

/// Later than everything: nothing is due.
pub(crate) const NEVER: Moment = u64::MAX;

/// Where counting begins. Well above zero, because the paused clock of a later runtime may stand before the one in which the
/// broker was made; and zero is then free to mean "none".
const BASE: Moment = 1 << 61;

#[derive(Debug)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { origin: Instant::now() }
    }

    pub(crate) fn now(&self) -> Moment {
        let now = Instant::now();
        match now.checked_duration_since(self.origin) {
            Some(since) => BASE + nanos(since),
            None => BASE - nanos(self.origin.duration_since(now)),
        }
    }

    /// The instant of a moment that is no further from now than a timer reaches.
    pub(crate) fn instant(&self, moment: Moment, now: Moment) -> Instant {
        const FAR: Duration = Duration::from_secs(86_400 * 365);
        Instant::now() + Duration::from_nanos(moment.saturating_sub(now)).min(FAR)
    }
}

/// This long after `now`.
pub(crate) fn after(now: Moment, delay: Duration) -> Moment {
    now.saturating_add(nanos(delay)).min(NEVER - 1)
}

/// How long it is from `now` until `moment`; zero if that is over.
pub(crate) fn until(moment: Moment, now: Moment) -> Duration {
    Duration::from_nanos(moment.saturating_sub(now))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX >> 2).min(u64::MAX >> 2)
}

/// The time of day as nanoseconds since 1970.
pub(crate) fn wall(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// The time of day of nanoseconds since 1970.
pub(crate) fn time_of(wall: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(wall)
}
