//! Processes of one group on a real server, which are told to stop, killed in turn and frozen, and whose server falls.

use std::process::ExitCode;

use convoke_servers::{Kind, Processes};

fn main() -> ExitCode {
    // What was settled in the last second before the server fell, as nothing else of that time, may not be on its disk.
    Processes::new(Kind::Redis, convoke_redis::open).option("lease=2s").repeats_after_a_fall(400).run()
}
