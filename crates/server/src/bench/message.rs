//! What is sent: the bytes of a request are made once, and from one request to the next only some digits change.

use std::ops::Range;
use std::sync::Arc;

use anyhow::Context as _;
use serde_json::{Map, Value, json};
use tidings_core::time::Timestamp;
use tokio::time::Instant;
use uuid::Uuid;

use crate::bench::arrivals::Arrivals;
use crate::bench::client::Request;
use crate::bench::load::Requests;
use crate::bench::people::People;
use crate::bench::target::Target;

/// The digits of an idempotency key, of the number of a notification and of a user that change.
const KEY_DIGITS: usize = 16;
const USER_DIGITS: usize = 12;
/// Stands where the number of a notification goes; no filler contains it.
const NUMBER: &str = "nnnnnnnnnnnnnnnn";
/// Spreads neighbouring numbers over all users (2^64 divided by the golden ratio).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// What each notification says.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) channel: String,
    /// About how long the payload is.
    pub(crate) payload_bytes: usize,
    /// Where a webhook goes.
    pub(crate) url: Option<String>,
    /// Not before this instant.
    pub(crate) send_at: Option<Timestamp>,
    /// Whether each carries a number by which its arrival is recognised.
    pub(crate) is_numbered: bool,
}

/// How notifications are asked for.
#[derive(Clone)]
pub(crate) struct Manner {
    pub(crate) path: String,
    pub(crate) people: People,
    /// How many go in one request; `None` uses the route for one.
    pub(crate) batch: Option<u32>,
    /// The first part of idempotency keys, if they are sent.
    pub(crate) keys: Option<Uuid>,
    /// Who gives the numbers.
    pub(crate) arrivals: Option<Arc<Arrivals>>,
    /// How many accepted notifications each connection remembers, to look at their records afterwards.
    pub(crate) samples: usize,
}

/// An accepted notification.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    pub(crate) id: String,
    /// When its request was to be sent.
    pub(crate) intended: Instant,
}

/// The requests of one connection.
pub(crate) struct Template {
    bytes: Vec<u8>,
    items: Vec<Fields>,
    manner: Manner,
    sent: u64,
    samples: Samples,
}

/// Where the digits of one notification are.
#[derive(Clone, Debug, Default)]
struct Fields {
    user: Option<Range<usize>>,
    number: Option<Range<usize>>,
    key: Option<Range<usize>>,
}

/// Every so many of the accepted notifications. When there are too many, every second one is dropped and from then on half
/// as many are taken, so that they stay spread over the whole run.
struct Samples {
    kept: Vec<Sample>,
    limit: usize,
    stride: u64,
    seen: u64,
}

impl Message {
    /// The channel and payload of a notification that stays on this machine.
    pub(crate) fn in_app(payload_bytes: usize) -> Self {
        Self { channel: "in-app".to_owned(), payload_bytes, url: None, send_at: None, is_numbered: false }
    }

    fn payload(&self) -> String {
        let with_filler = |filler: &str| self.payload_with(filler).to_string();
        let rest = self.payload_bytes.saturating_sub(with_filler("").len());
        let filler: String = "All work and no play makes a dull load. ".chars().cycle().take(rest).collect();
        with_filler(&filler)
    }

    fn payload_with(&self, filler: &str) -> Value {
        let title = if self.is_numbered { format!("bench {NUMBER}") } else { "bench".to_owned() };
        match self.channel.as_str() {
            "email" => json!({ "subject": title, "body": filler }),
            "sms" => json!({ "message": filler }),
            "webhook" => {
                let mut payload = json!({ "event": title, "data": { "filler": filler } });
                if let (Some(url), Some(members)) = (&self.url, payload.as_object_mut()) {
                    members.insert("url".to_owned(), json!(url));
                }
                payload
            }
            "in-app" => json!({ "title": title, "message": filler }),
            _ => Value::Object(Map::from_iter([("filler".to_owned(), json!(filler))])),
        }
    }

    /// One notification as JSON.
    fn item(&self, user: Uuid, key: Option<&str>) -> String {
        let mut item =
            format!(r#"{{"targetUserId":"{user}","type":{},"payload":{}"#, json!(self.channel), self.payload());
        if let Some(send_at) = self.send_at {
            item.extend([",\"sendAt\":\"", &send_at.to_string(), "\""]);
        }
        if let Some(key) = key {
            item.extend([",\"idempotencyKey\":\"", key, "\""]);
        }
        item.push('}');
        item
    }
}

impl Template {
    /// The requests of the connection with this number.
    pub(crate) fn new(target: &Target, message: &Message, manner: &Manner, connection: usize) -> anyhow::Result<Self> {
        let prefix = manner.keys.map(|run| format!("{}-{connection:04x}-", run.simple()));
        let key = prefix.as_ref().map(|prefix| format!("{prefix}{}", "0".repeat(KEY_DIGITS)));
        let user = manner.people.first();
        let (body, header) = match manner.batch {
            Some(size) => (batch_of(size, &message.item(user, key.as_deref())), None),
            None => (message.item(user, None), key.as_deref().map(|key| ("Idempotency-Key", key))),
        };
        let request = Request {
            method: "POST",
            path: &manner.path,
            host: &target.host,
            token: Some(&target.token),
            header,
            body: &body,
        };
        let bytes = request.to_bytes();
        let items = Self::fields(&bytes, message, manner, prefix.as_deref())?;
        let samples = Samples { kept: Vec::new(), limit: manner.samples, stride: 1, seen: 0 };
        let sent = u64::try_from(connection)? << 40;
        Ok(Self { bytes, items, manner: manner.clone(), sent, samples })
    }

