//! A request's header, line by line: what it says about its own length, and whether anybody could read it
//! in another way (RFC 9112 §3, §5, §6).

use std::ops::Range;

use http::Version;

use crate::server::refusal::Refusal;
use crate::wire::plain_number;

/// What has been learnt of a header so far.
#[derive(Debug, Default)]
pub(super) struct Head {
    bytes: usize,
    line: Option<RequestLine>,
    fields: Vec<Field>,
    has_host: bool,
    content_length: Option<u64>,
    is_chunked: bool,
}

/// Where its parts stand, in bytes from the header's beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestLine {
    pub method: Range<usize>,
    pub target: Range<usize>,
    pub version: Version,
}

/// The same of a field; the value without white space around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: Range<usize>,
    pub value: Range<usize>,
}

/// How the body ends (RFC 9112 §6.3, what is left of it after the refusals).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyLength {
    None,
    Sized(u64),
    Chunked,
}

impl Head {
    pub(super) fn has_begun(&self) -> bool {
        self.bytes > 0
    }

    /// Count `more` bytes of a line, whole or not.
    pub(super) fn grow(&mut self, more: usize) -> Result<(), Refusal> {
        self.bytes += more;
        if self.line.is_none() && self.bytes > MAX_REQUEST_LINE {
            return Err(Refusal::TargetTooLong);
        }
        if self.bytes > MAX_HEAD { Err(Refusal::HeadTooLarge) } else { Ok(()) }
    }

    /// Read one line without its CRLF. `true` if it is the empty one that ends the header.
    pub(super) fn line(&mut self, line: &[u8]) -> Result<bool, Refusal> {
        let begin = self.bytes.saturating_sub(line.len() + CRLF.len());
        match &self.line {
            // RFC 9112 §2.2: ignore empty lines before the request line. They count as the header's bytes.
            None if line.is_empty() => {}
            None => {
                self.line = Some(request_line(line, begin)?);
                self.fields.reserve(USUAL_FIELDS);
            }
            Some(_) if line.is_empty() => return self.end(),
            Some(RequestLine { version, .. }) => self.field(line, begin, *version)?,
        }
        Ok(false)
    }

    pub(super) fn body(&self) -> BodyLength {
        match self.content_length {
            _ if self.is_chunked => BodyLength::Chunked,
            None | Some(0) => BodyLength::None,
            Some(length) => BodyLength::Sized(length),
        }
    }

    /// Of a header that has ended.
    pub(super) fn into_parts(self) -> Option<(RequestLine, Vec<Field>)> {
        Some((self.line?, self.fields))
    }

    fn end(&self) -> Result<bool, Refusal> {
        if self.has_host { Ok(true) } else { Err(Refusal::HostCount) }
    }

    fn field(&mut self, line: &[u8], begin: usize, version: Version) -> Result<(), Refusal> {
        if self.fields.len() == MAX_FIELDS {
            return Err(Refusal::HeadTooLarge);
        }
        let (name, spaced) = field(line)?;
        let value = trim(spaced);
        let name_end = begin + name.len();
        let value_begin = begin + line.len() - trim_start(spaced).len();
        self.fields
            .push(Field { name: begin..name_end, value: value_begin..value_begin + value.len() });
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                if self.has_host {
                    return Err(Refusal::HostCount);
                }
                self.has_host = true;
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let length = plain_number(value).ok_or(Refusal::ContentLength)?;
                // RFC 9110 §8.6 lets equal ones pass. Whoever sends two has merged two requests.
                if self.content_length.replace(length).is_some() {
                    return Err(Refusal::ContentLength);
                }
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                let is_plain = value.eq_ignore_ascii_case(b"chunked");
                if self.is_chunked || !is_plain || version == Version::HTTP_10 {
                    return Err(Refusal::TransferEncoding);
                }
                self.is_chunked = true;
            }
            _ => return Ok(()),
        }
        // RFC 9112 §6.1 leaves it to us; a proxy behind or in front may choose the other length.
        if self.is_chunked && self.content_length.is_some() {
            return Err(Refusal::TwoLengths);
        }
        Ok(())
    }
}

