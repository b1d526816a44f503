//! An upstream that answers with exactly the bytes that a test says, and keeps exactly what it was sent.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};

use crate::support::soon;

/// What happens on a connection, one step after the other. After the last one it is kept open.
#[derive(Clone, Debug)]
pub enum Step {
    /// Read one whole request.
    Request,
    /// Read a request's header only.
    Head,
    Say(Vec<u8>),
    /// Go on when the test says so.
    UntilToldTo,
    /// Do nothing more.
    Rest,
    /// FIN.
    Close,
    /// RST.
    Reset,
}

#[derive(Clone, Debug)]
pub struct RawMcpServer {
    address: SocketAddr,
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// For each connection in turn; the last one for all that follow.
    scripts: Vec<Vec<Step>>,
    connections: Mutex<Vec<Arc<Mutex<Vec<u8>>>>>,
    go_on: Notify,
    ended: Semaphore,
}

impl RawMcpServer {
    pub async fn start(scripts: impl IntoIterator<Item = Vec<Step>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let inner = Arc::new(Inner {
            scripts: scripts.into_iter().collect(),
            connections: Mutex::default(),
            go_on: Notify::new(),
            ended: Semaphore::new(0),
        });
        assert!(!inner.scripts.is_empty());
        let server = Self { address, inner };
        tokio::spawn(server.clone().listen(listener));
        server
    }

    /// Each connection: a request, this answer, and again.
    pub async fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        let turns = (0..64).flat_map(|_| [Step::Request, Step::Say(answer.clone())]);
        Self::start([turns.collect()]).await
    }

    /// Each connection: one request, this answer, the end.
    pub async fn answering_once(answer: impl Into<Vec<u8>>) -> Self {
        Self::start([vec![Step::Request, Step::Say(answer.into()), Step::Close]]).await
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn go_on(&self) {
        self.inner.go_on.notify_one();
    }

    /// What came over each connection.
    pub fn received(&self) -> Vec<String> {
        let connections = self.inner.connections.lock().unwrap();
        let text = |bytes: &Arc<Mutex<Vec<u8>>>| {
            String::from_utf8_lossy(&bytes.lock().unwrap()).into_owned()
        };
        connections.iter().map(text).collect()
    }

    /// How many requests came, counted by their first lines.
    pub fn requests(&self) -> usize {
        self.received().iter().map(|text| text.matches(" HTTP/1.1\r\n").count()).sum()
    }

    /// Wait until one more connection has come to the end of its script.
    pub async fn end(&self) {
        soon("the end of a script", self.inner.ended.acquire()).await.unwrap().forget();
    }

    async fn listen(self, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(self.clone().serve(stream));
        }
    }

    /// A connection over which nothing comes, as those by which readiness is seen, does not count.
    async fn serve(self, mut stream: TcpStream) {
        let received = Arc::new(Mutex::new(Vec::new()));
        if !read_more(&mut stream, &received).await {
            return;
        }
        let number = {
            let mut connections = self.inner.connections.lock().unwrap();
            connections.push(Arc::clone(&received));
            connections.len() - 1
        };
        let script = self.inner.scripts.get(number).or(self.inner.scripts.last()).unwrap().clone();
        self.play(stream, received, script).await;
    }

    async fn play(&self, mut stream: TcpStream, received: Arc<Mutex<Vec<u8>>>, script: Vec<Step>) {
        let mut taken = 0;
        for step in script {
            match step {
                Step::Request | Step::Head => {
                    let end = loop {
                        let end = end_of(&received.lock().unwrap()[taken..], &step);
                        if let Some(end) = end {
                            break end;
                        }
                        if !read_more(&mut stream, &received).await {
                            return;
                        }
                    };
                    taken += end;
                }
                Step::Say(bytes) => {
                    if stream.write_all(&bytes).await.is_err() {
                        break;
                    }
                }
                Step::UntilToldTo => self.inner.go_on.notified().await,
                Step::Rest => break,
                Step::Close => {
                    let _ = stream.shutdown().await;
                    break;
                }
                Step::Reset => {
                    stream.set_zero_linger().unwrap();
                    drop(stream);
                    self.inner.ended.add_permits(1);
                    return;
                }
            }
        }
        self.inner.ended.add_permits(1);
        while read_more(&mut stream, &received).await {}
    }
}

async fn read_more(stream: &mut TcpStream, received: &Mutex<Vec<u8>>) -> bool {
    let mut piece = [0; 4096];
    match stream.read(&mut piece).await {
        Ok(count) if count > 0 => {
            received.lock().unwrap().extend_from_slice(&piece[..count]);
            true
        }
        _ => false,
    }
}

/// Where the first request in `bytes` ends, or its header. The proxy's framing is plain: a length, or chunks.
fn end_of(bytes: &[u8], step: &Step) -> Option<usize> {
    let text = String::from_utf8_lossy(bytes);
    let head = text.find("\r\n\r\n")? + 4;
    if matches!(step, Step::Head) {
        return Some(head);
    }
    let fields = text[..head].to_ascii_lowercase();
    if fields.contains("\r\ntransfer-encoding: chunked\r\n") {
        return Some(head + text[head..].find("0\r\n\r\n")? + 5);
    }
    let length = fields
        .split("\r\ncontent-length: ")
        .nth(1)
        .map_or(0, |rest| rest.split("\r\n").next().unwrap().parse().unwrap());
    (bytes.len() >= head + length).then_some(head + length)
}
