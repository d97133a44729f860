//! Random traces, all of which have to keep every promise.
#![allow(clippy::print_stdout, reason = "the table is the point")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use convoke_simulation::{Sabotage, Stats, run};

const TRACES: u64 = 100_000;

/// How many inputs every trace has, at least.
const EVENTS: u64 = 200;

/// How often everything has to be reached, at least.
const ENOUGH: u64 = 1000;

fn show(seed: u64) -> String {
    match run(seed, None, true) {
        Ok(report) => report.trace.join("\n"),
        Err(failure) => format!(
            "{}\ninvariant {}: {}\nagain: CONVOKE_SEED={seed} cargo test -p convoke-simulation one_seed -- --nocapture",
            failure.trace.join("\n"),
            failure.violation.number,
            failure.violation.what
        ),
    }
}

/// What many traces came to.
struct Sum {
    stats: Stats,
    inputs: u64,
    /// The inputs of the shortest.
    least: u64,
}

impl Sum {
    fn new() -> Self {
        Self { stats: Stats::default(), inputs: 0, least: u64::MAX }
    }

    fn add(&mut self, stats: &Stats, inputs: u64, least: u64) {
        self.stats.merge(stats);
        self.inputs += inputs;
        self.least = self.least.min(least);
    }
}

/// Runs the seeds below `traces`, one in so many on each thread: what is found does not depend on how many there are. An error is
/// the first seed that breaks a promise.
fn run_all(traces: u64) -> Result<Sum, u64> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let failed = AtomicU64::new(u64::MAX);
    let share = |first: usize| {
        let mut sum = Sum::new();
        for seed in (first as u64..traces).step_by(threads) {
            // What comes after a failure does not matter; what comes before it does.
            if seed > failed.load(Ordering::Relaxed) {
                break;
            }
            match std::panic::catch_unwind(|| run(seed, None, false)) {
                Ok(Ok(report)) => sum.add(&report.stats, report.inputs, report.inputs),
                _ => {
                    failed.fetch_min(seed, Ordering::Relaxed);
                }
            }
        }
        sum
    };
    let mut total = Sum::new();
    std::thread::scope(|scope| {
        let share = &share;
        let running: Vec<_> = (0..threads).map(|first| scope.spawn(move || share(first))).collect();
        for sum in running.into_iter().filter_map(|thread| thread.join().ok()) {
            total.add(&sum.stats, sum.inputs, sum.least);
        }
    });
    match failed.into_inner() {
        u64::MAX => Ok(total),
        seed => Err(seed),
    }
}

#[test]
fn no_trace_breaks_a_promise() {
    let traces = std::env::var("CONVOKE_TRACES").ok().and_then(|n| n.parse().ok()).unwrap_or(TRACES);
    let begin = Instant::now();
    let Sum { stats, inputs, least } = run_all(traces).unwrap_or_else(|seed| panic!("seed {seed}\n{}", show(seed)));
    println!("{traces} traces, {inputs} inputs, {least} in the shortest, {:?}", begin.elapsed());
    for (reached, count) in stats.iter() {
        println!("{count:>12}  {}", reached.text());
    }
    let rare: Vec<_> = stats.iter().filter(|&(_, count)| count < ENOUGH).collect();
    assert!(rare.is_empty() || traces < TRACES, "not reached, or hardly: {rare:?}");
    assert!(least >= EVENTS, "a trace of only {least} inputs");
}

#[test]
fn every_planted_fault_is_caught_by_the_promise_that_it_breaks() {
    for (sabotage, numbers) in Sabotage::ALL {
        let caught = (0..500).find_map(|seed| run(seed, Some(sabotage), false).err().map(|failure| (seed, failure)));
        let Some((seed, failure)) = caught else { panic!("{sabotage:?} is not caught") };
        let violation = failure.violation;
        println!("{sabotage:?}: invariant {}, trace {seed}: {:.90}", violation.number, violation.what);
        assert!(numbers.contains(&violation.number), "{sabotage:?} is taken for something else: {violation:?}");
    }
}

#[test]
fn a_seed_gives_the_same_trace_again() {
    for seed in 0..20 {
        assert_eq!(show(seed), show(seed));
    }
}

/// Shows the trace of `CONVOKE_SEED`.
#[test]
fn one_seed() {
    if let Some(seed) = std::env::var("CONVOKE_SEED").ok().and_then(|seed| seed.parse().ok()) {
        println!("{}", show(seed));
        assert!(run(seed, None, false).is_ok(), "seed {seed} breaks a promise");
    }
}
