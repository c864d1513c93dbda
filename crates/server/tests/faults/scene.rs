//! The program with a user, and receivers that count: what most stories about crashes need.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tidings_testkit::faults::ledger::{Ledger, Totals};
use tidings_testkit::faults::sinks::{MailSink, WebhookSink};
use tokio::time::timeout;

use crate::load::{Load, Plan, settle};
use crate::program::{Builder, Program, create_user};

/// How long anything may take before a test gives up on it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(50);

pub(crate) struct Scene {
    pub(crate) ledger: Ledger,
    pub(crate) web: WebhookSink,
    pub(crate) mail: MailSink,
    pub(crate) program: Program,
    data: PathBuf,
    _dir: TempDir,
}

impl Scene {
    pub(crate) async fn begin() -> Self {
        Self::begin_with(&[]).await
    }

    /// Begins with further settings, which hold for the first start only.
    pub(crate) async fn begin_with(settings: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let ledger = Ledger::new();
        let web = WebhookSink::start(ledger.clone()).await.unwrap();
        let mail = MailSink::start(ledger.clone()).await.unwrap();
        let first = settings.iter().fold(builder(&data, &mail), |builder, (name, value)| builder.env(name, value));
        let program = first.start().await;
        create_user(&program).await;
        Self { ledger, web, mail, program, data, _dir: dir }
    }

    /// The program on the same data, to be started anew.
    pub(crate) fn builder(&self) -> Builder {
        builder(&self.data, &self.mail)
    }

    /// Kills the program and starts it again.
    pub(crate) async fn restart(&mut self) {
        self.program.kill().await;
        self.program = self.builder().start().await;
    }

    /// The channels of the load: an inbox, webhooks and mails, in turn.
    pub(crate) fn channels(&self) -> Vec<(&'static str, Value)> {
        vec![
            ("in-app", json!({"title": "Shipped", "message": "It is on its way."})),
            ("webhook", json!({"url": self.web.url("/hook"), "event": "order.shipped"})),
            ("email", json!({"to": "ada@example.com", "subject": "Shipped", "body": "It is on its way."})),
        ]
    }

    /// A load on all channels whose clients insist.
    pub(crate) fn load(&self, rate: f64) -> Load {
        let plan = Plan { rate, clients: 32, channels: self.channels(), resend: 0.2, retry_for: PATIENCE };
        Load::start(&self.program, self.ledger.clone(), plan)
    }

    /// Waits for the end of everything. All receivers of the scene count, so nothing can be delivered unheard.
    pub(crate) async fn settle(&self) -> Totals {
        let totals = settle(&self.program, &self.ledger, PATIENCE).await;
        totals.assert_clean();
        totals.assert_all_heard();
        totals
    }
}

fn builder(data: &Path, mail: &MailSink) -> Builder {
    Program::at(data)
        .env("SMTP_URL", &format!("smtp://{}?tls=none", mail.addr()))
        .env("SMTP_FROM", "Tidings <noreply@tidings.example>")
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        while !is_so() {
            ticks.tick().await;
        }
    };
    assert!(timeout(PATIENCE, waiting).await.is_ok(), "waited in vain: {what}");
}
