//! Secrets, and why a token is refused. No secret and no token is ever shown.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use tidings_api::token::Keys;
use tidings_channels::webhook;
use tidings_core::time::Timestamp;

use crate::config::{Config, Environment, JWT_SECRET_FILE, Secret, WEBHOOK_SECRET_FILE, read};
use crate::doctor::finding::Finding;

const MAKE_ONE: &str = "make one with `openssl rand -base64 32` and set JWT_SECRET";

/// Whether tokens can be trusted.
pub(crate) fn token_secret(config: &Config) -> Finding {
    const CHECK: &str = "token secret";
    let Some(secret) = &config.auth.jwt_secret else {
        return match kept_by_dev(config) {
            Some(_) => Finding::warn(
                CHECK,
                "JWT_SECRET is not set; `dev` uses the one it keeps in the data directory",
                format!("for `serve`, {MAKE_ONE}"),
            ),
            None => Finding::fail(CHECK, "JWT_SECRET is not set; `serve` refuses to start without", MAKE_ONE),
        };
    };
    match (secret.weakness(), config.environment) {
        (None, _) => Finding::ok(CHECK, format!("{} bytes, no well-known sample", secret.expose().len())),
        (Some(why), Environment::Development) => {
            Finding::warn(CHECK, format!("weak: {why}; production would refuse it"), MAKE_ONE)
        }
        (Some(why), Environment::Production) => {
            Finding::fail(CHECK, format!("too weak for production: {why}"), MAKE_ONE)
        }
    }
}

fn kept_by_dev(config: &Config) -> Option<Secret> {
    read(&config.data.join(JWT_SECRET_FILE)).ok().flatten()
}

/// Whether webhooks can be signed.
pub(crate) fn webhook_secret(config: &Config) -> Finding {
    const CHECK: &str = "webhook secret";
    let (name, secret) = if let Some(secret) = &config.channels.webhook_secret {
        ("WEBHOOK_SECRET".to_owned(), Some(secret.clone()))
    } else {
        let path = config.data.join(WEBHOOK_SECRET_FILE);
        match read(&path) {
            Ok(kept) => (path.display().to_string(), kept),
            Err(error) => {
                return Finding::fail(CHECK, format!("{error:#}"), "give the user that runs Tidings access to it");
            }
        }
    };
    match secret.map(|secret| webhook::Secret::parse(secret.expose())) {
        None => Finding::ok(CHECK, "made at the first start"),
        Some(Ok(_)) => Finding::ok(CHECK, format!("{name} can be used")),
        Some(Err(error)) => Finding::fail(
            CHECK,
            format!("{name} is {error}"),
            "remove it to have one made, or write whsec_ and the output of `openssl rand -base64 32`",
        ),
    }
}

/// Why a token is refused, if it is.
pub(crate) fn token(config: &Config, token: &str, now: Timestamp) -> Finding {
    const CHECK: &str = "token";
    match explain(config, token.trim(), now) {
        Ok(found) => Finding::ok(CHECK, found),
        Err(Refusal { why, remedy }) => Finding::fail(CHECK, why, remedy),
    }
}

struct Refusal {
    why: String,
    remedy: &'static str,
}

impl Refusal {
    fn new(why: impl Into<String>, remedy: &'static str) -> Self {
        Self { why: why.into(), remedy }
    }
}

const NEW_TOKEN: &str = "make a new one: `tidings token`, or POST /api/auth/login";
const OTHER_SECRET: &str =
    "whoever makes the tokens needs the JWT_SECRET of this server, to the letter; or make a new one: `tidings token`";