    /// Where the digits are that change.
    fn fields(bytes: &[u8], message: &Message, manner: &Manner, prefix: Option<&str>) -> anyhow::Result<Vec<Fields>> {
        let mut items = vec![Fields::default(); usize::try_from(manner.batch.unwrap_or(1))?];
        if manner.people.count() > 1 {
            let user = manner.people.first().to_string();
            let ends = positions(bytes, user.as_bytes()).map(|start| start + user.len());
            fill_in(&mut items, ends.map(|end| end - USER_DIGITS..end), |fields, range| fields.user = Some(range))?;
        }
        if message.is_numbered {
            let starts = positions(bytes, NUMBER.as_bytes());
            let numbers = starts.map(|start| start..start + NUMBER.len());
            fill_in(&mut items, numbers, |fields, range| fields.number = Some(range))?;
        }
        if let Some(prefix) = prefix {
            let starts = positions(bytes, prefix.as_bytes()).map(|start| start + prefix.len());
            fill_in(&mut items, starts.map(|start| start..start + KEY_DIGITS), |fields, range| {
                fields.key = Some(range);
            })?;
        }
        Ok(items)
    }

    /// What was remembered.
    pub(crate) fn into_samples(self) -> Vec<Sample> {
        self.samples.kept
    }
}

impl Requests for Template {
    fn items(&self) -> u32 {
        self.manner.batch.unwrap_or(1)
    }

    fn next(&mut self, intended: Instant) -> &[u8] {
        for fields in &self.items {
            self.sent += 1;
            if let Some(range) = &fields.user {
                let user = (self.sent.wrapping_mul(SPREAD) >> 20) % self.manner.people.count();
                put_digits(&mut self.bytes, range, user);
            }
            if let (Some(range), Some(arrivals)) = (&fields.number, &self.manner.arrivals) {
                put_digits(&mut self.bytes, range, arrivals.expect(intended));
            }
            if let Some(range) = &fields.key {
                put_digits(&mut self.bytes, range, self.sent);
            }
        }
        &self.bytes
    }

