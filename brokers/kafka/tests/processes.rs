//! Processes of one group on a real server, which are told to stop, killed in turn and frozen, and whose server falls.

use std::process::ExitCode;

use convoke_servers::{Kind, Processes};

fn main() -> ExitCode {
    // Four in flight, and what was finished since the last commit and while one was on its way.
    Processes::new(Kind::Kafka, convoke_kafka::open).option("session=6s").repeats(4 * (2 + 200 / 20 * 2)).run()
}
