//! Mail over SMTP.
//!
//! The conversation is led step by step on connections of our own, rather than by the library's transport, for two
//! reasons. Only so can be told whether a mail that failed was on its way: before the end of its data the relay has not
//! taken it, afterwards it may have. And an attempt that is abandoned takes its connection with it; a connection given
//! back in the middle of a conversation would let the next mail read the replies to this one.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::DEFAULT_MECHANISMS;
use lettre::transport::smtp::client::{AsyncSmtpConnection, Tls};
use lettre::transport::smtp::commands::{Data, Mail as MailFrom, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use lettre::transport::smtp::response::{Response, Severity};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use crate::said::tidy;
use crate::smtp::Relay;
use crate::wire::{Answer, Failure, Mail, MailAnswer};

/// How many connections wait for the next mail.
const MAX_IDLE: usize = 8;

/// How long they wait: less than relays usually do.
const IDLE_FOR: Duration = Duration::from_mins(1);

/// Service is closing down: the reply is about the connection, not about the mail (RFC 5321, section 3.8).
const CLOSING: u16 = 421;

/// A relay and the open connections to it.
pub(crate) struct Smtp {
    relay: Relay,
    hello: ClientId,
    timeout: Duration,
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    connection: AsyncSmtpConnection,
    since: Instant,
}

/// Why a conversation did not get as far as the data.
enum Interrupted {
    /// The connection is of no use. Another one may be.
    Connection(String),
    /// The relay refused this mail.
    Refused(MailAnswer),
    /// The relay cannot carry this mail.
    Unfit(&'static str),
}

impl Smtp {
    /// A relay that is greeted in the name of `domain`.
    pub(crate) fn new(relay: Relay, domain: &str, timeout: Duration) -> Self {
        Self { relay, hello: ClientId::Domain(domain.to_owned()), timeout, idle: Mutex::default() }
    }

    /// Sends a mail.
    pub(super) async fn exchange(&self, mail: &Mail) -> Answer {
        let deadline = Instant::now() + self.timeout;
        let mut connection = match timeout_at(deadline, self.open(mail)).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(Interrupted::Connection(reason))) => return Answer::Failed(Failure::NotSent(reason)),
            Ok(Err(Interrupted::Refused(answer))) => return Answer::Mail(answer),
            Ok(Err(Interrupted::Unfit(reason))) => return Answer::Failed(Failure::Unsendable(reason.to_owned())),
            Err(_elapsed) => {
                return Answer::Failed(Failure::NotSent("the mail relay did not answer in time".to_owned()));
            }
        };
        match timeout_at(deadline, connection.message(&mail.message)).await {
            Ok(Ok(reply)) if reply.code().severity == Severity::PositiveCompletion => {
                self.keep(connection);
                Answer::Mail(answer(&reply))
            }
            Ok(Ok(reply)) => {
                Answer::Failed(Failure::Lost(format!("the mail relay answered out of turn: {}", reply.code())))
            }
            Ok(Err(error)) => match refusal(&error) {
                Some(answer) => {
                    if answer.code != CLOSING {
                        self.keep(connection);
                    }
                    Answer::Mail(answer)
                }
                None => Answer::Failed(Failure::Lost("the connection was cut after the mail was sent".to_owned())),
            },
            Err(_elapsed) => Answer::Failed(Failure::Lost("the mail relay did not confirm in time".to_owned())),
        }
    }

    /// A connection that waits for the data of this mail.
    async fn open(&self, mail: &Mail) -> Result<AsyncSmtpConnection, Interrupted> {
        while let Some(mut connection) = self.idle() {
            match announce(&mut connection, mail).await {
                Ok(()) => return Ok(connection),
                // It was closed while it waited.
                Err(Interrupted::Connection(_)) => {}
                Err(interrupted) => return Err(interrupted),
            }
        }
        let mut connection = Box::pin(self.connect()).await.map_err(|why| Interrupted::Connection(why.told()))?;
        announce(&mut connection, mail).await?;
        Ok(connection)
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, NoRelay> {
        let server = (self.relay.host.as_str(), self.relay.port);
        let mut connection = match &self.relay.tls {
            Tls::Wrapper(parameters) => {
                let parameters = Some(parameters.clone());
                AsyncSmtpConnection::connect_tokio1(server, Some(self.timeout), &self.hello, parameters, None).await?
            }
            Tls::None | Tls::Opportunistic(_) | Tls::Required(_) => {
                let stream = timeout(self.timeout, TcpStream::connect(server)).await.map_err(io::Error::from)??;
                // A mail is written in several pieces. Otherwise the last of them waits for the other side to acknowledge
                // the one before, which it delays by forty milliseconds.
                stream.set_nodelay(true)?;
                AsyncSmtpConnection::connect_with_transport(Box::new(stream), &self.hello).await?
            }
        };
        let upgrade = match &self.relay.tls {
            Tls::Required(parameters) => Some(parameters),
            Tls::Opportunistic(parameters) if connection.can_starttls() => Some(parameters),
            Tls::None | Tls::Opportunistic(_) | Tls::Wrapper(_) => None,
        };
        if let Some(parameters) = upgrade {
            connection.starttls(parameters.clone(), &self.hello).await?;
        }
        if let Some(credentials) = &self.relay.credentials {
            connection.auth(DEFAULT_MECHANISMS, credentials).await?;
        }
        Ok(connection)
    }

    fn idle(&self) -> Option<AsyncSmtpConnection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|idle| idle.since.elapsed() < IDLE_FOR);
        idle.pop().map(|idle| idle.connection)
    }

    fn keep(&self, connection: AsyncSmtpConnection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MAX_IDLE {
            idle.push(Idle { connection, since: Instant::now() });
        }
    }
}

