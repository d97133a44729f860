//! Messages that come again: known by their identity, handled once, and never lost for it.

mod support;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use convoke::broker::Fault;
use convoke::layers::DedupLayer;
use convoke::layers::dedup::MemoryClaims;
use convoke::prelude::*;
use convoke::{BoxFuture, ClaimStore, Claimed, Error, ErrorKind, Holder, encode, names};
use serde::{Deserialize, Serialize};
use support::{Journal, Seeded, header, ms, status, stored};
use tokio::sync::Notify;

/// What is to happen: one word for each call of the handler, the last one for all that follow.
#[event(topic = "dedup.jobs", key = key)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Job {
    key: String,
    number: u64,
    script: String,
}

#[event(topic = "dedup.done", key = number)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct JobDone {
    number: u64,
}

#[derive(Clone)]
struct Log {
    /// Number and attempt of each call.
    calls: Journal<(u64, u32)>,
    /// The calls that did their work.
    done: Journal<u64>,
    running: Arc<Notify>,
}

impl Log {
    fn new() -> Self {
        Self { calls: Journal::new(), done: Journal::new(), running: Arc::default() }
    }

    /// How often each number's work was done.
    fn counts(&self) -> BTreeMap<u64, u32> {
        let mut counts = BTreeMap::new();
        self.done.items().into_iter().for_each(|number| *counts.entry(number).or_default() += 1);
        counts
    }

