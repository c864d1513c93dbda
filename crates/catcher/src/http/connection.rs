//! One connection: requests in, answers out.

use std::io::{self, ErrorKind};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::answer::{HttpAnswer, by_path};
use super::request::CaughtRequest;
use super::wire::{Head, read_body, read_head, write_response};
use crate::moment;
use crate::script::Script;
use crate::server::IDLE;
use crate::shelf::Shelf;

/// How often a dripping answer drips.
const TICK: Duration = Duration::from_millis(100);

/// What long bodies are made of.
static FILLER: [u8; 16 * 1024] = [b'x'; 16 * 1024];

type Stream = BufReader<TcpStream>;

/// Whether the connection goes on.
type Step = io::Result<ControlFlow<()>>;

const HANG_UP: ControlFlow<()> = ControlFlow::Break(());

pub(crate) async fn serve(
    stream: TcpStream,
    shelf: Arc<Shelf<CaughtRequest>>,
    script: Arc<Script<HttpAnswer>>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    loop {
        let Ok(arrived) = timeout(IDLE, stream.fill_buf()).await else {
            return Ok(());
        };
        if arrived?.is_empty() {
            return Ok(());
        }
        if script.take_if(|answer| *answer == HttpAnswer::CloseBeforeReading).is_some() {
            return reset(&stream);
        }
        let step = match timeout(IDLE, exchange(&mut stream, &shelf, &script)).await {
            Err(_too_slow) => return Ok(()),
            Ok(Err(error)) if error.kind() == ErrorKind::InvalidData => refuse(&mut stream, &error).await?,
            Ok(step) => step?,
        };
        if step.is_break() {
            return Ok(());
        }
    }
}

async fn exchange(stream: &mut Stream, shelf: &Shelf<CaughtRequest>, script: &Script<HttpAnswer>) -> Step {
    let head = read_head(stream).await?;
    if head.expects_go_ahead() {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    let body = read_body(stream, &head).await?;
    let prepared = script.take_if(|_| true);
    let bytes = body.len() + head.target.len() + head.headers.len() * 64;
    let request = shelf.put(bytes, |number| CaughtRequest {
        number,
        method: head.method.clone(),
        path: head.target.clone(),
        headers: head.headers.clone(),
        body,
        at: moment::now(),
    });
    let answer = prepared.unwrap_or_else(|| by_path(&request));
    give(stream, answer, &head).await
}

async fn give(stream: &mut Stream, mut answer: HttpAnswer, head: &Head) -> Step {
    while let HttpAnswer::Delayed { by, answer: later } = answer {
        sleep(by).await;
        answer = *later;
    }
    match answer {
        HttpAnswer::Status { code, headers, body } => respond(stream, code, headers, &body, head).await,
        HttpAnswer::Hang | HttpAnswer::Delayed { .. } => hang(stream).await,
        HttpAnswer::Drip { bytes_per_tick } => drip(stream, bytes_per_tick).await,
        HttpAnswer::Huge { bytes } => flood(stream, bytes).await,
        HttpAnswer::CloseAfterBody | HttpAnswer::CloseBeforeReading => {
            reset(stream)?;
            Ok(HANG_UP)
        }
    }
}

async fn respond(stream: &mut Stream, code: u16, mut headers: Vec<(String, String)>, body: &[u8], head: &Head) -> Step {
    let names_length = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let is_bodiless = matches!(code, 100..=199 | 204 | 304);
    if !names_length && !is_bodiless {
        headers.push(("content-length".to_owned(), body.len().to_string()));
    }
    // A length that the answer names by itself may be wrong, and then nothing after it can be understood.
    let keeps_alive = head.keeps_alive() && !names_length;
    if !keeps_alive {
        headers.push(("connection".to_owned(), "close".to_owned()));
    }
    let body = if is_bodiless || head.method == Method::HEAD { &[] } else { body };
    write_response(stream, code, &headers, body).await?;
    if keeps_alive {
        return Ok(ControlFlow::Continue(()));
    }
    stream.shutdown().await?;
    Ok(HANG_UP)
}

/// Listens on without a word until the client gives up.
async fn hang(stream: &mut Stream) -> Step {
    loop {
        let heard = stream.fill_buf().await?.len();
        if heard == 0 {
            return Ok(HANG_UP);
        }
        stream.consume(heard);
    }
}

async fn drip(stream: &mut Stream, bytes_per_tick: usize) -> Step {
    let size = bytes_per_tick.clamp(1, FILLER.len());
    let (drop_of, _) = FILLER.split_at(size);
    let headers = [("transfer-encoding".to_owned(), "chunked".to_owned())];
    write_response(stream, 200, &headers, &[]).await?;
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        stream.write_all(format!("{size:x}\r\n").as_bytes()).await?;
        stream.write_all(drop_of).await?;
        stream.write_all(b"\r\n").await?;
        stream.flush().await?;
    }
}

async fn flood(stream: &mut Stream, bytes: u64) -> Step {
    let headers = [("content-length".to_owned(), bytes.to_string())];
    write_response(stream, 200, &headers, &[]).await?;
    let mut left = bytes;
    while left > 0 {
        let size = usize::try_from(left).map_or(FILLER.len(), |left| left.min(FILLER.len()));
        let (part, _) = FILLER.split_at(size);
        stream.write_all(part).await?;
        left = left.saturating_sub(size as u64);
    }
    stream.shutdown().await?;
    Ok(HANG_UP)
}

async fn refuse(stream: &mut Stream, error: &io::Error) -> Step {
    let headers = [("connection".to_owned(), "close".to_owned())];
    write_response(stream, 400, &headers, format!("{error}\n").as_bytes()).await?;
    stream.shutdown().await?;
    Ok(HANG_UP)
}

/// Makes the end of the connection a reset instead of a farewell.
fn reset(stream: &Stream) -> io::Result<()> {
    stream.get_ref().set_zero_linger()
}
