//! What has to hold for payloads, for what providers answer, and for URLs that somebody chose. Compiled for tests and for
//! the targets in `fuzz/` only.
//!
//! Each function takes bytes from outside and panics when a property does not hold.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use lettre::transport::smtp::response::Response;
use tidings_core::delivery::Verdict;
use tidings_core::id::{MessageId, TenantId};
use tidings_core::notification::{Content, Destination, NewNotification, Priority, TraceContext};
use tidings_core::ports::sender::{Dispatch, Report};
use tidings_core::time::Timestamp;
use tidings_core::user::Contacts;
use url::{Host, Url};

use crate::channel::Channel;
use crate::email::{self, Email};
use crate::in_app::InApp;
use crate::outbound::{self, Guard};
use crate::payload::Payload;
use crate::sms::{self, Sms};
use crate::webhook::{self, Secret, Webhook, sign};
use crate::wire::{Answer, HttpAnswer, MailAnswer, Outgoing};

/// 2027-01-15T08:00:00Z.
const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// The headers that a mail of ours has, in lower case.
const HEADERS: [&str; 9] = [
    "content-transfer-encoding",
    "content-type",
    "date",
    "from",
    "message-id",
    "mime-version",
    "subject",
    "to",
    "x-correlation-id",
];

/// Payloads: what a channel takes it can also send, and what it sends is clean.
pub fn payload(bytes: &[u8]) {
    let Ok(payload) = serde_json::from_slice::<Payload>(bytes) else { return };
    let contacts = Contacts {
        email: Some("ada@example.com".to_owned()),
        phone: Some("+442071838750".to_owned()),
        webhook_url: Some("https://example.com/hook".to_owned()),
        ..Contacts::default()
    };
    drop(InApp.address(&payload, &contacts));
    for channel in [Box::new(email()) as Box<dyn Channel>, Box::new(sms()), Box::new(webhook())] {
        let Ok(destination) = channel.address(&payload, &contacts) else { continue };
        let text = serde_json::Value::Object(payload.clone()).to_string();
        let notification = notification(channel.name(), destination, text);
        let dispatch = Dispatch { notification: &notification, contacts: &contacts, attempt: 1, now: NOW };
        let built = channel.build(&dispatch).map_err(|report| report.message);
        match built.expect("what was taken can be sent") {
            Outgoing::Mail(mail) => check_mail(&mail.message),
            Outgoing::Http(request) => {
                assert!(matches!(request.url.scheme(), "http" | "https"));
                assert!(!request.headers.contains_key("host") && !request.headers.contains_key("content-length"));
                assert!(channel.name() != "webhook" || serde_json::from_slice::<Payload>(&request.body).is_ok());
            }
        }
    }
}

fn check_mail(message: &[u8]) {
    for (index, byte) in message.iter().enumerate() {
        match byte {
            b'\r' => assert_eq!(message.get(index + 1), Some(&b'\n'), "a lone CR"),
            b'\n' => assert!(index > 0 && message.get(index - 1) == Some(&b'\r'), "a lone LF"),
            _ => {}
        }
    }
    let text = String::from_utf8_lossy(message);
    let (head, _body) = text.split_once("\r\n\r\n").expect("a mail has a head");
    for line in head.split("\r\n").filter(|line| !line.starts_with([' ', '\t'])) {
        let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
        assert!(HEADERS.contains(&name.as_str()), "a header of nobody's: {line:?}");
    }
}

/// The answer of a provider over HTTP (status, headers and body, as on the wire): the verdict is that of the status, and
/// what is kept of the words is short and names nobody.
pub fn http_answer(bytes: &[u8]) {
    let Some((status, headers, body)) = answer_of(bytes) else { return };
    let answer = || HttpAnswer { status, headers: headers.clone(), body: body.clone() };
    for report in [sms().read(Answer::Http(answer()), NOW), webhook().read(Answer::Http(answer()), NOW)] {
        check_report(&report);
        let fits = match (status.as_u16(), &report.verdict) {
            (200..=299, Verdict::Delivered) | (408 | 425 | 429 | 500..=599, Verdict::Retry { .. }) => true,
            // A provider of text messages may take one and know at once that it goes nowhere.
            (200..=299, Verdict::Reject) => report.provider == "twilio",
            (200..=299 | 408 | 425 | 429 | 500..=599, _) => false,
            (_, verdict) => *verdict == Verdict::Reject,
        };
        assert!(fits, "{status} became {:?}", report.verdict);
    }
}

fn answer_of(bytes: &[u8]) -> Option<(StatusCode, HeaderMap, Bytes)> {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let status = StatusCode::from_bytes(lines.next()?.trim_ascii()).ok()?;
    let mut headers = HeaderMap::new();
    for line in lines.by_ref().map(<[u8]>::trim_ascii).take_while(|line| !line.is_empty()).take(100) {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let (name, value) = (parts.next()?, parts.next().unwrap_or_default());
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value.trim_ascii())) {
            headers.append(name, value);
        }
    }
    let body: Vec<&[u8]> = lines.collect();
    Some((status, headers, body.join(&b'\n').into()))
}

/// The reply of a mail server: the verdict is that of the code.
pub fn smtp_reply(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(reply) = text.parse::<Response>() else { return };
    let code = u16::from(reply.code());
    let text = reply.message().collect::<Vec<&str>>().join(" ");
    let report = email().read(Answer::Mail(MailAnswer { code, text }), NOW);
    check_report(&report);
    match code {
        200..=299 => assert_eq!(report.verdict, Verdict::Delivered),
        400..=499 => assert_eq!(report.verdict, Verdict::Retry { after: None }),
        500..=599 => assert_eq!(report.verdict, Verdict::Reject),
        _ => assert_eq!(report.verdict, Verdict::Unknown),
    }
}

