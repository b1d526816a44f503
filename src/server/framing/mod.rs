//! Where each request over HTTP/1 ends, judged from the raw bytes as they come. Whatever two parsers could read in
//! two ways is refused (RFC 9112 §11.2), and nothing is mended: not Content-Length beside Transfer-Encoding, not a
//! bare LF, not a fragment in the target. Next: `server::http1` makes a request of what passed, or answers 400.

mod chunk;
mod head;

use std::mem;

use bytes::Bytes;

use crate::server::refusal::Refusal;
use chunk::chunk_size;
use head::{BodyLength, CRLF, Head};
pub use head::{Field, MAX_FIELDS, MAX_TARGET, RequestLine, is_target, trim};

/// Follows one connection's requests from byte to byte. A refusal is final.
#[derive(Debug, Default)]
pub struct Framing {
    state: State,
    head: Head,
    /// The beginning of a line whose end has not arrived yet. Whole lines are judged where they lie.
    line: Vec<u8>,
    trailer_bytes: usize,
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Head,
    /// A body, or a chunk of one, of which so much is to come.
    Sized(u64),
    ChunkSize,
    ChunkData(u64),
    /// The two bytes after a chunk's data.
    ChunkCr,
    ChunkLf,
    Trailers,
    Refused(Refusal),
}

/// A header whose last byte has come, and where in it everything stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WholeHead {
    /// So many of the bytes that were looked at last belong to it.
    pub end: usize,
    pub line: RequestLine,
    pub fields: Vec<Field>,
    /// Of the body; `None` if it comes in chunks.
    pub body_length: Option<u64>,
}

impl Framing {
    /// Look at `bytes`, which come next, up to the end of a request's header. `None`: it is not among them, and all of
    /// them belong to it.
    pub fn head(&mut self, bytes: &[u8]) -> Result<Option<WholeHead>, Refusal> {
        self.check()?;
        let mut rest = bytes;
        while !rest.is_empty() {
            let ended;
            (rest, ended) = self.head_line(rest).inspect_err(|refusal| self.refuse(*refusal))?;
            let Some((line, fields)) = ended.and_then(Head::into_parts) else { continue };
            let body_length = match self.state {
                State::Head => Some(0),
                State::Sized(length) => Some(length),
                State::ChunkSize
                | State::ChunkData(_)
                | State::ChunkCr
                | State::ChunkLf
                | State::Trailers
                | State::Refused(_) => None,
            };
            let end = bytes.len() - rest.len();
            return Ok(Some(WholeHead { end, line, fields, body_length }));
        }
        Ok(None)
    }

    /// Take the next run of data of the body out of `input`, and what frames it. `None`: there is no more in it, or the
    /// body is over.
    pub fn data(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, Refusal> {
        self.skip_coding(input)?;
        if input.is_empty() || !self.in_data() {
            return Ok(None);
        }
        let taken = input.len() - self.step(input)?.len();
        let data = input.split_to(taken);
        // What ends the body is often here already. What is wrong with it is told when it is asked for: the data
        // before it must not depend on how the bytes come.
        let _ = self.skip_coding(input);
        Ok(Some(data))
    }

    fn skip_coding(&mut self, input: &mut Bytes) -> Result<(), Refusal> {
        self.check()?;
        while !input.is_empty() && self.state != State::Head && !self.in_data() {
            let taken = input.len() - self.step(input)?.len();
            // Advanced to its end it would hold on to the piece that it was cut from.
            drop(input.split_to(taken));
        }
        Ok(())
    }

    /// The refusal, if there was one: it is final.
    pub fn check(&self) -> Result<(), Refusal> {
        match self.state {
            State::Refused(refusal) => Err(refusal),
            State::Head
            | State::Sized(_)
            | State::ChunkSize
            | State::ChunkData(_)
            | State::ChunkCr
            | State::ChunkLf
            | State::Trailers => Ok(()),
        }
    }

    fn in_data(&self) -> bool {
        matches!(self.state, State::Sized(_) | State::ChunkData(_))
    }

    /// Look at the next bytes, of whatever they are. The verdict does not depend on how they are cut.
    #[cfg(any(test, fuzzing))]
    pub fn observe(&mut self, mut bytes: &[u8]) -> Result<(), Refusal> {
        self.check()?;
        while !bytes.is_empty() {
            bytes = self.step(bytes)?;
        }
        Ok(())
    }

    /// Between two requests: nothing of the next one has arrived.
    pub fn at_rest(&self) -> bool {
        self.state == State::Head && !self.head.has_begun()
    }

    /// A request's header has begun and not ended.
    #[cfg(any(test, fuzzing))]
    pub fn in_head(&self) -> bool {
        self.state == State::Head && !self.at_rest()
    }

    /// Take one line or one run of body bytes; give back the rest.
    fn step<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Refusal> {
        let rest = match self.state {
            State::Head => self.head_line(bytes).map(|(rest, _)| rest),
            State::Sized(length) => Ok(self.skip(bytes, length, State::Sized, State::Head)),
            State::ChunkSize => self.chunk_line(bytes),
            State::ChunkData(length) => {
                Ok(self.skip(bytes, length, State::ChunkData, State::ChunkCr))
            }
            State::ChunkCr => self.only(b'\r', bytes, State::ChunkLf),
            State::ChunkLf => self.only(b'\n', bytes, State::ChunkSize),
            State::Trailers => self.trailer_line(bytes),
            State::Refused(refusal) => Err(refusal),
        };
        rest.inspect_err(|refusal| self.refuse(*refusal))
    }

    fn refuse(&mut self, refusal: Refusal) {
        self.state = State::Refused(refusal);
    }

    /// The rest, and the header if it has ended.
    fn head_line<'a>(&mut self, bytes: &'a [u8]) -> Result<(&'a [u8], Option<Head>), Refusal> {
        let (line, rest) = cut(bytes);
        self.head.grow(line.len())?;
        let Some(text) = whole(&mut self.line, line)? else { return Ok((rest, None)) };
        let ended = self.head.line(text)?;
        self.line.clear();
        if !ended {
            return Ok((rest, None));
        }
        // A header that came in pieces may have left 16 KiB of room.
        self.line = Vec::new();
        let head = mem::take(&mut self.head);
        self.state = match head.body() {
            BodyLength::None => State::Head,
            BodyLength::Sized(length) => State::Sized(length),
            BodyLength::Chunked => State::ChunkSize,
        };
        Ok((rest, Some(head)))
    }

