//! What a client sees, byte for byte, over an in-memory pipe.

mod answers;
mod bodies;
mod connections;

use std::net::Ipv4Addr;
use std::sync::Arc;

use http::StatusCode;
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::*;
use crate::server::connection::serve;
use crate::server::drain::Drain;
use crate::wire::{self, answer};

/// A client's end of a connection whose requests `handler` answers.
fn connect<H, F>(handler: H) -> DuplexStream
where
    H: Fn(Request) -> F + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let (client, server) = duplex(64 * 1024);
    let (drain, stop) = Drain::new();
    tokio::spawn(async move {
        let _drain = drain;
        let handler = move |request, _| handler(request);
        serve(server, Ipv4Addr::LOCALHOST.into(), handler, stop).await;
    });
    client
}

/// Send `requests` and read until the server closes, without the dates.
async fn exchange<H, F>(handler: H, requests: &str) -> String
where
    H: Fn(Request) -> F + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let mut client = connect(handler);
    client.write_all(requests.as_bytes()).await.unwrap();
    let mut answers = String::new();
    client.read_to_string(&mut answers).await.unwrap();
    without_dates(&answers)
}

fn without_dates(answers: &str) -> String {
    answers.split_inclusive("\r\n").filter(|line| !line.starts_with("date: ")).collect()
}

fn of(body: wire::Body) -> Response {
    http::Response::new(body.into())
}

async fn echo(request: Request) -> Response {
    match request.into_body().collect().await {
        Ok(body) => of(wire::Body::full(body.to_bytes())),
        Err(_) => answer::empty(StatusCode::BAD_GATEWAY).map(Into::into),
    }
}
