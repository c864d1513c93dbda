//! The configuration of `tidings dev`: the user's own, with every way out of this machine led into a catcher.

use std::time::Duration;

use tracing::Level;

use crate::config::{self, Config, JWT_SECRET_FILE, Sources, kept, prepare_data_dir, random};
use crate::dev::catchers::Catchers;

const MAIL_FROM: &str = "Tidings dev <dev@tidings.example>";
/// The account at the SMS catcher, and a number that belongs to nobody.
const SMS_ACCOUNT: &str = "AC00000000000000000000000000000000";
const SMS_TOKEN: &str = "dev";
const SMS_FROM: &str = "+15005550006";
const LOOPBACK: &str = "127.0.0.0/8";
/// A webhook that hangs is given up after this, so that one need not wait for half a minute to see it.
const SHORT_ATTEMPT: &str = "5s";
const USUAL_ATTEMPT: Duration = Duration::from_secs(30);

/// Lays what `dev` needs over what the user configured, and makes the data directory and the token secret.
pub(crate) fn prepare(sources: Sources, catchers: &Catchers, verbose: bool) -> anyhow::Result<Config> {
    let sources = sources.with_flag("environment", "development");
    let configured = Config::load(&sources)?;
    if !configured.server.bind.is_loopback() {
        let complaint = format!(
            "`server.bind` is {}, but `dev` shows tokens and mails to whoever reaches it; bind a loopback address",
            configured.server.bind
        );
        return Err(config::Error::new(complaint).into());
    }
    prepare_data_dir(&configured.data)?;
    let mut flags = ways_out(&configured, catchers);
    if configured.auth.jwt_secret.is_none() {
        let secret = kept(&configured.data.join(JWT_SECRET_FILE), random)?;
        flags.push(("auth.jwt_secret", secret.expose().to_owned()));
    }
    if !verbose && configured.log.level == Level::INFO {
        flags.push(("log.level", "error".to_owned()));
    }
    if configured.delivery.attempt_timeout == USUAL_ATTEMPT {
        flags.push(("delivery.attempt_timeout", SHORT_ATTEMPT.to_owned()));
    }
    let sources = flags.into_iter().fold(sources, |sources, (path, value)| sources.with_flag(path, value));
    Ok(Config::load(&sources)?)
}

fn ways_out(configured: &Config, catchers: &Catchers) -> Vec<(&'static str, String)> {
    let from = configured.channels.smtp.as_ref().map_or(MAIL_FROM, |smtp| smtp.from.as_str());
    let networks = configured.outbound.allow.iter().map(ToString::to_string);
    let networks: Vec<String> = networks.chain([LOOPBACK.to_owned()]).collect();
    let mut flags = vec![
        ("channels.smtp.url", format!("smtp://{}?tls=none", catchers.mail.addr())),
        ("channels.smtp.from", from.to_owned()),
        ("channels.sms.base_url", format!("http://{}", catchers.sms.addr())),
        ("channels.sms.account_sid", SMS_ACCOUNT.to_owned()),
        ("channels.sms.auth_token", SMS_TOKEN.to_owned()),
        ("channels.sms.from", SMS_FROM.to_owned()),
        ("outbound.allow", networks.join(",")),
        ("outbound.https_only", "false".to_owned()),
        ("outbound.divert_to", catchers.webhooks.url("")),
    ];
    if configured.delivery.events_url.is_some() {
        flags.push(("delivery.events_url", catchers.webhooks.url("/events")));
    }
    if configured.alerts.webhook_url.is_some() {
        flags.push(("alerts.webhook_url", catchers.webhooks.url("/alerts")));
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(folder: &std::path::Path) -> Sources {
        Sources::default().with_flag("data", folder.display().to_string())
    }

    #[tokio::test]
    async fn nothing_leaves_the_machine_whatever_is_configured() {
        let folder = tempfile::tempdir().unwrap();
        let catchers = Catchers::start().await.unwrap();
        let mut sources = sources(folder.path());
        let env = [
            ("NODE_ENV", "production"),
            ("SMTP_URL", "smtp://user:pass@mail.example.com"),
            ("SMTP_FROM", "shop@example.com"),
            ("EVENTS_URL", "https://events.example.com"),
        ];
        sources.env.extend(env.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let config = prepare(sources, &catchers, false).unwrap();
        let smtp = config.channels.smtp.clone().unwrap();
        assert_eq!(smtp.url.expose(), format!("smtp://{}?tls=none", catchers.mail.addr()));
        assert_eq!(smtp.from, "shop@example.com");
        assert_eq!(config.channels.sms.clone().unwrap().base_url, format!("http://{}", catchers.sms.addr()));
        assert_eq!(config.delivery.events_url.clone().unwrap().expose(), catchers.webhooks.url("/events"));
        assert_eq!(config.environment, config::Environment::Development);
    }

    #[tokio::test]
    async fn the_token_secret_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let catchers = Catchers::start().await.unwrap();
        let secret = || {
            let config = prepare(sources(folder.path()), &catchers, false).unwrap();
            config.auth.jwt_secret.unwrap().expose().to_owned()
        };
        assert_eq!(secret(), secret());
    }

    #[tokio::test]
    async fn other_machines_are_kept_out() {
        let folder = tempfile::tempdir().unwrap();
        let catchers = Catchers::start().await.unwrap();
        let sources = sources(folder.path()).with_flag("server.bind", "0.0.0.0");
        assert!(prepare(sources, &catchers, false).unwrap_err().to_string().contains("loopback"));
    }
}
