//! The admin socket: a Unix socket that only our own user can open. Next: `control`.

use std::convert::Infallible;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};
use tracing::instrument::WithSubscriber as _;

use crate::admin::control::{self, Control};
use crate::chance::{Chance, NoEntropy};
use crate::wire::RequestBody;

/// Why there is no socket. Completes "admin.socket: ".
#[derive(Debug, thiserror::Error)]
pub enum BindFault {
    #[error("can't make the directory {}: {fault}", path.display())]
    Directory { path: PathBuf, fault: io::Error },
    #[error("another process listens at {}: stop it, or give each a path of its own", path.display())]
    Taken { path: PathBuf },
    #[error("{} is there, and is no socket: move it away, or use another path", path.display())]
    NoSocket { path: PathBuf },
    #[error("can't listen at {}: {fault}; this process must be able to write to the directory", path.display())]
    Bind { path: PathBuf, fault: io::Error },
    #[error(transparent)]
    Entropy(#[from] NoEntropy),
}

/// A socket that is ours. Who connects waits until it is served. Gone from the file system when dropped.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    file: SocketFile,
}

#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    /// Device and inode: a later process may have put its own in this place.
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| identity(&found) == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Socket {
    /// To be called inside the runtime that will accept. What a dead process left is replaced; a live one
    /// is left alone, and so is whatever is no socket.
    pub async fn bind(path: &Path, chance: Chance) -> Result<Self, BindFault> {
        let parent = path.parent().unwrap_or(Path::new("/"));
        let made = DirBuilder::new().recursive(true).mode(0o700).create(parent);
        made.map_err(|fault| BindFault::Directory { path: parent.to_owned(), fault })?;
        make_way(path).await?;
        let name = u32::from_be_bytes(chance.bytes()?);
        let aside = parent.join(format!(".{name:08x}"));
        let bound = bind_aside(&aside, path);
        let _ = fs::remove_file(aside.join(ASIDE));
        let _ = fs::remove_dir(&aside);
        bound.map_err(|fault| BindFault::Bind { path: path.to_owned(), fault })
    }

    /// Answer until the process has ended its work. Then those who were waiting for that are told, and given
    /// a moment to leave.
    pub async fn serve(self, control: Arc<Control>) {
        let Self { listener, file } = self;
        // Until the end of this function: who ends the process waits for it.
        let _witness = control.draining.witness();
        let mut connections = JoinSet::new();
        let mut over = std::pin::pin!(control.draining.over());
        loop {
            let accepted = tokio::select! {
                _ = &mut over => break,
                Some(ended) = connections.join_next() => {
                    note(&ended);
                    continue;
                }
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let answering = serve_one(stream, Arc::clone(&control));
                    connections.spawn(answering.with_current_subscriber());
                }
                Err(fault) => {
                    tracing::error!(%fault, whose_fault = "us", "can't accept on the admin socket, pausing");
                    sleep(PAUSE).await;
                }
            }
        }
        drop((listener, file));
        let leaving = async {
            while let Some(ended) = connections.join_next().await {
                note(&ended);
            }
        };
        let _ = timeout(FAREWELL, leaving).await;
    }
}

/// In a directory that nobody else can enter, so that at no time anybody else could connect; only then to
/// its place, which takes that of a dead one.
fn bind_aside(aside: &Path, path: &Path) -> io::Result<Socket> {
    DirBuilder::new().mode(0o700).create(aside)?;
    let made = aside.join(ASIDE);
    let listener = UnixListener::bind(&made)?;
    fs::set_permissions(&made, Permissions::from_mode(0o600))?;
    let identity = identity(&fs::symlink_metadata(&made)?);
    fs::rename(&made, path)?;
    Ok(Socket { listener, file: SocketFile { path: path.to_owned(), identity } })
}

async fn make_way(path: &Path) -> Result<(), BindFault> {
    let path = path.to_owned();
    match fs::symlink_metadata(&path) {
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(fault) => Err(BindFault::Bind { path, fault }),
        Ok(found) if !found.file_type().is_socket() => Err(BindFault::NoSocket { path }),
        Ok(_) => match UnixStream::connect(&path).await {
            Err(fault) if fault.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => Ok(()),
            // One that is too busy to accept is alive too.
            Err(fault) if fault.kind() != io::ErrorKind::WouldBlock => {
                Err(BindFault::Bind { path, fault })
            }
            Ok(_) | Err(_) => Err(BindFault::Taken { path }),
        },
    }
}

/// Until the other side closes. It is trusted: no deadlines, no limits.
async fn serve_one(stream: UnixStream, control: Arc<Control>) {
    let service = service_fn(move |request: http::Request<Incoming>| {
        let control = Arc::clone(&control);
        let request = request.map(RequestBody::alone);
        async move { Ok::<_, Infallible>(control::answer(&control, request).await) }
    });
    // It ends in an error when somebody hangs up: nobody's fault.
    let _ = Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

fn note(ended: &Result<(), JoinError>) {
    if ended.as_ref().is_err_and(JoinError::is_panic) {
        tracing::error!(
            fault = "panic",
            whose_fault = "us",
            "an admin connection was lost to a bug of ours"
        );
    }
}

fn identity(found: &fs::Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

const ASIDE: &str = "s";
const PAUSE: Duration = Duration::from_millis(100);
const FAREWELL: Duration = Duration::from_secs(2);
