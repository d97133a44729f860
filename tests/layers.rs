//! What tower's layers do to the acknowledgement of messages, when they stand around a handler.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::task::{Context, Poll};
use std::time::Duration;

use convoke::layers::{FilterLayer, TraceLayer};
use convoke::prelude::*;
use convoke::{BoxHandler, Delivery, ErrorKind};
use serde::{Deserialize, Serialize};
use support::{Journal, header, ms, status};
use tower::buffer::BufferLayer;
use tower::limit::{ConcurrencyLimitLayer, GlobalConcurrencyLimitLayer, RateLimitLayer};
use tower::load_shed::LoadShedLayer;
use tower::timeout::TimeoutLayer;
use tower::{Service, ServiceBuilder};
use tower_resilience_circuitbreaker::{CircuitBreakerError, CircuitBreakerLayer};

#[event(topic = "layers.jobs", key = number)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Job {
    number: u64,
    takes: u64,
}

/// What the handlers did: name, number, attempt; and how many ran at the same time.
#[derive(Clone)]
struct Work {
    journal: Journal<(&'static str, u64, u32)>,
    running: Arc<(AtomicU32, AtomicU32)>,
    broken: Arc<AtomicBool>,
}

impl Work {
    fn new() -> Self {
        Self { journal: Journal::new(), running: Arc::default(), broken: Arc::default() }
    }

    async fn work(&self, who: &'static str, job: &Job, attempt: u32) -> Result<(), BoxError> {
        self.journal.note((who, job.number, attempt));
        let running = self.running.0.fetch_add(1, SeqCst) + 1;
        self.running.1.fetch_max(running, SeqCst);
        tokio::time::sleep(ms(job.takes)).await;
        self.running.0.fetch_sub(1, SeqCst);
        if self.broken.load(SeqCst) { Err("the press is broken".into()) } else { Ok(()) }
    }

    /// How many ran at the same time at most.
    fn together(&self) -> u32 {
        self.running.1.load(SeqCst)
    }

    fn numbers(&self, who: &str) -> Vec<u64> {
        let items = self.journal.items();
        let mut numbers: Vec<_> = items.iter().filter(|one| one.0 == who).map(|one| one.1).collect();
        numbers.sort_unstable();
        numbers
    }

