//! Where HTTP/2 frames begin (`server::http2::frames`), beside a slow reader of the whole (RFC 9113 §4.1).

use crate::fuzzing::cut::cut;
use crate::server::fed::{Frame, Frames};

pub fn http2_frames(data: &[u8]) {
    let seen = seen(&cut(data));
    assert_eq!(self::seen(&[data]), seen, "it matters how the bytes are cut");

    let (mut expected, mut rest) = (Vec::new(), data);
    while let [a, b, c, kind, flags, d, e, f, g, payload @ ..] = rest {
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        let stream =
            u32::from(d & 0x7f) << 24 | u32::from(*e) << 16 | u32::from(*f) << 8 | u32::from(*g);
        expected.push(Frame { length, kind: *kind, flags: *flags, stream });
        let Some(next) = payload.get(length..) else {
            // What is missing is of a payload.
            assert_eq!(seen, (expected, false, false));
            return;
        };
        rest = next;
    }
    assert_eq!(seen, (expected, rest.is_empty(), !rest.is_empty()));
}

/// The frames, whether it ends between two, and whether within a header.
fn seen(pieces: &[&[u8]]) -> (Vec<Frame>, bool, bool) {
    let (mut frames, mut found) = (Frames::default(), Vec::new());
    for piece in pieces {
        let mut rest = *piece;
        while let Some(frame) = frames.next(&mut rest) {
            found.push(frame);
        }
        assert!(rest.is_empty(), "bytes were left");
    }
    (found, frames.at_rest(), frames.in_header())
}
