//! Revocation, loss, drain, abort, local deadlines.

use convoke_core::broker::{Delay, Settle};
use convoke_core::{BatchOptions, DeadReason, Epoch, OnRetry, PartId};
use convoke_engine::*;

use crate::common::*;

const REVOKED: Out = Out::Revoked { part: PartId(0), epoch: Epoch(1) };

#[test]
fn a_revoked_partition_gives_back_what_waits_and_finishes_what_runs() {
    let mut bench = Bench::assigned(config());
    let (s, _) = bench.deliver(&[meta(1), meta(2), on(3, 2), on(4, 2)]);
    bench.finish(s[2], FAILED);
    let out = bench.revoke(0, 1000);
    assert_eq!(settles(&out), [(s[1], nack(0, 0, true)), (s[2], nack(100, 1, true)), (s[3], nack(0, 0, true))]);
    for (slot, delay, attempts) in [(s[1], 0, 0), (s[2], 100, 1), (s[3], 0, 0)] {
        assert_eq!(freed(&bench.settled(slot, nack(delay, attempts, true), Answer::Applied)), [(slot, End::Returned)]);
    }
    assert_eq!(settles(&bench.finish(s[0], Verdict::Ack)), [(s[0], Settle::Ack)]);
    assert_eq!(bench.acked(s[0]), [Out::Free { slot: s[0], end: End::Acked }, REVOKED]);
}

#[test]
fn what_remains_of_a_delay_goes_with_what_is_given_back() {
    let mut bench = Bench::assigned(Config { delay: Delay::Native { max: ms(60) }, ..config() });
    let (s, _) = bench.deliver(&[meta(1)]);
    bench.finish(s[0], FAILED);
    bench.tick_to(50);
    assert_eq!(settles(&bench.revoke(0, 1000)), [(s[0], nack(50, 1, true))]);
}

#[test]
fn what_is_given_back_keeps_its_order_unless_it_waits_for_a_retry_that_lets_others_pass() {
    let mut passing = Config { delay: Delay::Native { max: ms(55) }, in_process: ms(5000), ..config() };
    passing.routes[0].on_retry = OnRetry::Pass;
    let mut bench = Bench::assigned(passing);
    let (s, _) = bench.deliver(&[on(1, 1), free(2), on(3, 2), on(4, 3), on(5, 3)]);
    let failed = Verdict::Failed { after: Some(ms(60)), reason: DeadReason::HandlerError };
    bench.finish(s[0], failed);
    bench.finish(s[1], failed);
    bench.finish(s[2], Verdict::Later(ms(50)));
    bench.step(In::Resize { route: RouteId(0), concurrency: 1 });
    let (ready, _) = bench.deliver(&[free(6)]);
    let expected = [
        (s[0], nack(55, 1, false)),
        (s[1], nack(55, 1, false)),
        (s[2], nack(50, 0, true)),
        (s[4], nack(0, 0, true)),
        (ready[0], nack(0, 0, false)),
    ];
    assert_eq!(settles(&bench.revoke(0, 1000)), expected);
}

#[test]
fn at_its_time_a_revoked_partition_is_over_whatever_runs() {
    let mut bench = Bench::assigned(config());
    let (s, _) = bench.deliver(&[meta(1)]);
    assert_eq!(bench.revoke(0, 100), []);
    assert_eq!(bench.tick_to(100), [Out::Cancel { slot: s[0] }, Out::Settle { slot: s[0], settle: nack(0, 0, true) }, REVOKED]);
    assert_eq!(freed(&bench.settled(s[0], nack(0, 0, true), Answer::Applied)), [(s[0], End::Returned)]);
}

#[test]
fn by_watermark_the_last_commit_says_what_failed() {
    let mut bench = Bench::assigned(watermark());
    let (s, _) = bench.deliver(&[free(1), free(2), free(3)]);
    bench.finish(s[1], FAILED);
    bench.finish(s[2], Verdict::Ack);
    assert_eq!(bench.revoke(0, 1000), []);
    assert_eq!(bench.finish(s[0], Verdict::Ack).last(), Some(&Out::Commit { part: PartId(0), epoch: Epoch(1) }));
    assert_eq!(bench.commit(), (2, vec![(3, 3)], vec![(2, 1, 0)]));
    assert_eq!(bench.committed(Answer::Applied), [Out::Free { slot: s[1], end: End::Returned }, REVOKED]);
    assert_eq!(bench.commit(), (2, vec![(3, 3)], vec![(2, 1, 0)]));
}

