//! The command line. Each command has a file; this one says what there is and sends each to its place.

mod backup;
mod client;
mod dlq;
pub mod docs;
mod migrate;
pub mod output;
mod send;
pub(crate) mod table;
mod token;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use tokio::runtime::{Builder, Runtime};

use crate::config::{self, Config, Files, Sources};
use crate::{bench, dev, doctor, serve};

/// The configuration cannot be used (`EX_CONFIG` of sysexits.h).
const EXIT_CONFIG: u8 = 78;

const EXAMPLES: &str = "\
Examples:
  tidings dev                                  everything on this machine, with a page at /dev
  JWT_SECRET=$(openssl rand -base64 32) tidings serve
  tidings token --user 9fc81fdd-fc9c-49e3-9df1-a36df7e1ec5a
  tidings send --to 9fc81fdd-fc9c-49e3-9df1-a36df7e1ec5a --type in-app --title Hello --message 'It works' --follow
  tidings dlq list
  tidings backup --to tidings-backup.db
  tidings config                               what is in force, and where it came from

Every setting: docs/reference/configuration.md";

/// Notification infrastructure in one binary
#[derive(Debug, Parser)]
#[command(name = "tidings", version, after_help = EXAMPLES, max_term_width = 110, subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    command: Command,
}

/// Where settings come from, for every command.
#[derive(Args, Debug)]
#[command(next_help_heading = "Settings")]
struct Settings {
    /// Read this TOML file instead of `tidings.toml`
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Read this file of variables instead of `.env`
    #[arg(long, global = true, value_name = "FILE")]
    env_file: Option<PathBuf>,
    /// Set anything by its path, such as `delivery.max_retries=5`; can be repeated
    #[arg(long, global = true, value_name = "PATH=VALUE", value_parser = parse_assignment)]
    set: Vec<Assignment>,
    /// The port of the API [default: 8080]
    #[arg(long, global = true, value_name = "PORT")]
    port: Option<String>,
    /// The data directory [default: ./tidings-data]
    #[arg(long, global = true, value_name = "FOLDER")]
    data: Option<String>,
    /// The address to listen on [default: 127.0.0.1]
    #[arg(long, global = true, value_name = "ADDRESS")]
    bind: Option<String>,
    /// error, warn, info, debug or trace [default: info]
    #[arg(long, global = true, value_name = "LEVEL")]
    log_level: Option<String>,
}

/// `path=value`. Never shown: the value may be a secret.
#[derive(Clone)]
struct Assignment {
    path: String,
    value: String,
}

impl std::fmt::Debug for Assignment {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}=...", self.path)
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything on this machine: catchers instead of providers, test users, a token, a page at /dev
    Dev(dev::Args),
    /// Run the server: API and delivery in one process, until SIGTERM or SIGINT
    #[command(after_help = SERVE_EXAMPLES)]
    Serve(ServeArgs),
    /// Send a notification through a running server
    Send(Box<send::Args>),
    /// Make a token for the API
    Token(token::Args),
    /// List, show, redrive or discard dead letters of a running server
    Dlq(Box<dlq::Args>),
    /// Print the settings in force and where each came from; secrets are masked
    Config,
    /// Bring the store in the data directory up to date; `serve` does this by itself
    Migrate,
    /// Copy the store to a file, also while a server uses it
    Backup(backup::Args),
    /// Look for everything that is known to go wrong
    Doctor(doctor::Args),
    /// Measure how fast this machine is
    Bench(Box<bench::Args>),
    /// Write the generated documentation
    #[command(hide = true)]
    Docs(docs::Args),
}

#[derive(Args, Debug)]
struct ServeArgs {
    /// Start although the store has lost commits that were acknowledged, and go on without them
    #[arg(long)]
    accept_loss: bool,
}

const SERVE_EXAMPLES: &str = "\
Examples:
  JWT_SECRET=$(openssl rand -base64 32) tidings serve
  tidings serve --config /etc/tidings.toml --data /var/lib/tidings --bind 0.0.0.0
  tidings serve --set delivery.concurrency=50 --set channels.smtp.url=smtps://relay.example.com --set channels.smtp.from=news@example.com";