    fn most_attempts(&self) -> u32 {
        self.journal.items().iter().map(|one| one.2).max().unwrap_or(0)
    }
}

#[handler(name = "press", group = "works", retry(attempts = 2, backoff = "100ms..100ms", jitter = 0))]
async fn press(job: Job, meta: Meta<'_>, State(work): State<Work>) -> Result<(), BoxError> {
    work.work("press", &job, meta.attempt()).await
}

#[handler(name = "stamp", group = "stamps", retry(attempts = 2, backoff = "100ms..100ms", jitter = 0))]
async fn stamp(job: Job, meta: Meta<'_>, State(work): State<Work>) -> Result<(), BoxError> {
    work.work("stamp", &job, meta.attempt()).await
}

#[handler(name = "pack", batch(size = 5, wait = "10ms"), retry(attempts = 2, backoff = "100ms..100ms", jitter = 0))]
async fn pack(jobs: Batch<Job>, meta: Meta<'_>, State(work): State<Work>) -> Result<(), BoxError> {
    let longest = jobs.iter().map(|job| job.takes).max().unwrap_or(0);
    for job in jobs.iter() {
        work.journal.note(("pack", job.number, meta.attempt()));
    }
    work.work("batch", &Job { number: jobs.len() as u64, takes: longest }, meta.attempt()).await
}

async fn start(handlers: &[&str], configure: impl FnOnce(App) -> App) -> (TestApp, Work) {
    let work = Work::new();
    let app = App::new("layers").state(work.clone()).only(handlers.iter().copied());
    (TestApp::start(configure(app)).await.unwrap(), work)
}

async fn publish(app: &TestApp, count: u64, takes: u64) {
    let jobs: Vec<_> = (0..count).map(|number| Job { number, takes }).collect();
    for answer in app.publisher().publish_all(&jobs).await {
        answer.unwrap();
    }
}

/// Waits until all is settled, at most an hour.
async fn settled(app: &TestApp) {
    if tokio::time::timeout(Duration::from_secs(3600), app.settled()).await.is_err() {
        panic!("it hangs: {:#?}\n{}", app.status().await, app.story());
    }
}

fn up_to(count: u64) -> Vec<u64> {
    (0..count).collect()
}

#[tokio::test(start_paused = true)]
async fn a_timeout_is_a_failed_attempt_with_the_reason_timeout() {
    for (handler, topic) in [("press", "layers.jobs.works.dead"), ("pack", "layers.jobs.layers.pack.dead")] {
        let (app, work) = start(&[handler], |app| app.layer(TimeoutLayer::new(ms(500)))).await;
        publish(&app, 3, 10_000).await;
        settled(&app).await;
        let letters = app.dead_letters(handler);
        assert_eq!(letters.len(), 3, "{handler}\n{}", app.story());
        for letter in &letters {
            assert_eq!(letter.topic().as_str(), topic);
            let says = ["convoke-dead-reason", "convoke-dead-attempts"].map(|name| header(letter, name));
            assert_eq!(says, [Some("timeout"), Some("2")], "{letter:?}");
        }
        assert_eq!(work.numbers(handler), [0, 0, 1, 1, 2, 2], "each is tried twice");
        assert_eq!(status(&app, handler).await.failed, 6, "{handler}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_concurrency_limit_makes_messages_wait_without_an_attempt() {
    for (handler, calls) in [("press", 20), ("pack", 4)] {
        let (app, work) = start(&[handler], |app| app.handler_layer(handler, ConcurrencyLimitLayer::new(2))).await;
        let begun = tokio::time::Instant::now();
        publish(&app, 20, 100).await;
        settled(&app).await;
        assert_eq!(work.numbers(handler), up_to(20), "{handler}: everything once\n{}", app.story());
        assert_eq!((work.together(), work.most_attempts()), (2, 1), "{handler}");
        let took = begun.elapsed();
        assert!(took >= ms(calls * 50) && took < ms(calls * 50 + 500), "{handler}: two at a time took {took:?}");
        let status = status(&app, handler).await;
        assert_eq!((status.handled, status.failed, status.dead), (20, 0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn handlers_that_share_one_limit_do_not_lock_each_other_out() {
    for limit in [1, 3] {
        let layer = GlobalConcurrencyLimitLayer::new(limit);
        let (app, work) = start(&["press", "stamp", "pack"], |app| app.layer(layer)).await;
        publish(&app, 30, 50).await;
        settled(&app).await;
        for handler in ["press", "stamp", "pack"] {
            assert_eq!(work.numbers(handler), up_to(30), "limit {limit}, {handler}\n{}", app.story());
        }
        assert_eq!((work.together(), work.most_attempts()), (limit as u32, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_shed_load_is_not_taken_and_tried_again_without_an_attempt() {
    let layer = || ServiceBuilder::new().layer(LoadShedLayer::new()).layer(ConcurrencyLimitLayer::new(2)).into_inner();
    for handler in ["press", "pack"] {
        let (app, work) = start(&[handler], |app| app.layer(layer())).await;
        publish(&app, 20, 300).await;
        settled(&app).await;
        assert_eq!(work.numbers(handler), up_to(20), "{handler}\n{}", app.story());
        assert_eq!((work.together(), work.most_attempts()), (2, 1), "{handler}");
        let status = status(&app, handler).await;
        assert_eq!((status.handled, status.failed, status.suspended), (20, 0, false), "{handler}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_in_a_buffer_spreads_calls_over_time() {
    let layer =
        ServiceBuilder::new().layer(BufferLayer::new(4)).layer(RateLimitLayer::new(2, Duration::from_secs(1))).into_inner();
    let (app, work) = start(&["press"], |app| app.layer(layer)).await;
    publish(&app, 9, 0).await;
    settled(&app).await;
    assert_eq!((work.numbers("press"), work.most_attempts()), (up_to(9), 1), "{}", app.story());
    let seconds: Vec<_> = work.journal.times().iter().map(Duration::as_secs).collect();
    assert_eq!(seconds, [0, 0, 1, 1, 2, 2, 3, 3, 4]);
}

/// Never gets ready while it is closed, and says so.
#[derive(Clone)]
struct Gate<S>(Arc<AtomicBool>, S);

impl<S: Service<Delivery, Error = BoxError>> Service<Delivery> for Gate<S> {
    type Response = S::Response;
    type Error = BoxError;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if self.0.load(SeqCst) { Poll::Ready(Err("the gate is closed".into())) } else { self.1.poll_ready(cx) }
    }

    fn call(&mut self, delivery: Delivery) -> S::Future {
        self.1.call(delivery)
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_poll_ready_pauses_the_handler_and_a_probe_resumes_it() {
    for handler in ["press", "pack"] {
        let closed = Arc::new(AtomicBool::new(true));
        let gate = Arc::clone(&closed);
        let layer = tower::layer::layer_fn(move |inner: BoxHandler| Gate(Arc::clone(&gate), inner));
        let (app, work) = start(&[handler, "stamp"], |app| app.handler_layer(handler, layer)).await;
        publish(&app, 10, 5).await;
        app.advance(Duration::from_secs(120)).await;
        let down = status(&app, handler).await;
        assert_eq!((down.suspended, down.handled, down.failed, down.dead), (true, 0, 0, 0), "{handler}: {down:?}");
        assert_eq!(status(&app, "stamp").await.handled, 10, "others go on");
        closed.store(false, SeqCst);
        app.advance(Duration::from_secs(31)).await;
        let up = status(&app, handler).await;
        assert_eq!((up.suspended, up.handled, up.failed, up.dead), (false, 10, 0, 0), "{handler}: {up:?}\n{}", app.story());
        assert_eq!((work.numbers(handler), work.most_attempts()), (up_to(10), 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_filter_acknowledges_what_is_not_wanted_and_tracing_changes_nothing() {
    for handler in ["press", "pack"] {
        let even = FilterLayer::new(|one| {
            one.message().key().is_some_and(|key| (key.as_bytes().last().unwrap() - b'0').is_multiple_of(2))
        });
        let (app, work) =
            start(&[handler], |app| app.layer(TraceLayer::new().system("memory")).handler_layer(handler, even)).await;
        publish(&app, 10, 5).await;
        settled(&app).await;
        assert_eq!(work.numbers(handler), [0, 2, 4, 6, 8], "{handler}\n{}", app.story());
        let status = status(&app, handler).await;
        assert_eq!((status.handled, status.dropped, status.failed, status.dead), (5, 5, 0, 0), "{handler}");
    }
}

fn mapped(error: CircuitBreakerError<BoxError>) -> BoxError {
    match error {
        CircuitBreakerError::Inner(error) => error,
        open @ CircuitBreakerError::OpenCircuit => unavailable(open.to_string()).into(),
    }
}

#[tokio::test]
async fn an_open_circuit_pauses_the_handler_and_costs_no_attempts() {
    // The breaker reads the real clock, and so does this test.
    let breaker = CircuitBreakerLayer::builder().consecutive_failures(3).wait_duration_in_open(ms(300)).build().unwrap();
    let layer = ServiceBuilder::new().map_err(mapped).layer(breaker).into_inner();
    let (app, work) = start(&["press"], |app| app.layer(layer)).await;
    app.resize("press", 1).unwrap();
    work.broken.store(true, SeqCst);
    publish(&app, 10, 0).await;
    tokio::time::sleep(ms(250)).await;
    let open = status(&app, "press").await;
    assert!(open.suspended && open.failed <= 4 && open.handled == 0, "{open:?}");
    work.broken.store(false, SeqCst);
    settled(&app).await;
    let healed = status(&app, "press").await;
    assert_eq!((healed.handled + healed.dead, healed.suspended), (10, false), "{healed:?}\n{}", app.story());
    assert!(healed.dead <= 1 && healed.failed <= 5, "the open circuit counted nothing: {healed:?}");
}

/// Notes its name on the way in.
#[derive(Clone)]
struct Named<S>(&'static str, Journal<(&'static str, u64, u32)>, S);

impl<S: Service<Delivery>> Service<Delivery> for Named<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.2.poll_ready(cx)
    }

    fn call(&mut self, delivery: Delivery) -> S::Future {
        self.1.note((self.0, 0, delivery.first().map_or(0, |one| one.attempt)));
        self.2.call(delivery)
    }
}

#[tokio::test(start_paused = true)]
async fn layers_are_applied_from_the_application_inwards_and_in_the_order_given() {
    let work = Work::new();
    let named = |name| {
        let journal = work.journal.clone();
        tower::layer::layer_fn(move |inner: BoxHandler| Named(name, journal.clone(), inner))
    };
    let app = App::new("layers").state(work.clone()).only(["press", "stamp"]);
    let app = app.handler_layer("press", named("handler 1")).group_layer("works", named("group 1")).layer(named("app 1"));
    let app = app.layer(named("app 2")).handler_layer("press", named("handler 2")).group_layer("works", named("group 2"));
    let app = TestApp::start(app).await.unwrap();
    app.pause("stamp").unwrap();
    publish(&app, 1, 0).await;
    app.advance(ms(1)).await;
    let names = || work.journal.items().iter().map(|one| one.0).collect::<Vec<_>>();
    assert_eq!(names(), ["app 1", "app 2", "group 1", "group 2", "handler 1", "handler 2", "press"]);
    app.resume("stamp").unwrap();
    settled(&app).await;
    assert_eq!(names()[7..], ["app 1", "app 2", "stamp"], "layers of others are not around it");
}

#[tokio::test]
async fn a_layer_for_nobody_is_refused() {
    let app = App::new("layers").state(Work::new()).only(["press"]);
    let app = app
        .handler_layer("prses", TraceLayer::new())
        .group_layer("work", TraceLayer::new())
        .group_layer("works", TraceLayer::new());
    let error = app.build().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    let text = error.to_string();
    assert!(text.contains("2 things") && text.contains("the handler `prses`") && text.contains("the group `work`;"), "{text}");
}
