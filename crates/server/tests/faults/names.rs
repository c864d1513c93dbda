//! Names that do not resolve, or resolve to where nobody should be sent: F29.
//!
//! The program asks the resolver of the system, which reads `/etc/resolv.conf` and knows no other port than 53. So each
//! story gives it a file of its own, in a mount namespace of its own, with a name server on an address of its own in
//! 127.0.0.0/8 that passes every question on to the scripted one. All of that needs root, and none of it is seen outside.

use std::iter::repeat_n;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use tidings_api::token::{Claims, Keys};
use tidings_testkit::catcher::{HttpAnswer, HttpCatcher};
use tidings_testkit::faults::dns::{Dns, DnsAnswer};
use tidings_testkit::faults::verdict::Verdict;
use tokio::net::UdpSocket;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::{interval, timeout};

use crate::program::{USER, http};
use crate::verbs::{Door, Lags, PATIENCE, catcher};

const SECRET: &str = "a secret of the stories about names, long enough";

/// Runs a program with its own idea of how names are resolved: `$1` is the folder with the files, the rest the command.
const UNDER_OWN_NAMES: &str = "set -e; from=$1; shift
for file in resolv.conf nsswitch.conf; do
    if [ -e /etc/$file ]; then mount --bind \"$from/$file\" /etc/$file; fi
done
exec \"$@\"";

/// Stories run side by side, also in several processes; each takes addresses of its own.
fn own_address(role: u8) -> Ipv4Addr {
    static TAKEN: AtomicU8 = AtomicU8::new(0);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let number = TAKEN.fetch_add(1, Ordering::Relaxed) % 8;
    Ipv4Addr::new(127, 64 + 16 * (role % 4) + number, high, low.max(1))
}

/// Passes questions on from port 53 of an address, where the resolver of the system asks, to the scripted authority.
struct Relay {
    address: Ipv4Addr,
    task: JoinHandle<()>,
}

