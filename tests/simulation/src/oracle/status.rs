//! What can be read of a handler.

use convoke_engine::{RouteId, RouteStatus};

use super::{Checked, Oracle};

impl Oracle {
    /// Compares what the engine says of a handler with what it was given.
    ///
    /// # Errors
    /// What does not hold.
    pub fn check_status(&self, route: RouteId, status: RouteStatus) -> Checked {
        let handler = &self.handlers[route.0 as usize];
        let of_route = || self.slots.iter().flatten().filter(|held| held.meta.route == route);
        let expected = RouteStatus {
            running: handler.running,
            in_flight: of_route().count() as u32,
            bytes: of_route().map(|held| u64::from(held.meta.bytes)).sum(),
            concurrency: handler.concurrency,
            paused: handler.paused,
            suspended: handler.probe.is_some(),
            ..status
        };
        ensure!(19, status == expected, "{route:?} is said to be {status:?}, but is {expected:?}");
        let parts = status.waiting + status.queued + status.publishing;
        ensure!(19, parts <= status.in_flight, "{route:?} has more parts than there are: {status:?}");
        Ok(())
    }
}
