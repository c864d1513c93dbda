//! An installation whose providers are catchers.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tidings_catcher::{HttpCatcher, SmtpCatcher};
use tidings_channels::{Channels, Config, outbound, sms, smtp, webhook};
use tidings_core::id::{IdGen, MonotonicIds, TenantId};
use tidings_core::notification::{Content, Destination, NewNotification, Priority, TraceContext};
use tidings_core::ports::Sender;
use tidings_core::ports::sender::{Dispatch, Report};
use tidings_core::time::{Clock, Timestamp, WallClock};
use tidings_core::user::Contacts;

/// The time limit of everything: short, because some providers here never answer.
const TIMEOUT: Duration = Duration::from_millis(700);

pub(crate) struct World {
    pub(crate) channels: Channels,
    pub(crate) smtp: SmtpCatcher,
    pub(crate) http: HttpCatcher,
    pub(crate) secret: String,
    ids: MonotonicIds,
}

impl World {
    /// Everything may be reached.
    pub(crate) async fn open() -> Self {
        Self::start(&["127.0.0.0/8", "::1/128"]).await
    }

    /// Webhooks reach the public internet only.
    pub(crate) async fn guarded() -> Self {
        Self::start(&[]).await
    }

    async fn start(networks: &[&str]) -> Self {
        let _installed_before = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let smtp = SmtpCatcher::start(anywhere).await.unwrap();
        let http = HttpCatcher::start(anywhere).await.unwrap();
        let secret = webhook::Secret::generate();
        let exposed = secret.expose();
        let config = Config {
            smtp: Some(smtp::Config {
                url: format!("smtp://{}?tls=none", smtp.addr()),
                from: "Tidings <news@tidings.example>".to_owned(),
                timeout: TIMEOUT,
            }),
            sms: Some(sms::Config {
                base_url: http.url(""),
                account_sid: "AC1".to_owned(),
                auth_token: "token".to_owned(),
                from: "+15005550006".to_owned(),
            }),
            webhook: webhook::Config { secret },
            outbound: outbound::Config {
                allowed_networks: networks.iter().map(|network| network.parse().unwrap()).collect(),
                https_only: false,
                divert_to: None,
                timeout: TIMEOUT,
            },
        };
        Self { channels: Channels::new(config).unwrap(), smtp, http, secret: exposed, ids: MonotonicIds::default() }
    }

    /// One attempt of a new notification.
    pub(crate) async fn send(&self, channel: &str, payload: &Value) -> Report {
        let notification = self.notification(channel, payload);
        self.attempt(&notification).await
    }

    /// One attempt.
    pub(crate) async fn attempt(&self, notification: &NewNotification) -> Report {
        let contacts = Contacts::default();
        self.channels.send(Dispatch { notification, contacts: &contacts, attempt: 1, now: now() }).await
    }

    pub(crate) fn notification(&self, channel: &str, payload: &Value) -> NewNotification {
        let id = self.ids.next(now());
        NewNotification {
            id,
            request: id,
            tenant: TenantId::DEFAULT,
            user: None,
            channel: channel.to_owned(),
            category: "transactional".to_owned(),
            priority: Priority::Normal,
            destination: Destination::new(channel, "test"),
            content: Content { payload: payload.to_string(), metadata: None },
            context: TraceContext { correlation_id: "order-4711".to_owned(), traceparent: None },
            accepted_at: now(),
            due_at: now(),
            expires_at: None,
            redrive_of: None,
            redrives: 0,
        }
    }
}

fn now() -> Timestamp {
    WallClock.now()
}
