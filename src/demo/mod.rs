//! What `try` starts: a sample MCP server, a login for one demo person, and in front of them the sidecar
//! itself, through the same door as `serve`: a configuration file.

mod idp;
mod mcp_server;
mod tools;

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use tracing::Dispatch;

use crate::app::{self, Listeners, Surroundings};
use crate::chance::NoEntropy;
use crate::config::{self, Environment, Problems};
use crate::demo::idp::{DemoIdp, Login, NotPrepared, RegisteredClient};
use crate::secret::Secret;
use crate::server::{self, Deadlines, ListenAddress, Listener, WorkerSettings};
use crate::wire::UpstreamUrl;

/// What may be chosen.
#[derive(Debug)]
pub struct DemoSettings {
    /// Of the sidecar. A loopback address; port 0 is whichever is free.
    pub listen: SocketAddr,
    /// The MCP server to put it in front of, in place of the sample.
    pub upstream: Option<UpstreamUrl>,
}

/// Everything at work. Dropping it ends it all.
#[derive(Debug)]
pub struct Demo {
    /// What to paste into an MCP client.
    pub url: String,
    /// Where the MCP server is, which knows nothing of OAuth.
    pub upstream: String,
    pub username: String,
    pub password: Secret,
    _sidecar: app::Running,
    _idp: server::Running,
    _sample: Option<server::Running>,
}

/// Why there is no demo.
#[derive(Debug, thiserror::Error)]
pub enum DemoFault {
    #[error("{0} is not a loopback address, and this is for trying only")]
    NotLoopback(SocketAddr),
    #[error(transparent)]
    Server(#[from] server::StartFault),
    #[error("the login can't be prepared: {0}")]
    Idp(#[from] NotPrepared),
    #[error(transparent)]
    Entropy(#[from] NoEntropy),
    #[error("{0}")]
    Config(Problems),
    #[error(transparent)]
    App(#[from] app::StartFault),
}

/// Start it all.
pub async fn start(settings: DemoSettings, surroundings: Surroundings) -> Result<Demo, DemoFault> {
    if !settings.listen.ip().is_loopback() {
        return Err(DemoFault::NotLoopback(settings.listen));
    }
    let Surroundings { clock, chance, log, .. } = surroundings.clone();
    let public = listen(settings.listen)?;
    let health = listen(ANY_PORT)?;
    let idp = listen(ANY_PORT)?;
    let issuer = format!("http://{}", public.address());
    let idp_issuer = format!("http://{}", idp.address());

    let (sample, upstream) = if let Some(UpstreamUrl { authority, path, .. }) = settings.upstream {
        (None, format!("http://{authority}{path}"))
    } else {
        let sample = listen(ANY_PORT)?;
        let url = format!("http://{}/mcp", sample.address());
        (Some(serve_sample(sample, &log)?), url)
    };
    let url = format!("{issuer}/mcp");
    let password = Secret::new(format!("{:016x}", u64::from_be_bytes(chance.bytes()?)));
    let client_secret = Secret::new(URL_SAFE_NO_PAD.encode(chance.bytes::<32>()?));
    let sealing_key = Secret::new(STANDARD.encode(chance.bytes::<32>()?));
    let environment = Environment::of_this_process()
        .with_file(CONFIG_FILE, configuration(&url, &upstream, &idp_issuer))
        .with_variable(CLIENT_SECRET, client_secret.expose())
        .with_variable(SEALING_KEY, sealing_key.expose());
    let config = config::load(Path::new(CONFIG_FILE), &environment).map_err(DemoFault::Config)?;

    let client = RegisteredClient {
        id: CLIENT_ID,
        secret: client_secret,
        redirect_uri: app::redirect_uri(&config),
    };
    let login = Login { username: USERNAME.to_owned(), password: password.clone() };
    let demo_idp = DemoIdp::new(idp_issuer, client, login, clock, chance)?;
    let idp = serve_idp(idp, demo_idp, &log)?;
    let sidecar = app::start_on(Listeners { public, health }, config, surroundings).await?;
    Ok(Demo {
        url,
        upstream,
        username: USERNAME.to_owned(),
        password,
        _sidecar: sidecar,
        _idp: idp,
        _sample: sample,
    })
}

/// As an operator would write it. The ports are ours already, so none is named; nothing leaves this
/// machine, so no client can be known by a document.
fn configuration(url: &str, upstream: &str, idp: &str) -> String {
    format!(
        r#"resources:
  - url: "{url}"
    upstream: "{upstream}"
    name: the demo MCP server
    access: any
idp:
  issuer: "{idp}"
  client_id: {CLIENT_ID}
  client_secret: {{ env: {CLIENT_SECRET} }}
sealing_keys:
  - {{ env: {SEALING_KEY} }}
registration:
  metadata_documents: false
"#
    )
}

fn listen(address: SocketAddr) -> Result<Listener, server::StartFault> {
    Listener::bind(ListenAddress { address, fallback: None })
}

fn serve_sample(listener: Listener, log: &Dispatch) -> Result<server::Running, server::StartFault> {
    let make_handler = || |request, _peer| mcp_server::answer(request);
    server::start(listener, NonZeroUsize::MIN, &worker(log), make_handler)
}

fn serve_idp(
    listener: Listener,
    idp: DemoIdp,
    log: &Dispatch,
) -> Result<server::Running, server::StartFault> {
    let idp = Arc::new(idp);
    let make_handler = move || {
        let idp = Arc::clone(&idp);
        move |request, _peer| {
            let idp = Arc::clone(&idp);
            async move { idp.answer(request).await }
        }
    };
    server::start(listener, NonZeroUsize::MIN, &worker(log), make_handler)
}

fn worker(log: &Dispatch) -> WorkerSettings {
    WorkerSettings { log: log.clone(), deadlines: Deadlines::default() }
}

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const USERNAME: &str = "demo";
const CLIENT_ID: &str = "mcp-doorman";
/// Not on the disk, and no variables of this process: they exist for the config alone.
const CONFIG_FILE: &str = "the configuration of try";
const CLIENT_SECRET: &str = "DEMO_CLIENT_SECRET";
const SEALING_KEY: &str = "DEMO_SEALING_KEY";
