use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use convoke_core::{BoxError, Reply};
use pin_project_lite::pin_project;

use super::heard::{Heard, excused};
use super::state::Shared;

pin_project! {
    /// The future of a [`Breaker`](super::Breaker)'s call.
    ///
    /// # Cancel safety
    /// Dropping it drops the handler's future where it stands, and counts as a call that failed.
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        kind: Kind<F>,
    }
}

pin_project! {
    #[project = KindProj]
    #[derive(Debug)]
    enum Kind<F> {
        Refused { error: Option<BoxError> },
        Passed { #[pin] inner: F, guard: Guard },
    }
}

impl<F> ResponseFuture<F> {
    pub(super) const fn refused(error: BoxError) -> Self {
        Self { kind: Kind::Refused { error: Some(error) } }
    }

    pub(super) const fn passed(inner: F, guard: Guard) -> Self {
        Self { kind: Kind::Passed { inner, guard } }
    }
}

impl<F, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Reply, E>>,
    E: Into<BoxError>,
{
    type Output = Result<Reply, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().kind.project() {
            KindProj::Refused { error } => {
                Poll::Ready(Err(error.take().unwrap_or_else(|| "a breaker's future was polled after it was done".into())))
            }
            KindProj::Passed { inner, guard } => {
                let result = ready!(inner.poll(cx)).map_err(Into::into);
                let open = guard.tell(Heard::of(&result));
                Poll::Ready(if open { excused(result) } else { result })
            }
        }
    }
}

/// Tells how a call ended, however it does.
#[derive(Debug)]
pub(super) struct Guard {
    shared: Arc<Shared>,
    turn: u64,
    told: bool,
}

impl Guard {
    pub(super) const fn new(shared: Arc<Shared>, turn: u64) -> Self {
        Self { shared, turn, told: false }
    }

    fn tell(&mut self, heard: Heard) -> bool {
        self.told = true;
        self.shared.heard(self.turn, heard)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.told {
            // A panic is about the message; what was cancelled has taken too long.
            self.tell(if std::thread::panicking() { Heard::Nothing } else { Heard::Fails });
        }
    }
}
