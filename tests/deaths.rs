//! Deaths of the process at any moment, while the broker lives on: nothing is lost, and nobody dies for another.

mod support;

#[path = "support/jobs.rs"]
mod jobs;

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use convoke::memory::MemoryBroker;
use convoke::prelude::*;
use jobs::{Job, Log, clean, publish, settled, start, successor, up_to};
use support::{Seeded, header, ms, status};

/// A process: what is in it dies with it.
struct Process(tokio::runtime::Runtime);

impl Process {
    fn new() -> Self {
        Self(tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap())
    }

    fn run<T>(self, what: impl Future<Output = T>) -> T {
        self.0.block_on(what)
    }
}

#[test]
fn a_crash_loses_nothing_and_repeats_only_what_was_in_flight() {
    let url = "memory://deaths-crash";
    let _broker = MemoryBroker::named("deaths-crash");
    let first = Process::new().run(async {
        let (app, log) = start(url).await;
        publish(&app, (0..100).map(|i| Job::new(format!("k{i}"), i, 10))).await;
        app.advance(ms(55)).await;
        log
    });
    assert_eq!((first.done.len(), first.begun.len()), (20, 24), "it died with four in flight");
    Process::new().run(async {
        let (app, second) = successor(url).await;
        let done: HashSet<_> = first.done().into_iter().collect();
        let again: Vec<_> = second.done().into_iter().filter(|number| done.contains(number)).collect();
        assert_eq!(again, [] as [u64; 0], "what was settled is not repeated");
        assert_eq!(second.done.len(), 80, "{}", app.story());
        clean(app.drain().await);
    });
}

#[test]
fn what_was_in_flight_at_a_death_is_tried_alone_once() {
    let url = "memory://deaths-alone";
    let _broker = MemoryBroker::named("deaths-alone");
    let first = Process::new().run(async {
        let (app, log) = start(url).await;
        publish(&app, (0..8).map(|i| Job::new(format!("k{i}"), i, 100))).await;
        app.advance(ms(10)).await;
        log
    });
    assert_eq!(first.begun.len(), 4);
    Process::new().run(async {
        let (_, second) = successor(url).await;
        let mut times = second.begun.times();
        times.sort_unstable();
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= ms(100)), "one after the other: {times:?}");
        assert_eq!(second.done(), up_to(8));
    });
}

#[test]
fn a_message_that_kills_its_process_is_given_up_and_takes_no_others_with_it() {
    let url = "memory://deaths-bomb";
    let broker = MemoryBroker::named("deaths-bomb");
    let (mut deaths, mut done) = (0, HashSet::new());
    let letter = loop {
        let died = Process::new().run(async {
            let (app, log) = start(url).await;
            if deaths == 0 {
                publish(&app, (0..10).map(|i| Job::new(format!("k{i}"), i, 5))).await;
                publish(&app, [Job::new("bomb", 99, 0)]).await;
                publish(&app, (10..40).map(|i| Job::new(format!("k{}", i % 10), i, 5))).await;
            }
            let died = tokio::select! {
                () = log.ticking.notified() => true,
                () = settled(&app) => false,
            };
            done.extend(log.done());
            if deaths > 0 && died {
                assert_eq!(status(&app, "work").await.running, 1, "it is tried alone");
            }
            died
        });
        if !died {
            let letters = broker.messages("life.jobs.life.work.dead");
            assert_eq!(letters.len(), 1, "only the culprit");
            break letters.into_iter().next().unwrap();
        }
        deaths += 1;
        assert!(deaths < 10, "it never ends");
    };
    let says = ["reason", "key"].map(|name| header(&letter, &format!("convoke-dead-{name}")).unwrap());
    assert_eq!(says, ["too-many-deliveries", "bomb"]);
    assert_eq!(deaths, 4, "once among others, and three times alone");
    assert_eq!(done.len(), 40, "the innocents survive");
}

#[test]
fn a_message_that_waits_for_a_retry_is_not_blamed_for_the_deaths_meanwhile() {
    let url = "memory://deaths-waiting";
    let broker = MemoryBroker::named("deaths-waiting");
    for life in 0..8 {
        Process::new().run(async {
            let (app, log) = start(url).await;
            if life == 0 {
                publish(&app, [Job::new("fails once", 1, 0)]).await;
            }
            app.advance(Duration::from_secs(5)).await;
            assert_eq!(log.begun.len(), 1, "life {life}: its attempt failed, and is to be repeated after 10 s");
        });
    }
    Process::new().run(async {
        let (_, log) = successor(url).await;
        assert_eq!(log.done(), [1]);
    });
    assert!(broker.messages("life.jobs.life.work.dead").is_empty());
}

