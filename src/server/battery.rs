//! Raw bytes over a real socket against the whole server: threats-and-faults, Appendix A. What is refused
//! never reaches the application; what is not, reaches it once and as it was.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::StatusCode;
use http_body_util::BodyExt as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tracing::Dispatch;

use super::*;
use crate::tls::trial::{Client, Shown};
use crate::wire::answer;

/// A server that writes down what reaches its application.
pub(super) struct Recorded {
    pub(super) running: Running,
    seen: Arc<Mutex<Vec<String>>>,
    /// Of who connects, if that is over TLS.
    tls: Option<Client>,
}

impl Recorded {
    pub(super) fn start() -> Self {
        Self::start_with(&settings())
    }

    fn start_with(settings: &WorkerSettings) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&seen);
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let running = start(
            Listener::bind(ListenAddress { address: any_port, fallback: None }).unwrap(),
            NonZeroUsize::new(2).unwrap(),
            settings,
            move || {
                let record = Arc::clone(&record);
                move |request, peer| handle(request, peer, Arc::clone(&record))
            },
        );
        Self { running: running.unwrap(), seen, tls: None }
    }

    /// The same over TLS.
    fn start_over_tls() -> Self {
        let shown = Shown::make();
        let tls = Some(Acceptor::new(shown.identity()).unwrap());
        let client = Client::of(&[&shown], &["http/1.1"]);
        Self { tls: Some(client), ..Self::start_with(&WorkerSettings { tls, ..settings() }) }
    }

    /// Send `bytes` and read until the server closes.
    async fn answer(&self, bytes: &[u8]) -> String {
        let stream = TcpStream::connect(self.running.address()).await.unwrap();
        match &self.tls {
            None => answer_on(stream, bytes).await,
            Some(client) => answer_on(client.connect(stream).await.unwrap(), bytes).await,
        }
    }

    pub(super) fn take_seen(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

async fn answer_on<S>(mut stream: S, bytes: &[u8]) -> String
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(bytes).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn handle(request: Request, peer: IpAddr, seen: Arc<Mutex<Vec<String>>>) -> Response {
    assert!(peer.is_loopback());
    assert_ne!(request.uri().path(), "/panic", "asked to");
    let (parts, body) = request.into_parts();
    if parts.uri.path() == "/unread" {
        return answer::empty(StatusCode::UNAUTHORIZED).map(Into::into);
    }
    let Ok(body) = body.collect().await else {
        return answer::plain(StatusCode::BAD_GATEWAY, "broke off").map(Into::into);
    };
    let body = String::from_utf8(body.to_bytes().to_vec()).unwrap();
    let upgrades = parts.headers.keys().filter(|name| name.as_str().contains("2-settings"));
    let line = format!("{} {} {body}{}", parts.method, parts.uri, upgrades.count());
    seen.lock().unwrap().push(line);
    answer::plain(StatusCode::OK, "done").map(Into::into)
}

fn post(path: &str, fields: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}")
}

/// R5: an error that clients of either era can read.
fn assert_refused(answer: &str, status: u16, request: &str) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {answer}");
    assert!(answer.contains("content-type: application/json\r\n"), "{request:?}: {answer}");
    assert!(answer.contains("connection: close\r\n"), "{request:?}: {answer}");
    assert!(
        answer.contains(r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":""#),
        "{request:?}: {answer}"
    );
    assert_eq!(answer.matches("date: ").count(), 1, "{request:?}: {answer}");
}

