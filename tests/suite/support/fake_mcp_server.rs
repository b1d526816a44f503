//! An MCP server that knows nothing of OAuth: keeps whole requests and answers as the test says.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, UnixListener};
use tokio::sync::{Semaphore, broadcast, mpsc, watch};
use tokio_rustls::TlsAcceptor;

use crate::support::raw_mcp_server::RawMcpServer;
use crate::support::soon;

/// What the proxy sent.
#[derive(Clone, Debug)]
pub struct Received {
    pub method: Method,
    /// Path and query.
    pub target: String,
    /// As HTTP/2 says it.
    pub authority: Option<String>,
    pub headers: HeaderMap,
    pub body: Bytes,
}

#[derive(Clone, Debug)]
pub struct FakeMcpServer {
    address: SocketAddr,
    inner: Arc<Inner>,
}

/// How it speaks HTTP/2, where it does.
#[derive(Clone, Default)]
pub struct Http2 {
    pub most_streams: Option<u32>,
    pub tls: Option<TlsAcceptor>,
}

/// What happens to all connections over which HTTP/2 is spoken.
#[derive(Clone, Copy, Debug)]
enum End {
    /// They take no more requests.
    GoAway,
    Break,
}

/// What an answer is made of by itself, piece by piece, as fast as it is taken.
#[derive(Clone, Debug)]
pub struct Flood(Arc<AtomicUsize>);

/// What a test gives to an answer, piece by piece. Dropped: the answer ends.
#[derive(Debug)]
pub struct Feed {
    frames: mpsc::UnboundedSender<Result<Bytes, io::Error>>,
}

#[derive(Debug)]
struct Inner {
    usual: Mutex<Usual>,
    /// Answers the next request instead, once.
    next: Mutex<Option<(&'static str, Source)>>,
    received: Mutex<Vec<Received>>,
    /// One permit per connection.
    connections: Semaphore,
    /// One permit per request whose head has arrived.
    arrivals: Semaphore,
    /// One permit per request that the proxy gave up before its answer was whole.
    hang_ups: Semaphore,
    ends: broadcast::Sender<End>,
    /// Each answer that `streams_to_everybody` is made of.
    streams: Mutex<Vec<mpsc::UnboundedSender<Result<Bytes, io::Error>>>>,
    /// Over which HTTP/2 is spoken now.
    open_connections: AtomicUsize,
    answers_unread: AtomicBool,
    /// Whether request bodies are read.
    reads: watch::Sender<bool>,
    uploads: mpsc::UnboundedSender<Bytes>,
    uploaded: tokio::sync::Mutex<mpsc::UnboundedReceiver<Bytes>>,
}

#[derive(Clone, Debug)]
enum Usual {
    Answer { status: StatusCode, headers: Vec<(String, String)>, body: Bytes },
    Never,
    Stream,
}

type Frames = mpsc::UnboundedReceiver<Result<Bytes, io::Error>>;

impl FakeMcpServer {
    /// Answers every request with an empty list of tools, until told otherwise.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self::at(listener.local_addr().unwrap());
        server.answers(200, &[("content-type", "application/json")], TOOLS);
        tokio::spawn(listen(listener, server.inner.clone()));
        server
    }

