//! Lanes, concurrency and retries.

use convoke_core::broker::{Delay, Settle};
use convoke_core::{BatchOptions, DeadReason, Epoch, OnRetry, PartId};
use convoke_engine::*;

use crate::common::*;

#[test]
fn a_message_is_started_acknowledged_and_freed() {
    let mut bench = Bench::assigned(config());
    let (slots, out) = bench.deliver(&[meta(1)]);
    assert_eq!(starts(&out), [(slots[0], 1)]);
    assert_eq!(settles(&bench.finish(slots[0], Verdict::Ack)), [(slots[0], Settle::Ack)]);
    assert_eq!(freed(&bench.acked(slots[0])), [(slots[0], End::Acked)]);
    assert!(bench.engine.idle());
}

#[test]
fn a_lane_runs_one_at_a_time_and_others_beside_it() {
    let mut bench = Bench::assigned(config());
    let (s, out) = bench.deliver(&[on(1, 1), on(2, 1), on(3, 2), free(4)]);
    assert_eq!(started(&out), [s[0], s[2], s[3]]);
    assert_eq!(started(&bench.finish(s[0], Verdict::Ack)), [s[1]]);
}

#[test]
fn no_more_run_than_the_route_allows() {
    let mut bench = Bench::assigned(config());
    let (s, out) = bench.deliver(&(1..=6).map(free).collect::<Vec<_>>());
    assert_eq!(started(&out), s[..4]);
    assert_eq!(started(&bench.finish(s[2], Verdict::Ack)), [s[4]]);
    bench.step(In::Resize { route: RouteId(0), concurrency: 1 });
    assert_eq!(started(&bench.finish(s[0], Verdict::Ack)), []);
}

#[test]
fn a_retry_holds_its_lane_and_comes_after_its_delay() {
    let mut bench = Bench::assigned(config());
    let (s, _) = bench.deliver(&[meta(1), meta(2)]);
    assert_eq!(started(&bench.finish(s[0], FAILED)), []);
    assert_eq!(bench.engine.next_wake(), Some(at(100)));
    assert_eq!(started(&bench.tick_to(99)), []);
    assert_eq!(starts(&bench.tick_to(100)), [(s[0], 2)]);
    assert_eq!(started(&bench.finish(s[0], FAILED)), []);
    assert_eq!(starts(&bench.tick_to(300)), [(s[0], 3)]);
    let out = bench.finish(s[0], FAILED);
    assert!(out.contains(&Out::PublishDead { slot: s[0], reason: DeadReason::HandlerError, attempts: 3 }));
    assert_eq!(started(&out), []);
    let out = bench.published(s[0], Published::Confirmed);
    assert_eq!(settles(&out), [(s[0], Settle::Ack)]);
    assert_eq!(started(&out), [s[1]]);
    assert_eq!(freed(&bench.acked(s[0])), [(s[0], End::Dead)]);
}

#[test]
fn a_lane_that_is_never_empty_is_not_taken_for_a_full_one() {
    let mut bench = Bench::assigned(Config { backlog: 3, ..config() });
    let (mut held, _) = bench.deliver(&[meta(1)]);
    for next in 2..20 {
        let (s, out) = bench.deliver(&[meta(next)]);
        assert_eq!(bench.engine.full(), 0, "{out:?}");
        assert_eq!(bench.engine.lane(s[0]), Some(1));
        bench.finish(held[0], Verdict::Ack);
        bench.acked(held[0]);
        held = s;
    }
    let (without, _) = bench.deliver(&[free(30)]);
    assert_eq!(bench.engine.lane(without[0]), None);
}

#[test]
fn a_lane_has_one_executor_and_what_has_none_goes_by_its_identity() {
    let shards = |shards| {
        let mut bench = Bench::assigned(Config { shards, ..config() });
        let (_, out) = bench.deliver(&[on(1, 6), on(2, 7), Meta { identity: 9, ..free(3) }]);
        let shard = |out: &Out| if let Out::Start { shard, .. } = *out { Some(shard) } else { None };
        out.iter().filter_map(shard).collect::<Vec<_>>()
    };
    assert_eq!([0, 1, 4].map(shards), [[0, 0, 0], [0, 0, 0], [2, 3, 1]]);
}

