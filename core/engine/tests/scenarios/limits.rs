//! Pauses, probes, time-outs, batches and suspects.

use convoke_core::broker::{Progress, Settle};
use convoke_core::{BatchOptions, DeadReason, Epoch, PartId};
use convoke_engine::*;

use crate::common::*;

const ROUTE: RouteId = RouteId(0);

#[test]
fn a_paused_route_starts_nothing() {
    let mut bench = Bench::assigned(config());
    bench.step(In::Pause { route: ROUTE });
    let (s, out) = bench.deliver(&[meta(1)]);
    assert_eq!(started(&out), []);
    assert!(bench.engine.status(ROUTE).paused);
    assert_eq!(started(&bench.step(In::Resume { route: ROUTE })), s);
}

#[test]
fn an_unavailable_dependency_suspends_the_route_until_a_probe_succeeds() {
    let mut bench = Bench::assigned(config());
    let (s, _) = bench.deliver(&[on(1, 1), on(2, 2), on(3, 1)]);
    let out = bench.finish(s[0], Verdict::Unavailable);
    assert_eq!(out, [Out::Note(Note::Suspended { route: ROUTE, probe: at(100) })]);
    bench.finish(s[1], Verdict::Ack);
    assert_eq!(starts(&bench.tick_to(100)), [(s[0], 1)]);
    let out = bench.finish(s[0], Verdict::Unavailable);
    assert_eq!(out, [Out::Note(Note::Suspended { route: ROUTE, probe: at(300) })]);
    assert_eq!(starts(&bench.tick_to(300)), [(s[0], 1)]);
    let out = bench.finish(s[0], Verdict::Ack);
    assert!(out.contains(&Out::Note(Note::Restored { route: ROUTE })));
    assert_eq!(started(&out), [s[2]]);
}

#[test]
fn what_the_layers_do_not_take_is_tried_again_soon_or_when_they_say_so() {
    let mut bench = Bench::assigned(config());
    let (s, _) = bench.deliver(&[meta(1)]);
    assert_eq!(bench.finish(s[0], Verdict::NotTaken), []);
    assert_eq!(starts(&bench.tick_to(10)), [(s[0], 1)]);
    assert_eq!(bench.finish(s[0], Verdict::NotTaken), []);
    assert_eq!(bench.engine.next_wake(), Some(at(30)));
    assert_eq!(starts(&bench.step(In::Ready { route: ROUTE })), [(s[0], 1)]);
}

#[test]
fn a_message_that_cannot_be_tried_now_waits_in_its_place_and_holds_up_no_other_lane() {
    let mut passing = config();
    passing.routes[0].on_retry = convoke_core::OnRetry::Pass;
    let mut bench = Bench::assigned(passing);
    let (s, _) = bench.deliver(&[on(1, 1), on(2, 1), on(3, 2)]);
    let out = bench.finish(s[0], Verdict::Later(ms(50)));
    assert_eq!(starts(&out), [], "the next one of its lane does not pass it, whatever comes after a retry");
    assert!(bench.finish(s[2], Verdict::Ack).contains(&Out::Settle { slot: s[2], settle: Settle::Ack }));
    assert_eq!(starts(&bench.tick_to(49)), []);
    assert_eq!(starts(&bench.tick_to(50)), [(s[0], 1)], "no attempt was counted");
    let failed = bench.finish(s[0], Verdict::Failed { after: None, reason: DeadReason::HandlerError });
    assert_eq!(starts(&failed), [(s[1], 1)], "a retry lets it pass again");
}

#[test]
fn what_is_done_by_the_verdicts_of_a_batch_is_not_what_is_tried_again_with_another_of_its_lane() {
    let mut bench = Bench::assigned(batches(5, 20));
    let (s, _) = bench.deliver(&[on(1, 1), on(2, 1), on(3, 1), on(4, 2), on(5, 2)]);
    let verdicts = [Verdict::Ack, Verdict::Later(ms(50)), Verdict::Ack, Verdict::Dead(DeadReason::Undecodable), Verdict::Drop];
    assert_eq!(bench.engine.done_by(s[0], &verdicts), [true, false, false, false, true]);
}

#[test]
fn a_handler_that_takes_too_long_has_failed() {
    let mut limited = config();
    limited.routes[0].timeout = Some(ms(50));
    let mut bench = Bench::assigned(limited);
    let (s, _) = bench.deliver(&[meta(1)]);
    assert_eq!(bench.tick_to(49), []);
    assert_eq!(bench.tick_to(50)[0], Out::Cancel { slot: s[0] });
    assert_eq!(bench.finish(s[0], Verdict::Ack), []);
    assert_eq!(starts(&bench.tick_to(150)), [(s[0], 2)]);
}

