//! Jobs that say what is to become of them, and a store of claims that does what it is told to.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use convoke::layers::dedup::MemoryClaims;
use convoke::prelude::*;
use convoke::{BoxFuture, ClaimStore, Claimed, Error, ErrorKind, Holder, encode, names};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::support::{Journal, ms};

#[event(topic = "dedup.jobs", key = key)]
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Job {
    pub key: String,
    pub number: u64,
    pub script: String,
}

#[event(topic = "dedup.done", key = number)]
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JobDone {
    pub number: u64,
}

#[derive(Clone)]
pub struct Log {
    /// Number and attempt of each call.
    pub calls: Journal<(u64, u32)>,
    /// The calls that did their work.
    pub done: Journal<u64>,
    pub running: Arc<Notify>,
}

impl Log {
    pub fn new() -> Self {
        Self { calls: Journal::new(), done: Journal::new(), running: Arc::default() }
    }

    /// How often each number's work was done.
    pub fn counts(&self) -> BTreeMap<u64, u32> {
        let mut counts = BTreeMap::new();
        self.done.items().into_iter().for_each(|number| *counts.entry(number).or_default() += 1);
        counts
    }

    pub async fn play(&self, job: &Job, attempt: u32) -> Result<Outcome, BoxError> {
        let before = self.calls.items().iter().filter(|call| call.0 == job.number).count();
        self.calls.note((job.number, attempt));
        self.running.notify_one();
        let word = job.script.split(' ').nth(before).or(job.script.split(' ').next_back()).unwrap_or("ok");
        match word.split_once(':') {
            Some(("slow", time)) => tokio::time::sleep(ms(time.parse()?)).await,
            _ => match word {
                "ok" => {}
                "fail" => return Err("it does not work".into()),
                "fatal" => return Err(permanent("it will never work").into()),
                "drop" => return Ok(Outcome::Drop),
                "down" => return Ok(Outcome::Unavailable),
                "panic" => panic!("no such job"),
                other => return Err(permanent(format!("no such word: {other}")).into()),
            },
        }
        self.done.note(job.number);
        Ok(Outcome::Ack)
    }
}

#[handler(name = "work", group = "works", timeout = "600s", retry(attempts = 3, backoff = "200ms..200ms", jitter = 0))]
pub async fn work(job: Job, meta: Meta<'_>, State(log): State<Log>) -> Result<Outcome, BoxError> {
    log.play(&job, meta.attempt()).await
}

#[handler(name = "report", group = "reports", timeout = "2s", retry(attempts = 3, backoff = "200ms..200ms", jitter = 0))]
pub async fn report(job: Job, meta: Meta<'_>, State(log): State<Log>) -> Result<Option<JobDone>, BoxError> {
    let outcome = log.play(&job, meta.attempt()).await?;
    Ok((outcome == Outcome::Ack).then_some(JobDone { number: job.number }))
}

#[handler(
    name = "pack",
    group = "packs",
    batch(size = 8, wait = "20ms"),
    retry(attempts = 3, backoff = "200ms..200ms", jitter = 0)
)]
pub async fn pack(jobs: Batch<Job>, meta: Meta<'_>, State(log): State<Log>) -> BatchReply {
    let mut reply = BatchReply::new();
    for item in jobs.items() {
        if let Err(error) = log.play(&item.event, meta.attempt()).await {
            reply.fail(item.index, error);
        }
    }
    reply
}

/// What a store does with one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Well,
    /// It fails, and nothing has happened.
    Fails,
    /// It fails, and it has happened all the same.
    Silent,
    /// It never answers.
    Hangs,
    Panics,
}

