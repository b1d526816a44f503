//! A request on its way to the upstream: its head, then its body as the client sends it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Body as _;

use crate::proxy::upstream::intake::{BadUpload, Intake};
use crate::proxy::upstream::socket::Socket;
use crate::telemetry::causes;
use crate::wire::{Outbox, RequestBody};

/// What is yet to be sent of a request. Trailers are left behind.
#[derive(Debug)]
pub struct Upload {
    outbox: Outbox,
    /// `None` once all of it is in `outbox`.
    body: Option<RequestBody>,
    coding: Coding,
    intake: Intake,
    has_moved: bool,
}

/// How the upstream is told where the body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// By its length, of which so much is to come.
    Length(u64),
    Chunked,
}

#[derive(Debug, thiserror::Error)]
pub enum UploadFault {
    #[error(transparent)]
    Client(#[from] BadUpload),
    #[error("the upstream took no more: {0}")]
    Upstream(#[from] io::Error),
}

impl Coding {
    pub fn of(body: &RequestBody) -> Self {
        body.size_hint().exact().map_or(Self::Chunked, Self::Length)
    }
}

impl Upload {
    pub fn new(head: Vec<u8>, body: RequestBody, intake: Intake) -> Self {
        let coding = Coding::of(&body);
        let body = Some(body).filter(|body| !body.is_end_stream());
        Self { outbox: Outbox::new(head), body, coding, intake, has_moved: false }
    }

    /// Ready when there is something of the body to send, or it has none.
    pub fn poll_begun(&mut self, context: &mut Context<'_>) -> Poll<Result<(), UploadFault>> {
        if self.body.is_none() { Poll::Ready(Ok(())) } else { self.poll_load(context) }
    }

    /// Send what there is. Ready when all of it is sent.
    pub fn poll(
        &mut self,
        socket: &mut Socket,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), UploadFault>> {
        loop {
            if !self.outbox.is_sent() {
                ready!(socket.poll_write(&mut self.outbox, context))?;
                self.has_moved = true;
            }
            if self.body.is_none() {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_load(context))?;
        }
    }

    pub fn intake(&mut self) -> &mut Intake {
        &mut self.intake
    }

    /// Whether it waits for the client, and not for the upstream to take more.
    pub fn awaits_client(&self) -> bool {
        self.body.is_some() && self.outbox.is_sent()
    }

    /// Whether a byte may have reached the upstream: it must not be sent a second time.
    pub fn has_begun(&self) -> bool {
        self.has_moved || self.outbox.has_begun()
    }

    /// Whether it has come further since it was asked last.
    pub fn take_progress(&mut self) -> bool {
        std::mem::take(&mut self.has_moved)
    }

    /// Put the next piece of the body into the outbox.
    fn poll_load(&mut self, context: &mut Context<'_>) -> Poll<Result<(), UploadFault>> {
        while let Some(body) = &mut self.body {
            let frame = match ready!(Pin::new(&mut *body).poll_frame(context)) {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => {
                    return Poll::Ready(Err(BadUpload::BrokeOff(causes(&error)).into()));
                }
                None => {
                    self.finish()?;
                    break;
                }
            };
            let ends = body.is_end_stream();
            let Ok(data) = frame.into_data() else { continue };
            if data.is_empty() {
                continue;
            }
            self.add(data)?;
            if ends {
                self.finish()?;
            }
            break;
        }
        Poll::Ready(Ok(()))
    }

    fn add(&mut self, data: Bytes) -> Result<(), UploadFault> {
        self.intake.add(data.len()).map_err(BadUpload::TooLarge)?;
        match &mut self.coding {
            Coding::Length(left) => {
                *left = left.checked_sub(data.len() as u64).ok_or_else(|| not_as_long("longer"))?;
                self.outbox.add(format_args!(""), data, b"");
            }
            Coding::Chunked => {
                let size = data.len();
                self.outbox.add(format_args!("{size:x}\r\n"), data, b"\r\n");
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), UploadFault> {
        self.body = None;
        match self.coding {
            Coding::Length(0) => {}
            Coding::Length(_) => return Err(not_as_long("shorter")),
            Coding::Chunked => self.outbox.end(),
        }
        Ok(())
    }
}

fn not_as_long(how: &str) -> UploadFault {
    BadUpload::BrokeOff(format!("it is {how} than its Content-Length")).into()
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::proxy::upstream::socket::Stream;
    use crate::tls;

    fn fresh(head: Vec<u8>) -> Upload {
        let outbox = Outbox::new(head);
        let intake = Intake::begin(Some(0), 0).unwrap();
        Upload { outbox, body: None, coding: Coding::Length(0), intake, has_moved: false }
    }

    /// TLS takes more than the network does. What it holds back leaves only if it is pushed.
    #[tokio::test]
    async fn what_is_held_back_is_not_sent() {
        let (near, mut far) = tls::connected().await;
        let mut socket = Socket::new(Stream::Tls(Box::new(near)));
        let (mut sent, mut upload) = (0, fresh(vec![b'x'; 1024]));
        // Until the other side, which does not read, has to.
        let poll = |upload: &mut Upload, socket: &mut Socket| {
            let mut context = Context::from_waker(std::task::Waker::noop());
            upload.poll(socket, &mut context).map(Result::unwrap)
        };
        while poll(&mut upload, &mut socket).is_ready() {
            sent += 1024;
            upload = fresh(vec![b'x'; 1024]);
        }
        assert!(upload.outbox.is_empty(), "TLS has it all");

        assert!(poll(&mut upload, &mut socket).is_pending(), "it has not left");
        assert!(!upload.awaits_client());
        let mut received = vec![0; sent + 1024];
        let (pushed, read) = tokio::join!(
            poll_fn(|context| upload.poll(&mut socket, context)),
            far.read_exact(&mut received)
        );

        pushed.unwrap();
        assert_eq!(read.unwrap(), sent + 1024);
    }

    /// A record may have left before another one failed, so it is not sent a second time.
    #[tokio::test]
    async fn what_was_tried_over_tls_has_begun() {
        let (mut near, _far) = tls::connected().await;
        near.get_mut().0.shutdown().await.unwrap();
        let mut socket = Socket::new(Stream::Tls(Box::new(near)));
        let mut upload = fresh(vec![b'x'; 1024]);
        assert!(!upload.has_begun());

        let sent = poll_fn(|context| upload.poll(&mut socket, context)).await;

        assert!(sent.is_err());
        assert!(upload.has_begun());
    }
}
