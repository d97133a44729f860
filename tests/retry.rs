//! Attempts, delays, dead letters, and what a handler returns: published and confirmed before its input is settled.

mod support;

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use convoke::broker::Fault;
use convoke::prelude::*;
use serde::{Deserialize, Serialize};
use support::{Journal, header, ms, own_headers, status, stored};

/// What is to happen: one word for each call of the handler, the last one for all that follow.
#[event(topic = "retry.tasks", key = key)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Task {
    key: String,
    number: u64,
    script: Vec<String>,
}

impl Task {
    fn new(key: &str, number: u64, script: &str) -> Self {
        Self { key: key.to_owned(), number, script: script.split(' ').map(str::to_owned).collect() }
    }
}

/// Number and attempt of each call.
type Calls = Journal<(u64, u32)>;

#[derive(Debug)]
enum Trouble {
    Fatal,
    Later(Duration),
    Down,
    Other,
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "trouble: {self:?}")
    }
}

impl std::error::Error for Trouble {}

impl Classify for Trouble {
    fn class(&self) -> Class {
        match self {
            Self::Fatal => Class::Permanent,
            Self::Later(delay) => Class::After(*delay),
            Self::Down => Class::Unavailable,
            Self::Other => Class::Transient,
        }
    }
}

async fn play(task: &Task, attempt: u32, calls: &Calls) -> Result<Outcome, Trouble> {
    let before = calls.items().iter().filter(|call| call.0 == task.number).count();
    calls.note((task.number, attempt));
    let word = task.script.get(before).or(task.script.last()).map(String::as_str).unwrap_or("ok");
    let (word, delay) = word.split_once(':').map_or((word, Duration::ZERO), |(word, delay)| (word, ms(delay.parse().unwrap())));
    match word {
        "ok" => Ok(Outcome::Ack),
        "fatal" => Err(Trouble::Fatal),
        "later" => Err(Trouble::Later(delay)),
        "down" => Err(Trouble::Down),
        "retry" => Ok(Outcome::retry()),
        "retry_after" => Ok(Outcome::retry_after(delay)),
        "dead" => Ok(Outcome::dead("we do not ship there")),
        "drop" => Ok(Outcome::Drop),
        "unavailable" => Ok(Outcome::Unavailable),
        "panic" => panic!("no such case: {}", task.number),
        "slow" => {
            tokio::time::sleep(delay).await;
            Ok(Outcome::Ack)
        }
        _ => Err(Trouble::Other),
    }
}

#[handler(name = "hold", timeout = "10s", retry(attempts = 5, backoff = "200ms..1s"))]
async fn hold(task: Task, meta: Meta<'_>, State(calls): State<Calls>) -> Result<Outcome, Trouble> {
    play(&task, meta.attempt(), &calls).await
}

#[handler(name = "pass", on_retry = pass, retry(attempts = 3, backoff = "10s..10s"))]
async fn pass(task: Task, meta: Meta<'_>, State(calls): State<Calls>) -> Result<Outcome, Trouble> {
    play(&task, meta.attempt(), &calls).await
}

async fn start(handler: &str) -> (TestApp, Calls) {
    let calls = Calls::new();
    (TestApp::start(App::new("retry").state(calls.clone()).only([handler])).await.unwrap(), calls)
}

/// Handles one task to its end, and says when each call was and with which attempt.
async fn one(script: &str) -> (TestApp, Vec<(Duration, u32)>) {
    let (app, calls) = start("hold").await;
    app.publish(&Task::new("k", 1, script)).await.unwrap();
    app.settled().await;
    let calls = calls.all().into_iter().map(|(at, (_, attempt))| (at, attempt)).collect();
    (app, calls)
}

/// The one dead letter: reason, error and attempts.
fn letter(app: &TestApp) -> [String; 3] {
    let letters = app.dead_letters("hold");
    assert_eq!(letters.len(), 1, "{}", app.story());
    ["reason", "error", "attempts"].map(|name| header(&letters[0], &format!("convoke-dead-{name}")).unwrap().to_owned())
}

