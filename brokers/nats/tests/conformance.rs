//! The conformance suite on a real server, which is killed, frozen and cut off.

use convoke_servers::{Kind, Real, conform};

/// What is not tried on NATS: positions are not committed, leases are extended, credit is messages, and there are no tombstones.
const LACKING: [&str; 4] = [
    "d06_a_tombstone_is_a_dead_letter_and_stays_one",
    "d10_where_no_lease_can_be_extended_a_longer_timeout_is_refused",
    "d14_positions_are_committed_below_what_is_in_flight",
    "d16_bytes_in_flight_are_bounded_too",
];

fn nats(case: &str) -> Real {
    let real = Real::new(Kind::Nats, case, convoke_nats::open);
    // Where members come one after the other, something has to be left to do for the last one.
    // And a thousand messages through a server that writes each to the disk take their time on a busy machine.
    let stretch = match case {
        _ if case.contains("members") => 8,
        _ if case.contains("blocks_no_other") => 3,
        _ => 1,
    };
    let real = real.option("lease=5s").option("ack_wait=4s").option("revoke=3s").option("timeout=10s");
    // By default an acknowledgement is sent, and not confirmed.
    real.stretch(stretch).unconfirmed()
}

#[test]
fn nats_keeps_the_delivery_contract() {
    conform(Kind::Nats, &LACKING, nats);
}