fn batches(size: u32, wait: u64) -> Config {
    let mut config = config();
    config.routes[0].batch = Some(BatchOptions::new(size, ms(wait)));
    config
}

#[test]
fn a_batch_starts_when_it_is_full_or_has_waited() {
    let mut bench = Bench::assigned(batches(3, 20));
    let (s, out) = bench.deliver(&[on(1, 1), on(2, 2)]);
    assert!(!out.iter().any(|out| matches!(out, Out::StartBatch { .. })));
    let (more, out) = bench.deliver(&[on(3, 1), on(4, 1)]);
    assert_eq!(out, [Out::StartBatch { slot: s[0], route: ROUTE, shard: 0 }]);
    assert_eq!(bench.engine.batch(s[0]), [s[0], more[0], more[1]]);
    assert_eq!(bench.tick_to(19), []);
    assert_eq!(bench.tick_to(20), [Out::StartBatch { slot: s[1], route: ROUTE, shard: 0 }]);
    assert_eq!(bench.engine.batch(s[1]), [s[1]]);
    assert_eq!(bench.engine.batch(Slot { generation: 9, ..s[1] }), []);
}

#[test]
fn a_batch_is_not_filled_by_what_becomes_due_while_it_waits() {
    let mut bench = Bench::assigned(batches(2, 20));
    let (s, _) = bench.deliver(&[on(1, 1), Meta { due: Some(at(8)), ..on(2, 1) }]);
    assert_eq!(bench.engine.next_wake(), Some(at(20)));
    bench.now = at(10).0;
    assert_eq!(bench.step(In::Tick), []);
    assert_eq!(bench.tick_to(20), [Out::StartBatch { slot: s[0], route: ROUTE, shard: 0 }]);
    assert_eq!(bench.engine.batch(s[0]), s);
}

#[test]
fn a_probe_that_succeeds_restores_a_route_of_batches() {
    let mut bench = Bench::assigned(batches(2, 0));
    let (s, _) = bench.deliver(&[on(1, 1), on(2, 2)]);
    bench.finish_all(s[0], &[Verdict::Unavailable; 2], false);
    let probe = bench.tick_to(100);
    let [Out::StartBatch { slot, .. }] = probe[..] else { panic!("{probe:?}") };
    assert_eq!(bench.engine.batch(slot).len(), 1);
    let out = bench.finish_all(slot, &[Verdict::Ack], false);
    assert!(out.contains(&Out::Note(Note::Restored { route: ROUTE })), "{out:?}");
}

#[test]
fn what_follows_a_failed_one_of_its_lane_is_repeated_with_it() {
    let mut bench = Bench::assigned(batches(4, 0));
    let (s, _) = bench.deliver(&[on(1, 1), on(2, 1), on(3, 1), on(4, 2)]);
    let out = bench.finish_all(s[0], &[Verdict::Ack, FAILED, Verdict::Ack, Verdict::Ack], true);
    assert_eq!(out, [Out::PublishReturned { slot: s[0] }]);
    let out = bench.published(s[0], Published::Confirmed);
    assert_eq!(settles(&out), [(s[0], Settle::Ack), (s[3], Settle::Ack)]);
    let out = bench.tick_to(100);
    assert_eq!(out, [Out::StartBatch { slot: s[1], route: ROUTE, shard: 0 }]);
    assert_eq!(bench.engine.batch(s[1]), [s[1], s[2]]);
    assert_eq!((bench.engine.attempt(s[1]), bench.engine.attempt(s[2])), (2, 1));
}

#[test]
fn what_a_batch_returned_and_nobody_takes_is_given_up() {
    let mut bench = Bench::assigned(batches(2, 0));
    let (s, _) = bench.deliver(&[on(1, 1), on(2, 2)]);
    bench.finish_all(s[0], &[Verdict::Ack, FAILED], true);
    assert_eq!(bench.published(s[0], Published::Again), []);
    assert_eq!(bench.tick_to(10), [Out::PublishReturned { slot: s[0] }]);
    let out = bench.published(s[0], Published::Refused);
    assert!(out.contains(&Out::PublishDead { slot: s[0], reason: DeadReason::HandlerError, attempts: 0 }));
}

fn suspect(position: u64, deaths: u32) -> Meta {
    Meta { deliveries: 2, deaths, ..free(position) }
}

