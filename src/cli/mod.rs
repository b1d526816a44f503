//! The command line: arguments and printing only.

mod check;
mod connections;
mod drain;
mod key;
mod reload;
mod revoke;
mod serve;
mod socket;
mod stop;
mod try_it;

use std::fmt::Display;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::chance::Chance;
use crate::cli::check::Place;
use crate::cli::connections::ConnectionsArguments;
use crate::cli::drain::DrainArguments;
use crate::cli::revoke::RevokeArguments;
use crate::cli::try_it::TryArguments;

/// Puts OAuth in front of an MCP server that knows nothing of it.
#[derive(Debug, Parser)]
#[command(name = "mcp-doorman", version, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Try it on this machine: a sample MCP server, a demo login and the sidecar, all in one.
    Try(TryArguments),
    /// Run the sidecar.
    Serve(ConfigArgument),
    /// Make a sealing key and print it. Keep it as you would a password.
    Key,
    /// Say whether a config file is valid, without starting or reaching anything.
    Check(CheckArguments),
    /// List who is connected to the running process, and to the replicas that share its state.
    Connections(ConnectionsArguments),
    /// End connections, on every replica: one, a person's, or a client's.
    Revoke(RevokeArguments),
    /// Have the running process finish what it is doing and end, as SIGTERM would, and wait for it.
    Drain(DrainArguments),
}

#[derive(Args, Debug)]
struct ConfigArgument {
    /// The config file.
    #[arg(long, value_name = "FILE", default_value = "/etc/mcp-doorman/config.yaml")]
    config: PathBuf,
}

#[derive(Args, Debug)]
struct CheckArguments {
    #[command(flatten)]
    file: ConfigArgument,
    /// Print the JSON Schema of a config file instead, for editors.
    #[arg(long, conflicts_with = "config")]
    schema: bool,
    /// Don't look for the secrets: they are on another machine. Everything else is checked.
    #[arg(long, conflicts_with = "schema")]
    without_secrets: bool,
}

impl Cli {
    pub fn run(&self) -> ExitCode {
        match &self.command {
            Command::Try(arguments) => try_it::run(arguments),
            Command::Key => key::run(Chance::system()),
            Command::Serve(argument) => serve::run(&argument.config),
            Command::Check(arguments) if arguments.schema => check::show_schema(),
            Command::Check(arguments) => {
                let place = if arguments.without_secrets {
                    Place::WithoutSecrets
                } else {
                    Place::WithSecrets
                };
                check::run(&arguments.file.config, place)
            }
            Command::Connections(arguments) => connections::run(arguments),
            Command::Revoke(arguments) => revoke::run(arguments),
            Command::Drain(arguments) => drain::run(arguments),
        }
    }
}

/// Tell the operator. Nobody may be reading any more; that is no reason to fail.
fn say(text: &dyn Display) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Tell the operator that something went wrong.
fn complain(text: &dyn Display) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

const FAILED: u8 = 1;
const BAD_CONFIG: u8 = 2;

const EXIT_CODES: &str = "Exit codes:
  0  done, or stopped as asked
  1  could not start; was told twice to stop and cut what was under way; or what was asked of
     a running process was not done, or not all of it
  2  the command line or the config is not valid";
