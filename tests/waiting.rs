//! Retries that wait in a place of the group, on brokers that cannot delay a message by themselves: tried in the guises of Kafka and
//! RabbitMQ.

mod support;

use std::time::Duration;

use convoke::broker::{Broker, Fault, Faults as _};
use convoke::memory::{Guise, MemoryBroker, Options};
use convoke::prelude::*;
use convoke::{Message, names};
use serde::{Deserialize, Serialize};
use support::{Journal, header, ms, own_headers, status};

#[event(topic = "waiting.jobs", key = key)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Job {
    key: String,
    number: u64,
    /// How many attempts fail.
    fails: u32,
}

fn job(number: u64, fails: u32) -> Job {
    Job { key: format!("k{}", number % 5), number, fails }
}

/// The handler, number, attempt, and the names of headers that begin with `convoke-`.
type Seen = Journal<(&'static str, u64, u32)>;

fn note(name: &'static str, job: &Job, meta: &Meta<'_>, seen: &Seen) -> Result<(), BoxError> {
    assert!(!meta.headers().iter().any(|(name, _)| name.starts_with("convoke-")), "a handler sees no header of ours");
    assert_eq!(meta.topic().as_str(), "waiting.jobs");
    seen.note((name, job.number, meta.attempt()));
    if meta.attempt() <= job.fails { Err(format!("attempt {}", meta.attempt()).into()) } else { Ok(()) }
}

#[handler(name = "pass", on_retry = pass, retry(attempts = 4, backoff = "10s..40s", jitter = 0))]
async fn pass(job: Job, meta: Meta<'_>, State(seen): State<Seen>) -> Result<(), BoxError> {
    note("pass", &job, &meta, &seen)
}

#[handler(name = "hold", retry(attempts = 4, backoff = "10s..10s", jitter = 0))]
async fn hold(job: Job, meta: Meta<'_>, State(seen): State<Seen>) -> Result<(), BoxError> {
    note("hold", &job, &meta, &seen)
}

const GUISES: [Guise; 3] = [Guise::Kafka, Guise::KafkaEager, Guise::RabbitMq];
const PLACES: [&str; 3] =
    ["waiting.jobs.waiting.pass.retry.5s", "waiting.jobs.waiting.pass.retry.20s", "waiting.jobs.waiting.pass.retry.80s"];

fn broker(guise: Guise) -> MemoryBroker {
    MemoryBroker::with(Options::default().partitions(2).guise(guise)).unwrap()
}

async fn start(broker: &MemoryBroker, seen: &Seen, handlers: &[&str]) -> AppHandle {
    let app = App::new("waiting").only(handlers.iter().copied()).state(seen.clone()).quiet();
    app.broker(std::sync::Arc::new(broker.another())).start().await.unwrap()
}

/// Everything is handled, within a time that is far longer than all delays.
async fn settled(app: &AppHandle) {
    let settled = tokio::time::timeout(Duration::from_secs(3600), app.settled()).await;
    assert!(settled.is_ok(), "something is stuck: {:?}", app.status().await);
}

/// The retries that ever waited, by place.
fn waited(broker: &MemoryBroker) -> [Vec<Message>; 3] {
    PLACES.map(|place| broker.messages(place))
}

#[tokio::test(start_paused = true)]
async fn a_long_retry_waits_in_its_groups_place_and_is_tried_when_it_is_due() {
    for guise in GUISES {
        let (broker, seen) = (broker(guise), Seen::new());
        let app = start(&broker, &seen, &["pass", "hold"]).await;
        app.publisher().publish(&job(1, 2)).id("mine").header("tenant", "acme").await.unwrap();
        tokio::time::sleep(ms(2000)).await;
        let [first, second, _] = waited(&broker);
        assert_eq!((first.len(), second.len()), (1, 0), "{guise:?}");
        let status = status(&app, "pass").await;
        assert_eq!((status.running, status.failed, status.dead), (0, 1, 0), "{guise:?}: {status:?}");
        settled(&app).await;
        let of_pass: Vec<_> = seen.all().into_iter().filter(|(_, (name, ..))| *name == "pass").collect();
        let attempts: Vec<_> = of_pass.iter().map(|(_, (_, _, attempt))| *attempt).collect();
        assert_eq!(attempts, [1, 2, 3], "{guise:?}");
        let gaps: Vec<Duration> = of_pass.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
        for (gap, delay) in gaps.iter().zip([10_000, 20_000]) {
            assert!(*gap >= ms(delay) && *gap < ms(delay + 100), "{guise:?}: {gaps:?}");
        }
        let [first, second, third] = waited(&broker);
        assert_eq!((first.len(), second.len(), third.len()), (1, 1, 0), "{guise:?}");
        for copy in [&first[0], &second[0]] {
            let original = &broker.messages("waiting.jobs")[0];
            assert_eq!((copy.key(), copy.payload(), copy.id()), (original.key(), original.payload(), Some("mine")));
            let kept: Vec<_> = own_headers(copy).into_iter().filter(|(name, _)| !name.starts_with(names::RETRY_PREFIX)).collect();
            assert_eq!(kept, own_headers(original), "{guise:?}");
        }
        assert_eq!(header(&second[0], names::RETRY_ATTEMPTS), Some("2"));
        assert_eq!(seen.items().iter().filter(|(name, ..)| *name == "hold").count(), 3, "it held its key, and saw nothing else");
        assert!(app.drain().await.clean);
    }
}

#[tokio::test(start_paused = true)]
async fn what_gives_up_after_it_has_waited_is_the_dead_letter_of_the_original() {
    for guise in GUISES {
        let (broker, seen) = (broker(guise), Seen::new());
        let app = start(&broker, &seen, &["pass"]).await;
        let receipt = app.publisher().publish(&job(1, 9)).header("tenant", "acme").await.unwrap();
        settled(&app).await;
        assert_eq!(seen.items(), [1, 2, 3, 4].map(|attempt| ("pass", 1, attempt)), "{guise:?}");
        let dead = broker.messages("waiting.jobs.waiting.pass.dead");
        assert_eq!(dead.len(), 1, "{guise:?}");
        let says = |name| header(&dead[0], name);
        assert_eq!(own_headers(&dead[0]), own_headers(&broker.messages("waiting.jobs")[0]), "{guise:?}");
        assert_eq!((says(names::DEAD_TOPIC), says(names::DEAD_ATTEMPTS)), (Some("waiting.jobs"), Some("4")));
        assert_eq!(says(names::DEAD_ERROR), Some("attempt 4"));
        if let Some((partition, position)) = receipt.stored {
            assert_eq!(says(names::DEAD_PARTITION), Some(&*partition.to_string()));
            assert_eq!(says(names::DEAD_OFFSET), Some(&*position.to_string()));
        }
        // 10 s, 20 s and 40 s before it died.
        let [first, died] = [names::DEAD_FIRST_FAILED_AT, names::DEAD_AT].map(|name| says(name).unwrap().to_owned());
        assert!(first <= died, "{first} {died}");
        assert!(app.drain().await.clean);
    }
}

#[tokio::test(start_paused = true)]
async fn over_a_restart_what_waits_keeps_its_attempts_and_what_is_left_of_its_delay() {
    for guise in GUISES {
        let (broker, seen) = (broker(guise), Seen::new());
        let app = start(&broker, &seen, &["pass"]).await;
        for number in 0..20 {
            app.publisher().publish(&job(number, 1)).await.unwrap();
        }
        tokio::time::sleep(ms(4000)).await;
        assert_eq!(seen.len(), 20);
        let drained = app.drain().await;
        assert!(drained.clean, "{guise:?}: {drained:?}");
        tokio::time::sleep(ms(3000)).await;
        let app = start(&broker, &seen, &["pass"]).await;
        settled(&app).await;
        assert_eq!(seen.len(), 40, "{guise:?}");
        for (at, (_, number, attempt)) in &seen.all()[20..] {
            assert_eq!(*attempt, 2, "{guise:?}: {number}");
            assert!(*at >= ms(10_000) && *at <= ms(10_100), "{guise:?}: {number} after {at:?}");
        }
        assert!(app.drain().await.clean);
    }
}

#[tokio::test(start_paused = true)]
async fn a_death_between_publish_and_settlement_repeats_and_never_loses() {
    for guise in GUISES {
        let (broker, seen) = (broker(guise), Seen::new());
        let app = start(&broker, &seen, &["pass"]).await;
        // The copies are there, and nobody confirms them in time.
        broker.inject(Fault::PublishSlow { topic: PLACES[0].into(), count: 100, by: Duration::from_secs(60) }).unwrap();
        for number in 0..10 {
            app.publisher().publish(&job(number, 1)).await.unwrap();
        }
        tokio::time::sleep(ms(1000)).await;
        // Five keys: what is behind one that is being sent to wait has not begun.
        assert_eq!((seen.len(), waited(&broker)[0].len()), (5, 5), "{guise:?}");
        app.crash().await;
        let app = start(&broker, &seen, &["pass"]).await;
        settled(&app).await;
        for number in 0..10 {
            let attempts: Vec<_> = seen.items().iter().filter(|(_, n, _)| *n == number).map(|(.., attempt)| *attempt).collect();
            // The original again, its copy, and the copy of the original's next failure at most.
            assert!(attempts.contains(&2) && attempts.len() <= 4, "{guise:?}: {number}: {attempts:?}");
        }
        assert!(app.drain().await.clean);
        assert!(broker.messages("waiting.jobs.waiting.pass.dead").is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_its_place_refuses_waits_in_the_process() {
    for guise in GUISES {
        let (broker, seen) = (broker(guise), Seen::new());
        let app = start(&broker, &seen, &["pass"]).await;
        broker.inject(Fault::PublishRejected { topic: PLACES[0].into(), count: 1, retryable: false }).unwrap();
        app.publisher().publish(&job(1, 1)).await.unwrap();
        settled(&app).await;
        assert_eq!(seen.items(), [("pass", 1, 1), ("pass", 1, 2)], "{guise:?}");
        let gap = seen.times()[1] - seen.times()[0];
        assert!(gap >= ms(10_000) && gap < ms(10_100), "{guise:?}: {gap:?}");
        assert!(waited(&broker)[0].is_empty());
        // Nor does one wait elsewhere that holds its key.
        assert_eq!(status(&app, "pass").await.dead, 0);
        assert!(app.drain().await.clean);
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_does_not_use_up_the_credit_of_what_can_be_done() {
    for guise in GUISES {
        let (broker, seen) = (broker(guise), Seen::new());
        let app = App::new("waiting").only(["pass"]).state(seen.clone()).in_flight(64, 1 << 20).quiet();
        let app = app.broker(std::sync::Arc::new(broker.another())).start().await.unwrap();
        let publish = async |range: std::ops::Range<u64>, fails| {
            let jobs: Vec<_> = range.map(|number| job(number, fails)).collect();
            for answer in app.publisher().publish_all(&jobs).await {
                answer.unwrap();
            }
        };
        publish(0..1000, 1).await;
        tokio::time::sleep(ms(3000)).await;
        assert_eq!((seen.len(), waited(&broker)[0].len()), (1000, 1000), "{guise:?}");
        let held = status(&app, "pass").await.in_flight;
        assert!((1..=16).contains(&held), "{guise:?}: a quarter of the credit at most: {held}");
        publish(1000..2000, 0).await;
        tokio::time::sleep(ms(3000)).await;
        assert_eq!(seen.len(), 2000, "{guise:?}: others go on meanwhile");
        settled(&app).await;
        assert_eq!(seen.len(), 3000, "{guise:?}");
        let late = seen.all().iter().filter(|(at, (.., attempt))| *attempt == 2 && *at > ms(14_000)).count();
        assert_eq!(late, 0, "{guise:?}: all were tried when they were due");
        assert!(app.drain().await.clean);
    }
}

#[tokio::test(start_paused = true)]
async fn what_comes_back_from_its_place_repays_all_the_bytes_that_it_cost() {
    for guise in GUISES {
        let (broker, seen) = (broker(guise), Seen::new());
        let app = App::new("waiting").only(["pass"]).state(seen.clone()).in_flight(64, 1 << 16).quiet();
        let app = app.broker(std::sync::Arc::new(broker.another())).start().await.unwrap();
        // What is written into the headers of a retry is some hundred bytes: a thousand of them are more than the credit.
        let jobs: Vec<_> = (0..1000).map(|number| job(number, 1)).collect();
        for answer in app.publisher().publish_all(&jobs).await {
            answer.unwrap();
        }
        settled(&app).await;
        assert_eq!(seen.len(), 2000, "{guise:?}");
        assert!(app.drain().await.clean);
    }
}

#[tokio::test(start_paused = true)]
async fn where_the_broker_delays_by_itself_there_are_no_such_places() {
    for guise in [None, Some(Guise::Nats), Some(Guise::Redis)] {
        let options = guise.into_iter().fold(Options::default(), Options::guise);
        let (broker, seen) = (MemoryBroker::with(options).unwrap(), Seen::new());
        let app = start(&broker, &seen, &["pass", "hold"]).await;
        let topics = broker.topics().await.unwrap();
        assert!(topics.iter().any(|(topic, _)| topic.as_str() == "waiting.jobs.waiting.pass.retry"), "{topics:?}");
        assert!(
            !topics.iter().any(|(topic, _)| topic.as_str().ends_with('s') && topic.as_str().contains(".retry.")),
            "{topics:?}"
        );
        assert!(app.drain().await.clean);
    }
}
