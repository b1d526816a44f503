//! One request and its answer, kept whole, so that a failed assertion shows all of it.

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Version};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use url::{Url, form_urlencoded};

use crate::support::soon;
use crate::support::tls_authority::TlsClient;

/// Where to connect, and the `Host` to name there: what an ingress does for a client.
#[derive(Clone, Debug)]
pub struct Door {
    pub address: SocketAddr,
    pub authority: String,
    said: Transcript,
    /// How many bytes its socket takes unread. `None`: as many as the system likes.
    receives: Option<u32>,
    /// `None`: it speaks plain HTTP.
    tls: Option<TlsClient>,
}

/// What bytes go over.
pub trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}

impl<W: AsyncRead + AsyncWrite + Unpin + Send> Wire for W {}

/// Every whole exchange through a door; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Transcript(Arc<Mutex<Vec<Exchange>>>);

/// A request to be sent. Headers are kept as a list: a test may send one twice.
#[derive(Clone, Debug)]
pub struct Request {
    method: Method,
    target: String,
    headers: Vec<(String, String)>,
    body: Bytes,
}

/// The body of a request that a test gives out piece by piece. How long it is, it does not say.
#[derive(Debug)]
pub struct Upload(pub mpsc::UnboundedReceiver<Bytes>);

/// A request with its whole answer.
#[derive(Clone, Debug)]
pub struct Exchange {
    request: String,
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// An answer whose body is still coming. Dropping it hangs up.
#[derive(Debug)]
pub struct Answering {
    request: String,
    pub version: Version,
    pub status: StatusCode,
    pub headers: HeaderMap,
    body: Incoming,
    /// One of its own, which goes with it.
    connection: Option<AbortHandle>,
    said: Transcript,
}

/// The parameters at the end of a redirect back to the client.
#[derive(Clone, Debug)]
pub struct Landing {
    pub url: Url,
    shown: String,
}

/// The parameters of one `Bearer` challenge.
#[derive(Clone, Debug)]
pub struct Challenge {
    parameters: Vec<(String, String)>,
}

impl Transcript {
    pub fn exchanges(&self) -> Vec<Exchange> {
        self.0.lock().unwrap().clone()
    }
}

impl Door {
    pub fn to(address: SocketAddr, authority: impl Into<String>) -> Self {
        let said = Transcript::default();
        Self { address, authority: authority.into(), said, receives: None, tls: None }
    }

    /// The same door, with what goes through it written down in `said`.
    pub fn noting(self, said: &Transcript) -> Self {
        Self { said: said.clone(), ..self }
    }

    /// The same door, for a client whose socket takes no more than about so many bytes that nobody reads.
    pub fn receiving(self, bytes: u32) -> Self {
        Self { receives: Some(bytes), ..self }
    }

    /// The same door, where TLS is spoken.
    pub fn over_tls(self, client: TlsClient) -> Self {
        Self { tls: Some(client), ..self }
    }

    /// Connect, for `protocol` to be spoken (RFC 7301).
    pub async fn connect(&self, protocol: &[u8]) -> Box<dyn Wire> {
        let socket = TcpSocket::new_v4().unwrap();
        if let Some(bytes) = self.receives {
            socket.set_recv_buffer_size(bytes).unwrap();
        }
        let stream = soon("a connection", socket.connect(self.address)).await.unwrap();
        // What is written in two pieces must not wait for a word about the first.
        stream.set_nodelay(true).unwrap();
        let Some(client) = &self.tls else { return Box::new(stream) };
        Box::new(soon("a handshake", client.connect(stream, protocol)).await.unwrap())
    }

    /// Send `request` and read the whole answer.
    pub async fn send(&self, request: Request) -> Exchange {
        self.open(request).await.whole().await
    }

    /// `send` for who may be refused by closing: `None` if no answer began.
    pub async fn try_send(&self, request: Request) -> Option<Exchange> {
        let shown = request.to_string();
        let sent = request.into_http(&self.authority, |body| Full::new(body).boxed());
        Some(self.try_open_body(shown, sent).await.ok()?.whole().await)
    }

