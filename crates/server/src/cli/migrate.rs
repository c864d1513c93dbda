//! `tidings migrate`: brings the store up to date.

use std::process::ExitCode;

use crate::cli::output;
use crate::config::Config;
use crate::wiring;

/// Applies what is pending and says from where to where.
pub(crate) fn run(config: &Config) -> anyhow::Result<ExitCode> {
    let migrated = wiring::migrate(&config.data)?;
    let (from, to) = (migrated.from, migrated.to);
    let data = config.data.display();
    output::line(if from == to {
        format!("The store in {data} is up to date: schema version {to}")
    } else {
        format!("The store in {data} went from schema version {from} to {to}")
    });
    Ok(ExitCode::SUCCESS)
}
