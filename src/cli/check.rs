//! `mcp-doorman check`: is the config valid?

use std::path::Path;
use std::process::ExitCode;

use crate::app;
use crate::cli::{BAD_CONFIG, complain, say};
use crate::config::{self, Environment};

/// `mcp-doorman check --schema`: what editors take to complete and check a config file.
pub fn show_schema() -> ExitCode {
    say(&config::schema());
    ExitCode::SUCCESS
}

pub fn run(path: &Path) -> ExitCode {
    match config::load(path, &Environment::of_this_process()) {
        Ok(config) => {
            say(&format!("{}: valid", path.display()));
            for resource in &config.resources {
                let upstream = &resource.upstream;
                say(&format!(
                    "  {} -> http://{}{}",
                    resource.url, upstream.authority, upstream.path
                ));
            }
            say(&format!("  issuer: {}", config.issuer));
            say(&format!("  redirect URI to register at the IdP: {}", app::redirect_uri(&config)));
            ExitCode::SUCCESS
        }
        Err(problems) => {
            complain(&problems);
            ExitCode::from(BAD_CONFIG)
        }
    }
}
