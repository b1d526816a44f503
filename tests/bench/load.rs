//! Sends exactly so many requests, and insists on a 200 for each.
//!
//! `bench_load ADDRESS REQUESTS CONNECTIONS TOKEN`: REQUESTS times `tools/call` to
//! `http://ADDRESS/mcp`, dealt evenly to CONNECTIONS that are kept alive, one at a time on each.

use std::error::Error;

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

type Fault = Box<dyn Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Fault> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().ok_or(USAGE)?;
    let requests: usize = arguments.next().ok_or(USAGE)?.parse()?;
    let connections: usize = arguments.next().ok_or(USAGE)?.parse()?;
    let token = arguments.next().ok_or(USAGE)?;

    let mut callers = JoinSet::new();
    for place in 0..connections {
        // The first connections take what does not divide evenly.
        let share = requests / connections + usize::from(place < requests % connections);
        let connection = connect(&address).await?;
        callers.spawn(call(connection, share, address.clone(), token.clone()));
    }
    while let Some(caller) = callers.join_next().await {
        caller??;
    }
    Ok(())
}

async fn connect(address: &str) -> Result<SendRequest<Full<Bytes>>, Fault> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn call(
    mut connection: SendRequest<Full<Bytes>>,
    times: usize,
    address: String,
    token: String,
) -> Result<(), Fault> {
    let mut session = None;
    for _ in 0..times {
        connection.ready().await?;
        let request = tools_call(&address, &token, session.as_ref())?;
        let response = connection.send_request(request).await?;
        session = response.headers().get(MCP_SESSION_ID).cloned().or(session);
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        if status != StatusCode::OK || body.is_empty() {
            return Err(format!("{status}: {}", String::from_utf8_lossy(&body)).into());
        }
    }
    Ok(())
}

/// What an MCP client sends for a small tool call: nine headers, `Content-Length` included, or eight if it has
/// not been given a session yet.
fn tools_call(
    address: &str,
    token: &str,
    session: Option<&HeaderValue>,
) -> http::Result<Request<Full<Bytes>>> {
    let mut request = Request::builder()
        .method(Method::POST)
        .uri("/mcp")
        .header(HOST, address)
        .header(AUTHORIZATION, format!("Bearer {token}"))
        .header(CONTENT_TYPE, "application/json")
        .header(ACCEPT, "application/json, text/event-stream")
        .header("accept-language", "*")
        .header(USER_AGENT, "node")
        .header("mcp-protocol-version", "2025-11-25");
    if let Some(session) = session {
        request = request.header(MCP_SESSION_ID, session);
    }
    request.body(Full::new(Bytes::from_static(CALL)))
}

const MCP_SESSION_ID: &str = "mcp-session-id";
const CALL: &[u8] = br#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"search_documents","arguments":{"query":"quarterly report of the northern region, with figures per branch and a comparison to the year before","limit":20,"folders":["/finance/reports","/finance/archive","/shared/board"],"sort":"newest first","include_drafts":false,"language":"en"},"_meta":{"progressToken":7,"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}}"#;
const USAGE: &str = "bench_load ADDRESS REQUESTS CONNECTIONS TOKEN";
