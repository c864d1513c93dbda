use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn attempt(number: u32, verdict: &Verdict) -> Attempt {
    Attempt {
        number,
        provider: "fake".to_owned(),
        started_at: NOW,
        duration_ms: 3,
        outcome: verdict.outcome(),
        code: None,
        message: Some("no such luck".to_owned()),
        provider_id: None,
    }
}

fn sending(attempts: u32) -> Delivery {
    Delivery { state: State::Sending, attempts, lost_leases: 0, expires_at: None }
}

fn attempted(delivery: &Delivery, verdict: Verdict) -> Transition {
    attempted_under(delivery, verdict, &Policy::default())
}

fn attempted_under(delivery: &Delivery, verdict: Verdict, policy: &Policy) -> Transition {
    let attempt = attempt(delivery.attempts, &verdict);
    step(delivery, Event::Attempted { verdict, attempt }, policy, NOW, 0.5).unwrap()
}

#[test]
fn a_failure_is_retried_on_schedule_and_then_dies() {
    let failed = Verdict::Retry { after: None };
    for (attempts, seconds) in [(1, 2), (2, 10), (3, 60)] {
        let transition = attempted(&sending(attempts), failed.clone());
        assert_eq!(transition.next, Next::Queue { due_at: NOW + Duration::from_secs(seconds) });
    }
    let last = attempted(&sending(4), failed);
    assert_eq!(last.next, Next::End(State::Dead));
    assert_eq!(last.error.as_deref(), Some("no such luck"));
}

#[test]
fn a_refusal_dies_at_once() {
    assert_eq!(attempted(&sending(1), Verdict::Reject).next, Next::End(State::Dead));
}

#[test]
fn retry_after_is_honoured() {
    let transition = attempted(&sending(1), Verdict::Retry { after: Some(Duration::from_secs(90)) });
    assert_eq!(transition.next, Next::Queue { due_at: NOW + Duration::from_secs(90) });
}

#[test]
fn a_retry_that_would_come_too_late_expires_now() {
    let delivery = Delivery { expires_at: Some(NOW + Duration::from_secs(1)), ..sending(1) };
    assert_eq!(attempted(&delivery, Verdict::Retry { after: None }).next, Next::End(State::Expired));
}

#[test]
fn at_most_once_never_repeats_what_may_have_arrived() {
    let policy = Policy { guarantee: Guarantee::AtMostOnce, ..Policy::default() };
    assert_eq!(attempted_under(&sending(1), Verdict::Unknown, &policy).next, Next::End(State::Dead));
    let lost = step(&sending(1), Event::LeaseLost, &policy, NOW, 0.5).unwrap();
    assert_eq!(lost.next, Next::End(State::Dead));
    let failed = attempted_under(&sending(1), Verdict::Retry { after: None }, &policy);
    assert!(matches!(failed.next, Next::Queue { .. }));
}

#[test]
fn a_lost_lease_is_taken_up_at_once_until_it_looks_like_a_crash() {
    let first = step(&sending(1), Event::LeaseLost, &Policy::default(), NOW, 0.5).unwrap();
    assert_eq!((first.next, first.lost_leases), (Next::Queue { due_at: NOW }, 1));
    let second =
        step(&Delivery { lost_leases: 1, ..sending(2) }, Event::LeaseLost, &Policy::default(), NOW, 0.5).unwrap();
    let apart = Next::Queue { due_at: NOW + LAST_CHANCE_WITHIN / 2 };
    assert_eq!((second.next, second.lost_leases), (apart, 2), "not together with what was lost together");
    let third =
        step(&Delivery { lost_leases: 2, ..sending(3) }, Event::LeaseLost, &Policy::default(), NOW, 0.5).unwrap();
    assert_eq!((third.next, third.lost_leases), (Next::End(State::Dead), 3));
}

#[test]
fn a_worker_that_goes_away_uses_up_no_retry() {
    let policy = Policy { max_retries: 0, ..Policy::default() };
    let lost = step(&sending(1), Event::LeaseLost, &policy, NOW, 0.5).unwrap();
    assert_eq!(lost.next, Next::Queue { due_at: NOW });
    let again = Delivery { lost_leases: 1, ..sending(2) };
    assert_eq!(attempted_under(&again, Verdict::Retry { after: None }, &policy).next, Next::End(State::Dead));
}