    async fn play(&self, job: &Job, attempt: u32) -> Result<Outcome, BoxError> {
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
async fn work(job: Job, meta: Meta<'_>, State(log): State<Log>) -> Result<Outcome, BoxError> {
    log.play(&job, meta.attempt()).await
}

#[handler(name = "report", group = "reports", timeout = "2s", retry(attempts = 3, backoff = "200ms..200ms", jitter = 0))]
async fn report(job: Job, meta: Meta<'_>, State(log): State<Log>) -> Result<Option<JobDone>, BoxError> {
    let outcome = log.play(&job, meta.attempt()).await?;
    Ok((outcome == Outcome::Ack).then_some(JobDone { number: job.number }))
}

#[handler(
    name = "pack",
    group = "packs",
    batch(size = 8, wait = "20ms"),
    retry(attempts = 3, backoff = "200ms..200ms", jitter = 0)
)]
async fn pack(jobs: Batch<Job>, meta: Meta<'_>, State(log): State<Log>) -> BatchReply {
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
enum Way {
    Well,
    /// It fails, and nothing has happened.
    Fails,
    /// It fails, and it has happened all the same.
    Silent,
    /// It never answers.
    Hangs,
    Panics,
}

type Calls = Mutex<Vec<(&'static str, Duration)>>;

/// A store that does with each call what it is told to.
struct Store {
    inner: MemoryClaims,
    way: Box<dyn Fn(usize, &'static str) -> Way + Send + Sync>,
    count: AtomicUsize,
    calls: Calls,
    begun: tokio::time::Instant,
}

impl Store {
    fn new(way: impl Fn(usize, &'static str) -> Way + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            inner: MemoryClaims::new(),
            way: Box::new(way),
            count: AtomicUsize::new(0),
            calls: Calls::default(),
            begun: tokio::time::Instant::now(),
        })
    }

    fn good() -> Arc<Self> {
        Self::new(|_, _| Way::Well)
    }

    /// How often it was asked to do this.
    fn count(&self, what: &str) -> usize {
        self.calls.lock().unwrap().iter().filter(|(called, _)| *called == what).count()
    }

    async fn act<T>(&self, what: &'static str, call: BoxFuture<'_, Result<T, Error>>) -> Result<T, Error> {
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

async fn start_on(url: &str, handlers: &[&str], store: Arc<dyn ClaimStore>) -> (TestApp, Log) {
    let log = Log::new();
    let app = App::new("dedup").state(log.clone()).only(handlers.iter().copied()).deduplicate(store);
    (TestApp::start_on(app, url).await.unwrap(), log)
}

async fn start(handler: &str, store: Arc<dyn ClaimStore>) -> (TestApp, Log) {
    start_as("", handler, store).await
}

/// On a broker with these options.
async fn start_as(options: &str, handler: &str, store: Arc<dyn ClaimStore>) -> (TestApp, Log) {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    start_on(&format!("memory://dedup-{}{options}", COUNT.fetch_add(1, SeqCst)), &[handler], store).await
}

/// Brokers that settle each message, or by position; that have stable positions, or not.
const BROKERS: [&str; 4] = ["", "?guise=kafka", "?guise=redis", "?guise=rabbitmq"];

fn message(key: &str, number: u64, script: &str) -> convoke::Message {
    let job = Job { key: key.to_owned(), number, script: script.to_owned() };
    let builder = encode(&job).unwrap().header(names::ID, format!("job-{number}")).header(names::SOURCE, "tests");
    builder.header(names::SPEC_VERSION, names::SPEC_VERSION_1_0).build()
}

/// Publishes a job under an identity that its number says.
async fn publish(app: &TestApp, key: &str, number: u64, script: &str) {
    app.publish_message(message(key, number, script)).await.unwrap();
}

async fn settled(app: &TestApp) {
    if tokio::time::timeout(Duration::from_secs(3600), app.settled()).await.is_err() {
        panic!("it hangs: {:#?}\n{}", app.status().await, app.story());
    }
}

/// The identity of a job for a handler: as the layer makes it.
fn identity(group: &str, handler: &str, number: u64) -> String {
    format!("{group}/{handler}/5:tests/job-{number}")
}

#[tokio::test(start_paused = true)]
async fn a_message_that_comes_again_is_acknowledged_without_the_handler_and_counted() {
    for handler in ["work", "report", "pack"] {
        let (app, log) = start(handler, Store::good()).await;
        for _ in 0..3 {
            publish(&app, "k", 1, "ok").await;
            settled(&app).await;
        }
        publish(&app, "k", 2, "ok").await;
        settled(&app).await;
        assert_eq!(log.calls.items(), [(1, 1), (2, 1)], "{handler}");
        let status = status(&app, handler).await;
        assert_eq!((status.handled, status.known, status.failed, status.dropped), (2, 2, 0, 0), "{handler}");
        let story = app.story();
        assert_eq!(story.matches("acknowledged it without the handler: it was handled before").count(), 2, "{story}");
        assert_eq!(app.published::<JobDone>().len(), if handler == "report" { 2 } else { 0 });
    }
}

#[tokio::test(start_paused = true)]
async fn each_handler_handles_a_message_once_and_only_those_with_the_layer_remember() {
    let log = Log::new();
    let layer = DedupLayer::new(Store::good());
    let app = App::new("dedup").state(log.clone()).only(["work", "report", "pack"]);
    let app = app.handler_layer("work", layer.clone()).group_layer("reports", layer);
    let app = TestApp::start(app).await.unwrap();
    for _ in 0..2 {
        publish(&app, "k", 1, "ok").await;
        settled(&app).await;
    }
    let mut handled = Vec::new();
    for handler in ["work", "report", "pack"] {
        let status = status(&app, handler).await;
        handled.push((status.handled, status.known));
    }
    assert_eq!(handled, [(1, 1), (1, 1), (2, 0)]);
}

#[tokio::test(start_paused = true)]
async fn two_layers_around_one_handler_do_not_lock_each_other_out() {
    let log = Log::new();
    let app = App::new("dedup").state(log.clone()).only(["work"]);
    let app = app.deduplicate(Store::good()).handler_layer("work", DedupLayer::new(Store::good()));
    let app = TestApp::start(app).await.unwrap();
    publish(&app, "k", 1, "ok").await;
    settled(&app).await;
    assert_eq!(log.calls.items(), [(1, 1)]);
}

#[tokio::test(start_paused = true)]
async fn what_was_not_handled_is_not_remembered() {
    // The script, and how many attempts the first delivery makes of it.
    let ways = [("fatal ok", 1), ("fail fail fail ok", 3), ("panic panic panic ok", 3), ("slow:9000 slow:9000 slow:9000 ok", 3)];
    for (script, attempts) in ways {
        for handler in ["report", "pack"] {
            // What comes to all of a batch is of no interest here.
            if handler == "pack" && script.starts_with(['p', 's']) {
                continue;
            }
            let store = Store::good();
            let (app, log) = start(handler, Arc::<Store>::clone(&store)).await;
            publish(&app, "k", 1, script).await;
            settled(&app).await;
            assert_eq!((log.calls.len(), log.done.len()), (attempts, 0), "{handler}: {script}\n{}", app.story());
            assert_eq!((store.count("release"), store.count("commit")), (attempts, 0), "{handler}: {script}");
            publish(&app, "k", 1, script).await;
            settled(&app).await;
            assert_eq!(log.done.items(), [1], "{handler}: {script}: sent back, it is handled\n{}", app.story());
            assert_eq!(status(&app, handler).await.known, 0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_dropped_or_waits_for_a_dependency_leaves_no_claim() {
    let store = Store::good();
    let (app, log) = start("work", Arc::<Store>::clone(&store)).await;
    publish(&app, "k", 1, "drop ok").await;
    settled(&app).await;
    publish(&app, "k", 1, "drop ok").await;
    publish(&app, "l", 2, "down ok").await;
    settled(&app).await;
    assert_eq!((log.counts(), log.calls.len()), ([(1, 1), (2, 1)].into(), 4));
    assert_eq!((store.count("release"), store.count("commit")), (2, 2));
    let status = status(&app, "work").await;
    assert_eq!((status.dropped, status.handled, status.failed, status.known), (1, 2, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_retry_has_its_claim_at_once_and_is_counted_as_without_deduplication() {
    let (app, log) = start("work", Store::good()).await;
    publish(&app, "k", 1, "fail fail ok").await;
    settled(&app).await;
    assert_eq!(log.calls.items(), [(1, 1), (1, 2), (1, 3)]);
    let times = log.calls.times();
    assert!(times[1] - times[0] < ms(210) && times[2] - times[1] < ms(210), "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn what_another_holder_has_waits_in_its_place_without_an_attempt_and_without_a_storm() {
    for handler in ["work", "pack"] {
        let group = if handler == "work" { "works" } else { "packs" };
        let store = Store::good();
        let other = Holder::new();
        let taken = store.inner.claim(&identity(group, handler, 1), other, Duration::from_secs(20)).await.unwrap();
        assert_eq!(taken, Claimed::Ours);
        let (app, log) = start(handler, Arc::<Store>::clone(&store)).await;
        for (key, number) in [("a", 1), ("a", 2), ("b", 3), ("a", 4)] {
            publish(&app, key, number, "ok").await;
        }
        app.advance(Duration::from_secs(10)).await;
        assert_eq!(log.counts(), [(3, 1)].into(), "{handler}: another key goes on, and its own waits\n{}", app.story());
        // One message of the key asks at a time, twice a second; a batch asks for all of its messages.
        let asked = store.count("claim");
        assert!((15..=70).contains(&asked), "{handler}: {asked} claims in ten seconds");
        settled(&app).await;
        let calls = log.calls.items();
        assert_eq!(calls, [(3, 1), (1, 1), (2, 1), (4, 1)], "{handler}\n{}", app.story());
        assert!(log.calls.times()[1] >= Duration::from_secs(19), "{handler}");
        let status = status(&app, handler).await;
        assert_eq!((status.handled, status.failed, status.dead, status.suspended), (4, 0, 0, false), "{handler}");
    }
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_down_handlers_pause_and_nothing_counts_as_an_attempt() {
    for way in [Way::Fails, Way::Hangs, Way::Silent] {
        let down = Arc::new(AtomicBool::new(true));
        let is_down = Arc::clone(&down);
        let store = Store::new(move |_, _| if is_down.load(SeqCst) { way } else { Way::Well });
        let (app, log) = start("work", Arc::<Store>::clone(&store)).await;
        for number in 0..20 {
            publish(&app, &format!("k{}", number % 3), number, "ok").await;
        }
        app.advance(Duration::from_secs(600)).await;
        let before = status(&app, "work").await;
        assert!(before.suspended && before.failed == 0 && before.dead == 0 && log.calls.len() == 0, "{before:?}");
        assert!(store.count("claim") < 80, "{:?}: {} claims", way, store.count("claim"));
        down.store(false, SeqCst);
        settled(&app).await;
        assert_eq!(log.counts(), (0..20).map(|number| (number, 1)).collect(), "{way:?}");
        assert!(log.calls.items().iter().all(|call| call.1 == 1), "no attempt was counted");
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_is_not_settled_before_it_is_remembered_and_its_handler_is_not_called_again() {
    for handler in ["work", "report", "pack"] {
        for (way, options) in [Way::Fails, Way::Silent, Way::Hangs, Way::Panics].into_iter().zip(BROKERS) {
            let down = Arc::new(AtomicBool::new(true));
            let is_down = Arc::clone(&down);
            let store = Store::new(move |_, what| if what == "commit" && is_down.load(SeqCst) { way } else { Way::Well });
            let (app, log) = start_as(options, handler, Arc::<Store>::clone(&store)).await;
            publish(&app, "k", 1, "ok").await;
            // Longer than the claim's lease and than that of the delivery.
            app.advance(Duration::from_secs(120)).await;
            assert_eq!(status(&app, handler).await.handled, 0, "{handler}, {way:?}");
            down.store(false, SeqCst);
            settled(&app).await;
            publish(&app, "k", 1, "ok").await;
            settled(&app).await;
            assert_eq!(log.calls.items(), [(1, 1)], "{handler}, {way:?}\n{}", app.story());
            assert_eq!(app.published::<JobDone>().len(), usize::from(handler == "report"), "what it returned is published once");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_between_publishing_and_remembering_repeats_the_message_under_the_same_ids() {
    for (n, options) in BROKERS.into_iter().enumerate() {
        let url = &format!("memory://dedup-crash-before-commit-{n}{options}");
        let store = Store::new(|n, what| if what == "commit" && n < 3 { Way::Hangs } else { Way::Well });
        let (app, first) = start_on(url, &["report"], Arc::<Store>::clone(&store) as _).await;
        publish(&app, "k", 1, "ok").await;
        app.advance(Duration::from_secs(1)).await;
        assert_eq!((first.counts(), stored(&app, "dedup.done").len()), ([(1, 1)].into(), 1));
        app.crash().await;
        let (next, second) = start_on(url, &["report"], store as _).await;
        settled(&next).await;
        // Its claim had to end first.
        assert_eq!(second.calls.items(), [(1, 1)], "{}", next.story());
        assert!(second.calls.times()[0] > Duration::from_secs(28), "{:?}", second.calls.times());
        let ids: Vec<_> =
            stored(&next, "dedup.done").iter().map(|message| header(message, names::ID).unwrap().to_owned()).collect();
        assert!(ids.len() == 2 && ids[0] == ids[1], "{ids:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_between_remembering_and_settling_repeats_nothing() {
    for handler in ["work", "report", "pack"] {
        let url = format!("memory://dedup-crash-before-settle-{handler}");
        let store = Store::good();
        let (app, first) = start_on(&url, &[handler], Arc::<Store>::clone(&store) as _).await;
        let group = format!("{handler}s");
        app.inject(Fault::SettleLost { group, count: 1000 }).unwrap();
        for number in 0..10 {
            publish(&app, &format!("k{number}"), number, "ok").await;
        }
        app.advance(Duration::from_secs(1)).await;
        let once: BTreeMap<_, _> = (0..10).map(|number| (number, 1)).collect();
        assert_eq!((first.counts(), store.count("commit")), (once, 10));
        app.crash().await;
        let (next, second) = start_on(&url, &[handler], store as _).await;
        next.inject(Fault::SettleLost { group: format!("{handler}s"), count: 0 }).unwrap();
        settled(&next).await;
        assert_eq!(second.calls.len(), 0, "{handler}\n{}", next.story());
        assert_eq!(status(&next, handler).await.known, 10, "{handler}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_claim_of_a_slow_handler_does_not_run_out() {
    for script in ["slow:300000", "slow:31000"] {
        let store = Store::good();
        let (app, log) = start("work", Arc::<Store>::clone(&store)).await;
        publish(&app, "k", 1, script).await;
        log.running.notified().await;
        let identity = identity("works", "work", 1);
        let mut answers = Vec::new();
        while log.done.len() == 0 {
            app.advance(Duration::from_secs(7)).await;
            answers.push(store.inner.claim(&identity, Holder::new(), ms(1)).await.unwrap());
        }
        let last = answers.pop();
        assert!(answers.iter().all(|answer| *answer == Claimed::Theirs), "{answers:?}");
        assert_eq!(last, Some(Claimed::Done));
    }
}

#[tokio::test(start_paused = true)]
async fn work_that_is_done_after_its_partition_was_lost_is_not_done_again() {
    let (app, log) = start("work", Store::good()).await;
    for number in 0..8 {
        publish(&app, &format!("k{number}"), number, "slow:3000").await;
    }
    app.advance(ms(500)).await;
    app.inject(Fault::Cut { down: ms(700) }).unwrap();
    settled(&app).await;
    assert_eq!(log.counts(), (0..8).map(|number| (number, 1)).collect(), "{}", app.story());
    let status = status(&app, "work").await;
    assert_eq!(status.known, 8, "{status:?}");
}

#[tokio::test(start_paused = true)]
async fn a_drain_releases_what_it_cancels_and_remembers_what_is_done() {
    let url = "memory://dedup-drain";
    let store = Store::good();
    let log = Log::new();
    let app = App::new("dedup").state(log.clone()).only(["work"]).deduplicate(Arc::<Store>::clone(&store) as _);
    let app = TestApp::start_on(app.drain_within(Duration::from_secs(5)), url).await.unwrap();
    publish(&app, "a", 1, "slow:2000").await;
    publish(&app, "b", 2, "slow:60000 ok").await;
    app.advance(ms(100)).await;
    let report = app.drain().await;
    assert_eq!((report.cancelled, report.clean), (1, false));
    let (next, second) = start_on(url, &["work"], Arc::<Store>::clone(&store) as _).await;
    publish(&next, "a", 1, "ok").await;
    settled(&next).await;
    assert_eq!(second.calls.items(), [(2, 1)], "{}", next.story());
    assert!(second.calls.times()[0] < Duration::from_secs(1), "the claim was released: {:?}", second.calls.times());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_does_not_hold_up_a_drain() {
    let store = Store::new(|_, what| if what == "release" { Way::Hangs } else { Way::Well });
    let (app, _log) = start("work", store).await;
    publish(&app, "a", 1, "fatal").await;
    settled(&app).await;
    let report = app.drain().await;
    assert!(report.clean && report.took < Duration::from_secs(2), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn a_batch_has_a_claim_and_a_verdict_for_each_message() {
    let store = Store::good();
    let (app, log) = start("pack", Arc::<Store>::clone(&store)).await;
    for number in [1, 3] {
        store.inner.commit(&identity("packs", "pack", number)).await.unwrap();
    }
    for (key, number, script) in
        [("a", 1, "ok"), ("a", 2, "ok"), ("b", 3, "ok"), ("b", 4, "fail ok"), ("b", 5, "ok"), ("c", 6, "fatal"), ("c", 7, "ok")]
    {
        publish(&app, key, number, script).await;
    }
    settled(&app).await;
    let calls = log.calls.items();
    let of = |number| calls.iter().filter(|call| call.0 == number).map(|call| call.1).collect::<Vec<_>>();
    assert!(of(1).is_empty() && of(3).is_empty(), "{calls:?}");
    assert_eq!((of(2), of(4), of(6), of(7)), (vec![1], vec![1, 2], vec![1], vec![1]), "{calls:?}");
    // It is tried again with the one before it in its key, so it was not remembered.
    assert_eq!(of(5).len(), 2, "{calls:?}");
    let status = status(&app, "pack").await;
    assert_eq!((status.known, status.handled, status.dead), (2, 4, 1));
    for number in 1..=7 {
        let claimed = store.inner.claim(&identity("packs", "pack", number), Holder::new(), ms(1)).await.unwrap();
        assert_eq!(claimed, if number == 6 { Claimed::Ours } else { Claimed::Done }, "{number}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_without_an_identity_of_its_own_is_known_by_its_place() {
    let (app, log) = start("work", Store::good()).await;
    // Delivered again after each cut, and the same content at another place is another message.
    app.inject(Fault::Repeat { group: "works".into(), count: 2 }).unwrap();
    let bare = || {
        let job = Job { key: "k".into(), number: 1, script: "slow:1000".into() };
        convoke::Message::builder("dedup.jobs").key("k").payload(serde_json::to_vec(&job).unwrap()).build()
    };
    for _ in 0..2 {
        app.publish_message(bare()).await.unwrap();
    }
    app.advance(ms(500)).await;
    app.inject(Fault::Cut { down: ms(100) }).unwrap();
    settled(&app).await;
    assert_eq!(log.counts(), [(1, 2)].into(), "{}", app.story());
}

/// Twelve messages that each come two times, some of which fail the first time.
async fn scenario(options: &str, handler: &str, store: Arc<Store>, cuts: u64) -> (TestApp, Log) {
    let (app, log) = start_as(options, handler, store).await;
    for round in 0..2 {
        for number in 0..12 {
            // In a batch, what comes after a failure in its key is tried again with it.
            let fails = if handler == "pack" { "ok" } else { "fail ok" };
            let script = ["ok", fails, "slow:700", "slow:20 ok"][(number % 4) as usize];
            publish(&app, &format!("k{}", number % 5), number, script).await;
            if (number + round) % 6 < cuts {
                app.inject(Fault::Cut { down: ms(50) }).unwrap();
                app.advance(ms(120)).await;
            }
        }
    }
    settled(&app).await;
    (app, log)
}

fn once() -> BTreeMap<u64, u32> {
    (0..12).map(|number| (number, 1)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_at_any_one_call_repeats_nothing_and_loses_nothing() {
    for handler in ["work", "pack"] {
        let good = Store::good();
        scenario("", handler, Arc::clone(&good), 0).await;
        let calls = good.count.load(SeqCst);
        assert!(calls > 30, "{calls}");
        for way in [Way::Fails, Way::Silent, Way::Hangs, Way::Panics] {
            for n in 0..calls {
                let store = Store::new(move |call, _| if call == n { way } else { Way::Well });
                let (app, log) = scenario(BROKERS[n % 4], handler, store, 0).await;
                assert_eq!(log.counts(), once(), "{handler}: call {n} {way:?}\n{}", app.story());
                let status = status(&app, handler).await;
                // A store that panics as it is asked for a claim is a failed attempt, as a layer that panics is.
                assert_eq!((status.dead, status.handled + status.known), (0, 24), "{handler}: call {n} {way:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn random_faults_of_store_and_broker_repeat_no_work_and_lose_none() {
    let seeds = std::env::var("CONVOKE_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(32);
    for seed in 0..seeds {
        let random = Mutex::new(Seeded(seed));
        let rate = seed % 5 * 8;
        let store = Store::new(move |_, _| {
            let mut random = random.lock().unwrap();
            if random.below(100) >= rate {
                return Way::Well;
            }
            [Way::Fails, Way::Silent, Way::Hangs][random.below(3) as usize]
        });
        let (app, log) = scenario(BROKERS[seed as usize / 4 % 4], "work", store, seed % 4).await;
        assert_eq!(log.counts(), once(), "seed {seed}\n{}", app.story());
        let status = status(&app, "work").await;
        assert_eq!((status.dead, status.in_flight), (0, 0), "seed {seed}: {status:?}");
    }
}
