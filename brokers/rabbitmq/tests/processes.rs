//! Processes of one group on a real server, which are told to stop, killed in turn and frozen, and whose server falls.

use std::process::ExitCode;

use convoke_servers::{Kind, Processes};

fn main() -> ExitCode {
    Processes::new(Kind::RabbitMq, convoke_rabbitmq::open)
        .option("heartbeat=2s")
        .option("revoke=2s")
        .without_a_fall("keys begin out of order behind a server that is killed while two processes work: a defect that is known")
        .run()
}
