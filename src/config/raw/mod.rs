//! What was typed: one file per stanza, every key with its place. What it means is for `check`.

pub(super) mod access;
pub(super) mod client;
pub(super) mod identity;
pub(super) mod identity_headers;
pub(super) mod idp;
pub(super) mod limits;
pub(super) mod log;
pub(super) mod machines;
pub(super) mod registration;
pub(super) mod resource;
pub(super) mod secret;
pub(super) mod service_account;
pub(super) mod state;
pub(super) mod stop;
pub(super) mod streams;
pub(super) mod tls;
pub(super) mod tokens;
pub(super) mod upstream;

use std::num::NonZeroUsize;

use serde_json::json;

use crate::config::field::{Field, Required, Typed};
use crate::config::form::Form;
use crate::config::problem::{Reported, Spot};
use crate::config::raw::client::{CLIENTS, RawClient};
use crate::config::raw::identity_headers::RawIdentityHeaders;
use crate::config::raw::idp::RawIdp;
use crate::config::raw::limits::RawLimits;
use crate::config::raw::log::RawLog;
use crate::config::raw::machines::RawMachines;
use crate::config::raw::registration::RawRegistration;
use crate::config::raw::resource::{RESOURCES, RawResource};
use crate::config::raw::secret::{SECRETS, SecretSource};
use crate::config::raw::service_account::{RawServiceAccount, SERVICE_ACCOUNTS};
use crate::config::raw::state::{RawState, STATE};
use crate::config::raw::stop::RawStop;
use crate::config::raw::streams::RawStreams;
use crate::config::raw::tls::RawTls;
use crate::config::raw::tokens::RawTokens;
use crate::config::schema;
use crate::config::stanza::{Reading, Stanza};
use crate::config::tree::{Node, Value};
use crate::config::values;

pub(super) struct RawConfig {
    pub listen: Field<String>,
    pub tls: Field<RawTls>,
    pub health_listen: Field<String>,
    pub admin_socket: Field<String>,
    pub workers: Field<u64>,
    pub contact: Field<String>,
    pub log: RawLog,
    pub issuer: Field<String>,
    pub resources: Required<Vec<RawResource>>,
    pub idp: RawIdp,
    pub sealing_keys: Required<Vec<Typed<SecretSource>>>,
    pub state: Field<RawState>,
    pub tokens: RawTokens,
    pub streams: RawStreams,
    pub limits: RawLimits,
    pub stop: RawStop,
    pub registration: RawRegistration,
    pub clients: Field<Vec<RawClient>>,
    pub service_accounts: Field<Vec<RawServiceAccount>>,
    pub machines: RawMachines,
    pub identity_headers: RawIdentityHeaders,
    pub allowed_origins: Field<Vec<Typed<String>>>,
    pub trusted_proxies: Field<Vec<Typed<String>>>,
}

