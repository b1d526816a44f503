//! One request and its answer as a stream (RFC 9113), on a connection that other requests share. From `upstream`; a
//! connection comes from `pool`, the answer's body goes on in `body`.

pub mod body;
pub mod connection;
pub mod pool;
mod upload;

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{RecvStream, SendStream};
use http::header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue};
use http::uri::{Scheme, Uri};
use http::{Method, Request, Response, StatusCode};
use http_body::Body as _;
use tokio::time::timeout;

use crate::policy::UpstreamServer;
use crate::proxy::upstream::http2::body::Body;
use crate::proxy::upstream::http2::pool::{Place, Pool};
use crate::proxy::upstream::http2::upload::Upload;
use crate::proxy::upstream::intake::{BadUpload, Intake};
use crate::proxy::upstream::patience::{Awaited, Patience};
use crate::proxy::upstream::{Deadlines, UpstreamFault};
use crate::wire::{RequestBody, UpstreamKind};

/// Why what an upstream sent is no answer.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    #[error("the stream broke before it answered: {0}")]
    Stream(#[from] h2::Error),
    #[error("it switched protocols unasked")]
    SwitchedProtocols,
    #[error("its status is not one that HTTP has")]
    Status,
    #[error("it sent more than {MOST_INTERIM} interim answers")]
    TooManyInterim,
}

/// The head of a request as h2 takes it.
#[derive(Debug, Default)]
pub struct RequestHead {
    fields: HeaderMap,
    is_unfit: bool,
}

/// Our half of a stream. If both halves are dropped before its end, h2 resets it, which tells the upstream to stop.
#[derive(Debug)]
struct Open {
    send: SendStream<Bytes>,
    /// `None` once it is sent, or the upstream takes no more of it.
    upload: Option<Upload>,
    _place: Place,
}

/// A request that is being sent, and the head of its answer as far as it has come.
struct Exchange {
    open: Open,
    answer: ResponseFuture,
    interim: usize,
}

/// Send a request with `head` and `body` on a stream of its own.
///
/// Never sent twice: what has been given to a connection may have left, and a tool may have run, whatever the
/// upstream says of it. Dropping the returned future or the answer's body resets the stream, and only that.
pub async fn exchange(
    pool: &Pool,
    server: &UpstreamServer,
    head: Request<()>,
    body: RequestBody,
    intake: Intake,
    deadlines: Deadlines,
) -> Result<Response<Body>, UpstreamFault> {
    let mut upload = Upload::new(body, intake);
    // Before, it would hold a stream for as long as the client likes.
    match timeout(deadlines.upload, poll_fn(|context| upload.poll_begun(context))).await {
        Ok(begun) => begun?,
        Err(_) => return Err(UpstreamFault::Stalled(deadlines.upload)),
    }
    let (answer, send, place) =
        match timeout(deadlines.connect, open(pool, server, head, &upload)).await {
            Ok(opened) => opened?,
            Err(_) => return Err(UpstreamFault::Connect(std::io::ErrorKind::TimedOut.into())),
        };
    let upload = Some(upload).filter(|upload| !upload.is_over());
    let open = Open { send, upload, _place: place };
    let mut exchange = Exchange { open, answer, interim: 0 };
    let answer = exchange.answer(deadlines).await?;
    Ok(into_response(answer, exchange.open))
}

/// A stream on which `head` is on its way.
async fn open(
    pool: &Pool,
    server: &UpstreamServer,
    head: Request<()>,
    upload: &Upload,
) -> Result<(ResponseFuture, SendStream<Bytes>, Place), UpstreamFault> {
    let (mut connection, place) = pool.place(server).await?;
    let (answer, send) =
        connection.send_request(head, upload.is_over()).map_err(NoAnswer::Stream)?;
    Ok((answer, send, place))
}

fn into_response(answer: Response<RecvStream>, open: Open) -> Response<Body> {
    let (head, stream) = answer.into_parts();
    let mut response = Response::new(Body::new(&head.headers, stream, open));
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    response
}

impl RequestHead {
    pub fn field(&mut self, name: &HeaderName, value: &[u8]) {
        // RFC 9113 §8.3.1: `:authority` says it.
        if *name == HOST {
            return;
        }
        match HeaderValue::from_bytes(value) {
            Ok(value) => self.is_unfit |= self.fields.try_append(name, value).is_err(),
            Err(_) => self.is_unfit = true,
        }
    }

    /// For `server`, with a body like `body`. `target`: parts of one path and query. `None` if it can't be sent.
    pub fn end(
        mut self,
        method: &Method,
        server: &UpstreamServer,
        target: &[&str],
        body: &RequestBody,
    ) -> Option<Request<()>> {
        // RFC 9110 §8.6: only some methods expect a body, so that its absence has to be told.
        let expects_body = matches!(*method, Method::POST | Method::PUT | Method::PATCH);
        if let Some(length) = body.size_hint().exact()
            && (length > 0 || expects_body)
        {
            self.fields.insert(CONTENT_LENGTH, length.into());
        }
        let scheme = match server.url.kind {
            UpstreamKind::Http | UpstreamKind::Unix(_) => Scheme::HTTP,
            UpstreamKind::Https => Scheme::HTTPS,
        };
        let authority = server.url.host.as_bytes();
        let path = target.concat();
        let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(path);
        let mut request = Request::new(());
        *request.method_mut() = method.clone();
        *request.uri_mut() = uri.build().ok()?;
        *request.headers_mut() = self.fields;
        (!self.is_unfit).then_some(request)
    }
}

impl Exchange {
    async fn answer(
        &mut self,
        deadlines: Deadlines,
    ) -> Result<Response<RecvStream>, UpstreamFault> {
        let timer = pin!(None);
        let mut patience = Patience::new(timer, deadlines);
        poll_fn(|context| {
            let has_moved = self.open.poll_upload(context)?;
            if let Poll::Ready(head) = self.poll_head(context) {
                return Poll::Ready(head.map_err(UpstreamFault::NoAnswer));
            }
            let awaited = match &self.open.upload {
                Some(upload) if upload.awaits_client() => Awaited::Client,
                Some(_) | None => Awaited::Upstream,
            };
            let intake = self.open.upload.as_mut().map(Upload::intake);
            patience.poll(context, awaited, intake, has_moved).map(Err)
        })
        .await
    }

    fn poll_head(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Response<RecvStream>, NoAnswer>> {
        while let Poll::Ready(Some(interim)) = self.answer.poll_informational(context) {
            self.interim += 1;
            if interim?.status() == StatusCode::SWITCHING_PROTOCOLS {
                return Poll::Ready(Err(NoAnswer::SwitchedProtocols));
            }
            if self.interim > MOST_INTERIM {
                return Poll::Ready(Err(NoAnswer::TooManyInterim));
            }
        }
        let answer = ready!(Pin::new(&mut self.answer).poll(context))?;
        let is_status = (200..600).contains(&answer.status().as_u16());
        Poll::Ready(if is_status { Ok(answer) } else { Err(NoAnswer::Status) })
    }
}

impl Open {
    /// Go on with the request, as far as that is possible now. Whether it has come further. Errors: the
    /// client's.
    fn poll_upload(&mut self, context: &mut Context<'_>) -> Result<bool, BadUpload> {
        let Some(upload) = &mut self.upload else { return Ok(false) };
        match upload.poll(&mut self.send, context) {
            Poll::Pending => Ok(upload.take_progress()),
            Poll::Ready(Ok(())) => {
                self.upload = None;
                Ok(true)
            }
            Poll::Ready(Err(fault)) => Err(fault),
        }
    }
}

const MOST_INTERIM: usize = 16;
