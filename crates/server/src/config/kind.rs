//! Kinds of settings: how their text is read, and how what they allow is told.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use tidings_core::contact;

use super::units::{format_duration, format_size, parse_duration, parse_size};

/// What a setting takes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// Any text.
    Text,
    /// A whole number between two bounds.
    Whole(u64, u64),
    /// A duration between two bounds.
    Time(Duration, Duration),
    /// Durations, separated by commas.
    Times,
    /// A number of bytes between two bounds.
    Size(u64, u64),
    /// One of some words.
    Choice(&'static [&'static str]),
    /// Yes or no.
    Flag,
    /// An IP address.
    Address,
    /// An IP address and a port.
    Endpoint,
    /// IP networks, separated by commas.
    Networks,
    /// A URL with one of some schemes.
    Url(&'static [&'static str]),
    /// A folder.
    Folder,
    /// An e-mail address.
    Email,
    /// An e-mail address, with or without a display name.
    Mailbox,
    /// `off`, or another kind.
    OrOff(&'static Self),
}

/// A value of some kind.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Text(String),
    Whole(u64),
    Time(Duration),
    Times(Vec<Duration>),
    Flag(bool),
    Address(IpAddr),
    Endpoint(SocketAddr),
    Networks(Vec<IpNet>),
    Off,
}

impl Kind {
    /// Reads a value; `None` if it is not allowed.
    pub(crate) fn parse(&self, text: &str) -> Option<Value> {
        let word = text.trim();
        match self {
            Self::Text => Some(Value::Text(text.to_owned())),
            Self::Whole(least, most) => {
                let number = word.parse().ok().filter(|number| (*least..=*most).contains(number));
                number.map(Value::Whole)
            }
            Self::Time(least, most) => {
                let time = parse_duration(word).filter(|time| (*least..=*most).contains(time));
                time.map(Value::Time)
            }
            Self::Times => word.split(',').map(parse_delay).collect::<Option<Vec<_>>>().map(Value::Times),
            Self::Size(least, most) => {
                let size = parse_size(word).filter(|size| (*least..=*most).contains(size));
                size.map(Value::Whole)
            }
            Self::Choice(words) => {
                let choice = words.iter().find(|choice| choice.eq_ignore_ascii_case(word));
                choice.map(|choice| Value::Text((*choice).to_owned()))
            }
            Self::Flag => word.parse().ok().map(Value::Flag),
            Self::Address => word.parse().ok().map(Value::Address),
            Self::Endpoint => word.parse().ok().map(Value::Endpoint),
            Self::Networks => word.split(',').map(parse_network).collect::<Option<Vec<_>>>().map(Value::Networks),
            Self::Url(schemes) => is_url(word, schemes).then(|| Value::Text(word.to_owned())),
            Self::Folder => Some(Value::Text(word.to_owned())),
            Self::Email => contact::is_email(word).then(|| Value::Text(word.to_owned())),
            Self::Mailbox => is_mailbox(word).then(|| Value::Text(word.to_owned())),
            Self::OrOff(kind) => match word {
                "off" => Some(Value::Off),
                _ => kind.parse(text),
            },
        }
    }

    /// What is allowed, to be read after "give".
    pub(crate) fn allowed(&self) -> String {
        match self {
            Self::Text => "a text".to_owned(),
            Self::Whole(least, most) => format!("a whole number from {least} to {most}"),
            Self::Time(least, most) => {
                let (least, most) = (format_duration(*least), format_duration(*most));
                format!("a duration such as 500ms, 30s, 10m, 24h or 90d, from {least} to {most}")
            }
            Self::Times => "durations of at most 365d separated by commas, such as 2s,10s,60s".to_owned(),
            Self::Size(least, most) => {
                let (least, most) = (format_size(*least), format_size(*most));
                format!("a size such as 512 B, 256 KiB or 8 MiB, from {least} to {most}")
            }
            Self::Choice(words) => one_of(words),
            Self::Flag => one_of(&["true", "false"]),
            Self::Address => "an IP address such as 127.0.0.1 or ::".to_owned(),
            Self::Endpoint => "an IP address and a port such as 127.0.0.1:9464 or [::1]:9464".to_owned(),
            Self::Networks => "IP networks separated by commas, such as 10.0.0.0/8,fd00::/8".to_owned(),
            Self::Url(schemes) => format!("a URL that starts with {}://", schemes.join(":// or ")),
            Self::Folder => "the path of a folder".to_owned(),
            Self::Email => "an e-mail address such as ops@example.com".to_owned(),
            Self::Mailbox => "an e-mail address such as ops@example.com or Ops <ops@example.com>".to_owned(),
            Self::OrOff(kind) => format!("off, or {}", kind.allowed()),
        }
    }
}