pub(super) fn read(root: &mut Stanza, reading: &mut Reading) -> RawConfig {
    RawConfig {
        listen: root.ask(
            "listen",
            "Where the world is served, through your ingress. Default: \"[::]:8080\", or 0.0.0.0:8080 where there is no IPv6.",
            ADDRESS.with_example("[::]:8080"),
            reading,
        ),
        tls: tls::ask(root, reading),
        health_listen: root.stanza("health", "Where probes are answered.", read_health, reading),
        admin_socket: root.stanza("admin", "Where operators ask the running process.", read_admin, reading),
        workers: root.ask(
            "workers",
            "Threads that serve, 1 to 256. Default: one per processor that the container may use.",
            WORKERS,
            reading,
        ),
        contact: root.ask(
            "contact",
            "Whom people ask for help when they can't sign in, as the pages shall show it: an address, a channel, a URL. Default: nobody is named.",
            values::TEXT.with_example("it-help@example.com"),
            reading,
        ),
        log: root.stanza("log", "How the log is written.", log::read, reading),
        issuer: root.ask(
            "issuer",
            "The name under which tokens are issued. Default: the origin of the first resource. Set it, with a path of its own, if several sidecars share a host name.",
            values::TEXT.with_example("https://tools.example.com"),
            reading,
        ),
        resources: root.require(
            "resources",
            "What is guarded: a public MCP URL each, and the server behind it.",
            RESOURCES,
            reading,
        ),
        idp: root.stanza("idp", "Where people log in.", idp::read, reading),
        sealing_keys: root.require(
            "sealing_keys",
            "What seals everything that is handed out, the current key first; the others still open what they sealed. Make one with: mcp-doorman key",
            SECRETS,
            reading,
        ),
        state: root.ask(
            "state",
            "Where logins are kept: memory, { dir: … } for one replica that survives restarts, { redis: … } for several.",
            STATE.by_default(|| json!(state::MEMORY)),
            reading,
        ),
        tokens: root.stanza("tokens", "Who issues tokens, and how long they last.", tokens::read, reading),
        streams: root.stanza(
            "streams",
            "How long answers outlive the access tokens that they were asked for with, and what keeps quiet ones open.",
            streams::read,
            reading,
        ),
        limits: root.stanza("limits", "How much one client may ask for.", limits::read, reading),
        stop: root.stanza("stop", "How the process ends when it is told to.", stop::read, reading),
        registration: root.stanza(
            "registration",
            "Which clients may become known here.",
            registration::read,
            reading,
        ),
        clients: root.ask(
            "clients",
            "MCP clients that you set up, for those that ask people for a client id.",
            CLIENTS.by_default(|| json!([])),
            reading,
        ),
        service_accounts: root.ask(
            "service_accounts",
            "Machines that get tokens for themselves, with nobody signing in (grant_type=client_credentials).",
            SERVICE_ACCOUNTS.by_default(|| json!([])),
            reading,
        ),
        machines: root.stanza(
            "machines",
            "Machines that come with JWTs which the provider issued to them for themselves.",
            machines::read,
            reading,
        ),
        identity_headers: root.stanza(
            "identity_headers",
            "Names of the headers that tell your server who is calling. Whatever callers send under these names is removed.",
            identity_headers::read,
            reading,
        ),
        allowed_origins: root.ask(
            "allowed_origins",
            "Origins of web pages whose scripts may call, besides loopback ones and our own.",
            values::TEXTS.by_default(|| json!([])),
            reading,
        ),
        trusted_proxies: root.ask(
            "trusted_proxies",
            "Addresses of the proxies in front, as ranges: their X-Forwarded-For says where callers come from, which counts for budgets and logs alone.",
            values::TEXTS.by_default(|| json!([])),
            reading,
        ),
    }
}

fn read_health(stanza: &mut Stanza, reading: &mut Reading) -> Field<String> {
    stanza.ask(
        "listen",
        "For probes; not for the world. Default: \"[::]:9090\", or 0.0.0.0:9090 where there is no IPv6.",
        ADDRESS.with_example("[::]:9090"),
        reading,
    )
}

fn read_admin(stanza: &mut Stanza, reading: &mut Reading) -> Field<String> {
    stanza.ask(
        "socket",
        "A Unix socket for mcp-doorman connections, revoke and drain: its path. Default: none.",
        values::TEXT.with_example("/run/mcp-doorman/admin.sock"),
        reading,
    )
}

/// A port alone is understood, so that `check` can say what is missing before it.
fn address(spot: Spot, node: Node, reading: &mut Reading) -> Result<Typed<String>, Reported> {
    let Value::Whole(port) = node.value else { return values::text(spot, node, reading) };
    Ok(Typed { value: port.to_string(), shown: Some(port.to_string()), spot })
}

const ADDRESS: Form<String> = Form::new(address, schema::text);

const WORKERS: Form<u64> = Form::new(values::whole, || schema::whole(1, MOST_WORKERS.get()));

pub(super) const MOST_WORKERS: NonZeroUsize = match NonZeroUsize::new(256) {
    Some(most) => most,
    None => NonZeroUsize::MIN,
};
