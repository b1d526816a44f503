//! The program: everything is in the library, where tests can reach it.

use std::process::ExitCode;

use clap::Parser as _;
use mcp_doorman::cli::Cli;

fn main() -> ExitCode {
    Cli::parse().run()
}
