//! The answers of Twilio's message resource, as far as a sender of texts looks at them.

use serde_json::json;

use super::answer::HttpAnswer;
use super::request::CaughtRequest;

/// Whether this is the path of the message resource of some account.
pub(crate) fn is_messages(path: &str) -> bool {
    let account = path.strip_prefix("/2010-04-01/Accounts/").and_then(|rest| rest.strip_suffix("/Messages.json"));
    account.is_some_and(|sid| !sid.is_empty() && !sid.contains('/'))
}

/// Takes the text, or refuses its number.
pub(crate) fn answer(request: &CaughtRequest) -> HttpAnswer {
    let form = request.form();
    let field = |wanted: &str| form.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
    let to = field("To").unwrap_or_default();
    if to.is_empty() {
        return refuse(21604, "A 'To' phone number is required.");
    }
    if !is_e164(to) {
        return refuse(21211, "Invalid 'To' phone number");
    }
    if field("Body").unwrap_or_default().is_empty() {
        return refuse(21602, "Message body is required.");
    }
    let message = json!({
        "sid": format!("SM{:032x}", request.number),
        "status": "queued",
        "to": to,
        "from": field("From"),
        "body": field("Body"),
        "error_code": null,
        "error_message": null,
    });
    HttpAnswer::json(201, &message)
}

fn refuse(code: u16, message: &str) -> HttpAnswer {
    let more_info = format!("https://www.twilio.com/docs/errors/{code}");
    HttpAnswer::json(400, &json!({ "code": code, "message": message, "more_info": more_info, "status": 400 }))
}

fn is_e164(number: &str) -> bool {
    number.strip_prefix('+').is_some_and(|digits| {
        (7..=15).contains(&digits.len()) && !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_message_resource_is_meant() {
        assert!(is_messages("/2010-04-01/Accounts/AC1/Messages.json"));
        for path in [
            "/2010-04-01/Accounts//Messages.json",
            "/2010-04-01/Accounts/AC1/Calls.json",
            "/2010-04-01/Accounts/A/B/Messages.json",
            "/Messages.json",
        ] {
            assert!(!is_messages(path), "{path}");
        }
    }

    #[test]
    fn numbers_are_e164() {
        assert!(is_e164("+15005550006"));
        for number in ["", "15005550006", "+0500555000", "+1 500 555", "+123", "+1234567890123456"] {
            assert!(!is_e164(number), "{number}");
        }
    }
}
