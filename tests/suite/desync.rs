//! Threat F1: what made other servers and proxies disagree about where a request ends, class by class as the HTTP Garden
//! names them in its trophies, from a client with a good token. Whatever comes after what is wrong reaches nobody.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::doorman::{Doorman, HOST};
use crate::support::fake_mcp_server::FakeMcpServer;
use crate::support::raw_mcp_server::RawMcpServer;
use crate::support::soon;

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Answered so once, and closed. The MCP server sees nothing.
    Refused(u16),
    /// The same, but the MCP server may have seen the beginning of one request.
    BrokenOff,
    /// The MCP server sees so many requests, each whole; then it is refused, if there is more.
    Passes(usize),
}
use Verdict::{BrokenOff, Passes, Refused};

/// A name, what is sent (`$` stands for the host and the token), and what becomes of it.
type Case = (&'static str, &'static [u8], Verdict);

/// RFC 9112 §3
const LINES: &[Case] = &[
    ("version by its longest prefix", b"POST /mcp HTTP/1.32\r\n$\r\n", Refused(400)),
    ("version that overflows", b"POST /mcp HTTP/4294967297.257\r\n$\r\n", Refused(400)),
    ("version with a zero before it", b"POST /mcp HTTP/01.1\r\n$\r\n", Refused(400)),
    ("version with a zero within", b"POST /mcp HTTP/1.01\r\n$\r\n", Refused(400)),
    ("version that is no number", b"POST /mcp HTTP/....0596.7407.\r\n$\r\n", Refused(400)),
    ("version with CR within", b"POST /mcp HTTP/\r\r1.1\r\n$\r\n", Refused(400)),
    ("no version", b"POST /mcp\r\n$\r\n", Refused(400)),
    ("method by its longest prefix", b"P=\":<>(e),[T];?\" /mcp HTTP/1.1\r\n$\r\n", Refused(400)),
    ("method beyond ASCII", b"P\xc3\x96ST /mcp HTTP/1.1\r\n$\r\n", Refused(400)),
    ("method of NUL", b"\x00 /mcp HTTP/1.1\r\n$\r\n", Refused(400)),
    ("target that is none", b"POST ! HTTP/1.1\r\n$\r\n", Refused(400)),
    ("LF in the request line", b"POST /mcp\nHTTP/1.1\r\n$\r\n", Refused(400)),
    ("VT in the request line", b"POST\x0b/mcp HTTP/1.1\r\n$\r\n", Refused(400)),
    ("LF before the request line", b"\nPOST /mcp HTTP/1.1\r\n$\r\n", Refused(400)),
    ("user in the target", b"POST https://a@tools.example.com/mcp HTTP/1.1\r\n$\r\n", Refused(400)),
    ("lines that end with LF", b"POST /mcp HTTP/1.1\nX: 1\n$\n", Refused(400)),
];

