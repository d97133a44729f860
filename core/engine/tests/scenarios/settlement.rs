//! Acknowledging, by message and by watermark; leases; credit.

use std::time::Duration;

use convoke_core::broker::{Delay, Mark, Progress, Settle};
use convoke_core::{DeadReason, Epoch, OnRetry, PartId, Position};
use convoke_engine::*;

use crate::common::*;

#[test]
fn a_settlement_without_an_answer_is_repeated_and_its_lane_goes_on() {
    let mut bench = Bench::assigned(config());
    let (s, _) = bench.deliver(&[meta(1), meta(2)]);
    assert_eq!(started(&bench.finish(s[0], Verdict::Ack)), [s[1]]);
    assert_eq!(bench.settled(s[0], Settle::Ack, Answer::Failed), []);
    assert_eq!(bench.tick_to(10), [Out::Settle { slot: s[0], settle: Settle::Ack }]);
    bench.settled(s[0], Settle::Ack, Answer::Failed);
    assert_eq!(bench.tick_to(29), []);
    assert_eq!(settles(&bench.tick_to(30)), [(s[0], Settle::Ack)]);
    assert_eq!(freed(&bench.settled(s[0], Settle::Ack, Answer::Stale)), [(s[0], End::Lost)]);
}

#[test]
fn a_message_that_nobody_wants_is_acknowledged_at_once() {
    let mut bench = Bench::assigned(config());
    let (s, out) = bench.deliver(&[meta(1), Meta { skip: true, ..meta(2) }]);
    assert_eq!(settles(&out), [(s[1], Settle::Ack)]);
    assert_eq!(freed(&bench.acked(s[1])), [(s[1], End::Skipped)]);
}

#[test]
fn a_dead_letter_that_is_refused_keeps_its_lane_and_is_tried_for_ever() {
    let mut bench = Bench::assigned(config());
    let (s, _) = bench.deliver(&[meta(1), meta(2)]);
    bench.finish(s[0], Verdict::Dead(convoke_core::DeadReason::Panic));
    let out = bench.published(s[0], Published::Refused);
    assert_eq!(out, [Out::Note(Note::Stuck { slot: s[0] })]);
    assert!(matches!(bench.tick_to(80)[..], [Out::PublishDead { .. }]));
    assert_eq!(bench.published(s[0], Published::Refused), []);
    assert!(matches!(bench.tick_to(160)[..], [Out::PublishDead { .. }]));
    assert_eq!(started(&bench.published(s[0], Published::Confirmed)), [s[1]]);
}

#[test]
fn the_watermark_is_the_lowest_that_is_not_done() {
    let mut bench = Bench::assigned(watermark());
    let (s, _) = bench.deliver(&[free(10), free(12), free(13), free(20)]);
    bench.finish(s[1], Verdict::Ack);
    assert_eq!(bench.commit(), (10, vec![(12, 12)], vec![]));
    bench.finish(s[3], Verdict::Ack);
    assert_eq!(bench.commit(), (10, vec![(12, 12), (20, 20)], vec![]));
    bench.finish(s[2], Verdict::Ack);
    assert_eq!(bench.commit(), (10, vec![(12, 20)], vec![]));
    assert_eq!(freed(&bench.finish(s[0], Verdict::Ack)), [(s[0], End::Acked)]);
    assert_eq!(bench.commit(), (21, vec![], vec![]));
}

#[test]
fn commits_are_no_more_frequent_than_asked_for() {
    let mut bench = Bench::assigned(watermark());
    let (s, _) = bench.deliver(&[free(1), free(2), free(3)]);
    bench.finish(s[0], Verdict::Ack);
    bench.finish(s[1], Verdict::Ack);
    assert_eq!(bench.tick_to(199), []);
    let commit = Out::Commit { part: PartId(0), epoch: Epoch(1) };
    assert_eq!(bench.tick_to(200), [commit]);
    bench.finish(s[2], Verdict::Ack);
    assert_eq!(bench.tick_to(1000), []);
    bench.committed(Answer::Failed);
    assert_eq!(bench.tick_to(1010), [commit]);
    bench.committed(Answer::Applied);
    assert!(bench.engine.idle());
}

#[test]
fn what_the_last_owner_had_done_is_not_repeated() {
    let mut bench = Bench::new(watermark());
    let mut progress = Progress::default();
    progress.done = vec![(Position::Offset(11), Position::Offset(12)), (Position::Offset(30), Position::Offset(31))];
    progress.marks = vec![Mark::new(Position::Offset(10), 2, 0), Mark::new(Position::Offset(33), 1, 0)];
    bench.assign_with(0, 1, None, false, progress);
    let (s, out) = bench.deliver(&[free(10), free(11), free(12), free(13)]);
    assert_eq!(freed(&out), [(s[1], End::Duplicate), (s[2], End::Duplicate)]);
    assert_eq!(starts(&out), [(s[0], 3), (s[3], 1)]);
    assert_eq!(bench.commit(), (10, vec![(11, 12), (30, 31)], vec![(10, 2, 0), (33, 1, 0)]));
}

