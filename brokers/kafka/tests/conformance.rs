//! The conformance suite on a real Kafka: killed, frozen, and cut off.
//!
//! Who is cut off for five seconds is not taken for dead: it would have to do again what it could not commit meanwhile.
//! The largest message is smaller than by default, so that foreign clients can write it with their own defaults.

use convoke_servers::{Kind, Real, conform};

/// What Kafka has not: leases that nobody can extend, and messages that expire.
const LACKING: [&str; 2] = [
    "d10_where_no_lease_can_be_extended_a_longer_timeout_is_refused",
    "d15_what_expires_before_its_group_reads_it_is_not_handled_and_all_around_it_is",
];

fn kafka(case: &str) -> Real {
    Real::new(Kind::Kafka, case, convoke_kafka::open).option("session=9s").option("max_message=900000")
}

#[test]
fn kafka_keeps_the_delivery_contract() {
    conform(Kind::Kafka, &LACKING, kafka);
}