#[test]
fn a_release_gives_the_attempt_back() {
    let released = step(&sending(2), Event::Released, &Policy::default(), NOW, 0.5).unwrap();
    assert_eq!((released.next, released.attempts, released.entry), (Next::Queue { due_at: NOW }, 1, None));
}

#[test]
fn only_what_waits_can_be_cancelled() {
    for state in State::ALL {
        let delivery = Delivery { state, ..sending(1) };
        let cancelled = step(&delivery, Event::Cancelled, &Policy::default(), NOW, 0.5);
        assert_eq!(cancelled.is_ok(), state == State::Queued, "{state:?}");
    }
}

fn verdicts() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        Just(Verdict::Delivered),
        (0_u64..200_000).prop_map(|seconds| Verdict::Retry { after: Some(Duration::from_secs(seconds)) }),
        Just(Verdict::Retry { after: None }),
        Just(Verdict::Reject),
        Just(Verdict::Unknown),
    ]
}

fn events() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => verdicts().prop_map(|verdict| Event::Attempted { attempt: attempt(1, &verdict), verdict }),
        1 => Just(Event::Expired),
        1 => Just(Event::RecipientGone),
        1 => Just(Event::Released),
        2 => Just(Event::LeaseLost),
        1 => Just(Event::Cancelled),
    ]
}

fn policies() -> impl Strategy<Value = Policy> {
    let schedule = prop::collection::vec((1_u64..5_000).prop_map(Duration::from_secs), 0..5);
    let guarantee = prop_oneof![Just(Guarantee::AtLeastOnce), Just(Guarantee::AtMostOnce)];
    (schedule, 0_u32..8, guarantee).prop_map(|(schedule, max_retries, guarantee)| Policy {
        schedule,
        max_retries,
        guarantee,
    })
}

proptest! {
    /// Whatever happens, in whatever order: a delivery ends once, within its attempts, and its journal says why.
    #[test]
    fn every_life_ends_once(policy in policies(), script in prop::collection::vec((events(), 0.0..1.0_f64), 1..60), ttl in prop::option::of(1_u64..100_000)) {
        let mut now = NOW;
        let mut delivery = Delivery { state: State::Queued, attempts: 0, lost_leases: 0, expires_at: ttl.map(|ttl| NOW + Duration::from_secs(ttl)) };
        let mut calls = 0_u32;
        for (event, jitter) in script {
            let before = delivery.clone();
            if delivery.state == State::Queued && event != Event::Cancelled {
                delivery.state = State::Sending;
                delivery.attempts += 1;
            }
            let sent = matches!(event, Event::Attempted { .. } | Event::LeaseLost);
            match step(&delivery, event, &policy, now, jitter) {
                Err(refused) => {
                    prop_assert_eq!(refused.state, delivery.state);
                    prop_assert!(before.state.is_terminal() || before.state == State::Queued);
                }
                Ok(transition) => {
                    prop_assert!(!before.state.is_terminal(), "left the terminal state {:?}", before.state);
                    calls += u32::from(sent);
                    delivery.state = transition.next.state();
                    delivery.attempts = transition.attempts;
                    delivery.lost_leases = transition.lost_leases;
                    match transition.next {
                        Next::Queue { due_at } => {
                            prop_assert!(due_at >= now);
                            prop_assert!(delivery.attempts <= policy.max_retries + delivery.lost_leases);
                            now = due_at;
                        }
                        Next::End(state) => {
                            prop_assert!(state.is_terminal());
                            prop_assert!(transition.entry.is_some());
                            prop_assert!(state == State::Delivered || transition.error.is_some());
                        }
                    }
                }
            }
            prop_assert_eq!(delivery.attempts, calls);
            prop_assert!(calls <= policy.max_retries + 1 + delivery.lost_leases);
            prop_assert!(delivery.lost_leases <= CRASH_SUSPECT_AFTER);
        }
    }
}