#[test]
fn a_repeat_of_what_is_done_is_freed_without_running() {
    let mut bench = Bench::assigned(watermark());
    let (s, _) = bench.deliver(&[free(1), free(2), free(5)]);
    bench.finish(s[1], Verdict::Ack);
    let (again, out) = bench.deliver(&[free(2), free(3)]);
    assert_eq!(freed(&out), [(again[0], End::Duplicate)]);
    assert_eq!(started(&out), [again[1]]);
    assert_eq!(bench.commit(), (1, vec![(2, 2)], vec![]));
}

#[test]
fn leases_are_extended_at_every_third() {
    let mut bench = Bench::assigned(Config { lease: Some(ms(300)), ..config() });
    let (s, _) = bench.deliver(&[meta(1), meta(2)]);
    let extended = [(s[0], Settle::Extend), (s[1], Settle::Extend)];
    assert_eq!(settles(&bench.tick_to(99)), []);
    assert_eq!(settles(&bench.tick_to(100)), extended);
    assert_eq!(settles(&bench.tick_to(200)), extended);
    assert_eq!(bench.settled(s[0], Settle::Extend, Answer::Failed), []);
    assert_eq!(freed(&bench.settled(s[1], Settle::Extend, Answer::Stale)), [(s[1], End::Lost)]);
    // The one that runs is fenced.
    bench.settled(s[0], Settle::Extend, Answer::Stale);
    let (again, out) = bench.deliver(&[meta(1)]);
    assert_eq!(out, []);
    let out = bench.finish(s[0], Verdict::Ack);
    assert_eq!((freed(&out), started(&out)), (vec![(s[0], End::Lost)], vec![again[0]]));
}

#[test]
fn leases_are_extended_on_demand_and_nothing_else_happens_then() {
    let mut bench = Bench::assigned(Config { lease: Some(ms(300)), ..config() });
    let (s, _) = bench.deliver(&[meta(1), on(2, 2)]);
    bench.finish(s[0], FAILED);
    let mut out = Vec::new();
    bench.engine.extend(at(99), &mut out);
    assert_eq!(out, []);
    bench.engine.extend(at(100), &mut out);
    assert_eq!(settles(&out), [(s[0], Settle::Extend), (s[1], Settle::Extend)]);
    assert_eq!(out.len(), 2, "the retry that is due does not start");
    bench.step(In::Drain { by: at(0) });
    out.clear();
    bench.engine.extend(at(1000), &mut out);
    assert_eq!(out, []);
}

#[test]
fn an_acknowledgement_with_an_old_token_is_repeated_with_the_new_one() {
    let mut bench = Bench::assigned(Config { lease: Some(ms(300)), ..config() });
    let (s, _) = bench.deliver(&[meta(1)]);
    bench.tick_to(100);
    bench.finish(s[0], Verdict::Ack);
    let (again, out) = bench.deliver(&[meta(1)]);
    assert_eq!(out, [Out::Swap { held: s[0], new: again[0] }, Out::Free { slot: again[0], end: End::Duplicate }]);
    assert_eq!(bench.settled(s[0], Settle::Extend, Answer::Stale), []);
    assert_eq!(settles(&bench.settled(s[0], Settle::Ack, Answer::Stale)), [(s[0], Settle::Ack)]);
    assert_eq!(freed(&bench.acked(s[0])), [(s[0], End::Acked)]);
}

#[test]
fn one_partition_cannot_use_up_what_another_is_entitled_to() {
    let mut bench = Bench::new(Config { messages: 16, ..config() });
    assert_eq!(grants(&bench.assign(0, 1, None)), 8);
    assert_eq!(grants(&bench.assign(1, 1, None)), 4);
    let (_, out) = bench.deliver(&(1..=8).map(free).collect::<Vec<_>>());
    // The second one's four are kept for it; four are left to be lent.
    assert_eq!(grants(&out), 4);
    let (_, out) = bench.deliver(&(9..=12).map(free).collect::<Vec<_>>());
    assert_eq!(grants(&out), 0);
    let (s, out) = bench.deliver_to(1, 1, &[free(1), free(2), free(3), free(4)]);
    assert_eq!((grants(&out), started(&out).len()), (0, 0));
    assert_eq!(s.len(), 4);
}

