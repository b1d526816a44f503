//! The table of threats-and-faults, Appendix A, as bytes; and that the cut of the reads never matters.

use proptest::prelude::*;

use super::*;

fn verdict(bytes: &[u8]) -> Result<(), Refusal> {
    Framing::default().observe(bytes)
}

fn head(fields: &str) -> Vec<u8> {
    format!("POST /mcp HTTP/1.1\r\nHost: a\r\n{fields}\r\n").into_bytes()
}

fn chunked(body: &str) -> Vec<u8> {
    [head("Transfer-Encoding: chunked\r\n"), body.as_bytes().to_vec()].concat()
}

/// RFC 9112 §6.3, §11.2
#[test]
fn what_two_parsers_could_frame_differently_is_refused() {
    let cases: [(&str, Refusal); 21] = [
        ("Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", Refusal::TwoLengths),
        ("Transfer-Encoding: chunked\r\nContent-Length: 2\r\n", Refusal::TwoLengths),
        ("Transfer-Encoding: chunked\r\ntransfer-encoding: chunked\r\n", Refusal::TransferEncoding),
        ("Transfer-Encoding: gzip, chunked\r\n", Refusal::TransferEncoding),
        ("Transfer-Encoding: chunked, chunked\r\n", Refusal::TransferEncoding),
        ("Transfer-Encoding: chunked, identity\r\n", Refusal::TransferEncoding),
        ("Transfer-Encoding: xchunked\r\n", Refusal::TransferEncoding),
        ("Transfer-Encoding: chunked;q=1\r\n", Refusal::TransferEncoding),
        ("Transfer-Encoding: \r\n", Refusal::TransferEncoding),
        ("Transfer-Encoding : chunked\r\n", Refusal::Field),
        ("Transfer-Encoding:\x0bchunked\r\n", Refusal::Field),
        ("Content-Length: 2\r\nContent-Length: 2\r\n", Refusal::ContentLength),
        ("Content-Length: 2\r\nContent-Length: 3\r\n", Refusal::ContentLength),
        ("Content-Length: 2, 2\r\n", Refusal::ContentLength),
        ("Content-Length: +2\r\n", Refusal::ContentLength),
        ("Content-Length: -1\r\n", Refusal::ContentLength),
        ("Content-Length: 0x2\r\n", Refusal::ContentLength),
        ("Content-Length:\r\n", Refusal::ContentLength),
        ("Content-Length: 99999999999999999999\r\n", Refusal::ContentLength),
        ("X: 1\r\n folded\r\n", Refusal::Field),
        ("X: 1\nY: 2\r\n", Refusal::LineEnd),
    ];

    for (fields, refusal) in cases {
        assert_eq!(verdict(&head(fields)), Err(refusal), "{fields:?}");
    }
}

#[test]
fn fields_that_are_none_are_refused() {
    for fields in ["X: a\rb\r\n", "X: a\0b\r\n", "X\r\n", ": x\r\n", "X y: 1\r\n", "\tX: 1\r\n"] {
        assert_eq!(verdict(&head(fields)), Err(Refusal::Field), "{fields:?}");
    }
}

/// RFC 9110 §5.5
#[test]
fn every_control_character_is_found_wherever_it_stands() {
    for byte in 0..=u8::MAX {
        for length in 1..20 {
            for at in 0..length {
                let mut value = vec![0xff; length];
                value[at] = byte;
                let is_control = (byte < b' ' && byte != b'\t') || byte == 0x7f;
                assert_eq!(head::is_text(&value), !is_control, "{byte} at {at} of {length}");
            }
        }
    }
}

