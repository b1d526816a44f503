//! Frames over a real socket against the whole server: threats-and-faults, Appendix A, as far as HTTP/2 has
//! it. What is refused never reaches the application; what is not, reaches it once, as HTTP/1.1 would.

use tokio::net::TcpStream;

use super::by_hand::{PROTOCOL_ERROR, RST_STREAM, asking, data, fields, frame, last_data, post};
use super::frames::{END_HEADERS, END_STREAM, GOAWAY, HEADERS};
use super::*;
use crate::server::battery::Recorded;

type Fields = Vec<(String, Vec<u8>)>;

/// What came back of a request with those fields, sent on a connection of its own.
async fn answer(server: &Recorded, asked: &Fields) -> Vec<Got> {
    let stream = TcpStream::connect(server.running.address()).await.unwrap();
    let mut client = ByHand::greeting(stream).await;
    client.send(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &fields(asked))).await;
    client.answer(1).await
}

fn own(fields: &[(&str, &[u8])]) -> Fields {
    fields.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec())).collect()
}

/// `GET /` of `a`, and so on.
fn with(more: &[(&str, &[u8])]) -> Fields {
    let get = asking("GET", "/").map(|(name, value)| (name, value.as_bytes()));
    own(&[&get[..], more].concat())
}

/// The same with another value of a pseudo field, or without it.
fn but(name: &str, value: Option<&[u8]>, more: &[(&str, &[u8])]) -> Fields {
    let mut fields = with(more);
    fields.retain_mut(|field| {
        if field.0 == name
            && let Some(value) = value
        {
            field.1 = value.to_vec();
        }
        field.0 != name || value.is_some()
    });
    fields
}

#[tokio::test]
async fn what_is_refused_is_answered_and_never_reaches_the_application() {
    let server = Recorded::start();
    let many: Vec<(&str, &[u8])> = vec![("x", b"1"); 64];
    let long = [&b"/"[..], &[b'x'; 9 * 1024]].concat();
    let cases = [
        // F2
        (400, but(":authority", None, &[])),
        (400, but(":authority", None, &[("host", b"a"), ("host", b"a")])),
        (400, but(":authority", None, &[("host", b"a@evil")])),
        (400, but(":authority", Some(b"a@evil"), &[])),
        (400, but(":authority", Some(b"u:p@a"), &[("host", b"a")])),
        (400, but(":authority", Some(b"a:99999"), &[])),
        (400, with(&[("host", b"b")])),
        (400, with(&[("host", b"a:443")])),
        (400, with(&[("host", b"a"), ("host", b"a")])),
        // Methods
        (405, but(":method", Some(b"TRACE"), &[])),
        (405, but(":method", Some(b"get"), &[])),
        (405, but(":method", Some(b"PRI"), &[])),
        (405, own(&[(":method", b"CONNECT"), (":authority", b"evil:443")])),
        // Paths
        (400, own(&[(":method", b"GET"), (":scheme", b"https"), ("host", b"a")])),
        (400, but(":path", Some(b"*"), &[])),
        (400, but(":path", Some(b"/mcp/../admin"), &[])),
        (400, but(":path", Some(b"/mcp/%2e%2e/admin"), &[])),
        (400, but(":path", Some(b"//mcp"), &[])),
        (400, but(":path", Some(b"/mcp;x=1"), &[])),
        (400, but(":path", Some(b"/mcp\\x"), &[])),
        (400, but(":path", Some(b"/mcp%2fx"), &[])),
        (400, but(":path", Some("/mcp\u{e9}".as_bytes()), &[])),
        (400, but(":path", Some("/mcp?\u{e9}".as_bytes()), &[])),
        // Fields
        (400, with(&[("x_forwarded_user", b"root")])),
        (400, with(&[("transfer_encoding", b"chunked")])),
        (400, with(&[("authorization", b"Bearer \xfe")])),
        (400, with(&[("authorization", b"a"), ("authorization", b"a")])),
        (400, with(&[("mcp-session-id", b"a"), ("mcp-session-id", b"b")])),
        (400, with(&[("content-length", b"0"), ("content-length", b"0")])),
        (400, with(&[("mcp-method", b" tools/call")])),
        (400, with(&[("x", b"tab\t")])),
        (400, with(&[("expect", b"200-ok")])),
        // F5
        (414, but(":path", Some(&long), &[])),
        (431, with(&many)),
    ];

    for (status, asked) in &cases {
        let answer = answer(&server, asked).await;
        let shown = fields(asked).escape_ascii().to_string();
        let shown = &shown[..shown.len().min(300)];
        assert_eq!(answer[0].frame.kind, HEADERS, "{shown}: {answer:?}");
        assert_eq!(answer[0].status(), *status, "{shown}");
        // R5: an error that clients of either era can read.
        let text = String::from_utf8_lossy(&answer[1].payload);
        let error = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":""#;
        assert!(text.starts_with(error), "{shown}: {text}");
    }

    // h2 itself answers what is larger than we said that we take, without a body.
    let large = with(&vec![("x", &[b'x'; 250][..]); 60]);
    assert_eq!(answer(&server, &large).await[0].status(), 431);
    assert_eq!(server.take_seen(), Vec::<String>::new());
}