/// `method SP request-target SP HTTP-version`, single spaces.
fn request_line(line: &[u8], begin: usize) -> Result<RequestLine, Refusal> {
    let (method, rest) = split_token(line).ok_or(Refusal::RequestLine)?;
    let rest = rest.strip_prefix(b" ").ok_or(Refusal::RequestLine)?;
    let space = memchr::memchr(b' ', rest).filter(|at| *at > 0).ok_or(Refusal::RequestLine)?;
    let (target, version) = rest.split_at_checked(space).ok_or(Refusal::RequestLine)?;
    if target.len() > MAX_TARGET {
        return Err(Refusal::TargetTooLong);
    }
    if !is_target(target) {
        return Err(Refusal::Target);
    }
    let version = match version {
        b" HTTP/1.1" => Version::HTTP_11,
        b" HTTP/1.0" => Version::HTTP_10,
        _ if version.starts_with(b" HTTP/") => return Err(Refusal::Version),
        _ => return Err(Refusal::RequestLine),
    };
    let method_end = begin + method.len();
    let target_begin = method_end + 1;
    Ok(RequestLine {
        method: begin..method_end,
        target: target_begin..target_begin + target.len(),
        version,
    })
}

/// Name and value of a field line, the value with white space around it. A line that begins with white
/// space (obs-fold, RFC 9112 §5.2) and white space before the colon (§5.1) are both no token.
pub(super) fn field(line: &[u8]) -> Result<(&[u8], &[u8]), Refusal> {
    let (name, rest) = split_token(line).ok_or(Refusal::Field)?;
    let value = rest.strip_prefix(b":").ok_or(Refusal::Field)?;
    if is_text(value) { Ok((name, value)) } else { Err(Refusal::Field) }
}

/// The token (RFC 9110 §5.6.2) at the beginning of `bytes`, and what follows it.
fn split_token(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| !is_token_byte(*byte)).unwrap_or(bytes.len());
    bytes.split_at_checked(end).filter(|(token, _)| !token.is_empty())
}

fn is_token_byte(byte: u8) -> bool {
    TOKEN_BYTES.get(usize::from(byte)).copied().unwrap_or_default()
}

#[expect(clippy::indexing_slicing, reason = "runs while compiling, which a bad index would stop")]
const fn token_bytes() -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        let is_punctuation = matches!(
            byte,
            b'-' | b'_'
                | b'!'
                | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'.'
                | b'^'
                | b'`'
                | b'|'
                | b'~'
        );
        table[byte as usize] = is_punctuation || byte.is_ascii_alphanumeric();
        byte += 1;
    }
    table
}

/// Visible bytes only. `#` would begin a fragment, which some drop in silence. In the path `\` is a
/// slash to some; in a query browsers send it as it is.
pub fn is_target(target: &[u8]) -> bool {
    let mut in_path = true;
    target.iter().all(|byte| match byte {
        b'#' | b'"' | b'<' | b'>' => false,
        b'\\' | b'`' => !in_path,
        b'?' => {
            in_path = false;
            true
        }
        _ => byte.is_ascii_graphic(),
    })
}

/// No control character but the tab (RFC 9110 §5.5). Values are most of a header, so they are looked at
/// eight bytes at a time, the last eight once more if need be, and one by one only for the rare rest.
pub(super) fn is_text(value: &[u8]) -> bool {
    let (words, _) = value.as_chunks::<8>();
    let last = value.last_chunk::<8>();
    let is_plain = last.is_some_and(|last| words.iter().chain([last]).copied().all(is_plain));
    is_plain || value.iter().all(|byte| !byte.is_ascii_control() || *byte == b'\t')
}

/// Whether no byte is below space, or DEL: subtracting borrows into the high bit of such a byte.
fn is_plain(word: [u8; 8]) -> bool {
    const EACH: u64 = u64::from_ne_bytes([1; 8]);
    let word = u64::from_ne_bytes(word);
    let below_space = word.wrapping_sub(EACH * 0x20) & !word;
    let zero_if_del = word ^ (EACH * 0x7f);
    let del = zero_if_del.wrapping_sub(EACH) & !zero_if_del;
    (below_space | del) & (EACH * 0x80) == 0
}

/// Without optional white space (RFC 9110 §5.6.3).
pub fn trim(value: &[u8]) -> &[u8] {
    let mut value = trim_start(value);
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

fn trim_start(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    value
}

static TOKEN_BYTES: [bool; 256] = token_bytes();
pub const MAX_TARGET: usize = 8 * 1024;
/// The longest target, and room for its neighbours.
const MAX_REQUEST_LINE: usize = MAX_TARGET + 64;
const MAX_HEAD: usize = 16 * 1024;
pub const MAX_FIELDS: usize = 64;
const USUAL_FIELDS: usize = 16;
pub(super) const CRLF: &[u8] = b"\r\n";