/// RFC 9112 §3
#[test]
fn request_lines_are_exact() {
    let cases: [(&str, Refusal); 17] = [
        ("GET  / HTTP/1.1", Refusal::RequestLine),
        ("GET /", Refusal::RequestLine),
        ("GET / HTTP/1.1 ", Refusal::Version),
        ("GET / HTTP/1.2", Refusal::Version),
        ("GET / HTTP/2.0", Refusal::Version),
        ("GET / http/1.1", Refusal::RequestLine),
        ("PRI * HTTP/2.0", Refusal::Version),
        ("G@T / HTTP/1.1", Refusal::RequestLine),
        (" GET / HTTP/1.1", Refusal::RequestLine),
        ("GET\t/\tHTTP/1.1", Refusal::RequestLine),
        ("GET /mcp#/healthz HTTP/1.1", Refusal::Target),
        ("GET /mcp\\..\\x HTTP/1.1", Refusal::Target),
        ("GET /m\u{e9} HTTP/1.1", Refusal::Target),
        ("GET /m\x7f HTTP/1.1", Refusal::Target),
        ("GET /m\tx HTTP/1.1", Refusal::Target),
        ("GET /m\"x HTTP/1.1", Refusal::Target),
        ("GET /m\rx HTTP/1.1", Refusal::Target),
    ];

    for (line, refusal) in cases {
        let request = format!("{line}\r\nHost: a\r\n\r\n");
        assert_eq!(verdict(request.as_bytes()), Err(refusal), "{line:?}");
    }
}

/// RFC 9112 §7.1
#[test]
fn chunks_are_exact() {
    let cases: [(&str, Refusal); 17] = [
        ("2\nab\r\n0\r\n\r\n", Refusal::LineEnd),
        ("2;x\nab\r\n0\r\n\r\n", Refusal::LineEnd),
        ("0x2\r\nab\r\n0\r\n\r\n", Refusal::Chunk),
        ("+2\r\nab\r\n0\r\n\r\n", Refusal::Chunk),
        (" 2\r\nab\r\n0\r\n\r\n", Refusal::Chunk),
        ("2 \r\nab\r\n0\r\n\r\n", Refusal::Chunk),
        ("2 ;x\r\nab\r\n0\r\n\r\n", Refusal::Chunk),
        ("2;\0\r\nab\r\n0\r\n\r\n", Refusal::Chunk),
        ("2;\r\rx\r\nab\r\n0\r\n\r\n", Refusal::Chunk),
        ("\r\n", Refusal::Chunk),
        ("00000000000000002\r\nab\r\n0\r\n\r\n", Refusal::Chunk),
        ("fffffffffffffffff\r\n", Refusal::Chunk),
        ("2\r\nabc\r\n0\r\n\r\n", Refusal::Chunk),
        ("2\r\nab\n0\r\n\r\n", Refusal::Chunk),
        ("0\r\nX: 1\n\r\n", Refusal::LineEnd),
        ("0\r\n X: 1\r\n\r\n", Refusal::Field),
        ("0\r\n\n", Refusal::LineEnd),
    ];

    for (body, refusal) in cases {
        assert_eq!(verdict(&chunked(body)), Err(refusal), "{body:?}");
    }
    assert_eq!(verdict(&chunked(&format!("2;{}", "x".repeat(300)))), Err(Refusal::Chunk));
    let trailers = format!("0\r\n{}", "X: 1\r\n".repeat(1000));
    assert_eq!(verdict(&chunked(&trailers)), Err(Refusal::HeadTooLarge));
}

/// RFC 9112 §3.2
#[test]
fn a_request_has_one_host() {
    for request in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nhOST: b\r\n\r\n",
    ] {
        assert_eq!(verdict(request.as_bytes()), Err(Refusal::HostCount), "{request:?}");
    }
}

#[test]
fn http_1_0_has_no_transfer_encoding() {
    let request = b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

    assert_eq!(verdict(request), Err(Refusal::TransferEncoding));
}

#[test]
fn limits_hold_to_the_byte() {
    let target = |length: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(length));
    let fields =
        |count: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: 1\r\n".repeat(count));
    let long = |length: usize| {
        let start = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
        format!("{start}{}\r\n\r\n", "x".repeat(length - start.len() - 4))
    };

    assert_eq!(verdict(target(8 * 1024 - 1).as_bytes()), Ok(()));
    assert_eq!(verdict(target(8 * 1024).as_bytes()), Err(Refusal::TargetTooLong));
    assert_eq!(verdict(&vec![b'x'; 9 * 1024]), Err(Refusal::TargetTooLong));
    assert_eq!(verdict(fields(63).as_bytes()), Ok(()));
    assert_eq!(verdict(fields(64).as_bytes()), Err(Refusal::HeadTooLarge));
    assert_eq!(verdict(long(16 * 1024).as_bytes()), Ok(()));
    assert_eq!(verdict(long(16 * 1024 + 1).as_bytes()), Err(Refusal::HeadTooLarge));
}