    /// Listens at `socket` too.
    pub fn also_at(&self, socket: &Path) {
        let (listener, server) = (UnixListener::bind(socket).unwrap(), self.inner.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serve(&server, stream);
            }
        });
    }

    /// Listens on another port too, where it speaks TLS to who knows that HTTP/1.1 follows.
    pub async fn also_over_tls(&self, tls: TlsAcceptor) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = self.inner.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, server) = (tls.clone(), server.clone());
                tokio::spawn(async move {
                    let Ok(stream) = tls.accept(stream).await else { return };
                    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
                    serve(&server, stream);
                });
            }
        });
        port
    }

    /// Listens on another port too, where it speaks HTTP/2 and nothing else.
    pub async fn also_over_http2(&self, how: Http2) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = self.inner.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (how, server) = (how.clone(), server.clone());
                tokio::spawn(async move {
                    let Some(tls) = &how.tls else {
                        return serve_http2(server, stream, how.most_streams).await;
                    };
                    let Ok(stream) = tls.accept(stream).await else { return };
                    serve_http2(server, stream, how.most_streams).await;
                });
            }
        });
        port
    }

    /// Listens at `socket` too, where it speaks HTTP/2 and nothing else.
    pub fn also_at_over_http2(&self, socket: &Path) {
        let (listener, server) = (UnixListener::bind(socket).unwrap(), self.inner.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve_http2(server.clone(), stream, None));
            }
        });
    }

    /// How many connections there are over which HTTP/2 is spoken.
    pub fn open_connections(&self) -> usize {
        self.inner.open_connections.load(Ordering::Relaxed)
    }

    /// Answers requests, from now on, without reading their bodies.
    pub fn answers_unread(&self) {
        self.inner.answers_unread.store(true, Ordering::Relaxed);
    }

    /// Over HTTP/2, take no more requests on the connections that are there (RFC 9113 §6.8).
    pub fn goes_away(&self) {
        let _ = self.inner.ends.send(End::GoAway);
    }

    /// Over HTTP/2, break all connections that are there.
    pub fn breaks_connections(&self) {
        let _ = self.inner.ends.send(End::Break);
    }

    /// A port that is taken and where nobody listens.
    pub fn refusing() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let server = Self::at(socket.local_addr().unwrap());
        // Kept open, so that no other test gets the port.
        tokio::spawn(async move {
            let _socket = socket;
            std::future::pending::<()>().await;
        });
        server
    }

    /// Answers with bytes that are not HTTP.
    pub async fn garbled() -> Self {
        Self::writing("SSH-2.0-OpenSSH_9.9\r\n\r\n").await
    }

    /// Answers every connection with this text as it is, and closes it.
    pub async fn writing(text: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self::at(listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let _ = stream.read(&mut [0; 4096]).await;
                    let _ = stream.write_all(text.as_bytes()).await;
                    let _ = stream.shutdown().await;
                    // To the end: closed with bytes unread, the answer could be lost on its way.
                    while stream.read(&mut [0; 4096]).await.is_ok_and(|count| count > 0) {}
                });
            }
        });
        server
    }

    /// Where another one listens.
    pub fn in_place_of(other: &RawMcpServer) -> Self {
        Self::at(other.address())
    }

    fn at(address: SocketAddr) -> Self {
        let (uploads, uploaded) = mpsc::unbounded_channel();
        let inner = Inner {
            usual: Mutex::new(Usual::Never),
            next: Mutex::default(),
            received: Mutex::default(),
            connections: Semaphore::new(0),
            arrivals: Semaphore::new(0),
            hang_ups: Semaphore::new(0),
            ends: broadcast::Sender::new(16),
            streams: Mutex::default(),
            open_connections: AtomicUsize::new(0),
            answers_unread: AtomicBool::new(false),
            reads: watch::Sender::new(true),
            uploads,
            uploaded: tokio::sync::Mutex::new(uploaded),
        };
        Self { address, inner: Arc::new(inner) }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn authority(&self) -> String {
        self.address.to_string()
    }

    pub fn answers(&self, status: u16, headers: &[(&str, &str)], body: &'static str) {
        let headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        let status = StatusCode::from_u16(status).unwrap();
        let body = Bytes::from_static(body.as_bytes());
        *self.inner.usual.lock().unwrap() =
            Usual::Answer { status, headers: headers.collect(), body };
    }

    pub fn never_answers(&self) {
        *self.inner.usual.lock().unwrap() = Usual::Never;
    }

    /// Every request is answered with a stream that stays open, and says what `tells_everybody` is given.
    pub fn streams_to_everybody(&self) {
        *self.inner.usual.lock().unwrap() = Usual::Stream;
    }

    pub fn tells_everybody(&self, data: &str) {
        for stream in &*self.inner.streams.lock().unwrap() {
            let _ = stream.send(Ok(format!("data: {data}\n\n").into()));
        }
    }

    /// Whether it reads the bodies of requests, from now on.
    pub fn reads_uploads(&self, reads: bool) {
        self.inner.reads.send_replace(reads);
    }

    /// The next request is answered with the events that the test gives to the `Feed`.
    pub fn streams_events(&self) -> Feed {
        self.fed("text/event-stream")
    }

    /// The next request is answered with JSON that the test gives to the `Feed`.
    pub fn answers_later(&self) -> Feed {
        self.fed("application/json")
    }

    /// The next request is answered with one event as long as this, which begins and ends as events do.
    pub fn floods(&self, length: usize) -> Flood {
        let taken = Arc::new(AtomicUsize::new(0));
        let source = Source::Flood { taken: taken.clone(), length };
        *self.inner.next.lock().unwrap() = Some(("text/event-stream", source));
        Flood(taken)
    }

    fn fed(&self, content_type: &'static str) -> Feed {
        let (sender, frames) = mpsc::unbounded_channel();
        *self.inner.next.lock().unwrap() = Some((content_type, Source::Fed(frames)));
        Feed { frames: sender }
    }

    pub fn received(&self) -> Vec<Received> {
        self.inner.received.lock().unwrap().clone()
    }

    /// The only request so far.
    #[track_caller]
    pub fn only_request(&self) -> Received {
        let mut received = self.received();
        assert_eq!(received.len(), 1, "{received:#?}");
        received.remove(0)
    }

    #[track_caller]
    pub fn assert_untouched(&self) {
        let received = self.received();
        assert!(received.is_empty(), "the MCP server was reached: {received:#?}");
    }

    /// How many connections there were that nobody has waited for.
    pub fn connections(&self) -> usize {
        self.inner.connections.available_permits()
    }

    /// Wait for one more connection, whatever comes over it.
    pub async fn connection(&self) {
        self.inner.connections.acquire().await.unwrap().forget();
    }

    /// Wait until the head of one more request is here.
    pub async fn arrival(&self) {
        soon("a request at the MCP server", self.inner.arrivals.acquire()).await.unwrap().forget();
    }

    /// Wait until the proxy has given up one more request.
    pub async fn hang_up(&self) {
        soon("the proxy to hang up", self.inner.hang_ups.acquire()).await.unwrap().forget();
    }

    /// The next piece of a request body, as it comes.
    pub async fn next_upload(&self) -> Bytes {
        let mut uploaded = self.inner.uploaded.lock().await;
        soon("a piece of a request body", uploaded.recv()).await.unwrap()
    }
}

