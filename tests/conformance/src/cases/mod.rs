//! The cases, in the order of the promises.

use crate::run::Case;
use crate::weather::Weather;

mod d01_at_least_once;
mod d02_crash;
mod d03_connection;
mod d04_publish;
mod d05_flush;
mod d06_poison;
mod d07_retry;
mod d07b_crash_loop;
mod d08_dead_letter;
mod d09_storm;
mod d10_slow;
mod d11_panic;
mod d12_order;
mod d13_hold;
mod d14_settlement;
mod d15_groups;
mod d16_back_pressure;
mod d17_isolation;
mod d18_drain;
mod d19_control;
mod d20_unavailable;
mod d21_round_trip;
mod d22_redrive;
mod d23_visible;
mod d24_gaps;

/// A case is run as it is; and again on a wire that is `slow`, or `broken`, and while the server `falls`, where it says so. One that is
/// `alone` makes the server suffer, and one about the `wire` disturbs that itself.
macro_rules! cases {
    ($($promise:literal $module:ident: $($name:ident $(($($word:ident)+))?)*;)*) => {
        /// Every case.
        pub(crate) fn all() -> Vec<Case> {
            let mut cases = Vec::new();
            $($({
                let words: &[&str] = &[$($(stringify!($word)),+)?];
                let alone = words.contains(&"alone");
                let weather = if words.contains(&"wire") { Weather::Made } else { Weather::Calm };
                let case = Case { promise: $promise, name: stringify!($name), alone, weather, run: |lab| Box::pin($module::$name(lab)) };
                cases.push(case);
                if words.contains(&"slow") {
                    cases.push(Case { name: concat!(stringify!($name), "_on_a_slow_wire"), weather: Weather::Slow, ..case });
                }
                if words.contains(&"broken") {
                    cases.push(Case { name: concat!(stringify!($name), "_on_a_broken_wire"), weather: Weather::Broken, ..case });
                }
                if words.contains(&"falls") {
                    let name = concat!(stringify!($name), "_while_the_server_falls");
                    cases.push(Case { name, alone: true, weather: Weather::Falling, ..case });
                }
            })*)*
            cases
        }
    };
}

