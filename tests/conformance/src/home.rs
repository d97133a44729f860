//! Where a process lives. In real time each has a runtime of its own, on a thread of its own, and dies with it; in virtual time
//! all share the case's, since there is one clock.

use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::{Stop, Time};

#[derive(Debug)]
pub(crate) enum Home {
    Shared,
    Own { runtime: Handle, stop: oneshot::Sender<()>, gone: oneshot::Receiver<()> },
}

impl Home {
    pub(crate) async fn new(time: Time) -> Result<Self, Stop> {
        if time == Time::Virtual {
            return Ok(Self::Shared);
        }
        let (stop, stopped) = oneshot::channel();
        let (leaving, gone) = oneshot::channel();
        let (ready, is_ready) = oneshot::channel();
        std::thread::spawn(move || {
            let Ok(runtime) = Builder::new_current_thread().enable_all().build() else { return };
            let _ = ready.send(runtime.handle().clone());
            // The sender is dropped, or told: both mean the end.
            let _ = runtime.block_on(stopped);
            runtime.shutdown_background();
            drop(leaving);
        });
        let runtime = is_ready.await.map_err(|_| Stop::failed("there is no runtime for a process"))?;
        Ok(Self::Own { runtime, stop, gone })
    }

    /// Runs something in the process.
    pub(crate) async fn run<T: Send + 'static>(&self, what: impl Future<Output = T> + Send + 'static) -> Result<T, Stop> {
        match self {
            Self::Shared => Ok(what.await),
            Self::Own { runtime, .. } => {
                runtime.spawn(what).await.map_err(|error| Stop::failed(format!("a process did not start: {error}")))
            }
        }
    }

    /// Lets nothing happen in the process for a while.
    pub(crate) fn freeze(&self, time: Duration) -> Result<(), Stop> {
        let Self::Own { runtime, .. } = self else {
            return Err(Stop::lacking("in virtual time all processes have one clock: none can be frozen alone"));
        };
        drop(runtime.spawn(async move { std::thread::sleep(time) }));
        Ok(())
    }

    /// Ends it, with every task where it stands.
    pub(crate) async fn end(self) {
        if let Self::Own { stop, gone, .. } = self {
            drop(stop);
            let _ = gone.await;
        }
    }
}
