//! Beginnings and ends: drains, aborts, signals, cuts, members that come and go.
#![allow(clippy::print_stdout, reason = "a child process speaks to its parent by it")]

mod support;

#[path = "support/jobs.rs"]
mod jobs;

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use convoke::ErrorKind;
use convoke::broker::{Fault, Health};
use convoke::memory::MemoryBroker;
use convoke::prelude::*;
use jobs::{Job, Log, clean, publish, settled, start, start_with, successor, up_to};
use support::{Seeded, ms, status};
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn a_drain_finishes_what_runs_and_gives_back_the_rest() {
    let url = "memory://life-drain";
    let _broker = MemoryBroker::named("life-drain");
    let (app, first) = start(url).await;
    publish(&app, (0..20).map(|number| Job::new(format!("k{}", number % 5), number, 1000))).await;
    app.advance(ms(1500)).await;
    let report = app.drain().await;
    clean(report);
    assert!(report.took >= ms(499) && report.took < ms(600), "it waits for what runs and for nothing else: {report:?}");
    assert_eq!((first.done.len(), first.begun.len()), (8, 8), "two rounds of four");
    let (_, second) = successor(url).await;
    let mut all = [first.done(), second.done()].concat();
    all.sort_unstable();
    assert_eq!(all, up_to(20), "exactly the rest");
    for key in ["k0", "k1", "k2", "k3", "k4"] {
        let calls = [first.done.items(), second.done.items()].concat();
        let numbers: Vec<_> = calls.iter().filter(|call| call.key == key).map(|call| call.number).collect();
        assert!(numbers.is_sorted(), "{key}: {numbers:?}");
    }
    assert!(second.done.items().iter().all(|call| call.attempt == 1));
}

