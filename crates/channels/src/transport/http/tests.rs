use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::outbound::Config;
use crate::testing::install_tls_provider;

const SHORT: Duration = Duration::from_millis(400);

fn clients(networks: &[&str], timeout: Duration) -> Clients {
    install_tls_provider();
    let allowed_networks = networks.iter().map(|network| network.parse().unwrap()).collect();
    Clients::new(
        &Arc::new(Guard::new(&Config { allowed_networks, https_only: false, divert_to: None, timeout })),
        timeout,
    )
    .unwrap()
}

/// Serves each connection by `handle`, and counts them.
async fn serve<F, Handled>(handle: F) -> (SocketAddr, Arc<AtomicUsize>)
where
    F: Fn(TcpStream) -> Handled + Send + 'static,
    Handled: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((stream, _peer)) = listener.accept().await {
            counter.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(handle(stream));
        }
    });
    (address, connections)
}

/// Reads the one request that these tests send.
async fn read_request(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    let mut buffer = [0; 1024];
    while !text.ends_with("hello") {
        let count = stream.read(&mut buffer).await.unwrap();
        assert!(count > 0, "the request ended early");
        text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
    }
    text
}

async fn answer_with(mut stream: TcpStream, answer: &'static str) {
    read_request(&mut stream).await;
    stream.write_all(answer.as_bytes()).await.unwrap();
}

fn request(url: &str, route: Route) -> HttpRequest {
    HttpRequest {
        url: url.parse().unwrap(),
        headers: reqwest::header::HeaderMap::new(),
        body: Bytes::from_static(b"hello"),
        route,
    }
}

async fn post(clients: &Clients, url: &str) -> Answer {
    clients.exchange(request(url, Route::Trusted)).await
}

fn answered(answer: Answer) -> HttpAnswer {
    match answer {
        Answer::Http(answer) => answer,
        Answer::Failed(failure) => panic!("{failure:?}"),
        Answer::Mail(_) => panic!("a mail"),
    }
}

fn failed(answer: Answer) -> Failure {
    match answer {
        Answer::Failed(failure) => failure,
        Answer::Http(answer) => panic!("{}", answer.status),
        Answer::Mail(_) => panic!("a mail"),
    }
}

#[tokio::test]
async fn an_answer_comes_back_whole() {
    let (address, _) = serve(|stream| {
        answer_with(stream, "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nslow")
    })
    .await;
    let answer = answered(post(&clients(&[], SHORT), &format!("http://{address}/")).await);
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (429, &b"slow"[..]));
    assert_eq!(answer.headers["retry-after"], "7");
}

#[tokio::test]
async fn a_refused_connection_means_that_nothing_was_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let failure = failed(post(&clients(&[], SHORT), &format!("http://{address}/")).await);
    assert_eq!(failure, Failure::NotSent("destination unreachable: no connection could be made".to_owned()));
}

#[tokio::test]
async fn an_unknown_name_means_that_nothing_was_sent() {
    // RFC 6761 reserves the name; a resolver that is not there at all fails as well.
    let failure = failed(post(&clients(&[], Duration::from_secs(20)), "http://nobody.invalid/").await);
    assert_eq!(failure, Failure::NotSent("destination unreachable: its name was not resolved".to_owned()));
}

#[tokio::test]
async fn failed_tls_means_that_nothing_was_sent() {
    let (address, _) = serve(|mut stream| async move {
        let _hello = stream.read(&mut vec![0; 4096]).await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        std::future::pending::<()>().await;
    })
    .await;
    let Failure::NotSent(reason) = failed(post(&clients(&[], SHORT), &format!("https://{address}/")).await) else {
        panic!("it was sent")
    };
    assert!(reason.starts_with("destination unreachable: TLS failed ("), "{reason}");
}

#[tokio::test]
async fn silence_after_the_request_leaves_the_outcome_open() {
    let (address, _) = serve(|mut stream| async move {
        read_request(&mut stream).await;
        std::future::pending::<()>().await;
    })
    .await;
    let failure = failed(post(&clients(&[], SHORT), &format!("http://{address}/")).await);
    assert_eq!(failure, Failure::Lost("no answer came in time".to_owned()));
}

#[tokio::test]
async fn a_cut_after_the_request_leaves_the_outcome_open() {
    let (address, _) = serve(|mut stream| async move {
        read_request(&mut stream).await;
    })
    .await;
    let failure = failed(post(&clients(&[], SHORT), &format!("http://{address}/")).await);
    assert_eq!(failure, Failure::Lost("the connection was cut before an answer came".to_owned()));
}

#[tokio::test]
async fn an_endless_answer_is_cut() {
    let (address, _) = serve(|mut stream| async move {
        read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
    })
    .await;
    let answer = answered(post(&clients(&[], Duration::from_secs(30)), &format!("http://{address}/")).await);
    assert_eq!((answer.status.as_u16(), answer.body.len()), (200, MAX_ANSWER));
}

#[tokio::test]
async fn an_answer_that_stalls_is_cut_and_keeps_its_status() {
    let (address, _) = serve(|mut stream| async move {
        read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf").await.unwrap();
        std::future::pending::<()>().await;
    })
    .await;
    let answer = answered(post(&clients(&[], SHORT), &format!("http://{address}/")).await);
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, &b"half"[..]));
}

#[tokio::test]
async fn compressed_answers_stay_compressed() {
    let (address, _) = serve(|stream| {
        answer_with(stream, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nbomb")
    })
    .await;
    let answer = answered(post(&clients(&[], SHORT), &format!("http://{address}/")).await);
    assert_eq!(&answer.body[..], b"bomb");
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let (canary, visits) = serve(|_stream| std::future::ready(())).await;
    for status in [301, 302, 303, 307, 308] {
        let (address, _) = serve(move |mut stream| async move {
            read_request(&mut stream).await;
            let answer = format!("HTTP/1.1 {status} Away\r\nLocation: http://{canary}/\r\nRefresh: 0; url=http://{canary}/\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        })
        .await;
        let answer = answered(post(&clients(&[], SHORT), &format!("http://{address}/")).await);
        assert_eq!(answer.status.as_u16(), status);
    }
    assert_eq!(visits.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_name_that_leads_inside_is_not_connected_to() {
    let (canary, visits) = serve(|_stream| std::future::ready(())).await;
    let url = format!("http://localhost:{}/", canary.port());
    for demand in [Demand::Admitted, Demand::Listed] {
        let failure = failed(clients(&[], SHORT).exchange(request(&url, Route::Vetted(demand))).await);
        assert_eq!(failure, Failure::Forbidden);
        let failure = failed(clients(&["10.0.0.0/8"], SHORT).exchange(request(&url, Route::Vetted(demand))).await);
        assert_eq!(failure, Failure::Forbidden);
    }
    assert_eq!(visits.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_name_in_a_listed_network_is_connected_to() {
    let (address, _) = serve(|stream| answer_with(stream, "HTTP/1.1 204 No Content\r\n\r\n")).await;
    let url = format!("http://localhost:{}/", address.port());
    for demand in [Demand::Admitted, Demand::Listed] {
        let answer = clients(&["127.0.0.0/8", "::1/128"], SHORT).exchange(request(&url, Route::Vetted(demand))).await;
        assert_eq!(answered(answer).status.as_u16(), 204);
    }
}
