//! What must not be able to take a driver with it, and what an operator must be able to do twice.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use convoke::prelude::*;
use convoke::{Happening, Observer, What};
use serde::{Deserialize, Serialize};

#[event(topic = "guards.jobs", key = id)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Job {
    id: u32,
}

#[event(topic = "guards.other", key = id)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Other {
    id: u32,
}

type Calls = Arc<Mutex<Vec<(u32, u32)>>>;

/// Blocks its thread for the first job; the others are quick.
#[handler(concurrency = 8, timeout = "400ms", retry(attempts = 2, backoff = "10ms"))]
async fn blocks(job: Job, meta: Meta<'_>, State(calls): State<Calls>) {
    calls.lock().unwrap().push((job.id, meta.attempt()));
    if job.id == 0 {
        std::thread::sleep(Duration::from_millis(1500));
    }
}

#[test]
fn a_blocked_thread_times_nothing_out_that_was_not_called() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let calls = Calls::default();
        // A third of the lease passes several times while the thread is blocked.
        let app =
            App::new("guards").state(Arc::clone(&calls)).only(["blocks"]).url("memory://guards-blocked?lease=600ms&partitions=1");
        let app = app.quiet().start().await.unwrap();
        for id in 0..6 {
            app.publisher().publish(&Job { id }).await.unwrap();
        }
        app.settled().await;
        let mut calls = calls.lock().unwrap().clone();
        calls.sort_unstable();
        let status = &app.status().await.handlers[0];
        assert_eq!(status.handled + status.dead, 6, "{status:?}");
        // Each was called; none more often than it has attempts, and none twice as the same attempt.
        for id in 0..6 {
            let attempts: Vec<u32> = calls.iter().filter(|call| call.0 == id).map(|call| call.1).collect();
            assert!(attempts == [1] || attempts == [1, 2], "job {id}: {attempts:?}");
        }
        app.drain().await;
    });
}

#[handler]
async fn slow(_job: Job, State(calls): State<Calls>) {
    calls.lock().unwrap().push((0, 0));
    tokio::time::sleep(Duration::from_secs(5)).await;
}

#[convoke::test(App::new("guards").state(Calls::default()), handlers(slow))]
async fn a_drain_may_be_given_up_and_asked_for_again(app: TestApp) -> TestResult {
    app.publish(&Job { id: 1 }).await?;
    app.advance(Duration::from_secs(1)).await;
    assert!(tokio::time::timeout(Duration::from_secs(1), app.drain()).await.is_err());
    assert!(app.drain().await.clean);
    assert!(app.drain().await.clean);
    Ok(())
}

#[convoke::test(App::new("guards").state(Calls::default()), handlers(slow))]
async fn the_first_message_after_a_quiet_hour_is_no_stall(app: TestApp) -> TestResult {
    app.advance(Duration::from_secs(3600)).await;
    app.publish(&Job { id: 1 }).await?;
    app.advance(Duration::from_secs(1)).await;
    let status = app.status().await;
    assert_eq!(status.handlers[0].running, 1);
    assert!(status.ready, "{status:?}");
    Ok(())
}

#[handler(start = new)]
async fn late(_other: Other, State(calls): State<Calls>) {
    calls.lock().unwrap().push((2, 0));
}

#[handler(group = "guards.shared")]
async fn early(_job: Job, State(calls): State<Calls>) {
    calls.lock().unwrap().push((1, 0));
}

#[handler(group = "guards.shared", start = new)]
async fn new_only(_other: Other, State(calls): State<Calls>) {
    calls.lock().unwrap().push((2, 0));
}

#[tokio::test(start_paused = true)]
async fn handlers_of_one_group_start_where_each_says() {
    let url = "memory://guards-starts";
    let before = TestApp::start_on(App::new("before").state(Calls::default()).only(["slow", "late"]), url).await.unwrap();
    before.publish(&Job { id: 1 }).await.unwrap();
    before.publish(&Other { id: 1 }).await.unwrap();
    let calls = Calls::default();
    let app = TestApp::start_on(App::new("guards").state(Arc::clone(&calls)).only(["early", "new_only"]), url).await.unwrap();
    app.settled().await;
    assert_eq!(*calls.lock().unwrap(), [(1, 0)], "{}", app.story());
    before.settled().await;
}

#[derive(Debug)]
struct Unprintable;
impl std::fmt::Display for Unprintable {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("no text for you");
    }
}
impl std::error::Error for Unprintable {}

#[handler(retry(attempts = 2, backoff = "1s"))]
async fn unprintable(job: Job) -> Result<(), Unprintable> {
    if job.id == 1 { Err(Unprintable) } else { Ok(()) }
}

#[convoke::test(App::new("guards"), handlers(unprintable))]
async fn an_error_without_a_text_is_a_failed_attempt_like_any_other(app: TestApp) -> TestResult {
    app.publish(&Job { id: 1 }).await?;
    app.publish(&Job { id: 2 }).await?;
    app.settled().await;
    let letters = app.dead_letters("unprintable");
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].headers().get_str("convoke-dead-error"), Some("an error whose text could not be written"));
    assert_eq!(app.status().await.handlers[0].handled, 1);
    Ok(())
}

struct Nervous(AtomicU32);
impl Observer for Nervous {
    fn observe(&self, happening: &Happening<'_>) {
        if matches!(happening.what, What::Started { .. }) {
            self.0.fetch_add(1, Ordering::Relaxed);
            panic!("an observer that panics");
        }
    }
}

#[convoke::test(App::new("guards").state(Calls::default()).observe(Arc::new(Nervous(AtomicU32::new(0)))), handlers(slow))]
async fn an_observer_that_panics_takes_nothing_with_it(app: TestApp) -> TestResult {
    app.publish(&Job { id: 1 }).await?;
    app.settled().await;
    assert_eq!(app.status().await.handlers[0].handled, 1);
    Ok(())
}

/// Fails once, then takes longer than the drain allows.
#[handler(retry(attempts = 5, backoff = "1s"))]
async fn stubborn(_job: Job, meta: Meta<'_>, State(calls): State<Calls>) -> Result<(), &'static str> {
    calls.lock().unwrap().push((0, meta.attempt()));
    if meta.attempt() == 1 {
        return Err("the first attempt fails");
    }
    tokio::time::sleep(Duration::from_secs(600)).await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn what_a_drain_cancels_keeps_its_attempts() {
    let url = "memory://guards-attempts";
    let app = || App::new("guards").only(["stubborn"]);
    let calls = Calls::default();
    let first = TestApp::start_on(app().state(Arc::clone(&calls)), url).await.unwrap();
    let keep = convoke::memory::MemoryBroker::named("guards-attempts");
    first.publish(&Job { id: 1 }).await.unwrap();
    first.advance(Duration::from_secs(10)).await;
    let report = first.drain().await;
    assert_eq!((report.clean, report.cancelled), (false, 1), "{report:?}");
    assert_eq!(*calls.lock().unwrap(), [(0, 1), (0, 2)]);
    let calls = Calls::default();
    let second = TestApp::start_on(app().state(Arc::clone(&calls)), url).await.unwrap();
    second.advance(Duration::from_secs(10)).await;
    assert_eq!(*calls.lock().unwrap(), [(0, 2)], "{}", second.story());
    drop(keep);
}
