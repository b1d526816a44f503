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
use http::StatusCode;
use http::header::{HOST, HeaderValue};
use tracing::Dispatch;

use crate::app::{self, Listeners, Surroundings};
use crate::chance::NoEntropy;
use crate::config::{self, Environment, Problems};
use crate::demo::idp::{DemoIdp, Login, NotPrepared, RegisteredClient};
use crate::policy::UpstreamServer;
use crate::proxy::upstream;
use crate::secret::Secret;
use crate::server::{self, ListenAddress, Listener, Peers, WorkerSettings};
use crate::tls::{self, ServerTls, TlsFault, Trust};
use crate::wire::{Request, Response, UpstreamKind, UpstreamProtocol, UpstreamUrl, answer};

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
    /// Whether anything listens there, as yet.
    pub upstream_answers: bool,
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
    Tls(#[from] TlsFault),
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
    let idp_issuer = origin(idp.address());
    let url = format!("{}/mcp", origin(public.address()));

    let (sample, guarded) = if let Some(upstream) = settings.upstream {
        let text = upstream.to_string();
        let tls = (upstream.kind == UpstreamKind::Https)
            .then(|| ServerTls::of(upstream.authority.host()))
            .flatten();
        let system = tls::client_config(&Trust::System)?;
        let server =
            UpstreamServer::over_tls(upstream, UpstreamProtocol::Http1, tls.as_ref(), &system)?;
        let upstream_answers = upstream::accepts(&server).await.is_ok();
        let guarded = Guarded { upstream: text, name: None, upstream_answers };
        (None, guarded)
    } else {
        let sample = listen(ANY_PORT)?;
        let upstream = format!("{}/mcp", origin(sample.address()));
        let guarded =
            Guarded { upstream, name: Some("the demo MCP server"), upstream_answers: true };
        (Some(serve_sample(sample, &log)?), guarded)
    };
    let password = Secret::new(format!("{:016x}", u64::from_be_bytes(chance.bytes()?)));
    let client_secret = Secret::new(URL_SAFE_NO_PAD.encode(chance.bytes::<32>()?));
    let sealing_key = Secret::new(STANDARD.encode(chance.bytes::<32>()?));
    let environment = Environment::of_this_process()
        .with_file(CONFIG_FILE, configuration(&url, &guarded, &idp_issuer))
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
    let sidecar =
        app::start_on(Listeners { public, health, admin: None }, config, surroundings).await?;
    Ok(Demo {
        url,
        upstream: guarded.upstream,
        upstream_answers: guarded.upstream_answers,
        username: USERNAME.to_owned(),
        password,
        _sidecar: sidecar,
        _idp: idp,
        _sample: sample,
    })
}

/// The MCP server behind.
struct Guarded {
    upstream: String,
    /// Left out, people are shown the URL.
    name: Option<&'static str>,
    upstream_answers: bool,
}

/// As an operator would write it. The ports are ours already, so none is named; nothing leaves this
/// machine, so no client can be known by a document.
fn configuration(url: &str, Guarded { upstream, name, .. }: &Guarded, idp: &str) -> String {
    let name = name.map_or_else(String::new, |name| format!("\n    name: {name}"));
    format!(
        r#"resources:
  - url: "{url}"
    upstream: "{upstream}"{name}
    access: any
idp:
  issuer: "{idp}"
  client_id: {CLIENT_ID}
  client_secret: {{ env: {CLIENT_SECRET} }}
  scopes: [openid, profile, email, offline_access]
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
    let own = origin(listener.address());
    let make_handler = move || {
        let own = own.clone();
        move |request: Request, _peer| {
            let is_ours = names(&request, &own);
            async move {
                let answer =
                    if is_ours { mcp_server::answer(request).await } else { misdirected() };
                answer.map(Into::into)
            }
        }
    };
    server::start(listener, NonZeroUsize::MIN, &worker(log), make_handler)
}

fn serve_idp(
    listener: Listener,
    idp: DemoIdp,
    log: &Dispatch,
) -> Result<server::Running, server::StartFault> {
    let (own, idp) = (origin(listener.address()), Arc::new(idp));
    let make_handler = move || {
        let (own, idp) = (own.clone(), Arc::clone(&idp));
        move |request: Request, _peer| {
            let (is_ours, idp) = (names(&request, &own), Arc::clone(&idp));
            async move {
                let answer = if is_ours { idp.answer(request).await } else { misdirected() };
                answer.map(Into::into)
            }
        }
    };
    server::start(listener, NonZeroUsize::MIN, &worker(log), make_handler)
}

/// Without the port where it is the scheme's own, as clients write it.
fn origin(address: SocketAddr) -> String {
    match address.port() {
        80 if address.is_ipv6() => format!("http://[{}]", address.ip()),
        80 => format!("http://{}", address.ip()),
        _ => format!("http://{address}"),
    }
}

/// Is the `Host` that of `origin`? A page of another site may have its own name point here (DNS
/// rebinding), but can't say a name that it has not.
fn names(request: &Request, origin: &str) -> bool {
    let host = request.headers().get(HOST).map(HeaderValue::as_bytes);
    host.is_some() && host == origin.strip_prefix("http://").map(str::as_bytes)
}

/// RFC 9110 §15.5.20
fn misdirected() -> Response {
    answer::plain(StatusCode::MISDIRECTED_REQUEST, "this is not the server that Host names\n")
}

fn worker(log: &Dispatch) -> WorkerSettings {
    WorkerSettings { log: log.clone(), peers: Peers::default(), tls: None }
}

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const USERNAME: &str = "demo";
const CLIENT_ID: &str = "mcp-doorman";
/// Not on the disk, and no variables of this process: they exist for the config alone.
const CONFIG_FILE: &str = "the configuration of try";
const CLIENT_SECRET: &str = "DEMO_CLIENT_SECRET";
const SEALING_KEY: &str = "DEMO_SEALING_KEY";

#[cfg(test)]
mod tests {
    use super::*;

    /// Clients leave a scheme's own port out, and what they send is compared with this.
    #[test]
    fn an_origin_has_no_port_that_goes_without_saying() {
        for (address, expected) in [
            ("127.0.0.1:80", "http://127.0.0.1"),
            ("[::1]:80", "http://[::1]"),
            ("127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("[::1]:8080", "http://[::1]:8080"),
        ] {
            assert_eq!(origin(address.parse().unwrap()), expected);
        }
    }
}