#[test]
fn what_an_engine_keeps_does_not_grow_with_what_it_has_done() {
    let mut batches = Config { lease: Some(ms(300)), ..passing() };
    batches.routes[0].batch = Some(BatchOptions::new(3, ms(20)));
    let mut bench = Bench::assigned(batches);
    let mut grown = Vec::new();
    for n in 0..40 {
        let mut slots = Vec::new();
        for index in 0..3 {
            let slot = Slot { index, generation: n };
            let meta = Meta { slot, ..on(10 + 3 * u64::from(n) + u64::from(index), u64::from(index)) };
            slots.push(slot);
            bench.step(In::Delivered { part: PartId(0), epoch: Epoch(1), metas: &[meta] });
        }
        bench.finish_all(slots[0], &[FAILED, Verdict::Ack, Verdict::Later(ms(10))], false);
        bench.acked(slots[1]);
        let to = bench.now / MS + 200;
        bench.tick_to(to);
        let together = bench.engine.batch(slots[0]).to_vec();
        for slot in [slots[0], slots[2]] {
            bench.finish_all(slot, &vec![Verdict::Ack; bench.engine.batch(slot).len()], false);
        }
        for slot in [slots[0], slots[2]] {
            bench.acked(slot);
        }
        assert!(bench.engine.idle(), "{together:?}");
        // What lies there for its memory counts too; only numbers get longer.
        let text = format!("{:?}", bench.engine);
        grown.push(text.chars().filter(|c| !c.is_ascii_digit()).count());
    }
    assert_eq!(grown[39], grown[5], "{grown:?}");
}

fn passing() -> Config {
    let mut config = config();
    config.routes[0].on_retry = OnRetry::Pass;
    config
}

#[test]
fn a_passing_retry_lets_later_ones_go_first() {
    let mut bench = Bench::assigned(passing());
    let (s, _) = bench.deliver(&[meta(1), meta(2), meta(3)]);
    assert_eq!(started(&bench.finish(s[0], FAILED)), [s[1]]);
    assert_eq!(started(&bench.tick_to(100)), []);
    assert_eq!(starts(&bench.finish(s[1], Verdict::Ack)), [(s[0], 2)]);
    assert_eq!(started(&bench.finish(s[0], Verdict::Ack)), [s[2]]);
}

#[test]
fn a_long_passing_retry_goes_through_the_broker() {
    let long = Verdict::Failed { after: Some(ms(60_000)), reason: DeadReason::Panic };
    let mut bench = Bench::assigned(Config { delay: Delay::Native { max: ms(100_000) }, ..passing() });
    let (s, _) = bench.deliver(&[meta(1)]);
    assert_eq!(settles(&bench.finish(s[0], long)), [(s[0], nack(60_000, 1, false))]);
    assert_eq!(freed(&bench.settled(s[0], nack(60_000, 1, false), Answer::Applied)), [(s[0], End::Retried)]);

    let mut bench = Bench::assigned(Config { delay: Delay::Republish, ..passing() });
    let (s, _) = bench.deliver(&[meta(1)]);
    assert!(bench.finish(s[0], long).contains(&Out::PublishRetry { slot: s[0], delay: ms(60_000), attempts: 1 }));
    assert_eq!(settles(&bench.published(s[0], Published::Confirmed)), [(s[0], Settle::Ack)]);
    assert_eq!(freed(&bench.acked(s[0])), [(s[0], End::Retried)]);
}

#[test]
fn returned_events_are_confirmed_before_the_settlement() {
    let mut bench = Bench::assigned(config());
    let (s, _) = bench.deliver(&[meta(1), meta(2)]);
    let out = bench.finish_all(s[0], &[Verdict::Ack], true);
    assert_eq!(out, [Out::PublishReturned { slot: s[0] }]);
    assert_eq!(bench.published(s[0], Published::Again), []);
    assert_eq!(bench.tick_to(10), [Out::PublishReturned { slot: s[0] }]);
    let out = bench.published(s[0], Published::Confirmed);
    assert_eq!(settles(&out), [(s[0], Settle::Ack)]);
    assert_eq!(started(&out), [s[1]]);
}

#[test]
fn a_fenced_message_keeps_its_lane_until_its_handler_is_through() {
    let mut bench = Bench::assigned(config());
    let (old, _) = bench.deliver(&[meta(1), meta(2), free(3)]);
    assert_eq!(freed(&bench.lose(0)), [(old[1], End::Lost)]);
    bench.assign(0, 2, None);
    let (new, out) = bench.deliver_to(0, 2, &[meta(1), meta(2), free(3), free(4)]);
    assert_eq!(started(&out), [new[3]]);
    let out = bench.finish_all(old[0], &[Verdict::Ack], true);
    assert_eq!(freed(&out), [(old[0], End::Lost)]);
    assert_eq!(started(&out), [new[0]]);
    assert_eq!(started(&bench.finish(old[2], Verdict::Ack)), [new[2]]);
}

#[test]
fn a_redelivery_of_what_is_held_is_a_duplicate() {
    let mut bench = Bench::assigned(config());
    let (s, _) = bench.deliver(&[meta(1), meta(2), meta(3)]);
    let (again, out) = bench.deliver(&[meta(2)]);
    assert_eq!(out, [Out::Swap { held: s[1], new: again[0] }, Out::Free { slot: again[0], end: End::Duplicate }]);
}

