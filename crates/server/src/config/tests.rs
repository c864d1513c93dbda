//! The layers, the refusals, and what is shown.

use std::time::Duration;

use tidings_core::retry::Guarantee;
use tidings_core::routing::RoutingKey;

use super::settings::SETTINGS;
use super::*;

const GOOD_SECRET: &str = "0123456789abcdef0123456789abcdef!";

fn env(pairs: &[(&str, &str)]) -> Sources {
    let env = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Sources { env, ..Sources::default() }
}

fn toml(text: &str) -> Sources {
    Sources { toml: Some(text.to_owned()), ..Sources::default() }
}

fn refusal(sources: &Sources) -> String {
    Config::load(sources).unwrap_err().to_string()
}

#[test]
fn production_lets_nobody_register_unless_told_to() {
    let of = |pairs: &[(&str, &str)]| {
        let env = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Config::load(&Sources { env, ..Sources::default() }).unwrap().auth.registration
    };
    assert!(of(&[]));
    assert!(!of(&[("NODE_ENV", "production")]));
    assert!(of(&[("NODE_ENV", "production"), ("REGISTRATION", "true")]));
}

#[test]
fn a_slip_in_the_dotenv_file_is_named_and_strangers_are_left_alone() {
    let of = |text: &str| Config::load(&Sources { dotenv: Some(text.to_owned()), ..Sources::default() });
    let error = of("WORKER_CONCURENCY=99\n").unwrap_err().to_string();
    assert!(error.contains("WORKER_CONCURRENCY"), "{error}");
    assert!(of("POSTGRES_PASSWORD=x\nRUST_BACKTRACE=1\n").is_ok());
}

#[test]
fn without_sources_the_defaults_hold() {
    let config = Config::load(&Sources::default()).unwrap();
    assert_eq!(config.environment, Environment::Development);
    assert_eq!((config.server.bind.to_string().as_str(), config.server.port), ("127.0.0.1", 8080));
    assert_eq!(config.server.body_limit, 256 * 1024);
    assert_eq!(config.delivery.concurrency, 10);
    assert_eq!(config.policies.default, retry::Policy::default());
    assert_eq!(config.retention, retention::Policy::default());
    assert_eq!(config.key_ttl(), Duration::from_hours(24));
    assert!(!config.auth.require_expiry && config.auth.registration);
    assert!(config.channels.smtp.is_none() && config.channels.sms.is_none());
}

#[test]
fn later_layers_win() {
    let mut sources = Sources { dotenv: Some("API_PORT=1001".to_owned()), ..Sources::default() };
    let port = |sources: &Sources| Config::load(sources).unwrap().server.port;
    assert_eq!(port(&sources), 1001);
    sources.toml = Some("[server]\nport = 1002".to_owned());
    assert_eq!(port(&sources), 1002);
    sources.env.insert("API_PORT".to_owned(), "1003".to_owned());
    assert_eq!(port(&sources), 1003);
    assert_eq!(port(&sources.clone().with_flag("server.port", "1004")), 1004);
    sources.env.insert("API_PORT".to_owned(), String::new());
    assert_eq!(port(&sources), 1002);
}

