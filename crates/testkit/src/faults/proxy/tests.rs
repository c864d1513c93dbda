use std::io::ErrorKind;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use super::*;

/// How long something may take that has to happen.
const SOON: Duration = Duration::from_secs(10);
/// How long nothing has to happen.
const A_WHILE: Duration = Duration::from_millis(100);

/// Says back what it hears, and a proxy before it.
struct Scene {
    proxy: Proxy,
    _echo: Running,
}

impl Scene {
    async fn begin() -> Self {
        let (listener, addr) = listen().await.unwrap();
        let echo = serve(listener, |mut stream| async move {
            let (mut from, mut to) = stream.split();
            tokio::io::copy(&mut from, &mut to).await?;
            to.shutdown().await
        });
        Self { proxy: Proxy::start(addr).await.unwrap(), _echo: echo }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.proxy.addr()).await.unwrap()
    }
}

/// Says something and waits for the echo.
async fn exchange(stream: &mut TcpStream, said: &[u8]) -> io::Result<Vec<u8>> {
    stream.write_all(said).await?;
    let mut heard = vec![0; said.len()];
    timeout(SOON, stream.read_exact(&mut heard)).await.expect("an echo or an end")?;
    Ok(heard)
}

async fn is_silent(stream: &mut TcpStream) -> bool {
    timeout(A_WHILE, stream.read(&mut [0; 1])).await.is_err()
}

#[tokio::test]
async fn in_fair_weather_everything_passes_the_end_included() {
    let scene = Scene::begin().await;
    let mut stream = scene.connect().await;
    assert_eq!(exchange(&mut stream, b"hello").await.unwrap(), b"hello");
    assert_eq!(scene.proxy.connections(), 1);
    stream.write_all(b"the end").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    timeout(SOON, stream.read_to_end(&mut rest)).await.unwrap().unwrap();
    assert_eq!(rest, b"the end");
}

#[tokio::test]
async fn connections_are_refused_and_open_ones_reset() {
    let scene = Scene::begin().await;
    let mut open = scene.connect().await;
    exchange(&mut open, b"hello").await.unwrap();
    scene.proxy.set(Fault::Refuse);
    let reset = timeout(SOON, open.read(&mut [0; 1])).await.unwrap().unwrap_err();
    assert_eq!(reset.kind(), ErrorKind::ConnectionReset);
    let mut late = scene.connect().await;
    assert!(exchange(&mut late, b"hello").await.is_err());
    scene.proxy.set(Fault::None);
    let mut healed = scene.connect().await;
    assert!(exchange(&mut healed, b"hello").await.is_ok());
}

#[tokio::test]
async fn a_black_hole_swallows_until_it_heals() {
    let scene = Scene::begin().await;
    let mut open = scene.connect().await;
    exchange(&mut open, b"hello").await.unwrap();
    scene.proxy.set(Fault::BlackHole);
    let mut late = scene.connect().await;
    for stream in [&mut open, &mut late] {
        stream.write_all(b"is anybody there").await.unwrap();
        assert!(is_silent(stream).await);
    }
    scene.proxy.set(Fault::None);
    for stream in [&mut open, &mut late] {
        let mut heard = [0; 16];
        timeout(SOON, stream.read_exact(&mut heard)).await.unwrap().unwrap();
        assert_eq!(&heard, b"is anybody there");
    }
}

#[tokio::test]
async fn one_way_means_that_answers_do_not_return() {
    let scene = Scene::begin().await;
    let mut stream = scene.connect().await;
    exchange(&mut stream, b"hello").await.unwrap();
    for open in [Direction::Up, Direction::Down] {
        scene.proxy.set(Fault::OneWay(open));
        stream.write_all(b"x").await.unwrap();
        assert!(is_silent(&mut stream).await, "{open:?}");
        scene.proxy.set(Fault::None);
        timeout(SOON, stream.read_exact(&mut [0; 1])).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_delay_is_at_least_what_it_says() {
    let scene = Scene::begin().await;
    let mut stream = scene.connect().await;
    scene.proxy.set(Fault::Delay { by: Duration::from_millis(60), jitter: Duration::from_millis(10) });
    let start = Instant::now();
    exchange(&mut stream, b"hello").await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(100), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_throttle_lets_drops_through() {
    let scene = Scene::begin().await;
    let mut stream = scene.connect().await;
    scene.proxy.set(Fault::Throttle { bytes_per_second: 20_000 });
    let start = Instant::now();
    assert_eq!(exchange(&mut stream, &[7; 4_000]).await.unwrap(), [7; 4_000]);
    assert!(start.elapsed() >= Duration::from_millis(200), "{:?}", start.elapsed());
    scene.proxy.set(Fault::Throttle { bytes_per_second: 0 });
    stream.write_all(&[7; 4_000]).await.unwrap();
    assert!(is_silent(&mut stream).await);
    scene.proxy.set(Fault::None);
    timeout(SOON, stream.read_exact(&mut [0; 4_000])).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_connection_is_cut_in_the_middle_of_a_message() {
    let scene = Scene::begin().await;
    scene.proxy.set(Fault::CutAfter { bytes: 10 });
    let mut stream = scene.connect().await;
    exchange(&mut stream, b"four").await.unwrap();
    let cut = exchange(&mut stream, b"four").await.unwrap_err();
    assert!(matches!(cut.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{cut}");
}

#[tokio::test]
async fn bits_flip() {
    let scene = Scene::begin().await;
    let mut stream = scene.connect().await;
    scene.proxy.set(Fault::Corrupt { one_in: 100 });
    let heard = exchange(&mut stream, &[0; 10_000]).await.unwrap();
    let flipped = heard.iter().filter(|byte| **byte != 0).count();
    assert!((50..1_000).contains(&flipped), "{flipped}");
}

#[tokio::test]
async fn all_connections_are_cut_at_once_and_new_ones_live() {
    let scene = Scene::begin().await;
    let (mut first, mut second) = (scene.connect().await, scene.connect().await);
    for stream in [&mut first, &mut second] {
        exchange(stream, b"hello").await.unwrap();
    }
    assert_eq!(scene.proxy.connections(), 2);
    scene.proxy.cut_all();
    for stream in [&mut first, &mut second] {
        let cut = timeout(SOON, stream.read(&mut [0; 1])).await.unwrap().unwrap_err();
        assert_eq!(cut.kind(), ErrorKind::ConnectionReset);
    }
    let mut third = scene.connect().await;
    exchange(&mut third, b"hello").await.unwrap();
    assert_eq!(scene.proxy.connections(), 1);
}
