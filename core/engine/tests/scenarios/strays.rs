//! Inputs that nobody waits for, and those that a driver should not send: they change nothing that is right.

use std::time::Duration;

use convoke_core::broker::{Progress, Settle};
use convoke_core::{BatchOptions, Epoch, PartId, Position};
use convoke_engine::*;

use crate::common::*;

fn batches(size: u32) -> Config {
    let mut config = config();
    config.routes[0].batch = Some(BatchOptions::new(size, ms(0)));
    config
}

#[test]
fn a_route_that_does_not_exist_is_not_controlled() {
    let mut bench = Bench::assigned(config());
    assert_eq!(bench.step(In::Pause { route: RouteId(9) }), []);
    let (s, out) = bench.deliver(&[Meta { route: RouteId(1), ..meta(1) }, meta(2)]);
    assert_eq!(freed(&out), [(s[0], End::Lost)]);
    assert_eq!(started(&out), [s[1]]);
}

#[test]
fn a_partition_that_is_not_ours_is_neither_renewed_nor_revoked_nor_lost() {
    let mut bench = Bench::new(config());
    assert_eq!(bench.step(In::Renewed { part: PartId(0), epoch: Epoch(1), until: at(10) }), []);
    assert_eq!(bench.revoke(0, 0), []);
    assert_eq!(bench.lose(0), []);
    bench.assign(1, 1, None);
    assert_eq!(bench.step(In::Renewed { part: PartId(1), epoch: Epoch(7), until: at(0) }), []);
    assert_eq!(started(&bench.deliver_to(1, 1, &[meta(1)]).1).len(), 1);
}

#[test]
fn a_partition_that_was_given_back_is_not_revoked_again() {
    let mut bench = Bench::assigned(config());
    assert_eq!(bench.revoke(0, 100), [Out::Revoked { part: PartId(0), epoch: Epoch(1) }]);
    assert_eq!(bench.revoke(0, 0), []);
    let (late, out) = bench.deliver(&[meta(1)]);
    assert_eq!(out, [Out::Free { slot: late[0], end: End::Lost }]);
}

#[test]
fn after_the_end_of_a_drain_nothing_happens() {
    let mut bench = Bench::assigned(config());
    assert_eq!(bench.step(In::Drain { by: at(0) }), [Out::Drained]);
    assert_eq!(bench.step(In::Drain { by: at(0) }), []);
    assert_eq!(bench.step(In::Abort), []);
    assert_eq!(bench.revoke(0, 0), []);
    assert_eq!(bench.assign(1, 1, None), []);
    assert_eq!(bench.tick_to(10_000), []);
}

#[test]
fn only_the_first_of_a_batch_speaks_for_it() {
    let mut bench = Bench::assigned(batches(2));
    let (s, _) = bench.deliver(&[on(1, 1), on(2, 2)]);
    assert_eq!(bench.engine.batch(s[0]), s);
    assert_eq!(bench.finish(s[1], Verdict::Ack), []);
    assert_eq!(bench.finish_all(s[0], &[Verdict::Ack, Verdict::Ack], true), [Out::PublishReturned { slot: s[0] }]);
    assert_eq!(bench.published(s[1], Published::Confirmed), []);
    assert_eq!(settles(&bench.published(s[0], Published::Confirmed)), [(s[0], Settle::Ack), (s[1], Settle::Ack)]);
}

#[test]
fn an_answer_that_is_missing_is_a_failure() {
    let mut bench = Bench::assigned(batches(2));
    let (s, _) = bench.deliver(&[on(1, 1), on(2, 2)]);
    assert_eq!(settles(&bench.finish_all(s[0], &[Verdict::Ack], false)), [(s[0], Settle::Ack)]);
    assert_eq!(bench.engine.attempt(s[1]), 2);
}

#[test]
fn an_answer_to_another_settlement_than_the_outstanding_one_is_ignored() {
    let mut bench = Bench::assigned(config());
    let (s, _) = bench.deliver(&[meta(1)]);
    bench.finish(s[0], Verdict::Ack);
    assert_eq!(bench.settled(s[0], nack(0, 0, true), Answer::Applied), []);
    assert_eq!(bench.settled(s[0], Settle::Mark { deaths: 1 }, Answer::Applied), []);
    assert_eq!(freed(&bench.acked(s[0])), [(s[0], End::Acked)]);
}