#[test]
fn a_full_lane_stops_its_partition_and_no_other() {
    let mut bench = Bench::new(Config { messages: 64, backlog: 3, ..config() });
    bench.assign(0, 1, None);
    bench.assign(1, 1, None);
    let (s, out) = bench.deliver(&[meta(1), meta(2), meta(3)]);
    assert!(out.contains(&Out::Note(Note::Full { part: PartId(0), cap: Cap::Backlog })));
    assert_eq!(grants(&out), 0);
    assert!(grants(&bench.deliver_to(1, 1, &(1..=8).map(free).collect::<Vec<_>>()).1) > 0);
    bench.deliver(&(4..=20).map(free).collect::<Vec<_>>());
    assert!(grants(&bench.finish(s[0], Verdict::Ack)) > 0);
}

#[test]
fn too_much_above_the_watermark_stops_the_intake() {
    let mut bench = Bench::assigned(Config { ahead: 2, messages: 16, ..watermark() });
    let (s, _) = bench.deliver(&(1..=8).map(free).collect::<Vec<_>>());
    bench.deliver(&(9..=16).map(free).collect::<Vec<_>>());
    bench.finish(s[1], Verdict::Ack);
    let out = bench.finish(s[3], Verdict::Ack);
    assert!(out.contains(&Out::Note(Note::Full { part: PartId(0), cap: Cap::Ahead })));
    assert!(grants(&bench.finish(s[0], Verdict::Ack)) > 0);
}

/// By watermark, with everything running at once and no cap on what is done ahead.
fn spacious() -> Config {
    Config { ahead: 10_000, routes: vec![Route { concurrency: 10_000, ..route() }], ..watermark() }
}

#[test]
fn a_commit_whose_text_is_nearly_full_stops_the_intake_until_there_is_room() {
    let mut bench = Bench::assigned(Config { progress: Some(400), messages: 1000, bytes: 1 << 30, ..spacious() });
    let (mut slots, mut full) = (Vec::new(), false);
    for at in 0..200 {
        let (s, _) = bench.deliver(&[free(2 * at), free(2 * at + 1)]);
        slots.push(s[0]);
        let out = bench.finish(s[1], Verdict::Ack);
        full |= out.contains(&Out::Note(Note::Full { part: PartId(0), cap: Cap::Progress }));
        if full {
            break;
        }
    }
    assert!(full && bench.engine.full() == 1, "it stops");
    let text = |bench: &Bench| {
        let commit = bench.engine.commit(Time(0), PartId(0)).unwrap();
        (commit.progress.done.len(), commit.progress.encode(commit.upto, Duration::ZERO, true).unwrap().len())
    };
    let (ranges, length) = text(&bench);
    assert!((100..=400).contains(&length), "{length} characters of 400");
    assert_eq!(ranges, slots.len(), "and says everything");
    // Each range is taken for four characters, beside 64 for the rest: with these it is more than three quarters.
    assert_eq!(ranges, 60);
    for slot in slots {
        bench.finish(slot, Verdict::Ack);
    }
    assert_eq!((text(&bench).0, bench.engine.full()), (0, 0));
}

#[test]
fn marks_fill_the_text_of_a_commit_too() {
    let mut bench = Bench::assigned(Config { progress: Some(200), messages: 1000, ..spacious() });
    let full = |n: &u64| {
        let (s, out) = bench.deliver(&[free(*n)]);
        bench.finish(s[0], FAILED);
        out.contains(&Out::Note(Note::Full { part: PartId(0), cap: Cap::Progress }))
    };
    // Each is taken for seven characters: 64 and 13 of those are more than three quarters.
    assert_eq!((1..=20).find(full), Some(14));
}

#[test]
fn a_commit_that_keeps_failing_is_repeated_less_and_less_often() {
    let mut bench = Bench::assigned(watermark());
    let (s, _) = bench.deliver(&[free(1)]);
    bench.finish(s[0], Verdict::Ack);
    let commit = [Out::Commit { part: PartId(0), epoch: Epoch(1) }];
    for at in [200, 210, 230, 270, 350, 430] {
        assert_eq!(bench.tick_to(at - 1), []);
        assert_eq!(bench.tick_to(at), commit);
        assert_eq!(bench.committed(Answer::Failed), []);
    }
}