#[tokio::test]
async fn what_is_malformed_on_the_wire_never_reaches_the_application() {
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let servers = [Recorded::start(), Recorded::start_over_tls()];
    let chunked = "Transfer-Encoding: chunked\r\n";
    let cases = [
        (
            400,
            post(
                "/mcp",
                &format!("Content-Length: 4\r\n{chunked}"),
                &format!("0\r\n\r\n{smuggled}"),
            ),
        ),
        (
            400,
            post(
                "/mcp",
                &format!("{chunked}Content-Length: 4\r\n"),
                &format!("0\r\n\r\n{smuggled}"),
            ),
        ),
        (400, post("/mcp", &format!("{chunked}{chunked}"), "0\r\n\r\n")),
        (400, post("/mcp", "Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n")),
        (400, post("/mcp", "Transfer-Encoding: xchunked\r\n", "0\r\n\r\n")),
        (400, post("/mcp", "Transfer-Encoding : chunked\r\n", "0\r\n\r\n")),
        (400, post("/mcp", "Content-Length: 2\r\nContent-Length: 2\r\n", "ab")),
        (400, post("/mcp", "Content-Length: 2\r\nContent-Length: 0\r\n", "ab")),
        (400, post("/mcp", "Content-Length: 2, 2\r\n", "ab")),
        (400, post("/mcp", "Content-Length: +2\r\n", "ab")),
        (400, post("/mcp", "X: 1\nContent-Length: 2\r\n", "ab")),
        (400, post("/mcp", "X: 1\r\n fold\r\n", "")),
        (400, post("/mcp", "X: a\0b\r\n", "")),
        (400, post("/mcp", "X: a\rb\r\n", "")),
        (400, "GET /mcp HTTP/1.1\r\n\r\n".to_owned()),
        (400, post("/mcp", "Host: b\r\n", "")),
        (400, "GET /mcp HTTP/1.1\r\nHost: a@evil\r\n\r\n".to_owned()),
        (400, "GET http://evil/mcp HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
        (400, post("/mcp", "Connection: X-Forwarded-User\r\nX-Forwarded-User: me\r\n", "")),
        (400, post("/mcp", "X_Forwarded_User: root\r\n", "")),
        (405, "CONNECT evil:443 HTTP/1.1\r\nHost: evil:443\r\n\r\n".to_owned()),
        (405, "TRACE /mcp HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
        (405, "get /mcp HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
        (400, "GET /mcp HTTP/1.2\r\nHost: a\r\n\r\n".to_owned()),
        (400, "PRI * HTTP/2.0\r\n\r\nSM\r\n\rX".to_owned()),
        (400, post("/mcp/../admin", "", "")),
        (400, post("/mcp/%2e%2e/admin", "", "")),
        (400, post("//mcp", "", "")),
        (400, post("/mcp;x=1", "", "")),
        (400, post("/mcp\\x", "", "")),
        (400, post("/mcp%2fx", "", "")),
        (400, post("/mcp\u{e9}", "", "")),
        (400, post("/mcp#/healthz", "", "")),
        (400, post("/mcp", "Authorization: Bearer \u{fe}\r\n", "")),
        (400, post("/mcp", "Expect: 200-ok\r\n", "")),
        (431, post("/mcp", &"X: 1\r\n".repeat(64), "")),
        (431, post("/mcp", &format!("X: {}\r\n", "x".repeat(17 * 1024)), "")),
        (431, post("/mcp", &format!("X: {}\r\n", "x".repeat(500 * 1024)), "")),
        (414, post(&format!("/{}", "x".repeat(9 * 1024)), "", "")),
    ];

    for server in servers {
        for (status, request) in &cases {
            let answer = server.answer(request.as_bytes()).await;
            assert_refused(&answer, *status, &request[..request.len().min(200)]);
        }
        assert_eq!(server.take_seen(), Vec::<String>::new());
    }
}

/// The head was good and the application has the request; only the body turns out to be bad.
#[tokio::test]
async fn a_malformed_chunked_body_is_the_clients_fault() {
    let server = Recorded::start();

    for body in [
        "2\nab\r\n0\r\n\r\n",
        "2;\nab",
        "0x2\r\nab",
        "ffffffffffffffffff\r\n",
        "2\r\nabc\r\n",
        "0\r\n\n",
    ] {
        let mut stream = TcpStream::connect(server.running.address()).await.unwrap();
        let head = post("/mcp", "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n", "");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut go_on = [0; 25];
        stream.read_exact(&mut go_on).await.unwrap();
        stream.write_all(body.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();

        assert!(go_on.starts_with(b"HTTP/1.1 100 "));
        assert_refused(&answer, 400, body);
    }

    assert_eq!(server.take_seen(), Vec::<String>::new());
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_and_seen_once() {
    let servers = [Recorded::start(), Recorded::start_over_tls()];
    let requests = [
        post(
            "/a",
            "Content-Length: 5\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n",
            "hello",
        ),
        post(
            "/b?x=1",
            "Transfer-Encoding: chunked\r\n",
            "2\r\nab\r\n0\r\nAuthorization: x\r\n\r\n",
        ),
        "\r\nGET /c HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nConnection: close\r\n\r\nc"
            .to_owned(),
    ];

    for server in servers {
        let answer = server.answer(requests.concat().as_bytes()).await;

        assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 3, "{answer}");
        assert_eq!(server.take_seen(), ["POST /a hello0", "POST /b?x=1 ab0", "GET /c c0"]);
    }
}

#[tokio::test]
async fn a_request_after_an_answer_is_judged_like_the_first() {
    let server = Recorded::start();
    let mut stream = TcpStream::connect(server.running.address()).await.unwrap();
    let mut first = vec![0; 256];

    stream.write_all(post("/a", "Content-Length: 0\r\n", "").as_bytes()).await.unwrap();
    let read = stream.read(&mut first).await.unwrap();
    stream.write_all(b"GET /b HTTP/1.1\nHost: a\r\n\r\n").await.unwrap();
    let mut second = String::new();
    stream.read_to_string(&mut second).await.unwrap();

    assert!(first[..read].starts_with(b"HTTP/1.1 200 OK"));
    assert_refused(&second, 400, "the second");
    assert_eq!(server.take_seen(), ["POST /a 0"]);
}

/// Closing at once would reset the connection, and the client would never learn that its token is bad.
#[tokio::test]
async fn an_answer_given_before_the_body_was_read_arrives() {
    let body = "x".repeat(3_000_000);
    let request = post("/unread", "Content-Length: 3000000\r\n", &body);
    for server in [Recorded::start(), Recorded::start_over_tls()] {
        let answer = server.answer(request.as_bytes()).await;

        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    }
}

#[tokio::test]
async fn a_panic_ends_its_own_connection_only() {
    let server = Recorded::start();
    let request = |path: &str| post(path, "Connection: close\r\n", "");

    // Twice for each worker.
    for _ in 0..4 {
        assert_eq!(server.answer(request("/panic").as_bytes()).await, "");
    }

    for _ in 0..4 {
        let answer = server.answer(request("/a").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    }
}

#[tokio::test]
async fn connections_are_dealt_to_the_workers_in_turn() {
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let settings = settings();
    let workers = NonZeroUsize::new(3).unwrap();
    let listener = Listener::bind(ListenAddress { address: any_port, fallback: None }).unwrap();
    let running = start(listener, workers, &settings, || {
        let made_on = std::thread::current().id();
        move |_: Request, _: IpAddr| async move {
            assert_eq!(std::thread::current().id(), made_on);
            let name = std::thread::current().name().unwrap().to_owned();
            answer::json(StatusCode::OK, &name).map(Into::into)
        }
    });
    let server = Recorded { running: running.unwrap(), seen: Arc::default(), tls: None };
    let mut names = Vec::new();

    for _ in 0..6 {
        let answer = server.answer(post("/", "Connection: close\r\n", "").as_bytes()).await;
        names.push(answer[answer.len() - 9..].to_owned());
    }

    assert_ne!(names[0], names[1]);
    assert_ne!(names[1], names[2]);
    assert_eq!(names[..3], names[3..]);
}

#[tokio::test]
async fn after_a_drain_nobody_listens() {
    let server = Recorded::start();
    let at_once =
        DrainSettings { keep_accepting: Duration::ZERO, finish_within: Duration::from_secs(25) };
    let mut idle = TcpStream::connect(server.running.address()).await.unwrap();
    let mut rest = Vec::new();

    let drained = server.running.drain(at_once).await;

    assert_eq!(drained, Drained::Everything);
    assert_eq!(idle.read_to_end(&mut rest).await.unwrap(), 0);
    TcpStream::connect(server.running.address()).await.unwrap_err();
}

/// Threat F6. Who has too many is closed without an answer; those that stand go on, and make room when they go.
#[tokio::test]
async fn one_address_does_not_take_all_connections() {
    let peers = Peers::new(NonZeroUsize::new(2), Vec::new());
    let server = Recorded::start_with(&WorkerSettings { peers, ..settings() });
    let connect = || TcpStream::connect(server.running.address());
    let request = post("/a", "Connection: close\r\n", "");
    let (mut one, _two) = (connect().await.unwrap(), connect().await.unwrap());

    let mut third = connect().await.unwrap();
    // It may be closed before that is written, or with it unread.
    let _ = third.write_all(request.as_bytes()).await;
    let mut answer = String::new();
    let _ = third.read_to_string(&mut answer).await;

    assert_eq!(answer, "");
    one.write_all(request.as_bytes()).await.unwrap();
    one.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    let has_room = async {
        loop {
            let mut next = connect().await.unwrap();
            let _ = next.write_all(request.as_bytes()).await;
            let mut answer = String::new();
            let _ = next.read_to_string(&mut answer).await;
            if answer.starts_with("HTTP/1.1 200 OK") {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), has_room).await.unwrap();
}

/// The kernel has told its client that the connection stands.
#[tokio::test]
async fn who_waits_to_be_accepted_is_served_before_nobody_listens() {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(TcpStream::connect(address).await.unwrap());
    }
    let settings = settings();
    let (drain, mut stop) = Drain::new();
    let handler = || async |_, _| answer::plain(StatusCode::OK, "done").map(Into::into);
    let workers = Workers::start(NonZeroUsize::MIN, &settings, handler, &stop).unwrap();
    let at_once =
        DrainSettings { keep_accepting: Duration::ZERO, finish_within: Duration::from_secs(25) };

    let serving = async {
        stop.reached(drain::Stage::Finishing).await;
        listen::accept(listener, Peers::default(), workers, stop).await;
        TcpStream::connect(address).await.unwrap_err();
        for client in &mut clients {
            client.write_all(post("/a", "", "").as_bytes()).await.unwrap();
        }
        for client in &mut clients {
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
            assert!(answer.contains("connection: close\r\n"), "{answer}");
        }
    };

    assert_eq!(tokio::join!(drain.drain(at_once), serving).0, Drained::Everything);
}

fn settings() -> WorkerSettings {
    WorkerSettings { log: Dispatch::none(), peers: Peers::default(), tls: None }
}