/// Says from whom and to whom, and that data follows.
async fn announce(connection: &mut AsyncSmtpConnection, mail: &Mail) -> Result<(), Interrupted> {
    let parameters = parameters(connection, mail)?;
    connection
        .command(MailFrom::new(Some(mail.from.clone()), parameters))
        .await
        .map_err(|error| interrupted(&error))?;
    connection.command(Rcpt::new(mail.to.clone(), Vec::new())).await.map_err(|error| interrupted(&error))?;
    let reply = connection.command(Data).await.map_err(|error| interrupted(&error))?;
    if reply.has_code(354) {
        return Ok(());
    }
    Err(Interrupted::Connection(format!("the mail relay answered DATA with {}", reply.code())))
}

/// What the relay has to be able to do for this mail. The mail itself is ASCII but for the local part of an address.
fn parameters(connection: &AsyncSmtpConnection, mail: &Mail) -> Result<Vec<MailParameter>, Interrupted> {
    let info = connection.server_info();
    let mut parameters = Vec::new();
    let addresses: [&str; 2] = [mail.from.as_ref(), mail.to.as_ref()];
    if !addresses.iter().all(|address| address.is_ascii()) {
        if !info.supports_feature(Extension::SmtpUtfEight) {
            return Err(Interrupted::Unfit("the mail relay does not take addresses beyond ASCII (SMTPUTF8)"));
        }
        parameters.push(MailParameter::SmtpUtfEight);
    }
    if !mail.message.is_ascii() {
        if !info.supports_feature(Extension::EightBitMime) {
            return Err(Interrupted::Unfit("the mail relay does not take characters beyond ASCII (8BITMIME)"));
        }
        parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
    }
    Ok(parameters)
}

fn interrupted(error: &Error) -> Interrupted {
    match refusal(error) {
        Some(answer) if answer.code != CLOSING => Interrupted::Refused(answer),
        _ => Interrupted::Connection(unusable(error)),
    }
}

/// The negative reply in an error, if it is one.
fn refusal(error: &Error) -> Option<MailAnswer> {
    let code = u16::from(error.status()?);
    let text = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    Some(MailAnswer { code, text })
}

fn answer(reply: &Response) -> MailAnswer {
    MailAnswer { code: u16::from(reply.code()), text: reply.first_line().unwrap_or_default().to_owned() }
}

/// Why there is no connection to the relay.
enum NoRelay {
    Said(Error),
    Network(io::Error),
}

impl From<Error> for NoRelay {
    fn from(error: Error) -> Self {
        Self::Said(error)
    }
}

impl From<io::Error> for NoRelay {
    fn from(error: io::Error) -> Self {
        Self::Network(error)
    }
}

impl NoRelay {
    fn told(&self) -> String {
        match self {
            Self::Said(error) => unusable(error),
            Self::Network(error) => tidy(&format!("the mail relay could not be reached: {error}")),
        }
    }
}

/// Before the first mail a refusal is about us, not about the mail: the operator can mend it, so it is worth a retry.
fn unusable(error: &Error) -> String {
    match refusal(error) {
        Some(answer) => tidy(&format!("the mail relay refused the connection: {} {}", answer.code, answer.text)),
        None => tidy(&format!("the mail relay could not be reached: {error}")),
    }
}

#[cfg(test)]
mod tests;