#[test]
fn a_suspect_is_marked_and_tried_alone() {
    let mut bench = Bench::new(Config { marks: true, ..config() });
    bench.assign_with(0, 1, None, true, Progress::default());
    let (s, out) = bench.deliver(&[free(1), suspect(2, 1), free(3)]);
    assert_eq!(started(&out), []);
    assert_eq!(settles(&out), [(s[1], Settle::Mark { deaths: 2 })]);
    let out = bench.settled(s[1], Settle::Mark { deaths: 2 }, Answer::Failed);
    assert_eq!(started(&out), [s[0], s[2]]);
    assert_eq!(bench.tick_to(10), []);
    bench.finish(s[0], Verdict::Ack);
    let out = bench.finish(s[2], Verdict::Ack);
    assert_eq!(settles(&out), [(s[2], Settle::Ack), (s[1], Settle::Mark { deaths: 2 })]);
    let out = bench.settled(s[1], Settle::Mark { deaths: 2 }, Answer::Applied);
    assert_eq!(started(&out), [s[1]]);
    assert_eq!(started(&bench.deliver(&[free(4)]).1), []);
    assert_eq!(started(&bench.finish(s[1], FAILED)).len(), 1);
}

#[test]
fn a_suspect_that_failed_is_tried_alone_again() {
    let mut bench = Bench::new(Config { marks: true, ..config() });
    bench.assign_with(0, 1, None, true, Progress::default());
    let (s, _) = bench.deliver(&[suspect(1, 0)]);
    bench.settled(s[0], Settle::Mark { deaths: 1 }, Answer::Applied);
    let out = bench.finish(s[0], FAILED);
    assert_eq!(settles(&out), [(s[0], Settle::Mark { deaths: 0 })]);
    let out = bench.tick_to(100_000);
    assert_eq!((started(&out), settles(&out)), (vec![], vec![(s[0], Settle::Mark { deaths: 1 })]));
    assert_eq!(started(&bench.settled(s[0], Settle::Mark { deaths: 0 }, Answer::Applied)), []);
    assert_eq!(started(&bench.settled(s[0], Settle::Mark { deaths: 1 }, Answer::Applied)), s);
}

#[test]
fn a_message_that_killed_the_process_too_often_is_given_up_untried() {
    let mut bench = Bench::new(Config { marks: true, ..config() });
    bench.assign_with(0, 1, None, true, Progress::default());
    let (s, out) = bench.deliver(&[suspect(1, 3)]);
    assert!(out.contains(&Out::PublishDead { slot: s[0], reason: DeadReason::TooManyDeliveries, attempts: 0 }));
}

#[test]
fn by_watermark_the_mark_of_a_suspect_is_committed_first() {
    let mut bench = Bench::new(watermark());
    bench.assign_with(0, 1, None, true, Progress::default());
    let (s, out) = bench.deliver(&[free(1)]);
    assert!(out.contains(&Out::Commit { part: PartId(0), epoch: Epoch(1) }));
    assert_eq!(bench.commit(), (1, vec![], vec![(1, 0, 1)]));
    assert_eq!(started(&bench.committed(Answer::Applied)), [s[0]]);
    bench.finish(s[0], FAILED);
    assert_eq!(bench.commit(), (1, vec![], vec![(1, 1, 0)]));
}

#[test]
fn the_status_of_a_route_counts_what_it_holds() {
    let mut bench = Bench::assigned(config());
    bench.tick_to(5);
    let (s, _) = bench.deliver(&[on(1, 1), on(2, 1), on(3, 2), on(4, 3)]);
    bench.finish(s[2], FAILED);
    bench.finish_all(s[3], &[Verdict::Ack], true);
    let status = bench.engine.status(ROUTE);
    assert_eq!((status.running, status.queued, status.waiting, status.publishing), (1, 1, 1, 1));
    assert_eq!((status.in_flight, status.bytes, status.oldest), (4, 40, Some(at(5))));
    assert_eq!(bench.engine.status(RouteId(9)), RouteStatus::default());
    assert!(!bench.engine.idle());
}

#[test]
fn the_status_of_a_route_leaves_out_others_and_what_is_freed() {
    let mut two = config();
    two.routes.push(route());
    let mut bench = Bench::assigned(two);
    let (s, _) = bench.deliver(&[on(1, 1), Meta { route: RouteId(1), ..on(2, 2) }, on(3, 3)]);
    bench.finish(s[0], Verdict::Ack);
    bench.acked(s[0]);
    let status = |route| bench.engine.status(RouteId(route)).in_flight;
    assert_eq!((status(0), status(1)), (1, 1));
}
