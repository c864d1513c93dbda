//! What has to hold for every input that the domain reads. Compiled for tests and for the targets in `fuzz/` only.
//!
//! Each function takes bytes from outside and panics when a property does not hold.

use crate::contact::{is_email, is_locale, is_phone, is_time_zone};
use crate::draft::{self, Draft, Expiry, MAX_BATCH, MAX_DEPTH, MAX_MEMBERS, MAX_TTL_SECONDS};
use crate::error::Problem;
use crate::id::{MessageId, TenantId};
use crate::idempotency::{IdempotencyKey, MAX_KEY_CHARS};
use crate::notification::SYSTEM_CATEGORY;
use crate::routing::{Pattern, RoutingKey, is_word};
use crate::time::Timestamp;

/// The body of a notification: an accepted draft is within every limit, and is read from its own text again.
pub fn draft(bytes: &[u8]) {
    match draft::parse(bytes) {
        Ok(draft) => {
            check_draft(&draft);
            assert_eq!(draft::parse(bytes).as_ref(), Ok(&draft), "the same bytes give the same draft");
        }
        Err(problem) => check_problem(&problem),
    }
}

/// The body of a batch: there are as many verdicts as items, and each is that of the item by itself.
pub fn batch(bytes: &[u8]) {
    match draft::parse_batch(bytes) {
        Ok(items) => {
            assert!((1..=MAX_BATCH).contains(&items.len()));
            for item in &items {
                match item {
                    Ok(draft) => check_draft(draft),
                    Err(problem) => check_problem(problem),
                }
            }
        }
        Err(problem) => check_problem(&problem),
    }
}

fn check_draft(draft: &Draft) {
    assert!(draft.channel.len() <= 50);
    assert!(is_word(&draft.category) && draft.category != SYSTEM_CATEGORY);
    let read: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(&draft.payload_text).expect("what is stored is the object that was read");
    assert_eq!(read, draft.payload);
    let payload = serde_json::Value::Object(read);
    assert!(depth(&payload) < MAX_DEPTH && members(&payload) <= MAX_MEMBERS);
    if let Some(metadata) = &draft.metadata {
        let metadata: serde_json::Value = serde_json::from_str(metadata).expect("metadata is what was read");
        assert!(metadata.is_object() && depth(&metadata) < MAX_DEPTH);
    }
    if let Some(send_at) = draft.send_at {
        check_instant(send_at);
    }
    match draft.expiry {
        Some(Expiry::At(instant)) => check_instant(instant),
        Some(Expiry::After(time)) => assert!((1..=MAX_TTL_SECONDS).contains(&time.as_secs())),
        None => {}
    }
}

fn check_problem(problem: &Problem) {
    assert!((400..500).contains(&problem.code.status), "bad input is the fault of who sent it: {problem}");
    assert!(!problem.message.is_empty());
}

fn depth(value: &serde_json::Value) -> usize {
    match value {
        serde_json::Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        serde_json::Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn members(value: &serde_json::Value) -> usize {
    match value {
        serde_json::Value::Array(items) => items.len() + items.iter().map(members).sum::<usize>(),
        serde_json::Value::Object(inner) => inner.len() + inner.values().map(members).sum::<usize>(),
        _ => 0,
    }
}

/// The header `Idempotency-Key`: quoting a key changes nothing, and an accepted key is short and clean.
pub fn idempotency_key(bytes: &[u8]) {
    if let Err(problem) = IdempotencyKey::from_header(bytes) {
        check_problem(&problem);
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(key) = IdempotencyKey::new(text) else { return };
    assert!((1..=MAX_KEY_CHARS).contains(&text.chars().count()) && !text.chars().any(char::is_control));
    let quoted = format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let read = IdempotencyKey::from_header(quoted.as_bytes());
    assert_eq!(read.as_ref(), Ok(&key), "a quoted key is the key");
    assert_ne!(key.fingerprint(TenantId::DEFAULT), key.fingerprint(TenantId::from_integer(2)));
}

/// An id: what reads back is written the same, and an id that nobody can have issued is none.
pub fn message_id(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(id) = text.parse::<MessageId>()
    {
        assert_eq!(id.to_string().parse::<MessageId>().ok(), Some(id));
        assert_eq!(MessageId::from_integer(id.as_integer()), Some(id));
    }
    if let Some(bits) = bytes.first_chunk() {
        let uuid = uuid::Uuid::from_bytes(*bits);
        if let Some(id) = MessageId::from_uuid(uuid) {
            assert_eq!(id.to_uuid(), uuid);
        }
    }
}

/// An instant: what is read is written, and read again, to the millisecond.
pub fn timestamp(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(instant) = Timestamp::parse(text) {
        check_instant(instant);
    }
}

fn check_instant(instant: Timestamp) {
    let written = instant.to_string();
    assert_eq!(Timestamp::parse(&written).ok(), Some(instant), "{written}");
    assert!(instant <= Timestamp::MAX);
}

/// A pattern over routing keys: it selects what a slow and obvious reading of it selects.
pub fn routing(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut lines = text.splitn(3, '\n');
    let (pattern, channel) = (lines.next().unwrap_or_default(), lines.next().unwrap_or("email"));
    let category = lines.next().unwrap_or("transactional");
    let Ok(parsed) = pattern.parse::<Pattern>() else { return };
    assert!(pattern.len() <= 255);
    if !is_word(channel) || !is_word(category) {
        return;
    }
    let words: Vec<&str> = pattern.split('.').collect();
    // The obvious reading takes time that grows with the number of ways to share out the words.
    if words.iter().filter(|word| **word == "#").count() <= 6 {
        let expected = selects(&words, &["notification", channel, category]);
        assert_eq!(parsed.matches(&RoutingKey::new(channel, category)), expected);
    }
}

fn selects(pattern: &[&str], key: &[&str]) -> bool {
    match (pattern, key) {
        ([], []) => true,
        (["#", rest @ ..], _) => (0..=key.len()).any(|taken| selects(rest, &key[taken..])),
        (["*", rest @ ..], [_, others @ ..]) => selects(rest, others),
        ([word, rest @ ..], [first, others @ ..]) => word == first && selects(rest, others),
        _ => false,
    }
}

/// Addresses, numbers, tags and zones: what is accepted fits where it goes.
pub fn contacts(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if is_email(text) {
        assert!(text.len() <= 254 && text.matches('@').count() == 1);
        assert!(text.chars().all(|c| !c.is_control() && !c.is_whitespace() && !"<>(),;:\\\"[]".contains(c)));
    }
    if is_phone(text) {
        assert!(text.is_ascii() && (8..=16).contains(&text.len()));
    }
    if is_locale(text) {
        assert!(text.is_ascii() && text.len() <= 35);
    }
    if is_time_zone(text) {
        assert!(text.len() <= 64 && !text.contains('\0'));
    }
}

#[cfg(test)]
mod tests {
    use tidings_testkit::mutation::hammer;

    #[test]
    fn drafts() {
        hammer("draft", super::draft);
    }

    #[test]
    fn batches() {
        hammer("batch", super::batch);
    }

    #[test]
    fn idempotency_keys() {
        hammer("idempotency_key", super::idempotency_key);
    }

    #[test]
    fn message_ids() {
        hammer("message_id", super::message_id);
    }

    #[test]
    fn timestamps() {
        hammer("timestamp", super::timestamp);
    }

    #[test]
    fn routing_patterns() {
        hammer("routing", super::routing);
    }

    #[test]
    fn contacts() {
        hammer("contacts", super::contacts);
    }
}
