//! The floor: what an HTTP/1 proxy on hyper costs that checks nothing.
//!
//! `bench_bare_proxy UPSTREAM LISTEN`, each of them `host:port`. Writes the address it listens on to
//! standard output, and ends at SIGTERM. One thread; hyper's server, hyper-util's client and its
//! pool; hop-by-hop headers removed (RFC 9110 §7.6.1), bodies streamed.

use std::convert::Infallible;
use std::io::{self, Write};

use http::header::{CONNECTION, HOST};
use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use http_body_util::{Either, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};

type Upstream = Client<HttpConnector, Incoming>;
type Body = Either<Incoming, Empty<Bytes>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let authority: Authority = arguments.next().unwrap_or_default().parse()?;
    let listen = arguments.next().unwrap_or_default();
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let upstream = Client::builder(TokioExecutor::new()).build(connector);

    let listener = TcpListener::bind(listen).await?;
    writeln!(io::stdout(), "{}", listener.local_addr()?)?;
    let mut terminate = signal(SignalKind::terminate())?;
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                tokio::spawn(serve(stream, upstream.clone(), authority.clone()));
            }
            _ = terminate.recv() => return Ok(()),
        }
    }
}

async fn serve(stream: TcpStream, upstream: Upstream, authority: Authority) {
    let answer = service_fn(move |request| forward(upstream.clone(), authority.clone(), request));
    // A client that goes away is no fault of the proxy.
    let _ = stream.set_nodelay(true);
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
}

async fn forward(
    upstream: Upstream,
    authority: Authority,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    remove_hop_by_hop(request.headers_mut());
    if let Ok(host) = HeaderValue::from_str(authority.as_str()) {
        request.headers_mut().insert(HOST, host);
    }
    let mut parts = request.uri().clone().into_parts();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(authority);
    let Ok(uri) = Uri::from_parts(parts) else {
        return Ok(fault(StatusCode::BAD_REQUEST));
    };
    *request.uri_mut() = uri;

    match upstream.request(request).await {
        Ok(mut response) => {
            remove_hop_by_hop(response.headers_mut());
            Ok(response.map(Either::Left))
        }
        Err(_) => Ok(fault(StatusCode::BAD_GATEWAY)),
    }
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let nominated: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in nominated {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(*name);
    }
}

fn fault(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Either::Right(Empty::new()));
    *response.status_mut() = status;
    response
}

const HOP_BY_HOP: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
