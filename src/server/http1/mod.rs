//! One HTTP/1 connection (RFC 9112), one exchange after the other. What is silent holds no buffer: bytes are read
//! into room that the whole thread shares, and written from where they lie.

mod answer;
mod date;
mod request;

use std::mem;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use std::time::Duration;

use bytes::Bytes;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::proxy::Response;
use crate::server::deadline::Waiting;
use crate::server::entry;
use crate::server::framing::{Framing, WholeHead};
use crate::server::http2::PREFACE;
use crate::server::refusal::Refusal;
use crate::tls::{Agreed, ServerStream};
use crate::wire::feed::{BrokeOff, Feed, Wanted, feed};
use crate::wire::{Outbox, Request, RequestBody, scratch};

use answer::Sending;
pub use request::Asked;

/// What a connection is served over.
pub trait Stream: AsyncRead + AsyncWrite + Unpin {
    /// Whether to drop it is to look like a fault to the other side, and not like a proper end.
    fn reset_when_dropped(&self, is_so: bool);

    /// What is spoken over it, if that was agreed on before.
    fn agreed(&self) -> Option<Agreed> {
        None
    }
}

impl Stream for TcpStream {
    fn reset_when_dropped(&self, is_so: bool) {
        // It fails on a connection that is gone already.
        let _ = SockRef::from(self).set_linger(is_so.then_some(Duration::ZERO));
    }
}

/// Over TLS a proper end says that it is one, and dropping does not. A reset tells it to who does not look.
impl<S: Stream> Stream for ServerStream<S> {
    fn reset_when_dropped(&self, is_so: bool) {
        self.transport().reset_when_dropped(is_so);
    }

    fn agreed(&self) -> Option<Agreed> {
        Some(ServerStream::agreed(self))
    }
}

/// In memory there is no such difference.
#[cfg(test)]
impl Stream for tokio::io::DuplexStream {
    fn reset_when_dropped(&self, _: bool) {}
}

/// A connection, and how far it has come. `F` is the future of an answer.
#[derive(Debug)]
pub struct Connection<S, F> {
    stream: S,
    peer: IpAddr,
    state: State<F>,
    /// Nobody knows yet whether it is HTTP/1.
    is_new: bool,
    /// What has come of the next request's header, if that comes in pieces.
    head: Vec<u8>,
    /// Read and not looked at.
    input: Bytes,
    framing: Framing,
    /// Where the body of the request under way goes, if more of it is to come and somebody may want it.
    feed: Option<Feed>,
    /// What is wrong with it.
    bad_body: Option<Refusal>,
    outbox: Outbox,
    is_stuck: bool,
    is_finishing: bool,
    /// Exchanges begun and ended, and writes: a change of it is progress.
    steps: u32,
}

#[derive(Debug)]
enum State<F> {
    /// No request is under way.
    Idle,
    Answering(Asked, Pin<Box<F>>),
    Sending(Sending),
}

/// How it ends.
#[derive(Debug)]
pub enum End {
    /// The client has gone, or must see that its answer broke off.
    Gone,
    /// The last answer is sent, or none is to come.
    Answered,
    /// This is still to be told, to who asked so.
    Refused(Refusal, Asked),
    /// It is HTTP/2, of which so much has come.
    Http2(Bytes),
}

