//! How long is waited before something is repeated.

use std::time::Duration;

use convoke_core::broker::{Delay, Progress, Settle};
use convoke_core::{BatchOptions, DeadReason, OnRetry};
use convoke_engine::*;

use crate::common::*;

const ROUTE: RouteId = RouteId(0);

/// After how many nanoseconds a message of this identity is tried again, time after time.
fn waits(seed: u64, identity: u64, times: usize) -> Vec<u64> {
    let mut config = Config { seed, ..config() };
    let base = Duration::from_nanos(1 << 32);
    config.routes[0].retry = config.routes[0].retry.attempts(9).backoff(base, base).jitter(100);
    let mut bench = Bench::assigned(config);
    let (s, _) = bench.deliver(&[Meta { identity, ..meta(1) }]);
    let mut wait = || {
        bench.finish(s[0], FAILED);
        let wake = bench.engine.next_wake().expect("it waits").0;
        let waited = wake - bench.now;
        bench.now = wake;
        assert_eq!(started(&bench.step(In::Tick)), s);
        waited
    };
    (0..times).map(|_| wait()).collect()
}

#[test]
fn jitter_is_the_upper_half_of_splitmix64() {
    // The first outputs of that generator from zero, as they are published.
    let known: [u64; 4] = [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f, 0xf88b_b8a8_724c_81ec];
    assert_eq!(waits(0, 0, 4), known.map(|output| (1 << 32) + (output >> 32)));
}

#[test]
fn messages_that_fail_together_do_not_come_back_together_whatever_the_seed_is() {
    for seed in [0, u64::MAX] {
        assert_ne!(waits(seed, 1, 1), waits(seed, 2, 1));
    }
    assert_ne!(waits(1, 7, 1), waits(2, 7, 1), "nor do the instances of a service");
}

#[test]
fn a_wait_that_is_just_short_enough_is_waited_out_here() {
    let passing = || {
        let mut config = Config { delay: Delay::Republish, in_process: ms(50), ..config() };
        config.routes[0].on_retry = OnRetry::Pass;
        Bench::assigned(config)
    };
    let after = |delay| Verdict::Failed { after: Some(delay), reason: DeadReason::HandlerError };
    let mut bench = passing();
    let (s, _) = bench.deliver(&[meta(1)]);
    bench.finish(s[0], after(ms(50)));
    assert_eq!(starts(&bench.tick_to(50)), [(s[0], 2)]);
    let mut bench = passing();
    let (s, _) = bench.deliver(&[meta(1)]);
    assert_eq!(bench.finish(s[0], after(ms(51))), [Out::PublishRetry { slot: s[0], delay: ms(51), attempts: 1 }]);
}

#[test]
fn a_publish_that_keeps_failing_is_repeated_less_and_less_often() {
    let again = [Out::PublishReturned { slot: Slot { index: 0, generation: 1 } }];
    for batch in [None, Some(BatchOptions::new(1, ms(0)))] {
        let mut config = config();
        config.routes[0].batch = batch;
        let mut bench = Bench::assigned(config);
        let (s, _) = bench.deliver(&[meta(1)]);
        assert_eq!(bench.finish_all(s[0], &[Verdict::Ack], true), again);
        for at in [10, 30, 70, 150, 230] {
            assert_eq!(bench.published(s[0], Published::Again), []);
            assert_eq!(bench.tick_to(at - 1), []);
            assert_eq!(bench.tick_to(at), again);
        }
    }
}

#[test]
fn a_mark_that_cannot_be_kept_is_repeated_less_and_less_often() {
    let mut bench = Bench::new(Config { marks: true, ..config() });
    bench.assign_with(0, 1, None, true, Progress::default());
    let mark = Settle::Mark { deaths: 1 };
    let (s, out) = bench.deliver(&[Meta { deliveries: 2, ..meta(1) }]);
    assert_eq!(settles(&out), [(s[0], mark)]);
    for at in [10, 30, 70, 150, 230] {
        assert_eq!(bench.settled(s[0], mark, Answer::Failed), []);
        assert_eq!(bench.tick_to(at - 1), []);
        assert_eq!(settles(&bench.tick_to(at)), [(s[0], mark)]);
    }
}

#[test]
fn a_suspended_route_is_probed_with_a_suspect_if_there_is_one() {
    let mut bench = Bench::new(Config { marks: true, ..config() });
    bench.assign_with(0, 1, None, true, Progress::default());
    let suspect = |position| Meta { deliveries: 2, ..free(position) };
    let (s, _) = bench.deliver(&[suspect(1), suspect(2)]);
    bench.settled(s[0], Settle::Mark { deaths: 1 }, Answer::Applied);
    bench.finish(s[0], Verdict::Unavailable);
    assert_eq!(bench.tick_to(99), []);
    assert_eq!(settles(&bench.tick_to(100)), [(s[1], Settle::Mark { deaths: 1 })]);
    assert_eq!(started(&bench.settled(s[1], Settle::Mark { deaths: 1 }, Answer::Applied)), [s[1]]);
}

#[test]
fn a_suspended_route_is_probed_at_its_time_whatever_the_rest_says() {
    let mut bench = Bench::assigned(config());
    let (s, _) = bench.deliver(&[on(1, 1), on(2, 2), on(3, 3), on(4, 4)]);
    let out = bench.finish(s[0], Verdict::Unavailable);
    assert_eq!(out, [Out::Note(Note::Suspended { route: ROUTE, probe: at(100) })]);
    bench.tick_to(50);
    for (slot, verdict) in [(s[1], Verdict::Unavailable), (s[2], Verdict::NotTaken), (s[3], Verdict::Later(ms(1000)))] {
        assert_eq!(bench.finish(slot, verdict), []);
    }
    assert_eq!(started(&bench.tick_to(99)), []);
    assert_eq!(started(&bench.tick_to(100)).len(), 1);
}

#[test]
fn a_probe_that_says_nothing_of_what_is_down_is_followed_by_another_after_twice_the_time() {
    for nothing in [Verdict::NotTaken, Verdict::Later(ms(0))] {
        let mut bench = Bench::assigned(config());
        let (s, _) = bench.deliver(&[meta(1)]);
        bench.finish(s[0], Verdict::Unavailable);
        let mut probed = Vec::new();
        for _ in 0..4 {
            let wake = bench.engine.next_wake().expect("a probe");
            bench.now = wake.0;
            assert_eq!(started(&bench.step(In::Tick)), s);
            probed.push(wake);
            assert_eq!(bench.finish(s[0], nothing), []);
        }
        assert_eq!(probed, [at(100), at(300), at(700), at(1500)]);
    }
}