impl Received {
    /// Every value of that header.
    pub fn values(&self, name: &str) -> Vec<&str> {
        self.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
    }

    /// Everything as one text, to look for what must not be in it.
    pub fn text(&self) -> String {
        format!("{} {}\n{:?}\n{}", self.method, self.target, self.headers, self.body.escape_ascii())
    }
}

impl Flood {
    /// How much of it has left the MCP server.
    pub fn taken(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// What all of it is.
    pub fn byte_at(place: usize, length: usize) -> u8 {
        match place {
            _ if place + 2 >= length => b'\n',
            // `data:`, and then no end of line.
            0..5 => b"data:"[place],
            _ => b'a' + u8::try_from(place % 23).unwrap(),
        }
    }
}

impl Feed {
    pub fn event(&self, data: &str) {
        self.bytes(format!("data: {data}\n\n"));
    }

    pub fn bytes(&self, bytes: impl Into<Bytes>) {
        let _ = self.frames.send(Ok(bytes.into()));
    }

    /// End the answer as it should end.
    pub fn end(self) {
        drop(self);
    }

    /// Break the connection in the middle of the answer.
    pub fn break_off(self) {
        let _ = self.frames.send(Err(io::Error::other("broken off")));
    }
}

async fn listen(listener: TcpListener, server: Arc<Inner>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        serve(&server, stream);
    }
}

fn serve(server: &Arc<Inner>, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    server.connections.add_permits(1);
    let server = server.clone();
    let service = service_fn(move |request| answer(server.clone(), request));
    tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
}

struct Closed(Arc<Inner>);

