//! Order within a key, and independence of everything else, whatever is slow, fails, or is steered meanwhile.

mod support;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use convoke::broker::Fault;
use convoke::prelude::*;
use serde::{Deserialize, Serialize};
use support::{Journal, Seeded, header, mix, ms, status};

#[event(topic = "order.steps", key = key)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Step {
    key: String,
    number: u64,
}

impl Step {
    fn new(key: impl Into<String>, number: u64) -> Self {
        Self { key: key.into(), number }
    }
}

/// What the handlers do and have done.
#[derive(Clone)]
struct World {
    seed: u64,
    /// Key and number of each call that began.
    begun: Journal<(String, u64)>,
    /// Key and number of each call that succeeded.
    done: Journal<(String, u64)>,
    /// The numbers of each batch.
    batches: Journal<Vec<(String, u64)>>,
    running: Arc<Mutex<HashMap<String, u32>>>,
}

/// Marks a key as busy for as long as it lives.
struct Busy<'w>(&'w World, String);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        let mut running = self.0.running.lock().unwrap_or_else(PoisonError::into_inner);
        *running.entry(self.1.clone()).or_default() -= 1;
    }
}

impl World {
    fn new(seed: u64) -> Self {
        Self { seed, begun: Journal::new(), done: Journal::new(), batches: Journal::new(), running: Arc::default() }
    }

    /// No two of a key at the same time.
    fn busy(&self, key: &str) -> Busy<'_> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let now = running.entry(key.to_owned()).or_default();
        *now += 1;
        if *now > 1 {
            drop(running);
            self.batches.note(vec![("OVERLAP".to_owned(), 0)]);
        }
        Busy(self, key.to_owned())
    }

    #[track_caller]
    fn no_overlap(&self) {
        assert!(!self.batches.items().iter().any(|batch| batch[0].0 == "OVERLAP"), "seed {}: two of a key at once", self.seed);
    }

    /// What began, by key, each number at its first time.
    fn first_starts(&self) -> BTreeMap<String, Vec<u64>> {
        let mut seen = HashSet::new();
        let mut by_key = BTreeMap::<String, Vec<u64>>::new();
        for (key, number) in self.begun.items() {
            if seen.insert(number) {
                by_key.entry(key).or_default().push(number);
            }
        }
        by_key
    }

    fn done_numbers(&self) -> Vec<u64> {
        let mut numbers: Vec<_> = self.done.items().into_iter().map(|one| one.1).collect();
        numbers.sort_unstable();
        numbers
    }
}

/// Takes a random time, and fails at random, depending on the seed, the number and the attempt alone.
#[handler(name = "walk", retry(attempts = 50, backoff = "10ms..100ms"))]
async fn walk(step: Step, meta: Meta<'_>, State(world): State<World>) -> Result<(), BoxError> {
    world.begun.note((step.key.clone(), step.number));
    let _busy = world.busy(&step.key);
    let chance = mix(world.seed ^ mix(step.number * 64 + u64::from(meta.attempt())));
    tokio::time::sleep(ms(chance % 40)).await;
    if chance >> 32 & 7 == 0 {
        return Err("it stumbled".into());
    }
    world.done.note((step.key.clone(), step.number));
    Ok(())
}

