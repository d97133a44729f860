//! How `#[convoke::test]` runs a test.

use std::any::Any;
use std::future::Future;

use super::TestResult;
use super::place::Place;
use super::test_app::TestApp;
use crate::app::App;

/// The environment variable that names the broker on which tests run, in real time: each test has names of its own there.
pub const TEST_BROKER_VARIABLE: &str = "CONVOKE_TEST_BROKER";

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
#[track_caller]
pub fn run<A, F, Fut, R>(app: A, options: Options, test: F) -> R
where
    A: Fn() -> App + Send + Sync + 'static,
    F: FnOnce(TestApp) -> Fut,
    Fut: Future<Output = R>,
    R: 'static,
{
    let shared = std::env::var(TEST_BROKER_VARIABLE).ok().filter(|url| !url.is_empty());
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().start_paused(!options.real_time && shared.is_none());
    let runtime = match builder.build() {
        Ok(runtime) => runtime,
        Err(error) => panic!("no runtime for the test `{}`: {error}", options.name),
    };
    let make = move || match options.handlers {
        Some(handlers) => app().only(handlers.iter().copied()),
        None => app(),
    };
    let place = shared.map_or_else(Place::own, Place::among_others);
    let app = match runtime.block_on(TestApp::start_at(make, place)) {
        Ok(app) => app,
        Err(error) => panic!("the application of the test `{}` does not start: {error:?}", options.name),
    };
    let telling = Telling(&app);
    let result = runtime.block_on(test(app.clone()));
    if (&result as &dyn Any).downcast_ref::<TestResult>().is_some_and(Result::is_err) {
        app.tell();
    } else {
        app.kit.place.sweep();
    }
    drop(telling);
    runtime.block_on(app.running().drain());
    result
}

/// Tells the story of a test that panics, if the panic has not told it.
struct Telling<'a>(&'a TestApp);

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.tell();
        }
    }
}

impl TestApp {
    /// Tells the story on standard error, once.
    #[allow(clippy::print_stderr, reason = "the test harness shows it with a failed test, and with no other")]
    fn tell(&self) {
        if !self.kit.story.is_told() {
            self.kit.story.has_told();
            eprintln!("\nwhat happened:\n{}", self.story());
        }
        if let Some(prefix) = self.kit.place.prefix() {
            eprintln!("on the broker, the names of this test begin with `{prefix}`");
        }
    }
}
