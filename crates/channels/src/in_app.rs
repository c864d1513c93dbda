//! The channel `in-app`: the user's inbox. The store delivers it; here is only the check.

use serde_json::Value;
use tidings_core::delivery::Verdict;
use tidings_core::error::Problem;
use tidings_core::notification::Destination;
use tidings_core::ports::sender::{Dispatch, Reach, Report};
use tidings_core::time::Timestamp;
use tidings_core::user::Contacts;
use url::{ParseError, Url};

use crate::channel::Channel;
use crate::payload::{Fields, Form, Payload};
use crate::wire::{Answer, Outgoing};

const NAME: &str = "in-app";

/// The longest title and the longest message.
const MAX_CHARS: usize = 4000;

/// What a link may open. Everything else could run as a script where the inbox is shown.
const SCHEMES: [&str; 4] = ["http", "https", "mailto", "tel"];

/// The user's inbox. Its payload: `title` and `message`, at least one of them, `orderId` and `link`.
pub(crate) struct InApp;

impl Channel for InApp {
    fn name(&self) -> &'static str {
        NAME
    }

    fn reach(&self) -> Reach {
        Reach::Inbox
    }

    fn address(&self, payload: &Payload, _contacts: &Contacts) -> Result<Destination, Problem> {
        let mut fields = Fields::of(payload);
        fields.text("title", Form::line(MAX_CHARS));
        fields.text("message", Form::lines(MAX_CHARS));
        if fields.value("title").is_none() && fields.value("message").is_none() {
            fields.complain("message", "is required where there is no title");
        }
        if fields.value("orderId").is_some_and(|id| !is_order_id(id)) {
            fields.complain("orderId", "must be a number or a string of one line and at most 255 characters");
        }
        if fields.text("link", Form::line(2048)).is_some_and(|link| !is_harmless(link)) {
            fields.complain("link", format!("must be a path or a URL with one of the schemes {}", SCHEMES.join(", ")));
        }
        fields.finish(Some(Destination::new(NAME, "inbox")))
    }

    fn build(&self, _dispatch: &Dispatch<'_>) -> Result<Outgoing, Report> {
        Err(undeliverable())
    }

    fn read(&self, _answer: Answer, _now: Timestamp) -> Report {
        undeliverable()
    }
}

fn is_order_id(value: &Value) -> bool {
    value.is_number() || value.as_str().is_some_and(|text| Form::line(255).complaint(text).is_none())
}

fn is_harmless(link: &str) -> bool {
    match Url::parse(link) {
        Ok(url) => SCHEMES.contains(&url.scheme()),
        Err(error) => error == ParseError::RelativeUrlWithoutBase,
    }
}

fn undeliverable() -> Report {
    Report::new(NAME, Verdict::Reject).saying("an inbox is not reached by a provider")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn problem(payload: Value) -> Option<String> {
        let payload = payload.as_object().cloned().unwrap();
        InApp.address(&payload, &Contacts::default()).err().map(|problem| problem.message)
    }

    #[test]
    fn a_title_or_a_message_is_enough() {
        assert_eq!(problem(json!({"title": "Shipped"})), None);
        assert_eq!(problem(json!({"message": "two\nlines", "orderId": 7, "link": "/orders/7", "more": [1]})), None);
        assert_eq!(problem(json!({})).as_deref(), Some("payload.message: is required where there is no title"));
        assert_eq!(problem(json!({"title": 1})).as_deref(), Some("payload.title: must be a string"));
    }

    #[test]
    fn texts_have_their_limit() {
        assert_eq!(problem(json!({"title": "x".repeat(4000)})), None);
        assert!(problem(json!({"title": "x".repeat(4001)})).is_some());
        assert!(problem(json!({"message": "bell \u{7}"})).is_some());
        assert!(problem(json!({"title": "x", "orderId": {"id": 1}})).is_some());
    }

    #[test]
    fn links_cannot_run() {
        for link in ["https://example.com/a?b#c", "mailto:ada@example.com", "tel:+442071838750", "orders/7", "#top"] {
            assert_eq!(problem(json!({"title": "x", "link": link})), None, "{link}");
        }
        for link in [
            "javascript:alert(1)",
            "JavaScript:alert(1)",
            " javascript:alert(1)",
            "java\tscript:alert(1)",
            "data:text/html,x",
            "vbscript:x",
            "file:///etc/passwd",
        ] {
            assert!(problem(json!({"title": "x", "link": link})).is_some(), "{link}");
        }
    }
}
