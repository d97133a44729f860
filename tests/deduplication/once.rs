//! What comes again is not handled again, and what was not handled is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use convoke::layers::DedupLayer;
use convoke::prelude::*;
use convoke::{ClaimStore, Claimed, Holder};

use crate::support::{ms, status};
use crate::world::*;

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
