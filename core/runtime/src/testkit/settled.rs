//! Waiting for quiescence, and not for ever.

use std::fmt::Write as _;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use convoke_core::BoxFuture;
use tokio::time::Instant;

use super::test_app::TestApp;

/// How long virtual time may go on before a test is told that its application does not settle.
const VIRTUAL: Duration = Duration::from_secs(24 * 3600);
/// The same by the clock on the wall, whichever comes first.
const REAL: Duration = Duration::from_secs(300);

/// Waits for quiescence: see [`TestApp::settled`].
#[must_use = "nothing is waited for until this is awaited"]
pub struct Settled<'a>(BoxFuture<'a, Result<(), String>>);

impl Future for Settled<'_> {
    type Output = ();

    // Whoever polls it is the test's own `.await`: there the panic is.
    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match ready!(self.0.as_mut().poll(cx)) {
            Ok(()) => Poll::Ready(()),
            Err(text) => panic!("{text}"),
        }
    }
}

impl std::fmt::Debug for Settled<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Settled")
    }
}

impl TestApp {
    /// Waits until there is nothing left to do: every group of this application has handled all that its topics hold, retries,
    /// delayed messages, dead letters and what handlers returned included.
    ///
    /// It is known, not guessed: the engines are idle, the broker says that nothing is left, and nothing happened between the first and
    /// the last look.
    ///
    /// # Cancel safety
    /// Safe: nothing changes.
    ///
    /// # Panics
    /// If it has not settled after a day of virtual time, or five minutes of real time: with what is left to do, and the story of the
    /// messages. [`settled_within`](Self::settled_within) has another limit.
    pub fn settled(&self) -> Settled<'_> {
        Settled(Box::pin(self.settling(VIRTUAL, REAL)))
    }

    /// The same with a limit of its own, for time as the test has it.
    ///
    /// # Cancel safety
    /// Safe: nothing changes.
    ///
    /// # Panics
    /// If it has not settled within that time.
    pub fn settled_within(&self, limit: Duration) -> Settled<'_> {
        Settled(Box::pin(self.settling(limit, limit.max(REAL))))
    }

    async fn settling(&self, limit: Duration, real: Duration) -> Result<(), String> {
        let (begun, really) = (Instant::now(), std::time::Instant::now());
        // What is done elsewhere is looked for less and less often: a day of virtual time must not take a minute.
        let pause = || {
            let waited = begun.elapsed();
            let over = waited >= limit || really.elapsed() >= real;
            (!over).then(|| (waited / 16).max(Duration::from_millis(250)).min(limit - waited))
        };
        if self.handle().settled_unless(pause).await {
            return Ok(());
        }
        self.kit.story.has_told();
        let waited = if begun.elapsed() >= limit { limit } else { really.elapsed() };
        Err(format!(
            "the application has not settled within {waited:?}; what is left:\n{}\nwhat happened:\n{}",
            self.left().await,
            self.story()
        ))
    }

    /// What each handler has left to do.
    async fn left(&self) -> String {
        let status = self.handle().status().await;
        let mut text = String::new();
        if status.publishing > 0 {
            let _ = writeln!(text, "  {} messages are not published yet", status.publishing);
        }
        for handler in status.handlers {
            let mut words = Vec::new();
            let mut word = |count: u64, what: &str| {
                if count > 0 {
                    words.push(format!("{count} {what}"));
                }
            };
            word(handler.running, "running");
            word(handler.waiting, "waiting for a retry");
            word(handler.in_flight.saturating_sub(handler.running + handler.waiting), "held");
            let lag = handler.lag.unwrap_or_default();
            word(lag.backlog.unwrap_or(0), "not delivered");
            word(lag.delayed.unwrap_or(0), "delayed");
            let states = [
                (handler.paused, "paused"),
                (handler.suspended, "suspended: what it depends on is unavailable"),
                (!handler.healthy, "unhealthy"),
            ];
            words.extend(states.iter().filter(|(is, _)| *is).map(|(_, state)| (*state).to_owned()));
            words.extend(handler.stopped.iter().map(|stopped| format!("stopped: {stopped:?}")));
            if !words.is_empty() {
                let _ = writeln!(text, "  `{}`: {}", handler.handler, words.join(", "));
            }
        }
        if text.is_empty() {
            "  nothing that the application knows of: the broker does not say that its groups are done\n".to_owned()
        } else {
            text
        }
    }
}
