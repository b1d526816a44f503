//! Sends exactly so many requests, and insists on the right answer to each.
//!
//! `bench_load ADDRESS REQUESTS CONNECTIONS TOKENS [answer=BYTES | upload=BYTES]`: REQUESTS times `tools/call`
//! to `http://ADDRESS/mcp`, dealt evenly to CONNECTIONS that are kept alive, one at a time on each. TOKENS is
//! a file with a token in each line: they take turns. Writes a line of JSON: how long it took, and half and
//! 99 % of the answers.

mod answers;

use std::collections::HashMap;
use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

type Fault = Box<dyn Error + Send + Sync>;

/// What is asked, again and again.
struct Call {
    address: String,
    target: String,
    tokens: Vec<HeaderValue>,
    body: Bytes,
    expected: Vec<u8>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Fault> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().ok_or(USAGE)?;
    let requests: usize = arguments.next().ok_or(USAGE)?.parse()?;
    let connections: usize = arguments.next().ok_or(USAGE)?.parse()?;
    let tokens = read_tokens(&arguments.next().ok_or(USAGE)?)?;
    let call = Arc::new(Call::new(address, tokens, arguments.next().as_deref())?);

    let mut open = Vec::new();
    for _ in 0..connections {
        open.push(connect(&call.address).await?);
    }
    let started = Instant::now();
    let mut callers = JoinSet::new();
    for (place, connection) in open.into_iter().enumerate() {
        let turns = (place..requests).step_by(connections);
        callers.spawn(Arc::clone(&call).ask(connection, turns));
    }
    let mut times = Vec::with_capacity(requests);
    while let Some(caller) = callers.join_next().await {
        times.extend(caller??);
    }
    let took = started.elapsed();
    times.sort_unstable();
    let at = |hundredth: usize| -> Option<u128> {
        times.get((times.len() * hundredth / 100).min(times.len() - 1)).map(Duration::as_nanos)
    };
    let (p50, p99) = (at(50).ok_or(USAGE)?, at(99).ok_or(USAGE)?);
    let seconds = took.as_secs_f64();
    writeln!(io::stdout(), r#"{{"seconds":{seconds},"p50":{p50},"p99":{p99}}}"#)?;
    Ok(())
}

fn read_tokens(file: &str) -> Result<Vec<HeaderValue>, Fault> {
    let bearer = |token: &str| HeaderValue::try_from(format!("Bearer {token}"));
    let tokens = fs::read_to_string(file)?.lines().map(bearer).collect::<Result<Vec<_>, _>>()?;
    if tokens.is_empty() { Err(format!("no token in {file}").into()) } else { Ok(tokens) }
}

async fn connect(address: &str) -> Result<SendRequest<Full<Bytes>>, Fault> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

impl Call {
    fn new(address: String, tokens: Vec<HeaderValue>, kind: Option<&str>) -> Result<Self, Fault> {
        let small = || Bytes::from_static(CALL);
        let (target, body, expected) = match kind.and_then(|kind| kind.split_once('=')) {
            None if kind.is_none() => ("/mcp".into(), small(), answers::RESULT.into()),
            Some(("answer", bytes)) => {
                (format!("/mcp?answer={bytes}"), small(), answers::of_size(bytes.parse()?))
            }
            Some(("upload", bytes)) => {
                let body = Bytes::from(answers::of_size(bytes.parse()?));
                let expected = answers::counted(body.len() as u64);
                ("/mcp?count".into(), body, expected.into())
            }
            None | Some(_) => return Err(USAGE.into()),
        };
        Ok(Self { address, target, tokens, body, expected })
    }

    /// Ask in these `turns`. Returns how long each answer took.
    async fn ask(
        self: Arc<Self>,
        mut connection: SendRequest<Full<Bytes>>,
        turns: impl Iterator<Item = usize>,
    ) -> Result<Vec<Duration>, Fault> {
        let (mut times, mut sessions) = (Vec::new(), HashMap::new());
        for turn in turns {
            // Of whoever has that token.
            let session = sessions.get(&(turn % self.tokens.len()));
            let asked = Instant::now();
            connection.ready().await?;
            let response = connection.send_request(self.request(turn, session)?).await?;
            if let Some(session) = response.headers().get(MCP_SESSION_ID) {
                sessions.insert(turn % self.tokens.len(), session.clone());
            }
            self.check(response.status(), response.into_body()).await?;
            times.push(asked.elapsed());
        }
        Ok(times)
    }

    /// What an MCP client sends: nine headers, `Content-Length` included, or eight before it has a session.
    fn request(
        &self,
        turn: usize,
        session: Option<&HeaderValue>,
    ) -> Result<Request<Full<Bytes>>, Fault> {
        let token = self.tokens.get(turn % self.tokens.len()).ok_or(USAGE)?;
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(&self.target)
            .header(HOST, &self.address)
            .header(AUTHORIZATION, token)
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json, text/event-stream")
            .header("accept-language", "*")
            .header(USER_AGENT, "node")
            .header("mcp-protocol-version", "2025-11-25");
        if let Some(session) = session {
            request = request.header(MCP_SESSION_ID, session);
        }
        Ok(request.body(Full::new(self.body.clone()))?)
    }

    async fn check(&self, status: StatusCode, mut body: Incoming) -> Result<(), Fault> {
        let mut awaited = &self.expected[..];
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            awaited = awaited
                .strip_prefix(&data[..])
                .ok_or_else(|| format!("{status}: {}", String::from_utf8_lossy(&data)))?;
        }
        if status != StatusCode::OK || !awaited.is_empty() {
            return Err(format!("{status}, and {} bytes are missing", awaited.len()).into());
        }
        Ok(())
    }
}

const MCP_SESSION_ID: &str = "mcp-session-id";
const CALL: &[u8] = br#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"search_documents","arguments":{"query":"quarterly report of the northern region, with figures per branch and a comparison to the year before","limit":20,"folders":["/finance/reports","/finance/archive","/shared/board"],"sort":"newest first","include_drafts":false,"language":"en"},"_meta":{"progressToken":7,"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}}"#;
const USAGE: &str = "bench_load ADDRESS REQUESTS CONNECTIONS TOKENS [answer=BYTES | upload=BYTES]";
