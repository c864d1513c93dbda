//! `tidings docs`: writes what is generated from the code. A test compares the files with what this gives.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use crate::cli::output;
use crate::config::{configuration_markdown, env_example};
use crate::telemetry::metrics::metrics_markdown;

/// What `tidings docs` takes.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The root of the repository
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    root: PathBuf,
}

/// Every generated file: its path from the root of the repository, and its text.
pub fn generated() -> Vec<(&'static str, String)> {
    vec![
        (".env.example", env_example()),
        ("docs/reference/configuration.md", configuration_markdown()),
        ("docs/reference/errors.md", tidings_api::errors_markdown()),
        ("docs/reference/metrics.md", metrics_markdown()),
        ("docs/reference/openapi.json", tidings_api::openapi_json()),
    ]
}

/// Writes them all.
pub(crate) fn write(args: &Args) -> anyhow::Result<ExitCode> {
    for (path, text) in generated() {
        let file = args.root.join(path);
        let folder = file.parent().unwrap_or(&args.root);
        std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        std::fs::write(&file, text).with_context(|| format!("{} cannot be written", file.display()))?;
        output::line(file.display());
    }
    Ok(ExitCode::SUCCESS)
}
