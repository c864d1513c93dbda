//! What a record says about the end of its notification.

use serde_json::Value;

/// The provider of what is only appended to an inbox: nobody is called.
const INBOX: &str = "inbox";
/// The category of what Tidings sends by itself.
const SYSTEM: &str = "tidings-system";

/// What of a record is compared.
pub(super) struct End {
    status: String,
    delivery_status: String,
    /// The journal entries that end a notification, in order.
    terminal: Vec<String>,
    /// Calls that the journal accounts for: every attempt, and every claim whose worker went away.
    pub(super) explained_calls: usize,
    /// Who was called and took it, as far as the journal knows.
    pub(super) taken_by: Option<String>,
    /// The dead letter that it sends anew.
    pub(super) redrive_of: Option<String>,
    /// Whether Tidings sent it by itself.
    pub(super) is_system: bool,
}

impl End {
    /// Reads the answer of `GET /api/notifications/{id}`.
    pub(super) fn read(record: &Value) -> Self {
        let journal = list(record, "journal");
        let terminal = journal.iter().map(|entry| text(entry, "event")).filter(|event| status_of(event).is_some());
        let lost = journal.iter().filter(|entry| is_lost_claim(entry)).count();
        let attempts = list(record, "attempts");
        let taken = attempts.iter().find(|attempt| text(attempt, "outcome") == "delivered");
        Self {
            status: text(record, "status"),
            delivery_status: text(record, "deliveryStatus"),
            terminal: terminal.collect(),
            explained_calls: attempts.len() + lost,
            taken_by: taken.map(|attempt| text(attempt, "provider")).filter(|provider| provider != INBOX),
            redrive_of: record.get("redriveOf").and_then(Value::as_str).map(str::to_owned),
            is_system: text(record, "category") == SYSTEM,
        }
    }

    /// What is wrong with the end: there has to be exactly one, and the status has to be that of it.
    pub(super) fn complaint(&self) -> Option<String> {
        let [end] = self.terminal.as_slice() else {
            return Some(format!("is {} and has the ends {:?}", self.delivery_status, self.terminal));
        };
        let is_read = end == "delivered" && self.delivery_status == "read";
        let agrees = status_of(end) == Some(self.status.as_str()) && (is_read || self.delivery_status == *end);
        (!agrees).then(|| format!("ended as {end}, but is {} ({})", self.delivery_status, self.status))
    }
}

/// The status that a terminal entry leads to; `None` for what ends nothing.
fn status_of(event: &str) -> Option<&'static str> {
    match event {
        "delivered" => Some("processed"),
        "dead" | "expired" | "cancelled" => Some("failed"),
        _ => None,
    }
}

/// Whether a worker went away here. The last of several such losses is told as the death that it leads to.
fn is_lost_claim(entry: &Value) -> bool {
    let event = text(entry, "event");
    event == "lease-lost" || (event == "dead" && entry.get("attempt").is_none_or(Value::is_null))
}

fn list<'a>(record: &'a Value, name: &str) -> &'a [Value] {
    record.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text(value: &Value, name: &str) -> String {
    value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}