#[test]
fn the_same_inputs_give_the_same_wait_and_jitter_only_adds() {
    let mut config = config();
    config.routes[0].retry = config.routes[0].retry.jitter(50);
    let wake = |seed| {
        let mut bench = Bench::assigned(Config { seed, ..config.clone() });
        let (s, _) = bench.deliver(&[meta(1)]);
        bench.finish(s[0], FAILED);
        bench.engine.next_wake()
    };
    assert_eq!(wake(1), wake(1));
    assert_ne!(wake(1), wake(2));
    assert!((0..100).all(|seed| wake(seed) >= Some(at(100)) && wake(seed) <= Some(at(150))));
}

#[test]
fn by_watermark_a_long_retry_waits_here_whatever_the_broker_could_delay() {
    let long = Verdict::Failed { after: Some(ms(60_000)), reason: DeadReason::Panic };
    let mut config = Config { delay: Delay::Native { max: ms(100_000) }, ..watermark() };
    config.routes[0].on_retry = OnRetry::Pass;
    let mut bench = Bench::assigned(config);
    let (s, _) = bench.deliver(&[free(1)]);
    let out = bench.finish(s[0], long);
    assert!(matches!(out[..], [Out::Note(Note::Retrying { attempts: 1, .. })]));
    assert_eq!(starts(&bench.tick_to(60_000)), [(s[0], 2)]);
}

#[test]
fn what_comes_late_goes_before_a_later_one_that_is_not_due_and_behind_a_retry() {
    let mut bench = Bench::assigned(config());
    let (s, _) = bench.deliver(&[Meta { due: Some(at(50)), ..on(5, 1) }, on(6, 2)]);
    bench.finish(s[1], FAILED);
    let (late, out) = bench.deliver(&[on(3, 1), on(4, 2)]);
    assert_eq!(started(&out), []);
    assert_eq!(started(&bench.tick_to(50)), [late[0]]);
    assert_eq!(started(&bench.finish(late[0], Verdict::Ack)), [s[0]]);
    assert_eq!(starts(&bench.tick_to(100)), [(s[1], 2)]);
}

#[test]
fn a_passing_retry_comes_back_behind_all_of_the_batch_that_runs() {
    let mut batches = passing();
    batches.routes[0].batch = Some(BatchOptions::new(2, ms(0)));
    let mut bench = Bench::assigned(batches);
    let (first, _) = bench.deliver(&[meta(1)]);
    let failed = Verdict::Failed { after: Some(ms(5)), reason: DeadReason::HandlerError };
    bench.finish(first[0], failed);
    let (s, _) = bench.deliver(&[meta(2), meta(3)]);
    assert_eq!(bench.engine.batch(s[0]), s);
    assert_eq!(bench.tick_to(5), []);
    bench.finish_all(s[0], &[Verdict::Ack, Verdict::Later(ms(50))], false);
    assert_eq!(bench.tick_to(54), [], "the second one keeps its place, which is before it");
    bench.tick_to(55);
    assert_eq!(bench.engine.batch(s[1]), [s[1], first[0]]);
}

#[test]
fn what_comes_late_takes_its_place_among_those_that_have_not_started() {
    let mut one = config();
    one.routes[0].concurrency = 1;
    let mut bench = Bench::assigned(one);
    let (s, _) = bench.deliver(&[meta(1), meta(3), meta(5)]);
    let (late, _) = bench.deliver(&[meta(4), meta(2)]);
    let mut order = vec![s[0]];
    for _ in 0..4 {
        order.extend(started(&bench.finish(order[order.len() - 1], Verdict::Ack)));
    }
    assert_eq!(order, [s[0], late[1], s[1], late[0], s[2]]);
}

#[test]
fn a_retry_that_comes_back_past_the_deadline_of_its_partition_is_before_what_it_let_pass() {
    let mut bench = Bench::new(passing());
    bench.assign(0, 1, Some(at(50)));
    let (s, _) = bench.deliver(&[meta(1)]);
    bench.finish(s[0], FAILED);
    bench.step(In::Pause { route: RouteId(0) });
    let (later, _) = bench.deliver(&[meta(2)]);
    assert_eq!(started(&bench.tick_to(150)), []);
    bench.step(In::Renewed { part: PartId(0), epoch: Epoch(1), until: at(1000) });
    assert_eq!(started(&bench.step(In::Resume { route: RouteId(0) })), [s[0]]);
    assert_eq!(started(&bench.finish(s[0], Verdict::Ack)), later);
}
