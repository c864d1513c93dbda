//! A mail as it arrived, and as its reader would see it.

use std::time::SystemTime;

use mail_parser::{Message, MessageParser, PartType};
use serde::Serialize;

use crate::moment;

/// A mail that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// Which it was since the start; the first is 1.
    pub number: u64,
    /// The sender of the envelope; empty for a bounce.
    pub from: String,
    /// The recipients of the envelope.
    pub to: Vec<String>,
    /// The message as sent, without the dots that SMTP adds.
    pub raw: Vec<u8>,
    /// When it was taken.
    pub at: SystemTime,
}

/// A mail in the form of JSON.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MailView {
    /// Which it was since the start; the first is 1.
    pub number: u64,
    /// When it was taken, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The sender of the envelope.
    pub from: String,
    /// The recipients of the envelope.
    pub to: Vec<String>,
    /// The subject, decoded.
    pub subject: Option<String>,
    /// The plain text, decoded.
    pub text: Option<String>,
    /// The HTML, decoded.
    pub html: Option<String>,
    /// All headers, in order.
    pub headers: Vec<HeaderView>,
    /// The length of the message.
    pub size_bytes: usize,
}

/// One header.
#[derive(Clone, Debug, Serialize)]
pub struct HeaderView {
    /// Its name.
    pub name: String,
    /// Its value as sent, on one line.
    pub value: String,
}

impl Mail {
    /// The subject, decoded.
    pub fn subject(&self) -> Option<String> {
        self.parse()?.subject().map(str::to_owned)
    }

    /// The plain text, decoded; `None` when the mail has none.
    pub fn text(&self) -> Option<String> {
        text(&self.parse()?)
    }

    /// The HTML, decoded; `None` when the mail has none.
    pub fn html(&self) -> Option<String> {
        html(&self.parse()?)
    }

    /// The value of a header as sent, on one line. Of several with one name, the last.
    pub fn header(&self, name: &str) -> Option<String> {
        self.parse()?.header_raw(name.to_owned()).map(unfold)
    }

    /// The mail in the form of JSON.
    pub fn view(&self) -> MailView {
        let message = self.parse();
        MailView {
            number: self.number,
            at_ms: moment::millis(self.at),
            from: self.from.clone(),
            to: self.to.clone(),
            subject: message.as_ref().and_then(|message| message.subject().map(str::to_owned)),
            text: message.as_ref().and_then(text),
            html: message.as_ref().and_then(html),
            headers: message.as_ref().map(headers).unwrap_or_default(),
            size_bytes: self.raw.len(),
        }
    }

    fn parse(&self) -> Option<Message<'_>> {
        MessageParser::default().parse(&self.raw)
    }
}

fn text(message: &Message<'_>) -> Option<String> {
    message.text_bodies().find_map(|part| match &part.body {
        PartType::Text(text) => Some(text.clone().into_owned()),
        _ => None,
    })
}

fn html(message: &Message<'_>) -> Option<String> {
    message.html_bodies().find_map(|part| match &part.body {
        PartType::Html(html) => Some(html.clone().into_owned()),
        _ => None,
    })
}

fn headers(message: &Message<'_>) -> Vec<HeaderView> {
    message.headers_raw().map(|(name, value)| HeaderView { name: name.to_owned(), value: unfold(value) }).collect()
}

fn unfold(value: &str) -> String {
    value.replace(['\r', '\n'], "").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(raw: &str) -> Mail {
        Mail {
            number: 1,
            from: "a@x.example".to_owned(),
            to: vec!["b@x.example".to_owned()],
            raw: raw.replace('\n', "\r\n").into_bytes(),
            at: moment::now(),
        }
    }

    #[test]
    fn both_alternatives_are_found() {
        let mail = mail(
            "Subject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=\nMessage-ID: <7@x.example>\nX-Correlation-Id: c-1\nMIME-Version: 1.0\n\
             Content-Type: multipart/alternative; boundary=b\n\n--b\nContent-Type: text/plain; charset=utf-8\n\nplain\n\
             --b\nContent-Type: text/html; charset=utf-8\n\n<p>rich</p>\n--b--\n",
        );
        assert_eq!(mail.subject().as_deref(), Some("Grüße"));
        assert_eq!(mail.text().as_deref().map(str::trim), Some("plain"));
        assert_eq!(mail.html().as_deref().map(str::trim), Some("<p>rich</p>"));
        assert_eq!(mail.header("message-id").as_deref(), Some("<7@x.example>"));
        assert_eq!(mail.header("x-correlation-id").as_deref(), Some("c-1"));
        assert_eq!(mail.header("x-none"), None);
    }

    #[test]
    fn what_is_not_there_is_not_made_up() {
        let plain = mail("Subject: s\nContent-Type: text/plain\n\nhello\n");
        assert_eq!((plain.text().as_deref().map(str::trim), plain.html()), (Some("hello"), None));
        let rich = mail("Subject: s\nContent-Type: text/html\n\n<b>hello</b>\n");
        assert_eq!(rich.text(), None);
        assert!(rich.html().is_some());
    }

    #[test]
    fn the_view_has_what_a_reader_sees() {
        let view = mail("Subject: s\nX-Long: one\n two\n\nhello\n").view();
        assert_eq!(view.subject.as_deref(), Some("s"));
        assert_eq!(view.headers.len(), 2);
        assert!(view.headers.iter().any(|header| header.name == "X-Long" && header.value == "one two"));
    }
}
