//! Processes of one group on a real server, which are killed in turn and told to stop.

use std::process::ExitCode;

use convoke_servers::{Kind, Processes};

fn main() -> ExitCode {
    Processes::new(Kind::Nats, convoke_nats::open).option("lease=3s").option("revoke=3s").option("ack_wait=4s").run()
}
