//! What the running program tells about itself: logs and metrics.

mod json;
pub mod metrics;
mod process;
mod reference;

use std::io::{BufWriter, IsTerminal};
use std::panic::PanicHookInfo;
use std::sync::OnceLock;

use anyhow::Context;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::set_global_default;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry, fmt};

use crate::config::{Config, Environment, LogFormat};
use json::JsonLines;

/// Lines that wait for a slow reader of the log. More are dropped and counted: a log never stops a delivery.
const WAITING_LINES: usize = 16_384;

static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();

/// Writes what is still waiting when it is dropped.
#[must_use = "the log ends when this is dropped"]
pub struct Logs {
    _writer: WorkerGuard,
}

/// Starts the log of this process on standard output.
pub fn start_logs(config: &Config) -> anyhow::Result<Logs> {
    let stdout = BufWriter::with_capacity(64 * 1024, std::io::stdout());
    let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(WAITING_LINES).thread_name("log");
    let (writer, guard) = builder.finish(stdout);
    DROPPED.set(writer.error_counter()).ok();
    let filter = filter(config.log.level);
    let for_people = is_for_people(config);
    let installed = if for_people {
        set_global_default(Registry::default().with(pretty(writer).with_filter(filter)))
    } else {
        set_global_default(Registry::default().with(JsonLines::new(writer).with_filter(filter)))
    };
    installed.context("a log was started before")?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(Logs { _writer: guard })
}

/// How many lines were dropped because nobody read them fast enough.
pub fn dropped_lines() -> u64 {
    let dropped = DROPPED.get().map_or(0, ErrorCounter::dropped_lines);
    u64::try_from(dropped).unwrap_or(u64::MAX)
}

fn is_for_people(config: &Config) -> bool {
    match config.log.format {
        LogFormat::Json => false,
        LogFormat::Pretty => true,
        LogFormat::Auto => config.environment == Environment::Development && std::io::stdout().is_terminal(),
    }
}

fn pretty(writer: NonBlocking) -> impl Layer<Registry> + Send + Sync {
    fmt::layer().compact().with_target(false).with_ansi(std::io::stdout().is_terminal()).with_writer(writer)
}

/// Ours at the level asked for; what libraries say only if it is a warning, for their detail may hold addresses.
fn filter(level: tracing::Level) -> Targets {
    let theirs = LevelFilter::WARN.min(LevelFilter::from_level(level));
    Targets::new().with_target("tidings", level).with_default(theirs)
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map_or_else(String::new, ToString::to_string);
    let said = panic.payload_as_str().unwrap_or("no message");
    tracing::error!(target: "tidings", place, "A task failed unexpectedly: {said}");
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn libraries_are_heard_from_warnings_on() {
        let debug = filter(Level::DEBUG);
        assert!(debug.would_enable("tidings_engine::worker", &Level::DEBUG));
        assert!(!debug.would_enable("tidings_engine::worker", &Level::TRACE));
        assert!(debug.would_enable("hyper::proto", &Level::WARN));
        assert!(!debug.would_enable("hyper::proto", &Level::INFO));
        assert!(!filter(Level::ERROR).would_enable("hyper::proto", &Level::WARN));
    }
}
