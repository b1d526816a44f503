//! The configuration: what was typed (`raw`), what it means (`check`), how mistakes are told (`problem`).

mod check;
mod environment;
mod expand;
mod field;
mod form;
mod presets;
mod problem;
mod raw;
mod schema;
mod sources;
mod spelling;
mod stanza;
#[cfg(test)]
mod tests;
mod tree;
mod values;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use http::{HeaderName, HeaderValue};

use crate::authorization_server::RegistrationSettings;
use crate::authorization_server::clients::declared::{DeclaredClient, ServiceAccount};
use crate::config::problem::{Problem, Reported, Spot};
use crate::config::stanza::{Reading, Stanza};
use crate::grants::Lifetimes;
use crate::idp::IdpSettings;
use crate::oauth::{PublicUrl, Scopes};
use crate::policy::{Access, UpstreamDeadlines};
use crate::proxy::{IdentityHeaders, StreamSettings};
use crate::seal::KeyMaterial;
use crate::server::{DrainSettings, ListenAddress};
use crate::store::StateSettings;
use crate::telemetry::LogSettings;
use crate::tls::{ServerIdentity, ServerTls};
use crate::wire::{TrustedProxies, UpstreamProtocol, UpstreamUrl};

pub use crate::token::MachineSettings;
pub use environment::Environment;
pub use problem::Problems;
pub use schema::schema;
pub use sources::Sources;

/// Everything that the operator decided, checked.
#[derive(Clone, Debug)]
pub struct Config {
    pub listen: ListenAddress,
    /// `None`: plain HTTP is spoken there. Or it was loaded without secrets.
    pub tls: Option<ServerIdentity>,
    pub health: ListenAddress,
    /// Absolute, and short enough for a socket.
    pub admin_socket: Option<PathBuf>,
    pub workers: NonZeroUsize,
    /// Whom people ask for help.
    pub contact: Option<String>,
    pub log: LogSettings,
    pub issuer: PublicUrl,
    /// Never empty; no two with the same URL.
    pub resources: Vec<ResourceSettings>,
    pub idp: IdpSettings,
    /// The current key first. Empty only if it was loaded without secrets.
    pub sealing_keys: Vec<KeyMaterial>,
    pub state: StateSettings,
    pub issued_by: IssuedBy,
    pub tokens: Lifetimes,
    /// Machines that may come with tokens of the IdP.
    pub machines: Option<MachineSettings>,
    pub streams: StreamSettings,
    pub limits: LimitSettings,
    pub stop: DrainSettings,
    pub registration: RegistrationSettings,
    /// No two with the same id.
    pub clients: Vec<DeclaredClient>,
    /// With ids that none of the clients has.
    pub service_accounts: Vec<ServiceAccount>,
    pub identity_headers: IdentityHeaders,
    /// Origins of web pages that may call, besides loopback ones and our own.
    pub allowed_origins: Vec<HeaderValue>,
    /// Proxies in front of us, whose word about callers' addresses is believed.
    pub trusted_proxies: TrustedProxies,
}

/// How much one client may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitSettings {
    /// Bytes of a request that is passed on, without its header.
    pub request_body: u64,
    pub connections: ConnectionLimit,
}

/// How many connections one address may have open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionLimit {
    /// Half of those that the files which we may open are enough for.
    Half,
    AtMost(NonZeroUsize),
    Unlimited,
}

/// One protected resource: a public MCP URL and the server behind it.
#[derive(Clone, Debug)]
pub struct ResourceSettings {
    pub url: PublicUrl,
    /// Shown to people on the consent page.
    pub name: Option<String>,
    pub upstream: UpstreamUrl,
    pub upstream_protocol: UpstreamProtocol,
    /// Given if the upstream is `https://`.
    pub upstream_tls: Option<ServerTls>,
    /// Sent with each request; the values are marked sensitive.
    pub upstream_headers: Vec<(HeaderName, HeaderValue)>,
    pub upstream_deadlines: UpstreamDeadlines,
    pub access: Access,
    /// What a token for this resource must hold; may be empty.
    pub scopes: Scopes,
    /// What it is called in tokens of the IdP, if not by its URL.
    pub audience: Option<String>,
    /// The clients whose tokens of the IdP are taken; empty: any.
    pub allowed_clients: Vec<String>,
}