cases! {
    "D1" d01_at_least_once:
        d01_a_message_is_settled_only_when_what_it_returned_is_confirmed
        d01_what_was_not_answered_is_published_again_under_the_same_id
        d01_a_message_is_thrown_away_only_where_the_code_says_drop
        d01_a_settlement_that_was_lost_is_repeated_and_the_handler_is_not;
    "D2" d02_crash:
        d02_a_crash_loses_nothing_and_repeats_only_what_was_not_settled (broken falls)
        d02_a_crash_before_the_result_is_confirmed_loses_neither_input_nor_result;
    "D3" d03_connection:
        d03_after_a_cut_work_goes_on_by_itself_and_readiness_tells
        d03_a_publish_that_finds_no_broker_is_an_error_and_never_silently_gone
        d03_a_restart_of_the_server_loses_nothing (alone)
        d03_a_frozen_server_loses_nothing (alone)
        d03_whatever_happens_on_the_wire_loses_nothing (wire);
    "D4" d04_publish:
        d04_ok_means_that_the_broker_has_it (broken falls)
        d04_each_message_of_a_batch_has_its_own_result
        d04_a_missing_topic_is_an_error
        d04_a_name_that_the_broker_cannot_have_is_refused_before_anything_begins
        d04_groups_exist_before_the_first_message
        d04_nobody_subscribed_is_ok;
    "D5" d05_flush:
        d05_a_drain_waits_for_what_was_accepted
        d05_closing_a_connection_waits_for_what_was_accepted (slow falls);
    "D6" d06_poison:
        d06_what_does_not_decode_is_a_dead_letter_byte_for_byte_and_at_once
        d06_an_unknown_version_is_a_dead_letter_and_never_a_skip
        d06_an_unknown_event_is_skipped_and_counted
        d06_an_unknown_event_is_a_dead_letter_if_the_policy_says_so
        d06_at_an_unknown_event_the_subscription_stops_if_the_policy_says_so
        d06_a_tombstone_is_a_dead_letter_and_stays_one;
    "D7" d07_retry:
        d07_attempts_are_spaced_by_the_backoff_up_to_their_number
        d07_a_long_delay_goes_through_the_broker_and_blocks_nobody
        d07_attempts_are_kept_over_a_clean_restart_and_delays_too
        d07_a_handler_may_say_when_it_is_tried_again;
    "D7b" d07b_crash_loop:
        d07b_a_message_that_kills_its_process_is_given_up_and_takes_no_others (slow falls)
        d07b_what_was_in_flight_at_a_death_is_tried_alone_once;
    "D8" d08_dead_letter:
        d08_after_the_last_attempt_a_dead_letter_says_everything
        d08_a_permanent_error_is_a_dead_letter_at_once
        d08_while_the_dead_letter_is_not_confirmed_the_original_is_not_settled
        d08_a_foreign_message_of_nearly_the_maximum_size_dies_with_fewer_headers
        d08_a_message_whose_dead_letter_does_not_fit_stays_and_is_seen;
    "D9" d09_storm:
        d09_what_fails_at_once_comes_no_faster_than_its_backoff_not_even_over_restarts
        d09_a_dead_letter_topic_that_refuses_is_not_stormed;
    "D10" d10_slow:
        d10_a_slow_handler_is_kept_alive_with_all_that_waits_behind_it (slow falls)
        d10_where_no_lease_can_be_extended_a_longer_timeout_is_refused;
    "D11" d11_panic:
        d11_a_panic_is_a_failed_attempt_and_the_process_lives;
    "D12" d12_order:
        d12_a_key_is_in_order_and_never_beside_itself_across_retries
        d12_a_key_is_in_order_across_restarts_and_crashes (broken falls)
        d12_a_key_is_in_order_while_members_come_and_go
        d12_a_slow_key_does_not_hold_up_others
        d12_a_process_that_was_frozen_starts_nothing_that_another_has_taken_over;
    "D13" d13_hold:
        d13_a_held_key_waits_in_order_and_others_do_not
        d13_with_pass_later_ones_overtake
        d13_a_held_key_keeps_some_followers_and_then_the_intake_of_its_partition_stops;
    "D14" d14_settlement:
        d14_what_was_settled_above_a_slow_message_is_not_repeated_after_a_crash
        d14_nothing_is_settled_before_it_is_done (broken falls)
        d14_positions_are_committed_below_what_is_in_flight
        d14_what_is_said_of_an_assignment_that_is_over_is_refused;
    "D15" d15_groups:
        d15_groups_each_get_everything
        d15_members_share_the_work_and_joining_and_leaving_loses_nothing (slow)
        d15_when_a_member_dies_others_take_over (broken falls)
        d15_a_broadcast_gives_every_instance_each_message_while_it_runs
        d15_reading_to_a_marked_end_ends_when_everything_before_it_is_settled
        d15_what_expires_before_its_group_reads_it_is_not_handled_and_all_around_it_is;
    "D16" d16_back_pressure:
        d16_a_flood_with_a_slow_handler_stays_in_the_broker (slow falls)
        d16_bytes_in_flight_are_bounded_too;
    "D17" d17_isolation:
        d17_a_slow_handler_blocks_no_other;
    "D18" d18_drain:
        d18_a_drain_finishes_what_runs_and_gives_back_the_rest
        d18_clean_stops_one_after_the_other_repeat_nothing_and_lose_nothing (slow falls)
        d18_at_the_deadline_what_still_runs_is_cancelled_and_delivered_again
        d18_an_abort_ends_at_once_and_what_ran_is_delivered_again
        d18_what_a_drain_gave_back_does_not_come_and_go_while_it_waits;
    "D19" d19_control:
        d19_pause_resume_and_resize_lose_and_repeat_nothing
        d19_a_handler_that_is_paused_for_longer_than_its_lease_loses_and_repeats_nothing;
    "D20" d20_unavailable:
        d20_while_a_dependency_is_down_nothing_is_counted_or_given_up;
    "D21" d21_round_trip:
        d21_id_key_headers_and_payload_come_back_equal
        d21_an_event_has_the_attributes_of_a_cloud_event
        d21_a_foreign_client_writes_and_reads_the_same_topics
        d21_headers_that_are_not_text_come_as_the_bytes_that_they_are
        d21_the_largest_message_comes_back_and_a_larger_one_is_a_typed_error;
    "D22" d22_redrive:
        d22_dead_letters_go_back_to_the_group_that_gave_up_on_them_and_to_no_other
        d22_a_dead_letter_goes_back_byte_for_byte_less_the_headers_of_its_death
        d22_a_redrive_that_is_killed_goes_on_where_it_was_and_repeats_one_at_most
        d22_what_dies_again_and_again_is_not_sent_back_for_ever
        d22_a_dry_run_changes_nothing_and_what_is_not_meant_stays;
    "D23" d23_visible:
        d23_what_a_handler_does_and_has_before_it_can_be_read
        d23_who_is_connected_and_makes_no_progress_is_unhealthy;
    "D24" d24_gaps:
        d24_what_the_broker_discarded_before_it_was_read_is_reported (broken falls)
        d24_at_a_gap_the_subscription_stops_if_the_policy_says_so;
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_promise_has_a_case_and_every_case_the_name_of_its_promise() {
        let cases = all();
        let promises: BTreeSet<_> = cases.iter().map(|case| case.promise.to_owned()).collect();
        let expected: BTreeSet<_> = (1..=24).map(|number| format!("D{number}")).chain(["D7b".to_owned()]).collect();
        assert_eq!(promises, expected);
        let names: BTreeSet<_> = cases.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), cases.len(), "names are unique");
        for case in cases {
            let (digits, letter) = case.promise[1..].split_at(case.promise[1..].trim_end_matches('b').len());
            let prefix = format!("d{:0>2}{letter}_", digits);
            assert!(case.name.starts_with(&prefix), "{} of {}", case.name, case.promise);
        }
    }
}
