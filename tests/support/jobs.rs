//! Jobs that take their time, and what is known of them: for tests of beginnings and ends.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::sync::Arc;
use std::time::Duration;

use convoke::DrainReport;
use convoke::prelude::*;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::support::{Journal, ms};

#[event(topic = "life.jobs", key = key)]
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) key: String,
    pub(crate) number: u64,
    pub(crate) takes: u64,
}

impl Job {
    pub(crate) fn new(key: impl Into<String>, number: u64, takes: u64) -> Self {
        Self { key: key.into(), number, takes }
    }
}

/// A call of a handler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) key: String,
    pub(crate) number: u64,
    pub(crate) attempt: u32,
    pub(crate) deliveries: u32,
}

#[derive(Clone)]
pub(crate) struct Log {
    pub(crate) begun: Journal<Call>,
    pub(crate) done: Journal<Call>,
    /// Told when a bomb begins to tick.
    pub(crate) ticking: Arc<Notify>,
}

impl Log {
    pub(crate) fn new() -> Self {
        Self { begun: Journal::new(), done: Journal::new(), ticking: Arc::default() }
    }

    pub(crate) fn done(&self) -> Vec<u64> {
        let mut numbers: Vec<_> = self.done.items().iter().map(|call| call.number).collect();
        numbers.sort_unstable();
        numbers
    }
}

async fn run(job: Job, meta: Meta<'_>, log: Log) -> Result<(), BoxError> {
    let Job { key, number, takes } = job;
    let (attempt, deliveries) = (meta.attempt(), meta.deliveries());
    let call = Call { key, number, attempt, deliveries };
    log.begun.note(call.clone());
    match call.key.as_str() {
        "fails once" if call.attempt == 1 => return Err("the first time never works".into()),
        "down at first" if deliveries == 1 => return Err(unavailable("not yet").into()),
        "bomb" => {
            log.ticking.notify_one();
            std::future::pending::<()>().await;
        }
        "blocks" => std::thread::sleep(ms(takes)),
        _ => tokio::time::sleep(ms(takes)).await,
    }
    log.done.note(call);
    Ok(())
}

#[handler(name = "work", concurrency = 4, retry(attempts = 3, backoff = "10s..10s", jitter = 0))]
async fn work(job: Job, meta: Meta<'_>, State(log): State<Log>) -> Result<(), BoxError> {
    run(job, meta, log).await
}

#[handler(name = "copy")]
async fn copy(job: Job, meta: Meta<'_>, State(log): State<Log>) -> Result<(), BoxError> {
    run(job, meta, log).await
}

#[handler(name = "late", start = new)]
async fn late(job: Job, meta: Meta<'_>, State(log): State<Log>) -> Result<(), BoxError> {
    run(job, meta, log).await
}

/// An application on the broker of this URL, with a log of its own.
pub(crate) async fn start_with(url: &str, handlers: &[&str], configure: impl FnOnce(App) -> App) -> (TestApp, Log) {
    let log = Log::new();
    let app = App::new("life").state(log.clone()).only(handlers.iter().copied());
    (TestApp::start_on(configure(app), url).await.unwrap(), log)
}

pub(crate) async fn start(url: &str) -> (TestApp, Log) {
    start_with(url, &["work"], |app| app).await
}

pub(crate) async fn publish(app: &TestApp, jobs: impl IntoIterator<Item = Job>) {
    let jobs: Vec<_> = jobs.into_iter().collect();
    app.publisher().publish_all(&jobs).await.into_iter().for_each(|answer| drop(answer.unwrap()));
}

pub(crate) async fn settled(app: &TestApp) {
    if tokio::time::timeout(Duration::from_secs(3600), app.settled()).await.is_err() {
        panic!("it hangs: {:#?}\n{}", app.status().await, app.story());
    }
}

/// Starts a second application where the first one left off, and lets it finish.
pub(crate) async fn successor(url: &str) -> (TestApp, Log) {
    let (app, log) = start(url).await;
    settled(&app).await;
    (app, log)
}

pub(crate) fn up_to(count: u64) -> Vec<u64> {
    (0..count).collect()
}

#[track_caller]
pub(crate) fn clean(report: DrainReport) {
    assert_eq!((report.clean, report.unsettled, report.unconfirmed), (true, 0, 0), "{report:?}");
}