    fn skip<'a>(
        &mut self,
        bytes: &'a [u8],
        length: u64,
        more: fn(u64) -> State,
        done: State,
    ) -> &'a [u8] {
        let here = usize::try_from(length).map_or(bytes.len(), |length| length.min(bytes.len()));
        let left = length - here as u64;
        self.state = if left == 0 { done } else { more(left) };
        bytes.get(here..).unwrap_or_default()
    }

    /// A beginning that can't become good is refused at once.
    fn chunk_line<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Refusal> {
        let (line, rest) = cut(bytes);
        if self.line.len() + line.len() > MAX_CHUNK_LINE {
            return Err(Refusal::Chunk);
        }
        let (text, end) = begun_line(&mut self.line, line);
        let size = chunk_size(text)?;
        match end {
            LineEnd::Missing => {}
            LineEnd::BareLf => return Err(Refusal::LineEnd),
            LineEnd::CrLf => {
                self.line.clear();
                self.state = if size == 0 { State::Trailers } else { State::ChunkData(size) };
            }
        }
        Ok(rest)
    }

    fn only<'a>(
        &mut self,
        expected: u8,
        bytes: &'a [u8],
        next: State,
    ) -> Result<&'a [u8], Refusal> {
        let rest = bytes.strip_prefix(&[expected]).ok_or(Refusal::Chunk)?;
        self.state = next;
        Ok(rest)
    }

    /// Trailers are bounded and well-formed here; that none is forwarded is `proxy`'s business.
    fn trailer_line<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Refusal> {
        let (line, rest) = cut(bytes);
        self.trailer_bytes += line.len();
        if self.trailer_bytes > MAX_TRAILERS {
            return Err(Refusal::HeadTooLarge);
        }
        let Some(text) = whole(&mut self.line, line)? else { return Ok(rest) };
        if text.is_empty() {
            self.state = State::Head;
            self.trailer_bytes = 0;
        } else {
            head::field(text)?;
        }
        self.line.clear();
        Ok(rest)
    }
}

/// `bytes` up to and with the first LF, and what follows it.
fn cut(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1);
    bytes.split_at_checked(end).unwrap_or((bytes, &[]))
}

/// How far a line has come.
enum LineEnd {
    Missing,
    BareLf,
    CrLf,
}

/// The line without its end, as far as it has arrived; `begun` keeps what came before `piece`.
/// The caller clears `begun` once the line has ended.
fn begun_line<'a>(begun: &'a mut Vec<u8>, piece: &'a [u8]) -> (&'a [u8], LineEnd) {
    let line = if begun.is_empty() && piece.ends_with(b"\n") {
        piece
    } else {
        begun.extend_from_slice(piece);
        begun.as_slice()
    };
    if let Some(text) = line.strip_suffix(CRLF) {
        (text, LineEnd::CrLf)
    } else if let Some(text) = line.strip_suffix(b"\n") {
        (text, LineEnd::BareLf)
    } else {
        (line.strip_suffix(b"\r").unwrap_or(line), LineEnd::Missing)
    }
}

/// A line of a header or of trailers, once it is whole.
fn whole<'a>(begun: &'a mut Vec<u8>, piece: &'a [u8]) -> Result<Option<&'a [u8]>, Refusal> {
    match begun_line(begun, piece) {
        (text, LineEnd::CrLf) => Ok(Some(text)),
        (_, LineEnd::BareLf) => Err(Refusal::LineEnd),
        (_, LineEnd::Missing) => Ok(None),
    }
}

/// Sixteen digits and room for extensions, which RFC 9112 §7.1.1 asks us to ignore.
const MAX_CHUNK_LINE: usize = 256;
const MAX_TRAILERS: usize = 4 * 1024;

#[cfg(test)]
mod tests;