    /// Send `request` and return as soon as the head of the answer is there.
    pub async fn open(&self, request: Request) -> Answering {
        let shown = request.to_string();
        let sent = request.into_http(&self.authority, |body| Full::new(body).boxed());
        self.open_body(shown, sent).await
    }

    /// `open` for a body that the test gives out piece by piece.
    pub async fn open_body<B>(&self, shown: String, request: http::Request<B>) -> Answering
    where
        B: http_body::Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
            + Send
            + 'static,
    {
        let answer = self.try_open_body(shown.clone(), request).await;
        answer.unwrap_or_else(|error| panic!("no answer: {error:?}\n\n{shown}"))
    }

    async fn try_open_body<B>(
        &self,
        shown: String,
        request: http::Request<B>,
    ) -> Result<Answering, hyper::Error>
    where
        B: http_body::Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
            + Send
            + 'static,
    {
        let stream = self.connect(b"http/1.1").await;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection).abort_handle();
        let hang_up_unless_answered = HangUp(Some(connection.clone()));
        let answer = soon("the head of an answer", sender.send_request(request)).await?;
        hang_up_unless_answered.keep();
        Ok(self.answering(shown, answer, Some(connection)))
    }

    /// What `request` is answered with, on `connection`.
    pub fn answering(
        &self,
        request: String,
        answer: http::Response<Incoming>,
        connection: Option<AbortHandle>,
    ) -> Answering {
        let (head, body) = answer.into_parts();
        let (version, status, headers) = (head.version, head.status, head.headers);
        let said = self.said.clone();
        Answering { request, version, status, headers, body, connection, said }
    }

    /// Write `bytes` as they are. The status line that comes back, or `None` if the connection is closed.
    pub async fn raw(&self, bytes: &[u8]) -> Option<StatusCode> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut stream, mut writing) = stream.into_split();
        let bytes = bytes.to_vec();
        // Beside the reading: who refuses a request need not read it to its end.
        let writing = tokio::spawn(async move {
            let _ = writing.write_all(&bytes).await;
            writing
        });
        let _hang_up = HangUp(Some(writing.abort_handle()));
        let mut head = Vec::new();
        let mut buffer = [0; 1024];
        while !head.windows(2).any(|end| end == b"\r\n") {
            match soon("a status line", stream.read(&mut buffer)).await {
                Ok(0) | Err(_) => return None,
                Ok(count) => head.extend_from_slice(&buffer[..count]),
            }
        }
        let line = String::from_utf8_lossy(&head);
        Some(line.split(' ').nth(1).unwrap().parse().unwrap())
    }
}

/// Closes a connection whose answer was never seen: a test that stops waiting has hung up.
struct HangUp(Option<AbortHandle>);

impl HangUp {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for HangUp {
    fn drop(&mut self) {
        if let Some(connection) = &self.0 {
            connection.abort();
        }
    }
}

impl Request {
    /// `url` is absolute, or a path.
    pub fn new(method: Method, url: &str) -> Self {
        let target = match Url::parse(url) {
            Ok(url) => url[url::Position::BeforePath..url::Position::AfterQuery].to_owned(),
            Err(_) => url.to_owned(),
        };
        Self { method, target, headers: Vec::new(), body: Bytes::new() }
    }

    pub fn get(url: &str) -> Self {
        Self::new(Method::GET, url)
    }

    pub fn post(url: &str) -> Self {
        Self::new(Method::POST, url)
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub fn form(self, fields: &[(&str, &str)]) -> Self {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.header("content-type", "application/x-www-form-urlencoded").body(body)
    }

    pub fn json(self, value: &Value) -> Self {
        self.header("content-type", "application/json").body(value.to_string())
    }

    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// As an `http::Request` with the body that `make_body` makes of ours.
    pub fn into_http<B>(
        self,
        authority: &str,
        make_body: impl FnOnce(Bytes) -> B,
    ) -> http::Request<B> {
        let mut builder = http::Request::builder().method(self.method).uri(self.target);
        if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            builder = builder.header("host", authority);
        }
        for (name, value) in &self.headers {
            builder = builder.header(name, value);
        }
        builder.body(make_body(self.body)).unwrap()
    }
}

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}", self.method, self.target)?;
        for (name, value) in &self.headers {
            writeln!(f, "{name}: {value}")?;
        }
        write!(f, "\n{}", String::from_utf8_lossy(&self.body))
    }
}