pub type Calls = Mutex<Vec<(&'static str, Duration)>>;

/// A store that does with each call what it is told to.
pub struct Store {
    pub inner: MemoryClaims,
    pub way: Box<dyn Fn(usize, &'static str) -> Way + Send + Sync>,
    pub count: AtomicUsize,
    pub calls: Calls,
    pub begun: tokio::time::Instant,
}

impl Store {
    pub fn new(way: impl Fn(usize, &'static str) -> Way + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            inner: MemoryClaims::new(),
            way: Box::new(way),
            count: AtomicUsize::new(0),
            calls: Calls::default(),
            begun: tokio::time::Instant::now(),
        })
    }

    pub fn good() -> Arc<Self> {
        Self::new(|_, _| Way::Well)
    }

    /// How often it was asked to do this.
    pub fn count(&self, what: &str) -> usize {
        self.calls.lock().unwrap().iter().filter(|(called, _)| *called == what).count()
    }

    pub async fn act<T>(&self, what: &'static str, call: BoxFuture<'_, Result<T, Error>>) -> Result<T, Error> {
        self.calls.lock().unwrap().push((what, self.begun.elapsed()));
        let way = (self.way)(self.count.fetch_add(1, SeqCst), what);
        tokio::time::sleep(ms(1)).await;
        let failed = || Err(Error::new(ErrorKind::Connection, "the store is down"));
        match way {
            Way::Well => call.await,
            Way::Fails => failed(),
            Way::Silent => {
                call.await?;
                failed()
            }
            Way::Hangs => std::future::pending().await,
            Way::Panics => panic!("a store that panics"),
        }
    }
}

#[async_trait::async_trait]
impl ClaimStore for Store {
    async fn claim(&self, identity: &str, holder: Holder, lease: Duration) -> Result<Claimed, Error> {
        self.act("claim", self.inner.claim(identity, holder, lease)).await
    }

    async fn commit(&self, identity: &str) -> Result<(), Error> {
        self.act("commit", self.inner.commit(identity)).await
    }

    async fn release(&self, identity: &str, holder: Holder) -> Result<(), Error> {
        self.act("release", self.inner.release(identity, holder)).await
    }
}

pub async fn start_on(url: &str, handlers: &[&str], store: Arc<dyn ClaimStore>) -> (TestApp, Log) {
    let log = Log::new();
    let app = App::new("dedup").state(log.clone()).only(handlers.iter().copied()).deduplicate(store);
    (TestApp::start_on(app, url).await.unwrap(), log)
}

pub async fn start(handler: &str, store: Arc<dyn ClaimStore>) -> (TestApp, Log) {
    start_as("", handler, store).await
}

/// On a broker with these options.
pub async fn start_as(options: &str, handler: &str, store: Arc<dyn ClaimStore>) -> (TestApp, Log) {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    start_on(&format!("memory://dedup-{}{options}", COUNT.fetch_add(1, SeqCst)), &[handler], store).await
}

/// Brokers that settle each message, or by position; that have stable positions, or not.
pub const BROKERS: [&str; 4] = ["", "?guise=kafka", "?guise=redis", "?guise=rabbitmq"];

pub fn message(key: &str, number: u64, script: &str) -> convoke::Message {
    let job = Job { key: key.to_owned(), number, script: script.to_owned() };
    let builder = encode(&job).unwrap().header(names::ID, format!("job-{number}")).header(names::SOURCE, "tests");
    builder.header(names::SPEC_VERSION, names::SPEC_VERSION_1_0).build()
}

/// Publishes a job under an identity that its number says.
pub async fn publish(app: &TestApp, key: &str, number: u64, script: &str) {
    app.publish_message(message(key, number, script)).await.unwrap();
}

pub async fn settled(app: &TestApp) {
    if tokio::time::timeout(Duration::from_secs(3600), app.settled()).await.is_err() {
        panic!("it hangs: {:#?}\n{}", app.status().await, app.story());
    }
}

/// The identity of a job for a handler: as the layer makes it.
pub fn identity(group: &str, handler: &str, number: u64) -> String {
    format!("{group}/{handler}/5:tests/job-{number}")
}
