//! Runs one path once, to be counted from outside: `count.sh` runs it under callgrind, which counts what happens within
//! `Prepared::drain`.
//!
//! Run with `cargo run --profile counted --bin path -- convoke --messages 20000`. Arguments: see `Plan::from_args`.

use convoke::BoxError;
use convoke_benches::{Plan, Prepared};

#[allow(clippy::print_stdout, reason = "a program's answer")]
fn main() -> Result<(), BoxError> {
    let plan = Plan::from_args(std::env::args().skip(1))?;
    let mut prepared = Prepared::new(&plan)?;
    prepared.drain()?;
    let tally = prepared.verify()?;
    println!("{} messages, sum {}", tally.count, tally.sum);
    Ok(())
}