#[test]
fn every_setting_can_be_read() {
    let text = r#"
        environment = "production"
        [auth]
        jwt_secret = "s"
        [delivery]
        retry_schedule = ["1s", "2s"]
        events_url = "https://example.com/events"
        [channels.smtp]
        url = "smtps://relay.example.com"
        from = "News <news@example.com>"
        [channels.sms]
        account_sid = "AC1"
        auth_token = "t"
        from = "+15005550006"
        [channels.webhook]
        secret = "whsec_x"
        [outbound]
        allow = ["10.0.0.0/8"]
        [alerts]
        pending = "off"
        age = "1h"
        webhook_url = "https://example.com/alerts"
        email = "ops@example.com"
    "#;
    let config = Config::load(&toml(text)).unwrap();
    assert!(config.auth.require_expiry);
    assert_eq!(config.policies.default.schedule, [Duration::from_secs(1), Duration::from_secs(2)]);
    assert_eq!(config.delivery.events_url.unwrap().expose(), "https://example.com/events");
    assert_eq!(config.channels.smtp.unwrap().from, "News <news@example.com>");
    assert_eq!(config.channels.sms.unwrap().base_url, "https://api.twilio.com");
    assert_eq!(config.channels.webhook_secret.unwrap().expose(), "whsec_x");
    assert_eq!(config.outbound.allow.len(), 1);
    assert_eq!((config.alerts.pending, config.alerts.age), (None, Some(Duration::from_hours(1))));
    assert_eq!(config.alerts.email.as_deref(), Some("ops@example.com"));
    assert!(config.alerts.webhook_url.is_some());
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_and_what_is_allowed() {
    let message = refusal(&toml("[server]\nprot = 1"));
    assert!(message.contains("`server.prot`") && message.contains("did you mean `server.port`?"), "{message}");
    assert!(message.contains("[server] takes bind, port, body_limit"), "{message}");
    assert!(refusal(&toml("[sever]\nport = 1")).contains("`sever`"));
    assert!(refusal(&Sources::default().with_flag("log.levle", "info")).contains("did you mean `log.level`?"));
}

#[test]
fn an_unknown_variable_of_ours_is_refused_and_others_are_left_alone() {
    let message = refusal(&env(&[("TIDINGS_DATTA", "x")]));
    assert!(
        message.contains("`TIDINGS_DATTA` (environment)") && message.contains("did you mean `TIDINGS_DATA`?"),
        "{message}"
    );
    let sources = Sources { dotenv: Some("TIDINGS_NOPE=1\nSOMEBODY_ELSES=1".to_owned()), ..Sources::default() };
    let message = refusal(&sources);
    assert!(message.contains("`TIDINGS_NOPE` (.env file)") && !message.contains("SOMEBODY_ELSES"), "{message}");
    assert!(Config::load(&env(&[("TIDINGS_TOKEN", "x"), ("PATH", "/bin")])).is_ok());
}

#[test]
fn a_bad_value_is_refused_with_what_is_allowed() {
    let cases = [
        ("API_PORT", "99999", "a whole number from 0 to 65535"),
        ("LOG_LEVEL", "loud", "error, warn, info, debug or trace"),
        ("SHUTDOWN_TIMEOUT", "30", "a duration such as"),
        ("BODY_LIMIT", "much", "a size such as"),
        ("TIDINGS_BIND", "localhost", "an IP address"),
        ("OUTBOUND_ALLOW", "everything", "IP networks"),
        ("RETRY_SCHEDULE", "2s;10s", "durations"),
        ("REGISTRATION", "maybe", "true or false"),
    ];
    for (name, value, allowed) in cases {
        let message = refusal(&env(&[(name, value)]));
        assert!(message.contains(&format!("`{name}` (environment) is `{value}`; give")), "{message}");
        assert!(message.contains(allowed), "{message}");
    }
}

#[test]
fn all_that_is_wrong_is_told_at_once_and_secrets_are_not() {
    let message = refusal(&env(&[("API_PORT", "x"), ("MAX_RETRIES", "y"), ("SMTP_URL", "hunter2")]));
    assert!(
        message.contains("API_PORT") && message.contains("MAX_RETRIES") && message.contains("SMTP_URL"),
        "{message}"
    );
    assert!(!message.contains("hunter2"), "{message}");
    let message = refusal(&toml("\n[auth]\njwt_secret = \"hunter2"));
    assert!(message.contains("line 3") && !message.contains("hunter2"), "{message}");
}

#[test]
fn settings_that_belong_together_are_asked_for_together() {
    assert!(refusal(&env(&[("SMTP_URL", "smtp://relay.example.com")])).contains("SMTP_FROM"));
    assert!(refusal(&env(&[("SMS_ACCOUNT_SID", "AC1")])).contains("SMS_AUTH_TOKEN"));
    assert!(refusal(&env(&[("ALERT_EMAIL", "ops@example.com")])).contains("SMTP_URL"));
}

#[test]
fn policies_are_exceptions_in_order() {
    let text = r#"
        [delivery]
        max_retries = 5
        [[policies]]
        pattern = "notification.*.otp"
        max_retries = 0
        guarantee = "at-most-once"
        [[policies]]
        pattern = "notification.sms.*"
        retry_schedule = ["1h", "75h"]
    "#;
    let config = Config::load(&toml(text)).unwrap();
    let otp = config.policies.of(&RoutingKey::new("sms", "otp"));
    assert_eq!((otp.max_retries, otp.guarantee), (0, Guarantee::AtMostOnce));
    let sms = config.policies.of(&RoutingKey::new("sms", "news"));
    assert_eq!((sms.max_retries, sms.schedule.len()), (5, 2));
    assert!(config.key_ttl() > Duration::from_hours(24));
    assert!(config.describe().contains("max_retries=0 retry_schedule=2s,10s,1m guarantee=at-most-once"));
}

#[test]
fn bad_policies_are_refused() {
    let cases = [
        ("[[policies]]\nmax_retries = 1", "has no `pattern`"),
        ("[[policies]]\npattern = \"a..b\"", "`policies[0].pattern`"),
        ("[[policies]]\npattern = \"#\"\nguarantee = \"maybe\"", "at-least-once or at-most-once"),
        ("[[policies]]\npattern = \"#\"\nmax_retrys = 1", "did you mean `policies[0].max_retries`?"),
        ("policies = 3", "[[policies]]"),
    ];
    for (text, expected) in cases {
        let message = refusal(&toml(text));
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn what_is_in_force_is_shown_with_its_origin_and_without_secrets() {
    let sources = env(&[
        ("JWT_SECRET", "hunter2"),
        ("API_PORT", "9000"),
        ("SMTP_URL", "smtp://me:hunter2@relay"),
        ("SMTP_FROM", "a@b.c"),
    ]);
    let config = Config::load(&sources).unwrap();
    let text = config.describe();
    assert!(!text.contains("hunter2") && !format!("{config:?}").contains("hunter2"), "{text}");
    let words = |name: &str| {
        let line = text.lines().find(|line| line.contains(name)).unwrap();
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(words("API_PORT"), ["server.port", "API_PORT", "9000", "environment"]);
    assert_eq!(words("JWT_SECRET"), ["auth.jwt_secret", "JWT_SECRET", "********", "environment"]);
    assert_eq!(words("JWT_COMPAT"), ["auth.jwt_compat", "JWT_COMPAT", "seed", "default"]);
    assert_eq!(words("SMS_FROM"), ["channels.sms.from", "SMS_FROM", "-", "unset"]);
}

#[test]
fn production_needs_a_strong_secret() {
    let check = |pairs: &[(&str, &str)]| Config::load(&env(pairs)).unwrap().check_for_serving();
    let production = ("NODE_ENV", "production");
    assert!(check(&[production]).unwrap_err().to_string().contains("`JWT_SECRET` is not set"));
    for weak in ["your_jwt_secret_key_change_in_production", "secret", "0123456789abcdef0123456789abcde"] {
        let message = check(&[production, ("JWT_SECRET", weak)]).unwrap_err().to_string();
        assert!(message.contains("too weak for production") && !message.contains(weak), "{message}");
    }
    assert!(check(&[production, ("JWT_SECRET", GOOD_SECRET)]).unwrap().is_empty());
}

#[test]
fn development_warns_about_a_weak_secret_and_needs_one() {
    let check = |pairs: &[(&str, &str)]| Config::load(&env(pairs)).unwrap().check_for_serving();
    assert!(check(&[]).is_err());
    let warnings = check(&[("JWT_SECRET", "secret"), ("QUEUE_NAME", "notifications_queue")]).unwrap();
    assert!(warnings.len() == 2 && warnings.iter().any(|line| line.contains("QUEUE_NAME")), "{warnings:?}");
}

#[test]
fn engines_that_are_not_there_are_refused() {
    for variable in ["DATABASE_URL", "RABBITMQ_URL", "REDIS_URL"] {
        let config = Config::load(&env(&[("JWT_SECRET", GOOD_SECRET), (variable, "x://user:hunter2@host")])).unwrap();
        let message = config.check_for_serving().unwrap_err().to_string();
        assert!(message.contains(&format!("unset {variable}")) && !message.contains("hunter2"), "{message}");
    }
}

#[test]
fn the_reference_and_the_example_name_every_setting_once() {
    let (reference, example) = (configuration_markdown(), env_example());
    for setting in SETTINGS {
        let row = format!("| `{}` | `{}` |", setting.path, setting.variable);
        assert_eq!(reference.matches(&row).count(), 1, "{row}");
        assert!(example.contains(&format!("\n#{}=", setting.variable)), "{}", setting.variable);
    }
    let uncommented = example.replace("\n#", "\n").replace("\n ", "\n# ");
    let sources = Sources { dotenv: Some(uncommented), ..Sources::default() };
    assert!(Config::load(&sources).is_ok(), "{}", refusal(&sources));
}
