//! Running until somebody asks for the end.

use convoke_core::{Error, ErrorKind};

use super::{App, AppHandle};

impl App {
    /// Does not bind these handlers when the application starts: they are bound by [`AppHandle::subscribe`], to topics that are named
    /// at run time.
    pub fn on_demand<S: Into<String>>(mut self, handlers: impl IntoIterator<Item = S>) -> Self {
        self.on_demand.extend(handlers.into_iter().map(Into::into));
        self
    }

    /// Reads what there is now and ends: the end of every topic that is read is marked while the application starts, and when
    /// each group has settled everything up to the marks, the application drains. [`App::run`] then returns; after [`App::start`],
    /// await [`AppHandle::ended`].
    ///
    /// # Delivery
    /// All promises hold: retries are waited for, what is given up is in the dead-letter topics, what was returned is confirmed.
    /// What is published after the start, what handlers return included, is left for the next run, in the same groups. So is what is
    /// scheduled and not due yet. It ends when the groups are done, not when this process is: it waits for what other members hold,
    /// and does not end while a handler is paused that has something left to do.
    pub fn until_end(mut self) -> Self {
        self.until_end = true;
        self
    }

    /// Runs the application until it is told to stop: SIGTERM or SIGINT (Ctrl-C on Windows) drains it, a second one ends it at
    /// once. With [`App::until_end`] it ends by itself.
    ///
    /// # Cancel safety
    /// If the future is dropped the application goes on without anybody to stop it; do not.
    ///
    /// # Errors
    /// As [`App::start`]; [`ErrorKind::Timeout`] if the drain had to cancel what was running; [`ErrorKind::Stopped`] if it was to end
    /// by itself, and a policy stopped a subscription before its end.
    pub async fn run(self) -> Result<(), Error> {
        // Before anything starts: a signal during the start is a request to drain, too.
        let signals = Signals::new()?;
        self.start().await?.until(signals).await
    }
}

impl AppHandle {
    /// Goes on until the application is told to stop, as [`App::run`] does: for programs that do something of their own beside the
    /// handlers, for which they want the handle.
    ///
    /// # Cancel safety
    /// If the future is dropped the application goes on without anybody to stop it; do not.
    ///
    /// # Errors
    /// As [`App::run`], but for those of the start.
    pub async fn run(&self) -> Result<(), Error> {
        self.until(Signals::new()?).await
    }

    async fn until(&self, mut signals: Signals) -> Result<(), Error> {
        tokio::select! {
            () = signals.next() => {}
            // At the marked end; or a driver has failed: whoever watches the process starts it anew.
            () = self.over() => {}
        }
        tracing::info!("draining; a second signal ends it at once");
        let drain = self.drain();
        tokio::pin!(drain);
        let report = loop {
            tokio::select! {
                report = &mut drain => break report,
                () = signals.next() => self.abort(),
            }
        };
        if report.stopped > 0 && self.0.until_end {
            return Err(Error::new(
                ErrorKind::Stopped,
                "a subscription stopped before its end; the log says where, why, and what to do",
            ));
        }
        if report.clean {
            tracing::info!(took = ?report.took, "drained");
            return Ok(());
        }
        let text = format!(
            "the drain was not clean: {} messages will be delivered again, and {} that were published are not confirmed; give it more \
             time with `drain_within`",
            report.cancelled + report.unsettled,
            report.unconfirmed
        );
        Err(Error::new(ErrorKind::Timeout, text))
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> Result<Self, Error> {
        use tokio::signal::unix::{SignalKind, signal};
        let listen = |kind| {
            signal(kind).map_err(|error| Error::new(ErrorKind::Internal, "signals cannot be listened to").with_source(error))
        };
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> Result<Self, Error> {
        Ok(Self)
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