#[test]
fn an_answer_to_a_commit_that_nobody_asked_for_is_ignored() {
    let mut bench = Bench::assigned(watermark());
    assert_eq!(bench.committed(Answer::Failed), []);
    assert_eq!(bench.engine.next_wake(), None);
    assert!(bench.engine.idle());
}

#[test]
fn more_than_was_granted_is_taken_and_granted_less_afterwards() {
    let mut bench = Bench::new(Config { messages: 8, ..config() });
    assert_eq!(grants(&bench.assign(0, 1, None)), 4);
    let (s, out) = bench.deliver(&(1..=10).map(free).collect::<Vec<_>>());
    assert_eq!(started(&out).len(), 4);
    assert_eq!(grants(&out), 0);
    for &slot in &s[..3] {
        bench.finish(slot, Verdict::Ack);
        bench.acked(slot);
    }
    // Seven of eight are held.
    assert_eq!(grants(&bench.deliver(&[]).1), 0);
    bench.finish(s[3], Verdict::Ack);
    assert!(grants(&bench.acked(s[3])) <= 2);
}

#[test]
fn tags_tell_deliveries_apart_but_not_messages() {
    let mut bench = Bench::assigned(config());
    let tag = |n| Meta { position: Position::Tag(n), ..free(n) };
    let (s, out) = bench.deliver(&[tag(5), tag(3), tag(5)]);
    assert_eq!(started(&out), s);
    assert_eq!(freed(&out), []);
}

#[test]
fn a_time_beyond_all_time_is_the_last() {
    assert_eq!(at(1).after(Duration::MAX), Time(u64::MAX));
    // A second more than there is room for.
    assert_eq!(Time(0).after(Duration::from_nanos(u64::MAX) + Duration::from_secs(1)), Time(u64::MAX));
    assert_eq!(at(1).since(at(2)), Duration::ZERO);
}

#[test]
fn an_engine_is_idle_when_its_last_commit_is_answered_or_its_partition_is_over() {
    let mut bench = Bench::assigned(watermark());
    bench.assign(2, 1, None);
    let (s, _) = bench.deliver(&[free(1)]);
    bench.finish(s[0], Verdict::Ack);
    assert!(!bench.engine.idle());
    bench.tick_to(200);
    assert!(!bench.engine.idle());
    bench.committed(Answer::Applied);
    assert!(bench.engine.idle());
    bench.revoke(2, 1000);
    assert!(bench.engine.idle());
    let (s, _) = bench.deliver(&[free(2)]);
    bench.finish(s[0], Verdict::Ack);
    bench.tick_to(400);
    assert!(!bench.engine.idle());
    bench.lose(0);
    assert!(bench.engine.idle(), "nobody waits for the answer to the commit of a partition that is lost");
}

#[test]
fn a_position_that_comes_late_is_not_taken_for_done() {
    let mut bench = Bench::assigned(watermark());
    let (s, _) = bench.deliver(&[free(1), free(5)]);
    bench.finish(s[1], Verdict::Ack);
    let (late, out) = bench.deliver(&[free(3)]);
    assert_eq!(started(&out), late);
    assert_eq!(bench.commit(), (1, vec![(5, 5)], vec![]));
    bench.finish(late[0], Verdict::Ack);
    assert_eq!(bench.commit(), (1, vec![(3, 5)], vec![]));
}

#[test]
fn what_was_done_is_told_on_though_the_list_of_it_begins_before_what_comes() {
    let mut bench = Bench::new(watermark());
    let mut progress = Progress::default();
    progress.done = vec![(Position::Offset(3), Position::Offset(8))];
    bench.assign_with(0, 1, None, false, progress);
    let (s, out) = bench.deliver(&[free(1), free(4)]);
    assert_eq!(freed(&out), [(s[1], End::Duplicate)]);
    assert_eq!(bench.commit(), (1, vec![(4, 8)], vec![]));
}
