//! Random traces, all of which have to keep every promise.
#![allow(clippy::print_stdout, reason = "the table is the point")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use convoke_simulation::{Sabotage, Stats, run};

const TRACES: u64 = 100_000;

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

#[test]
fn no_trace_breaks_a_promise() {
    let traces = std::env::var("CONVOKE_TRACES").ok().and_then(|n| n.parse().ok()).unwrap_or(TRACES);
    let begin = Instant::now();
    let next = AtomicU64::new(0);
    let failed = AtomicU64::new(u64::MAX);
    let total = Mutex::new((Stats::default(), 0));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut stats = Stats::default();
                let mut inputs = 0;
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= traces || failed.load(Ordering::Relaxed) != u64::MAX {
                        break;
                    }
                    match std::panic::catch_unwind(|| run(seed, None, false)) {
                        Ok(Ok(report)) => {
                            stats.merge(&report.stats);
                            inputs += report.inputs;
                        }
                        _ => {
                            failed.fetch_min(seed, Ordering::Relaxed);
                        }
                    }
                }
                if let Ok(mut total) = total.lock() {
                    total.0.merge(&stats);
                    total.1 += inputs;
                }
            });
        }
    });
    let failed = failed.into_inner();
    assert!(failed == u64::MAX, "seed {failed}\n{}", show(failed));
    let (stats, inputs) = total.into_inner().unwrap_or_default();
    println!("{traces} traces, {inputs} inputs, {:?}", begin.elapsed());
    for (name, count) in stats.iter() {
        println!("{count:>12}  {name}");
    }
    for (name, count) in stats.iter() {
        assert!(count >= 1000 || traces < TRACES, "{name}: only {count}");
    }
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
