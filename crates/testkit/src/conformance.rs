//! What every implementation of a port has to do, as named cases.
//!
//! ```ignore
//! async fn fixture() -> tidings_testkit::conformance::Fixture { .. }
//! tidings_testkit::conformance_store!(fixture());
//! ```
//!
//! makes one test of each case, each with a fixture of its own: an empty store with the default retry policies. A case
//! gets a [`World`], which is the store, a clock that stands still and ids, with the verbs that cases share. The last
//! case runs random histories on the store and on the fake side by side.

pub mod broker;
pub mod catalog;
pub mod dead_letters;
pub mod history;
pub mod intake;
pub mod jobs;
pub mod model;
pub mod retention;
pub mod settling;
pub mod streams;
pub mod upkeep;
mod world;

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use tidings_core::ports::Store;

pub use world::World;

/// A store to be tried, and whatever has to live as long as it, such as its directory.
pub struct Fixture {
    /// The store, empty.
    pub store: Arc<dyn Store>,
    _guard: Box<dyn Any + Send + Sync>,
}

impl Fixture {
    /// A store that needs nothing else.
    pub fn new(store: impl Store + 'static) -> Self {
        Self::guarded(store, ())
    }

    /// A store and what has to outlive it.
    pub fn guarded(store: impl Store + 'static, guard: impl Any + Send + Sync) -> Self {
        Self { store: Arc::new(store), _guard: Box::new(guard) }
    }

    /// The world of a case.
    pub fn world(&self) -> World {
        World::new(Arc::clone(&self.store))
    }
}

impl fmt::Debug for Fixture {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Fixture").finish_non_exhaustive()
    }
}

