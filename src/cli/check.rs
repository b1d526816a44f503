//! `mcp-doorman check`: is the config valid?

use std::path::Path;
use std::process::ExitCode;

use crate::cli::{BAD_CONFIG, complain};
use crate::config::{self, Environment};

#[expect(clippy::print_stdout, reason = "the command line speaks to the terminal")]
pub fn run(path: &Path) -> ExitCode {
    match config::load(path, &Environment::of_this_process()) {
        Ok(config) => {
            println!("{}: valid", path.display());
            for resource in &config.resources {
                println!(
                    "  {} -> http://{}{}",
                    resource.url, resource.upstream.authority, resource.upstream.path
                );
            }
            ExitCode::SUCCESS
        }
        Err(problems) => {
            complain(&problems);
            ExitCode::from(BAD_CONFIG)
        }
    }
}
