//! The channel `sms`: text messages through the HTTP API of Twilio, or of anybody who speaks it.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderValue};
use serde_json::Value;
use tidings_core::contact;
use tidings_core::delivery::Verdict;
use tidings_core::error::Problem;
use tidings_core::notification::Destination;
use tidings_core::ports::sender::{Dispatch, Report};
use tidings_core::time::Timestamp;
use tidings_core::user::Contacts;
use url::{Url, form_urlencoded};

use crate::channel::{Channel, not_configured, refused, stored_payload};
use crate::config::ConfigError;
use crate::payload::{Fields, Form, Payload};
use crate::said::tidy;
use crate::verdict;
use crate::wire::{self, Answer, Failure, HttpAnswer, HttpRequest, Outgoing, Route};

const NAME: &str = "sms";
const PROVIDER: &str = "twilio";

/// The longest message that the API takes, in characters: ten parts.
const MAX_CHARS: usize = 1600;

/// The account at the provider.
#[derive(Clone)]
pub struct Config {
    /// Where the API is, such as `https://api.twilio.com`. It is the operator's word: it is not guarded.
    pub base_url: String,
    /// The account.
    pub account_sid: String,
    /// Its password.
    pub auth_token: String,
    /// The number or name that messages come from.
    pub from: String,
}

impl fmt::Debug for Config {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Config")
            .field("base_url", &self.base_url)
            .field("account_sid", &self.account_sid)
            .field("auth_token", &"***")
            .field("from", &self.from)
            .finish()
    }
}

/// Text messages. The payload: `phoneNumber` (else the contact `phone`) and `message`.
pub(crate) struct Sms {
    account: Option<Account>,
}

struct Account {
    endpoint: Url,
    authorization: HeaderValue,
    from: String,
}

struct Text<'a> {
    to: &'a str,
    message: &'a str,
}

impl Sms {
    /// The channel, with an account if there is one.
    pub(crate) fn new(config: Option<&Config>) -> Result<Self, ConfigError> {
        Ok(Self { account: config.map(Account::new).transpose()? })
    }

    fn account(&self) -> Result<&Account, Problem> {
        let settings = "SMS_ACCOUNT_SID, SMS_AUTH_TOKEN and SMS_FROM";
        self.account.as_ref().ok_or_else(|| not_configured(NAME, settings))
    }
}

impl Account {
    fn new(config: &Config) -> Result<Self, ConfigError> {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if config.account_sid.is_empty() || !config.account_sid.chars().all(is_word) {
            return Err(ConfigError::SmsAccount);
        }
        if config.from.trim().is_empty() || Form::line(64).complaint(&config.from).is_some() {
            return Err(ConfigError::SmsFrom);
        }
        if config.auth_token.is_empty() || !config.auth_token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ConfigError::SmsToken);
        }
        let credentials = STANDARD.encode(format!("{}:{}", config.account_sid, config.auth_token));
        let mut authorization =
            HeaderValue::try_from(format!("Basic {credentials}")).map_err(|_invalid| ConfigError::SmsToken)?;
        authorization.set_sensitive(true);
        Ok(Self { endpoint: endpoint(config)?, authorization, from: config.from.clone() })
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, self.authorization.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(USER_AGENT, wire::user_agent());
        headers
    }
}

fn endpoint(config: &Config) -> Result<Url, ConfigError> {
    let base = Url::parse(&config.base_url).map_err(|_unparsable| ConfigError::SmsBaseUrl)?;
    if !matches!(base.scheme(), "http" | "https") || base.query().is_some() || base.fragment().is_some() {
        return Err(ConfigError::SmsBaseUrl);
    }
    let base = base.as_str().trim_end_matches('/');
    Url::parse(&format!("{base}/2010-04-01/Accounts/{}/Messages.json", config.account_sid))
        .map_err(|_unparsable| ConfigError::SmsBaseUrl)
}

impl Channel for Sms {
    fn name(&self) -> &'static str {
        NAME
    }

    fn address(&self, payload: &Payload, contacts: &Contacts) -> Result<Destination, Problem> {
        self.account()?;
        text(payload, contacts)?;
        Ok(Destination::new(NAME, PROVIDER))
    }

    fn build(&self, dispatch: &Dispatch<'_>) -> Result<Outgoing, Report> {
        let account = self.account().map_err(|problem| refused(PROVIDER, &problem))?;
        let payload = stored_payload(dispatch, PROVIDER)?;
        let text = text(&payload, dispatch.contacts).map_err(|problem| refused(PROVIDER, &problem))?;
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("To", text.to)
            .append_pair("From", &account.from)
            .append_pair("Body", text.message)
            .finish();
        let mut headers = account.headers();
        wire::add_context(&mut headers, &dispatch.notification.context);
        Ok(Outgoing::Http(HttpRequest {
            url: account.endpoint.clone(),
            headers,
            body: Bytes::from(form),
            route: Route::Trusted,
        }))
    }

    fn read(&self, answer: Answer, now: Timestamp) -> Report {
        match answer {
            Answer::Http(answer) => report(&answer, now),
            Answer::Failed(failure) => failure.report(PROVIDER),
            Answer::Mail(_) => Failure::foreign().report(PROVIDER),
        }
    }
}

fn text<'a>(payload: &'a Payload, contacts: &'a Contacts) -> Result<Text<'a>, Problem> {
    let mut fields = Fields::of(payload);
    let message = fields.required_text("message", Form::lines(MAX_CHARS));
    let to = match (fields.value("phoneNumber"), &contacts.phone) {
        (Some(_), _) => fields.text("phoneNumber", Form::document()),
        (None, Some(phone)) => Some(phone.as_str()),
        (None, None) => {
            fields.complain("phoneNumber", "is required, because the user has no phone in their contacts");
            None
        }
    };
    if to.is_some_and(|to| !contact::is_phone(to)) {
        fields.complain("phoneNumber", "must be a telephone number in E.164 form such as +442071838750");
    }
    let read = to.zip(message).map(|(to, message)| Text { to, message });
    fields.finish(read)
}

fn report(answer: &HttpAnswer, now: Timestamp) -> Report {
    let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let member = |name: &str| said.get(name).filter(|value| !value.is_null());
    let word = |name: &str| member(name).and_then(Value::as_str);
    let number = |name: &str| member(name).and_then(Value::as_u64).map(|number| number.to_string());
    let status = Some(answer.status.as_u16().to_string());
    match verdict::of(answer, now) {
        // Taken, but already known to go nowhere.
        Verdict::Delivered if matches!(word("status"), Some("failed" | "undelivered")) => {
            let reason = word("error_message").unwrap_or("the provider could not deliver it");
            let report = Report::new(PROVIDER, Verdict::Reject).saying(tidy(reason));
            Report { code: number("error_code").or(status), provider_id: word("sid").map(tidy), ..report }
        }
        Verdict::Delivered => {
            Report { code: status, provider_id: word("sid").map(tidy), ..Report::new(PROVIDER, Verdict::Delivered) }
        }
        verdict => {
            let reason = word("message").map_or_else(|| verdict::describe(answer.status), tidy);
            Report { code: number("code").or(status), ..Report::new(PROVIDER, verdict).saying(reason) }
        }
    }
}

#[cfg(test)]
mod tests;
