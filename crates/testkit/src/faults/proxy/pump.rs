//! One direction of one connection.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::time::sleep;

use super::{Direction, Fault};

/// The largest piece that is passed on at once.
const PIECE: usize = 16 * 1024;
/// A throttled direction passes on so many pieces each second, so that it drips rather than gushes.
const DRIPS_PER_SECOND: u64 = 20;

/// The connection has to be reset at both ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cut;

impl From<io::Error> for Cut {
    fn from(_reset_by_one_end: io::Error) -> Self {
        Self
    }
}

/// What happens to the bytes of one direction.
pub(super) struct Lane<'a> {
    pub(super) direction: Direction,
    pub(super) faults: watch::Receiver<Fault>,
    pub(super) passed: &'a AtomicU64,
    pub(super) chance: fastrand::Rng,
}

/// Passes bytes on until the end of the stream, which it passes on as well.
pub(super) async fn pump(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, mut lane: Lane<'_>) -> Result<(), Cut> {
    let mut buffer = vec![0; PIECE];
    loop {
        passable(&mut lane.faults, lane.direction).await?;
        let read = tokio::select! {
            read = from.read(&mut buffer) => read?,
            // What was stalled or cut meanwhile is not to be read.
            told = lane.faults.changed() => {
                told.map_err(|_proxy_is_gone| Cut)?;
                continue;
            }
        };
        // It may have become impassable while nothing was said.
        passable(&mut lane.faults, lane.direction).await?;
        if read == 0 {
            to.shutdown().await?;
            return Ok(());
        }
        lane.pass(&mut buffer[..read], &mut to).await?;
    }
}

/// Waits until bytes can pass in this direction, and says under which fault they do.
pub(super) async fn passable(faults: &mut watch::Receiver<Fault>, direction: Direction) -> Result<Fault, Cut> {
    let is_passable = |fault: &Fault| match fault {
        Fault::BlackHole => false,
        Fault::OneWay(open) => *open == direction,
        _ => true,
    };
    match *faults.wait_for(is_passable).await.map_err(|_proxy_is_gone| Cut)? {
        Fault::Refuse => Err(Cut),
        fault => Ok(fault),
    }
}

impl Lane<'_> {
    async fn pass(&mut self, piece: &mut [u8], to: &mut WriteHalf<'_>) -> Result<(), Cut> {
        let fault = *self.faults.borrow();
        match fault {
            Fault::Delay { by, jitter } => sleep(self.moved(by, jitter)).await,
            Fault::Throttle { bytes_per_second } => return self.drip(piece, to, bytes_per_second.max(1)).await,
            Fault::CutAfter { bytes } => {
                let left = bytes.saturating_sub(self.passed.load(Ordering::Relaxed));
                let left = usize::try_from(left).unwrap_or(usize::MAX);
                if piece.len() >= left {
                    to.write_all(piece.split_at(left.min(piece.len())).0).await?;
                    return Err(Cut);
                }
            }
            Fault::Corrupt { one_in } => self.corrupt(piece, one_in.max(1)),
            Fault::None | Fault::Refuse | Fault::BlackHole | Fault::OneWay(_) => {}
        }
        self.write(piece, to).await
    }

    async fn write(&self, piece: &[u8], to: &mut WriteHalf<'_>) -> Result<(), Cut> {
        to.write_all(piece).await?;
        self.passed.fetch_add(piece.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn moved(&mut self, by: Duration, jitter: Duration) -> Duration {
        let moved = by + jitter.mul_f64(2.0 * self.chance.f64());
        moved.saturating_sub(jitter)
    }

    async fn drip(&mut self, piece: &[u8], to: &mut WriteHalf<'_>, bytes_per_second: u64) -> Result<(), Cut> {
        let size = usize::try_from((bytes_per_second / DRIPS_PER_SECOND).max(1)).unwrap_or(PIECE);
        for drip in piece.chunks(size) {
            // A heavier fault, or a healed network, holds for the rest of the piece as well.
            let fault = passable(&mut self.faults, self.direction).await?;
            if matches!(fault, Fault::Throttle { .. }) {
                sleep(Duration::from_secs(1).mul_f64(share(drip.len(), bytes_per_second))).await;
            }
            self.write(drip, to).await?;
        }
        Ok(())
    }

    fn corrupt(&mut self, piece: &mut [u8], one_in: u64) {
        for byte in piece {
            if self.chance.u64(..one_in) == 0 {
                *byte ^= 1_u8 << self.chance.u8(..8);
            }
        }
    }
}

/// How much of what one second carries this is.
#[expect(clippy::cast_precision_loss, reason = "a length of time need not be exact")]
fn share(bytes: usize, bytes_per_second: u64) -> f64 {
    bytes as f64 / bytes_per_second as f64
}
