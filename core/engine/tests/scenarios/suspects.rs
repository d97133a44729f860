//! Marks of suspects that come late, are refused, or meet something else on their way.

use convoke_core::broker::{Progress, Settle};
use convoke_core::{Epoch, PartId, Position};
use convoke_engine::*;

use crate::common::*;

const MARK: Settle = Settle::Mark { deaths: 1 };

fn suspect(position: u64) -> Meta {
    Meta { deliveries: 2, ..meta(position) }
}

fn marks() -> Bench {
    let mut bench = Bench::new(Config { marks: true, ..config() });
    bench.assign_with(0, 1, None, true, Progress::default());
    bench
}

#[test]
fn a_suspect_whose_mark_is_refused_as_stale_is_not_ours_any_more() {
    let mut bench = marks();
    let (s, out) = bench.deliver(&[suspect(1), meta(2)]);
    assert_eq!(settles(&out), [(s[0], MARK)]);
    let out = bench.settled(s[0], MARK, Answer::Stale);
    assert_eq!(freed(&out), [(s[0], End::Lost)]);
    assert_eq!(started(&out), [s[1]]);
}

#[test]
fn a_mark_with_an_old_token_is_repeated_with_the_new_one() {
    let mut bench = marks();
    let (s, _) = bench.deliver(&[suspect(1)]);
    let (again, out) = bench.deliver(&[suspect(1)]);
    assert_eq!(out, [Out::Swap { held: s[0], new: again[0] }, Out::Free { slot: again[0], end: End::Duplicate }]);
    assert_eq!(freed(&bench.settled(s[0], MARK, Answer::Stale)), []);
    assert_eq!(settles(&bench.tick_to(10)), [(s[0], MARK)]);
    assert_eq!(started(&bench.settled(s[0], MARK, Answer::Applied)), s);
}

#[test]
fn a_suspect_that_is_lost_while_it_is_marked_is_freed_with_the_answer() {
    let mut bench = marks();
    let (s, _) = bench.deliver(&[suspect(1), free(2)]);
    assert_eq!(freed(&bench.lose(0)), [(s[1], End::Lost)]);
    bench.assign(0, 2, None);
    assert_eq!(started(&bench.deliver_to(0, 2, &[free(2)]).1), []);
    let out = bench.settled(s[0], MARK, Answer::Applied);
    assert_eq!((freed(&out), started(&out).len()), (vec![(s[0], End::Lost)], 1));
}

#[test]
fn a_suspect_that_was_lost_before_it_was_tried_is_one_when_it_comes_back() {
    let mut bench = marks();
    let (s, _) = bench.deliver(&[suspect(1), on(2, 2)]);
    bench.lose(0);
    assert_eq!(freed(&bench.settled(s[0], MARK, Answer::Failed)), [(s[0], End::Lost)]);
    // The broker takes us for the last owner, who lives.
    bench.assign(0, 2, None);
    let (s, out) = bench.deliver_to(0, 2, &[Meta { deliveries: 3, ..meta(1) }, on(2, 2)]);
    assert_eq!((settles(&out), started(&out)), (vec![(s[0], MARK)], vec![]));
    assert_eq!(started(&bench.settled(s[0], MARK, Answer::Applied)), [s[0]]);
    assert_eq!(started(&bench.finish(s[0], Verdict::Ack)), [s[1]]);
    // What was tried is not suspected again.
    bench.finish(s[1], Verdict::Ack);
    bench.lose(0);
    bench.assign(0, 3, None);
    let (s, out) = bench.deliver_to(0, 3, &[Meta { deliveries: 4, ..meta(1) }, Meta { deliveries: 2, ..on(2, 2) }]);
    assert_eq!(started(&out), s);
}

#[test]
fn an_assignment_that_is_lost_before_anything_came_leaves_its_suspicion_to_the_next() {
    let mut bench = marks();
    bench.lose(0);
    bench.assign(0, 2, None);
    let (s, out) = bench.deliver_to(0, 2, &[suspect(1)]);
    assert_eq!((settles(&out), started(&out)), (vec![(s[0], MARK)], vec![]));
}

#[test]
fn what_precedes_a_marked_suspect_in_its_lane_goes_first() {
    let mut bench = marks();
    let (s, _) = bench.deliver(&[suspect(5)]);
    let (earlier, out) = bench.deliver(&[meta(3)]);
    assert_eq!(started(&out), []);
    assert_eq!(started(&bench.settled(s[0], MARK, Answer::Applied)), earlier);
    let out = bench.finish(earlier[0], Verdict::Ack);
    // Its mark is kept already.
    assert_eq!((settles(&out), started(&out)), (vec![(earlier[0], Settle::Ack)], s));
}

#[test]
fn a_suspect_whose_route_is_paused_does_not_keep_others_waiting() {
    let mut config = Config { marks: true, ..config() };
    config.routes.push(route());
    let mut bench = Bench::new(config);
    bench.assign_with(0, 1, None, true, Progress::default());
    bench.step(In::Pause { route: RouteId(0) });
    let (s, out) = bench.deliver(&[suspect(1), Meta { route: RouteId(1), lane: Some(2), ..meta(2) }]);
    assert_eq!(started(&out), [s[1]]);
    bench.step(In::Resume { route: RouteId(0) });
    assert_eq!(settles(&bench.finish(s[1], Verdict::Ack)), [(s[1], Settle::Ack), (s[0], MARK)]);
}

#[test]
fn what_precedes_a_suspect_that_waits_for_its_mark_goes_first() {
    let mut bench = marks();
    let (s, _) = bench.deliver(&[suspect(5)]);
    assert_eq!(bench.settled(s[0], MARK, Answer::Failed), []);
    let (earlier, out) = bench.deliver(&[meta(3)]);
    assert_eq!(started(&out), []);
    assert_eq!(started(&bench.tick_to(10)), earlier);
    assert_eq!(settles(&bench.finish(earlier[0], Verdict::Ack)), [(earlier[0], Settle::Ack), (s[0], MARK)]);
}

#[test]
fn by_watermark_everything_up_to_what_the_last_commit_mentions_is_suspect() {
    let mut bench = Bench::new(Config { messages: 1, ..watermark() });
    let mut left = Progress::default();
    left.done = vec![(Position::Offset(3), Position::Offset(3))];
    bench.assign_with(0, 1, None, true, left);
    let (s, out) = bench.deliver(&[free(1), free(2), free(4)]);
    assert!(out.contains(&Out::Note(Note::Alone { slot: s[0] })), "the first one by the credit: {out:?}");
    bench.committed(Answer::Applied);
    let out = bench.finish(s[0], Verdict::Ack);
    assert!(out.contains(&Out::Note(Note::Alone { slot: s[1] })), "the second one by the commit: {out:?}");
    bench.committed(Answer::Applied);
    let out = bench.finish(s[1], Verdict::Ack);
    assert_eq!(started(&out), [s[2]], "what comes later is not");
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "the driver used a slot that is not free")]
fn a_driver_that_uses_a_slot_twice_is_told() {
    let mut bench = Bench::assigned(config());
    let (s, _) = bench.deliver(&[meta(1)]);
    bench.finish(s[0], Verdict::Ack);
    bench.acked(s[0]);
    let mut deliver = |generation| {
        let meta = Meta { slot: Slot { index: s[0].index, generation }, ..meta(u64::from(generation)) };
        bench.step(In::Delivered { part: PartId(0), epoch: Epoch(1), metas: &[meta] })
    };
    assert_eq!(started(&deliver(2)).len(), 1, "it was free");
    deliver(3);
}