fn one_of(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

fn parse_delay(text: &str) -> Option<Duration> {
    parse_duration(text).filter(|delay| *delay <= Duration::from_hours(24 * 365))
}

/// A network, or a single address as the network of only itself.
fn parse_network(text: &str) -> Option<IpNet> {
    let text = text.trim();
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

fn is_url(text: &str, schemes: &[&str]) -> bool {
    url::Url::parse(text).is_ok_and(|url| schemes.contains(&url.scheme()) && url.host_str().is_some())
}

fn is_mailbox(text: &str) -> bool {
    let address = text.strip_suffix('>').and_then(|rest| rest.rsplit_once('<')).map(|(_name, address)| address);
    !text.chars().any(char::is_control) && contact::is_email(address.unwrap_or(text))
}

/// A type that the value of a setting can be read as.
pub(crate) trait FromValue: Sized {
    /// `None` if the value is of another kind.
    fn from_value(value: &Value) -> Option<Self>;
}

macro_rules! from_value {
    ($($type:ty, $pattern:pat => $read:expr;)*) => {$(
        impl FromValue for $type {
            fn from_value(value: &Value) -> Option<Self> {
                match value {
                    $pattern => $read,
                    _ => None,
                }
            }
        }
    )*};
}

from_value! {
    String, Value::Text(text) => Some(text.clone());
    PathBuf, Value::Text(text) => Some(Self::from(text));
    u64, Value::Whole(number) => Some(*number);
    u32, Value::Whole(number) => Self::try_from(*number).ok();
    u16, Value::Whole(number) => Self::try_from(*number).ok();
    usize, Value::Whole(number) => Self::try_from(*number).ok();
    bool, Value::Flag(flag) => Some(*flag);
    Duration, Value::Time(time) => Some(*time);
    Vec<Duration>, Value::Times(times) => Some(times.clone());
    IpAddr, Value::Address(address) => Some(*address);
    SocketAddr, Value::Endpoint(address) => Some(*address);
    Vec<IpNet>, Value::Networks(networks) => Some(networks.clone());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(kind: Kind, text: &str) -> bool {
        kind.parse(text).is_some()
    }

    #[test]
    fn bounds_are_kept() {
        let port = Kind::Whole(0, 65_535);
        assert!(allows(port, "0") && allows(port, " 65535 "));
        assert!(!allows(port, "65536") && !allows(port, "-1") && !allows(port, "80a"));
        let time = Kind::Time(Duration::from_secs(1), Duration::from_mins(1));
        assert!(allows(time, "1s") && allows(time, "1m"));
        assert!(!allows(time, "999ms") && !allows(time, "61s"));
        assert_eq!(time.allowed(), "a duration such as 500ms, 30s, 10m, 24h or 90d, from 1s to 1m");
    }

    #[test]
    fn words_are_chosen_in_any_case() {
        let level = Kind::Choice(&["info", "warn"]);
        assert!(matches!(level.parse("WARN"), Some(Value::Text(word)) if word == "warn"));
        assert!(!allows(level, "loud"));
        assert_eq!(level.allowed(), "info or warn");
    }

    #[test]
    fn addresses_networks_and_urls_are_checked() {
        assert!(allows(Kind::Address, "::1") && !allows(Kind::Address, "localhost"));
        assert!(allows(Kind::Networks, "10.0.0.0/8, ::1") && !allows(Kind::Networks, "10.0.0.0/33"));
        assert!(allows(Kind::Endpoint, "127.0.0.1:9464") && allows(Kind::Endpoint, "[::1]:0"));
        assert!(!allows(Kind::Endpoint, "127.0.0.1") && !allows(Kind::Endpoint, "localhost:9464"));
        let web = Kind::Url(&["http", "https"]);
        assert!(
            allows(web, "https://example.com/x") && !allows(web, "ftp://example.com") && !allows(web, "example.com")
        );
        assert!(allows(Kind::Mailbox, "Ops <ops@example.com>") && allows(Kind::Mailbox, "ops@example.com"));
        assert!(!allows(Kind::Mailbox, "Ops ops@example.com") && !allows(Kind::Email, "Ops <ops@example.com>"));
    }

    #[test]
    fn some_can_be_switched_off() {
        let kind = Kind::OrOff(&Kind::Whole(1, 10));
        assert!(matches!(kind.parse("off"), Some(Value::Off)));
        assert!(matches!(kind.parse("3"), Some(Value::Whole(3))));
        assert!(kind.parse("none").is_none());
        assert_eq!(kind.allowed(), "off, or a whole number from 1 to 10");
    }
}
