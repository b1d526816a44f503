//! The internet beyond the IdP: one TLS server that answers for every name, publishes client ID metadata
//! documents, and misbehaves on demand; and a resolver that says what the test wants.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use mcp_doorman::outbound::{Internet, Names, Route};
use mcp_doorman::tls::Trust;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;

use crate::support::client::{Client, metadata};

/// Where the usual client publishes its document.
pub const DOCUMENT: &str = "https://client.example/oauth/client.json";
/// What a name resolves to unless the test says otherwise.
const PUBLIC: &str = "93.184.215.14";

#[derive(Clone, Debug)]
pub struct DocumentHost {
    address: SocketAddr,
    authority: Vec<u8>,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    documents: Mutex<HashMap<String, String>>,
    manner: Mutex<Manner>,
    /// The heads of the requests that arrived.
    heads: Mutex<Vec<String>>,
    connections: Mutex<Vec<Instant>>,
    lookups: Mutex<Vec<String>>,
    /// What a name resolves to, one answer after the other; the last one stays.
    answers: Mutex<HashMap<String, Vec<Vec<Route>>>>,
}

/// How the server answers.
#[derive(Clone, Debug)]
pub enum Manner {
    /// What was published, with these header lines.
    Published(&'static str),
    /// These bytes, and then the connection is closed.
    Raw(Vec<u8>),
    /// These bytes over and over.
    Endless(Vec<u8>),
    /// These bytes, and then nothing more.
    Stalled(Vec<u8>),
}

/// Nothing has an address there.
pub fn no_internet() -> Internet {
    Internet { names: Names::Told(Arc::new(|_| Vec::new())), trust: Trust::System }
}

impl DocumentHost {
    /// With the document of the usual client, which waits at `redirect_uri`.
    pub async fn of_a_client_at(redirect_uri: &str) -> Self {
        let host = Self::start().await;
        host.publish(DOCUMENT, &document(DOCUMENT, &[redirect_uri]));
        host
    }

    pub async fn start() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let names = ["client.example", "*.client.example", "other.example"].map(str::to_owned);
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
        let settings = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                key.serialize_der().try_into().unwrap(),
            )
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            documents: Mutex::default(),
            manner: Mutex::new(Manner::Published("cache-control: max-age=3600\r\n")),
            heads: Mutex::default(),
            connections: Mutex::default(),
            lookups: Mutex::default(),
            answers: Mutex::default(),
        });
        tokio::spawn(accept(listener, TlsAcceptor::from(Arc::new(settings)), Arc::clone(&state)));
        Self { address, authority: issuer.der().to_vec(), state }
    }

    /// The internet in which every name leads here.
    pub fn internet(&self) -> Internet {
        let host = self.clone();
        let answer = move |name: &str| host.look_up(name);
        Internet {
            names: Names::Told(Arc::new(answer)),
            trust: Trust::Authority(self.authority.clone()),
        }
    }

    pub fn publish(&self, url: &str, document: &Value) {
        let text = document.to_string();
        self.state.documents.lock().unwrap().insert(path_of(url), text);
    }

    pub fn behaves(&self, manner: Manner) {
        *self.state.manner.lock().unwrap() = manner;
    }

    /// A name that resolves to these addresses; connections come here all the same.
    pub fn has_addresses(&self, name: &str, addresses: &[&str]) {
        let routes = addresses.iter().map(|address| self.route(address)).collect();
        self.has_routes(name, vec![routes]);
    }

    /// What a name resolves to, one answer after the other.
    pub fn has_routes(&self, name: &str, answers: Vec<Vec<Route>>) {
        self.state.answers.lock().unwrap().insert(name.to_owned(), answers);
    }

    /// The address that is judged, and this server behind it.
    pub fn route(&self, address: &str) -> Route {
        Route { address: address.parse().unwrap(), dial: self.address }
    }

    /// The heads of all requests so far.
    pub fn requests(&self) -> Vec<String> {
        self.state.heads.lock().unwrap().clone()
    }

    /// When each connection came, whether or not anything was sent on it.
    pub fn connections(&self) -> Vec<Instant> {
        self.state.connections.lock().unwrap().clone()
    }

    /// Every name that was looked up.
    pub fn lookups(&self) -> Vec<String> {
        self.state.lookups.lock().unwrap().clone()
    }

    fn look_up(&self, name: &str) -> Vec<Route> {
        self.state.lookups.lock().unwrap().push(name.to_owned());
        let mut answers = self.state.answers.lock().unwrap();
        match answers.get_mut(name) {
            Some(answers) if answers.len() > 1 => answers.remove(0),
            Some(answers) => answers[0].clone(),
            None => vec![self.route(PUBLIC)],
        }
    }
}

/// A client that is known by the document at `url`.
pub fn known_by(url: &str, redirect_uri: &str) -> Client {
    Client { id: url.to_owned(), redirect_uri: redirect_uri.to_owned() }
}

/// What a client publishes at `url`.
pub fn document(url: &str, redirect_uris: &[&str]) -> Value {
    let mut document = metadata("");
    document["client_id"] = json!(url);
    document["redirect_uris"] = json!(redirect_uris);
    document
}

/// A whole answer with `head` (status line and header lines) and `body`.
pub fn raw(head: &str, body: &str) -> Manner {
    Manner::Raw(format!("HTTP/1.1 {head}\r\n\r\n{body}").into_bytes())
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, state: Arc<State>) {
    while let Ok((stream, _)) = listener.accept().await {
        state.connections.lock().unwrap().push(Instant::now());
        let (tls, state) = (tls.clone(), Arc::clone(&state));
        tokio::spawn(async move {
            if let Ok(mut stream) = tls.accept(stream).await {
                // Who was refused hangs up: nothing to tell about it.
                let _ = answer(&mut stream, &state).await;
            }
        });
    }
}

async fn answer(
    stream: &mut tokio_rustls::server::TlsStream<tokio::net::TcpStream>,
    state: &State,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap().to_owned();
    state.heads.lock().unwrap().push(head);
    let manner = state.manner.lock().unwrap().clone();
    match manner {
        Manner::Published(lines) => {
            let document = state.documents.lock().unwrap().get(&path).cloned();
            let (status, body) = match document {
                Some(document) => ("200 OK", document),
                None => ("404 Not Found", "{}".to_owned()),
            };
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{lines}\r\n{body}"
            );
            stream.write_all(answer.as_bytes()).await?;
            stream.shutdown().await
        }
        Manner::Raw(bytes) => {
            stream.write_all(&bytes).await?;
            stream.shutdown().await
        }
        Manner::Endless(bytes) => loop {
            stream.write_all(&bytes).await?;
        },
        Manner::Stalled(bytes) => {
            stream.write_all(&bytes).await?;
            stream.flush().await?;
            // Until the other side gives up.
            stream.read_u8().await.map(|_| ())
        }
    }
}

fn path_of(url: &str) -> String {
    let url = url::Url::parse(url).unwrap();
    url[url::Position::BeforePath..url::Position::AfterQuery].to_owned()
}
