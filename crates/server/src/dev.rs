//! `tidings dev`: the whole product on this machine, with catchers instead of providers, so that nothing leaves it.
//!
//! It starts as `serve` does, on a store in the data directory, then sends a notification through every channel and
//! shows what came out. The page at `/dev` goes on showing that, and can move the product's clock.

mod catchers;
mod controls;
mod demo;
mod events;
mod guard;
mod page;
mod people;
mod samples;
mod screen;
mod settings;
mod stage;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use axum::{Router, middleware};
use tidings_channels::webhook;
use tidings_core::time::SystemClock;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::output;
use crate::config::{self, Config, Sources, WEBHOOK_SECRET_FILE};
use crate::serve::{self, App, Overrides};
use crate::telemetry;
use catchers::Catchers;
use demo::Api;
use stage::{Product, Stage};

/// What `tidings dev` takes.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Args {
    /// Send nothing at the start
    #[arg(long)]
    no_demo: bool,
    /// Say no more than where everything is
    #[arg(short, long)]
    quiet: bool,
    /// Show the log as `serve` does, not only its errors
    #[arg(short, long)]
    verbose: bool,
}

/// Brings everything up, shows it, and stays until a signal.
pub async fn run(args: Args, sources: Sources) -> anyhow::Result<ExitCode> {
    let catchers = Catchers::start().await?;
    let config = settings::prepare(sources, &catchers, args.verbose)?;
    let logs = telemetry::start_logs(&config)?;
    let clock = Arc::new(SystemClock::default());
    let stage = Arc::new(Stage::new(catchers, Arc::clone(&clock)));
    let overrides =
        Overrides { clock: Some(clock), dress: Some(dress(Arc::clone(&stage))), seed_users: true, accept_loss: false };
    let app = App::start(config.clone(), overrides).await?;
    stage.open(product(&app, &config)?);
    people::complete(&app.services.users, &stage.catchers).await;
    welcome(&args, &app, &config, &stage).await?;
    tokio::spawn(let_go_on_signal(Arc::clone(&stage)));
    let code = serve::run_until_signal(app).await;
    drop(logs);
    code
}

fn product(app: &App, config: &Config) -> anyhow::Result<Product> {
    let kept = || config::read(&config.data.join(WEBHOOK_SECRET_FILE));
    let secret = match &config.channels.webhook_secret {
        Some(secret) => secret.clone(),
        None => kept()?.context("the webhook secret was not kept")?,
    };
    let token_seconds = i64::try_from(config.auth.token_ttl.as_secs()).unwrap_or(i64::MAX);
    Ok(Product {
        services: app.services.clone(),
        webhook_secret: webhook::Secret::parse(secret.expose()).context("the webhook secret cannot be used")?,
        token_seconds: config.auth.require_expiry.then_some(token_seconds),
    })
}

/// Adds the page, and refuses requests that were led here by the name of a stranger: a web site in the browser of the
/// developer must reach neither the page nor the API.
fn dress(stage: Arc<Stage>) -> Box<dyn FnOnce(Router) -> Router + Send> {
    Box::new(move |api| api.merge(page::router(stage)).layer(middleware::from_fn(guard::only_by_our_names)))
}

async fn welcome(args: &Args, app: &App, config: &Config, stage: &Stage) -> anyhow::Result<()> {
    let (url, product) = (app.url(), stage.product().context("the product is not there")?);
    output::line(format!("\n  Tidings is up at {url}, storing in {}\n", config.data.display()));
    let api = Api { address: app.addr, token: product.user_token()? };
    let mut outcomes = Vec::new();
    if !args.no_demo {
        match demo::send_samples(&api, stage, product).await {
            Ok(sent) => outcomes = sent,
            // Everything is up all the same, and the page shows more.
            Err(error) => output::remark(format!("  The samples could not be sent: {error:#}\n")),
        }
    }
    if !args.quiet {
        if !outcomes.is_empty() {
            output::line(screen::outcomes(&outcomes));
        }
        let follow = outcomes.first().map(|outcome| outcome.id.as_str());
        output::line(screen::invitation(&url, &api.token, follow));
    }
    output::line(screen::places(&url, stage));
    output::line("  Ctrl-C stops it; nothing that was accepted is lost.\n");
    Ok(())
}

/// The page waits for news as long as it is open; that must not hold up the end.
async fn let_go_on_signal(stage: Arc<Stage>) {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    stage.end.cancel();
    output::line("\n  Stopping: what has begun is finished, the rest is kept for the next start.");
}
