//! An MCP server that costs as little as possible: every request gets the same small JSON answer.
//!
//! `bench_upstream` writes the address it listens on to standard output, and ends at SIGTERM.

use std::convert::Infallible;
use std::io::{self, Write};

use http::HeaderValue;
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    writeln!(io::stdout(), "{}", listener.local_addr()?)?;
    let mut terminate = signal(SignalKind::terminate())?;
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                stream.set_nodelay(true)?;
                let connection = http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service_fn(answer));
                tokio::spawn(connection);
            }
            _ = terminate.recv() => return Ok(()),
        }
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    // Read to its end, or the connection could not be used again.
    let _ = request.into_body().collect().await;
    let mut response = Response::new(Full::new(Bytes::from_static(RESULT)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // In every answer, as the SDKs' servers do it.
    headers.insert("mcp-session-id", HeaderValue::from_static(SESSION));
    Ok(response)
}

const SESSION: &str = "b0342d29-c3fb-4378-89b2-eb05000b6e79";
const RESULT: &[u8] = br#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"Echo: hello"}],"isError":false}}"#;
