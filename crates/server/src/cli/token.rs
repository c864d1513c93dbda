//! `tidings token`: makes a token for the API, signed with the secret of this machine.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use tidings_api::token::{Claims, Keys, SCOPE_ADMIN};
use tidings_core::time::{Clock, WallClock};
use uuid::Uuid;

use crate::cli::output;
use crate::config::{self, Config, JWT_SECRET_FILE, Secret};
use crate::serve::SEED_USERS;

/// How long the token lives that a command makes for itself.
const OWN_TTL: Duration = Duration::from_mins(15);

const EXAMPLES: &str = "\
Examples:
  tidings token                                          the first test user
  tidings token --user 550e8400-e29b-41d4-a716-446655440001 --username user1
  tidings token --scope admin --ttl 30d
  curl -H \"Authorization: Bearer $(tidings token)\" http://127.0.0.1:8080/api/notifications

Scopes: `read:any` reads what belongs to others, `admin` does everything in the tenant. Without a scope, a token may
send to anybody and read what is addressed to its user. It is signed with JWT_SECRET, or with the secret that
`tidings dev` keeps in the data directory.";

/// What `tidings token` takes.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The id of the user that the token is for [default: the first test user]
    #[arg(long, value_name = "UUID")]
    user: Option<Uuid>,
    /// The user name, for people to read
    #[arg(long, value_name = "NAME")]
    username: Option<String>,
    /// What the token allows beyond its own user, separated by spaces
    #[arg(long, value_name = "SCOPES")]
    scope: Option<String>,
    /// The tenant that the token belongs to [default: default]
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// How long it is valid, such as 30m, 24h or 30d [default: TOKEN_TTL]
    #[arg(long, value_name = "DURATION", value_parser = config::parse_ttl)]
    ttl: Option<Duration>,
}

/// Prints a token.
pub(crate) fn run(args: &Args, config: &Config) -> anyhow::Result<ExitCode> {
    let (first, name, _email) = SEED_USERS[0];
    let username = args.username.clone().or_else(|| args.user.is_none().then(|| name.to_owned()));
    let claims = Claims {
        user_id: Some(args.user.unwrap_or(first)),
        username,
        tenant: args.tenant.clone(),
        scope: args.scope.clone(),
        ..times(args.ttl.unwrap_or(config.auth.token_ttl))
    };
    output::line(sign(config, &claims)?);
    Ok(ExitCode::SUCCESS)
}

/// A token with which a command of this machine may do everything for a while.
pub(crate) fn own(config: &Config) -> anyhow::Result<String> {
    let claims = Claims { username: Some("cli".to_owned()), scope: Some(SCOPE_ADMIN.to_owned()), ..times(OWN_TTL) };
    sign(config, &claims)
}

fn times(ttl: Duration) -> Claims {
    let now = WallClock.now();
    Claims { iat: Some(now.as_seconds()), exp: Some((now + ttl).as_seconds()), ..Claims::default() }
}

fn sign(config: &Config, claims: &Claims) -> anyhow::Result<String> {
    let secret = secret(config)?;
    let keys = Keys::new(secret.expose().as_bytes(), config.auth.require_expiry);
    Ok(keys.issue(claims)?)
}

/// The secret of this machine: as configured, or the one that `tidings dev` keeps.
fn secret(config: &Config) -> anyhow::Result<Secret> {
    if let Some(secret) = &config.auth.jwt_secret {
        return Ok(secret.clone());
    }
    let path = config.data.join(JWT_SECRET_FILE);
    config::read(&path)?.with_context(|| {
        let path = path.display();
        format!("there is no secret to sign a token with: JWT_SECRET is not set, and there is no {path}; set the JWT_SECRET of the server, or pass --token")
    })
}