/// Between these two calls lies the delay, and at most a fifth more.
#[track_caller]
fn spaced(calls: &[(Duration, u32)], delays: &[u64]) {
    assert_eq!(calls.len(), delays.len() + 1, "{calls:?}");
    for (pair, delay) in calls.windows(2).zip(delays) {
        let gap = pair[1].0 - pair[0].0;
        // Timers have a granularity of a millisecond.
        assert!(gap >= ms(*delay) && gap <= ms(delay + delay / 5 + 2), "{gap:?} in place of {delay} ms: {calls:?}");
        assert_eq!(pair[1].1, pair[0].1 + 1, "attempts count up: {calls:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn attempts_are_spaced_by_the_backoff_and_counted_exactly() {
    let (app, calls) = one("fail").await;
    spaced(&calls, &[200, 400, 800, 1000]);
    assert_eq!(letter(&app), ["handler-error", "trouble: Other", "5"]);
    let status = status(&app, "hold").await;
    assert_eq!((status.failed, status.dead, status.handled), (5, 1, 0));
    let (app, calls) = one("fail retry fail ok").await;
    spaced(&calls, &[200, 400, 800]);
    assert!(app.dead_letters("hold").is_empty());
}

#[tokio::test(start_paused = true)]
async fn many_that_fail_at_once_are_spread_by_jitter_and_none_is_early() {
    let (app, calls) = start("hold").await;
    for number in 0..200 {
        app.publish(&Task::new(&number.to_string(), number, "fail")).await.unwrap();
    }
    app.settled().await;
    let mut by_number = BTreeMap::<u64, Vec<(Duration, u32)>>::new();
    calls.all().into_iter().for_each(|(at, (number, attempt))| by_number.entry(number).or_default().push((at, attempt)));
    by_number.values().for_each(|calls| spaced(calls, &[200, 400, 800, 1000]));
    let gaps: HashSet<_> = by_number.values().map(|calls| calls[4].0 - calls[3].0).collect();
    assert!(gaps.len() > 50, "only {} different delays of 200", gaps.len());
    assert_eq!(app.dead_letters("hold").len(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_held_key_waits_in_order_and_others_do_not() {
    let (app, calls) = start("hold").await;
    for (key, number, script) in [("a", 1, "fail fail ok"), ("a", 2, "ok"), ("a", 3, "fail ok"), ("b", 4, "ok")] {
        app.publish(&Task::new(key, number, script)).await.unwrap();
    }
    app.settled().await;
    let numbers: Vec<_> = calls.items().iter().map(|call| call.0).collect();
    let of_a: Vec<_> = numbers.iter().copied().filter(|number| *number != 4).collect();
    assert_eq!(of_a, [1, 1, 1, 2, 3, 3]);
    assert!(calls.all().iter().any(|(at, call)| call.0 == 4 && *at < ms(100)), "another key does not wait: {:?}", calls.all());
}

#[tokio::test(start_paused = true)]
async fn with_pass_later_ones_overtake_and_long_delays_keep_their_attempts_in_the_broker() {
    let (app, calls) = start("pass").await;
    app.publish(&Task::new("a", 1, "fail")).await.unwrap();
    app.publish(&Task::new("a", 2, "ok")).await.unwrap();
    app.settled().await;
    let calls = calls.all();
    assert_eq!(calls.iter().map(|(_, call)| call.0).collect::<Vec<_>>(), [1, 2, 1, 1], "{}", app.story());
    let of_one: Vec<_> = calls.into_iter().filter(|(_, call)| call.0 == 1).map(|(at, call)| (at, call.1)).collect();
    spaced(&of_one, &[10_000, 10_000]);
    assert_eq!(header(&app.dead_letters("pass")[0], "convoke-dead-attempts"), Some("3"));
}

#[tokio::test(start_paused = true)]
async fn an_error_says_what_becomes_of_its_message() {
    let (app, calls) = one("fail fatal").await;
    spaced(&calls, &[200]);
    assert_eq!(letter(&app), ["handler-error", "trouble: Fatal", "2"], "the last attempt failed too");
    assert_eq!(status(&app, "hold").await.failed, 2);
    let (_, calls) = one("later:3000 ok").await;
    assert_eq!(calls, [(Duration::ZERO, 1), (ms(3000), 2)].map(|(at, attempt)| (at + calls[0].0, attempt)));
    let (app, calls) = one("later:50").await;
    assert_eq!((calls.len(), letter(&app)[2].as_str()), (5, "5"), "it counts as an attempt");
}

#[tokio::test(start_paused = true)]
async fn an_outcome_says_what_becomes_of_its_message() {
    let (app, calls) = one("dead").await;
    assert_eq!((calls.len(), letter(&app)), (1, ["handler-error", "we do not ship there", "1"].map(str::to_owned)));
    let (app, calls) = one("drop").await;
    let dropped = status(&app, "hold").await;
    assert_eq!((calls.len(), dropped.dropped, dropped.handled, dropped.dead), (1, 1, 0, 0));
    let (_, calls) = one("retry_after:700 ok").await;
    assert_eq!((calls[1].0 - calls[0].0, calls[1].1), (ms(700), 2));
    for script in ["unavailable unavailable down ok", "down unavailable ok"] {
        let (app, calls) = one(script).await;
        assert!(calls.iter().all(|call| call.1 == 1), "no attempt is counted: {calls:?}");
        assert!(calls.windows(2).all(|pair| pair[1].0 - pair[0].0 >= ms(1000)), "it is probed, not stormed: {calls:?}");
        let status = status(&app, "hold").await;
        assert_eq!((status.handled, status.failed, status.dead, status.suspended), (1, 0, 0, false), "{script}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failed_attempt() {
    let (app, calls) = one("panic").await;
    spaced(&calls, &[200, 400, 800, 1000]);
    assert_eq!(letter(&app), ["panic", "the handler panicked: no such case: 1", "5"]);
    let (app, _) = one("panic ok").await;
    assert_eq!(status(&app, "hold").await.handled, 1);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_takes_too_long_is_cancelled_and_fails() {
    let (app, calls) = one("slow:10500").await;
    spaced(&calls, &[10_200, 10_400, 10_800, 11_000]);
    assert_eq!(letter(&app), ["timeout", "the handler took longer than its timeout of 10s", "5"]);
    assert_eq!(status(&app, "hold").await.failed, 5);
    let (app, _) = one("fail fail fail fail slow:10500").await;
    assert_eq!(letter(&app)[..2], ["timeout", "the handler took longer than its timeout of 10s"], "not the error before");
    let (app, _) = one("slow:9500").await;
    assert_eq!(status(&app, "hold").await.handled, 1);
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_has_every_header_of_the_list() {
    let (app, _) = start("hold").await;
    let sent = app.publish(&Task::new("ada", 1, "fail")).header("tenant", "acme").await.unwrap();
    app.settled().await;
    let letters = stored(&app, "retry.tasks.retry.hold.dead");
    let original = &stored(&app, "retry.tasks")[0];
    assert_eq!((letters.len(), letters[0].payload(), letters[0].key()), (1, original.payload(), original.key()));
    assert_eq!(own_headers(&letters[0]), own_headers(original));
    let (partition, position) = sent.stored.unwrap();
    for (name, value) in [
        ("reason", "handler-error"),
        ("error", "trouble: Other"),
        ("error-chain", "trouble: Other"),
        ("attempts", "5"),
        ("topic", "retry.tasks"),
        ("partition", &partition.to_string()),
        ("offset", &position.to_string()),
        ("key", "ada"),
        ("group", "retry.hold"),
        ("handler", "hold"),
    ] {
        assert_eq!(header(&letters[0], &format!("convoke-dead-{name}")), Some(value), "{name}");
    }
    let [at, first, host] =
        ["at", "first-failed-at", "host"].map(|name| header(&letters[0], &format!("convoke-dead-{name}")).unwrap());
    for time in [at, first] {
        assert!(time.len() == 24 && time.starts_with("20") && time.ends_with('Z') && &time[10..11] == "T", "{time}");
    }
    assert!(first <= at && !host.is_empty());
}

#[tokio::test(start_paused = true)]
async fn while_the_dead_letter_is_not_confirmed_the_original_is_not_settled() {
    let topic = "retry.tasks.retry.hold.dead";
    for (fault, copies) in [
        (Fault::PublishRejected { topic: topic.into(), count: 4, retryable: true }, 1),
        (Fault::PublishRejected { topic: topic.into(), count: 2, retryable: false }, 1),
        (Fault::PublishUnknown { topic: topic.into(), count: 2, stored: false }, 1),
        (Fault::PublishUnknown { topic: topic.into(), count: 2, stored: true }, 3),
    ] {
        let (app, calls) = start("hold").await;
        app.inject(fault.clone()).unwrap();
        app.publish(&Task::new("k", 1, "fatal")).await.unwrap();
        app.publish(&Task::new("k", 2, "ok")).await.unwrap();
        app.advance(ms(50)).await;
        let during = status(&app, "hold").await;
        assert_eq!((during.dead, during.in_flight), (0, 2), "{fault:?}");
        app.settled().await;
        assert_eq!(stored(&app, topic).len(), copies, "{fault:?}\n{}", app.story());
        let ids: HashSet<_> = stored(&app, topic).iter().map(|letter| letter.id().unwrap().to_owned()).collect();
        assert_eq!(ids.len(), 1, "copies are the same message");
        assert_eq!(calls.items().iter().map(|call| call.0).collect::<Vec<_>>(), [1, 2], "{fault:?}: called once each, in order");
        assert_eq!(status(&app, "hold").await.dead, 1);
    }
}

#[event(topic = "retry.seeds", key = number)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Seed {
    number: u64,
}

#[event(topic = "retry.leaves", key = tree)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Leaf {
    tree: u64,
    number: u64,
}

#[event(topic = "retry.fruits", key = self.0.tree)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Fruit(Leaf);

#[handler(name = "grow", retry(attempts = 3, backoff = "100ms..100ms"))]
async fn grow(seed: Seed, meta: Meta<'_>, State(calls): State<Calls>) -> (Vec<Leaf>, Option<Fruit>, Option<Leaf>) {
    calls.note((seed.number, meta.attempt()));
    let leaf = |number| Leaf { tree: seed.number, number };
    let leaves = (0..3).map(leaf).collect();
    (leaves, seed.number.is_multiple_of(2).then(|| Fruit(leaf(9))), None)
}

#[handler(name = "ripen")]
async fn ripen(leaf: Leaf) -> Option<Fruit> {
    (leaf.number == 0).then_some(Fruit(leaf))
}

async fn start_growing(handlers: &[&str]) -> (TestApp, Calls) {
    let calls = Calls::new();
    (TestApp::start(App::new("retry").state(calls.clone()).only(handlers.iter().copied())).await.unwrap(), calls)
}

#[tokio::test(start_paused = true)]
async fn tuples_vectors_and_options_of_events_are_published_in_order_with_ids_of_their_own() {
    let (app, _) = start_growing(&["grow"]).await;
    app.publish(&Seed { number: 1 }).await.unwrap();
    app.publish(&Seed { number: 2 }).await.unwrap();
    app.settled().await;
    for tree in [1, 2] {
        let numbers: Vec<_> = app.published::<Leaf>().iter().filter(|leaf| leaf.tree == tree).map(|leaf| leaf.number).collect();
        assert_eq!(numbers, [0, 1, 2]);
    }
    app.published::<Fruit>().assert_one(|fruit| fruit.0.tree == 2);
    let ids: HashSet<_> = app.messages().iter().map(|message| message.id().unwrap().to_owned()).collect();
    assert_eq!(ids.len(), 2 + 6 + 1, "two seeds, six leaves, a fruit");
}

#[tokio::test(start_paused = true)]
async fn what_is_returned_says_what_caused_it_and_where_the_chain_began() {
    let (app, _) = start_growing(&["grow", "ripen"]).await;
    let seed = app.publish(&Seed { number: 1 }).header("traceparent", "00-trace").await.unwrap();
    app.settled().await;
    let leaf = &stored(&app, "retry.leaves")[0];
    let fruit = &stored(&app, "retry.fruits")[0];
    assert_eq!([header(leaf, "ce-causationid"), header(leaf, "ce-correlationid")], [Some(seed.id.as_str()); 2]);
    assert_eq!([header(fruit, "ce-causationid"), header(fruit, "ce-correlationid")], [leaf.id(), Some(seed.id.as_str())]);
    for message in [leaf, fruit] {
        let says = ["ce-source", "ce-specversion", "content-type", "traceparent"].map(|name| header(message, name).unwrap());
        assert_eq!(says, ["retry", "1.0", "application/json", "00-trace"]);
    }
    assert_eq!(header(fruit, "ce-type"), Some("retry.fruits.v1"));
}

#[tokio::test(start_paused = true)]
async fn what_is_returned_and_not_answered_is_repeated_under_the_same_id_without_calling_the_handler_again() {
    for is_stored in [true, false] {
        let (app, calls) = start_growing(&["grow"]).await;
        app.inject(Fault::PublishUnknown { topic: "retry.leaves".into(), count: 2, stored: is_stored }).unwrap();
        app.publish(&Seed { number: 1 }).await.unwrap();
        app.settled().await;
        assert_eq!(calls.items(), [(1, 1)], "{}", app.story());
        let leaves = stored(&app, "retry.leaves");
        let ids: HashSet<_> = leaves.iter().map(|leaf| leaf.id().unwrap().to_owned()).collect();
        assert_eq!((leaves.len(), ids.len()), (if is_stored { 5 } else { 3 }, 3), "only what was not confirmed is repeated");
        assert_eq!(status(&app, "grow").await.handled, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn while_what_is_returned_is_not_confirmed_the_input_is_not_settled() {
    let (app, _) = start_growing(&["grow"]).await;
    app.inject(Fault::PublishRejected { topic: "retry.leaves".into(), count: 1, retryable: true }).unwrap();
    app.inject(Fault::PublishSlow { topic: "retry.leaves".into(), count: 1, by: Duration::from_secs(60) }).unwrap();
    app.publish(&Seed { number: 1 }).await.unwrap();
    app.advance(Duration::from_secs(50)).await;
    let during = status(&app, "grow").await;
    assert_eq!((during.in_flight, during.handled), (1, 0), "{}", app.story());
    app.settled().await;
    assert_eq!(status(&app, "grow").await.handled, 1);
    app.published::<Leaf>().assert_count(3);
}

#[tokio::test(start_paused = true)]
async fn a_second_attempt_publishes_under_the_ids_of_the_first() {
    let (app, calls) = start_growing(&["grow"]).await;
    app.inject(Fault::PublishSlow { topic: "retry.leaves".into(), count: 3, by: Duration::from_secs(5) }).unwrap();
    app.publish(&Seed { number: 1 }).await.unwrap();
    app.advance(ms(100)).await;
    app.inject(Fault::Cut { down: ms(100) }).unwrap(); // The leaves are stored; nobody will learn of it.
    app.settled().await;
    assert_eq!(calls.len(), 2, "{}", app.story());
    let ids: Vec<_> = stored(&app, "retry.leaves").iter().map(|leaf| leaf.id().unwrap().to_owned()).collect();
    assert_eq!((ids.len(), ids.iter().collect::<HashSet<_>>().len()), (6, 3), "{ids:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_returned_and_refused_for_good_makes_a_dead_letter_of_the_input() {
    let (app, calls) = start_growing(&["grow"]).await;
    app.inject(Fault::PublishRejected { topic: "retry.leaves".into(), count: 1, retryable: false }).unwrap();
    app.publish(&Seed { number: 1 }).await.unwrap();
    app.settled().await;
    let letters = app.dead_letters("grow");
    assert_eq!((calls.len(), letters.len()), (1, 1), "{}", app.story());
    assert!(header(&letters[0], "convoke-dead-error").unwrap().contains("refused"), "{:?}", letters[0]);
    assert_eq!(header(&letters[0], "convoke-dead-attempts"), Some("1"));
}