/// RFC 9112 §5, RFC 9110 §5
const FIELDS: &[Case] = &[
    ("white space before the first field", b"POST /mcp HTTP/1.1\r\n\tX: 1\r\n$\r\n", Refused(400)),
    (
        "space before the first field",
        b"POST /mcp HTTP/1.1\r\n Content-Length: 1\r\n$\r\n",
        Refused(400),
    ),
    ("tab after a name", b"POST /mcp HTTP/1.1\r\n$Content-Length\t: 4\r\n\r\n", Refused(400)),
    ("NEL after a name", b"POST /mcp HTTP/1.1\r\n$Content-Length\x85: 4\r\n\r\n", Refused(400)),
    (
        "NBSP after a name",
        b"POST /mcp HTTP/1.1\r\n$Transfer-Encoding\xa0: chunked\r\n\r\n",
        Refused(400),
    ),
    ("name beyond ASCII", b"POST /mcp HTTP/1.1\r\n$\xefoo: bar\r\n\r\n", Refused(400)),
    (
        "no name and no value",
        b"POST /mcp HTTP/1.1\r\n$:\r\nContent-Length: 4\r\n\r\n",
        Refused(400),
    ),
    ("space for a colon", b"POST /mcp HTTP/1.1\r\n$Content-Length 4\r\n\r\n", Refused(400)),
    (
        "name over two lines",
        b"POST /mcp HTTP/1.1\r\n$Transfer-\r\nEncoding: chunked\r\n\r\n",
        Refused(400),
    ),
    ("LF within a name", b"POST /mcp HTTP/1.1\r\n$Te\nst: test\r\n\r\n", Refused(400)),
    ("NUL for a field", b"POST /mcp HTTP/1.1\r\n$c\x00\r\n\r\n", Refused(400)),
    (
        "NUL at the end of a value",
        b"POST /mcp HTTP/1.1\r\n$Content-Length: 0\x00\r\n\r\n",
        Refused(400),
    ),
    (
        "LF at the beginning of a value",
        b"POST /mcp HTTP/1.1\r\n$X:\n\nPOST /mcp HTTP/1.1\r\n\r\n",
        Refused(400),
    ),
    ("header that ends with CRLF CR", b"POST /mcp HTTP/1.1\r\n$\r\x00", Refused(400)),
    (
        "value on the next line",
        b"POST /mcp HTTP/1.1\r\n$Transfer-Encoding:\r\n chunked\r\n\r\n",
        Refused(400),
    ),
    (
        "field in a folded value",
        b"POST /mcp HTTP/1.1\r\n$X: 1\r\n\tTransfer-Encoding: chunked\r\n\r\n",
        Refused(400),
    ),
    (
        "host cut by NUL",
        b"POST /mcp HTTP/1.1\r\nHost: tools.example.com\x00.evil.example\r\n\r\n",
        Refused(400),
    ),
];

/// RFC 9112 §6
const LENGTHS: &[Case] = &[
    (
        "length with an underscore",
        b"POST /mcp HTTP/1.1\r\n$Content-Length: 1_0\r\n\r\n",
        Refused(400),
    ),
    (
        "length by its longest prefix",
        b"POST /mcp HTTP/1.1\r\n$Content-Length: 1Z\r\n\r\nZ",
        Refused(400),
    ),
    ("length with VT", b"POST /mcp HTTP/1.1\r\n$Content-Length: 1\x0b\r\n\r\nZ", Refused(400)),
    ("length with NBSP", b"POST /mcp HTTP/1.1\r\n$Content-Length: \xa01\r\n\r\nZ", Refused(400)),
    (
        "length beyond ASCII",
        b"POST /mcp HTTP/1.1\r\n$Content-Length: \xd9\xa1\r\n\r\nZ",
        Refused(400),
    ),
    (
        "no length, then one",
        b"POST /mcp HTTP/1.1\r\n$Content-Length: \r\nContent-Length: 4\r\n\r\n",
        Refused(400),
    ),
    (
        "length after an empty comma",
        b"POST /mcp HTTP/1.1\r\n$Content-Length: ,4\r\n\r\n",
        Refused(400),
    ),
    // RFC 9110 §8.6: digits. Who passes it on must not leave it to be read as octal.
    (
        "length with a zero before it",
        b"POST /mcp HTTP/1.1\r\n$Content-Length: 010\r\nConnection: close\r\n\r\n0123456789",
        Passes(1),
    ),
    (
        "coding after a comma",
        b"POST /mcp HTTP/1.1\r\n$Transfer-Encoding: ,chunked\r\n\r\n",
        Refused(400),
    ),
    (
        "coding before a comma",
        b"POST /mcp HTTP/1.1\r\n$Transfer-Encoding: chunked,\r\n\r\n",
        Refused(400),
    ),
    (
        "coding in NBSP",
        b"POST /mcp HTTP/1.1\r\n$Transfer-Encoding: \xa0chunked\xa0\r\n\r\n",
        Refused(400),
    ),
    (
        "coding in 0xff",
        b"POST /mcp HTTP/1.1\r\n$Transfer-Encoding: \xffchunked\xff\r\n\r\n",
        Refused(400),
    ),
    (
        "coding that nobody knows",
        b"POST /mcp HTTP/1.1\r\n$Transfer-Encoding: blegh\r\n\r\n",
        Refused(400),
    ),
    (
        "coding in quotes",
        b"POST /mcp HTTP/1.1\r\n$Transfer-Encoding: \"chunked\"\r\n\r\n",
        Refused(400),
    ),
    (
        "coding and length",
        b"POST /mcp HTTP/1.1\r\n$Transfer-Encoding: ,chunked\r\nContent-Length: 5\r\n\r\n",
        Refused(400),
    ),
];