fn seeds() -> u64 {
    std::env::var("CONVOKE_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(24)
}

async fn start(handlers: &[&str], seed: u64) -> (TestApp, World) {
    let world = World::new(seed);
    let app = App::new("order").state(world.clone()).only(handlers.iter().copied());
    (TestApp::start(app).await.unwrap(), world)
}

async fn settled(app: &TestApp, what: &str) {
    if tokio::time::timeout(Duration::from_secs(3600), app.settled()).await.is_err() {
        panic!("{what} hangs: {:#?}\n{}", app.status().await, app.story());
    }
}

async fn publish(app: &TestApp, steps: impl IntoIterator<Item = Step>) {
    let steps: Vec<_> = steps.into_iter().collect();
    app.publisher().publish_all(&steps).await.into_iter().for_each(|answer| drop(answer.unwrap()));
}

#[tokio::test(start_paused = true)]
async fn a_key_is_in_order_and_never_beside_itself_whatever_fails_and_however_long_it_takes() {
    for seed in 0..seeds() {
        let (app, world) = start(&["walk"], seed).await;
        let mut seeded = Seeded(seed);
        app.resize("walk", 1 + seeded.below(32) as u32).unwrap();
        let steps = (0..150).map(|number| Step::new(format!("k{}", seeded.below(8)), number)).collect::<Vec<_>>();
        publish(&app, steps).await;
        settled(&app, &format!("seed {seed}")).await;
        world.no_overlap();
        assert_eq!(world.done_numbers(), (0..150).collect::<Vec<_>>(), "seed {seed}: each succeeds once");
        // Held keys: not even a retry is overtaken.
        for (key, numbers) in world.begun.items().into_iter().fold(BTreeMap::<_, Vec<_>>::new(), |mut by_key, (key, number)| {
            by_key.entry(key).or_default().push(number);
            by_key
        }) {
            assert!(numbers.is_sorted(), "seed {seed}, key {key}: {numbers:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_is_in_order_under_revocations_cuts_repeats_and_lost_settlements() {
    for seed in 0..seeds() {
        let (app, world) = start(&["walk"], seed).await;
        let mut seeded = Seeded(seed ^ 0xfa17);
        publish(&app, (0..150).map(|number| Step::new(format!("k{}", number % 7), number))).await;
        for _ in 0..8 {
            app.advance(ms(seeded.below(60))).await;
            let (group, topic) = ("order.walk".to_owned(), "order.steps".into());
            let fault = match seeded.below(5) {
                0 => Fault::Cut { down: ms(seeded.below(300)) },
                1 => Fault::Revoke { group, topic, within: Some(ms(seeded.below(3000))) },
                2 => Fault::Revoke { group, topic, within: None },
                3 => Fault::SettleLost { group, count: 5 },
                _ => Fault::Repeat { group, count: 5 },
            };
            app.inject(fault).unwrap();
        }
        settled(&app, &format!("seed {seed}")).await;
        world.no_overlap();
        let done: HashSet<_> = world.done_numbers().into_iter().collect();
        assert_eq!(done.len(), 150, "seed {seed}: nothing is lost");
        for (key, numbers) in world.first_starts() {
            assert!(numbers.is_sorted(), "seed {seed}, key {key}: {numbers:?}\n{}", app.story());
        }
        assert!(app.drain().await.clean, "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn pausing_resuming_and_resizing_lose_and_repeat_nothing() {
    for seed in 0..seeds() {
        let (app, world) = start(&["walk"], seed).await;
        let mut seeded = Seeded(seed ^ 0x5e7);
        publish(&app, (0..150).map(|number| Step::new(format!("k{}", number % 20), number))).await;
        for _ in 0..10 {
            app.advance(ms(seeded.below(30))).await;
            match seeded.below(3) {
                0 => app.pause("walk").unwrap(),
                1 => app.resume("walk").unwrap(),
                _ => app.resize("walk", 1 + seeded.below(20) as u32).unwrap(),
            }
        }
        app.pause("walk").unwrap();
        app.advance(ms(50)).await; // What runs goes on.
        let begun = world.begun.len();
        assert!(status(&app, "walk").await.paused);
        app.advance(Duration::from_secs(100)).await;
        assert_eq!(world.begun.len(), begun, "seed {seed}: nothing starts while it is paused");
        app.resume("walk").unwrap();
        settled(&app, &format!("seed {seed}")).await;
        assert_eq!(world.done_numbers(), (0..150).collect::<Vec<_>>(), "seed {seed}");
        world.no_overlap();
    }
}

/// Takes as many milliseconds as its number.
#[handler(name = "wait", concurrency = 4)]
async fn wait(step: Step, State(world): State<World>) {
    tokio::time::sleep(ms(step.number)).await;
    world.done.note((step.key, step.number));
}

#[handler(name = "quick", concurrency = 4)]
async fn quick(step: Step, State(world): State<World>) {
    world.done.note((format!("quick {}", step.key), step.number));
}

#[tokio::test(start_paused = true)]
async fn a_slow_key_holds_up_nobody_but_itself() {
    let (app, world) = start(&["wait"], 0).await;
    publish(&app, (0..20).map(|i| Step::new("slow", 10_000 + i))).await;
    publish(&app, (0..100).map(|i| Step::new(format!("k{i}"), 1))).await;
    app.advance(ms(200)).await;
    assert_eq!(world.done.len(), 100, "one of four places is taken");
    settled(&app, "the slow key").await;
    let slow: Vec<_> = world.done.items().into_iter().filter(|one| one.0 == "slow").map(|one| one.1).collect();
    assert_eq!(slow, (10_000..10_020).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_slow_handler_holds_up_no_other_handler() {
    let (app, world) = start(&["wait", "quick"], 0).await;
    // More than the slow one may have in flight.
    publish(&app, (0..1000).map(|i| Step::new(format!("k{i}"), 3_600_000))).await;
    app.advance(ms(100)).await;
    assert_eq!((world.done.len(), status(&app, "wait").await.running), (1000, 4));
}

#[event(topic = "order.doors", name = "order.opened", key = door)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Opened {
    door: u64,
}

#[event(topic = "order.doors", name = "order.closed", key = door)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Closed {
    door: u64,
}

#[handler(name = "open", group = "doors", concurrency = 2)]
async fn open(_event: Opened) {
    tokio::time::sleep(Duration::from_secs(3600)).await;
}

#[handler(name = "close", group = "doors")]
async fn close(event: Closed, State(world): State<World>) {
    world.done.note(("closed".to_owned(), event.door));
}

#[tokio::test(start_paused = true)]
async fn handlers_of_one_topic_and_group_do_not_hold_each_other_up() {
    let (app, world) = start(&["open", "close"], 0).await;
    for door in 0..50 {
        app.publish(&Opened { door }).await.unwrap();
        app.publish(&Closed { door: 1000 + door }).await.unwrap();
    }
    app.advance(ms(100)).await;
    assert_eq!(world.done.len(), 50, "{:#?}", app.status().await);
}

#[event(topic = "order.lane.begun", key = order)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Begun {
    order: u64,
}

#[event(topic = "order.lane.ended", key = order)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Ended {
    order: u64,
}

#[handler(name = "begin", group = "lane", lane = "order")]
async fn begin(event: Begun, State(world): State<World>) {
    let key = format!("order {}", event.order);
    let _busy = world.busy(&key);
    tokio::time::sleep(ms(1000)).await;
    world.done.note(("begun".to_owned(), event.order));
}

#[handler(name = "end", group = "lane", lane = "order")]
async fn end(event: Ended, State(world): State<World>) {
    let key = format!("order {}", event.order);
    let _busy = world.busy(&key);
    tokio::time::sleep(ms(10)).await;
    world.done.note(("ended".to_owned(), event.order));
}

#[tokio::test(start_paused = true)]
async fn a_lane_keeps_the_order_of_a_key_across_topics() {
    let (app, world) = start(&["begin", "end"], 0).await;
    app.publish(&Begun { order: 1 }).await.unwrap();
    app.advance(ms(5)).await;
    app.publish(&Ended { order: 1 }).await.unwrap();
    app.publish(&Ended { order: 2 }).await.unwrap();
    app.advance(ms(500)).await;
    assert_eq!(world.done.items(), [("ended".to_owned(), 2)], "another key does not wait");
    for order in 3..40 {
        app.publish(&Begun { order }).await.unwrap();
        app.publish(&Ended { order }).await.unwrap();
    }
    settled(&app, "the lane").await;
    assert_eq!(world.done.items()[1], ("begun".to_owned(), 1), "{}", app.story());
    world.no_overlap();
    assert_eq!(world.done.len(), 3 + 37 * 2);
}

#[handler(name = "collect", batch(size = 10, wait = "500ms"), retry(attempts = 3, backoff = "100ms..100ms", jitter = 0))]
async fn collect(steps: Batch<Step>, State(world): State<World>) -> BatchReply {
    let keys: HashSet<_> = steps.iter().map(|step| step.key.clone()).collect();
    let _busy: Vec<_> = keys.iter().map(|key| world.busy(key)).collect();
    world.batches.note(steps.iter().map(|step| (step.key.clone(), step.number)).collect());
    tokio::time::sleep(ms(20)).await;
    let mut reply = BatchReply::new();
    for item in steps.items() {
        let Step { key, number } = &item.event;
        world.begun.note((key.clone(), *number));
        match (key.as_str(), item.delivered.attempt) {
            ("fails once", 1) | ("fails", _) if number % 10 == 5 => reply.fail(item.index, "five is right out"),
            ("drops", _) => reply.set(item.index, convoke::Outcome::Drop),
            _ => world.done.note((key.clone(), *number)),
        }
    }
    reply
}

/// Keys stand together, in order, and never in two batches at the same time.
#[track_caller]
fn contiguous(world: &World) {
    world.no_overlap();
    for batch in world.batches.items() {
        let mut keys: Vec<_> = batch.iter().map(|one| &one.0).collect();
        keys.dedup();
        assert_eq!(keys.len(), keys.iter().collect::<HashSet<_>>().len(), "keys are scattered: {batch:?}");
    }
    for (key, numbers) in world.first_starts() {
        assert!(numbers.is_sorted(), "{key}: {numbers:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_full_or_has_waited() {
    let (app, world) = start(&["collect"], 0).await;
    publish(&app, (0..25).map(|number| Step::new(format!("k{number}"), number))).await;
    settled(&app, "the batches").await;
    let shapes: Vec<_> = world.batches.all().iter().map(|(at, batch)| (*at, batch.len())).collect();
    let [(a, 10), (b, 10), (c, 5)] = shapes[..] else { panic!("{shapes:?}") };
    assert!(a < ms(50) && b < ms(50) && c >= ms(500) && c < ms(550), "{shapes:?}");
}

#[tokio::test(start_paused = true)]
async fn batches_are_contiguous_per_key_and_lock_their_keys() {
    for seed in 0..seeds() {
        let (app, world) = start(&["collect"], seed).await;
        let mut seeded = Seeded(seed);
        let steps: Vec<_> = (0..200).map(|number| Step::new(format!("k{}", seeded.below(6)), number)).collect();
        publish(&app, steps).await;
        settled(&app, "the batches").await;
        contiguous(&world);
        assert_eq!(world.done_numbers(), (0..200).collect::<Vec<_>>());
    }
}

#[tokio::test(start_paused = true)]
async fn each_message_of_a_batch_has_its_own_verdict_and_later_ones_of_its_key_follow_it() {
    let (app, world) = start(&["collect"], 0).await;
    publish(&app, (1..8).map(|number| Step::new("fails once", number))).await;
    publish(&app, (11..13).map(|number| Step::new("drops", number))).await;
    publish(&app, [Step::new("other", 21)]).await;
    settled(&app, "the batch").await;
    contiguous(&world);
    let of = |key: &str| world.begun.items().into_iter().filter(|one| one.0 == key).map(|one| one.1).collect::<Vec<_>>();
    assert_eq!(of("fails once"), [1, 2, 3, 4, 5, 6, 7, 5, 6, 7], "{}", app.story());
    assert_eq!((of("drops"), of("other")), (vec![11, 12], vec![21]), "others are not repeated");
    let status = status(&app, "collect").await;
    assert_eq!((status.handled, status.dropped, status.failed, status.dead), (8, 2, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn one_message_of_a_batch_that_never_succeeds_dies_alone() {
    let (app, world) = start(&["collect"], 0).await;
    publish(&app, (1..8).map(|number| Step::new("fails", number))).await;
    settled(&app, "the batch").await;
    let letters = app.dead_letters("collect");
    assert_eq!(letters.len(), 1, "{}", app.story());
    assert_eq!(letters[0].payload(), r#"{"key":"fails","number":5}"#);
    let says = ["reason", "error", "attempts"].map(|name| header(&letters[0], &format!("convoke-dead-{name}")).unwrap());
    assert_eq!(says, ["handler-error", "five is right out", "3"]);
    let mut done = world.done_numbers();
    done.dedup();
    assert_eq!(done, [1, 2, 3, 4, 6, 7]);
}

#[tokio::test(start_paused = true)]
async fn a_message_of_a_batch_that_does_not_decode_dies_alone_and_at_once() {
    let (app, world) = start(&["collect"], 0).await;
    publish(&app, [Step::new("k", 1), Step::new("k", 2)]).await;
    app.publish_message(convoke::Message::builder("order.steps").key("k").payload("{broken").build()).await.unwrap();
    publish(&app, [Step::new("k", 4)]).await;
    settled(&app, "the batch").await;
    assert_eq!(world.done_numbers(), [1, 2, 4], "{}", app.story());
    assert_eq!(world.batches.items(), [[1, 2, 4].map(|number| ("k".to_owned(), number))]);
    let letters = app.dead_letters("collect");
    let says = ["reason", "attempts"].map(|name| header(&letters[0], &format!("convoke-dead-{name}")).unwrap());
    assert_eq!((letters.len(), letters[0].payload().as_ref(), says), (1, &b"{broken"[..], ["undecodable", "0"]));
}

#[event(topic = "order.echoes", key = self.0)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Echo(u64);

#[handler(name = "echo", batch(size = 5, wait = "10ms"), retry(attempts = 2, backoff = "50ms..50ms"), timeout = "1s")]
async fn echo(steps: Batch<Step>, State(world): State<World>) -> Result<Vec<Echo>, BoxError> {
    world.batches.note(steps.iter().map(|step| (step.key.clone(), step.number)).collect());
    if steps.iter().any(|step| step.key == "hangs") {
        tokio::time::sleep(ms(5000)).await;
    }
    Ok(steps.iter().map(|step| Echo(step.number)).collect())
}

#[tokio::test(start_paused = true)]
async fn what_a_batch_returns_is_confirmed_before_any_of_it_is_settled() {
    let (app, world) = start(&["echo"], 0).await;
    app.inject(Fault::PublishUnknown { topic: "order.echoes".into(), count: 3, stored: false }).unwrap();
    publish(&app, (0..5).map(|number| Step::new(format!("k{number}"), number))).await;
    app.advance(ms(20)).await;
    assert_eq!(status(&app, "echo").await.in_flight, 5);
    settled(&app, "the echoes").await;
    assert_eq!((world.batches.len(), app.published::<Echo>().len()), (1, 5), "{}", app.story());
}

#[tokio::test(start_paused = true)]
async fn a_batch_whose_events_are_refused_or_whose_time_is_over_dies_with_every_letter_saying_why() {
    for (key, reason, says) in [("fine", "handler-error", "refused"), ("hangs", "timeout", "its timeout of 1s")] {
        let (app, _) = start(&["echo"], 0).await;
        app.inject(Fault::PublishRejected { topic: "order.echoes".into(), count: 1, retryable: false }).unwrap();
        publish(&app, (0..3).map(|number| Step::new(key, number))).await;
        settled(&app, key).await;
        let letters = app.dead_letters("echo");
        assert_eq!(letters.len(), 3, "{}", app.story());
        for letter in &letters {
            assert_eq!(header(letter, "convoke-dead-reason"), Some(reason));
            assert!(header(letter, "convoke-dead-error").is_some_and(|error| error.contains(says)), "{letter:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn batches_keep_the_order_of_keys_under_faults_pauses_and_resizes() {
    for seed in 0..seeds() {
        let (app, world) = start(&["collect"], seed).await;
        let mut seeded = Seeded(seed ^ 0xba7c);
        publish(&app, (0..200).map(|number| Step::new(format!("k{}", number % 9), number))).await;
        for _ in 0..10 {
            app.advance(ms(seeded.below(40))).await;
            let (group, topic) = ("order.collect".to_owned(), "order.steps".into());
            match seeded.below(7) {
                0 => app.inject(Fault::Cut { down: ms(seeded.below(200)) }).unwrap(),
                1 => app.inject(Fault::Revoke { group, topic, within: Some(ms(seeded.below(100))) }).unwrap(),
                2 => app.inject(Fault::Revoke { group, topic, within: None }).unwrap(),
                3 => app.inject(Fault::SettleLost { group, count: 15 }).unwrap(),
                4 => app.pause("collect").unwrap(),
                5 => app.resume("collect").unwrap(),
                _ => app.resize("collect", 1 + seeded.below(4) as u32).unwrap(),
            }
        }
        app.resume("collect").unwrap();
        settled(&app, &format!("seed {seed}")).await;
        contiguous(&world);
        let done: HashSet<_> = world.done_numbers().into_iter().collect();
        assert_eq!(done.len(), 200, "seed {seed}: nothing is lost");
    }
}

/// Goes to another thread and back, several times.
#[handler(name = "hop", concurrency = 64)]
async fn hop(step: Step, State(world): State<World>) -> Result<(), BoxError> {
    let _busy = world.busy(&step.key);
    for _ in 0..step.number % 4 {
        tokio::task::yield_now().await;
        tokio::spawn(tokio::task::yield_now()).await?;
    }
    if step.number.is_multiple_of(100) {
        tokio::time::sleep(ms(1)).await;
    }
    world.done.note((step.key.clone(), step.number));
    Ok(())
}

/// In real time: what is tested is that no wake-up from another thread is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn handlers_that_are_woken_from_other_threads_are_all_finished() {
    let (app, world) = start(&["hop"], 0).await;
    for chunk in 0..20 {
        publish(&app, (chunk * 500..(chunk + 1) * 500).map(|number| Step::new(format!("k{}", number % 97), number))).await;
    }
    assert!(tokio::time::timeout(Duration::from_secs(60), app.settled()).await.is_ok(), "{:#?}", app.status().await);
    world.no_overlap();
    assert_eq!(world.done_numbers(), (0..10_000).collect::<Vec<_>>());
    for key in 0..97 {
        let numbers: Vec<_> = world.done.items().into_iter().filter(|one| one.0 == format!("k{key}")).map(|one| one.1).collect();
        assert!(numbers.is_sorted(), "k{key}: {numbers:?}");
    }
}
