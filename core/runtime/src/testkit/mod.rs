//! Testing an application: in one process, on a broker of its own, in virtual time.
//!
//! Every test gets a fresh application over a memory broker that nobody else sees, so that tests run beside each other. Time
//! is virtual: it stands still while anything can be done, and jumps to the next moment at which something is due when nothing
//! can. A retry after 30 s takes no time at all.

mod record;
mod story;
mod test_app;

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};

use convoke_core::BoxError;

use crate::app::App;

pub use test_app::{Published, TestApp};

/// What a test returns, so that `?` works in it.
pub type TestResult = Result<(), BoxError>;

/// How a test is run. Written by `#[convoke::test]`.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    name: &'static str,
    handlers: Option<&'static [&'static str]>,
    real_time: bool,
}

impl Options {
    /// The test of this name, with all handlers, in virtual time.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { name, handlers: None, real_time: false }
    }

    /// Only these handlers take part.
    #[must_use]
    pub const fn handlers(mut self, handlers: &'static [&'static str]) -> Self {
        self.handlers = Some(handlers);
        self
    }

    /// Time is real.
    #[must_use]
    pub const fn real_time(mut self) -> Self {
        self.real_time = true;
        self
    }
}

/// Runs a test on a runtime of its own: starts the application, calls `test` with it, drains it.
///
/// # Panics
/// If the application cannot start, or if the test panics.
pub fn run<A, F, Fut, R>(app: A, options: Options, test: F) -> R
where
    A: FnOnce() -> App,
    F: FnOnce(TestApp) -> Fut,
    Fut: Future<Output = R>,
{
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().start_paused(!options.real_time);
    let runtime = match builder.build() {
        Ok(runtime) => runtime,
        Err(error) => panic!("no runtime for the test `{}`: {error}", options.name),
    };
    runtime.block_on(async {
        let mut app = app();
        if let Some(handlers) = options.handlers {
            app = app.only(handlers.iter().copied());
        }
        let app = match TestApp::start(app).await {
            Ok(app) => app,
            Err(error) => panic!("the application of the test `{}` does not start: {error:?}", options.name),
        };
        let result = test(app.clone()).await;
        app.handle().drain().await;
        result
    })
}

/// A URL of a memory broker that nobody else uses.
fn unique_url() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("memory://test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}