/// RFC 9113 §8.1.1: malformed is a stream error.
#[tokio::test]
async fn what_is_malformed_is_reset_and_never_reaches_the_application() {
    let server = Recorded::start();
    let websocket = [(":protocol", &b"websocket"[..])];
    let cases = [
        with(&[("connection", b"close")]),
        with(&[("connection", b"x-forwarded-user"), ("x-forwarded-user", b"me")]),
        with(&[("transfer-encoding", b"chunked")]),
        with(&[("upgrade", b"h2c")]),
        with(&[("keep-alive", b"1")]),
        with(&[("proxy-connection", b"close")]),
        with(&[("te", b"gzip")]),
        with(&[("te", b"trailers, gzip")]),
        with(&[(":path", b"/other")]),
        with(&[(":status", b"200")]),
        with(&[("x", b"1"), (":authority", b"b")]),
        with(&[("content-length", b"1")]),
        with(&[("content-length", b"+0")]),
        with(&[("content-length", b"0, 0")]),
        with(&[("content-length", b"0"), ("content-length", b"1")]),
        but(":method", None, &[]),
        but(":scheme", None, &[]),
        but(":path", None, &[]),
        but(":path", Some(b""), &[]),
        but(":path", Some(b"/a b"), &[]),
        but(":path", Some(b"/mcp?\x7f"), &[]),
        but(":path", Some(b"/a\r\nx: y"), &[]),
        but(":authority", Some(b""), &[]),
        but(":authority", Some(b"a b"), &[]),
        but(":authority", Some(b"a/b"), &[]),
        // Extended CONNECT (RFC 8441), which was not offered.
        but(":method", Some(b"CONNECT"), &websocket),
        with(&websocket),
    ];

    for asked in &cases {
        let answer = answer(&server, asked).await;
        let shown = fields(asked).escape_ascii().to_string();
        assert_eq!(codes(&answer, RST_STREAM), [PROTOCOL_ERROR], "{shown}: {answer:?}");
        assert_eq!(answer.len(), 1, "{shown}: {answer:?}");
    }

    assert_eq!(server.take_seen(), Vec::<String>::new());
}

/// What h2 can't even unpack ends the connection (RFC 9113 §4.3).
#[tokio::test]
async fn what_can_not_be_a_field_ends_the_connection() {
    let server = Recorded::start();
    let cases: [(&str, &[u8]); 8] = [
        ("X-Upper", b"1"),
        ("x y", b"1"),
        ("x:y", b"1"),
        ("", b"1"),
        ("x", b"a\0b"),
        ("x", b"a\r\nb: c"),
        ("x", b"a\nb"),
        (":unknown", b"1"),
    ];

    for field in cases {
        let stream = TcpStream::connect(server.running.address()).await.unwrap();
        let mut client = ByHand::greeting(stream).await;
        let block = fields(&with(&[field]));
        client.send(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &block)).await;

        let frames = client.rest().await;
        assert_eq!(codes(&frames, GOAWAY), [PROTOCOL_ERROR], "{field:?}: {frames:?}");
        assert_eq!(frames.len(), 1, "{field:?}: {frames:?}");
    }

    assert_eq!(server.take_seen(), Vec::<String>::new());
}