/// RFC 9112 §7.1. `&` stands for the header of a request whose body comes in chunks.
const CHUNKS: &[Case] = &[
    ("size with an underscore", b"&0_2e\r\n\r\n", Refused(400)),
    ("size below zero", b"&-0x0\r\n\r\n", Refused(400)),
    ("size by its longest prefix", b"&1these-bytes\r\nZ\r\n0\r\n\r\n", Refused(400)),
    ("size that is no number", b"&Z\r\nZZ\r\n\r\n", Refused(400)),
    ("size with NBSP", b"&\xa01\r\nZ\r\n0\r\n\r\n", Refused(400)),
    ("size and CR for its line end", b"&1\r0\n", Refused(400)),
    ("size with CR before its extension", b"&2\r\r;a\r\n02\r\n0\r\n\r\n", Refused(400)),
    ("CR within an extension", b"&2;a=b\r\rab\r\n0\r\n\r\n", Refused(400)),
    ("LF in a quoted extension", b"&2;a=\"\n\"\r\nab\r\n0\r\n\r\n", Refused(400)),
    ("NUL in an extension", b"&2;a\x00\r\nab\r\n0\r\n\r\n", Refused(400)),
    ("LF before a size", b"&\n2\r\nab\r\n0\r\n\r\n", Refused(400)),
    ("not a chunk", b"&INVALID!!!\r\n", Refused(400)),
    ("chunk that ends with two of anything", b"&2\r\nabXX0\r\n\r\n", BrokenOff),
    ("chunk that ends with LF", b"&2\r\nab\n0\r\n\r\n", BrokenOff),
    ("empty line before the last chunk", b"&2\r\nab\r\n\r\n0\r\n\r\n", BrokenOff),
    ("size below zero after a good one", b"&2\r\nab\r\n-2\r\nab\r\n0\r\n\r\n", BrokenOff),
    ("body that ends with two of anything", b"&2\r\nab\r\n0\r\nXX", BrokenOff),
    ("trailer that is none", b"&2\r\nab\r\n0\r\nPOST /mcp?smuggled HTTP/1.1\r\n\r\n", BrokenOff),
    ("trailer with LF", b"&2\r\nab\r\n0\r\nX: 1\nContent-Length: 4\r\n\r\n", BrokenOff),
];

/// What is whole and good is answered, whatever follows.
const PIPELINES: &[Case] = &[
    (
        "request in a trailer",
        b"POST /mcp HTTP/1.1\r\n$Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\nab\r\n0\r\nX:POST /mcp?smuggled HTTP/1.1\r\n\r\n",
        Passes(1),
    ),
    (
        "fields that matter in a trailer",
        b"POST /mcp HTTP/1.1\r\n$Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\nab\r\n0\r\nContent-Length: 40\r\nTransfer-Encoding: gzip\r\nX-Forwarded-User: smuggled\r\n\r\n",
        Passes(1),
    ),
    (
        "request within a body",
        b"POST /mcp HTTP/1.1\r\n$Content-Length: 0\r\n\r\nPOST /mcp HTTP/1.1\r\n$Content-Length: 26\r\nConnection: close\r\n\r\nGET /mcp?within HTTP/1.1\r\n",
        Passes(2),
    ),
    ("NUL after a chunked body", b"&2\r\nab\r\n0\r\n\r\n\x00\r\n", Passes(1)),
    ("nonsense after a good request", b"POST /mcp HTTP/1.1\r\n$Content-Length: 2\r\n\r\nabInvalid\r\n\r\n", Passes(1)),
    (
        "request after the last one",
        b"POST /mcp HTTP/1.1\r\n$Content-Length: 2\r\nConnection: close\r\n\r\nabPOST /mcp?smuggled HTTP/1.1\r\n$\r\n",
        Passes(1),
    ),
];

