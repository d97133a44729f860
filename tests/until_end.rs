//! Reading to a marked end: what is read, when it ends, and what is left.

mod support;

use std::time::Duration;

use convoke::broker::Fault;
use convoke::memory::MemoryBroker;
use convoke::prelude::*;
use serde::{Deserialize, Serialize};
use support::{Journal, ms, status, stored};

#[event(topic = "end.rows", key = key)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Row {
    key: String,
    number: u64,
}

#[event(topic = "end.copies", key = number)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Copied {
    number: u64,
}

#[event(topic = "end.files")]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct File {
    number: u64,
}

#[derive(Clone)]
struct Seen {
    rows: Journal<(u64, u32)>,
    copies: Journal<u64>,
}

impl Seen {
    fn new() -> Self {
        Self { rows: Journal::new(), copies: Journal::new() }
    }

    fn rows(&self) -> Vec<u64> {
        let mut rows: Vec<_> = self.rows.items().into_iter().map(|(number, _)| number).collect();
        rows.sort_unstable();
        rows
    }
}

/// Keys say how it goes: `fails once`, `waits` for a minute outside of this process, `never` works, `slow`.
async fn read(row: &Row, attempt: u32, seen: &Seen) -> Result<(), BoxError> {
    match (row.key.as_str(), attempt) {
        ("fails once", 1) => return Err("the first time never works".into()),
        ("waits", 1) => return Err(after(Duration::from_secs(60), "a minute").into()),
        ("never", _) => return Err("it never works".into()),
        ("slow", _) => tokio::time::sleep(ms(1000)).await,
        _ => {}
    }
    seen.rows.note((row.number, attempt));
    Ok(())
}

#[handler(concurrency = 4, on_retry = pass, retry(attempts = 3, backoff = "1s"))]
async fn copy(row: Row, meta: Meta<'_>, State(seen): State<Seen>) -> Result<Copied, BoxError> {
    read(&row, meta.attempt(), &seen).await?;
    Ok(Copied { number: row.number })
}

#[handler]
async fn copied(copied: Copied, State(seen): State<Seen>) {
    seen.copies.note(copied.number);
}

#[handler]
async fn file(_file: File) {}

fn app(url: &str, seen: &Seen) -> App {
    App::new("end").url(url).quiet().state(seen.clone()).only(["copy"])
}

fn rows(key: &str, numbers: std::ops::Range<u64>) -> Vec<Row> {
    numbers.map(|number| Row { key: key.to_owned(), number }).collect()
}

/// Publishes before anybody reads: by an application whose group is another.
async fn published(url: &str, rows: &[Row]) {
    let app = App::new("source").url(url).quiet().only(["file"]).start().await.unwrap();
    let publisher = app.publisher();
    let mut topology = convoke::broker::Topology::default();
    topology.topics.push(convoke::broker::TopicSpec::new("end.rows"));
    app.broker().ensure(&topology, convoke::broker::EnsureMode::Create).await.unwrap();
    publisher.publish_all(rows).await.into_iter().for_each(|answer| drop(answer.unwrap()));
    app.drain().await;
}

/// Waits for the end, which must be clean.
#[track_caller]
fn clean(report: convoke::DrainReport) {
    assert_eq!((report.clean, report.cancelled, report.unsettled, report.unconfirmed), (true, 0, 0, 0), "{report:?}");
}

async fn ended(app: &AppHandle) {
    match tokio::time::timeout(Duration::from_secs(3600), app.ended()).await {
        Ok(report) => clean(report),
        Err(_) => panic!("it hangs: {:#?}", app.status().await),
    }
}

