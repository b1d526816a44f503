//! One connection from accepting it to closing it: HTTP/1 in `http1`, what begins as HTTP/2 does in `http2`.

use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::pin;
use std::task::Poll;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::proxy::Response;
use crate::server::deadline::{LINGER, Waiting, Watch};
use crate::server::drain::{Stage, Stop};
use crate::server::http1::{self, Asked, Connection, End, Stream};
use crate::server::http2;
use crate::server::refusal::Refusal;
use crate::wire::Request;

/// Serve `stream` until either side closes it. `handler` sees only requests that passed `framing` and
/// `entry`; dropping this future cancels what it is doing.
pub async fn serve<S, H, F>(stream: S, peer: IpAddr, handler: H, stop: Stop)
where
    S: Stream,
    H: Fn(Request, IpAddr) -> F,
    F: Future<Output = Response> + Send + 'static,
{
    let mut connection = Connection::new(stream, peer);
    let end = run(&mut connection, &handler, stop.clone()).await;
    let (mut stream, is_sending) = connection.into_stream();
    let refusal = match end {
        End::Gone => return,
        // Boxed, so that a connection without it holds no room for it.
        End::Http2(came) => return Box::pin(http2::serve(stream, came, peer, handler, stop)).await,
        End::Answered if !is_sending => {
            // Over TLS it is said that this is the end, and that may have to wait for a client that reads nothing.
            let _ = Box::pin(timeout(LINGER, stream.shutdown())).await;
            return;
        }
        End::Answered => None,
        End::Refused(refusal, asked) => Some((refusal, asked)),
    };
    if let Some((refusal, _)) = refusal {
        refusal.log(peer);
    }
    // Boxed: nearly no connection ends like this.
    Box::pin(last_word(stream, refusal)).await;
}

/// Until it ends, or has waited for the client for too long.
async fn run<S, H, F>(connection: &mut Connection<S, F>, handler: &H, mut stop: Stop) -> End
where
    S: Stream,
    H: Fn(Request, IpAddr) -> F,
    F: Future<Output = Response>,
{
    let news = stop.clone();
    let mut finishing = pin!(stop.reached(Stage::Finishing));
    let (mut is_asked, mut is_finishing) = (false, false);
    let mut watch = Watch::new();
    poll_fn(|context| {
        // Asked once, it wakes us. It is always the same task that polls.
        if !is_finishing
            && (!is_asked || news.has_moved())
            && finishing.as_mut().poll(context).is_ready()
        {
            is_finishing = true;
            connection.finish();
        }
        is_asked = true;
        if let Poll::Ready(end) = connection.poll(context, handler) {
            return Poll::Ready(end);
        }
        watch.poll(context, connection.waiting()).map(|waiting| match waiting {
            Waiting::Head => End::Refused(Refusal::TooSlow, Asked::UNKNOWN),
            Waiting::FirstByte | Waiting::LastCall | Waiting::NextRequest => End::Answered,
            Waiting::Reader | Waiting::Answer => End::Gone,
        })
    })
    .await
}

/// What is left to say, and time for the client to read it: closing at once would take back what it has not read.
pub async fn last_word<S>(mut stream: S, refusal: Option<(Refusal, Asked)>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let farewell = async {
        if let Some((refusal, asked)) = refusal {
            http1::refuse(&mut stream, refusal, asked).await;
        }
        let _ = stream.shutdown().await;
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    };
    let _ = timeout(LINGER, farewell).await;
}

#[cfg(test)]
mod tests;
