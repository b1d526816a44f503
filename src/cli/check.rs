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

/// Where to check: where it will run, or on another machine, which has none of the secrets.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    WithSecrets,
    WithoutSecrets,
}

pub fn run(path: &Path, place: Place) -> ExitCode {
    let environment = Environment::of_this_process();
    let (environment, verdict) = match place {
        Place::WithSecrets => (environment, "valid"),
        Place::WithoutSecrets => {
            (environment.without_secrets(), "valid; its secrets were not looked at")
        }
    };
    match config::load(path, &environment) {
        Ok(config) => {
            say(&format!("{}: {verdict}", path.display()));
            for resource in &config.resources {
                say(&format!("  {} -> {}", resource.url, resource.upstream));
            }
            say(&format!("  issuer: {}", config.issuer));
            say(&format!("  redirect URI to register at the IdP: {}", app::redirect_uri(&config)));
            say(&format!(
                "  back-channel logout URI, if the IdP has such: {}",
                app::backchannel_logout_uri(&config)
            ));
            for (limit, fix) in config.idp.limits() {
                say(&format!("  note: {limit}\n    to change it: {fix}"));
            }
            ExitCode::SUCCESS
        }
        Err(problems) => {
            complain(&problems);
            ExitCode::from(BAD_CONFIG)
        }
    }
}
