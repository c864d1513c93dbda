use serde_json::json;

use super::*;

/// A record as `GET /api/notifications/{id}` gives it: what became of it, the outcomes of its attempts, its journal.
fn record(status: [&str; 2], attempts: &[&str], journal: &[(&str, Option<u32>)]) -> Value {
    let attempts: Vec<Value> =
        attempts.iter().map(|outcome| json!({"number": 1, "provider": "webhook", "outcome": outcome})).collect();
    let journal: Vec<Value> =
        journal.iter().map(|(event, attempt)| json!({"event": event, "attempt": attempt, "detail": null})).collect();
    json!({
        "status": status[0], "deliveryStatus": status[1], "category": "default", "redriveOf": null,
        "attempts": attempts, "journal": journal,
    })
}

fn delivered() -> Value {
    record(["processed", "delivered"], &["delivered"], &[("accepted", None), ("delivered", Some(1))])
}

/// A request that was accepted, sent once and delivered.
fn good(ledger: &Ledger, key: &str, id: &str) {
    ledger.asked(key, Outcome::Ok(id.to_owned()));
    ledger.received(id);
    ledger.ended(id, Some(&delivered()));
}

fn is_clean(totals: &Totals) -> bool {
    std::panic::catch_unwind(|| totals.assert_clean()).is_ok()
}

#[test]
fn a_story_in_which_nothing_went_wrong_is_clean() {
    let ledger = Ledger::new();
    good(&ledger, "a", "1");
    good(&ledger, "b", "2");
    ledger.asked("a", Outcome::Ok("1".to_owned()));
    ledger.asked("b", Outcome::Unknown);
    ledger.asked("refused", Outcome::Refused(400));
    let totals = ledger.check();
    totals.assert_clean();
    totals.assert_all_heard();
    assert_eq!((totals.attempted, totals.acknowledged, totals.ok, totals.duplicated), (3, 2, 2, 0));
    assert_eq!(
        (ledger.acknowledged(), ledger.called(), ledger.calls("1")),
        (vec!["1".into(), "2".into()], vec!["1".into(), "2".into()], 1)
    );
}

#[test]
fn what_was_acknowledged_and_is_not_there_is_lost() {
    let ledger = Ledger::new();
    good(&ledger, "a", "1");
    ledger.ended("1", None);
    let totals = ledger.check();
    assert_eq!((totals.lost.clone(), totals.ok), (vec!["1".to_owned()], 0));
    assert!(!is_clean(&totals));
}

#[test]
fn what_nobody_looked_for_counts_as_lost() {
    let ledger = Ledger::new();
    ledger.asked("a", Outcome::Ok("1".to_owned()));
    assert_eq!(ledger.check().lost, ["1"]);
}

#[test]
fn calls_beyond_what_the_journal_explains_are_found() {
    let ledger = Ledger::new();
    good(&ledger, "a", "1");
    ledger.received("1");
    let totals = ledger.check();
    assert_eq!((totals.duplicated, totals.excess.clone()), (1, vec!["1".to_owned()]));
    assert!(!is_clean(&totals));
}

#[test]
fn a_lost_lease_a_failure_and_an_unknown_outcome_explain_one_call_each() {
    let ledger = Ledger::new();
    ledger.asked("a", Outcome::Ok("1".to_owned()));
    let journal = [
        ("accepted", None),
        ("lease-lost", None),
        ("retry-scheduled", Some(2)),
        ("retry-scheduled", Some(3)),
        ("delivered", Some(4)),
    ];
    ledger.ended("1", Some(&record(["processed", "read"], &["failed", "unknown", "delivered"], &journal)));
    for _ in 0..4 {
        ledger.received("1");
    }
    let totals = ledger.check();
    totals.assert_clean();
    assert_eq!(totals.duplicated, 3);
    ledger.received("1");
    assert_eq!(ledger.check().excess, ["1"]);
}

#[test]
fn the_loss_that_makes_a_dead_letter_explains_a_call_as_well() {
    let ledger = Ledger::new();
    ledger.asked("a", Outcome::Ok("1".to_owned()));
    let journal = [("accepted", None), ("lease-lost", None), ("lease-lost", None), ("dead", None)];
    ledger.ended("1", Some(&record(["failed", "dead"], &[], &journal)));
    for _ in 0..3 {
        ledger.received("1");
    }
    ledger.check().assert_clean();
    ledger.received("1");
    assert_eq!(ledger.check().excess, ["1"]);
}