fn explain(config: &Config, token: &str, now: Timestamp) -> Result<String, Refusal> {
    let parts = Parts::split(token)?;
    parts.check_algorithm()?;
    parts.check_times(config, now)?;
    let Some(secret) = config.auth.jwt_secret.clone().or_else(|| kept_by_dev(config)) else {
        return Err(Refusal::new(
            "its signature cannot be checked: JWT_SECRET is not set",
            "set JWT_SECRET as the server has it",
        ));
    };
    if !parts.is_signed_with(secret.expose().as_bytes()) {
        return Err(Refusal::new(
            "its signature does not fit: it was made with another JWT_SECRET, or changed since",
            OTHER_SECRET,
        ));
    }
    match Keys::new(secret.expose().as_bytes(), config.auth.require_expiry).verify(token, now) {
        Ok(claims) => {
            let who = claims.username.or_else(|| claims.user_id.map(|id| id.to_string()));
            let scope = claims.scope.map_or_else(
                || "no scope: sends to anyone, reads what is its own".to_owned(),
                |scope| format!("scope {scope}"),
            );
            Ok(format!("valid, for {} ({scope})", who.as_deref().unwrap_or("no user")))
        }
        Err(_says_no_more) => {
            let why = "its signature is good, but its claims are not: userId has to be a UUID, iss can only be tidings, and aud and crit must not be there";
            Err(Refusal::new(why, NEW_TOKEN))
        }
    }
}

/// A token taken apart, nothing of it believed yet.
struct Parts<'a> {
    signed: &'a str,
    header: Value,
    claims: Value,
    signature: Vec<u8>,
}

impl<'a> Parts<'a> {
    fn split(token: &'a str) -> Result<Self, Refusal> {
        let malformed = |why: &str| {
            Refusal::new(
                format!("it is no JSON Web Token: {why}"),
                "pass all three parts, without `Bearer` and without quotes",
            )
        };
        let (signed, signature) = token.rsplit_once('.').ok_or_else(|| malformed("it has no dots"))?;
        let (header, claims) = signed.split_once('.').ok_or_else(|| malformed("it has two parts instead of three"))?;
        Ok(Self {
            signed,
            header: json(header).ok_or_else(|| malformed("its header cannot be read"))?,
            claims: json(claims).ok_or_else(|| malformed("its claims cannot be read"))?,
            signature: URL_SAFE_NO_PAD
                .decode(signature)
                .map_err(|_not_base64| malformed("its signature cannot be read"))?,
        })
    }

    fn check_algorithm(&self) -> Result<(), Refusal> {
        match self.header.get("alg").and_then(Value::as_str) {
            Some("HS256") => Ok(()),
            Some(other) => {
                let shown: String = other.chars().filter(char::is_ascii_graphic).take(16).collect();
                Err(Refusal::new(format!("it is signed with {shown}; only HS256 is taken"), NEW_TOKEN))
            }
            None => Err(Refusal::new("it does not say how it is signed; only HS256 is taken", NEW_TOKEN)),
        }
    }

    fn check_times(&self, config: &Config, now: Timestamp) -> Result<(), Refusal> {
        let seconds = |name: &str| {
            self.claims
                .get(name)
                .and_then(Value::as_i64)
                .map(|seconds| Timestamp::from_millis(seconds.saturating_mul(1000)))
        };
        match seconds("exp") {
            Some(expires) if expires <= now => return Err(Refusal::new(format!("it expired at {expires}"), NEW_TOKEN)),
            None if config.auth.require_expiry => {
                return Err(Refusal::new(
                    "it never expires (no exp), which is refused here (JWT_COMPAT=strict)",
                    "make one that expires, or set JWT_COMPAT=seed",
                ));
            }
            _ => {}
        }
        match seconds("nbf") {
            Some(begins) if begins > now => Err(Refusal::new(
                format!("it is not valid before {begins}"),
                "wait, or check the clocks of both machines",
            )),
            _ => Ok(()),
        }
    }

    fn is_signed_with(&self, secret: &[u8]) -> bool {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        hmac::verify(&key, self.signed.as_bytes(), &self.signature).is_ok()
    }
}

fn json(part: &str) -> Option<Value> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}
