//! Processes of one group on a real server, which are told to stop, killed in turn and frozen, and whose server falls.

use std::process::ExitCode;

use convoke_servers::{Kind, Processes};

fn main() -> ExitCode {
    Processes::new(Kind::Nats, convoke_nats::open).option("lease=3s").option("revoke=3s").option("ack_wait=4s").run()
}
