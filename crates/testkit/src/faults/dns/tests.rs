use tokio::time::{Instant, timeout};

use super::wire::{A, AAAA};
use super::*;

const SOON: Duration = Duration::from_secs(10);
const A_WHILE: Duration = Duration::from_millis(100);

/// A question as resolvers send it, with an option at its end that is to be ignored.
fn question(name: &str, kind: u16) -> Vec<u8> {
    let mut message = vec![0x12, 0x34, 0x01, 0x20, 0, 1, 0, 0, 0, 0, 0, 1];
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).unwrap());
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend(kind.to_be_bytes());
    message.extend([0, 1]);
    message.extend([0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0]);
    message
}

/// Code, truncation and the bytes of the addresses of an answer.
fn read(answer: &[u8], name: &str) -> (u8, bool, Vec<Vec<u8>>) {
    assert_eq!(answer[..2], [0x12, 0x34], "the id is repeated");
    assert_eq!(answer[2] & 0x85, 0x85, "a response, with authority, recursion desired");
    let count = u16::from_be_bytes([answer[6], answer[7]]);
    let mut at = 12 + name.len() + 2 + 4;
    let mut addresses = Vec::new();
    for _ in 0..count {
        assert_eq!(answer[at..at + 2], [0xc0, 12]);
        assert_eq!(answer[at + 6..at + 10], [0; 4], "it is not to be kept");
        let length = usize::from(u16::from_be_bytes([answer[at + 10], answer[at + 11]]));
        addresses.push(answer[at + 12..at + 12 + length].to_vec());
        at += 12 + length;
    }
    assert_eq!(at, answer.len());
    (answer[3] & 0x0f, answer[2] & 0x02 != 0, addresses)
}

struct Resolver {
    dns: Dns,
    socket: UdpSocket,
}

impl Resolver {
    async fn begin() -> Self {
        let dns = Dns::start().await.unwrap();
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        socket.connect(dns.addr()).await.unwrap();
        Self { dns, socket }
    }

    async fn ask(&self, name: &str, kind: u16) -> (u8, bool, Vec<Vec<u8>>) {
        self.socket.send(&question(name, kind)).await.unwrap();
        let mut answer = [0; 2048];
        let length = timeout(SOON, self.socket.recv(&mut answer)).await.expect("an answer").unwrap();
        read(&answer[..length], name)
    }
}

fn v4(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

#[tokio::test]
async fn addresses_are_given_by_kind_whatever_the_case_of_the_name() {
    let resolver = Resolver::begin().await;
    let v6 = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]);
    resolver.dns.answer("Hook.Example.", DnsAnswer::Addresses(vec![v4(1), v6, v4(2)]));
    let (code, truncated, addresses) = resolver.ask("hook.example", A).await;
    assert_eq!((code, truncated, addresses), (0, false, vec![vec![192, 0, 2, 1], vec![192, 0, 2, 2]]));
    let (_, _, addresses) = resolver.ask("HOOK.example", AAAA).await;
    assert_eq!(addresses, [[0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]]);
    assert_eq!(resolver.ask("hook.example", 15).await, (0, false, vec![]), "no mail exchange");
    assert_eq!(resolver.dns.asked("hook.EXAMPLE"), 3);
}

#[tokio::test]
async fn names_do_not_exist_or_fail() {
    let resolver = Resolver::begin().await;
    resolver.dns.answer("gone.example", DnsAnswer::NxDomain);
    resolver.dns.answer("broken.example", DnsAnswer::ServFail);
    assert_eq!(resolver.ask("gone.example", A).await.0, 3);
    assert_eq!(resolver.ask("never-heard-of.example", A).await.0, 3);
    assert_eq!(resolver.ask("broken.example", A).await.0, 2);
}

#[tokio::test]
async fn answers_take_turns() {
    let resolver = Resolver::begin().await;
    resolver.dns.answer("rebind.example", DnsAnswer::InTurn(vec![vec![v4(1)], vec![v4(2)]]));
    for last in [1, 2, 1] {
        assert_eq!(resolver.ask("rebind.example", A).await.2, [[192, 0, 2, last]]);
        assert_eq!(resolver.ask("rebind.example", AAAA).await.2.len(), 0);
    }
    resolver.dns.answer("rebind.example", DnsAnswer::InTurn(vec![]));
    assert_eq!(resolver.ask("rebind.example", A).await.2.len(), 0);
}

#[tokio::test]
async fn silence_is_silence_and_slow_is_slow() {
    let resolver = Resolver::begin().await;
    resolver.dns.answer("silent.example", DnsAnswer::Silence);
    resolver.socket.send(&question("silent.example", A)).await.unwrap();
    resolver.socket.send(b"no question at all").await.unwrap();
    assert!(timeout(A_WHILE, resolver.socket.recv(&mut [0; 512])).await.is_err());
    assert_eq!(resolver.dns.asked("silent.example"), 1);

    resolver.dns.answer("slow.example", DnsAnswer::Slow(A_WHILE, vec![v4(1)]));
    let start = Instant::now();
    assert_eq!(resolver.ask("slow.example", A).await.2.len(), 1);
    assert!(start.elapsed() >= A_WHILE);
}

#[tokio::test]
async fn what_does_not_fit_is_asked_for_again_over_tcp() {
    let resolver = Resolver::begin().await;
    let many: Vec<IpAddr> = (1..=100).map(v4).collect();
    resolver.dns.answer("many.example", DnsAnswer::Addresses(many));
    let (code, truncated, addresses) = resolver.ask("many.example", A).await;
    assert_eq!((code, truncated, addresses.len()), (0, true, 0));

    let mut stream = TcpStream::connect(resolver.dns.addr()).await.unwrap();
    for _ in 0..2 {
        let question = question("many.example", A);
        stream.write_u16(u16::try_from(question.len()).unwrap()).await.unwrap();
        stream.write_all(&question).await.unwrap();
        let mut answer = vec![0; usize::from(stream.read_u16().await.unwrap())];
        stream.read_exact(&mut answer).await.unwrap();
        let (_, truncated, addresses) = read(&answer, "many.example");
        assert_eq!((truncated, addresses.len()), (false, 100));
    }
}

#[test]
fn what_is_no_question_is_left_alone() {
    let good = question("a.example", A);
    assert!(Question::read(&good).is_some());
    for length in 0..HEADER_AND_QUESTION {
        assert_eq!(Question::read(&good[..length]), None, "{length} bytes");
    }
    let mut response = good.clone();
    response[2] |= 0x80;
    let mut two = good.clone();
    two[5] = 2;
    let mut pointer = good;
    pointer[12] = 0xc0;
    for bad in [response, two, pointer] {
        assert_eq!(Question::read(&bad), None);
    }
}

/// The length of the question for `a.example`: header, labels, kind and class.
const HEADER_AND_QUESTION: usize = 12 + 11 + 4;