impl Config {
    /// This config as far as a running process that was started by `before` can take it on, and the keys of which
    /// it can't: what they say holds from the next start.
    pub fn taken_on_after(self, before: &Self) -> (Self, Vec<&'static str>) {
        // Each key by name: a new one is to be thought about.
        let Self {
            listen,
            tls,
            health,
            admin_socket,
            workers,
            contact,
            log,
            issuer,
            resources,
            idp,
            sealing_keys,
            state,
            issued_by,
            tokens,
            machines,
            streams,
            limits,
            stop,
            registration,
            clients,
            service_accounts,
            identity_headers,
            allowed_origins,
            trusted_proxies,
        } = self;
        let changed = [
            ("listen", listen != before.listen),
            ("health", health != before.health),
            ("admin", admin_socket != before.admin_socket),
            ("workers", workers != before.workers),
            ("log", log != before.log),
            ("state", state != before.state),
            ("streams", streams != before.streams),
            ("limits", limits != before.limits),
            ("stop", stop != before.stop),
        ];
        let taken = Self {
            tls,
            contact,
            issuer,
            resources,
            idp,
            sealing_keys,
            issued_by,
            tokens,
            machines,
            registration,
            clients,
            service_accounts,
            identity_headers,
            allowed_origins,
            trusted_proxies,
            ..before.clone()
        };
        let left = changed.into_iter().filter(|(_, is_so)| *is_so).map(|(key, _)| key).collect();
        (taken, left)
    }
}

impl ResourceSettings {
    /// Whether it is the same resource, with an upstream that is reached in the same way: two resources share no
    /// connections.
    pub fn reaches_the_same(&self, other: &Self) -> bool {
        self.url == other.url
            && self.upstream == other.upstream
            && self.upstream_protocol == other.upstream_protocol
            && self.upstream_tls == other.upstream_tls
            && self.upstream_headers == other.upstream_headers
            && self.upstream_deadlines == other.upstream_deadlines
    }

    /// What tokens of the IdP call it.
    pub fn audience_name(&self) -> String {
        self.audience.clone().unwrap_or_else(|| self.url.to_string())
    }
}

/// Who issues the access tokens that clients bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IssuedBy {
    /// We do, after a login at the IdP.
    Doorman,
    /// The IdP does, and has the clients too.
    Idp,
}

/// Read the configuration at `path`. Errors: everything that is wrong with it, not only the first.
pub fn load(path: &Path, environment: &Environment) -> Result<Config, Problems> {
    let problems = Problems::in_file(path.display().to_string());
    let mut reading = Reading { environment, problems };
    match read(path, &mut reading) {
        // An unknown key stops nothing, but may be a rule that was meant to hold.
        Ok(config) if reading.problems.is_empty() => Ok(config),
        Ok(_) | Err(Reported { .. }) => Err(reading.problems.in_order()),
    }
}

fn read(path: &Path, reading: &mut Reading) -> Result<Config, Reported> {
    let text = reading.environment.read(path).map_err(|reason| {
        let fix = match reason.as_str() {
            "does not exist" => {
                "create it (config.example.yaml shows every key), or name another with --config"
            }
            _ => "make it a UTF-8 text file that this process may read, or name another with --config",
        };
        reading.problems.tell(Problem::of_file(
            reason,
            fix,
        ))
    })?;
    let document = tree::parse(&text).map_err(|problem| reading.problems.tell(problem))?;
    let raw = Stanza::read(Spot::document(), document, raw::read, reading);
    check::check(raw, reading)
}
