//! The chunked coding read a second time, slowly and from all of the bytes at once (RFC 9112 §7.1), to compare
//! with those who read it as it comes.

/// What a whole input is, read as a chunked body.
#[derive(Debug, PartialEq, Eq)]
pub enum Body {
    /// It ends after so many bytes.
    Whole { data: Vec<u8>, length: usize },
    /// It goes on as it should, and ends before its end.
    Partial { data: Vec<u8> },
    /// No body begins so.
    Wrong,
}

/// As the RFC has it, but for this: what stands in extensions and in lines of trailers is any text, and there is
/// no white space before an extension, which §7.1.1 calls bad.
pub fn read(input: &[u8]) -> Body {
    let (mut rest, mut data) = (input, Vec::new());
    loop {
        let (line, after) = match line(rest) {
            Line::Whole(line, after) => (line, after),
            Line::Partial(begun) if rest.is_empty() || size(begun).is_some() => {
                return Body::Partial { data };
            }
            Line::Partial(_) | Line::Wrong => return Body::Wrong,
        };
        let Some(size) = size(line) else { return Body::Wrong };
        rest = after;
        if size == 0 {
            return trailers(rest, data, input.len());
        }
        let here = usize::try_from(size).map_or(rest.len(), |size| size.min(rest.len()));
        let (piece, after) = rest.split_at(here);
        data.extend_from_slice(piece);
        let end: &[u8] = after.get(..2).unwrap_or(after);
        if !b"\r\n".starts_with(end) {
            return Body::Wrong;
        }
        if end.len() < 2 {
            return Body::Partial { data };
        }
        rest = after.get(2..).unwrap_or_default();
    }
}

fn trailers(mut rest: &[u8], data: Vec<u8>, whole: usize) -> Body {
    loop {
        match line(rest) {
            Line::Whole(b"", after) => return Body::Whole { data, length: whole - after.len() },
            Line::Whole(text, after) if is_text(text) => rest = after,
            Line::Partial(begun) if is_text(begun) => return Body::Partial { data },
            Line::Whole(_, _) | Line::Partial(_) | Line::Wrong => return Body::Wrong,
        }
    }
}

enum Line<'a> {
    Whole(&'a [u8], &'a [u8]),
    /// Without the CR that it may end with.
    Partial(&'a [u8]),
    /// With a CR or LF of its own.
    Wrong,
}

fn line(input: &[u8]) -> Line<'_> {
    let end = input.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(input.len());
    let (text, rest) = input.split_at(end);
    match rest {
        [b'\r', b'\n', after @ ..] => Line::Whole(text, after),
        // A line whose CR is here has no room for more.
        [b'\r'] | [] => Line::Partial(text),
        _ => Line::Wrong,
    }
}

fn size(line: &[u8]) -> Option<u128> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (size, extension) = line.split_at(digits);
    let is_extension = extension.is_empty() || (extension.starts_with(b";") && is_text(extension));
    if size.is_empty() || size.len() > 32 || !is_extension {
        return None;
    }
    u128::from_str_radix(str::from_utf8(size).ok()?, 16).ok()
}

fn is_text(line: &[u8]) -> bool {
    line.iter().all(|byte| !byte.is_ascii_control() || *byte == b'\t')
}