/// What is kept is one short line in which nobody is named.
fn check_report(report: &Report) {
    for text in [&report.code, &report.message, &report.provider_id].into_iter().flatten() {
        assert!(text.chars().count() <= 300, "{text}");
        assert!(text.chars().all(|c| !c.is_control() && c != '@'), "{text:?}");
    }
}

/// URLs: one that passes points to the public internet, and passes again in its canonical form.
pub fn outbound_url(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let guard = guard();
    let Ok(target) = guard.check(text) else { return };
    let url = &target.url;
    assert!(matches!(url.scheme(), "http" | "https"));
    assert!(url.username().is_empty() && url.password().is_none() && url.fragment().is_none());
    let port = url.port_or_known_default().expect("http has a port");
    assert!(matches!(port, 80 | 443 | 8000..=9000), "{url}");
    match url.host().expect("http has a host") {
        Host::Ipv4(address) => assert!(is_out_there(IpAddr::V4(address)), "{url}"),
        Host::Ipv6(address) => assert!(is_out_there(IpAddr::V6(address)), "{url}"),
        Host::Domain(name) => assert!(!name.is_empty() && name.trim_end_matches('.') != "localhost", "{url}"),
    }
    // The canonical form can be longer than what was sent, and too long.
    if url.as_str().len() <= text.len() {
        assert_eq!(guard.check(url.as_str()).as_ref(), Ok(&target), "{url}");
    }
    let catcher = Url::parse("http://127.0.0.1:9/").expect("a URL");
    let diverting = Guard::new(&outbound::Config { divert_to: Some(catcher), ..unlisted() });
    let diverted = diverting.diverted(url).expect("it would leave");
    assert_eq!((diverted.host_str(), diverted.port()), (Some("127.0.0.1"), Some(9)), "{diverted}");
}

/// Judged by the standard library alone, so that one mistake is not made twice.
fn is_out_there(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [first, second, ..] = v4.octets();
            let is_shared = first == 100 && (64..128).contains(&second);
            let is_nowhere = v4.is_unspecified() || v4.is_broadcast() || v4.is_documentation() || first == 0;
            !(v4.is_loopback() || v4.is_private() || v4.is_link_local() || v4.is_multicast() || is_shared || is_nowhere)
        }
        IpAddr::V6(v6) => {
            let is_mapped = v6.to_ipv4_mapped().is_some_and(|v4| !is_out_there(IpAddr::V4(v4)));
            let is_ours = v6.is_unique_local() || v6.is_unicast_link_local();
            !(v6.is_loopback() || v6.is_unspecified() || v6.is_multicast() || is_mapped || is_ours)
        }
    }
}

/// Webhook secrets: what reads is written the same, and a signature depends on all that is signed.
pub fn webhook_secret(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(secret) = Secret::parse(text) else { return };
    assert_eq!(secret.expose(), text);
    assert!(!format!("{secret:?}").contains(text));
    let signature = sign(&secret, "id", 1, bytes);
    assert_eq!((signature.len(), signature.starts_with("v1,")), (47, true));
    for other in [sign(&secret, "ID", 1, bytes), sign(&secret, "id", 2, bytes), sign(&secret, "id", 1, b"")] {
        assert_ne!(other, signature);
    }
}

fn email() -> Email {
    Email::new(Some(email::sender("Tidings <noreply@tidings.example>").expect("a mailbox")))
}

fn sms() -> Sms {
    let config = sms::Config {
        base_url: "https://api.twilio.com".to_owned(),
        account_sid: "AC0123456789".to_owned(),
        auth_token: "token".to_owned(),
        from: "+15005550006".to_owned(),
    };
    Sms::new(Some(&config)).expect("an account")
}

fn webhook() -> Webhook {
    let secret = Secret::parse(SECRET).expect("a secret");
    Webhook::new(webhook::Config { secret }, Arc::new(guard()))
}

fn guard() -> Guard {
    Guard::new(&unlisted())
}

fn unlisted() -> outbound::Config {
    outbound::Config {
        allowed_networks: Vec::new(),
        https_only: false,
        divert_to: None,
        timeout: Duration::from_secs(10),
    }
}

fn notification(channel: &str, destination: Destination, payload: String) -> NewNotification {
    let id = MessageId::floor(NOW);
    NewNotification {
        id,
        request: id,
        tenant: TenantId::DEFAULT,
        user: None,
        channel: channel.to_owned(),
        category: "transactional".to_owned(),
        priority: Priority::Normal,
        destination,
        content: Content { payload, metadata: None },
        context: TraceContext { correlation_id: "order-4711".to_owned(), traceparent: None },
        accepted_at: NOW,
        due_at: NOW,
        expires_at: None,
        redrive_of: None,
        redrives: 0,
    }
}

#[cfg(test)]
mod tests {
    use tidings_testkit::mutation::hammer;

    #[test]
    fn payloads() {
        hammer("payload", super::payload);
    }

    #[test]
    fn answers_over_http() {
        hammer("http_answer", super::http_answer);
    }

    #[test]
    fn replies_over_smtp() {
        hammer("smtp_reply", super::smtp_reply);
    }

    #[test]
    fn urls() {
        hammer("outbound_url", super::outbound_url);
    }

    #[test]
    fn webhook_secrets() {
        hammer("webhook_secret", super::webhook_secret);
    }
}
