//! Reading payloads: typed fields, and a complaint with a path for each that is wrong.

use serde_json::{Map, Value};
use tidings_core::error::{ErrorCode, FieldError, Problem};

/// The payload of a notification.
pub(crate) type Payload = Map<String, Value>;

/// What a text may look like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    alphabet: Alphabet,
    max_chars: usize,
}

#[derive(Clone, Copy, Debug)]
enum Alphabet {
    Line,
    Lines,
    AllButNul,
}

impl Form {
    /// One line: no control characters, no separators of lines and paragraphs.
    pub(crate) const fn line(max_chars: usize) -> Self {
        Self { alphabet: Alphabet::Line, max_chars }
    }

    /// Lines: no control characters but line breaks.
    pub(crate) const fn lines(max_chars: usize) -> Self {
        Self { alphabet: Alphabet::Lines, max_chars }
    }

    /// A document of any length: no NUL.
    pub(crate) const fn document() -> Self {
        Self { alphabet: Alphabet::AllButNul, max_chars: usize::MAX }
    }

    /// What is wrong with `text`, if anything is.
    pub(crate) fn complaint(self, text: &str) -> Option<String> {
        if let Some(complaint) = self.alphabet.complaint(text) {
            return Some(complaint.to_owned());
        }
        let chars = text.chars().count();
        (chars > self.max_chars).then(|| format!("has {chars} characters; at most {} are allowed", self.max_chars))
    }
}

impl Alphabet {
    fn complaint(self, text: &str) -> Option<&'static str> {
        match self {
            Self::Line => {
                let breaks = |c: char| c.is_control() || turns_text(c) || matches!(c, '\u{2028}' | '\u{2029}');
                text.contains(breaks).then_some("must be one line without control characters")
            }
            Self::Lines => {
                let mut rest = text.split("\r\n").flat_map(str::chars);
                let refused = rest.any(|c| (c.is_control() && c != '\n') || turns_text(c));
                refused.then_some("must not have control characters other than line breaks")
            }
            Self::AllButNul => text.contains('\0').then_some("must not have NUL characters"),
        }
    }
}

/// Whether a character changes the direction of the text after it, so that what people read is not what was sent.
const fn turns_text(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Reads the fields of a payload, and remembers what was wrong.
///
/// As in the seed's API, `null` and the empty string stand for a field that is absent.
pub(crate) struct Fields<'a> {
    payload: &'a Payload,
    errors: Vec<FieldError>,
}

impl<'a> Fields<'a> {
    /// The fields of `payload`.
    pub(crate) const fn of(payload: &'a Payload) -> Self {
        Self { payload, errors: Vec::new() }
    }

    /// The field as it stands, unless it is absent.
    pub(crate) fn value(&self, name: &str) -> Option<&'a Value> {
        self.payload.get(name).filter(|value| !value.is_null() && value.as_str() != Some(""))
    }

    /// A text.
    pub(crate) fn text(&mut self, name: &str, form: Form) -> Option<&'a str> {
        let Some(text) = self.value(name)?.as_str() else {
            self.complain(name, "must be a string");
            return None;
        };
        if let Some(complaint) = form.complaint(text) {
            self.complain(name, complaint);
            return None;
        }
        Some(text)
    }

    /// A text that has to be there.
    pub(crate) fn required_text(&mut self, name: &str, form: Form) -> Option<&'a str> {
        if self.value(name).is_none() {
            self.complain(name, "is required");
        }
        self.text(name, form)
    }

    /// An object.
    pub(crate) fn object(&mut self, name: &str) -> Option<&'a Payload> {
        let object = self.value(name)?.as_object();
        if object.is_none() {
            self.complain(name, "must be an object");
        }
        object
    }

    /// Notes that the field `name` of the payload is wrong.
    pub(crate) fn complain(&mut self, name: &str, message: impl Into<String>) {
        self.errors.push(FieldError::new(format!("payload.{name}"), message));
    }

    /// What was read, or all complaints.
    pub(crate) fn finish<T>(self, read: Option<T>) -> Result<T, Problem> {
        match read {
            Some(read) if self.errors.is_empty() => Ok(read),
            _ => Err(Problem::fields(ErrorCode::INVALID_PAYLOAD, self.errors)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn payload(value: Value) -> Payload {
        value.as_object().cloned().unwrap()
    }

    fn messages(problem: &Problem) -> Vec<(&str, &str)> {
        problem.errors.iter().map(|error| (error.field.as_str(), error.message.as_str())).collect()
    }

    #[test]
    fn every_wrong_field_is_named_with_its_path() {
        let payload = payload(json!({"to": 1, "subject": "a\r\nBcc: x@y", "headers": []}));
        let mut fields = Fields::of(&payload);
        fields.text("to", Form::line(10));
        fields.text("subject", Form::line(100));
        fields.object("headers");
        fields.required_text("body", Form::document());
        let problem = fields.finish(Some(())).unwrap_err();
        assert_eq!(problem.code, ErrorCode::INVALID_PAYLOAD);
        assert_eq!(
            messages(&problem),
            [
                ("payload.to", "must be a string"),
                ("payload.subject", "must be one line without control characters"),
                ("payload.headers", "must be an object"),
                ("payload.body", "is required"),
            ]
        );
    }

    #[test]
    fn null_and_empty_are_absent() {
        let payload = payload(json!({"to": null, "subject": ""}));
        let mut fields = Fields::of(&payload);
        assert_eq!(fields.text("to", Form::line(10)), None);
        assert_eq!(fields.text("subject", Form::line(10)), None);
        assert!(fields.finish(Some(())).is_ok());
    }

    #[test]
    fn each_form_has_its_alphabet_and_length() {
        let fits = |form: Form, text: &str| form.complaint(text).is_none();
        for text in ["a\nb", "a\rb", "a\0b", "a\u{7f}b", "a\u{85}b", "a\u{2028}b", "a\tb"] {
            assert!(!fits(Form::line(99), text), "{text:?}");
        }
        assert!(fits(Form::lines(99), "a\nb\r\nc") && !fits(Form::lines(99), "a\rb") && !fits(Form::lines(99), "a\tb"));
        assert!(fits(Form::document(), "a\r\n\t\u{1b}") && !fits(Form::document(), "\0"));
        assert!(fits(Form::line(3), "äöü") && !fits(Form::line(3), "äöüß"));
    }
}
