//! The conformance suite on a real RabbitMQ, which is killed, frozen and cut off.

use convoke_servers::{Kind, Real, conform};

/// The cases that wait until an acknowledgement is overdue, or longer.
const OVERDUE: [&str; 4] = [
    "d10_a_slow_handler_is_kept_alive_with_all_that_waits_behind_it",
    "d12_a_process_that_was_frozen_starts_nothing_that_another_has_taken_over",
    "d18_what_a_drain_gave_back_does_not_come_and_go_while_it_waits",
    "d19_a_handler_that_is_paused_for_longer_than_its_lease_loses_and_repeats_nothing",
];

/// The cases in which there has to be work left when a member has come, or a flood was published.
const LONG: [&str; 3] = [
    "d12_a_key_is_in_order_while_members_come_and_go",
    "d15_members_share_the_work_and_joining_and_leaving_loses_nothing",
    "d16_a_flood_with_a_slow_handler_stays_in_the_broker",
];

fn rabbitmq(case: &str) -> Real {
    let real = Real::new(Kind::RabbitMq, case, convoke_rabbitmq::open).unconfirmed();
    // Whatever the wire is like.
    let is = |one: &&str| case.starts_with(one);
    if OVERDUE.iter().any(is) {
        return real.variable("CONSUMER_TIMEOUT", "20000").option("consumer_timeout=20s");
    }
    let long = LONG.iter().any(is) && !convoke_conformance::fells_the_server(case);
    real.stretch(if long { 4 } else { 1 })
}

/// What RabbitMQ has not, cannot be made to do, or a foreign client of it cannot write.
const LACKING: [&str; 13] = [
    "d06_a_tombstone_is_a_dead_letter_and_stays_one",
    "d07b_a_message_that_kills_its_process_is_given_up_and_takes_no_others",
    "d07b_a_message_that_kills_its_process_is_given_up_and_takes_no_others_on_a_slow_wire",
    "d07b_a_message_that_kills_its_process_is_given_up_and_takes_no_others_while_the_server_falls",
    "d07b_what_was_in_flight_at_a_death_is_tried_alone_once",
    "d14_positions_are_committed_below_what_is_in_flight",
    "d15_reading_to_a_marked_end_ends_when_everything_before_it_is_settled",
    "d16_bytes_in_flight_are_bounded_too",
    "d22_a_dead_letter_goes_back_byte_for_byte_less_the_headers_of_its_death",
    "d24_at_a_gap_the_subscription_stops_if_the_policy_says_so",
    "d24_what_the_broker_discarded_before_it_was_read_is_reported",
    "d24_what_the_broker_discarded_before_it_was_read_is_reported_on_a_broken_wire",
    "d24_what_the_broker_discarded_before_it_was_read_is_reported_while_the_server_falls",
];

#[test]
fn rabbitmq_keeps_the_delivery_contract() {
    conform(Kind::RabbitMq, &LACKING, rabbitmq);
}