#[test]
fn a_call_that_nobody_asked_for_is_unexpected() {
    let ledger = Ledger::new();
    good(&ledger, "a", "1");
    ledger.asked("refused", Outcome::Refused(503));
    ledger.asked("refused as well", Outcome::Refused(400));
    ledger.asked("never sent", Outcome::Refused(0));
    ledger.received("phantom");
    let totals = ledger.check();
    assert_eq!((totals.unexpected.clone(), totals.recovered), (vec!["phantom".to_owned()], 0));
    assert!(!is_clean(&totals));
}

#[test]
fn what_is_stored_and_nobody_asked_for_is_unexpected() {
    let ledger = Ledger::new();
    ledger.ended("phantom", Some(&delivered()));
    assert_eq!(ledger.check().unexpected, ["phantom"]);
}

#[test]
fn what_belongs_to_a_request_without_an_answer_is_recovered() {
    for open in [Outcome::Unknown, Outcome::Refused(500)] {
        let ledger = Ledger::new();
        ledger.asked("a", open);
        ledger.received("1");
        ledger.ended("1", Some(&delivered()));
        let totals = ledger.check();
        totals.assert_clean();
        assert_eq!((totals.recovered, totals.acknowledged), (1, 0));
        ledger.received("2");
        assert_eq!(ledger.check().unexpected, ["1", "2"], "one request, two effects");
    }
}

#[test]
fn what_tidings_sends_by_itself_is_expected() {
    let ledger = Ledger::new();
    good(&ledger, "a", "1");
    let mut event = delivered();
    event["category"] = json!("tidings-system");
    ledger.received("2");
    ledger.ended("2", Some(&event));
    let mut redriven = delivered();
    redriven["redriveOf"] = json!("1");
    ledger.received("3");
    ledger.ended("3", Some(&redriven));
    ledger.check().assert_clean();
    redriven["redriveOf"] = json!("nobody");
    ledger.ended("3", Some(&redriven));
    assert_eq!(ledger.check().unexpected, ["3"]);
}

#[test]
fn two_ends_no_end_and_an_end_that_the_status_denies_are_found() {
    let twice = record(
        ["processed", "delivered"],
        &["delivered"],
        &[("accepted", None), ("delivered", Some(1)), ("dead", Some(2))],
    );
    let never = record(["pending", "queued"], &[], &[("accepted", None)]);
    let denied = record(["failed", "dead"], &["delivered"], &[("accepted", None), ("delivered", Some(1))]);
    for bad in [twice, never, denied] {
        let ledger = Ledger::new();
        good(&ledger, "a", "1");
        ledger.ended("1", Some(&bad));
        let totals = ledger.check();
        assert_eq!((totals.two_ends.clone(), totals.ok), (vec!["1".to_owned()], 0), "{bad}");
        assert!(!is_clean(&totals));
    }
}

#[test]
fn a_request_with_two_answers_is_found() {
    let two_ids = Ledger::new();
    good(&two_ids, "a", "1");
    good(&two_ids, "a", "2");
    assert_eq!(two_ids.check().two_answers, ["a"]);

    let refused_later = Ledger::new();
    good(&refused_later, "a", "1");
    refused_later.asked("a", Outcome::Refused(429));
    refused_later.check().assert_clean();
    refused_later.asked("a", Outcome::Refused(422));
    assert_eq!(refused_later.check().two_answers, ["a"]);

    let shared = Ledger::new();
    good(&shared, "a", "1");
    shared.asked("b", Outcome::Ok("1".to_owned()));
    assert_eq!(shared.check().two_answers, ["a", "b"]);
}

#[test]
fn a_delivery_that_no_receiver_heard_of_is_told_apart() {
    let ledger = Ledger::new();
    ledger.asked("a", Outcome::Ok("1".to_owned()));
    ledger.ended("1", Some(&delivered()));
    let totals = ledger.check();
    totals.assert_clean();
    assert_eq!(totals.unheard, ["1"]);
    let mut appended = delivered();
    appended["attempts"][0]["provider"] = json!("inbox");
    ledger.ended("1", Some(&appended));
    ledger.check().assert_all_heard();
}

#[test]
fn clones_write_into_the_same_books() {
    let ledger = Ledger::new();
    let copy = ledger.clone();
    good(&copy, "a", "1");
    assert_eq!((ledger.requests(), ledger.check().ok), (1, 1));
}
