//! The line before a chunk (RFC 9112 §7.1).

use crate::server::framing::head::is_text;
use crate::server::refusal::Refusal;

/// How much data follows `line`: hexadecimal digits, at most sixteen, and nothing else but an extension.
pub(super) fn chunk_size(line: &[u8]) -> Result<u64, Refusal> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (size, extension) = line.split_at_checked(digits).ok_or(Refusal::Chunk)?;
    // White space before an extension is "bad" by §7.1.1, and read in different ways.
    let well_formed = extension.is_empty() || (extension.starts_with(b";") && is_text(extension));
    if size.is_empty() || size.len() > 16 || !well_formed {
        return Err(Refusal::Chunk);
    }
    let size = str::from_utf8(size).map_err(|_| Refusal::Chunk)?;
    u64::from_str_radix(size, 16).map_err(|_| Refusal::Chunk)
}
