//! The mail relay: how its URL is read.

use std::fmt;
use std::time::Duration;

use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use url::{Host, Url};

use crate::config::ConfigError;

const WRONG_FORM: &str = "must look like smtp://user:password@host:587?tls=required or smtps://host";

/// Where e-mail goes, and who it is from.
#[derive(Clone)]
pub struct Config {
    /// `smtp://user:password@host:587?tls=required`, or `smtps://user:password@host:465`.
    ///
    /// `tls` is `required` (STARTTLS or nothing), `opportunistic` (STARTTLS where it is offered) or `none`. Left out, it
    /// is `required` for a URL with a password and `opportunistic` otherwise. The ports left out are 587 and 465.
    pub url: String,
    /// `Name <a@example.com>` or `a@example.com`.
    pub from: String,
    /// The longest that one attempt may take.
    pub timeout: Duration,
}

impl fmt::Debug for Config {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Config")
            .field("url", &"***")
            .field("from", &self.from)
            .field("timeout", &self.timeout)
            .finish()
    }
}

/// A relay that can be connected to.
#[derive(Clone, Debug)]
pub(crate) struct Relay {
    /// A name or an address.
    pub(crate) host: String,
    /// The port.
    pub(crate) port: u16,
    /// Whether and when the connection is encrypted.
    pub(crate) tls: Tls,
    /// Who we are there.
    pub(crate) credentials: Option<Credentials>,
}

impl Relay {
    /// Reads the URL of a relay.
    pub(crate) fn parse(text: &str) -> Result<Self, ConfigError> {
        let url = Url::parse(text).map_err(|_unparsable| ConfigError::SmtpUrl(WRONG_FORM))?;
        if !matches!(url.path(), "" | "/") || url.fragment().is_some() {
            return Err(ConfigError::SmtpUrl("must have nothing between the host and `?tls=`"));
        }
        let host = match url.host() {
            Some(Host::Domain(name)) if !name.is_empty() => name.to_owned(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            _ => return Err(ConfigError::SmtpUrl(WRONG_FORM)),
        };
        let credentials = credentials(&url)?;
        let encryption = Encryption::of(&url, credentials.is_some())?;
        let port = url.port().unwrap_or(if encryption == Encryption::FromTheStart { 465 } else { 587 });
        Ok(Self { tls: encryption.tls(&host)?, host, port, credentials })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encryption {
    FromTheStart,
    Required,
    Opportunistic,
    Never,
}

impl Encryption {
    fn of(url: &Url, has_password: bool) -> Result<Self, ConfigError> {
        let mut asked = None;
        for (name, value) in url.query_pairs() {
            match (name.as_ref(), value.as_ref()) {
                ("tls", "required") => asked = Some(Self::Required),
                ("tls", "opportunistic") => asked = Some(Self::Opportunistic),
                ("tls", "none") => asked = Some(Self::Never),
                ("tls", _) => {
                    return Err(ConfigError::SmtpUrl("has an unknown `tls`: it is required, opportunistic or none"));
                }
                _ => return Err(ConfigError::SmtpUrl("has an unknown parameter: there is only `tls`")),
            }
        }
        match (url.scheme(), asked) {
            ("smtp", Some(encryption)) => Ok(encryption),
            ("smtp", None) if has_password => Ok(Self::Required),
            ("smtp", None) => Ok(Self::Opportunistic),
            ("smtps", None | Some(Self::Required)) => Ok(Self::FromTheStart),
            ("smtps", Some(_)) => Err(ConfigError::SmtpUrl("contradicts itself: smtps is always encrypted")),
            _ => Err(ConfigError::SmtpUrl(WRONG_FORM)),
        }
    }

    fn tls(self, host: &str) -> Result<Tls, ConfigError> {
        let parameters = || TlsParameters::new(host.to_owned()).map_err(|error| ConfigError::Tls(error.to_string()));
        Ok(match self {
            Self::FromTheStart => Tls::Wrapper(parameters()?),
            Self::Required => Tls::Required(parameters()?),
            Self::Opportunistic => Tls::Opportunistic(parameters()?),
            Self::Never => Tls::None,
        })
    }
}

fn credentials(url: &Url) -> Result<Option<Credentials>, ConfigError> {
    match (url.username(), url.password()) {
        ("", None) => Ok(None),
        ("", Some(_)) => Err(ConfigError::SmtpUrl("has a password but no user name")),
        (_, None) => Err(ConfigError::SmtpUrl("has a user name but no password")),
        (user, Some(password)) => {
            let decoded = percent_decoded(user).zip(percent_decoded(password));
            let (user, password) =
                decoded.ok_or(ConfigError::SmtpUrl("has a user name or password that is not percent-encoded UTF-8"))?;
            Ok(Some(Credentials::new(user, password)))
        }
    }
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let high = char::from(bytes.next()?).to_digit(16)?;
        let low = char::from(bytes.next()?).to_digit(16)?;
        decoded.push(u8::try_from(high << 4 | low).ok()?);
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> (String, u16, String, bool) {
        let relay = Relay::parse(url).unwrap();
        (relay.host, relay.port, format!("{:?}", relay.tls), relay.credentials.is_some())
    }

    #[test]
    fn urls_say_host_port_encryption_and_credentials() {
        let expected =
            |host: &str, port, tls: &str, has_password| (host.to_owned(), port, tls.to_owned(), has_password);
        assert_eq!(read("smtp://127.0.0.1:1025"), expected("127.0.0.1", 1025, "Opportunistic", false));
        assert_eq!(read("smtp://127.0.0.1:1025?tls=none"), expected("127.0.0.1", 1025, "None", false));
        assert_eq!(
            read("smtp://mail.example.com/?tls=opportunistic"),
            expected("mail.example.com", 587, "Opportunistic", false)
        );
        assert_eq!(read("smtp://u:p@mail.example.com"), expected("mail.example.com", 587, "Required", true));
        assert_eq!(read("smtp://u:p@mail.example.com:25?tls=none"), expected("mail.example.com", 25, "None", true));
        assert_eq!(read("smtps://u:p@mail.example.com"), expected("mail.example.com", 465, "Wrapper", true));
        assert_eq!(read("smtps://[::1]:4650"), expected("::1", 4650, "Wrapper", false));
    }

    #[test]
    fn what_cannot_work_is_refused_with_the_name_of_the_setting() {
        for url in [
            "",
            "mail.example.com",
            "http://mail.example.com",
            "smtp://",
            "smtp:mail",
            "smtp://host/path",
            "smtp://host?tls=maybe",
            "smtp://host?ssl=1",
            "smtps://host?tls=none",
            "smtp://user@host",
            "smtp://:password@host",
            "smtp://u:%ff@host",
            "smtp://u:%4@host",
        ] {
            let error = Relay::parse(url).unwrap_err();
            assert!(error.to_string().starts_with("SMTP_URL "), "{url}: {error}");
        }
    }

    #[test]
    fn passwords_are_decoded_and_hidden() {
        assert_eq!(percent_decoded("p%40ss+w%C3%B6rd").as_deref(), Some("p@ss+wörd"));
        let config = Config {
            url: "smtp://u:hunter2@host".to_owned(),
            from: "a@example.com".to_owned(),
            timeout: Duration::from_secs(1),
        };
        assert!(!format!("{config:?}").contains("hunter2"));
        assert!(!format!("{:?}", Relay::parse(&config.url).unwrap()).contains("hunter2"));
    }
}