impl<S, F> Connection<S, F>
where
    S: Stream,
    F: Future<Output = Response>,
{
    pub fn new(stream: S, peer: IpAddr) -> Self {
        Self {
            stream,
            peer,
            state: State::Idle,
            is_new: true,
            head: Vec::new(),
            input: Bytes::new(),
            framing: Framing::default(),
            feed: None,
            bad_body: None,
            outbox: Outbox::default(),
            is_stuck: false,
            is_finishing: false,
            steps: 0,
        }
    }

    /// Go on, until it ends. `handler` sees only requests that passed `framing` and `entry`.
    pub fn poll<H>(&mut self, context: &mut Context<'_>, handler: &H) -> Poll<End>
    where
        H: Fn(Request, IpAddr) -> F,
    {
        for _ in 0..MOST_STEPS {
            let step = match self.state {
                State::Idle => self.poll_request(context, handler),
                State::Answering(..) => self.poll_answer(context),
                State::Sending(_) => self.poll_sending(context),
            };
            if let Err(end) = ready!(step) {
                return Poll::Ready(end);
            }
        }
        // Whoever sends one request after the other leaves others their turn.
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// From now on no further request is taken than the one under way, or the first.
    pub fn finish(&mut self) {
        self.is_finishing = true;
    }

    /// What it waits for, and a number that changes when that has made progress.
    pub fn waiting(&self) -> (Waiting, u32) {
        let waiting = match self.state {
            _ if self.is_stuck => Waiting::Reader,
            State::Answering(..) | State::Sending(_) => Waiting::Answer,
            State::Idle if self.is_new && self.is_finishing => Waiting::LastCall,
            State::Idle if self.is_new => Waiting::FirstByte,
            State::Idle if self.in_head() => Waiting::Head,
            State::Idle => Waiting::NextRequest,
        };
        (waiting, self.steps)
    }

    /// The stream, and whether the client may still be sending what nobody will read.
    pub fn into_stream(self) -> (S, bool) {
        let is_sending = !self.framing.at_rest() || !self.input.is_empty();
        (self.stream, is_sending)
    }

    /// Something of the next request has come. RFC 9112 §2.2: empty lines before it are nothing.
    fn in_head(&self) -> bool {
        self.head.iter().any(|byte| !matches!(byte, b'\r' | b'\n'))
    }

    fn poll_request<H>(&mut self, context: &mut Context<'_>, handler: &H) -> Poll<Result<(), End>>
    where
        H: Fn(Request, IpAddr) -> F,
    {
        let Poll::Ready(head) = self.poll_head(context) else {
            let is_over = self.is_finishing && !self.is_new && !self.in_head();
            return if is_over { Poll::Ready(Err(End::Answered)) } else { Poll::Pending };
        };
        let (text, head) = head?;
        let (request, asked) = self.admit(&text, &head)?;
        self.state = State::Answering(asked, Box::pin(handler(request, self.peer)));
        self.steps = self.steps.wrapping_add(1);
        Poll::Ready(Ok(()))
    }

    /// The whole header of the next request.
    fn poll_head(&mut self, context: &mut Context<'_>) -> Poll<Result<(Bytes, WholeHead), End>> {
        loop {
            if self.is_new && !self.input.is_empty() {
                self.recognize()?;
            }
            if !self.input.is_empty() {
                if let Some(head) = self.framing.head(&self.input).map_err(unheard)? {
                    let piece = self.input.split_to(head.end);
                    if self.head.is_empty() {
                        return Poll::Ready(Ok((piece, head)));
                    }
                    self.head.extend_from_slice(&piece);
                    return Poll::Ready(Ok((mem::take(&mut self.head).into(), head)));
                }
                self.head.extend_from_slice(&mem::take(&mut self.input));
            }
            ready!(self.poll_input(context))?;
        }
    }

    /// See whether it is HTTP/1 that has come. As long as it may be either, it waits in `head`.
    fn recognize(&mut self) -> Result<(), End> {
        self.head.extend_from_slice(&mem::take(&mut self.input));
        let agreed = self.stream.agreed();
        if self.head.starts_with(PREFACE) {
            // RFC 9113 §3.3: over TLS never without.
            if agreed == Some(Agreed::Http1) {
                return Err(unheard(Refusal::NotAgreed));
            }
            return Err(End::Http2(mem::take(&mut self.head).into()));
        }
        if !PREFACE.starts_with(&self.head) {
            // RFC 9113 §3.4: a connection error, as HTTP/2 has them.
            if agreed == Some(Agreed::Http2) {
                return Err(End::Http2(mem::take(&mut self.head).into()));
            }
            self.is_new = false;
            self.input = mem::take(&mut self.head).into();
        }
        Ok(())
    }

    fn poll_input(&mut self, context: &mut Context<'_>) -> Poll<Result<(), End>> {
        match ready!(scratch::poll_piece(&mut self.stream, context)) {
            Ok(input) if !input.is_empty() => {
                self.input = input;
                Poll::Ready(Ok(()))
            }
            Ok(_) | Err(_) => Poll::Ready(Err(End::Gone)),
        }
    }

    fn admit(&mut self, text: &Bytes, head: &WholeHead) -> Result<(Request, Asked), End> {
        let mut request = request::parse(text, head).map_err(unheard)?;
        let mut asked = Asked::by(&request);
        let refused = move |refusal| End::Refused(refusal, asked);
        entry::admit(&mut request).map_err(refused)?;
        let body = self.body(head.body_length, &mut asked).map_err(refused)?;
        Ok((request.map(|()| body), asked))
    }

    /// The body of the request whose header has just ended. What is wrong with the part that is here, is wrong with
    /// the request.
    fn body(&mut self, length: Option<u64>, asked: &mut Asked) -> Result<RequestBody, Refusal> {
        let here = self.data()?.unwrap_or_default();
        self.framing.check()?;
        if self.framing.at_rest() {
            return Ok(RequestBody::whole(here));
        }
        // RFC 9110 §10.1.1: who has begun to send it needs no word.
        asked.expects_continue &= here.is_empty();
        let (feed, body) = feed(length, here);
        self.feed = Some(feed);
        Ok(body.into())
    }

    /// Data of the body that is here. Small pieces are joined, lest each become a write to the upstream.
    fn data(&mut self) -> Result<Option<Bytes>, Refusal> {
        let Some(first) = self.framing.data(&mut self.input)? else { return Ok(None) };
        let mut more = Vec::new();
        // What is wrong with the next one is told when that is asked for.
        while first.len().max(more.len()) < ENOUGH
            && let Ok(Some(piece)) = self.framing.data(&mut self.input)
        {
            if more.is_empty() {
                more.extend_from_slice(&first);
            }
            more.extend_from_slice(&piece);
        }
        Ok(Some(if more.is_empty() { first } else { more.into() }))
    }

    fn poll_answer(&mut self, context: &mut Context<'_>) -> Poll<Result<(), End>> {
        let State::Answering(asked, answer) = &mut self.state else { return Poll::Ready(Ok(())) };
        if let Some(feed) = &self.feed {
            feed.will_ask();
        }
        let Poll::Ready(answer) = answer.as_mut().poll(context) else {
            let _ = self.poll_write(context)?;
            return self.poll_client(context);
        };
        // Whatever was made of a bad body, it is the client's fault.
        let answer = self.bad_body.take().map_or(answer, |refusal| {
            refusal.log(self.peer);
            refusal.to_response().map(Into::into)
        });
        // After an answer that does not wait for the body nobody can say where the next request begins (RFC 9112
        // §9.3 wants that told).
        let is_last = self.is_finishing || !self.framing.at_rest();
        let sending = Sending::begin(answer, *asked, is_last, &mut self.outbox);
        if sending.ends_by_closing() {
            self.stream.reset_when_dropped(true);
        }
        self.state = State::Sending(sending);
        Poll::Ready(Ok(()))
    }

    fn poll_sending(&mut self, context: &mut Context<'_>) -> Poll<Result<(), End>> {
        let mut has_more = true;
        loop {
            let State::Sending(sending) = &mut self.state else { return Poll::Ready(Ok(())) };
            // What is there of the body leaves together with the header.
            if !sending.is_over() && self.outbox.has_room() {
                if let Some(feed) = &self.feed {
                    feed.will_ask();
                }
                match sending.poll_load(&mut self.outbox, context) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(answer::Broken)) => {
                        let _ = self.poll_write(context);
                        return Poll::Ready(Err(End::Gone));
                    }
                    Poll::Pending => has_more = false,
                }
            }
            let (is_over, is_last) = (sending.is_over(), sending.is_last());
            let ends_by_closing = sending.ends_by_closing();
            if self.poll_write(context)?.is_pending() {
                return self.poll_client(context);
            }
            if is_over {
                if ends_by_closing {
                    self.stream.reset_when_dropped(false);
                }
                self.state = State::Idle;
                self.steps = self.steps.wrapping_add(1);
                return Poll::Ready(if is_last { Err(End::Answered) } else { Ok(()) });
            }
            if !has_more {
                return self.poll_client(context);
            }
        }
    }

    /// Write what there is to write.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<Result<(), End>> {
        if self.outbox.is_sent() {
            return Poll::Ready(Ok(()));
        }
        let before = self.outbox.len();
        let written = self.outbox.poll_write(&mut self.stream, context);
        self.is_stuck = written.is_pending();
        if self.outbox.len() != before {
            self.steps = self.steps.wrapping_add(1);
        }
        written.map_err(|_| End::Gone)
    }

    /// While an answer is due: have who reads the request's body get what it asks for, and then ask again; else see
    /// whether the client is still there.
    fn poll_client(&mut self, context: &mut Context<'_>) -> Poll<Result<(), End>> {
        let Some(feed) = &self.feed else { return self.poll_end(context) };
        match feed.wanted(context) {
            Wanted::NothingYet => return Poll::Pending,
            Wanted::NothingEver => {
                self.feed = None;
                return self.poll_end(context);
            }
            Wanted::More => {}
        }
        if let State::Answering(asked, _) = &mut self.state {
            if mem::take(&mut asked.expects_continue) {
                self.outbox.begin().extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            }
            let _ = self.poll_write(context)?;
        }
        loop {
            match self.data() {
                Ok(None) if !self.framing.at_rest() => ready!(self.poll_input(context))?,
                Ok(piece) => {
                    self.give(piece);
                    return Poll::Ready(Ok(()));
                }
                Err(refusal) => {
                    self.bad_body = Some(refusal);
                    if let Some(feed) = self.feed.take() {
                        feed.fail(BrokeOff::Malformed(refusal.to_string()));
                    }
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }

    fn give(&mut self, piece: Option<Bytes>) {
        let Some(feed) = &self.feed else { return };
        if let Some(piece) = piece {
            feed.put(piece);
        }
        if self.framing.at_rest()
            && let Some(feed) = self.feed.take()
        {
            feed.end();
        }
    }

    /// Ready only if the client has gone. To end its side is to go.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<Result<(), End>> {
        while self.input.len() < AHEAD {
            let mut bytes = [0; AHEAD];
            let mut buffer = ReadBuf::new(&mut bytes);
            let read = Pin::new(&mut self.stream).poll_read(context, &mut buffer);
            if ready!(read).is_err() || buffer.filled().is_empty() {
                return Poll::Ready(Err(End::Gone));
            }
            self.input = [&self.input[..], buffer.filled()].concat().into();
        }
        Poll::Pending
    }
}

/// Of a header: nothing is known of who asked.
fn unheard(refusal: Refusal) -> End {
    End::Refused(refusal, Asked::UNKNOWN)
}

/// Answer what was never handed out: with `refusal`, on a connection where no other answer is under way.
pub async fn refuse<S: AsyncWrite + Unpin>(stream: &mut S, refusal: Refusal, asked: Asked) {
    let mut outbox = Outbox::default();
    let response = refusal.to_response().map(crate::proxy::Body::from);
    let mut sending = Sending::begin(response, asked, true, &mut outbox);
    let written = std::future::poll_fn(|context| {
        let _ = sending.poll_load(&mut outbox, context);
        outbox.poll_write(stream, context)
    });
    let _ = written.await;
}

/// Enough to see that something came.
const AHEAD: usize = 64;
/// Of a body, in one piece.
const ENOUGH: usize = 16 * 1024;
/// Before others have their turn. An exchange is three.
const MOST_STEPS: usize = 48;

#[cfg(test)]
mod tests;
