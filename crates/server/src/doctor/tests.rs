//! Known failures, each made to happen and each told.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tidings_api::token::{Claims, Keys};
use tidings_catcher::{HttpCatcher, SmtpCatcher};
use tidings_core::time::{Clock as _, SystemClock, WallClock};

use super::*;
use crate::config::Sources;
use crate::wiring;

const SECRET: &str = "a secret of the tests, long enough for all";
const ANYWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

struct Patient {
    folder: TempDir,
    sources: Sources,
}

impl Patient {
    fn new() -> Self {
        crate::crypto::install();
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let data = folder.path().display().to_string();
        let sources = Sources::default().with_flag("data", data).with_flag("auth.jwt_secret", SECRET);
        let sources = sources.with_flag("server.port", "0").with_flag("storage.min_free_disk", "1 B");
        Self { folder, sources }
    }

    fn with(mut self, path: &str, value: impl Into<String>) -> Self {
        self.sources = self.sources.with_flag(path, value);
        self
    }

    fn config(&self) -> Config {
        Config::load(&self.sources).unwrap()
    }

    fn data(&self) -> &Path {
        self.folder.path()
    }

    fn make_store(&self) {
        wiring::migrate(self.data()).unwrap();
    }

    async fn finding(&self, check: &str) -> Finding {
        let findings = examine(&self.config(), &Args::default()).await;
        findings.into_iter().find(|finding| finding.check == check).unwrap()
    }

    fn explain(&self, token: &str) -> Finding {
        secrets::token(&self.config(), token, WallClock.now())
    }
}

#[tokio::test]
async fn a_fresh_installation_has_nothing_to_repair() {
    let patient = Patient::new();
    let failing = |finding: &Finding| finding.verdict == Verdict::Fail;
    let findings = examine(&patient.config(), &Args::default()).await;
    assert!(!findings.iter().any(failing), "{findings:?}");
    patient.make_store();
    let findings = examine(&patient.config(), &Args::default()).await;
    assert!(!findings.iter().any(failing), "{findings:?}");
}

#[tokio::test]
async fn who_holds_the_directory_is_told() {
    let patient = Patient::new();
    assert_eq!(patient.finding("lock").await.verdict, Verdict::Ok);
    let parts = wiring::assemble(&patient.config(), Arc::new(SystemClock::default()), false).await.unwrap();
    let finding = patient.finding("lock").await;
    assert_eq!(finding.verdict, Verdict::Warn);
    assert!(finding.found.contains(&format!("process {}", std::process::id())), "{finding:?}");
    assert!(patient.finding("integrity").await.found.contains("--deep"));
    parts.store.close().await;
}

#[tokio::test]
async fn a_port_that_another_program_has_is_told() {
    let stranger = HttpCatcher::start(ANYWHERE).await.unwrap();
    let patient = Patient::new().with("server.port", stranger.addr().port().to_string());
    let finding = patient.finding("port").await;
    assert_eq!(finding.verdict, Verdict::Fail);
    assert!(finding.remedy.unwrap().contains("API_PORT"));
}

#[tokio::test]
async fn a_directory_that_others_can_read_is_told() {
    let patient = Patient::new();
    let open_to_all = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    open_to_all(patient.data());
    assert_eq!(patient.finding("data directory").await.verdict, Verdict::Warn);
    let secret = patient.data().join("webhook.secret");
    fs::write(&secret, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    open_to_all(&secret);
    assert_eq!(patient.finding("secret files").await.verdict, Verdict::Warn);
    assert_eq!(patient.finding("webhook secret").await.verdict, Verdict::Ok);
}

#[tokio::test]
async fn a_damaged_store_is_told() {
    let patient = Patient::new();
    patient.make_store();
    let database = patient.data().join("tidings.db");
    let mut bytes = fs::read(&database).unwrap();
    let start = bytes.len().min(4096);
    bytes[start..].fill(0xff);
    fs::write(&database, bytes).unwrap();
    assert_eq!(patient.finding("integrity").await.verdict, Verdict::Fail);
}

#[tokio::test]
async fn a_relay_that_does_not_answer_is_told() {
    let relay = SmtpCatcher::start(ANYWHERE).await.unwrap();
    let url = format!("smtp://{}?tls=none", relay.addr());
    let patient = Patient::new().with("channels.smtp.url", url).with("channels.smtp.from", "a@example.com");
    assert_eq!(patient.finding("mail relay").await.verdict, Verdict::Ok);
    let nobody = std::net::TcpListener::bind(ANYWHERE).unwrap().local_addr().unwrap();
    let patient = patient.with("channels.smtp.url", format!("smtp://{nobody}"));
    assert_eq!(patient.finding("mail relay").await.verdict, Verdict::Fail);
}

#[tokio::test]
async fn settings_that_stand_in_the_way_are_told() {
    let patient = Patient::new().with("reserved.database_url", "postgres://elsewhere");
    let finding = patient.finding("settings").await;
    assert_eq!(finding.verdict, Verdict::Fail);
    assert!(finding.found.contains("DATABASE_URL"), "{finding:?}");
    let idle = Patient::new().with("reserved.queue_name", "q").finding("settings").await;
    assert_eq!(idle.verdict, Verdict::Warn);
}

#[tokio::test]
async fn a_token_secret_is_judged_by_the_profile() {
    let weak = Patient::new().with("auth.jwt_secret", "secret");
    assert_eq!(weak.finding("token secret").await.verdict, Verdict::Warn);
    let weak = weak.with("environment", "production");
    assert_eq!(weak.finding("token secret").await.verdict, Verdict::Fail);
    assert_eq!(weak.finding("settings").await.verdict, Verdict::Ok, "one fault is told once");
}

#[test]
fn a_token_is_explained() {
    let patient = Patient::new();
    let now = WallClock.now();
    let sign = |secret: &str, claims: Claims| Keys::new(secret.as_bytes(), false).issue(&claims).unwrap();
    let named = Claims { username: Some("ada".to_owned()), ..Claims::default() };
    let good = patient.explain(&sign(SECRET, named.clone()));
    assert_eq!((good.verdict, good.found.contains("ada")), (Verdict::Ok, true));
    let expired = Claims { exp: Some((now - Duration::from_hours(1)).as_seconds()), ..named.clone() };
    let cases = [
        (sign(SECRET, expired), "expired"),
        (sign("another secret, which is not that of the server", named), "another JWT_SECRET"),
        ("eyJhbGciOiJub25lIn0.eyJ1c2VySWQiOiJ4In0.".to_owned(), "only HS256"),
        ("Bearer".to_owned(), "no JSON Web Token"),
    ];
    for (token, why) in cases {
        let finding = patient.explain(&token);
        assert_eq!(finding.verdict, Verdict::Fail);
        assert!(finding.found.contains(why), "{finding:?}");
        assert!(finding.remedy.is_some());
    }
    let strict = patient.with("auth.jwt_compat", "strict");
    assert!(strict.explain(&sign(SECRET, Claims::default())).found.contains("JWT_COMPAT"));
}