#[test]
fn a_drain_starts_nothing_and_ends_when_all_is_settled() {
    let mut bench = Bench::assigned(config());
    let (s, _) = bench.deliver(&[meta(1), meta(2)]);
    assert_eq!(settles(&bench.step(In::Drain { by: at(1000) })), [(s[1], nack(0, 0, true))]);
    let out = bench.finish_all(s[0], &[Verdict::Ack], true);
    assert_eq!(out, [Out::PublishReturned { slot: s[0] }]);
    bench.settled(s[1], nack(0, 0, true), Answer::Applied);
    bench.published(s[0], Published::Confirmed);
    assert_eq!(bench.acked(s[0]), [Out::Free { slot: s[0], end: End::Acked }, Out::Drained]);
    let (late, out) = bench.deliver(&[meta(9)]);
    assert_eq!(out, [Out::Free { slot: late[0], end: End::Lost }]);
    assert_eq!(bench.engine.next_wake(), None);
}

#[test]
fn an_abort_cancels_and_waits_two_seconds_for_answers() {
    let mut bench = Bench::assigned(config());
    let (s, _) = bench.deliver(&[meta(1)]);
    let out = bench.step(In::Abort);
    assert_eq!(out, [Out::Cancel { slot: s[0] }, Out::Settle { slot: s[0], settle: nack(0, 0, true) }]);
    assert_eq!(bench.tick_to(1999), []);
    assert_eq!(bench.tick_to(2000), [Out::Free { slot: s[0], end: End::Returned }, Out::Drained]);
}

#[test]
fn a_partition_that_is_lost_while_it_publishes_settles_nothing() {
    let mut bench = Bench::assigned(config());
    let (s, _) = bench.deliver(&[meta(1)]);
    bench.finish_all(s[0], &[Verdict::Ack], true);
    assert_eq!(bench.lose(0), []);
    assert_eq!(bench.published(s[0], Published::Confirmed), [Out::Free { slot: s[0], end: End::Lost }]);
}

#[test]
fn what_is_given_back_and_was_not_confirmed_in_time_is_returned_all_the_same() {
    let mut bench = Bench::assigned(config());
    let (s, _) = bench.deliver(&[meta(1), meta(2)]);
    bench.finish(s[0], Verdict::Ack);
    bench.acked(s[0]);
    bench.step(In::Pause { route: RouteId(0) });
    let (s, _) = bench.deliver(&[on(3, 2)]);
    let out = bench.revoke(0, 5);
    assert!(settles(&out).contains(&(s[0], nack(0, 0, true))));
    assert_eq!(bench.settled(s[0], nack(0, 0, true), Answer::Failed), []);
    assert!(freed(&bench.tick_to(5)).contains(&(s[0], End::Returned)));
}

#[test]
fn what_waited_for_a_retry_and_is_given_back_is_not_disturbed_when_that_would_have_been_due() {
    let mut bench = Bench::assigned(config());
    bench.assign(1, 1, None);
    let (s, _) = bench.deliver(&[meta(1)]);
    bench.finish(s[0], FAILED);
    // Something else to wake for, right before that.
    let (other, _) = bench.deliver_to(1, 1, &[on(1, 2)]);
    bench.finish(other[0], Verdict::Later(ms(95)));
    let back = vec![(s[0], nack(100, 1, true))];
    assert_eq!(settles(&bench.revoke(0, 1000)), back);
    for at in [10, 30, 70, 150] {
        assert_eq!(bench.settled(s[0], back[0].1, Answer::Failed), []);
        assert_eq!(settles(&bench.tick_to(at - 1)), []);
        assert_eq!(settles(&bench.tick_to(at)), back);
    }
}

#[test]
fn what_fails_while_it_is_given_back_is_not_sent_on_a_round() {
    let mut passing = Config { delay: Delay::Republish, ..config() };
    passing.routes[0].on_retry = OnRetry::Pass;
    let failed = Verdict::Failed { after: Some(ms(60_000)), reason: DeadReason::HandlerError };
    for drained in [true, false] {
        let mut bench = Bench::assigned(passing.clone());
        let (s, _) = bench.deliver(&[meta(1)]);
        let out = if drained { bench.step(In::Drain { by: at(1000) }) } else { bench.revoke(0, 1000) };
        assert_eq!(out, []);
        assert_eq!(bench.finish(s[0], failed), [Out::Settle { slot: s[0], settle: nack(60_000, 1, true) }]);
    }
}

#[test]
fn what_another_partition_leaves_gets_no_turn_in_a_drain() {
    let mut bench = Bench::assigned(config());
    bench.assign(1, 1, None);
    bench.step(In::Pause { route: RouteId(0) });
    let (first, _) = bench.deliver(&[meta(1)]);
    let undecodable = Meta { dead: Some(DeadReason::Undecodable), ..meta(1) };
    let (second, _) = bench.deliver_to(1, 1, &[undecodable]);
    let back = [(first[0], nack(0, 0, true)), (second[0], nack(0, 0, true))];
    let out = bench.step(In::Drain { by: at(1000) });
    assert_eq!((settles(&out), out.len()), (back.to_vec(), 2));
}

