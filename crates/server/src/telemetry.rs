//! What the running program tells about itself: logs and metrics.

mod json;
pub(crate) mod listener;
pub mod metrics;
mod process;
mod reference;
mod sink;

use std::io::IsTerminal;
use std::panic::PanicHookInfo;
use std::sync::OnceLock;

use anyhow::Context;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::set_global_default;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry, fmt};

use crate::config::{Config, Environment, LogFormat};
use json::JsonLines;
pub use sink::Logs;
use sink::{Lines, Losses};

static LOSSES: OnceLock<Losses> = OnceLock::new();

/// Starts the log of this process on standard output.
pub fn start_logs(config: &Config) -> anyhow::Result<Logs> {
    let (writer, losses, logs) = sink::start(std::io::stdout());
    LOSSES.set(losses).ok();
    let filter = filter(config.log.level);
    let for_people = is_for_people(config);
    let installed = if for_people {
        set_global_default(Registry::default().with(pretty(writer).with_filter(filter)))
    } else {
        set_global_default(Registry::default().with(JsonLines::new(writer).with_filter(filter)))
    };
    installed.context("a log was started before")?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(logs)
}

/// How many lines were lost because nobody read them fast enough, or because they could not be written.
pub fn dropped_lines() -> u64 {
    LOSSES.get().map_or(0, Losses::count)
}

fn is_for_people(config: &Config) -> bool {
    match config.log.format {
        LogFormat::Json => false,
        LogFormat::Pretty => true,
        LogFormat::Auto => config.environment == Environment::Development && std::io::stdout().is_terminal(),
    }
}

fn pretty(writer: Lines) -> impl Layer<Registry> + Send + Sync {
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
