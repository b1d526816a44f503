//! An upstream that answers each stream frame by frame, as a test says: also as no HTTP/2 server of good sense would.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{Request, Response};
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// What happens on a stream once the request is here, one step after the other.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// The head of an answer, with one field if its name is not empty.
    Head(u16, &'static str, &'static str),
    /// The same, and there is no body.
    HeadAlone(u16, &'static str, &'static str),
    Interim(u16),
    Data(&'static str),
    /// The last of it.
    LastData(&'static str),
    Trailers,
    Reset(Reason),
    /// Go on when the test says so.
    UntilToldTo,
    /// The whole connection.
    Break,
    /// Do nothing more, and end nothing.
    Rest,
}

#[derive(Clone, Debug)]
pub struct Http2McpServer {
    port: u16,
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    script: Vec<Step>,
    requests: AtomicUsize,
    resets: Mutex<Vec<Reason>>,
    go_on: Notify,
    broken: Notify,
}

impl Http2McpServer {
    /// Each request is answered by `script`.
    pub async fn start(script: impl Into<Vec<Step>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let inner = Arc::new(Inner {
            script: script.into(),
            requests: AtomicUsize::new(0),
            resets: Mutex::default(),
            go_on: Notify::new(),
            broken: Notify::new(),
        });
        let server = Self { port, inner };
        let listening = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = listening.clone();
                tokio::spawn(async move {
                    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                    loop {
                        tokio::select! {
                            accepted = connection.accept() => match accepted {
                                Some(Ok((request, respond))) => {
                                    server.inner.requests.fetch_add(1, Ordering::Relaxed);
                                    tokio::spawn(server.clone().play(request, respond));
                                }
                                Some(Err(_)) | None => return,
                            },
                            () = server.inner.broken.notified() => return,
                        }
                    }
                });
            }
        });
        server
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/mcp", self.port)
    }

    /// How many requests came.
    pub fn requests(&self) -> usize {
        self.inner.requests.load(Ordering::Relaxed)
    }

    /// The reasons with which the proxy reset streams that rested.
    pub fn resets(&self) -> Vec<Reason> {
        self.inner.resets.lock().unwrap().clone()
    }

    pub fn go_on(&self) {
        self.inner.go_on.notify_one();
    }

    async fn play(self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        let mut body = request.into_body();
        while let Some(Ok(data)) = body.data().await {
            let _ = body.flow_control().release_capacity(data.len());
        }
        let mut sent = None;
        for step in &self.inner.script {
            match *step {
                Step::Head(status, name, value) => {
                    sent = Some(respond.send_response(head(status, name, value), false).unwrap());
                }
                Step::HeadAlone(status, name, value) => {
                    respond.send_response(head(status, name, value), true).unwrap();
                }
                Step::Interim(status) => {
                    respond.send_informational(head(status, "", "")).unwrap();
                }
                Step::Data(data) => {
                    sent.as_mut().unwrap().send_data(data.into(), false).unwrap();
                }
                Step::LastData(data) => {
                    sent.as_mut().unwrap().send_data(data.into(), true).unwrap();
                }
                Step::Trailers => {
                    let trailers = [("x-late".parse().unwrap(), "1".parse().unwrap())];
                    sent.as_mut().unwrap().send_trailers(trailers.into_iter().collect()).unwrap();
                }
                Step::Reset(reason) => respond.send_reset(reason),
                Step::UntilToldTo => self.inner.go_on.notified().await,
                Step::Break => self.inner.broken.notify_one(),
                Step::Rest => {
                    let reset = std::future::poll_fn(|context| match &mut sent {
                        Some(sent) => sent.poll_reset(context),
                        None => respond.poll_reset(context),
                    });
                    if let Ok(reason) = reset.await {
                        self.inner.resets.lock().unwrap().push(reason);
                    }
                }
            }
        }
    }
}

fn head(status: u16, name: &str, value: &str) -> Response<()> {
    let head = Response::builder().status(status);
    let head = if name.is_empty() { head } else { head.header(name, value) };
    head.body(()).unwrap()
}
