//! The log as JSON: one object per line, fields of the event and of the spans around it side by side.

use std::fmt;
use std::io::Write;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;
use tidings_core::time::{Clock, Timestamp, WallClock};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber, span};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

const SERVICE: &str = "tidings";
const MESSAGE: &str = "message";
const OWN_KEYS: [&str; 5] = ["timestamp", "level", MESSAGE, "service", "target"];

/// Writes each event as a line of JSON.
pub(crate) struct JsonLines<W> {
    writer: W,
    /// Logs are read beside those of other programs: they tell the time of the machine, also where `dev` moved ours.
    clock: WallClock,
}

impl<W> JsonLines<W> {
    pub(crate) fn new(writer: W) -> Self {
        Self { writer, clock: WallClock }
    }
}

impl<S, W> Layer<S> for JsonLines<W>
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
    W: for<'writer> MakeWriter<'writer> + 'static,
{
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().replace(fields);
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut extensions = span.extensions_mut();
        if let Some(fields) = extensions.get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        for span in context.event_scope(event).into_iter().flatten() {
            let extensions = span.extensions();
            if let Some(outer) = extensions.get::<Fields>() {
                fields.inherit(outer);
            }
        }
        let metadata = event.metadata();
        let line = Line { timestamp: self.clock.now(), level: metadata.level(), target: metadata.target(), fields };
        let Ok(mut text) = serde_json::to_vec(&line) else { return };
        text.push(b'\n');
        // A log that cannot be written has nowhere to say so.
        self.writer.make_writer().write_all(&text).ok();
    }
}

struct Line<'a> {
    timestamp: Timestamp,
    level: &'a Level,
    target: &'a str,
    fields: Fields,
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("timestamp", &self.timestamp)?;
        map.serialize_entry("level", level_name(*self.level))?;
        map.serialize_entry(MESSAGE, self.fields.get(MESSAGE).unwrap_or(&Value::Null))?;
        map.serialize_entry("service", SERVICE)?;
        map.serialize_entry("target", self.target)?;
        for (name, value) in &self.fields.0 {
            if !OWN_KEYS.contains(name) {
                map.serialize_entry(name, value)?;
            }
        }
        map.end()
    }
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// Names and values; few enough that a list is the fastest map.
#[derive(Debug, Default)]
struct Fields(Vec<(&'static str, Value)>);

impl Fields {
    fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    fn put(&mut self, field: &Field, value: Value) {
        // `r#type` is how Rust spells the field `type`.
        let name = field.name().strip_prefix("r#").unwrap_or_else(|| field.name());
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, slot)) => *slot = value,
            None => self.0.push((name, value)),
        }
    }

    /// Takes over what is not said more closely.
    fn inherit(&mut self, outer: &Self) {
        for (name, value) in &outer.0 {
            if self.get(name).is_none() {
                self.0.push((*name, value.clone()));
            }
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, Value::String(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, Value::from(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Value::from(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, Value::from(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::from(value));
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use parking_lot::Mutex;
    use tracing::field::Empty;
    use tracing::{info, info_span, subscriber, warn};
    use tracing_subscriber::Registry;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lines(log: impl FnOnce()) -> Vec<serde_json::Map<String, Value>> {
        let written = Written::default();
        let writer = written.clone();
        let layer = JsonLines::new(move || writer.clone());
        subscriber::with_default(Registry::default().with(layer), log);
        let bytes = written.0.lock().clone();
        String::from_utf8(bytes).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_line_carries_the_names_of_the_seed() {
        let lines = lines(|| {
            info!(messageId = %"m-1", userId = "u-1", r#type = "email", attempt = 2, sure = true, "Delivered by smtp");
        });
        let line = &lines[0];
        assert!(Timestamp::parse(line["timestamp"].as_str().unwrap()).is_ok());
        assert_eq!(line["level"], "info");
        assert_eq!(line["service"], "tidings");
        assert_eq!(line["message"], "Delivered by smtp");
        assert_eq!(line["messageId"], "m-1");
        assert_eq!(line["userId"], "u-1");
        assert_eq!(line["type"], "email");
        assert_eq!(line["attempt"], 2);
        assert_eq!(line["sure"], true);
    }

    #[test]
    fn fields_of_spans_are_inherited_and_the_closest_counts() {
        let lines = lines(|| {
            let outer = info_span!("request", correlationId = "c-1", tenant = "default", status = Empty);
            outer.record("status", 202);
            let _in_outer = outer.enter();
            let inner = info_span!("attempt", tenant = "acme");
            let _in_inner = inner.enter();
            warn!(attempt = 1, "Refused");
        });
        let line = &lines[0];
        assert_eq!(line["level"], "warn");
        assert_eq!(line["correlationId"], "c-1");
        assert_eq!(line["tenant"], "acme");
        assert_eq!(line["status"], 202);
        assert_eq!(line["attempt"], 1);
    }

    #[test]
    fn nobody_can_forge_a_line() {
        let lines = lines(|| info!(userId = "x\"}\n{\"level\":\"error\"}\u{1b}[31m", level = "error", "a\nb"));
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0]["level"], "info");
        assert_eq!(lines[0]["message"], "a\nb");
    }
}
