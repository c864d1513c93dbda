//! The port, the running server, and what lies beyond it: the mail relay, the SMS API, outbound networks.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ipnet::IpNet;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::Url;

use crate::config::{Config, Environment};
use crate::doctor::finding::Finding;
use crate::doctor::scene::{Port, Reply, Scene};

/// How long a mail relay may take to connect and to greet.
const PATIENCE: Duration = Duration::from_secs(3);
const SUBMISSION_PORT: u16 = 587;
const SUBMISSIONS_PORT: u16 = 465;
/// Where clouds keep the credentials of a machine.
const METADATA_ADDRESSES: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254))];

/// Whether the port can be used, or is used by the server that we mean.
pub(crate) fn port(scene: &Scene<'_>) -> Finding {
    const CHECK: &str = "port";
    let address = scene.address;
    let find = format!(
        "`ss -ltnp 'sport = :{}'` shows who has it; stop that, or choose another with API_PORT or --port",
        address.port()
    );
    match &scene.port {
        Port::Free => Finding::ok(CHECK, format!("{address} is free")),
        Port::Tidings(_) => Finding::ok(CHECK, format!("a Tidings server answers at {address}")),
        Port::Stranger(why) => Finding::fail(CHECK, format!("another program has {address}: {why}"), find),
        Port::Unusable(error) if error.kind() == io::ErrorKind::AddrInUse => {
            Finding::fail(CHECK, format!("{address} is in use"), find)
        }
        Port::Unusable(error) => {
            let remedy = "choose another address with TIDINGS_BIND, or a port above 1023 with API_PORT";
            Finding::fail(CHECK, format!("{address} cannot be listened on: {error}"), remedy)
        }
    }
}

/// What the running server says of its health.
pub(crate) fn health(scene: &Scene<'_>) -> Finding {
    const CHECK: &str = "health";
    match &scene.port {
        Port::Tidings(server) if server.health.status == 200 => {
            Finding::ok(CHECK, "the server and its store are healthy")
        }
        Port::Tidings(server) => Finding::fail(
            CHECK,
            complaint(&server.health),
            "the server's log says why; a full or failing disk is the usual cause",
        ),
        Port::Free | Port::Stranger(_) | Port::Unusable(_) => Finding::ok(CHECK, "no server to ask"),
    }
}

/// Whether the running server takes requests.
pub(crate) fn readiness(scene: &Scene<'_>) -> Finding {
    const CHECK: &str = "ready";
    let Port::Tidings(server) = &scene.port else {
        return Finding::ok(CHECK, "no server to ask");
    };
    match &server.ready {
        Some(reply) if reply.status == 200 => Finding::ok(CHECK, "the server takes requests"),
        Some(reply) => Finding::warn(
            CHECK,
            complaint(reply),
            "it is starting or stopping; look again in a moment, then at its log",
        ),
        None => Finding::warn(CHECK, "the server does not answer", "look again in a moment, then at its log"),
    }
}

fn complaint(reply: &Reply) -> String {
    format!("the server answers {}: {}", reply.status, reply.body.chars().take(200).collect::<String>())
}

/// Whether the mail relay answers.
pub(crate) async fn mail_relay(config: &Config) -> Finding {
    const CHECK: &str = "mail relay";
    let Some(smtp) = &config.channels.smtp else {
        return Finding::ok(CHECK, "not configured: notifications of type email are refused until SMTP_URL is set");
    };
    let remedy = "check the host and port of SMTP_URL, and whether a firewall lets this machine out";
    let Some((host, port, greets)) = relay(smtp.url.expose()) else {
        return Finding::fail(CHECK, "SMTP_URL names no host", remedy);
    };
    match timeout(PATIENCE, greeting(&host, port, greets)).await {
        Ok(Ok(())) => Finding::ok(CHECK, format!("{host}:{port} answers")),
        Ok(Err(error)) => Finding::fail(CHECK, format!("{host}:{port} cannot be used: {error}"), remedy),
        Err(_elapsed) => {
            Finding::fail(CHECK, format!("{host}:{port} did not answer within {} s", PATIENCE.as_secs()), remedy)
        }
    }
}

