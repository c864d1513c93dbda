//! Values made after schemas, and values made wrong on purpose.

use fastrand::Rng;
use serde_json::{Map, Value, json};

/// Texts that have broken programs before, and some that mean something here.
const TEXTS: [&str; 34] = [
    "",
    " ",
    "a",
    "0",
    "-1",
    "null",
    "true",
    "\0",
    "\u{7f}",
    "a\r\nb: c",
    "\u{2028}",
    "\u{202e}evil",
    "\u{feff}",
    "ß",
    "日本語",
    "👩‍👩‍👧‍👦",
    "Z\u{338}\u{321}a\u{336}",
    "../../etc/passwd",
    "'; DROP TABLE users; --",
    "<script>alert(1)</script>",
    "%00%ff%",
    "{{7*7}}",
    "a@b.example",
    "not-an-address@",
    "+442071838750",
    "Europe/Lisbon",
    "en-GB",
    "pending",
    "in-app",
    "email",
    "webhook",
    "critical",
    "transactional",
    "correct horse battery staple",
];

const INSTANTS: [&str; 12] = [
    "2026-01-31T09:30:00Z",
    "2026-01-31T09:30:00.123456789+14:00",
    "1969-12-31T23:59:59Z",
    "0000-01-01T00:00:00Z",
    "-009999-01-02T01:59:59Z",
    "9999-12-30T22:00:00Z",
    "9999-12-31T23:59:59Z",
    "2024-02-30T00:00:00Z",
    "2024-12-31T23:59:60Z",
    "2026-01-31",
    "tomorrow",
    "2026-01-31t09:30:00z",
];

const NUMBERS: [&str; 16] = [
    "0",
    "1",
    "-1",
    "17",
    "200",
    "201",
    "1000",
    "1001",
    "2147483648",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "-9223372036854775808",
    "1.5",
    "1e3",
    "-0.0",
];

/// How deep generated values nest before only leaves follow.
const DEPTH: usize = 4;

/// What exists on the server, so that requests get past the first check.
#[derive(Default)]
pub(crate) struct Known {
    pub(crate) users: Vec<String>,
    /// Users that nobody misses when they are deleted.
    pub(crate) disposable: Vec<String>,
    pub(crate) notifications: Vec<String>,
    pub(crate) dead_letters: Vec<String>,
    pub(crate) cursors: Vec<String>,
    /// Where webhooks may be sent.
    pub(crate) hook: String,
}

pub(crate) struct Generator<'a> {
    pub(crate) rng: &'a mut Rng,
    pub(crate) components: &'a Value,
    pub(crate) known: &'a Known,
}

