//! The cases, in the order of the promises.

use crate::run::Case;

mod d01_at_least_once;
mod d02_crash;
mod d03_connection;
mod d04_publish;
mod d05_flush;
mod d06_poison;

macro_rules! cases {
    ($($promise:literal $module:ident: $($name:ident)*;)*) => {
        /// Every case.
        pub(crate) fn all() -> Vec<Case> {
            vec![$($(Case { promise: $promise, name: stringify!($name), run: |lab| Box::pin($module::$name(lab)) },)*)*]
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
        d02_a_crash_loses_nothing_and_repeats_only_what_was_not_settled
        d02_a_crash_before_the_result_is_confirmed_loses_neither_input_nor_result;
    "D3" d03_connection:
        d03_after_a_cut_work_goes_on_by_itself_and_readiness_tells
        d03_a_publish_that_finds_no_broker_is_an_error_and_never_silently_gone
        d03_a_restart_of_the_server_loses_nothing
        d03_a_frozen_server_loses_nothing;
    "D4" d04_publish:
        d04_ok_means_that_the_broker_has_it
        d04_each_message_of_a_batch_has_its_own_result
        d04_a_missing_topic_is_an_error
        d04_groups_exist_before_the_first_message
        d04_nobody_subscribed_is_ok;
    "D5" d05_flush:
        d05_a_drain_waits_for_what_was_accepted
        d05_closing_a_connection_waits_for_what_was_accepted;
    "D6" d06_poison:
        d06_what_does_not_decode_is_a_dead_letter_byte_for_byte_and_at_once
        d06_an_unknown_version_is_a_dead_letter_and_never_a_skip
        d06_an_unknown_event_is_skipped_and_counted
        d06_an_unknown_event_is_a_dead_letter_if_the_policy_says_so
        d06_a_tombstone_is_a_dead_letter_and_stays_one;
}