/// Host and port of a relay, and whether it greets in clear text.
fn relay(url: &str) -> Option<(String, u16, bool)> {
    let url = Url::parse(url).ok()?;
    let greets = url.scheme() == "smtp";
    let usual = if greets { SUBMISSION_PORT } else { SUBMISSIONS_PORT };
    let host = url.host_str()?.trim_matches(['[', ']']).to_owned();
    Some((host, url.port().unwrap_or(usual), greets))
}

/// Connects, and waits for the greeting where there is one before encryption.
async fn greeting(host: &str, port: u16, greets: bool) -> io::Result<()> {
    let mut stream = TcpStream::connect((host, port)).await?;
    if !greets {
        return Ok(());
    }
    let mut code = [0; 3];
    stream.read_exact(&mut code).await?;
    match &code {
        b"220" => Ok(()),
        other => Err(io::Error::other(format!(
            "it greets with {} instead of 220",
            String::from_utf8_lossy(other).escape_debug()
        ))),
    }
}

/// Whether the SMS API can be used. An incomplete configuration is refused before any check.
pub(crate) fn sms(config: &Config) -> Finding {
    const CHECK: &str = "sms";
    let Some(sms) = &config.channels.sms else {
        return Finding::ok(
            CHECK,
            "not configured: notifications of type sms are refused until SMS_ACCOUNT_SID, SMS_AUTH_TOKEN and SMS_FROM are set",
        );
    };
    match Url::parse(&sms.base_url) {
        Ok(url) if url.scheme() == "https" || is_this_machine(&url) => {
            Finding::ok(CHECK, format!("configured, at {}", url.host_str().unwrap_or_default()))
        }
        Ok(_) => Finding::warn(
            CHECK,
            "SMS_BASE_URL is not encrypted: the account's password crosses the network in clear text",
            "use an https address",
        ),
        Err(error) => Finding::fail(
            CHECK,
            format!("SMS_BASE_URL is no URL: {error}"),
            "give an address such as https://api.twilio.com",
        ),
    }
}

fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// Whether webhooks reach what they should not.
pub(crate) fn outbound(config: &Config) -> Finding {
    const CHECK: &str = "outbound";
    let allowed = &config.outbound.allow;
    if allowed.is_empty() {
        return Finding::ok(CHECK, "webhooks reach public addresses only");
    }
    let list = allowed.iter().map(ToString::to_string).collect::<Vec<String>>().join(", ");
    let found = format!("webhooks reach public addresses and {list}");
    match danger(allowed, config.environment) {
        Some(danger) => Finding::warn(
            CHECK,
            format!("{found}; {danger}"),
            "narrow OUTBOUND_ALLOW to the networks that your receivers are in",
        ),
        None => Finding::ok(CHECK, found),
    }
}

fn danger(allowed: &[IpNet], environment: Environment) -> Option<&'static str> {
    let reaches = |address: &IpAddr| allowed.iter().any(|network| network.contains(address));
    if METADATA_ADDRESSES.iter().any(reaches) {
        return Some("that includes the metadata service of clouds, which gives away the machine's credentials");
    }
    let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    let to_itself = environment == Environment::Production && loopback.iter().any(reaches);
    to_itself.then_some("that includes this machine itself, with everything that listens on it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_that_give_the_machine_away_are_told() {
        let networks = |text: &str| vec![text.parse::<IpNet>().unwrap()];
        for text in ["0.0.0.0/0", "169.254.0.0/16", "fd00::/8"] {
            assert!(danger(&networks(text), Environment::Development).is_some(), "{text}");
        }
        assert!(danger(&networks("10.0.0.0/8"), Environment::Production).is_none());
        assert!(danger(&networks("127.0.0.0/8"), Environment::Production).is_some());
        assert!(danger(&networks("127.0.0.0/8"), Environment::Development).is_none());
    }

    #[test]
    fn a_relay_has_the_port_of_its_scheme() {
        assert_eq!(relay("smtp://u:p@mail.example.com?tls=required"), Some(("mail.example.com".to_owned(), 587, true)));
        assert_eq!(relay("smtps://mail.example.com"), Some(("mail.example.com".to_owned(), 465, false)));
        assert_eq!(relay("smtp://[::1]:1025"), Some(("::1".to_owned(), 1025, true)));
    }
}