impl Answering {
    /// The next bytes as they arrived; `None` at a proper end. An end that is not proper is an error.
    pub async fn next_bytes(&mut self) -> Option<Result<Bytes, hyper::Error>> {
        loop {
            match soon("more of the answer", self.body.frame()).await? {
                Ok(frame) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Some(Ok(bytes));
                    }
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// Read on until `text` has come.
    pub async fn until(&mut self, text: &str) -> String {
        let mut read = String::new();
        while !read.contains(text) {
            let bytes = self.next_bytes().await;
            let bytes = bytes.unwrap_or_else(|| panic!("ended before {text:?}: {read:?}"));
            read.push_str(std::str::from_utf8(&bytes.unwrap()).unwrap());
        }
        read
    }

    pub async fn whole(mut self) -> Exchange {
        let mut body = Vec::new();
        while let Some(bytes) = self.next_bytes().await {
            let bytes = bytes.unwrap_or_else(|error| {
                panic!("the answer broke off: {error:?}\n\n{}\n{}", self.request, self.status)
            });
            body.extend_from_slice(&bytes);
        }
        let exchange = Exchange {
            request: std::mem::take(&mut self.request),
            status: self.status,
            headers: std::mem::take(&mut self.headers),
            body: body.into(),
        };
        self.said.0.lock().unwrap().push(exchange.clone());
        exchange
    }

    pub fn hang_up(self) {
        drop(self);
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        if let Some(connection) = &self.connection {
            connection.abort();
        }
    }
}

impl Exchange {
    /// An answer that came from nowhere, to try the vocabulary on.
    pub fn of(status: StatusCode, headers: HeaderMap, body: Bytes) -> Self {
        Self { request: String::new(), status, headers, body }
    }

    #[track_caller]
    pub fn assert_status(&self, status: u16) -> &Self {
        assert_eq!(self.status.as_u16(), status, "\n{self}");
        self
    }

    /// RFC 6749 §5.2: a JSON error that nobody stores.
    #[track_caller]
    pub fn assert_error(&self, status: u16, code: &str) -> &Self {
        self.assert_status(status);
        assert_eq!(self.json()["error"], code, "\n{self}");
        assert_eq!(self.header("cache-control"), "no-store", "\n{self}");
        self
    }

    /// A page for a person: HTML of that status, never framed or stored, with nowhere to go on by itself.
    #[track_caller]
    pub fn assert_page(&self, status: u16) -> &Self {
        self.assert_status(status);
        assert!(self.header("content-type").starts_with("text/html"), "not a page\n{self}");
        assert!(!self.headers.contains_key("location"), "sends the browser on\n{self}");
        assert_eq!(self.header("cache-control"), "no-store", "\n{self}");
        assert_eq!(self.header("x-frame-options"), "DENY", "\n{self}");
        let policy = self.header("content-security-policy");
        for rule in ["default-src 'none'", "base-uri 'none'", "frame-ancestors 'none'"] {
            assert!(policy.contains(rule), "{rule}\n{self}");
        }
        // Chromium holds redirects after a form against it, and ours go to clients.
        assert!(!policy.contains("form-action"), "\n{self}");
        assert_eq!(self.header("x-content-type-options"), "nosniff", "\n{self}");
        assert_eq!(self.header("referrer-policy"), "no-referrer", "\n{self}");
        self
    }

    /// The browser is stopped on a page: 400 if the request is wrong, 403 if it is not this browser's.
    #[track_caller]
    pub fn assert_stopped_on_a_page(&self) -> &Self {
        assert!([400, 403].contains(&self.status.as_u16()), "not refused\n{self}");
        self.assert_page(self.status.as_u16())
    }

    /// A failure of our own on an MCP path: a JSON-RPC error object whose code no client takes for a
    /// signal about the era of the server.
    #[track_caller]
    pub fn assert_json_rpc_error(&self, status: u16) -> &Self {
        self.assert_status(status);
        let body = self.json();
        let code = body["error"]["code"].as_i64();
        assert_eq!(body["jsonrpc"], "2.0", "\n{self}");
        assert!(body.get("id").is_none_or(Value::is_null), "\n{self}");
        assert!(code.is_some_and(|code| !(-32099..=-32020).contains(&code)), "\n{self}");
        assert!(body["error"]["message"].is_string(), "\n{self}");
        self
    }

    /// The one value of that header.
    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next().unwrap_or_else(|| panic!("no header {name}\n{self}"));
        assert!(values.next().is_none(), "more than one header {name}\n{self}");
        value.to_str().unwrap()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), "application/json", "\n{self}");
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("not JSON: {error}\n{self}"))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Every value of that header as bytes: not all of the web is ASCII.
    pub fn lines(&self, header: &str) -> Vec<&[u8]> {
        self.headers.get_all(header).iter().map(http::HeaderValue::as_bytes).collect()
    }

    /// Method and path.
    pub fn asked(&self) -> &str {
        self.request.split(['?', '\n']).next().unwrap()
    }

    /// The whole answer as it looked, but for the time at which it was given.
    pub fn answer(&self) -> String {
        let shown = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes()))
        };
        let headers = self.headers.iter().filter(|(name, _)| *name != "date").map(shown);
        format!("{}\n{}\n{}", self.status, headers.collect::<String>(), self.text())
    }

    /// Where a 303 sends the browser. Nothing but 303: a POST must never be repeated (RFC 9700 §4.12).
    #[track_caller]
    pub fn location(&self) -> Url {
        self.assert_status(303);
        Url::parse(self.header("location")).unwrap()
    }

    /// The redirect that brings the browser back to the client.
    #[track_caller]
    pub fn landing(&self) -> Landing {
        Landing { url: self.location(), shown: self.to_string() }
    }

    #[track_caller]
    pub fn challenge(&self) -> Challenge {
        let header = self.header("www-authenticate");
        let parameters = header.strip_prefix("Bearer ");
        let parameters = parameters.unwrap_or_else(|| panic!("not a challenge for Bearer\n{self}"));
        let parameters = parameters.split(',').map(|parameter| {
            let (name, value) = parameter.trim().split_once('=').unwrap();
            let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
            let value = value.unwrap_or_else(|| panic!("{name} is not quoted\n{self}"));
            (name.to_owned(), value.to_owned())
        });
        Challenge { parameters: parameters.collect() }
    }
}