impl Drop for Closed {
    fn drop(&mut self) {
        self.0.open_connections.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn serve_http2(
    server: Arc<Inner>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    most_streams: Option<u32>,
) {
    server.connections.add_permits(1);
    server.open_connections.fetch_add(1, Ordering::Relaxed);
    let _closed = Closed(server.clone());
    let mut ends = server.ends.subscribe();
    let service = service_fn(move |request| answer(server.clone(), request));
    let connection = http2::Builder::new(TokioExecutor::new())
        .max_concurrent_streams(most_streams)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    loop {
        tokio::select! {
            _ = connection.as_mut() => return,
            end = ends.recv() => match end {
                Ok(End::GoAway) => connection.as_mut().graceful_shutdown(),
                Ok(End::Break) | Err(_) => return,
            },
        }
    }
}

async fn answer(
    server: Arc<Inner>,
    request: http::Request<Incoming>,
) -> Result<Response<AnswerBody>, io::Error> {
    let mut watch = Watch { server: server.clone(), is_whole: false };
    let (head, mut body) = request.into_parts();
    let number = {
        let mut received = server.received.lock().unwrap();
        received.push(Received {
            method: head.method,
            target: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
            authority: head.uri.authority().map(ToString::to_string),
            headers: head.headers,
            body: Bytes::new(),
        });
        received.len() - 1
    };
    server.arrivals.add_permits(1);
    let mut whole = Vec::new();
    let mut reads = server.reads.subscribe();
    while !server.answers_unread.load(Ordering::Relaxed) {
        let _ = reads.wait_for(|reads| *reads).await;
        let Some(frame) = body.frame().await else { break };
        if let Ok(bytes) = frame.map_err(io::Error::other)?.into_data() {
            whole.extend_from_slice(&bytes);
            // HTTP/2 may end a body with an empty piece.
            if !bytes.is_empty() {
                let _ = server.uploads.send(bytes);
            }
        }
    }
    server.received.lock().unwrap()[number].body = whole.into();
    let next = server.next.lock().unwrap().take();
    if let Some((content_type, source)) = next {
        let answer = Response::builder().header("content-type", content_type);
        return Ok(answer.body(AnswerBody { source, watch }).unwrap());
    }
    let usual = server.usual.lock().unwrap().clone();
    let (status, headers, body) = match usual {
        Usual::Answer { status, headers, body } => (status, headers, body),
        Usual::Never => return std::future::pending().await,
        Usual::Stream => {
            let (sender, frames) = mpsc::unbounded_channel();
            server.streams.lock().unwrap().push(sender);
            let answer = Response::builder().header("content-type", "text/event-stream");
            return Ok(answer.body(AnswerBody { source: Source::Fed(frames), watch }).unwrap());
        }
    };
    let mut answer = Response::builder().status(status);
    for (name, value) in headers {
        answer = answer.header(name, value);
    }
    watch.is_whole = true;
    Ok(answer.body(AnswerBody { source: Source::Whole(Some(body)), watch }).unwrap())
}

struct AnswerBody {
    source: Source,
    watch: Watch,
}

#[derive(Debug)]
enum Source {
    Whole(Option<Bytes>),
    Fed(Frames),
    Flood { taken: Arc<AtomicUsize>, length: usize },
}

/// Tells, when it goes, whether the answer was whole.
struct Watch {
    server: Arc<Inner>,
    is_whole: bool,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.is_whole {
            self.server.hang_ups.add_permits(1);
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let body = self.get_mut();
        match &mut body.source {
            Source::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Source::Fed(frames) => {
                let next = frames.poll_recv(context);
                body.watch.is_whole |= matches!(next, Poll::Ready(None));
                next.map(|next| next.map(|bytes| bytes.map(Frame::data)))
            }
            Source::Flood { taken, length } => {
                let from = taken.load(Ordering::Relaxed);
                let to = (*length).min(from + PIECE);
                taken.store(to, Ordering::Relaxed);
                body.watch.is_whole |= to == *length;
                let bytes: Bytes = (from..to).map(|at| Flood::byte_at(at, *length)).collect();
                Poll::Ready((from < to).then(|| Ok(Frame::data(bytes))))
            }
        }
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match &self.source {
            Source::Whole(bytes) => {
                http_body::SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64)
            }
            Source::Fed(_) | Source::Flood { .. } => http_body::SizeHint::default(),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.source, Source::Whole(None))
    }
}

/// How much of a request's body it takes before it reads it.
const WINDOW: u32 = 64 * 1024;
/// Of a flood.
const PIECE: usize = 64 * 1024;
const TOOLS: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[]}}"#;
