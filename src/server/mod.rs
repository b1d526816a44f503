//! The server: listens, deals connections to workers, refuses what is malformed on the wire.

use crate::wire::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::future::Future;
use std::net::{IpAddr, SocketAddr};

/// Where to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenAddress {
    pub address: SocketAddr,
    /// Tried if `address` can't be bound because the machine has no IPv6.
    pub fallback: Option<SocketAddr>,
}

#[derive(Debug)]
pub struct Running {
    pub address: SocketAddr,
    stop: tokio::sync::watch::Sender<bool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}
impl Running {
    pub async fn drain(self) {
        let _ = self.stop.send(true);
        drop(self.threads);
    }
}

pub fn start<H, F>(
    listen: ListenAddress,
    count: usize,
    log: &tracing::Dispatch,
    make: impl Fn() -> H + Clone + Send + 'static,
) -> std::io::Result<Running>
where
    H: Fn(Request, IpAddr) -> F + Clone + Send + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let l = std::net::TcpListener::bind(listen.address)?;
    l.set_nonblocking(true)?;
    let address = l.local_addr()?;
    let (stop, _) = tokio::sync::watch::channel(false);
    let mut threads = Vec::new();
    for _ in 0..count {
        let l = l.try_clone()?;
        let log = log.clone();
        let make = make.clone();
        let mut stopped = stop.subscribe();
        threads.push(std::thread::spawn(move || {
            let _g = tracing::dispatcher::set_default(&log);
            let Ok(rt) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
            rt.block_on(async move {
                let handler = make();
                let Ok(l) = tokio::net::TcpListener::from_std(l) else { return };
                loop {
                    tokio::select! {
                        _ = stopped.changed() => break,
                        c = l.accept() => { if let Ok((s, p)) = c { let _ = s.set_nodelay(true); let h = handler.clone();
                            tokio::spawn(async move {
                                let svc = hyper::service::service_fn(move |r| { let f = h(r, p.ip()); async move { Ok::<_, std::convert::Infallible>(f.await) } });
                                let _ = hyper::server::conn::http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(s), svc).await;
                            }); } }
                    }
                }
            });
        }));
    }
    Ok(Running { address, stop, threads })
}