/// Makes a test of each case that a store has to pass. Takes an expression that gives a future of a
/// [`Fixture`].
#[macro_export]
macro_rules! conformance_store {
    ($fixture:expr) => {
        $crate::conformance_cases! {
            $fixture;
            intake {
                a_notification_reads_back_whole
                a_batch_is_answered_in_order
                an_empty_batch_has_no_answers
                the_same_key_and_body_are_replayed
                the_same_key_with_another_body_is_mismatched_and_stores_nothing
                keys_are_checked_within_a_batch
                an_expired_key_counts_as_absent
                tenants_do_not_share_keys
                a_thousand_concurrent_requests_with_one_key_make_one_notification
                an_inbox_can_be_written_with_the_acceptance
                the_inbox_of_a_deleted_user_is_not_written_with_the_acceptance
                a_batch_that_fails_stores_nothing
                asking_what_a_key_would_answer_stores_nothing
            }
            jobs {
                what_is_stored_is_ready_at_once
                what_is_scheduled_is_announced_and_ready_in_time
                each_tenant_destination_and_priority_is_a_lane
                the_longest_due_lanes_come_first_up_to_a_limit
                no_tenant_channel_or_priority_is_hidden_by_many_lanes_of_another
                counting_stops_at_the_depth
                the_longest_due_are_claimed_first_and_no_more_than_asked
                a_claim_takes_from_all_its_lanes
                what_is_not_due_or_of_another_lane_is_not_claimed
                a_claim_is_on_record_before_anything_is_sent
                a_claimed_job_carries_its_notification_whole
                a_job_goes_to_one_of_many_claimers
                fences_grow_from_claim_to_claim
                leases_are_lost_by_their_deadline
                leases_are_lost_by_the_death_of_their_owner
                lost_leases_are_told_a_few_at_a_time
                a_lost_lease_goes_to_another_claimer
            }
            settling {
                a_delivery_ends_with_its_journal_entry
                a_failed_attempt_is_retried_when_due
                used_up_attempts_end_in_a_dead_letter
                a_refusal_dies_at_once
                an_expired_delivery_is_no_dead_letter
                a_release_gives_the_attempt_back_without_a_trace
                a_settlement_counts_as_long_as_nobody_else_owns_the_job
                a_stale_settlement_changes_nothing
                a_lease_is_settled_once
                a_lease_on_nothing_is_stale
                settlements_are_answered_in_order_and_each_by_itself
                only_what_asks_for_it_goes_to_the_inbox
                inbox_numbers_have_no_gap_under_concurrent_settlements
                a_follow_up_is_stored_with_its_settlement
            }
            streams {
                an_inbox_never_written_is_empty
                what_a_reader_missed_comes_upwards
                the_newest_come_downwards
                inboxes_of_users_and_tenants_are_apart
                a_delivered_receipt_is_no_reading
                a_first_read_marks_the_notification_and_its_journal
                repeating_a_receipt_changes_nothing
                receipts_for_numbers_leave_the_others
                unread_is_right_under_concurrent_receipts_and_settlements
            }
            catalog {
                the_default_tenant_is_there
                a_tenant_is_made_once
                looking_for_a_tenant_makes_none
                a_user_reads_back
                each_unique_field_is_guarded
                users_of_tenants_are_apart
                a_change_is_seen_at_once
                a_change_can_conflict_and_then_changes_nothing
                users_are_listed_in_the_order_of_their_creation
                credentials_are_there_for_those_with_a_password
                a_deleted_user_is_gone_and_their_erasure_on_record
            }
            history {
                another_tenant_sees_nothing
                pages_go_from_new_to_old_and_miss_nothing
                pages_are_stable_under_new_notifications
                each_filter_selects
                the_status_follows_the_delivery
                what_has_no_user_is_not_listed
                what_waits_can_be_cancelled
                what_is_being_sent_or_has_ended_cannot_be_cancelled
                of_cancel_and_claim_one_wins
            }
            dead_letters {
                a_dead_letter_tells_what_is_known
                another_tenant_has_no_dead_letters
                a_note_leaves_it_open
                a_discarded_dead_letter_is_closed
                a_redrive_stores_the_new_notification_and_closes
                of_two_decisions_one_finds_it_closed
                each_filter_selects_dead_letters
                dead_letters_are_paged_from_new_to_old
                open_ones_are_due_to_be_redriven_in_their_order
            }
            retention {
                what_is_young_or_being_sent_is_kept
                what_has_ended_is_deleted_with_all_that_belongs_to_it
                what_was_read_goes_earlier
                what_nobody_could_deliver_in_time_expires_and_is_deleted_later
                a_sweep_goes_on_in_small_steps
                a_step_says_when_to_come_again
                what_is_read_after_a_sweep_is_deleted_in_time
                what_waits_or_is_being_sent_may_end_after_a_sweep
                a_step_keeps_to_its_span
                numbers_of_swept_inbox_entries_are_not_given_again
                expired_keys_are_forgotten_a_few_at_a_time
            }
            upkeep {
                a_store_that_lives_answers_a_ping
                stats_count_what_is_there
                stats_count_the_dead_letters_that_nobody_has_decided_about
                an_erasure_takes_content_inbox_and_what_providers_said
                an_erasure_ends_what_waits_and_what_is_being_sent
                an_erased_dead_letter_is_not_redriven_by_itself
                an_erasure_goes_on_where_it_was_interrupted
                an_erasure_leaves_others_alone
                there_is_nothing_to_erase_of_who_was_not_deleted
            }
            model {
                the_store_does_as_the_fake_in_random_histories
            }
        }
    };
}

/// Makes a test of each case that a broker has to pass. Takes an expression that gives a broker.
#[macro_export]
macro_rules! conformance_broker {
    ($broker:expr) => {
        $crate::conformance_broker_cases! {
            $broker;
            a_hint_given_while_nobody_waits_is_kept
            a_hint_wakes_who_waits
            a_wait_given_up_loses_no_hint
            hints_never_block
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! conformance_cases {
    ($fixture:expr; $($group:ident { $($case:ident)* })*) => {
        $(mod $group {
            use super::*;

            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let fixture: $crate::conformance::Fixture = $fixture.await;
                $crate::conformance::$group::$case(&fixture.world()).await;
            })*
        })*
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! conformance_broker_cases {
    ($broker:expr; $($case:ident)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            $crate::conformance::broker::$case(&$crate::conformance::broker::shared($broker)).await;
        })*
    };
}
