//! What the channels need to know, and why it may be refused.

use crate::{outbound, sms, smtp, webhook};

/// The configuration of all channels. A channel without its part stays known, and says what it lacks.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where e-mail goes.
    pub smtp: Option<smtp::Config>,
    /// Where text messages go.
    pub sms: Option<sms::Config>,
    /// How webhooks are signed.
    pub webhook: webhook::Config,
    /// Where webhooks may go.
    pub outbound: outbound::Config,
}

/// A configuration that cannot work. The operator mends it; each message begins with the name of the setting.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The URL of the mail relay is not understood.
    #[error("SMTP_URL {0}")]
    SmtpUrl(&'static str),
    /// The sender of e-mail is not a mailbox.
    #[error("SMTP_FROM must be an address such as `news@example.com` or `News <news@example.com>`")]
    SmtpFrom,
    /// The address of the SMS provider is not understood.
    #[error("SMS_BASE_URL must be an http or https URL such as https://api.twilio.com")]
    SmsBaseUrl,
    /// The account at the SMS provider cannot be one.
    #[error("SMS_ACCOUNT_SID must have letters, digits, - and _ only")]
    SmsAccount,
    /// The password of the account at the SMS provider cannot be one.
    #[error("SMS_AUTH_TOKEN must have visible ASCII characters only, and at least one")]
    SmsToken,
    /// The sender of text messages cannot be one.
    #[error("SMS_FROM must be a number such as +442071838750, or the name of a sender")]
    SmsFrom,
    /// TLS cannot be set up: usually the machine has no certificates of authorities.
    #[error("TLS cannot be set up ({0}); install the package ca-certificates or set SSL_CERT_FILE")]
    Tls(String),
    /// The process installed no TLS provider.
    #[error("TLS cannot be set up: no provider for rustls was installed when the process started")]
    NoTlsProvider,
}
