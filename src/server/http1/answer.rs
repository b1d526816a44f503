//! An answer as bytes: its header, then its body in whatever coding fits the one who asked (RFC 9112 §6, §7).

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, HeaderMap, TRANSFER_ENCODING};
use http::{StatusCode, Version, response};
use http_body::Body as _;

use crate::proxy::{Body, Response};
use crate::server::http1::date;
use crate::server::http1::request::Asked;
use crate::wire::answer::may_have_body;
use crate::wire::lines::{field, number_field};
use crate::wire::{Outbox, plain_number};

/// What is yet to be sent of an answer, after what is in the outbox.
#[derive(Debug)]
pub struct Sending {
    /// `None` once all of it is in the outbox.
    body: Option<Body>,
    coding: Coding,
    is_last: bool,
}

/// How the client is told where the body ends (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    /// There is none, whatever the header says of it.
    None,
    /// So much is to come.
    Length(u64),
    Chunked,
    UntilClose,
}

/// It can't be sent to its end. The connection must not look as if it were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

impl Sending {
    /// Put the header of `response` into `outbox`. Whoever `asked` is told if no other answer follows.
    pub fn begin(response: Response, asked: Asked, is_last: bool, outbox: &mut Outbox) -> Self {
        let (head, body) = response.into_parts();
        let coding = Coding::of(&head, &body, asked);
        let must_close = is_last || !asked.persists || coding == Coding::UntilClose;
        let is_last = write_head(outbox.begin(), &head, &body, asked, coding, must_close);
        // What the body of one that has none would say is nobody's business.
        let body = Some(body).filter(|_| !matches!(coding, Coding::None | Coding::Length(0)));
        Self { body, coding, is_last }
    }

    pub fn is_last(&self) -> bool {
        self.is_last
    }

    /// Whether nothing but closing the connection says that it is whole.
    pub fn ends_by_closing(&self) -> bool {
        self.coding == Coding::UntilClose
    }

    /// Whether all of it is in the outbox.
    pub fn is_over(&self) -> bool {
        self.body.is_none()
    }

    /// Put the next piece into `outbox`, which has room for it.
    pub fn poll_load(
        &mut self,
        outbox: &mut Outbox,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Broken>> {
        while let Some(body) = &mut self.body {
            let Some(frame) = ready!(Pin::new(&mut *body).poll_frame(context)) else {
                return Poll::Ready(self.end(outbox));
            };
            let Ok(frame) = frame else { return Poll::Ready(Err(Broken)) };
            let ends = body.is_end_stream();
            // Trailers end here: nobody has judged them.
            let data = frame.into_data().unwrap_or_default();
            if !data.is_empty() {
                self.add(data, outbox)?;
            }
            if ends {
                return Poll::Ready(self.end(outbox));
            }
            if !outbox.has_room() {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn add(&mut self, data: Bytes, outbox: &mut Outbox) -> Result<(), Broken> {
        match &mut self.coding {
            Coding::Length(left) => {
                *left = left.checked_sub(data.len() as u64).ok_or(Broken)?;
                outbox.add(format_args!(""), data, b"");
            }
            Coding::Chunked => {
                let size = data.len();
                outbox.add(format_args!("{size:x}\r\n"), data, b"\r\n");
            }
            Coding::UntilClose => outbox.add(format_args!(""), data, b""),
            Coding::None => {}
        }
        Ok(())
    }

    fn end(&mut self, outbox: &mut Outbox) -> Result<(), Broken> {
        self.body = None;
        match self.coding {
            Coding::Length(0) | Coding::UntilClose | Coding::None => Ok(()),
            Coding::Length(_) => Err(Broken),
            Coding::Chunked => {
                outbox.end();
                Ok(())
            }
        }
    }
}

impl Coding {
    fn of(head: &response::Parts, body: &Body, asked: Asked) -> Self {
        if asked.for_head || !may_have_body(head.status) {
            return Self::None;
        }
        match length(&head.headers).or_else(|| body.size_hint().exact()) {
            Some(length) => Self::Length(length),
            None if asked.version == Version::HTTP_10 => Self::UntilClose,
            None => Self::Chunked,
        }
    }
}

/// The body's length, as far as the header tells it.
fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH).and_then(|length| plain_number(length.as_bytes()))
}

/// Whether no other answer follows: it must be the last, or says so itself.
fn write_head(
    out: &mut Vec<u8>,
    head: &response::Parts,
    body: &Body,
    asked: Asked,
    coding: Coding,
    mut is_last: bool,
) -> bool {
    out.reserve(ROOM);
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(head.status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(head.status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
    let mut has_date = false;
    for (name, value) in &head.headers {
        // These are ours to say, here.
        if *name == CONNECTION {
            is_last |= value.as_bytes().eq_ignore_ascii_case(b"close");
        }
        if *name == CONTENT_LENGTH || *name == CONNECTION || *name == TRANSFER_ENCODING {
            continue;
        }
        has_date |= *name == DATE;
        field(out, name.as_str(), value.as_bytes());
    }
    if is_last {
        field(out, "connection", b"close");
    } else if asked.version == Version::HTTP_10 {
        field(out, "connection", b"keep-alive");
    }
    match coding {
        Coding::Length(length) => number_field(out, "content-length", length),
        Coding::Chunked => field(out, "transfer-encoding", b"chunked"),
        // RFC 9110 §8.6: what GET would have been answered with. Not in 204.
        Coding::None if head.status != StatusCode::NO_CONTENT => {
            let of_body = || body.size_hint().exact().filter(|length| *length > 0);
            if let Some(length) = length(&head.headers).or_else(of_body) {
                number_field(out, "content-length", length);
            }
        }
        Coding::None | Coding::UntilClose => {}
    }
    if !has_date {
        field(out, "date", &date::now());
    }
    out.extend_from_slice(b"\r\n");
    is_last
}

/// Of most headers.
const ROOM: usize = 512;