#[tokio::test(start_paused = true)]
async fn it_reads_what_there_is_and_ends_when_all_of_it_is_settled() {
    let (url, _broker) = ("memory://end-all", MemoryBroker::named("end-all"));
    let all =
        [rows("plain", 0..20), rows("fails once", 20..21), rows("waits", 21..22), rows("never", 22..23), rows("slow", 23..27)];
    published(url, &all.concat()).await;
    let seen = Seen::new();
    let app = app(url, &seen).until_end().start().await.unwrap();
    app.publisher().publish_all(&rows("late", 30..33)).await.into_iter().for_each(|answer| drop(answer.unwrap()));
    let copies = stored(&app, "end.copies").len();
    assert_eq!(copies, 0, "nothing has run yet");
    ended(&app).await;
    assert_eq!(seen.rows(), [(0..22).collect::<Vec<_>>(), (23..27).collect()].concat(), "all that there was, each once");
    assert_eq!(stored(&app, "end.copies").len(), 26, "what was returned is confirmed");
    assert_eq!(stored(&app, "end.rows.end.copy.dead").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn run_returns_by_itself_and_the_next_run_goes_on_behind_the_mark() {
    let (url, broker) = ("memory://end-again", MemoryBroker::named("end-again"));
    for (run, range) in [(1, 0..10), (2, 10..15), (3, 15..15), (4, 15..16)] {
        published(url, &rows("plain", range.clone())).await;
        let seen = Seen::new();
        tokio::time::timeout(ms(60_000), app(url, &seen).until_end().run()).await.expect("it ends").unwrap();
        assert_eq!(seen.rows(), range.collect::<Vec<_>>(), "run {run}");
    }
    assert_eq!(broker.messages("end.copies").len(), 16);
}

#[tokio::test(start_paused = true)]
async fn what_a_handler_returned_to_a_topic_that_is_read_too_is_left_for_the_next_run() {
    let (url, _broker) = ("memory://end-chain", MemoryBroker::named("end-chain"));
    published(url, &rows("plain", 0..6)).await;
    for copies in [0, 6] {
        let seen = Seen::new();
        let app = app(url, &seen).only(["copy", "copied"]).until_end().start().await.unwrap();
        ended(&app).await;
        assert_eq!(seen.copies.len(), copies);
    }
}

#[tokio::test(start_paused = true)]
async fn empty_topics_end_at_once_also_where_the_handler_is_paused() {
    let (url, _broker) = ("memory://end-empty", MemoryBroker::named("end-empty"));
    let seen = Seen::new();
    let app = app(url, &seen).only(["copy", "copied"]).until_end().start().await.unwrap();
    app.pause("copy").unwrap();
    let begun = tokio::time::Instant::now();
    ended(&app).await;
    assert!(begun.elapsed() < ms(10), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_paused_handler_holds_the_end_up_and_resuming_it_brings_the_end() {
    let (url, _broker) = ("memory://end-paused", MemoryBroker::named("end-paused"));
    published(url, &rows("plain", 0..6)).await;
    let seen = Seen::new();
    let app = app(url, &seen).only(["copy", "copied"]).until_end().start().await.unwrap();
    app.pause("copy").unwrap();
    assert!(tokio::time::timeout(Duration::from_secs(600), app.ended()).await.is_err(), "it ended without reading");
    assert!(status(&app, "copied").await.at_end, "the other one has nothing to wait for");
    let copy = status(&app, "copy").await;
    assert!(!copy.at_end && copy.healthy && app.status().await.ready, "{copy:?}");
    app.resume("copy").unwrap();
    ended(&app).await;
    assert_eq!(seen.rows(), (0..6).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn several_members_end_together_and_each_row_is_read_once() {
    let (url, broker) = ("memory://end-members", MemoryBroker::named("end-members"));
    let all: Vec<_> = (0..60).map(|number| Row { key: format!("slow {}", number % 7), number }).collect();
    published(url, &all).await;
    let (one, other) = (Seen::new(), Seen::new());
    let first = app(url, &one).until_end().start().await.unwrap();
    tokio::task::yield_now().await;
    let second = app(url, &other).until_end().start().await.unwrap();
    let both = async { tokio::join!(first.ended(), second.ended()) };
    let (a, b) = tokio::time::timeout(ms(60_000), both).await.expect("both end");
    clean(a);
    clean(b);
    let mut rows = [one.rows(), other.rows()].concat();
    rows.sort_unstable();
    assert_eq!(rows, (0..60).collect::<Vec<_>>());
    assert_eq!(broker.messages("end.copies").len(), 60);
}

#[tokio::test(start_paused = true)]
async fn who_has_nothing_left_waits_for_what_another_member_holds_and_takes_it_over() {
    let (url, _broker) = ("memory://end-takeover", MemoryBroker::named("end-takeover"));
    published(url, &rows("slow", 0..1)).await;
    let (one, other) = (Seen::new(), Seen::new());
    let holder = app(url, &one).start().await.unwrap();
    tokio::time::sleep(ms(100)).await;
    let waiting = app(url, &other).until_end().start().await.unwrap();
    assert!(tokio::time::timeout(ms(500), waiting.ended()).await.is_err(), "the other still runs");
    let holder = tokio::spawn(async move {
        holder.abort();
        holder.drain().await
    });
    holder.await.unwrap();
    assert!(one.rows().is_empty(), "it was cancelled");
    ended(&waiting).await;
    assert_eq!(other.rows(), [0], "and done here before the end");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_interrupted_is_taken_up_by_the_next() {
    let (url, broker) = ("memory://end-interrupted", MemoryBroker::named("end-interrupted"));
    published(url, &rows("slow", 0..10)).await;
    let seen = Seen::new();
    let app_1 = app(url, &seen).until_end().start().await.unwrap();
    tokio::time::sleep(ms(2500)).await;
    clean(app_1.drain().await);
    let done = seen.rows().len();
    assert!((1..10).contains(&done), "{done}");
    let app_2 = app(url, &seen).until_end().start().await.unwrap();
    tokio::time::sleep(ms(1500)).await;
    app_2.crash().await;
    let app_3 = app(url, &seen).until_end().start().await.unwrap();
    ended(&app_3).await;
    assert_eq!(seen.rows().into_iter().collect::<std::collections::BTreeSet<_>>(), (0..10).collect());
    assert!(seen.rows().len() <= 11, "only what was in flight at the crash is repeated");
    assert!(broker.messages("end.copies").len() >= 10);
}

#[tokio::test(start_paused = true)]
async fn a_cut_neither_ends_it_early_nor_holds_it_up() {
    for at in [0, 300, 1000, 1700] {
        let url = format!("memory://end-cut-{at}");
        let broker = MemoryBroker::named(&url["memory://".len()..]);
        published(&url, &rows("slow", 0..8)).await;
        let seen = Seen::new();
        let app = app(&url, &seen).until_end().start().await.unwrap();
        tokio::time::sleep(ms(at)).await;
        app.faults().unwrap().inject(Fault::Cut { down: Duration::from_secs(20) }).unwrap();
        assert!(tokio::time::timeout(ms(10_000), app.ended()).await.is_err(), "cut at {at} ms, it ended");
        ended(&app).await;
        assert_eq!(seen.rows().into_iter().collect::<std::collections::BTreeSet<_>>(), (0..8).collect());
        drop(broker);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_settlement_and_a_refused_publish_are_waited_for() {
    let (url, broker) = ("memory://end-faults", MemoryBroker::named("end-faults"));
    published(url, &rows("plain", 0..4)).await;
    let seen = Seen::new();
    let app = app(url, &seen).until_end().start().await.unwrap();
    let faults = app.faults().unwrap();
    faults.inject(Fault::SettleLost { group: "end.copy".into(), count: 3 }).unwrap();
    faults.inject(Fault::PublishRejected { topic: "end.copies".into(), count: 5, retryable: true }).unwrap();
    ended(&app).await;
    assert_eq!(seen.rows(), [0, 1, 2, 3], "handlers are not called again");
    assert_eq!(broker.messages("end.copies").len(), 4);
}

#[tokio::test(start_paused = true)]
async fn batches_are_read_to_the_end_too() {
    #[handler(name = "batches", batch(size = 4, wait = "10s"))]
    async fn batches(rows: Batch<Row>, State(seen): State<Seen>) {
        for row in rows.iter() {
            seen.rows.note((row.number, 1));
        }
    }
    let (url, _broker) = ("memory://end-batches", MemoryBroker::named("end-batches"));
    published(url, &rows("plain", 0..10)).await;
    let seen = Seen::new();
    let app = app(url, &seen).only(["batches"]).until_end().start().await.unwrap();
    ended(&app).await;
    assert_eq!(seen.rows(), (0..10).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn what_is_scheduled_and_not_due_is_not_there() {
    let (url, broker) = ("memory://end-scheduled", MemoryBroker::named("end-scheduled"));
    published(url, &rows("plain", 0..2)).await;
    let seen = Seen::new();
    let source = app(url, &seen).only(["copied"]).start().await.unwrap();
    source.publisher().publish(&rows("plain", 5..6)[0]).delay(Duration::from_secs(60)).await.unwrap();
    source.drain().await;
    let app = app(url, &seen).until_end().start().await.unwrap();
    let begun = tokio::time::Instant::now();
    ended(&app).await;
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert_eq!(seen.rows(), [0, 1]);
    drop(broker);
}
