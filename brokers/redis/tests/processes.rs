//! Processes of one group on a real server, which are told to stop, killed in turn and frozen, and whose server falls.

use std::process::ExitCode;

use convoke_servers::{Kind, Processes};

fn main() -> ExitCode {
    Processes::new(Kind::Redis, convoke_redis::open).option("lease=2s").run()
}
