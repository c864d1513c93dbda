//! The channel `email`: plain text, with HTML beside it if there is any.

use std::time::{Duration, SystemTime};

use lettre::Address;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message, MultiPart, SinglePart};
use tidings_core::contact;
use tidings_core::delivery::Verdict;
use tidings_core::error::Problem;
use tidings_core::notification::Destination;
use tidings_core::ports::sender::{Dispatch, Report};
use tidings_core::time::Timestamp;
use tidings_core::user::Contacts;
use url::Host;

use crate::channel::{Channel, not_configured, refused, stored_payload};
use crate::config::ConfigError;
use crate::payload::{Fields, Form, Payload};
use crate::said::tidy;
use crate::wire::{Answer, Failure, Mail, MailAnswer, Outgoing};

const NAME: &str = "email";
const PROVIDER: &str = "smtp";

/// The longest subject: one line of RFC 5322.
const MAX_SUBJECT: usize = 998;

const CORRELATION: HeaderName = HeaderName::new_from_ascii_str("X-Correlation-Id");

/// E-mail. The payload: `to` (else the contact `email`), `subject`, `body` and `htmlContent`.
pub(crate) struct Email {
    from: Option<Mailbox>,
}

struct Letter<'a> {
    to: Address,
    subject: &'a str,
    body: &'a str,
    html: Option<&'a str>,
}

impl Email {
    /// The channel, with the sender of all mail if there is a relay.
    pub(crate) fn new(from: Option<Mailbox>) -> Self {
        Self { from }
    }

    fn configured(&self) -> Result<&Mailbox, Problem> {
        self.from.as_ref().ok_or_else(|| not_configured(NAME, "SMTP_URL and SMTP_FROM"))
    }
}

/// Reads the sender of all mail.
pub(crate) fn sender(text: &str) -> Result<Mailbox, ConfigError> {
    if Form::line(320).complaint(text).is_some() {
        return Err(ConfigError::SmtpFrom);
    }
    let mailbox: Mailbox = text.trim().parse().map_err(|_unparsable| ConfigError::SmtpFrom)?;
    let email = mailable(mailbox.email.as_ref()).ok_or(ConfigError::SmtpFrom)?;
    Ok(Mailbox::new(mailbox.name, email))
}

impl Channel for Email {
    fn name(&self) -> &'static str {
        NAME
    }

    fn address(&self, payload: &Payload, contacts: &Contacts) -> Result<Destination, Problem> {
        self.configured()?;
        letter(payload, contacts)?;
        Ok(Destination::new(NAME, PROVIDER))
    }

    fn build(&self, dispatch: &Dispatch<'_>) -> Result<Outgoing, Report> {
        let from = self.configured().map_err(|problem| refused(PROVIDER, &problem))?;
        let payload = stored_payload(dispatch, PROVIDER)?;
        let letter = letter(&payload, dispatch.contacts).map_err(|problem| refused(PROVIDER, &problem))?;
        let message = message(dispatch, from, &letter)
            .map_err(|error| Failure::Unsendable(format!("the mail cannot be written: {error}")).report(PROVIDER))?;
        Ok(Outgoing::Mail(Mail { from: from.email.clone(), to: letter.to, message: message.formatted() }))
    }

    fn read(&self, answer: Answer, _now: Timestamp) -> Report {
        match answer {
            Answer::Mail(answer) => report(&answer),
            Answer::Failed(failure) => failure.report(PROVIDER),
            Answer::Http(_) => Failure::foreign().report(PROVIDER),
        }
    }
}

fn letter<'a>(payload: &'a Payload, contacts: &'a Contacts) -> Result<Letter<'a>, Problem> {
    let mut fields = Fields::of(payload);
    let to = recipient(&mut fields, contacts);
    let subject = fields.required_text("subject", Form::line(MAX_SUBJECT));
    let body = fields.required_text("body", Form::document());
    let html = fields.text("htmlContent", Form::document());
    let read = to.zip(subject).zip(body).map(|((to, subject), body)| Letter { to, subject, body, html });
    fields.finish(read)
}

fn recipient(fields: &mut Fields<'_>, contacts: &Contacts) -> Option<Address> {
    let text = match (fields.value("to"), &contacts.email) {
        (Some(_), _) => fields.text("to", Form::document())?,
        (None, Some(email)) => email.as_str(),
        (None, None) => {
            fields.complain("to", "is required, because the user has no email in their contacts");
            return None;
        }
    };
    let address = mailable(text);
    if address.is_none() {
        fields.complain("to", "must be one e-mail address such as ada@example.com");
    }
    address
}

/// An address as it goes on an envelope: the domain in ASCII, so that every relay can carry it.
fn mailable(text: &str) -> Option<Address> {
    if !contact::is_email(text) {
        return None;
    }
    let (user, domain) = text.rsplit_once('@')?;
    match Host::parse(domain) {
        Ok(Host::Domain(domain)) => Address::new(user, domain).ok(),
        _ => None,
    }
}

fn message(dispatch: &Dispatch<'_>, from: &Mailbox, letter: &Letter<'_>) -> Result<Message, lettre::error::Error> {
    let notification = dispatch.notification;
    let id = notification.id;
    let mut builder = Message::builder()
        .message_id(Some(format!("<{id}@{}>", from.email.domain())))
        .date(system_time(dispatch.now))
        .from(from.clone())
        .to(Mailbox::new(None, letter.to.clone()))
        .subject(letter.subject);
    let correlation_id = &notification.context.correlation_id;
    if !correlation_id.is_empty() && Form::line(255).complaint(correlation_id).is_none() {
        builder = builder.raw_header(HeaderValue::new(CORRELATION, correlation_id.clone()));
    }
    let plain = SinglePart::plain(with_plain_breaks(letter.body));
    let Some(html) = letter.html else { return builder.singlepart(plain) };
    let html = SinglePart::html(with_plain_breaks(html));
    // The same in every attempt, and nothing that the author of the text could have known.
    let boundary = format!("tidings-{id}");
    builder.multipart(MultiPart::alternative().boundary(boundary).singlepart(plain).singlepart(html))
}

/// A lone CR or LF inside a mail is read as a line break by some servers and not by others; between the two, one mail
/// can be made to look like two. The builder turns LF into CR LF.
fn with_plain_breaks(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}

fn system_time(now: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(now.as_millis()).unwrap_or(0))
}

fn report(answer: &MailAnswer) -> Report {
    let verdict = match answer.code {
        200..=299 => Verdict::Delivered,
        400..=499 => Verdict::Retry { after: None },
        500..=599 => Verdict::Reject,
        _ => Verdict::Unknown,
    };
    let message = (verdict != Verdict::Delivered).then(|| tidy(&answer.text));
    Report { code: Some(answer.code.to_string()), message, ..Report::new(PROVIDER, verdict) }
}

#[cfg(test)]
mod tests;