#[test]
fn by_watermark_a_drain_is_over_at_once_though_a_partition_was_given_back_before() {
    let mut bench = Bench::assigned(watermark());
    bench.assign(1, 1, None);
    bench.step(In::Pause { route: RouteId(0) });
    let (s, _) = bench.deliver(&[free(1)]);
    assert!(bench.revoke(0, 1000).starts_with(&[Out::Free { slot: s[0], end: End::Returned }, REVOKED]));
    let (s, _) = bench.deliver_to(1, 1, &[free(1)]);
    assert_eq!(bench.step(In::Drain { by: at(1000) }), [Out::Free { slot: s[0], end: End::Returned }, Out::Drained]);
}

#[test]
fn what_a_batch_returned_is_not_published_again_when_all_of_it_is_lost() {
    let mut config = config();
    config.routes[0].batch = Some(BatchOptions::new(2, ms(0)));
    let (lost, publish) = (|slot| Out::Free { slot, end: End::Lost }, |slot| Out::PublishReturned { slot });
    for answered_first in [true, false] {
        let mut bench = Bench::assigned(config.clone());
        let (s, _) = bench.deliver(&[on(1, 1), on(2, 2)]);
        assert_eq!(bench.finish_all(s[0], &[Verdict::Ack; 2], true), [publish(s[0])]);
        let mut out = Vec::new();
        if answered_first {
            out.extend(bench.published(s[0], Published::Again));
        }
        out.extend(bench.lose(0));
        out.extend(if answered_first { bench.tick_to(10) } else { bench.published(s[0], Published::Again) });
        assert_eq!(out, [lost(s[0]), lost(s[1])]);
    }
}

#[test]
fn a_newer_assignment_ends_the_older_one() {
    let mut bench = Bench::assigned(config());
    let (s, _) = bench.deliver(&[meta(1), meta(2)]);
    assert_eq!(freed(&bench.assign(0, 2, None)), [(s[1], End::Lost)]);
    assert_eq!(bench.assign(0, 2, None), []);
}

#[test]
fn nothing_starts_past_the_local_deadline() {
    let mut bench = Bench::new(config());
    bench.assign(0, 1, Some(at(100)));
    bench.assign(1, 1, None);
    let expired = Out::Note(Note::Expired { part: PartId(0) });
    assert_eq!(bench.tick_to(100), [expired]);
    let (s, out) = bench.deliver(&[on(1, 1)]);
    assert_eq!(started(&out), []);
    assert_eq!(started(&bench.deliver_to(1, 1, &[on(1, 2)]).1).len(), 1);
    let out = bench.step(In::Renewed { part: PartId(0), epoch: Epoch(1), until: at(200) });
    assert_eq!(started(&out), [s[0]]);
}

#[test]
fn a_deadline_that_is_over_when_it_comes_lets_nothing_start() {
    let mut bench = Bench::new(config());
    bench.now = at(100).0;
    let expired = Out::Note(Note::Expired { part: PartId(0) });
    assert!(bench.assign(0, 1, Some(at(100))).contains(&expired));
    let (s, out) = bench.deliver(&[meta(1)]);
    assert_eq!(started(&out), []);
    let renewed = |until| In::Renewed { part: PartId(0), epoch: Epoch(1), until: at(until) };
    assert_eq!(bench.step(renewed(90)), []);
    assert_eq!(started(&bench.step(renewed(200))), s);
}

#[test]
fn a_renewal_that_comes_too_late_stops_what_comes_with_it() {
    let mut bench = Bench::new(config());
    bench.assign(0, 1, Some(at(1000)));
    bench.now = at(100).0;
    // Both in one turn of the driver.
    let mut out = Vec::new();
    let metas = [Meta { slot: Slot { index: 0, generation: 1 }, ..meta(1) }];
    bench.engine.elapse(at(100), &mut out);
    bench.engine.take(at(100), In::Renewed { part: PartId(0), epoch: Epoch(1), until: at(100) }, &mut out);
    bench.engine.take(at(100), In::Delivered { part: PartId(0), epoch: Epoch(1), metas: &metas }, &mut out);
    bench.engine.follow(at(100), &mut out);
    assert!(out.contains(&Out::Note(Note::Expired { part: PartId(0) })));
    assert_eq!(started(&out), []);
}

#[test]
fn a_revocation_may_be_brought_forward() {
    let mut bench = Bench::assigned(config());
    let (s, _) = bench.deliver(&[meta(1)]);
    assert_eq!(bench.revoke(0, 1000), []);
    assert_eq!(bench.revoke(0, 50), []);
    assert_eq!(bench.tick_to(49), []);
    assert_eq!(bench.tick_to(50), [Out::Cancel { slot: s[0] }, Out::Settle { slot: s[0], settle: nack(0, 0, true) }, REVOKED]);
}
