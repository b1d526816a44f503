//! What stands before several replicas: sends each request to the next one, and past those that are down.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::support::exchange::{Exchange, Request};

/// Clones take turns with each other.
#[derive(Clone, Debug)]
pub struct LoadBalancer {
    replicas: Arc<Vec<SocketAddr>>,
    host: &'static str,
    next: Arc<AtomicUsize>,
    answered: Arc<AtomicUsize>,
}

/// The connection broke before the whole answer was there: what was asked for may have been done.
#[derive(Clone, Copy, Debug)]
pub struct Lost;

impl LoadBalancer {
    pub fn before(replicas: Vec<SocketAddr>, host: &'static str) -> Self {
        Self { replicas: Arc::new(replicas), host, next: Arc::default(), answered: Arc::default() }
    }

    /// How many answers came whole so far.
    pub fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    pub async fn send(&self, request: Request) -> Result<Exchange, Lost> {
        let connection = self.connection().await;
        let answer = async {
            let (head, body) = self.begin(connection, request).await?.into_parts();
            let body = body.collect().await.map_err(|_| Lost)?.to_bytes();
            self.answered.fetch_add(1, Ordering::Relaxed);
            Ok(Exchange::of(head.status, head.headers, body))
        };
        timeout(PATIENCE, answer).await.unwrap_or_else(|_| panic!("no answer in {PATIENCE:?}"))
    }

    /// Send `request` and hang up when the answer begins to come. Its status.
    pub async fn send_and_lose_the_answer(&self, request: Request) -> Result<u16, Lost> {
        let connection = self.connection().await;
        let begun = timeout(PATIENCE, self.begin(connection, request));
        let begun = begun.await.unwrap_or_else(|_| panic!("no answer in {PATIENCE:?}"));
        begun.map(|answer| answer.status().as_u16())
    }

    async fn begin(
        &self,
        mut connection: SendRequest<Full<Bytes>>,
        request: Request,
    ) -> Result<http::Response<hyper::body::Incoming>, Lost> {
        let request = request.into_http(self.host, Full::new);
        connection.send_request(request).await.map_err(|_| Lost)
    }

    /// To the next replica that accepts one.
    pub async fn connection(&self) -> SendRequest<Full<Bytes>> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            for _ in self.replicas.iter() {
                let turn = self.next.fetch_add(1, Ordering::Relaxed);
                let replica = self.replicas[turn % self.replicas.len()];
                let Ok(stream) = TcpStream::connect(replica).await else { continue };
                let Ok((sender, connection)) = handshake(TokioIo::new(stream)).await else {
                    continue;
                };
                tokio::spawn(connection);
                return sender;
            }
            sleep(Duration::from_millis(20)).await;
        }
        panic!("no replica accepts connections");
    }
}

/// More than a client is ever let wait.
const PATIENCE: Duration = Duration::from_secs(60);