impl fmt::Display for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "----- request\n{}\n----- answer\n{}", self.request, self.status)?;
        for (name, value) in &self.headers {
            writeln!(f, "{name}: {}", String::from_utf8_lossy(value.as_bytes()))?;
        }
        writeln!(f, "\n{}\n-----", String::from_utf8_lossy(&self.body))
    }
}

impl Landing {
    pub fn parameter(&self, name: &str) -> Option<String> {
        let mut values = self.url.query_pairs().filter(|(own, _)| own == name);
        let value = values.next().map(|(_, value)| value.into_owned());
        assert!(values.next().is_none(), "{name} came twice\n{}", self.shown);
        value
    }

    #[track_caller]
    pub fn code(&self) -> String {
        let code = self.parameter("code");
        code.unwrap_or_else(|| panic!("no code\n{}", self.shown))
    }

    /// RFC 6749 §4.1.2.1: an error, and nothing that could be taken for success.
    #[track_caller]
    pub fn assert_error(&self, codes: &[&str]) -> &Self {
        let error = self.parameter("error").unwrap_or_default();
        assert!(codes.contains(&error.as_str()), "not one of {codes:?}\n{}", self.shown);
        assert_eq!(self.parameter("code"), None, "\n{}", self.shown);
        self
    }
}

impl Challenge {
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let mut values = self.parameters.iter().filter(|(own, _)| own == name);
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} came twice: {self:?}");
        value
    }
}
