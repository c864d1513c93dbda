//! A server of our own: a process on a store of its own, which can be killed and started again. Dropped, both are gone.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tidings_api::token::{Claims, Keys, SCOPE_ADMIN};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::time::Instant;
use uuid::Uuid;

use crate::bench::client::Request;
use crate::bench::target::ask;
use crate::config;

/// How long it may take to be ready. A store of millions of rows that was killed may have to be looked through.
const START_WITHIN: Duration = Duration::from_mins(2);
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// Variables with which `serve` would refuse to start.
const OTHER_ENGINES: [&str; 3] = ["DATABASE_URL", "RABBITMQ_URL", "REDIS_URL"];
/// What the measurement decides about the server, and nobody else.
const NOT_TO_BE_SET: [&str; 3] = ["data", "server.port", "server.bind"];
const COMPLAINTS: &str = "stderr.log";

/// What is different from a server without any configuration.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    /// Environment variables that the measurement needs.
    pub(crate) env: Vec<(&'static str, String)>,
    /// What the person asked for with `--set`.
    pub(crate) flags: Vec<(String, String)>,
}

/// A process of our own on a store of its own.
pub(crate) struct OwnServer {
    process: Child,
    folder: TemporaryFolder,
    secret: String,
    address: SocketAddr,
    settings: Settings,
}

impl OwnServer {
    /// Starts it in a new directory in `parent` on a free port, and waits until it is ready.
    pub(crate) async fn start(parent: Option<&Path>, settings: Settings) -> anyhow::Result<Self> {
        let parent = parent.map_or_else(std::env::temp_dir, Path::to_path_buf);
        let folder = TemporaryFolder::create(&parent)
            .with_context(|| format!("no directory can be made in {}", parent.display()))?;
        let secret = config::random()?;
        let address = free_address().await.context("there is no free port")?;
        let process = spawn(&folder.0, &secret, address.port(), &settings)?;
        let mut server = Self { process, folder, secret, address, settings };
        server.wait_until_ready().await?;
        Ok(server)
    }

    /// Where it listens, also after a restart.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process; `None` once it has ended.
    pub(crate) fn id(&self) -> Option<u32> {
        self.process.id()
    }

    /// The directory in which its store is.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder.0
    }

    /// A token of an administrator.
    pub(crate) fn token(&self, user: Uuid) -> anyhow::Result<String> {
        let claims = Claims {
            user_id: Some(user),
            username: Some("bench".to_owned()),
            scope: Some(SCOPE_ADMIN.to_owned()),
            ..Claims::default()
        };
        Ok(Keys::new(self.secret.as_bytes(), false).issue(&claims)?)
    }

    /// Kills it with SIGKILL and waits until it is gone.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill().await.context("the server cannot be killed")
    }

    /// Starts it again on the same store and waits until it is ready; gives the time from start to ready.
    pub(crate) async fn start_again(&mut self) -> anyhow::Result<Duration> {
        let started = Instant::now();
        self.process = spawn(&self.folder.0, &self.secret, self.address.port(), &self.settings)?;
        self.wait_until_ready().await?;
        Ok(started.elapsed())
    }

    async fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let host = self.address.to_string();
        let request =
            Request { method: "GET", path: "/ready", host: &host, token: None, header: None, body: "" }.to_bytes();
        let until = Instant::now() + START_WITHIN;
        loop {
            if ask(self.address, &request).await.is_ok_and(|reply| reply.status == 200) {
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
fn spawn(folder: &Path, secret: &str, port: u16, settings: &Settings) -> anyhow::Result<Child> {
    let program = std::env::current_exe().context("this program cannot be found")?;
    let complaints =
        fs::File::create(folder.join(COMPLAINTS)).context("the directory of the server cannot be written")?;
    let mut command = Command::new(program);
    for variable in OTHER_ENGINES {
        command.env_remove(variable);
    }
    command.arg("serve");
    for (path, value) in settings.flags.iter().filter(|(path, _)| !NOT_TO_BE_SET.contains(&path.as_str())) {
        command.arg("--set").arg(format!("{path}={value}"));
    }
    command
        .current_dir(folder)
        .env("TIDINGS_DATA", folder.join("data"))
        .env("TIDINGS_BIND", Ipv4Addr::LOCALHOST.to_string())
        .env("API_PORT", port.to_string())
        .env("JWT_SECRET", secret)
        .env("JWT_COMPAT", "seed")
        .envs(settings.env.iter().map(|(name, value)| (*name, value)))
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
    fn a_temporary_folder_goes_with_its_owner() {
        let parent = tempfile::tempdir().unwrap();
        let folder = TemporaryFolder::create(parent.path()).unwrap();
        let path = folder.0.clone();
        fs::write(path.join("file"), "x").unwrap();
        drop(folder);
        assert!(!path.exists());
    }
}
