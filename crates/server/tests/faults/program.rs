//! The program as a process of its own, to be killed, stopped and measured.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tidings_api::token::{Claims, Keys};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout};

/// The user that the stories are about.
pub(crate) const USER: &str = "9fc81fdd-fc9c-49e3-9df1-a36df7e1ec5a";
/// What tokens are signed with.
const SECRET: &str = "a third secret of more than thirty-two bytes";
/// How long a start or an orderly end may take before a test gives up on it.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long one look at a program that starts may take.
const GLANCE: Duration = Duration::from_secs(1);
/// How often another port is tried when somebody else was quicker.
const PORTS: usize = 5;
/// What the program says when somebody else has its port.
const PORT_IS_TAKEN: &str = "another program uses the port";

/// A running program; killed when dropped.
pub(crate) struct Program {
    child: Child,
    pid: u32,
    port: u16,
    url: String,
    said: PathBuf,
    started: Instant,
    ready_after: Duration,
}

/// How a program is to be started.
pub(crate) struct Builder {
    data: PathBuf,
    environment: Vec<(String, String)>,
    arguments: Vec<String>,
    files: Option<u64>,
    stdout: Stdio,
}

impl Program {
    /// A program on this data directory, with the settings that all stories share.
    pub(crate) fn at(data: &Path) -> Builder {
        let settings = [
            ("JWT_SECRET", SECRET),
            ("OUTBOUND_ALLOW", "127.0.0.0/8"),
            ("MIN_FREE_DISK", "0 B"),
            ("LOG_LEVEL", "warn"),
        ];
        Builder {
            data: data.to_owned(),
            environment: settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            arguments: Vec::new(),
            files: None,
            stdout: Stdio::null(),
        }
    }

    /// Kills it at once and waits until it is gone.
    pub(crate) async fn kill(&mut self) {
        // It may have ended by itself.
        self.child.kill().await.ok();
    }

    /// Stops its clocks: it does nothing until it is resumed.
    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
    }

    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Asks it to end, and waits until it has.
    pub(crate) async fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        let status = self.wait(PATIENCE).await;
        status.unwrap_or_else(|| panic!("it did not end when asked to:\n{}", self.stderr()))
    }

    /// Waits until it ends by itself; `None` when it has not in time.
    pub(crate) async fn wait(&mut self, within: Duration) -> Option<ExitStatus> {
        timeout(within, self.child.wait()).await.ok().map(|status| status.expect("a child can be waited for"))
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// From its start to the first 200 of `/ready`.
    pub(crate) fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// The memory that it has in use.
    pub(crate) fn rss_bytes(&self) -> u64 {
        self.status("VmRSS:") * 1024
    }

    pub(crate) fn threads(&self) -> usize {
        usize::try_from(self.status("Threads:")).expect("a number of threads")
    }

    /// How many file handles it has open.
    pub(crate) fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid)).expect("a running process").count()
    }

    /// All that it has said so far.
    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.said).expect("the file of its words")).into_owned()
    }

    /// The sum of a metric over all its series; 0 when there is none.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let request = http().get(format!("{}/metrics", self.url)).bearer_auth(admin_token());
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), 200);
        let text = answer.text().await.expect("a text");
        text.lines().filter_map(|line| sample(line, name)).sum()
    }

    /// The status and the body of `/health`.
    pub(crate) async fn health(&self) -> (u16, Value) {
        let answer = http().get(format!("{}/health", self.url)).send().await.expect("an answer");
        (answer.status().as_u16(), answer.json().await.expect("a body"))
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid).expect("a pid")).expect("a pid");
        kill_process(pid, signal).expect("a running process");
    }

    fn status(&self, field: &str) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid)).expect("a running process");
        let value = text.lines().find_map(|line| line.strip_prefix(field));
        let number = value.and_then(|value| value.split_whitespace().next()).expect("the field of a running process");
        number.parse().expect("a number")
    }

    async fn become_ready(&mut self) -> Result<(), String> {
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        while self.started.elapsed() < PATIENCE {
            ticks.tick().await;
            if let Some(status) = self.child.try_wait().expect("a child can be asked") {
                return Err(format!("it ended with {status}"));
            }
            if timeout(GLANCE, says_ready(self.port)).await.unwrap_or(false) {
                self.ready_after = self.started.elapsed();
                return Ok(());
            }
        }
        Err("it did not become ready".to_owned())
    }
}

