//! How many messages a second, through convoke and through the loop by hand: short rounds in turn, and the ratio of each pair.
//!
//! Run with `cargo run --profile bench -p convoke-benches --bin throughput`. Arguments: `--rounds 20` first, then those of
//! `Plan::from_args`. One thread; what is timed is the consumption of a backlog that was published before.

use std::time::{Duration, Instant};

use convoke::BoxError;
use convoke_benches::{Path, Plan, Prepared, Tally};
use rustix::time::{ClockId, clock_gettime};

/// What a round took.
#[derive(Debug, Clone, Copy)]
struct Round {
    wall: Duration,
    processor: Duration,
    tally: Tally,
}

fn processor() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs().try_into().unwrap_or(0))
}

fn round(plan: &Plan, path: Path) -> Result<Round, BoxError> {
    let mut plan = plan.clone();
    plan.path = path;
    let mut prepared = Prepared::new(&plan)?;
    let (wall, before) = (Instant::now(), processor());
    prepared.drain()?;
    let (wall, processor) = (wall.elapsed(), processor() - before);
    Ok(Round { wall, processor, tally: prepared.verify()? })
}

/// The geometric mean of ratios, and the ends of its 95 % interval (by Student's t of the logarithms).
fn ratio(pairs: &[(f64, f64)]) -> (f64, f64, f64) {
    #[allow(clippy::cast_precision_loss, reason = "a few rounds")]
    let n = pairs.len() as f64;
    let logs: Vec<f64> = pairs.iter().map(|(ours, other)| (ours / other).ln()).collect();
    let mean = logs.iter().sum::<f64>() / n;
    let variance = logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
    // 2.093 is t for 20 rounds, and a little too wide for more.
    let half = 2.093 * (variance / n).sqrt();
    (mean.exp(), (mean - half).exp(), (mean + half).exp())
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}

#[allow(clippy::print_stdout, reason = "a program's answer")]
fn main() -> Result<(), BoxError> {
    let mut args = std::env::args().skip(1).peekable();
    let mut rounds = 20;
    if args.next_if(|arg| arg == "--rounds").is_some() {
        rounds = args.next().ok_or("`--rounds` needs a value")?.parse()?;
    }
    let mut plan = Plan::from_args(std::iter::once("convoke".to_owned()).chain(args))?;
    plan.messages = plan.messages.max(100_000);
    let mut pairs = Vec::new();
    for index in 0..rounds {
        // Who goes first changes, so that nobody always finds the caches of the other.
        let pair = if index % 2 == 0 {
            let ours = round(&plan, Path::Convoke)?;
            (ours, round(&plan, Path::Loop)?)
        } else {
            let other = round(&plan, Path::Loop)?;
            (round(&plan, Path::Convoke)?, other)
        };
        if pair.0.tally != pair.1.tally {
            return Err(format!("void: {pair:?}").into());
        }
        pairs.push(pair);
    }
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    let messages = plan.messages as f64;
    let row = |name: &str, of: fn(&(Round, Round)) -> Round| {
        let rate = median(pairs.iter().map(|pair| messages / of(pair).wall.as_secs_f64()).collect());
        let cpu = median(pairs.iter().map(|pair| of(pair).processor.as_secs_f64() * 1e9 / messages).collect());
        println!("| {name:<12} | {rate:>10.0} | {cpu:>7.0} |");
    };
    println!("| path         | messages/s | CPU ns  |\n|--------------|-----------:|--------:|");
    row("convoke", |pair| pair.0);
    row("loop by hand", |pair| pair.1);
    let walls: Vec<_> = pairs.iter().map(|(ours, other)| (other.wall.as_secs_f64(), ours.wall.as_secs_f64())).collect();
    let cpus: Vec<_> = pairs.iter().map(|(ours, other)| (ours.processor.as_secs_f64(), other.processor.as_secs_f64())).collect();
    let ((rate, low, high), (cpu, cpu_low, cpu_high)) = (ratio(&walls), ratio(&cpus));
    println!(
        "\nconvoke / loop, {rounds} pairs: throughput {rate:.3} ({low:.3} to {high:.3}), CPU {cpu:.2} ({cpu_low:.2} to {cpu_high:.2})"
    );
    println!("Verified in each of {} rounds: {} messages, sum {}", 2 * rounds, pairs[0].0.tally.count, pairs[0].0.tally.sum);
    Ok(())
}