#[test]
fn what_clients_send_passes() {
    let pipelined = [
        head("Content-Length: 5\r\n"),
        b"hello".to_vec(),
        chunked("5\r\nhello\r\n00A;name=\"v\"\r\n0123456789\r\n0\r\nDigest: x\r\n\r\n"),
        b"\r\nGET /a?x=%20\\&y HTTP/1.0\r\nhost:a\r\nX-Utf8: \xc3\xa9\t \r\nX-Empty:\r\n\r\n"
            .to_vec(),
        head("Content-Length: 000\r\nTransfer-encodinG2: x\r\n"),
    ]
    .concat();
    let mut framing = Framing::default();

    assert_eq!(framing.observe(&pipelined), Ok(()));

    assert!(framing.at_rest());
}

#[test]
fn the_phase_is_known() {
    let mut framing = Framing::default();
    let mut seen = Vec::new();

    for piece in ["\r", "\nGET / HTTP/1.1\r\nHo", "st: a\r\nContent-Length: 2\r\n\r\na", "b"] {
        framing.observe(piece.as_bytes()).unwrap();
        seen.push((framing.in_head(), framing.at_rest()));
    }

    assert_eq!(seen, [(true, false), (true, false), (false, false), (false, true)]);
}

#[test]
fn a_refusal_is_final() {
    let mut framing = Framing::default();

    framing.observe(b"x\n").unwrap_err();

    assert_eq!(framing.observe(&head("")), Err(Refusal::LineEnd));
}

/// What is silent holds no buffer.
#[test]
fn nothing_of_a_chunked_body_stays_behind() {
    let text =
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n";
    let read = Bytes::from(text.to_vec());
    let (mut framing, mut input) = (Framing::default(), read.clone());

    let head = framing.head(&input).unwrap().unwrap();
    drop(input.split_to(head.end));
    assert_eq!(framing.data(&mut input), Ok(Some(Bytes::from_static(b"a"))));

    assert!(framing.at_rest());
    assert!(input.is_empty() && read.is_unique(), "it is still held");
}

/// Pieces that matter to the state machine, glued at random: far denser than random bytes.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        12 => Just(head("Content-Length: 3\r\n")),
        12 => Just(b"abc".to_vec()),
        12 => Just(chunked("")),
        12 => Just(b"3\r\nabc\r\n".to_vec()),
        6 => Just(b"1;x=y\r\na\r\n".to_vec()),
        12 => Just(b"0\r\n\r\n".to_vec()),
        4 => Just(b"0\r\nX: 1\r\n\r\n".to_vec()),
        8 => Just(head("")),
        4 => Just(b"GET /x HTTP/1.1\r\n".to_vec()),
        2 => Just(b"GET /x HTTP/1.0\r\nConnection: keep-alive\r\n".to_vec()),
        4 => Just(b"Host: b\r\n".to_vec()),
        3 => Just(b"content-length:1\r\n".to_vec()),
        3 => Just(b"\r\n".to_vec()),
        1 => Just(b"\n".to_vec()),
        1 => Just(b" ".to_vec()),
        1 => Just(b"\r".to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..4),
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn the_cut_of_the_reads_never_changes_the_verdict(
        bytes in stream(),
        cuts in proptest::collection::vec(1_usize..9, 1..8),
    ) {
        let mut whole = Framing::default();
        let mut pieces = Framing::default();
        let mut rest = bytes.as_slice();

        let at_once = whole.observe(&bytes);
        let mut bit_by_bit = Ok(());
        for cut in cuts.iter().cycle() {
            if rest.is_empty() { break }
            let (piece, after) = rest.split_at((*cut).min(rest.len()));
            bit_by_bit = pieces.observe(piece);
            rest = after;
        }

        prop_assert_eq!(at_once, bit_by_bit);
        prop_assert_eq!(whole.state, pieces.state);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = verdict(&bytes);
    }
}
