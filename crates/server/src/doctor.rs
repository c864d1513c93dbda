//! `tidings doctor`: looks for everything that is known to go wrong, says what it found and what to do about it.
//!
//! It changes nothing and needs no running server, but looks at one if there is one. A check is a function from the
//! [`scene`](scene::Scene) to a [`Finding`]; the list of all of them is in [`examine`].

mod data;
mod finding;
mod limits;
mod network;
mod operation;
mod scene;
mod secrets;
mod settings;
mod store;

use std::fmt;
use std::process::ExitCode;

use finding::{Finding, Verdict};
use scene::Scene;

use crate::cli::output;
use crate::config::Config;

/// What `tidings doctor` takes.
#[derive(Clone, Default, clap::Args)]
pub struct Args {
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
    /// Read the whole store even while a server uses it; this can take minutes and slows the server down
    #[arg(long)]
    deep: bool,
    /// A token that is refused: say why
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
}

impl fmt::Debug for Args {
    /// A token is never shown.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Args").field("json", &self.json).field("deep", &self.deep).finish_non_exhaustive()
    }
}

/// Runs all checks. Fails when one of them does.
pub async fn run(config: &Config, args: Args) -> ExitCode {
    let findings = examine(config, &args).await;
    let failed = findings.iter().any(|finding| finding.verdict == Verdict::Fail);
    output::line(if args.json { finding::to_json(&findings) } else { finding::to_text(&findings) });
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// All checks, in the order in which somebody would look.
async fn examine(config: &Config, args: &Args) -> Vec<Finding> {
    let scene = Scene::look(config).await;
    let mut findings = vec![
        settings::effective(config),
        secrets::token_secret(config),
        secrets::webhook_secret(config),
        data::directory(config),
        data::secret_files(config),
        data::free_disk(config),
        data::lock(&scene),
        store::schema(config).await,
        store::integrity(&scene, args.deep).await,
        network::port(&scene),
        network::health(&scene),
        network::readiness(&scene),
        network::mail_relay(config).await,
        network::sms(config),
        network::outbound(config),
        limits::file_handles(config),
    ];
    let operation = operation::Operation::observe(&scene).await;
    findings.extend([operation.clock(scene.now), operation.queue(), operation.dead_letters()]);
    findings.extend(args.token.as_deref().map(|token| secrets::token(config, token, scene.now)));
    findings
}

#[cfg(test)]
mod tests;