impl Builder {
    /// With a setting.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a further argument of `serve`.
    pub(crate) fn arg(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// With so many file handles and no more.
    pub(crate) fn open_files_limit(self, files: u64) -> Self {
        Self { files: Some(files), ..self }
    }

    /// With its standard output to somewhere else than nowhere.
    pub(crate) fn stdout(self, to: Stdio) -> Self {
        Self { stdout: to, ..self }
    }

    /// Starts it and waits until it is ready.
    pub(crate) async fn start(mut self) -> Program {
        for _ in 0..PORTS {
            let mut program = self.launch().await;
            let Err(complaint) = program.become_ready().await else { return program };
            let said = program.stderr();
            assert!(said.contains(PORT_IS_TAKEN), "{complaint}:\n{said}");
        }
        panic!("no port was free");
    }

    /// Starts it and does not wait: for starts that are to fail.
    pub(crate) async fn spawn(mut self) -> Program {
        self.launch().await
    }

    async fn launch(&mut self) -> Program {
        let parent = self.data.parent().expect("a data directory inside another one").to_owned();
        tokio::fs::create_dir_all(&parent).await.expect("a directory");
        let port = free_port();
        let name = self.data.file_name().expect("a name").to_string_lossy().into_owned();
        let said = parent.join(format!("{name}.{port}.stderr"));
        let stderr = File::create(&said).expect("a file");
        let mut command = self.command();
        command
            .args(["serve", "--port", &port.to_string(), "--data"])
            .arg(&self.data)
            .args(&self.arguments)
            .env_clear()
            .current_dir(parent)
            .stdin(Stdio::null())
            .stdout(std::mem::replace(&mut self.stdout, Stdio::null()))
            .stderr(stderr)
            .kill_on_drop(true);
        for (name, value) in &self.environment {
            command.env(name, value);
        }
        let started = Instant::now();
        let child = command.spawn().expect("the program starts");
        let pid = child.id().expect("a process");
        let url = format!("http://127.0.0.1:{port}");
        Program { child, pid, port, url, said, started, ready_after: Duration::ZERO }
    }

    /// Limits are set by a shell that becomes the program.
    fn command(&self) -> Command {
        let binary = env!("CARGO_BIN_EXE_tidings");
        let Some(files) = self.files else { return Command::new(binary) };
        let mut shell = Command::new("/bin/sh");
        shell.arg("-c").arg(format!("ulimit -n {files} && exec \"$0\" \"$@\"")).arg(binary);
        shell
    }
}

/// A token of the user that may do everything.
pub(crate) fn admin_token() -> String {
    tidings::crypto::install();
    let claims = Claims {
        user_id: Some(USER.parse().expect("an id")),
        username: Some("testuser".to_owned()),
        tenant: None,
        scope: Some("admin".to_owned()),
        iat: Some(1_700_000_000),
        exp: Some(4_000_000_000),
    };
    Keys::new(SECRET.as_bytes(), true).issue(&claims).expect("a token")
}

/// A client that gives up after 10 s and follows no redirects.
pub(crate) fn http() -> reqwest::Client {
    tidings::crypto::install();
    reqwest::Client::builder()
        .timeout(Duration::from_secs(10))
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .expect("a client")
}

/// Creates [`USER`].
pub(crate) async fn create_user(program: &Program) {
    let body = json!({"id": USER, "username": "testuser", "email": "test@example.com"});
    let request = http().post(format!("{}/api/users", program.url())).bearer_auth(admin_token()).json(&body);
    let answer = request.send().await.expect("an answer");
    assert_eq!(answer.status(), 201);
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("an address").port()
}

/// Asks without a library, so that the time to an answer is that of the program.
async fn says_ready(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else { return false };
    let request = b"GET /ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let mut answer = Vec::new();
    stream.write_all(request).await.is_ok()
        && stream.read_to_end(&mut answer).await.is_ok()
        && answer.starts_with(b"HTTP/1.1 200 ")
}

/// The value in a line of `/metrics`, if it is one of this metric: `name{labels} value` or `name value`.
fn sample(line: &str, name: &str) -> Option<f64> {
    let rest = line.strip_prefix(name)?;
    let value = match rest.strip_prefix('{') {
        Some(labels) => labels.rsplit_once("} ")?.1,
        None => rest.strip_prefix(' ')?,
    };
    value.split_whitespace().next()?.parse().ok()
}
