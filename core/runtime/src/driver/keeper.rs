//! The keeper: extends leases while a handler blocks the driver's thread.
//!
//! Normally the driver extends leases in its turns. A handler that computes without awaiting holds the driver's task, and with
//! it its turns; then the keeper, a task of its own, asks the engine for the extensions that are due, and for nothing else: no time
//! passes for the engine meanwhile, so that nothing is timed out or started that the driver could not call. It needs a second thread (tokio's multi-thread runtime), and reports what it sees.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::remote::Remote;

/// Ends the keeper when it is dropped.
pub(crate) struct Keeper(Option<JoinHandle<()>>);

impl Drop for Keeper {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            task.abort();
        }
    }
}

/// Starts a keeper, if deliveries expire and can be extended.
pub(crate) fn keep(remote: Arc<Remote>) -> Keeper {
    let Some(term) = remote.core().lease else { return Keeper(None) };
    // The engine extends at every third of the term: half of that leaves room for one more try.
    let period = (term / 6).max(Duration::from_millis(1));
    Keeper(Some(tokio::spawn(async move {
        loop {
            tokio::time::sleep(period).await;
            let blocked = remote.in_turn_for();
            if blocked > period {
                tracing::warn!(
                    ?blocked,
                    "a handler blocks its thread; its leases are extended, but others of its subscription wait: \
                    let it await, or move the work with `tokio::task::spawn_blocking`"
                );
                extend(&remote).await;
            }
        }
    })))
}

async fn extend(remote: &Remote) {
    let (control, batch) = {
        let now = remote.now();
        let mut core = remote.core();
        (core.control.clone(), core.extensions(now))
    };
    let (Some(control), false) = (control, batch.is_empty()) else { return };
    let (slots, batch): (Vec<_>, Vec<_>) = batch.into_iter().map(|(slot, one)| ((slot, one.settle), one)).unzip();
    let answers = control.settle(batch).await;
    {
        let mut core = remote.core();
        let now = remote.now();
        core.elapse(now);
        for ((slot, settle), settled) in slots.into_iter().zip(answers) {
            core.settled(now, slot, settle, super::sent::answer(Some(&settled)));
        }
        core.follow(now);
    }
    // What follows from the answers waits in the core, and the driver may have gone to sleep meanwhile.
    remote.nudge();
}
