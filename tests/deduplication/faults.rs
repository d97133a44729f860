//! Stores that fail, processes that die, partitions that are lost.

use std::collections::BTreeMap;
use std::future::Future as _;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Waker};
use std::time::Duration;

use convoke::broker::Fault;
use convoke::prelude::*;
use convoke::{AppHandle, ClaimStore, Claimed, Holder, names};

use crate::support::{Seeded, header, ms, status, stored};
use crate::world::*;

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

/// Whatever is locked while the store is told, it is nothing that the user's code may ask for.
#[tokio::test(start_paused = true)]
async fn a_store_may_look_at_the_application_while_it_is_told() {
    let handle = Arc::new(OnceLock::<AppHandle>::new());
    let (of_store, looks) = (Arc::clone(&handle), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&looks);
    let store = Store::new(move |_, what| {
        if let Some(handle) = of_store.get().filter(|_| what == "commit") {
            let status = pin!(handle.status());
            assert!(status.poll(&mut Context::from_waker(Waker::noop())).is_ready());
            counted.fetch_add(1, SeqCst);
        }
        Way::Well
    });
    let (app, log) = start("work", store).await;
    handle.set(app.handle().clone()).unwrap();
    publish(&app, "k", 1, "ok").await;
    settled(&app).await;
    assert_eq!((log.calls.items(), looks.load(SeqCst)), (vec![(1, 1)], 1));
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