    fn answered(&mut self, status: u16, body: &[u8], intended: Instant) -> u64 {
        if status != 202 {
            return 0;
        }
        if self.samples.wants_next()
            && let Some(id) = text_after(body, br#""messageId":""#)
        {
            self.samples.keep(Sample { id, intended });
        }
        if self.manner.batch.is_none() { 1 } else { number_after(body, br#""accepted":"#).unwrap_or(0) }
    }
}

impl Samples {
    fn wants_next(&mut self) -> bool {
        if self.limit == 0 {
            return false;
        }
        self.seen += 1;
        self.seen.is_multiple_of(self.stride)
    }

    fn keep(&mut self, sample: Sample) {
        self.kept.push(sample);
        if self.kept.len() >= 2 * self.limit {
            let mut is_odd = false;
            self.kept.retain(|_| {
                is_odd = !is_odd;
                is_odd
            });
            self.stride *= 2;
        }
    }
}

fn batch_of(size: u32, item: &str) -> String {
    let items = vec![item; usize::try_from(size).unwrap_or(1)];
    format!(r#"{{"notifications":[{}]}}"#, items.join(","))
}

/// Gives each item its range; there is one for each, in order.
fn fill_in(
    items: &mut [Fields],
    mut ranges: impl Iterator<Item = Range<usize>>,
    put: impl Fn(&mut Fields, Range<usize>),
) -> anyhow::Result<()> {
    for fields in items {
        put(fields, ranges.next().context("a field of the request is not where it should be")?);
    }
    Ok(())
}

/// Where a text begins, each time that it occurs.
fn positions<'a>(bytes: &'a [u8], wanted: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    bytes.windows(wanted.len()).enumerate().filter(move |(_, window)| *window == wanted).map(|(start, _)| start)
}

/// Writes a number in hexadecimal digits, with zeros in front.
fn put_digits(bytes: &mut [u8], range: &Range<usize>, number: u64) {
    let mut rest = number;
    for byte in bytes.get_mut(range.clone()).unwrap_or_default().iter_mut().rev() {
        let digit = u8::try_from(rest & 0xf).unwrap_or(0);
        *byte = if digit < 10 { b'0' + digit } else { b'a' + digit - 10 };
        rest >>= 4;
    }
}

/// What stands behind `marker`.
pub(crate) fn after<'a>(bytes: &'a [u8], marker: &[u8]) -> Option<&'a [u8]> {
    let start = bytes.windows(marker.len()).position(|window| window == marker)? + marker.len();
    bytes.get(start..)
}

fn text_after(body: &[u8], marker: &[u8]) -> Option<String> {
    let text = after(body, marker)?.split(|byte| *byte == b'"').next()?;
    String::from_utf8(text.to_vec()).ok()
}

fn number_after(body: &[u8], marker: &[u8]) -> Option<u64> {
    let digits = after(body, marker)?.split(|byte| !byte.is_ascii_digit()).next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::bench::target::Whose;

    fn target() -> Target {
        Target {
            address: ([127, 0, 0, 1], 1).into(),
            host: "h".to_owned(),
            token: "t".to_owned(),
            whose: Whose::Theirs { processes: Vec::new() },
        }
    }

    fn manner() -> Manner {
        Manner {
            path: "/api/notifications".to_owned(),
            people: People::one(Uuid::from_u128(7)),
            batch: None,
            keys: None,
            arrivals: None,
            samples: 0,
        }
    }

    fn message(channel: &str) -> Message {
        Message { channel: channel.to_owned(), ..Message::in_app(400) }
    }

    fn next(template: &mut Template) -> String {
        String::from_utf8(template.next(Instant::now()).to_vec()).unwrap()
    }

    fn body(request: &str) -> Value {
        serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    #[test]
    fn a_payload_has_the_length_asked_for() {
        for channel in ["in-app", "email", "sms", "webhook", "pigeon"] {
            let mut template = Template::new(&target(), &message(channel), &manner(), 0).unwrap();
            let body = body(&next(&mut template));
            assert_eq!(body["payload"].to_string().len(), 400, "{channel}");
            assert_eq!(body["type"], channel);
            assert_eq!(body["targetUserId"], Uuid::from_u128(7).to_string());
        }
        let short = Message::in_app(0);
        assert!(Template::new(&target(), &short, &manner(), 0).is_ok());
    }

    #[test]
    fn every_request_has_a_key_of_its_own() {
        let manner = Manner { keys: Some(Uuid::from_u128(7)), ..manner() };
        let mut keys = HashSet::new();
        for connection in 0..3 {
            let mut template = Template::new(&target(), &message("in-app"), &manner, connection).unwrap();
            for _ in 0..300 {
                let text = next(&mut template);
                let line = text.lines().find(|line| line.starts_with("Idempotency-Key: ")).unwrap().to_owned();
                assert!(keys.insert(line), "{text}");
            }
        }
    }

    #[test]
    fn without_keys_every_request_is_the_same() {
        let mut template = Template::new(&target(), &message("in-app"), &manner(), 0).unwrap();
        let first = next(&mut template);
        assert_eq!(next(&mut template), first);
    }

    #[test]
    fn a_batch_has_users_and_keys_of_its_own_for_each_item() {
        let people = People::many(Uuid::from_u128(u128::MAX), 1000);
        let manner = Manner { people: people.clone(), batch: Some(50), keys: Some(Uuid::nil()), ..manner() };
        let mut template = Template::new(&target(), &message("in-app"), &manner, 3).unwrap();
        let all: HashSet<String> = (0..1000).map(|number| people.id(number).to_string()).collect();
        let (mut users, mut keys) = (HashSet::new(), HashSet::new());
        for _ in 0..10 {
            for item in body(&next(&mut template))["notifications"].as_array().unwrap() {
                let user = item["targetUserId"].as_str().unwrap().to_owned();
                assert!(all.contains(&user), "{user}");
                users.insert(user);
                assert!(keys.insert(item["idempotencyKey"].as_str().unwrap().to_owned()));
            }
        }
        assert_eq!(keys.len(), 500);
        assert!(users.len() > 250, "{} users", users.len());
        let answer = br#"{"accepted":49,"rejected":1,"results":[{"status":"queued","messageId":"x"}]}"#;
        assert_eq!(template.answered(202, answer, Instant::now()), 49);
    }

    #[test]
    fn numbers_stand_where_sinks_find_them() {
        let arrivals = Arc::new(Arrivals::new(None).unwrap());
        let manner = Manner { arrivals: Some(arrivals), ..manner() };
        for channel in ["webhook", "email", "in-app"] {
            let message = Message { is_numbered: true, url: Some("http://h/".to_owned()), ..message(channel) };
            let mut template = Template::new(&target(), &message, &manner, 0).unwrap();
            let (first, second) = (next(&mut template), next(&mut template));
            assert_ne!(first, second);
            assert!(first.contains("bench 0000") && !first.contains(NUMBER), "{first}");
        }
    }

    #[test]
    fn samples_stay_few_and_spread() {
        let manner = Manner { samples: 10, ..manner() };
        let mut template = Template::new(&target(), &message("in-app"), &manner, 0).unwrap();
        for number in 0..10_000 {
            let answer = format!(r#"{{"messageId":"{number}","status":"queued"}}"#);
            assert_eq!(template.answered(202, answer.as_bytes(), Instant::now()), 1);
        }
        let kept = template.into_samples();
        assert!((10..20).contains(&kept.len()), "{}", kept.len());
        let numbers: Vec<u64> = kept.iter().map(|sample| sample.id.parse().unwrap()).collect();
        assert!(numbers.is_sorted() && numbers.last().unwrap() > &8000, "{numbers:?}");
    }
}
