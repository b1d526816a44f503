//! What the log says of a config when it begins to hold.

use std::net::SocketAddr;

use crate::app::{backchannel_logout_uri, redirect_uri};
use crate::config::{Config, IssuedBy};
use crate::store::StateSettings;

pub fn started(config: &Config, address: SocketAddr, health: SocketAddr, open_files: u64) {
    resources(config);
    tracing::info!(
        %address,
        %health,
        admin = config.admin_socket.as_ref().map(|path| path.display().to_string()),
        workers = config.workers,
        tls = config.tls.is_some(),
        // Worth a word if it is few.
        open_files = (open_files < ENOUGH_FILES).then_some(open_files),
        issuer = %config.issuer,
        idp = config.idp.issuer,
        redirect_uri = redirect_uri(config),
        backchannel_logout_uri = backchannel_logout_uri(config),
        version = env!("CARGO_PKG_VERSION"),
        "started"
    );
    logins(config);
    if config.issued_by == IssuedBy::Doorman {
        state(config);
    }
}

/// A running process serves by `config` from now on.
pub fn changed(config: &Config) {
    resources(config);
    logins(config);
}

fn resources(config: &Config) {
    for resource in &config.resources {
        tracing::info!(resource = %resource.url, upstream = %resource.upstream, "serving");
    }
}

fn logins(config: &Config) {
    if config.issued_by == IssuedBy::Idp {
        tracing::info!(
            authorization_server = config.idp.issuer,
            "the IdP issues the access tokens: clients register and log in there"
        );
        return;
    }
    for (limit, fix) in config.idp.limits() {
        let login_lasts_seconds = config.tokens.recheck_grace.as_secs();
        tracing::warn!(login_lasts_seconds, fix, "{limit}");
    }
}

/// Where nobody logs in, there is nothing to keep.
fn state(config: &Config) {
    match &config.state {
        StateSettings::Memory if config.idp.revocable_refresh_tokens => {
            tracing::warn!(
                "state is in memory: one replica only; after a restart the IdP is asked whether each login may go on"
            );
        }
        StateSettings::Memory => {
            tracing::warn!(
                fix = "set state.dir or state.redis",
                "state is in memory: one replica only, and a restart signs everybody out"
            );
        }
        StateSettings::Dir(dir) => {
            tracing::info!(dir = %dir.display(), "state is in a file: one replica only");
        }
        StateSettings::Redis(_) => tracing::info!("state is in Redis"),
    }
}

const ENOUGH_FILES: u64 = 4096;
