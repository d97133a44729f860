//! Running the cases, some at the same time, each with a harness, a runtime and names of its own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use convoke_core::BoxFuture;
use tokio::runtime::{Builder, Runtime};

use crate::lab::Lab;
use crate::report::{Outcome, Report, Row};
use crate::stop::{CaseResult, Stop};
use crate::weather::Weather;
use crate::{Harness, Time};

/// The environment variable that chooses cases: those whose name contains it.
pub const CASE_VARIABLE: &str = "CONVOKE_CASE";

/// A case: its promise, its name, and what it does.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) promise: &'static str,
    pub(crate) name: &'static str,
    /// Whether it makes the server suffer.
    pub(crate) alone: bool,
    /// What the wire and the server are like meanwhile.
    pub(crate) weather: Weather,
    pub(crate) run: fn(Lab) -> BoxFuture<'static, CaseResult>,
}

/// The environment variable that says how many cases run at the same time.
pub const AT_ONCE_VARIABLE: &str = "CONVOKE_CASES_AT_ONCE";

/// Runs every case, or those that [`CASE_VARIABLE`] names, and prints the table.
///
/// `make` is called once for each case, with its name: what it makes is dropped with the case. Some cases run at the same time, as
/// many as [`AT_ONCE_VARIABLE`] says, by default two on each core: mostly they wait.
pub fn run<H: Harness>(make: impl Fn(&str) -> H + Sync) -> Report {
    let only = std::env::var(CASE_VARIABLE).unwrap_or_default();
    let report = run_only(&only, make);
    #[allow(clippy::print_stdout, reason = "the table is what whoever runs the suite wants to see")]
    {
        print!("{report}");
    }
    report
}

/// Runs the cases whose name contains `only`, and prints nothing.
pub fn run_only<H: Harness>(only: &str, make: impl Fn(&str) -> H + Sync) -> Report {
    let begun = Instant::now();
    let cases: Vec<_> = crate::cases::all().into_iter().filter(|case| case.name.contains(only)).collect();
    let rows: Vec<OnceLock<(String, Row)>> = cases.iter().map(|_| OnceLock::new()).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        // From the end, where the longest ones are: none of them is left alone in the end.
        while let Some(index) = cases.len().checked_sub(next.fetch_add(1, Ordering::Relaxed) + 1) {
            let (case, row) = (&cases[index], &rows[index]);
            let harness: Arc<dyn Harness> = Arc::new(make(case.name));
            row.get_or_init(|| (harness.name(), run_one(*case, &harness)));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..at_once().min(cases.len()) {
            scope.spawn(work);
        }
    });
    let (names, rows): (Vec<_>, Vec<_>) = rows.into_iter().filter_map(OnceLock::into_inner).unzip();
    Report { broker: names.into_iter().next_back().unwrap_or_default(), rows, took: begun.elapsed() }
}

fn at_once() -> usize {
    let said = std::env::var(AT_ONCE_VARIABLE).ok().and_then(|said| said.parse().ok());
    said.unwrap_or_else(|| 2 * std::thread::available_parallelism().map_or(1, usize::from)).max(1)
}

/// Whether this case makes the server suffer, so that no other may use it at the same time: a harness whose cases share a server
/// gives this one a server of its own.
#[must_use]
pub fn needs_the_server_alone(case: &str) -> bool {
    crate::cases::all().into_iter().any(|other| other.name == case && other.alone)
}

/// Whether this case runs on a wire that is slow or broken, which takes [`Harness::disturb`]. Each of these runs on a calm one, too, but for
/// those that are about nothing else.
#[must_use]
pub fn disturbs_the_wire(case: &str) -> bool {
    is_in(case, |weather| matches!(weather, Weather::Slow | Weather::Broken | Weather::Made))
}

/// Whether the server freezes and falls in this case, which takes [`Harness::freeze`], [`Harness::kill`] and [`Harness::start`]. Each of
/// these runs on one that is well, too.
#[must_use]
pub fn fells_the_server(case: &str) -> bool {
    is_in(case, |weather| weather == Weather::Falling)
}

fn is_in(case: &str, weather: impl Fn(Weather) -> bool) -> bool {
    crate::cases::all().into_iter().any(|other| other.name == case && weather(other.weather))
}

/// The names of all cases, in the order of the promises.
#[must_use]
pub fn cases() -> Vec<&'static str> {
    crate::cases::all().into_iter().map(|case| case.name).collect()
}

fn run_one(case: Case, harness: &Arc<dyn Harness>) -> Row {
    let begun = Instant::now();
    let limit = harness.limit();
    let (send, outcome) = channel();
    // The lab is made within the runtime, whose clock it reads, and is wanted here if the case hangs.
    let shared = Arc::new(Mutex::new(None));
    let (lab_of_case, harness) = (Arc::clone(&shared), Arc::clone(harness));
    std::thread::spawn(move || {
        let ended = catch_unwind(AssertUnwindSafe(|| {
            let runtime = runtime(harness.time());
            let ended = runtime.block_on(async {
                let lab = Lab::new(harness, case.name, case.weather);
                *lab_of_case.lock().unwrap_or_else(PoisonError::into_inner) = Some(lab.clone());
                let mut result = within(lab.clone(), (case.run)(lab.clone())).await;
                if result.is_ok() {
                    result = match lab.is_over() {
                        true => lab.see_the_weather_out().await,
                        false => Err(Stop::failed("the case was over before the server had fallen: it proves nothing")),
                    };
                }
                lab.clean_up().await;
                result
            });
            runtime.shutdown_timeout(Duration::from_secs(1));
            ended
        }));
        let _ = send.send(ended.unwrap_or_else(|panic| Err(Stop::failed(format!("the case panicked: {}", text(&*panic))))));
    });
    let ended = outcome.recv_timeout(limit).unwrap_or_else(|error| {
        Err(Stop::failed(match error {
            RecvTimeoutError::Timeout => format!("it hangs: no end after {limit:?} of real time"),
            RecvTimeoutError::Disconnected => "its thread ended without a word".to_owned(),
        }))
    });
    let lab = shared.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let outcome = match ended {
        Ok(()) => Outcome::Passed,
        Err(Stop::Lacking(why)) => Outcome::Lacking(why),
        Err(Stop::Failed { why, about }) => {
            let story = lab.map(|lab| lab.story().tell(&about)).unwrap_or_default();
            Outcome::Failed { why, story }
        }
    };
    Row { promise: case.promise, case: case.name, outcome, took: begun.elapsed() }
}

fn runtime(time: Time) -> Runtime {
    let mut builder = if time == Time::Virtual { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    builder.enable_all();
    match time {
        Time::Virtual => builder.start_paused(true),
        Time::Real { .. } => builder.worker_threads(2),
    };
    builder.build().unwrap_or_else(|error| panic!("no runtime for a case: {error}"))
}

/// In virtual time nothing may take more than a day of it; in real time the limit is kept from outside.
async fn within(lab: Lab, case: BoxFuture<'static, CaseResult>) -> CaseResult {
    let most = if lab.harness().time() == Time::Virtual { Duration::from_secs(86_400) } else { lab.harness().limit() };
    match tokio::time::timeout(most, case).await {
        Ok(result) => result,
        Err(_) => Err(Stop::failed(format!("it hangs: no end after {most:?}"))),
    }
}

fn text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "with a value that is no text".to_owned())
}
