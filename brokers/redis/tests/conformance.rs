//! The conformance suite on a real Redis: killed, frozen, and cut off.

use convoke_servers::{Kind, Real, conform};

fn redis(case: &str) -> Real {
    Real::new(Kind::Redis, case, convoke_redis::open).option("lease=5s")
}

/// What there is nothing to try of: leases are renewed, messages are settled one by one and do not expire, and
/// credit counts messages.
const LACKING: [&str; 4] = [
    "d10_where_no_lease_can_be_extended_a_longer_timeout_is_refused",
    "d14_positions_are_committed_below_what_is_in_flight",
    "d15_what_expires_before_its_group_reads_it_is_not_handled_and_all_around_it_is",
    "d16_bytes_in_flight_are_bounded_too",
];

#[test]
fn redis_keeps_the_delivery_contract() {
    conform(Kind::Redis, &LACKING, redis);
}