impl Relay {
    async fn start(authority: SocketAddr) -> Self {
        let address = own_address(0);
        let socket = UdpSocket::bind((address, 53)).await.expect("port 53 is for root: run the tests as root");
        let socket = Arc::new(socket);
        let task = tokio::spawn(async move {
            let mut question = [0; 1500];
            while let Ok((length, asker)) = socket.recv_from(&mut question).await {
                tokio::spawn(pass_on(Arc::clone(&socket), question[..length].to_vec(), asker, authority));
            }
        });
        Self { address, task }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass_on(socket: Arc<UdpSocket>, question: Vec<u8>, asker: SocketAddr, authority: SocketAddr) {
    let asking = async {
        let upstream = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        upstream.send_to(&question, authority).await?;
        let mut answer = [0; 4096];
        let (length, _) = upstream.recv_from(&mut answer).await?;
        socket.send_to(&answer[..length], asker).await
    };
    // A question that is not answered is a fault that the story asked for; a lost one is asked again.
    drop(timeout(Duration::from_secs(20), asking).await);
}

/// The program among scripted names.
struct Scene {
    // Dropped in this order.
    _child: Child,
    door: Door,
    dns: Dns,
    _relay: Relay,
    _dir: TempDir,
}

impl Scene {
    async fn set(settings: &[(&str, &str)]) -> Self {
        let dns = Dns::start().await.unwrap();
        let relay = Relay::start(dns.addr()).await;
        let dir = tempfile::tempdir().unwrap();
        let resolver = format!("nameserver {}\noptions timeout:5 attempts:2\n", relay.address);
        std::fs::write(dir.path().join("resolv.conf"), resolver).unwrap();
        std::fs::write(dir.path().join("nsswitch.conf"), "passwd: files\ngroup: files\nhosts: files dns\n").unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = command(dir.path(), port, settings).spawn().expect("unshare, from util-linux");
        let door = Door::new(&format!("http://127.0.0.1:{port}"), token(), http());
        ready(&door, dir.path()).await;
        let user = json!({"id": USER, "username": "testuser", "email": "test@example.com"});
        assert_eq!(door.post("/api/users", &user).await.status, 201);
        Self { _child: child, door, dns, _relay: relay, _dir: dir }
    }
}

fn command(dir: &Path, port: u16, settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--propagation", "private", "sh", "-c", UNDER_OWN_NAMES, "sh"])
        .arg(dir)
        .arg(env!("CARGO_BIN_EXE_tidings"))
        .args(["serve", "--port", &port.to_string(), "--data"])
        .arg(dir.join("data"))
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("JWT_SECRET", SECRET)
        .env("MIN_FREE_DISK", "0 B")
        .env("LOG_LEVEL", "warn")
        .envs(settings.iter().copied())
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(dir.join("stderr")).unwrap())
        .kill_on_drop(true);
    command
}

async fn ready(door: &Door, dir: &Path) {
    let waiting = async {
        let mut ticks = interval(Duration::from_millis(20));
        loop {
            ticks.tick().await;
            if door.try_call(reqwest::Method::GET, "/ready", None).await.is_ok_and(|answer| answer.status == 200) {
                return;
            }
        }
    };
    let said = || std::fs::read_to_string(dir.join("stderr")).unwrap_or_default();
    assert!(timeout(PATIENCE, waiting).await.is_ok(), "it did not become ready: {}", said());
}

fn token() -> String {
    let claims = Claims {
        user_id: Some(USER.parse().unwrap()),
        username: Some("testuser".to_owned()),
        scope: Some("admin".to_owned()),
        exp: Some(4_000_000_000),
        ..Claims::default()
    };
    Keys::new(SECRET.as_bytes(), true).issue(&claims).unwrap()
}

fn loopback() -> Vec<IpAddr> {
    vec![IpAddr::V4(Ipv4Addr::LOCALHOST)]
}

/// What happens to a name, for as long as it happens.
fn faults() -> [(&'static str, DnsAnswer); 4] {
    [
        ("nxdomain.tidings.test", DnsAnswer::NxDomain),
        ("servfail.tidings.test", DnsAnswer::ServFail),
        ("silence.tidings.test", DnsAnswer::Silence),
        ("slow.tidings.test", DnsAnswer::Slow(Duration::from_secs(10), loopback())),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_do_not_resolve_are_tried_again_and_hold_up_nobody() {
    const EACH: usize = 2;
    let settings = [
        ("OUTBOUND_ALLOW", "127.0.0.0/8"),
        ("WORKER_CONCURRENCY", "20"),
        // Slow enough that no breaker opens while the names are out of order.
        ("RETRY_SCHEDULE", "4s"),
        ("MAX_RETRIES", "100"),
    ];
    let scene = Scene::set(&settings).await;
    let (door, dns) = (&scene.door, &scene.dns);
    let (by_address, by_name) = (catcher().await, catcher().await);
    let address = [by_address.url("/hook")];
    let (count, every) = (200, Duration::from_millis(20));
    door.pace(&address, count, every).await;
    let calm = by_address.wait_for(count, PATIENCE).await.unwrap();
    by_address.clear();

    let port = by_name.addr().port();
    let mut waiting = Vec::new();
    for (name, answer) in faults() {
        dns.answer(name, answer);
        waiting.extend(door.submit_many(&format!("http://{name}:{port}/hook"), EACH).await);
    }
    door.pace(&address, count, every).await;
    let beside = by_address.wait_for(count, PATIENCE).await.unwrap();
    for (name, _) in faults() {
        assert!(dns.asked(name) > 0, "nobody asked for {name}");
    }
    // The silent and the slow one are given up after five seconds: then every fault has been met.
    for id in &waiting {
        let record =
            door.until(id, |record| record["deliveryStatus"] == "retrying" || record["attempts"][1].is_object()).await;
        assert_eq!(record["status"], "pending", "{record:#}");
        assert_eq!(record["attempts"][0]["outcome"], "failed", "{record:#}");
        let said = record["attempts"][0]["message"].as_str().unwrap_or_default();
        assert!(!said.contains("127."), "the reason tells an address: {said}");
    }
    assert!(by_name.requests().is_empty());

    for (name, _) in faults() {
        dns.answer(name, DnsAnswer::Addresses(loopback()));
    }
    by_name.wait_for(4 * EACH, Duration::from_mins(1)).await.unwrap();
    for caught in [&calm, &beside, &by_name.requests()] {
        door.heard(caught);
    }
    let totals = door.settle(PATIENCE).await;
    let (calm, beside) = (Lags::of(&calm), Lags::of(&beside));
    Verdict::of("F29", "names that do not resolve", "NXDOMAIN, SERVFAIL, silence and 10 s, then the address")
        .totals(&totals)
        .measured("p99 of the others, calm", format!("{:?}", calm.p99()))
        .measured("p99 of the others, beside", format!("{:?}", beside.p99()))
        .publish();
    totals.assert_clean();
    totals.assert_all_heard();
    assert!(beside.p99() <= calm.p99() * 2 + Duration::from_millis(500), "{:?} {:?}", beside.p99(), calm.p99());
}

/// A receiver that only counts who connects, which nobody should.
struct Canary {
    hit: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Canary {
    async fn watch(address: SocketAddr) -> Self {
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let hit = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&hit);
        let task = tokio::spawn(async move {
            if listener.accept().await.is_ok() {
                flag.store(true, Ordering::Relaxed);
            }
        });
        Self { hit, task }
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A port that the public web uses, so that public addresses would pass. The addresses are our own, and so is the port.
const USUAL_PORT: u16 = 8080;

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_changes_its_mind_gains_nothing() {
    let (friend, foe) = (own_address(1), own_address(2));
    let receiver = HttpCatcher::start(SocketAddr::from((friend, USUAL_PORT))).await.unwrap();
    let canary = Canary::watch(SocketAddr::from((foe, USUAL_PORT))).await;
    // With a length of its own the answer ends the connection, so the next attempt has to look the name up again.
    let refused = HttpAnswer::status(503).with_header("content-length", "0");
    receiver.script([refused]);
    let allowed = format!("{friend}/32");
    let scene = Scene::set(&[("OUTBOUND_ALLOW", &allowed), ("RETRY_SCHEDULE", "100ms")]).await;
    let (door, dns) = (&scene.door, &scene.dns);

    dns.answer("rebinds.tidings.test", DnsAnswer::InTurn(vec![vec![friend.into()], vec![foe.into()]]));
    let turning = format!("http://rebinds.tidings.test:{USUAL_PORT}/hook");
    let mut refusals = 0;
    for _ in 0..6 {
        let id = door.submit("webhook", json!({"url": turning})).await;
        let record = door.ended(&id).await;
        let attempts = record["attempts"].as_array().unwrap();
        for attempt in attempts.iter().filter(|attempt| attempt["outcome"] == "rejected") {
            assert_eq!(attempt["message"], "destination not allowed", "{record:#}");
            refusals += 1;
        }
    }
    let bad: [(&str, Vec<IpAddr>); 6] = [
        ("mixed.tidings.test", vec![friend.into(), foe.into()]),
        ("mixed6.tidings.test", vec![friend.into(), IpAddr::V6(Ipv6Addr::LOCALHOST)]),
        ("mapped.tidings.test", vec![IpAddr::V6(foe.to_ipv6_mapped())]),
        ("zero.tidings.test", vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED)]),
        ("metadata.tidings.test", vec![IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254))]),
        ("many.tidings.test", repeat_n(IpAddr::V4(friend), 20).chain([IpAddr::V4(foe)]).collect()),
    ];
    for (name, addresses) in bad {
        dns.answer(name, DnsAnswer::Addresses(addresses));
        let before = receiver.requests().len();
        let id = door.submit("webhook", json!({"url": format!("http://{name}:{USUAL_PORT}/hook")})).await;
        let record = door.ended(&id).await;
        assert_eq!(record["deliveryStatus"], "dead", "{name}: {record:#}");
        assert_eq!(record["attempts"][0]["message"], "destination not allowed", "{name}: {record:#}");
        assert_eq!(record["attempts"].as_array().unwrap().len(), 1, "{name}: {record:#}");
        assert_eq!(receiver.requests().len(), before, "{name}: one bad address spoils all");
    }
    door.heard(&receiver.requests());
    let totals = door.settle(PATIENCE).await;
    Verdict::of("F29", "names that lead elsewhere", "rebinding between two look-ups, one bad address among good ones")
        .totals(&totals)
        .measured("connections to the canary", u8::from(canary.hit.load(Ordering::Relaxed)))
        .measured("look-ups of the turning name", dns.asked("rebinds.tidings.test"))
        .publish();
    totals.assert_clean();
    assert!(refusals > 0, "the name never turned");
    assert!(!receiver.requests().is_empty(), "the allowed address was never reached");
    assert!(!canary.hit.load(Ordering::Relaxed), "somebody was sent where nobody may be sent");
}
