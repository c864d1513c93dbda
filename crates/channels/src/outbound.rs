//! Where requests may go: the guard against being used to reach what only we can reach.
//!
//! A URL is put into its canonical form first; then *addresses* are judged, never names. An address passes if it is on
//! the public internet, or in a network that the operator listed. A name is resolved once per connection, every answer
//! has to pass, and only those answers are connected to, so that a name which changes its mind gains nothing.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use tidings_core::error::ErrorCode;
use url::{Host, Url};

mod ranges;

use ranges::{canonical, is_public};

/// The longest URL that is taken.
const MAX_URL: usize = 2048;

/// Where requests may go.
#[derive(Clone, Debug)]
pub struct Config {
    /// Networks that may be reached although they are not public, on any port.
    pub allowed_networks: Vec<IpNet>,
    /// Whether unencrypted URLs are refused.
    pub https_only: bool,
    /// Where requests go instead that would leave the listed networks: a catcher, in development and on staging.
    pub divert_to: Option<Url>,
    /// The longest that one request may take, from the look-up of the name to the end of the answer.
    pub timeout: Duration,
}

/// Which addresses a request may connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Demand {
    /// Public ones and those of listed networks.
    Admitted,
    /// Those of listed networks only: the port is not one that the public web uses.
    Listed,
}

/// A URL that passed, as far as can be told without resolving its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The URL in canonical form.
    pub(crate) url: Url,
    /// `https://example.com:443`: what requests to this server have in common.
    pub(crate) origin: String,
    /// What its addresses have to be.
    pub(crate) demand: Demand,
}

/// Why a URL did not pass. None of the messages tells what an address is or who is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    NotAUrl,
    Scheme,
    Unencrypted,
    UserInfo,
    Fragment,
    Port,
    Address,
}

impl Refusal {
    /// The code that a client sees.
    pub(crate) const fn code(self) -> ErrorCode {
        match self {
            Self::NotAUrl => ErrorCode::INVALID_PAYLOAD,
            _ => ErrorCode::DESTINATION_NOT_ALLOWED,
        }
    }

    /// The message that a client sees, as the predicate of a sentence about the field.
    pub(crate) const fn message(self) -> &'static str {
        match self {
            Self::NotAUrl => "must be an absolute http or https URL of at most 2048 characters, without spaces",
            Self::Scheme => "must be an http or https URL",
            Self::Unencrypted => "must be an https URL: this installation sends to no other",
            Self::UserInfo => "must not carry a user name or password; use a header",
            Self::Fragment => "must not have a fragment (#)",
            Self::Port => "must use port 80, 443 or one from 8000 to 9000",
            Self::Address => {
                "points to a private or reserved address; if that is meant, the operator can allow its network (OUTBOUND_ALLOW)"
            }
        }
    }
}

/// A resolved name has an address that is not to be reached. It says no more, because the text travels far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Blocked;

impl fmt::Display for Blocked {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("destination not allowed")
    }
}

impl std::error::Error for Blocked {}

/// Judges URLs and addresses.
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    listed: Vec<IpNet>,
    https_only: bool,
    divert_to: Option<Url>,
}

impl Guard {
    /// A guard with these rules.
    pub(crate) fn new(config: &Config) -> Self {
        let divert_to = config.divert_to.clone();
        Self { listed: config.allowed_networks.clone(), https_only: config.https_only, divert_to }
    }

    /// Judges a URL without any I/O. Addresses in it are judged, names are left to [`Guard::vet`].
    pub(crate) fn check(&self, text: &str) -> Result<Target, Refusal> {
        // The parser drops tabs and line breaks and trims spaces; what people read should be what is requested.
        if text.len() > MAX_URL || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(Refusal::NotAUrl);
        }
        let url = Url::parse(text).map_err(|_unparsable| Refusal::NotAUrl)?;
        match url.scheme() {
            "http" if self.https_only => return Err(Refusal::Unencrypted),
            "http" | "https" => {}
            _ => return Err(Refusal::Scheme),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refusal::UserInfo);
        }
        if url.fragment().is_some() {
            return Err(Refusal::Fragment);
        }
        let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
            return Err(Refusal::NotAUrl);
        };
        let demand = self.check_host(&host, port)?;
        let origin = format!("{}://{host}:{port}", url.scheme());
        Ok(Target { url, origin, demand })
    }

    /// The answers of a look-up, if every one of them may be connected to.
    pub(crate) fn vet(
        &self,
        answers: impl Iterator<Item = SocketAddr>,
        demand: Demand,
    ) -> Result<Vec<SocketAddr>, Blocked> {
        let answers: Vec<SocketAddr> = answers.collect();
        let all_pass = answers.iter().all(|answer| self.admits(answer.ip(), demand));
        if all_pass { Ok(answers) } else { Err(Blocked) }
    }

    /// Where a request goes instead of `url`, if it has to be kept from leaving: `<catcher>/<host>/<path>`.
    pub(crate) fn diverted(&self, url: &Url) -> Option<Url> {
        let catcher = self.divert_to.as_ref()?;
        let stays = match url.host()? {
            Host::Ipv4(address) => self.lists(IpAddr::V4(address)),
            Host::Ipv6(address) => self.lists(IpAddr::V6(address)),
            Host::Domain(name) => is_localhost(name),
        };
        if stays {
            return None;
        }
        let mut diverted = catcher.clone();
        diverted.set_path(&format!("/{}{}", url.host_str()?, url.path()));
        diverted.set_query(url.query());
        Some(diverted)
    }

    /// Whether any network was listed.
    pub(crate) fn lists_any(&self) -> bool {
        !self.listed.is_empty()
    }

    fn check_host(&self, host: &Host<&str>, port: u16) -> Result<Demand, Refusal> {
        let demand = if is_usual(port) { Demand::Admitted } else { Demand::Listed };
        let refusal = if is_usual(port) { Refusal::Address } else { Refusal::Port };
        let passes = match host {
            Host::Ipv4(address) => self.admits(IpAddr::V4(*address), demand),
            Host::Ipv6(address) => self.admits(IpAddr::V6(*address), demand),
            Host::Domain(name) if is_localhost(name) => {
                self.lists(IpAddr::V4(Ipv4Addr::LOCALHOST)) || self.lists(IpAddr::V6(Ipv6Addr::LOCALHOST))
            }
            Host::Domain(_) => demand == Demand::Admitted || self.lists_any(),
        };
        if passes { Ok(demand) } else { Err(refusal) }
    }

    fn admits(&self, address: IpAddr, demand: Demand) -> bool {
        self.lists(address) || (demand == Demand::Admitted && is_public(address))
    }

    fn lists(&self, address: IpAddr) -> bool {
        let address = canonical(address);
        // The metadata services of clouds hand out credentials: a network that happens to contain them is not enough.
        let is_exact = |network: &IpNet| network.prefix_len() == network.max_prefix_len();
        let admits = |network: &IpNet| network.contains(&address) && (!is_metadata(address) || is_exact(network));
        self.listed.iter().any(admits)
    }
}

/// The addresses that clouds give to their metadata services.
fn is_metadata(address: IpAddr) -> bool {
    address == IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254))
        || address == IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254))
}

const fn is_usual(port: u16) -> bool {
    matches!(port, 80 | 443 | 8000..=9000)
}

/// Names that are this machine wherever they are looked up (RFC 6761, section 6.3): no need to accept and fail later.
fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests;