impl Generator<'_> {
    /// True in so many of a hundred cases.
    pub(crate) fn chance(&mut self, percent: u8) -> bool {
        self.rng.u8(..100) < percent
    }

    /// A value that the schema allows, as far as the schema can tell.
    pub(crate) fn value(&mut self, name: &str, schema: &Value, depth: usize) -> Value {
        if let Some(reference) = schema["$ref"].as_str() {
            let target = self.components["schemas"][reference.rsplit('/').next().unwrap()].clone();
            return self.value(name, &target, depth);
        }
        if let Some(choices) = schema["oneOf"].as_array() {
            let choice = self.rng.usize(..choices.len());
            return self.value(name, &choices[choice], depth);
        }
        if let Some(words) = schema["enum"].as_array() {
            return words[self.rng.usize(..words.len())].clone();
        }
        match self.kind(schema) {
            "null" => Value::Null,
            "boolean" => json!(self.rng.bool()),
            "integer" => self.integer(schema),
            "array" => self.array(name, schema, depth),
            "object" if schema.get("properties").is_some() => self.object(schema, depth),
            "object" => self.payload(depth),
            _ => json!(self.text(name, schema)),
        }
    }

    /// One of the types of a schema; `null` seldom, where there is another.
    fn kind<'s>(&mut self, schema: &'s Value) -> &'s str {
        match &schema["type"] {
            Value::Array(kinds) => {
                let is_drawn = |kind: &&Value| (kind.as_str() == Some("null")) == (self.rng.u8(..8) == 0);
                let kind = kinds.iter().find(is_drawn).or_else(|| kinds.first());
                kind.and_then(Value::as_str).unwrap_or("string")
            }
            kind => kind.as_str().unwrap_or("string"),
        }
    }

    fn integer(&mut self, schema: &Value) -> Value {
        let least = schema["minimum"].as_i64().unwrap_or(i64::MIN);
        let edges = [least, 0, 1, 2, 50, 200, 1000, i64::from(i32::MAX), i64::MAX];
        json!(edges[self.rng.usize(..edges.len())].max(least))
    }

    fn array(&mut self, name: &str, schema: &Value, depth: usize) -> Value {
        let least = usize::try_from(schema["minItems"].as_u64().unwrap_or(0)).unwrap();
        let length = least + if depth < DEPTH { self.rng.usize(..4) } else { 0 };
        (0..length).map(|_| self.value(name, &schema["items"], depth + 1)).collect()
    }

    fn object(&mut self, schema: &Value, depth: usize) -> Value {
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        let mut object = Map::new();
        for (name, property) in schema["properties"].as_object().unwrap() {
            if required.iter().any(|required| required == name.as_str()) || self.chance(25) {
                object.insert(name.clone(), self.value(name, property, depth + 1));
            }
        }
        Value::Object(object)
    }

    /// An object of which the schema says no more: the payload of some channel, or anything.
    fn payload(&mut self, depth: usize) -> Value {
        match self.rng.u8(..6) {
            0 => json!({"title": self.any_text(), "message": self.any_text(), "link": "https://example.com/"}),
            1 => json!({"to": "a@b.example", "subject": "s", "body": self.any_text(), "htmlContent": self.any_text()}),
            2 => json!({"phoneNumber": "+442071838750", "message": self.any_text()}),
            3 => json!({"url": self.known.hook, "event": "order.shipped", "headers": {"x-team": "orders"}}),
            _ => self.anything(depth),
        }
    }

    fn anything(&mut self, depth: usize) -> Value {
        let kinds = if depth < DEPTH { 8 } else { 6 };
        match self.rng.u8(..kinds) {
            0 => Value::Null,
            1 => json!(self.rng.bool()),
            2 => serde_json::from_str(NUMBERS[self.rng.usize(..NUMBERS.len())]).unwrap(),
            6 => (0..self.rng.usize(..4)).map(|_| self.anything(depth + 1)).collect(),
            7 => {
                let members = 0..self.rng.usize(..4);
                Value::Object(members.map(|_| (self.any_text(), self.anything(depth + 1))).collect())
            }
            _ => json!(self.any_text()),
        }
    }

    /// A text for a field or parameter with this name.
    pub(crate) fn text(&mut self, name: &str, schema: &Value) -> String {
        let format = schema["format"].as_str().unwrap_or_default();
        match (name, format) {
            ("from" | "until" | "sendAt" | "expiresAt", _) | (_, "date-time") => {
                INSTANTS[self.rng.usize(..INSTANTS.len())].to_owned()
            }
            ("type", _) => self.one_of(&["in-app", "in-app", "email", "sms", "webhook", "pigeon", ""]),
            ("category", _) => self.one_of(&["transactional", "otp", "system", "no spaces", "x"]),
            ("priority", _) => self.one_of(&["critical", "high", "normal", "low", "urgent"]),
            ("status", _) => self.one_of(&["pending", "processed", "failed", "done"]),
            ("reviewStatus", _) => self.one_of(&["pending", "reviewing", "redriven", "discarded", "lost"]),
            ("receipt", _) => self.one_of(&["read", "delivered", "seen"]),
            ("cursor", _) => self.known_or(|known| &known.cursors),
            ("messageId", _) => self.known_or(|known| &known.notifications),
            ("targetUserId" | "userId" | "after", _) => self.known_or(|known| &known.users),
            ("id", _) | (_, "uuid") => self.new_id(),
            ("username", _) => format!("user-{}", self.rng.u16(..)),
            ("password", _) => self.one_of(&["correct horse battery staple", "12345678", "short"]),
            ("email", _) => format!("user-{}@example.com", self.rng.u16(..)),
            ("phone", _) => self.one_of(&["+442071838750", "0123", "+1"]),
            ("webhookUrl", _) => {
                self.one_of(&["https://example.com/hook", "http://127.0.0.1:1/", "nonsense", "ftp://x"])
            }
            ("locale", _) => self.one_of(&["en-GB", "pt-BR", "x_y"]),
            ("timeZone", _) => self.one_of(&["Europe/Lisbon", "Mars/Base"]),
            _ => self.any_text(),
        }
    }

    fn new_id(&mut self) -> String {
        uuid::Uuid::from_u128(self.rng.u128(..)).to_string()
    }

    fn one_of(&mut self, texts: &[&str]) -> String {
        texts[self.rng.usize(..texts.len())].to_owned()
    }

    /// Mostly something that exists.
    pub(crate) fn known_or(&mut self, list: impl Fn(&Known) -> &Vec<String>) -> String {
        let known = list(self.known);
        if known.is_empty() || self.chance(15) {
            return self.new_id();
        }
        known[self.rng.usize(..known.len())].clone()
    }

    fn any_text(&mut self) -> String {
        match self.rng.u8(..20) {
            0 => "x".repeat(self.rng.usize(..5_000)),
            1 => (0..self.rng.usize(..40)).map(|_| self.rng.char(..)).collect(),
            _ => TEXTS[self.rng.usize(..TEXTS.len())].to_owned(),
        }
    }

    /// Makes one thing wrong, anywhere in a value.
    pub(crate) fn spoil(&mut self, value: &mut Value) {
        let mut left = self.rng.usize(..nodes(value));
        let Some(node) = nth(value, &mut left) else { return };
        match self.rng.u8(..10) {
            0 | 1 => *node = self.anything(0),
            2 => *node = Value::Null,
            3 => *node = json!("x".repeat(1 << self.rng.u32(..18))),
            4 => *node = nested(1 << self.rng.u32(..8)),
            5 => *node = json!([node.clone(), node.clone()]),
            6 => *node = json!({"value": node.clone()}),
            7 => remove_one(self.rng, node),
            8 => {
                let (name, value) = (self.any_text(), self.anything(1));
                if let Some(object) = node.as_object_mut() {
                    object.insert(name, value);
                }
            }
            _ => *node = json!(self.any_text()),
        }
    }

    /// Damages a text so that it is likely to be JSON no more.
    pub(crate) fn damage(&mut self, bytes: &mut Vec<u8>) {
        let at = self.rng.usize(..=bytes.len());
        match self.rng.u8(..4) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, self.rng.u8(..)),
            2 => drop(bytes.splice(at..at, b"\xff\xfe,{\"".iter().copied())),
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << self.rng.u8(..8);
                }
            }
        }
    }
}

fn nodes(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(nodes).sum::<usize>(),
        Value::Object(members) => members.values().map(nodes).sum::<usize>(),
        _ => 0,
    }
}

/// The value that is so many steps into a walk through all of them.
fn nth<'v>(value: &'v mut Value, left: &mut usize) -> Option<&'v mut Value> {
    if *left == 0 {
        return Some(value);
    }
    *left -= 1;
    match value {
        Value::Array(items) => items.iter_mut().find_map(|item| nth(item, left)),
        Value::Object(members) => members.values_mut().find_map(|member| nth(member, left)),
        _ => None,
    }
}

fn nested(depth: usize) -> Value {
    (0..depth).fold(json!(1), |inner, level| if level % 2 == 0 { json!([inner]) } else { json!({"a": inner}) })
}

fn remove_one(rng: &mut Rng, node: &mut Value) {
    match node {
        Value::Object(members) if !members.is_empty() => {
            let name = members.keys().nth(rng.usize(..members.len())).cloned().unwrap();
            members.remove(&name);
        }
        Value::Array(items) => drop(items.pop()),
        other => *other = Value::Null,
    }
}
