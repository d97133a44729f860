//! Runs one path once and says how many allocations there were within `Prepared::drain`. Arguments: see `Plan::from_args`.

use convoke::BoxError;
use convoke_benches::{Plan, Prepared};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

#[allow(clippy::print_stdout, reason = "a program's answer")]
fn main() -> Result<(), BoxError> {
    let plan = Plan::from_args(std::env::args().skip(1))?;
    let mut prepared = Prepared::new(&plan)?;
    let region = Region::new(ALLOCATOR);
    prepared.drain()?;
    let stats = region.change();
    prepared.verify()?;
    // A reallocation is one more call of the allocator.
    println!("{}", stats.allocations + stats.reallocations);
    Ok(())
}
