//! Where log lines end up, without ever holding up the program.
//!
//! Lines are handed to a thread that writes them. While it is stuck, because nobody reads the pipe, so many lines wait and
//! further ones are dropped; a line that cannot be written is dropped, too. Both are counted. At the end the thread gets a
//! moment to write what waits, and no more: a reader who does not read cannot keep the process from ending.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::fmt::MakeWriter;

/// Lines that wait for a slow reader of the log.
const WAITING_LINES: usize = 16_384;

/// How long the end of the process waits for the last lines to be written.
const LAST_LINES_WITHIN: Duration = Duration::from_secs(2);

/// Takes lines. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Lines(NonBlocking);

/// Writes what is still waiting when it is dropped.
#[must_use = "the log ends when this is dropped"]
#[derive(Debug)]
pub struct Logs {
    writer: Option<WorkerGuard>,
}

/// How many lines were lost.
#[derive(Clone, Debug)]
pub(super) struct Losses {
    /// Because too many waited.
    dropped: ErrorCounter,
    /// Because they could not be written.
    unwritten: Arc<AtomicU64>,
}

/// Starts the thread that writes lines to `target`.
pub(super) fn start(target: impl Write + Send + 'static) -> (Lines, Losses, Logs) {
    let unwritten = Arc::new(AtomicU64::new(0));
    let target = Target { writer: BufWriter::with_capacity(64 * 1024, target), unwritten: Arc::clone(&unwritten) };
    let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(WAITING_LINES).thread_name("log");
    let (writer, guard) = builder.finish(target);
    let losses = Losses { dropped: writer.error_counter(), unwritten };
    (Lines(writer), losses, Logs { writer: Some(guard) })
}

impl Losses {
    pub(super) fn count(&self) -> u64 {
        let dropped = u64::try_from(self.dropped.dropped_lines()).unwrap_or(u64::MAX);
        dropped.saturating_add(self.unwritten.load(Ordering::Relaxed))
    }
}

impl<'writer> MakeWriter<'writer> for Lines {
    type Writer = NonBlocking;

    fn make_writer(&'writer self) -> NonBlocking {
        self.0.clone()
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        let Some(writer) = self.writer.take() else { return };
        let (ended, end) = mpsc::channel::<()>();
        // The library prints a complaint when its queue is full at the end, to the same pipe that nobody reads. So it is
        // left to a thread that nobody waits for longer than this.
        let ending = thread::Builder::new().name("log-end".to_owned()).spawn(move || {
            drop(writer);
            drop(ended);
        });
        if ending.is_ok() {
            // Only the end of the waiting counts, however it comes.
            end.recv_timeout(LAST_LINES_WITHIN).ok();
        }
    }
}

/// Writes lines and counts those that are lost. It never fails: the thread would only drop the line without a count.
struct Target<W: Write> {
    writer: BufWriter<W>,
    unwritten: Arc<AtomicU64>,
}

impl<W: Write> Write for Target<W> {
    /// Takes a whole line.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.writer.write_all(line).is_err() {
            self.unwritten.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    /// What cannot be flushed now stays in the buffer until the next time.
    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush().ok();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;

    /// How long anything may take before a test gives up on it.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// A pipe that nobody reads until the test says so.
    struct FullPipe {
        entered: mpsc::Sender<()>,
        released: mpsc::Receiver<()>,
    }

    impl Write for FullPipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.entered.send(()).ok();
            // Stuck until the test lets go of the other end.
            self.released.recv().ok();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn say(lines: &Lines, line: &[u8]) {
        lines.make_writer().write_all(line).unwrap();
    }

    #[test]
    fn a_pipe_that_nobody_reads_costs_lines_and_nothing_else() {
        let (entered, is_stuck) = mpsc::channel();
        let (release, released) = mpsc::channel();
        let (lines, losses, logs) = start(FullPipe { entered, released });
        say(&lines, b"the first line\n");
        is_stuck.recv_timeout(PATIENCE).expect("the thread writes");
        for _ in 0..WAITING_LINES + 100 {
            say(&lines, b"a line\n");
        }
        assert_eq!(losses.count(), 100);
        let (ended, end) = mpsc::channel();
        thread::spawn(move || {
            drop(logs);
            ended.send(()).unwrap();
        });
        end.recv_timeout(PATIENCE).expect("the end does not wait for somebody to read");
        drop(release);
    }

    #[test]
    fn what_waits_is_written_at_the_end() {
        #[derive(Clone, Default)]
        struct Kept(Arc<Mutex<Vec<u8>>>);

        impl Write for Kept {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().extend_from_slice(bytes);
                Ok(bytes.len())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        let kept = Kept::default();
        let (lines, losses, logs) = start(kept.clone());
        for _ in 0..1_000 {
            say(&lines, b"a line\n");
        }
        drop(logs);
        assert_eq!(kept.0.lock().len(), 7_000);
        assert_eq!(losses.count(), 0);
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted() {
        struct Broken;

        impl Write for Broken {
            fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        let unwritten = Arc::new(AtomicU64::new(0));
        let mut target = Target { writer: BufWriter::with_capacity(16, Broken), unwritten: Arc::clone(&unwritten) };
        for _ in 0..5 {
            target.write_all(b"nine bytes").unwrap();
            target.flush().unwrap();
        }
        // The first fits into the buffer and stays there; nobody will ever read it either.
        assert_eq!(unwritten.load(Ordering::Relaxed), 4);
    }
}
