//! The other end of the admin socket: how the command line asks a running process.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use url::form_urlencoded;

use crate::admin::words::{
    CONNECTIONS, DRAIN, DrainEnd, DrainWish, Filter, Line, REVOKE, Refused, Whose,
};

/// Why there is no answer, or not the one that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum AskFault {
    #[error(
        "there is no socket at {}: is mcp-doorman running here, with admin.socket set to that?",
        .0.display()
    )]
    NoSocket(PathBuf),
    #[error("nobody listens at {}: the mcp-doorman that did is gone", .0.display())]
    NobodyListens(PathBuf),
    #[error("{} is another user's: ask as the user that mcp-doorman runs as", .0.display())]
    NotOurs(PathBuf),
    #[error("can't connect to {}: {fault}", path.display())]
    Connect { path: PathBuf, fault: io::Error },
    #[error("{}", .0.error_description)]
    Refused(Refused),
    #[error("the answer broke off: the process ended, or stopped to listen")]
    BrokeOff,
    #[error("the answer is not understood: mcp-doorman there is of another version")]
    NotUnderstood,
}

/// An answer of lines, read as they come.
#[derive(Debug)]
pub struct Lines {
    body: Incoming,
    read: Vec<u8>,
    is_whole: bool,
}

pub async fn connections(socket: &Path, filter: &Filter) -> Result<Lines, AskFault> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in
        [("grant", &filter.grant), ("user", &filter.user), ("client", &filter.client)]
    {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    let target = format!("{CONNECTIONS}?{}", query.finish());
    let body = ask(socket, Method::GET, &target, String::new()).await?;
    Ok(Lines { body, read: Vec::new(), is_whole: false })
}

pub async fn revoke(socket: &Path, whose: &Whose) -> Result<Lines, AskFault> {
    let wish = serde_json::to_string(whose).map_err(|_| AskFault::NotUnderstood)?;
    let body = ask(socket, Method::POST, REVOKE, wish).await?;
    Ok(Lines { body, read: Vec::new(), is_whole: false })
}

/// Waits until the process has drained.
pub async fn drain(socket: &Path, wish: DrainWish) -> Result<DrainEnd, AskFault> {
    let wish = serde_json::to_string(&wish).map_err(|_| AskFault::NotUnderstood)?;
    let body = ask(socket, Method::POST, DRAIN, wish).await?;
    let body = body.collect().await.map_err(|_| AskFault::BrokeOff)?.to_bytes();
    serde_json::from_slice(&body).map_err(|_| AskFault::NotUnderstood)
}

impl Lines {
    /// `None` after the line that ends the answer. One that ends without has broken off.
    pub async fn next(&mut self) -> Result<Option<Line>, AskFault> {
        if self.is_whole {
            return Ok(None);
        }
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                let line = serde_json::from_slice(&line).map_err(|_| AskFault::NotUnderstood)?;
                self.is_whole = matches!(line, Line::End(_));
                return Ok(Some(line));
            }
            let frame = self.body.frame().await.ok_or(AskFault::BrokeOff)?;
            let frame = frame.map_err(|_| AskFault::BrokeOff)?;
            if let Ok(bytes) = frame.into_data() {
                self.read.extend_from_slice(&bytes);
            }
        }
    }
}

async fn ask(
    socket: &Path,
    method: Method,
    target: &str,
    body: String,
) -> Result<Incoming, AskFault> {
    let stream = UnixStream::connect(socket).await.map_err(|fault| not_connected(socket, fault))?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|_| AskFault::BrokeOff)?;
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(target)
        .header("host", "mcp-doorman")
        .body(Full::new(Bytes::from(body)))
        .map_err(|_| AskFault::NotUnderstood)?;
    let (head, body) =
        sender.send_request(request).await.map_err(|_| AskFault::BrokeOff)?.into_parts();
    if head.status == StatusCode::OK {
        return Ok(body);
    }
    let refused = body.collect().await.map_err(|_| AskFault::BrokeOff)?.to_bytes();
    let refused = serde_json::from_slice(&refused).map_err(|_| AskFault::NotUnderstood)?;
    Err(AskFault::Refused(refused))
}

fn not_connected(socket: &Path, fault: io::Error) -> AskFault {
    let path = socket.to_owned();
    let kind = fault.kind();
    if kind == io::ErrorKind::NotFound {
        AskFault::NoSocket(path)
    } else if kind == io::ErrorKind::ConnectionRefused {
        AskFault::NobodyListens(path)
    } else if kind == io::ErrorKind::PermissionDenied {
        AskFault::NotOurs(path)
    } else {
        AskFault::Connect { path, fault }
    }
}