#[tokio::test]
async fn where_others_disagree_about_the_end_we_refuse_or_agree() {
    let (mut seen, mut wrong) = (0, Vec::new());
    for cases in [LINES, FIELDS, LENGTHS, CHUNKS, PIPELINES] {
        let server = RawMcpServer::answering(ANSWER).await;
        let doorman = Doorman::in_front_of(FakeMcpServer::in_place_of(&server)).start().await;
        let token = doorman.log_in().await.tokens.access;
        for (name, template, verdict) in cases {
            let before = server.received().concat().len();
            let mut sent = filled(template, &token);
            if !matches!(verdict, Passes(_)) {
                sent.extend(filled(SMUGGLED, &token));
            }

            let answers = soon(name, said(&doorman, &sent)).await;

            let told = server.received().concat();
            wrong.extend(judged(name, *verdict, &answers, &told[before..]));
            seen += 1;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(seen, 73);
}

/// What is wrong with it.
fn judged(name: &str, verdict: Verdict, answers: &str, told: &str) -> Option<String> {
    let words = answers.split("HTTP/1.1 ").skip(1).map(|rest| rest.split(' ').next().unwrap());
    let statuses: Vec<u16> = words.filter_map(|word| word.parse().ok()).collect();
    let requests = told.matches(" HTTP/1.1\r\nhost: ").count();
    let is_right = match verdict {
        Refused(status) => statuses == [status] && told.is_empty(),
        BrokenOff => {
            let is_begun = told.contains("\r\ntransfer-encoding: chunked\r\n");
            let is_part = requests == 1 && is_begun && !told.ends_with("0\r\n\r\n");
            statuses == [400] && (told.is_empty() || is_part)
        }
        Passes(count) => {
            let (good, rest) = statuses.split_at(count.min(statuses.len()));
            good == vec![200; count] && [&[][..], &[400]].contains(&rest) && requests == count
        }
    };
    // Nor is anything left for the MCP server to make an octal number of.
    let is_clean = !told.contains("smuggled") && !told.contains(": 010\r\n");
    (!is_right || !is_clean).then(|| {
        format!("{name}: not {verdict:?} but {statuses:?}, and the server was told\n{told}")
    })
}

/// All that is answered until the connection is closed.
async fn said(doorman: &Doorman, bytes: &[u8]) -> String {
    let (mut reading, mut writing) =
        TcpStream::connect(doorman.door().address).await.unwrap().into_split();
    // Who refuses need not read all.
    let _ = writing.write_all(bytes).await;
    let mut answers = Vec::new();
    reading.read_to_end(&mut answers).await.unwrap();
    String::from_utf8_lossy(&answers).into_owned()
}

fn filled(template: &[u8], token: &str) -> Vec<u8> {
    let who = format!("Host: {HOST}\r\nAuthorization: Bearer {token}\r\n");
    let chunked = format!("POST /mcp HTTP/1.1\r\n{who}Transfer-Encoding: chunked\r\n\r\n");
    let mut filled = Vec::new();
    for byte in template {
        match byte {
            b'$' => filled.extend(who.bytes()),
            b'&' => filled.extend(chunked.bytes()),
            byte => filled.push(*byte),
        }
    }
    filled
}

/// Follows whatever is refused, and would be let in.
const SMUGGLED: &[u8] = b"POST /mcp?smuggled HTTP/1.1\r\n$Content-Length: 0\r\n\r\n";
const ANSWER: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
