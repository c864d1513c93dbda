//! The server under test: one that runs already, or one of our own that is gone afterwards.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::json;
use tidings_api::token::{Claims, Keys, SCOPE_ADMIN};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout};
use url::Url;
use uuid::Uuid;

use crate::bench::client::{Connection, Request};
use crate::bench::disk;
use crate::config;

/// How long a server of our own may take to be ready.
const START_WITHIN: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long a single question may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Variables with which `serve` would refuse to start.
const OTHER_ENGINES: [&str; 3] = ["DATABASE_URL", "RABBITMQ_URL", "REDIS_URL"];
const COMPLAINTS: &str = "stderr.log";

/// A server that can be loaded.
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// What requests say in their `Host`.
    pub(crate) host: String,
    pub(crate) token: String,
    pub(crate) whose: Whose,
}

/// Who ends it.
pub(crate) enum Whose {
    Theirs,
    Ours(Box<OwnServer>),
}

/// A process of our own on a store of its own. Dropped, both are gone.
pub(crate) struct OwnServer {
    process: Child,
    folder: TemporaryFolder,
}

/// What a server answered.
struct Reply {
    status: u16,
    body: String,
}

impl Target {
    /// A server that runs already.
    pub(crate) async fn existing(url: &Url, token: String) -> anyhow::Result<Self> {
        if url.scheme() != "http" {
            bail!("{url} is not an http address; the load generator speaks no TLS");
        }
        let port = url.port_or_known_default().unwrap_or(80);
        let name = url.host_str().context("the address has no host")?;
        let mut addresses = tokio::net::lookup_host((name.trim_matches(['[', ']']), port))
            .await
            .with_context(|| format!("{name} is not known"))?;
        let address = addresses.next().with_context(|| format!("{name} has no address"))?;
        Ok(Self { address, host: format!("{name}:{port}"), token, whose: Whose::Theirs })
    }

    /// Starts a server in a directory of its own, on a free port, with one user to be told things.
    pub(crate) async fn of_our_own(parent: Option<&Path>, user: Uuid) -> anyhow::Result<Self> {
        let parent = parent.map_or_else(std::env::temp_dir, Path::to_path_buf);
        let folder = TemporaryFolder::create(&parent)
            .with_context(|| format!("no directory can be made in {}", parent.display()))?;
        let secret = config::random()?;
        let address = free_address().await.context("there is no free port")?;
        let process = spawn(&folder.0, &secret, address.port())?;
        let claims = Claims {
            user_id: Some(user),
            username: Some("bench".to_owned()),
            scope: Some(SCOPE_ADMIN.to_owned()),
            ..Claims::default()
        };
        let token = Keys::new(secret.as_bytes(), false).issue(&claims)?;
        let mut server = Box::new(OwnServer { process, folder });
        server.wait_until_ready(address).await?;
        let target = Self { address, host: address.to_string(), token, whose: Whose::Ours(server) };
        target.create_user(user).await?;
        Ok(target)
    }

    /// How many notifications the server has delivered since its start; `None` if it does not say.
    pub(crate) async fn delivered(&self) -> Option<u64> {
        let reply = ask(self.address, &self.request("GET", "/metrics", "")).await.ok()?;
        (reply.status == 200).then(|| delivered_total(&reply.body))
    }

    /// Ends a server of our own and removes its directory.
    pub(crate) async fn stop(self) {
        if let Whose::Ours(mut server) = self.whose {
            // What it has stored is thrown away: there is nothing to drain.
            server.process.kill().await.ok();
        }
    }

    async fn create_user(&self, user: Uuid) -> anyhow::Result<()> {
        let body = json!({ "id": user, "username": "bench", "email": "bench@example.com" }).to_string();
        let reply = ask(self.address, &self.request("POST", "/api/users", &body))
            .await
            .context("the user could not be created")?;
        if reply.status != 201 {
            bail!("the user could not be created: {} {}", reply.status, reply.body);
        }
        Ok(())
    }

    fn request(&self, method: &str, path: &str, body: &str) -> Vec<u8> {
        Request { method, path, host: &self.host, token: Some(&self.token), header: None, body }.to_bytes()
    }
}

