//! One connection from accepting it to closing it. Bytes pass `observed`, hyper parses them, `entry` judges
//! the request, the application answers. What begins as HTTP/2 does goes on in `http2`.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{sleep, timeout};

use crate::proxy::{Body, BodyFault, Response};
use crate::server::deadline::{LAST_CALL, LINGER, Watch};
use crate::server::drain::{Stage, Stop};
use crate::server::entry;
use crate::server::http2;
use crate::server::observed::{Exchange, Observed, Progress, Waiting};
use crate::server::refusal::Refusal;
use crate::wire::Request;
use crate::wire::request_body::{LeftUnread, RequestBody};

/// Serve `stream` until either side closes it. `handler` sees only requests that passed `framing` and
/// `entry`; dropping this future cancels what it is doing.
pub async fn serve<S, H, F>(stream: S, peer: IpAddr, handler: H, mut stop: Stop)
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Fn(Request, IpAddr) -> F,
    F: Future<Output = Response> + Send + 'static,
{
    let progress = Arc::new(Progress::default());
    let begin = Arc::clone(&progress);
    let service = service_fn(|request: http::Request<Incoming>| {
        let mut exchange = begin.begin();
        // Of a body in chunks that nobody wants, hyper reads no more than one, and closes.
        let left = request.body().size_hint().exact().is_none().then(LeftUnread::default);
        let request = request.map(|body| RequestBody::alone(body, left.clone()));
        let answer = entry::admit(request).map(|request| handler(request, peer));
        async move {
            let answer = match answer {
                Ok(answer) => {
                    let mut answer = pin!(answer);
                    let polled =
                        poll_fn(|context| exchange.once_a_turn(|| answer.as_mut().poll(context)));
                    Ok(polled.await)
                }
                Err(refusal) => Err(refusal),
            };
            Ok::<_, Infallible>(finish(answer, left.as_ref(), exchange, peer))
        }
    });
    let io = TokioIo::new(Observed::new(stream, Arc::clone(&progress)));
    let mut http = builder().serve_connection(io, service);
    let too_slow = {
        let mut last_call = pin!(async {
            stop.reached(Stage::Finishing).await;
            progress.finish();
            // Who has just connected, as everybody may until now, is sending a request.
            sleep(LAST_CALL).await;
        });
        let mut watch = Watch::new();
        let mut told = false;
        poll_fn(|context| {
            // hyper would close a connection on which nothing has come yet.
            if !told && (last_call.as_mut().poll(context).is_ready() || progress.may_finish()) {
                told = true;
                Pin::new(&mut http).graceful_shutdown();
            }
            progress.next_turn();
            if Pin::new(&mut http).poll(context).is_ready() {
                return Poll::Ready(None);
            }
            watch.poll(context, progress.waiting()).map(Some)
        })
        .await
    };
    let parts = http.into_parts();
    let stream = parts.io.into_inner().into_inner();
    if progress.speaks_http2() {
        // Boxed, so that a connection without it holds no room for it.
        let came = parts.read_buf;
        return Box::pin(http2::serve(stream, came, peer, handler, stop)).await;
    }
    let refusal = match too_slow {
        Some(Waiting::Head) => Some(Refusal::TooSlow),
        Some(_) => return,
        None => progress.unanswered_refusal(),
    };
    if refusal.is_some() || progress.body_is_due() {
        // Boxed: nearly no connection ends like this.
        Box::pin(last_word(stream, peer, refusal)).await;
    }
}

/// What is left to say when hyper's part is over, and time for the client to read it.
async fn last_word<S>(mut stream: S, peer: IpAddr, refusal: Option<Refusal>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let farewell = async {
        if let Some(refusal) = refusal {
            refusal.log(peer);
            say(&mut stream, refusal).await;
        }
        let _ = stream.shutdown().await;
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    };
    let _ = timeout(LINGER, farewell).await;
}

/// Answer what hyper never saw. hyper writes it all the same: as the answer to a request of our own.
async fn say<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, refusal: Refusal) {
    let io = TokioIo::new(tokio::io::join(STAND_IN, stream));
    let service = service_fn(async |_| Ok::<_, Infallible>(refusal.to_response()));
    let _ = builder().serve_connection(io, service).await;
}

/// No header timeout: `deadline` measures from outside, so hyper needs no timer. The limits are looser
/// than those of `framing`, which speaks first because hyper's own refusals have no body. A few of those
/// remain, for bytes that are wrong before their line is whole, and for targets that are no URI.
fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .keep_alive(true)
        // `observed` looks for the client's going.
        .half_close(true)
        .header_read_timeout(None)
        .max_header_size(HYPER_MAX_HEAD)
        .max_buf_size(HYPER_MAX_BUFFER);
    builder
}

fn finish(
    answer: Result<Response, Refusal>,
    left: Option<&LeftUnread>,
    exchange: Exchange,
    peer: IpAddr,
) -> http::Response<Answer> {
    // A body that `framing` refused is the client's fault, whatever the handler made of it.
    let answer = exchange.refusal().map_or(answer, Err);
    let mut response = answer.unwrap_or_else(|refusal| {
        refusal.log(peer);
        refusal.to_response().map(Into::into)
    });
    if exchange.is_last() || left.is_some_and(LeftUnread::is_so) {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response.map(|body| Answer { body, exchange })
}

/// An answer's body, which ends the exchange when it is dropped.
struct Answer {
    body: Body,
    exchange: Exchange,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let Self { body, exchange } = self.get_mut();
        exchange.once_a_turn(|| Pin::new(body).poll_frame(context))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
const HYPER_MAX_HEAD: usize = 32 * 1024;
/// Of a body, in each direction.
const HYPER_MAX_BUFFER: usize = 128 * 1024;

#[cfg(test)]
mod tests;