#[tokio::test(start_paused = true)]
async fn a_drain_gives_back_a_waiting_retry_with_its_attempt_and_the_rest_of_its_delay() {
    let url = "memory://life-delay";
    let _broker = MemoryBroker::named("life-delay");
    let (app, first) = start(url).await;
    publish(&app, [Job::new("fails once", 1, 0), Job::new("fails once", 2, 0)]).await;
    app.advance(Duration::from_secs(3)).await;
    clean(app.drain().await);
    let (app, second) = successor(url).await;
    let calls: Vec<_> = second.begun.items().iter().map(|call| (call.number, call.attempt)).collect();
    assert_eq!(calls, [(1, 2), (2, 1), (2, 2)], "the key is still held\n{}", app.story());
    let waited = second.begun.moments()[0].0 - first.begun.moments()[0].0;
    assert!(waited >= ms(9_999) && waited < ms(10_100), "not before its time, and not long after: {waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_takes_too_long_cancels_and_what_was_cancelled_is_delivered_again() {
    let url = "memory://life-deadline";
    let _broker = MemoryBroker::named("life-deadline");
    let (app, first) = start_with(url, &["work"], |app| app.drain_within(ms(2000))).await;
    publish(&app, [Job::new("a", 0, 1000), Job::new("b", 1, 60_000), Job::new("b", 2, 10)]).await;
    app.advance(ms(10)).await;
    let report = app.drain().await;
    assert_eq!((report.clean, report.cancelled, report.unsettled), (false, 1, 0), "{report:?}");
    assert!(report.took >= ms(1990) && report.took < ms(2100), "{report:?}");
    assert_eq!(first.done(), [0]);
    let (_, second) = successor(url).await;
    let calls: Vec<_> = second.done.items().iter().map(|call| (call.number, call.attempt)).collect();
    assert_eq!(calls, [(1, 1), (2, 1)], "a cancelled attempt is not a failed one");
}

#[tokio::test(start_paused = true)]
async fn a_clean_stop_at_any_moment_repeats_nothing_and_loses_nothing() {
    for seed in 0..40 {
        let name = format!("life-clean-{seed}");
        let url = format!("memory://{name}");
        let _broker = MemoryBroker::named(&name);
        let mut seeded = Seeded(seed);
        let mut key = || match seeded.below(10) {
            9 => "fails once".to_owned(),
            other => format!("k{other}"),
        };
        let keys: Vec<_> = (0..60).map(|_| key()).collect();
        let jobs: Vec<_> = (0..).zip(keys).map(|(i, key)| Job::new(key, i, seeded.below(40))).collect();
        let mut calls = Vec::new();
        let (app, log) = start(&url).await;
        publish(&app, jobs).await;
        app.advance(ms(seeded.below(150))).await;
        clean(app.drain().await);
        calls.extend(log.begun.items());
        for _ in 0..2 {
            let (app, log) = start(&url).await;
            app.advance(ms(seeded.below(150) + seeded.below(3) * 5000)).await;
            clean(app.drain().await);
            calls.extend(log.begun.items());
        }
        let (_, log) = successor(&url).await;
        calls.extend(log.begun.items());
        let mut attempts: Vec<_> = calls.iter().map(|call| (call.number, call.attempt)).collect();
        attempts.sort_unstable();
        let count = attempts.len();
        attempts.dedup();
        assert_eq!(attempts.len(), count, "seed {seed}: an attempt was repeated");
        let mut numbers: Vec<_> =
            calls.iter().filter(|call| call.key != "fails once" || call.attempt == 2).map(|call| call.number).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, up_to(60), "seed {seed}: each succeeds once, with as many attempts as it needs");
        let mut by_key = BTreeMap::<_, Vec<_>>::new();
        calls.iter().for_each(|call| by_key.entry(&call.key).or_default().push(call.number));
        assert!(by_key.values().all(|numbers| numbers.is_sorted()), "seed {seed}: {by_key:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_abort_ends_at_once_and_what_ran_is_delivered_again() {
    let url = "memory://life-abort";
    let _broker = MemoryBroker::named("life-abort");
    let (app, first) = start(url).await;
    publish(&app, (0..8).map(|number| Job::new(number.to_string(), number, 10_000))).await;
    app.advance(ms(10)).await;
    let begun = Instant::now();
    app.abort();
    let report = app.drain().await;
    assert!(!report.clean && report.cancelled == 4 && begun.elapsed() < ms(100), "{report:?}");
    assert_eq!((first.begun.len(), first.done.len()), (4, 0));
    let (_, second) = successor(url).await;
    assert_eq!(second.done(), up_to(8));
    assert!(second.done.items().iter().all(|call| call.attempt == 1));
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_what_was_accepted_for_publishing() {
    let (app, _) = start("memory://life-flush").await;
    app.inject(Fault::PublishSlow { topic: "life.jobs".into(), count: 1, by: ms(5000) }).unwrap();
    let publisher = app.publisher().clone();
    let publishing = tokio::spawn(async move { publisher.publish(&Job::new("k", 1, 0)).await.map(drop) });
    app.advance(ms(10)).await;
    let report = app.drain().await;
    clean(report);
    assert!(report.took >= ms(4900), "{report:?}");
    publishing.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_a_drain_gives_back_is_not_handed_out_to_it_again_and_again() {
    let url = "memory://life-storm";
    let _broker = MemoryBroker::named("life-storm");
    let (app, _) = start(url).await;
    publish(&app, (0..20).map(|number| Job::new("k", number, 10_000))).await;
    app.advance(ms(10)).await;
    clean(app.drain().await);
    let (_, second) = successor(url).await;
    let most = second.begun.items().iter().map(|call| call.deliveries).max();
    assert!(most <= Some(3), "one was delivered {most:?} times");
}

#[tokio::test(start_paused = true)]
async fn a_drain_gives_back_what_can_neither_be_handled_nor_dead_lettered() {
    let url = "memory://life-undead";
    let _broker = MemoryBroker::named("life-undead");
    let (app, _) = start_with(url, &["work"], |app| app.drain_within(ms(2000))).await;
    // As long as the drain lasts: the backoff of repeated publishes allows no more.
    app.inject(Fault::PublishRejected { topic: "life.jobs.life.work.dead".into(), count: 10, retryable: true }).unwrap();
    app.publish_message(convoke::Message::builder("life.jobs").key("k").payload("?").build()).await.unwrap();
    publish(&app, [Job::new("k", 1, 0)]).await;
    app.advance(ms(500)).await;
    let report = app.drain().await;
    assert!(report.took <= ms(2100), "{report:?}");
    let (app, second) = start(url).await;
    settled(&app).await;
    assert_eq!((second.done(), app.dead_letters("work").len()), (vec![1], 1), "{}", app.story());
}

#[tokio::test(start_paused = true)]
async fn a_drain_of_a_paused_or_unavailable_handler_gives_everything_back() {
    for unavailable in [false, true] {
        let name = format!("life-paused-{unavailable}");
        let url = format!("memory://{name}");
        let _broker = MemoryBroker::named(&name);
        let (app, first) = start(&url).await;
        if unavailable {
            publish(&app, (0..10).map(|i| Job::new("down at first", i, 0))).await;
        } else {
            app.pause("work").unwrap();
            publish(&app, (0..10).map(|i| Job::new("k", i, 0))).await;
        }
        app.advance(ms(10)).await;
        assert_eq!(status(&app, "work").await.suspended, unavailable);
        let report = app.drain().await;
        clean(report);
        assert!(report.took < ms(100), "{report:?}");
        assert_eq!(first.done(), [] as [u64; 0]);
        let (_, second) = successor(&url).await;
        assert_eq!(second.done(), up_to(10));
        assert!(second.done.items().iter().all(|call| call.attempt == 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_whose_work_cannot_be_settled_any_more_is_not_called_clean() {
    let url = "memory://life-torn";
    let _broker = MemoryBroker::named("life-torn");
    let (app, first) = start(url).await;
    publish(&app, [Job::new("k", 1, 1000)]).await;
    app.advance(ms(100)).await;
    app.inject(Fault::Cut { down: Duration::from_secs(60) }).unwrap();
    app.advance(ms(100)).await;
    let report = app.drain().await;
    assert_eq!(first.done(), [1]);
    assert_eq!((report.clean, report.unsettled), (false, 1), "it was handled, and comes again: {report:?}");
    tokio::time::sleep(Duration::from_secs(60)).await;
    let (_, second) = successor(url).await;
    assert_eq!(second.done(), [1]);
}

#[tokio::test(start_paused = true)]
async fn members_that_come_and_go_share_the_work_and_lose_and_repeat_nothing() {
    for seed in 0..15 {
        let name = format!("life-members-{seed}");
        let url = format!("memory://{name}?revoke=500ms");
        let mut seeded = Seeded(seed);
        let (first, log_1) = start(&url).await;
        publish(&first, (0..400).map(|i| Job::new(format!("k{}", i % 40), i, 20))).await;
        first.advance(ms(seeded.below(200))).await;
        let (second, log_2) = start(&url).await;
        second.advance(ms(100 + seeded.below(200))).await;
        let (third, log_3) = start(&url).await;
        third.advance(ms(seeded.below(300))).await;
        clean(first.drain().await);
        third.advance(ms(seeded.below(300))).await;
        clean(third.drain().await);
        settled(&second).await;
        let logs = [&log_1, &log_2, &log_3];
        let mut numbers: Vec<_> = logs.iter().flat_map(|log| log.done()).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, up_to(400), "seed {seed}");
        assert!(log_1.done.len() > 0 && log_2.done.len() > 0, "seed {seed}: the work is shared");
        let mut calls: Vec<_> = logs.iter().flat_map(|log| log.begun.moments()).collect();
        calls.sort_by_key(|(at, _)| *at);
        let mut by_key = BTreeMap::<_, Vec<_>>::new();
        calls.iter().for_each(|(_, call)| by_key.entry(&call.key).or_default().push(call.number));
        assert!(by_key.values().all(|numbers| numbers.is_sorted()), "seed {seed}: over all members {by_key:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_group_gets_everything() {
    let (app, log) = start_with("memory://life-groups", &["work", "copy"], |app| app).await;
    publish(&app, (0..50).map(|i| Job::new(format!("k{}", i % 7), i, 1))).await;
    settled(&app).await;
    let each_twice: Vec<_> = (0..50).flat_map(|number| [number, number]).collect();
    assert_eq!(log.done(), each_twice);
}

#[tokio::test(start_paused = true)]
async fn a_new_group_begins_at_the_earliest_message_unless_it_says_new() {
    let url = "memory://life-start";
    let (before, _) = start(url).await;
    publish(&before, [Job::new("k", 1, 0)]).await;
    settled(&before).await;
    let (app, all) = start_with(url, &["copy"], |app| app).await;
    let (app_of_late, new) = start_with(url, &["late"], |app| app).await;
    publish(&before, [Job::new("k", 2, 0)]).await;
    settled(&app).await;
    settled(&app_of_late).await;
    assert_eq!((all.done(), new.done()), (vec![1, 2], vec![2]));
    // A group that is known goes on where it was, whatever it says.
    clean(app_of_late.drain().await);
    publish(&before, [Job::new("k", 3, 0)]).await;
    let (app_of_late, new) = start_with(url, &["late"], |app| app).await;
    settled(&app_of_late).await;
    assert_eq!(new.done(), [3]);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_outlives_its_lease_is_not_called_twice_nor_is_what_waits_behind_it() {
    let (app, log) = start("memory://life-lease?lease=30s").await;
    publish(&app, (0..6).map(|i| Job::new("slow", i, 300_000))).await;
    settled(&app).await;
    assert_eq!(log.done(), up_to(6), "{}", app.story());
    assert!(log.begun.items().iter().all(|call| call.deliveries == 1), "{:?}", log.begun.items());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_blocks_its_thread_keeps_its_lease_and_those_behind_it() {
    let (app, log) = start("memory://life-block?lease=300ms").await;
    publish(&app, (0..3).map(|i| Job::new("blocks", i, 1000))).await;
    publish(&app, (3..10).map(|i| Job::new(format!("k{i}"), i, 1))).await;
    settled(&app).await;
    assert_eq!(log.done(), up_to(10), "{}", app.story());
    assert!(log.begun.items().iter().all(|call| call.deliveries == 1), "{:?}", log.begun.items());
    clean(app.drain().await);
}

#[tokio::test(start_paused = true)]
async fn a_cut_connection_shows_as_not_ready_and_work_goes_on_after_it() {
    let (app, log) = start("memory://life-cut").await;
    publish(&app, (0..40).map(|i| Job::new(format!("k{}", i % 8), i, 100))).await;
    app.advance(ms(250)).await;
    assert!(app.status().await.ready);
    app.inject(Fault::Cut { down: Duration::from_secs(5) }).unwrap();
    app.advance(ms(10)).await;
    let red = app.status().await;
    assert!(!red.ready && matches!(red.broker, Health::Down { .. }), "{red:?}");
    assert!(!red.handlers[0].healthy && red.handlers[0].connection_failures > 0 && red.handlers[0].lag.is_none(), "{red:?}");
    let publishing = publish(&app, [Job::new("k0", 40, 1)]);
    tokio::join!(publishing, app.advance(Duration::from_secs(6)));
    let green = app.status().await;
    assert!(green.ready && green.handlers[0].connection_failures == 0, "{green:?}");
    settled(&app).await;
    let done: HashSet<_> = log.done().into_iter().collect();
    assert_eq!(done.len(), 41, "{}", app.story());
    assert!(log.done.len() <= 41 + 4, "only what was in flight is repeated: {}", log.done.len());
}

#[tokio::test(start_paused = true)]
async fn a_publish_gives_up_only_after_its_time_and_says_so() {
    let (app, _) = start_with("memory://life-patience", &["work"], |app| app.publish_within(ms(3000))).await;
    app.inject(Fault::Cut { down: Duration::from_secs(60) }).unwrap();
    let begun = Instant::now();
    let error = app.publish(&Job::new("k", 1, 0)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connection);
    assert!(begun.elapsed() > ms(1000) && begun.elapsed() <= ms(3100), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn lost_settlements_are_repeated_and_the_handler_is_not() {
    let (app, log) = start("memory://life-settle").await;
    app.inject(Fault::SettleLost { group: "life.work".into(), count: 30 }).unwrap();
    publish(&app, (0..20).map(|i| Job::new(format!("k{}", i % 4), i, 10))).await;
    settled(&app).await;
    assert_eq!(log.done(), up_to(20), "{}", app.story());
    assert_eq!(status(&app, "work").await.handled, 20);
}

/// A program that runs until it is told to stop; started by the tests below as a process of its own.
#[cfg(unix)]
mod signals {
    use std::io::{BufRead as _, BufReader};
    use std::process::{Child, Command, Stdio};

    use super::*;

    const CHILD: &str = "CONVOKE_TEST_TAKES";

    #[tokio::test]
    async fn child() {
        let Some(takes) = std::env::var(CHILD).ok().and_then(|takes| takes.parse().ok()) else { return };
        let log = Log::new();
        // A broker of this process, which the application opens too.
        let _broker = MemoryBroker::named("");
        let app = App::new("life").state(log.clone()).only(["work"]).quiet();
        let publisher = TestApp::start_on(App::new("life").state(log.clone()).only(["copy"]), "memory://").await.unwrap();
        publish(&publisher, (0..8).map(|i| Job::new(i.to_string(), i, takes))).await;
        settled(&publisher).await;
        let copied = log.begun.len();
        let watch = log.clone();
        tokio::spawn(async move {
            while watch.begun.len() < copied + 4 {
                tokio::time::sleep(ms(5)).await;
            }
            println!("said: running");
        });
        let result = app.run().await;
        let done = log.done.len() - 8;
        println!("said: {done} done, {}", result.map_or_else(|error| format!("{:?}", error.kind()), |()| "fine".to_owned()));
    }

    struct Program(Child, std::io::Lines<BufReader<std::process::ChildStdout>>);

    impl Program {
        fn start(takes: u64) -> Self {
            let mut child = Command::new(std::env::current_exe().unwrap());
            child.args(["--exact", "signals::child", "--nocapture"]).env(CHILD, takes.to_string()).stdout(Stdio::piped());
            let mut child = child.spawn().unwrap();
            let lines = BufReader::new(child.stdout.take().unwrap()).lines();
            Self(child, lines)
        }

        fn says(&mut self) -> String {
            let said = self.1.by_ref().map_while(Result::ok).find_map(|line| Some(line.split_once("said: ")?.1.to_owned()));
            said.unwrap_or_else(|| "nothing".to_owned())
        }

        fn signal(&self, signal: &str) {
            assert!(Command::new("kill").args([signal, &self.0.id().to_string()]).status().unwrap().success());
        }
    }

    impl Drop for Program {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn a_signal_drains() {
        for signal in ["-TERM", "-INT"] {
            let mut program = Program::start(700);
            assert_eq!(program.says(), "running");
            program.signal(signal);
            assert_eq!(program.says(), "4 done, fine", "{signal}: what ran is finished, the rest is not begun");
        }
    }

    #[test]
    fn a_second_signal_ends_it_at_once() {
        let mut program = Program::start(1000);
        assert_eq!(program.says(), "running");
        program.signal("-TERM");
        std::thread::sleep(ms(100));
        program.signal("-TERM");
        assert_eq!(program.says(), "0 done, Timeout");
    }
}
