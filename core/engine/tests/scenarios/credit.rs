//! Credit to the last message and the last byte: what is lent comes back, and nothing else does.

use convoke_core::broker::Resume;
use convoke_core::{Epoch, PartId};
use convoke_engine::*;

use crate::common::*;

/// Messages and bytes that were granted to a partition.
fn granted(out: &[Out], to: u32) -> (u32, u64) {
    out.iter().fold((0, 0), |sum, out| match *out {
        Out::Grant { part, messages, bytes, .. } if part.0 == to => (sum.0 + messages, sum.1 + bytes),
        _ => sum,
    })
}

/// An adapter: it delivers messages of ten bytes, and keeps to what it is granted.
struct Tap {
    part: u32,
    credit: (u32, u64),
    next: u64,
}

impl Tap {
    fn assigned(bench: &mut Bench, part: u32) -> Self {
        let out = bench.assign(part, 1, None);
        Self { part, credit: granted(&out, part), next: 1 }
    }

    fn hear(&mut self, out: &[Out]) {
        let (messages, bytes) = granted(out, self.part);
        self.credit = (self.credit.0 + messages, self.credit.1 + bytes);
    }

    /// Delivers one at a time, until it may deliver no more.
    fn fill(&mut self, bench: &mut Bench) -> Vec<Slot> {
        let mut slots = Vec::new();
        while self.credit.0 > 0 && self.credit.1 > 0 {
            self.credit = (self.credit.0 - 1, self.credit.1.saturating_sub(10));
            let (slot, out) = bench.deliver_to(self.part, 1, &[free(self.next)]);
            self.next += 1;
            slots.extend(slot);
            self.hear(&out);
        }
        slots
    }
}

/// Everything runs at once.
fn wide(messages: u32, bytes: u64) -> Config {
    Config { messages, bytes, routes: vec![Route { concurrency: 1000, ..route() }], ..config() }
}

fn settle(bench: &mut Bench, slot: Slot) -> Vec<Out> {
    let mut out = bench.finish(slot, Verdict::Ack);
    out.extend(bench.acked(slot));
    out
}

#[test]
fn what_was_lent_comes_back_in_full() {
    for config in [wide(16, 1 << 20), wide(1000, 160)] {
        let mut bench = Bench::new(config);
        let mut tap = Tap::assigned(&mut bench, 0);
        for _ in 0..3 {
            let slots = tap.fill(&mut bench);
            assert_eq!(slots.len(), 16);
            for slot in slots {
                let out = settle(&mut bench, slot);
                tap.hear(&out);
            }
        }
    }
}

#[test]
fn what_another_partition_was_entitled_to_is_free_when_it_is_gone() {
    let mut bench = Bench::new(wide(16, 1 << 20));
    let mut tap = Tap::assigned(&mut bench, 0);
    bench.assign(1, 1, None);
    assert_eq!(tap.fill(&mut bench).len(), 12);
    tap.hear(&bench.lose(1));
    assert_eq!(tap.fill(&mut bench).len(), 4);
}

#[test]
fn who_waits_for_credit_gets_what_another_partition_gives_back() {
    for config in [wide(16, 1 << 20), wide(1000, 160)] {
        let mut bench = Bench::new(config);
        let mut lender = Tap::assigned(&mut bench, 0);
        let mut hungry = Tap::assigned(&mut bench, 1);
        let lent = lender.fill(&mut bench);
        assert_eq!((lent.len(), hungry.fill(&mut bench).len()), (12, 4));
        // Four are granted to the first one again, which has none left; the rest is for who waits.
        for &slot in &lent[..6] {
            let out = settle(&mut bench, slot);
            hungry.hear(&out);
        }
        assert_eq!(hungry.fill(&mut bench).len(), 2);
    }
}

#[test]
fn bytes_are_granted_again_when_a_quarter_is_used() {
    let mut bench = Bench::new(wide(1000, 160));
    assert_eq!(granted(&bench.assign(0, 1, None), 0), (500, 80));
    assert_eq!(granted(&bench.deliver(&[free(1)]).1, 0), (0, 0));
    assert_eq!(granted(&bench.deliver(&[free(2)]).1, 0), (2, 20));
}

#[test]
fn more_than_was_granted_does_not_distort_what_is_granted_later() {
    let mut bench = Bench::new(Config { backlog: 2, ..wide(16, 1 << 20) });
    let mut tap = Tap::assigned(&mut bench, 0);
    // The intake is stopped, so there is nothing left of what was granted.
    let (mut slots, _) = bench.deliver(&(1..=8).map(meta).collect::<Vec<_>>());
    settle(&mut bench, slots.remove(0));
    slots.extend(bench.deliver(&[meta(9)]).0);
    tap.credit = (0, 1 << 19);
    for slot in slots {
        let out = settle(&mut bench, slot);
        tap.hear(&out);
    }
    tap.next = 10;
    assert_eq!(tap.fill(&mut bench).len(), 16);
}

#[test]
fn bytes_without_end_are_no_limit() {
    let mut bench = Bench::new(wide(16, u64::MAX));
    assert!(granted(&bench.assign(0, 1, None), 0).1 > 1 << 50);
    let (_, out) = bench.deliver(&(1..=8).map(|at| Meta { bytes: u32::MAX, ..free(at) }).collect::<Vec<_>>());
    assert!(granted(&out, 0).1 >= 8 * u64::from(u32::MAX));
}

#[test]
fn a_partition_whose_messages_waited_and_that_is_gone_takes_nothing_from_others_that_wait() {
    let mut bench = Bench::new(wide(64, 1 << 20));
    let assigned = |bench: &mut Bench, part| {
        let (part, epoch, resume) = (PartId(part), Epoch(1), Resume::default());
        let mut out = Vec::new();
        bench.engine.elapse(Time(0), &mut out);
        bench.engine.take(Time(0), In::Assigned { part, epoch, until: None, resume: &resume }, &mut out);
        bench.engine.take(Time(0), In::Waits { part, epoch }, &mut out);
        bench.engine.follow(Time(0), &mut out);
        granted(&out, part.0).0
    };
    assert_eq!(assigned(&mut bench, 1), 16, "a quarter of all");
    assert_eq!(assigned(&mut bench, 2), 8, "half of that");
    bench.lose(1);
    bench.revoke(2, 1000);
    bench.assign(3, 1, None);
    assert_eq!(assigned(&mut bench, 0), 16);
}