/// RFC 9113 §8.1.1: a body that is not as long as it was said to be.
#[tokio::test]
async fn a_body_of_another_length_is_reset() {
    let server = Recorded::start();
    for body in [last_data(1, b"abc"), last_data(1, b"a"), [data(1, b"ab"), data(1, b"c")].concat()]
    {
        let stream = TcpStream::connect(server.running.address()).await.unwrap();
        let mut client = ByHand::greeting(stream).await;
        let asked = [&asking("POST", "/")[..], &[("content-length", "2")]].concat();
        client.send(&frame(HEADERS, END_HEADERS, 1, &fields(&asked))).await;
        client.send(&body).await;

        let answer = client.answer(1).await;
        assert_eq!(codes(&answer, RST_STREAM), [PROTOCOL_ERROR], "{answer:?}");
    }

    assert_eq!(server.take_seen(), Vec::<String>::new());
}

#[tokio::test]
async fn what_is_good_is_seen_once_and_as_in_http_1_1() {
    let server = Recorded::start();
    let stream = TcpStream::connect(server.running.address()).await.unwrap();
    let mut client = ByHand::greeting(stream).await;
    let asked = |more: &[(&str, &[u8])]| {
        let get = asking("GET", "/b?x=1").map(|(name, value)| (name, value.as_bytes()));
        fields(&own(&[&get[..], more].concat()))
    };

    client.send(&[post(1, "/a"), data(1, b"hel"), last_data(1, b"lo")].concat()).await;
    assert_eq!(client.answer(1).await[0].status(), 200);
    let settings: [(&str, &[u8]); 4] =
        [("http2-settings", b"AAMA"), ("te", b"trailers"), ("host", b"A"), ("x_own", b"")];
    client.send(&frame(HEADERS, 5, 3, &asked(&settings))).await;
    client.answer(3).await;
    // Trailers change nothing, whatever they say.
    let trailers = fields(&[("authorization", "x"), ("host", "evil")]);
    let trailers = frame(HEADERS, END_STREAM | END_HEADERS, 5, &trailers);
    client.send(&[post(5, "/c"), data(5, b"c"), trailers].concat()).await;
    client.answer(5).await;

    assert_eq!(server.take_seen(), ["POST /a hello0", "GET /b?x=1 0", "POST /c c0"]);
}

/// A fragment is for no server (RFC 9110 §4.2.5). It is gone before we see the path: what is judged is
/// what is forwarded.
#[tokio::test]
async fn a_fragment_is_not_seen() {
    let server = Recorded::start();

    let answer = answer(&server, &but(":path", Some(b"/mcp#/healthz"), &[])).await;

    assert_eq!(answer[0].status(), 200);
    assert_eq!(server.take_seen(), ["GET /mcp 0"]);
}

/// What one refused request was, the next one on the connection is not.
#[tokio::test]
async fn a_refused_request_does_not_end_the_connection() {
    let server = Recorded::start();
    let stream = TcpStream::connect(server.running.address()).await.unwrap();
    let mut client = ByHand::greeting(stream).await;
    let refused = fields(&asking("GET", "//"));
    let malformed = fields(&with(&[("connection", b"close")]));

    client.send(&frame(HEADERS, 5, 1, &refused)).await;
    assert_eq!(client.answer(1).await[0].status(), 400);
    client.send(&frame(HEADERS, 5, 3, &malformed)).await;
    assert_eq!(codes(&client.answer(3).await, RST_STREAM), [PROTOCOL_ERROR]);
    client.send(&frame(HEADERS, 5, 5, &fields(&asking("GET", "/")))).await;
    assert_eq!(client.answer(5).await[0].status(), 200);

    assert_eq!(server.take_seen(), ["GET / 0"]);
}