#[test]
fn what_a_commit_has_no_room_for_is_left_out_from_the_top() {
    let mut bench = Bench::assigned(Config { progress: Some(100), messages: 1000, ..spacious() });
    let (s, _) = bench.deliver(&(0..200).map(free).collect::<Vec<_>>());
    s.iter().skip(1).step_by(2).for_each(|slot| drop(bench.finish(*slot, Verdict::Ack)));
    let commit = bench.engine.commit(Time(0), PartId(0)).unwrap();
    let length = commit.progress.encode(commit.upto, Duration::ZERO, true).unwrap().len();
    assert!(length <= 100 && commit.progress.done.len() > 10, "{length}: {:?}", commit.progress);
    assert_eq!(commit.progress.done[0], (Position::Offset(1), Position::Offset(1)));
}

#[test]
fn a_delay_that_the_last_owner_left_is_waited_out() {
    let mut bench = Bench::new(watermark());
    let mut progress = Progress::default();
    let mut mark = Mark::new(Position::Offset(1), 2, 0);
    mark.due_in = Duration::from_millis(700);
    progress.marks = vec![mark];
    bench.assign_with(0, 1, None, false, progress);
    bench.tick_to(200);
    let (s, out) = bench.deliver(&[free(1)]);
    assert_eq!(started(&out), []);
    assert_eq!(bench.engine.commit(Time(200_000_000), PartId(0)).unwrap().progress.marks[0].due_in, Duration::from_millis(500));
    assert_eq!(bench.tick_to(699).iter().filter(|out| matches!(out, Out::Start { .. })).count(), 0);
    assert_eq!(starts(&bench.tick_to(700)), [(s[0], 3)]);
}

#[test]
fn partitions_whose_messages_wait_hold_a_quarter_of_the_credit_at_most() {
    let mut bench = Bench::new(Config { messages: 64, ..config() });
    for part in 0..3 {
        bench.assign(part, 1, None);
    }
    for part in [1, 2] {
        bench.step(In::Waits { part: PartId(part), epoch: Epoch(1) });
    }
    let waits = |at| Meta { due: Some(Time(1 << 60)), ..free(at) };
    let mut granted = 0;
    for at in 0..20 {
        let (s, out) = bench.deliver_to(1, 1, &[waits(at)]);
        granted += grants(&out);
        assert_eq!(s.len(), 1);
    }
    assert_eq!(granted, 0, "it has 20 and may have 8");
    assert!(grants(&bench.deliver(&(0..32).map(free).collect::<Vec<_>>()).1) > 0, "the others have not noticed");
}

#[test]
fn what_belongs_to_an_old_generation_is_ignored() {
    let mut bench = Bench::assigned(config());
    let (s, _) = bench.deliver(&[meta(1)]);
    let old = Slot { generation: 0, ..s[0] };
    assert_eq!(bench.finish(old, Verdict::Ack), []);
    assert_eq!(bench.acked(s[0]), []);
    assert_eq!(bench.published(s[0], Published::Confirmed), []);
    let (late, out) = bench.deliver_to(0, 7, &[meta(2)]);
    assert_eq!(out, [Out::Free { slot: late[0], end: End::Lost }]);
    assert_eq!((bench.engine.attempt(s[0]), bench.engine.attempt(old)), (1, 0));
}

#[test]
fn what_came_again_while_it_was_given_back_is_left_to_the_new_delivery() {
    let mut passing = Config { delay: Delay::Native { max: ms(100_000) }, ..config() };
    passing.routes[0].on_retry = OnRetry::Pass;
    let mut bench = Bench::assigned(passing);
    let (s, _) = bench.deliver(&[meta(1)]);
    let out = bench.finish(s[0], Verdict::Failed { after: Some(ms(60_000)), reason: DeadReason::HandlerError });
    assert_eq!(settles(&out), [(s[0], nack(60_000, 1, false))]);
    let (again, out) = bench.deliver(&[meta(1)]);
    assert_eq!(started(&out), again);
    assert_eq!(freed(&bench.settled(s[0], nack(60_000, 1, false), Answer::Failed)), [(s[0], End::Lost)]);
}

#[test]
fn only_the_answers_to_extensions_by_an_old_token_are_ignored() {
    let mut bench = Bench::assigned(Config { lease: Some(ms(300)), ..config() });
    let (s, _) = bench.deliver(&[meta(1)]);
    assert_eq!(settles(&bench.tick_to(100)), [(s[0], Settle::Extend)]);
    bench.deliver(&[meta(1)]);
    assert_eq!(bench.settled(s[0], Settle::Extend, Answer::Stale), []);
    assert_eq!(settles(&bench.tick_to(200)), [(s[0], Settle::Extend)]);
    bench.settled(s[0], Settle::Extend, Answer::Stale);
    assert_eq!(settles(&bench.tick_to(300)), [], "it is not ours any more");
    assert_eq!(freed(&bench.finish(s[0], Verdict::Ack)), [(s[0], End::Lost)]);
}