impl OwnServer {
    /// What its 202 means here.
    pub(crate) async fn durability(&self) -> String {
        disk::describe(&self.folder.0).await
    }

    async fn wait_until_ready(&mut self, address: SocketAddr) -> anyhow::Result<()> {
        let host = address.to_string();
        let request =
            Request { method: "GET", path: "/ready", host: &host, token: None, header: None, body: "" }.to_bytes();
        let until = Instant::now() + START_WITHIN;
        loop {
            if ask(address, &request).await.is_ok_and(|reply| reply.status == 200) {
                return Ok(());
            }
            if let Some(status) = self.process.try_wait()? {
                bail!("the server ended with {status}: {}", self.complaints());
            }
            if Instant::now() >= until {
                bail!("the server was not ready within {} s: {}", START_WITHIN.as_secs(), self.complaints());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn complaints(&self) -> String {
        let text = fs::read_to_string(self.folder.0.join(COMPLAINTS)).unwrap_or_default();
        text.trim().to_owned()
    }
}

/// Its log is written nowhere, but it is written: that work belongs to what is measured.
fn spawn(folder: &Path, secret: &str, port: u16) -> anyhow::Result<Child> {
    let program = std::env::current_exe().context("this program cannot be found")?;
    let complaints =
        fs::File::create(folder.join(COMPLAINTS)).context("the directory of the server cannot be written")?;
    let mut command = Command::new(program);
    for variable in OTHER_ENGINES {
        command.env_remove(variable);
    }
    command
        .arg("serve")
        .current_dir(folder)
        .env("TIDINGS_DATA", folder.join("data"))
        .env("TIDINGS_BIND", Ipv4Addr::LOCALHOST.to_string())
        .env("API_PORT", port.to_string())
        .env("JWT_SECRET", secret)
        .env("JWT_COMPAT", "seed")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(complaints)
        .kill_on_drop(true)
        .spawn()
        .context("the server cannot be started")
}

/// A port that was free a moment ago.
async fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?.local_addr()
}

async fn ask(address: SocketAddr, request: &[u8]) -> io::Result<Reply> {
    let exchange = async {
        let mut connection = Connection::open(address).await?;
        let answer = connection.exchange(request).await?;
        Ok(Reply { status: answer.status, body: String::from_utf8_lossy(answer.body).into_owned() })
    };
    timeout(ANSWER_WITHIN, exchange).await.map_err(io::Error::from)?
}

/// The deliveries of all channels.
fn delivered_total(exposition: &str) -> u64 {
    let lines = exposition.lines().filter_map(|line| line.strip_prefix("notifications_delivered_total"));
    lines.filter_map(|rest| rest.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
}

/// A directory that goes away with its owner.
struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    fn create(parent: &Path) -> io::Result<Self> {
        let path = parent.join(format!("tidings-bench-{}", Uuid::new_v4().simple()));
        fs::create_dir_all(&path)?;
        // The server runs inside it, where a relative path would mean something else.
        fs::canonicalize(path).map(Self)
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        // Somebody may have removed it, or it is on a disk that is gone: there is nobody to tell.
        fs::remove_dir_all(&self.0).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deliveries_of_all_channels_are_added() {
        let exposition = "# TYPE notifications_delivered_total counter\nnotifications_delivered_total{type=\"in-app\"} 40\n\
                          notifications_delivered_total{type=\"email\"} 2\nnotifications_failed_total{type=\"email\"} 7\n";
        assert_eq!(delivered_total(exposition), 42);
        assert_eq!(delivered_total(""), 0);
    }

    #[test]
    fn a_temporary_folder_goes_with_its_owner() {
        let parent = tempfile::tempdir().unwrap();
        let folder = TemporaryFolder::create(parent.path()).unwrap();
        let path = folder.0.clone();
        fs::write(path.join("file"), "x").unwrap();
        drop(folder);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn an_address_without_http_is_refused() {
        let url: Url = "https://tidings.example".parse().unwrap();
        assert!(Target::existing(&url, String::new()).await.is_err());
    }
}