/// Reads the command line, does what it says, and tells how it went.
pub fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            output::problem(&error);
            exit_code(&error)
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let sources = cli.settings.sources()?;
    let load = || Config::load(&sources);
    match cli.command {
        Command::Dev(args) => many_threads()?.finish(dev::run(args, sources)),
        Command::Serve(args) => many_threads()?.finish(serve::run(load()?, args.accept_loss)),
        Command::Send(args) => one_thread()?.finish(send::run(*args, &load()?, &sources)),
        Command::Dlq(args) => one_thread()?.finish(dlq::run(*args, &load()?, &sources)),
        Command::Bench(args) => many_threads()?.finish(bench::run(*args, sources.flags)),
        Command::Doctor(args) => {
            let config = load()?;
            one_thread()?.finish(async { Ok(doctor::run(&config, args).await) })
        }
        Command::Token(args) => token::run(&args, &load()?),
        Command::Migrate => migrate::run(&load()?),
        Command::Backup(args) => backup::run(&args, &load()?),
        Command::Config => {
            output::text(&load()?.describe());
            Ok(ExitCode::SUCCESS)
        }
        Command::Docs(args) => docs::write(&args),
    }
}

fn exit_code(error: &anyhow::Error) -> ExitCode {
    if error.downcast_ref::<config::Error>().is_some() { ExitCode::from(EXIT_CONFIG) } else { ExitCode::FAILURE }
}

impl Settings {
    fn sources(self) -> Result<Sources, config::Error> {
        let files = Files { toml: self.config, dotenv: self.env_file };
        let short = [
            ("server.port", self.port),
            ("data", self.data),
            ("server.bind", self.bind),
            ("log.level", self.log_level),
        ];
        let set = self.set.into_iter().map(|assignment| (assignment.path, assignment.value));
        let short = short.into_iter().filter_map(|(path, value)| Some((path.to_owned(), value?)));
        Sources::of_process(&files, set.chain(short).collect())
    }
}

fn parse_assignment(text: &str) -> Result<Assignment, String> {
    let (path, value) = text.split_once('=').ok_or("write it as PATH=VALUE, such as server.port=9000")?;
    Ok(Assignment { path: path.trim().to_owned(), value: value.to_owned() })
}

/// A runtime for one command.
struct Machine(Runtime);

impl Machine {
    /// Runs a command to its end. What still blocks a thread after that is left behind.
    fn finish(self, command: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
        let code = self.0.block_on(command);
        self.0.shutdown_timeout(Duration::from_secs(1));
        code
    }
}

fn many_threads() -> anyhow::Result<Machine> {
    machine(&mut Builder::new_multi_thread())
}

fn one_thread() -> anyhow::Result<Machine> {
    machine(&mut Builder::new_current_thread())
}

fn machine(builder: &mut Builder) -> anyhow::Result<Machine> {
    Ok(Machine(builder.enable_all().build().context("the threads of this process cannot be started")?))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_become_settings_and_the_short_ones_win() {
        let words = [
            "tidings",
            "config",
            "--set",
            "server.port=1",
            "--set",
            "delivery.max_retries=7",
            "--port",
            "2",
            "--env-file",
            "/dev/null",
        ];
        let mut sources = Cli::parse_from(words).settings.sources().unwrap();
        sources.env.clear();
        let config = Config::load(&sources).unwrap();
        assert_eq!((config.server.port, config.policies.default.max_retries), (2, 7));
    }

    #[test]
    fn an_assignment_has_a_path_and_a_value() {
        let words = ["tidings", "config", "--set", "server.port"];
        assert!(Cli::try_parse_from(words).unwrap_err().to_string().contains("PATH=VALUE"));
        let shown = format!("{:?}", parse_assignment("auth.jwt_secret=hunter2").unwrap());
        assert_eq!(shown, "auth.jwt_secret=...");
    }

    #[test]
    fn a_bad_configuration_has_an_exit_code_of_its_own() {
        let error = anyhow::Error::from(config::Error::new("x")).context("starting");
        assert_eq!(exit_code(&error), ExitCode::from(EXIT_CONFIG));
        assert_eq!(exit_code(&anyhow::anyhow!("x")), ExitCode::FAILURE);
    }
}