/// What was handled is at most repeated if it was in flight; keys stay in order by their first starts; nothing is lost.
#[test]
fn deaths_at_any_moment_lose_nothing_and_keep_the_order_of_keys() {
    for seed in 0..40 {
        let name = format!("deaths-random-{seed}");
        let url = format!("memory://{name}");
        let broker = MemoryBroker::named(&name);
        let mut seeded = Seeded(seed);
        let mut calls = Vec::new();
        let mut done = Vec::new();
        for life in 0..4 {
            let log = Process::new().run(async {
                let (app, log) = start(&url).await;
                if life == 0 {
                    let mut key =
                        || if seeded.below(12) == 0 { "fails once".to_owned() } else { format!("k{}", seeded.below(9)) };
                    let keys: Vec<_> = (0..80).map(|_| key()).collect();
                    publish(&app, (0..).zip(keys).map(|(i, key)| Job::new(key, i, 1 + mix(seed, i) % 30))).await;
                }
                app.advance(ms(seeded.below(200) + seeded.below(4) * 4000)).await;
                log
            });
            calls.extend(log.begun.items());
            done.extend(log.done());
        }
        Process::new().run(async {
            let (app, log) = successor(&url).await;
            calls.extend(log.begun.items());
            done.extend(log.done());
            clean(app.drain().await);
        });
        let dead = broker.messages("life.jobs.life.work.dead");
        assert!(dead.is_empty(), "seed {seed}: innocents are given up: {dead:#?}");
        assert!(done.len() <= 80 + 4 * 4, "seed {seed}: {} done, and four lives of four at a time", done.len());
        let all: HashSet<_> = done.into_iter().collect();
        assert_eq!(all.len(), 80, "seed {seed}");
        let (mut by_key, mut seen) = (BTreeMap::<_, Vec<_>>::new(), HashSet::new());
        for call in calls.iter().filter(|call| seen.insert(call.number)) {
            by_key.entry(&call.key).or_default().push(call.number);
        }
        assert!(by_key.values().all(|numbers| numbers.is_sorted()), "seed {seed}: {by_key:?}");
        assert!(calls.iter().all(|call| call.attempt <= 2), "seed {seed}: a death is not a failed attempt");
    }
}

fn mix(seed: u64, number: u64) -> u64 {
    support::mix(seed.wrapping_mul(1000) + number)
}

#[event(topic = "life.parcels", key = number)]
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
struct Parcel {
    number: u64,
}

#[handler(name = "load", batch(size = 8, wait = "5ms"))]
async fn load(parcels: Batch<Parcel>, State(log): State<Log>) {
    if parcels.iter().any(|parcel| parcel.number == 13) {
        log.ticking.notify_one();
        std::future::pending::<()>().await;
    }
    for parcel in parcels {
        log.done.note(jobs::Call { key: String::new(), number: parcel.number, attempt: 1, deliveries: 1 });
    }
}

#[test]
fn a_message_that_kills_its_batch_is_found_and_the_batch_survives() {
    let url = "memory://deaths-batch";
    let broker = MemoryBroker::named("deaths-batch");
    let (mut deaths, mut done) = (0, HashSet::new());
    loop {
        let died = Process::new().run(async {
            let log = Log::new();
            let app = TestApp::start_on(App::new("life").state(log.clone()).only(["load"]), url).await.unwrap();
            if deaths == 0 {
                let parcels: Vec<_> = (0..40).map(|number| Parcel { number }).collect();
                app.publisher().publish_all(&parcels).await.into_iter().for_each(|answer| drop(answer.unwrap()));
            }
            let died = tokio::select! {
                () = log.ticking.notified() => true,
                () = settled(&app) => false,
            };
            done.extend(log.done());
            died
        });
        if !died {
            break;
        }
        deaths += 1;
        assert!(deaths < 10, "it never ends");
    }
    let letters = broker.messages("life.parcels.life.load.dead");
    assert_eq!((letters.len(), letters[0].payload().as_ref()), (1, &br#"{"number":13}"#[..]));
    assert_eq!((deaths, done.len()), (4, 39));
}

/// In real time and on threads of its own, because two processes do not share a virtual clock.
#[test]
fn when_one_of_two_members_dies_the_other_does_its_work() {
    let url = "memory://deaths-member?lease=2s&revoke=500ms";
    let threads = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (doomed, other) = (threads(), threads());
    let (_app, first) = doomed.block_on(async {
        let (app, log) = start(url).await;
        publish(&app, (0..300).map(|i| Job::new(format!("k{}", i % 30), i, 5))).await;
        (app, log)
    });
    let (app, second) = other.block_on(start(url));
    std::thread::sleep(ms(100));
    doomed.shutdown_background();
    other.block_on(async {
        let within = Duration::from_secs(30);
        assert!(tokio::time::timeout(within, app.settled()).await.is_ok(), "{:#?}\n{}", app.status().await, app.story());
    });
    let done: HashSet<_> = [first.done(), second.done()].concat().into_iter().collect();
    assert_eq!(done.len(), 300);
    assert!(first.done.len() > 0 && second.done.len() > 0, "both had work");
    let repeated = first.done.len() + second.done.len() - 300;
    assert!(repeated <= 4, "{repeated} were repeated, and four were in flight");
}
