//! Where HTTP/2 frames begin (RFC 9113 §4.1), seen from outside h2: enough to know what a connection
//! waits for and what its frames cost us. Nothing is decided by what they carry.

/// Follows the frames of one direction from byte to byte, however they are cut.
#[derive(Debug, Default)]
pub struct Frames {
    header: [u8; HEADER],
    /// How much of `header` has come.
    begun: usize,
    /// How much of the payload is to come.
    left: usize,
}

/// What a frame's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    pub length: usize,
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
}

impl Frames {
    /// For bytes that begin with `length` others.
    pub fn after(length: usize) -> Self {
        Self { left: length, ..Self::default() }
    }

    /// Go on in `bytes` until a frame's header is whole; `None` if they end before.
    pub fn next(&mut self, bytes: &mut &[u8]) -> Option<Frame> {
        self.left -= take(bytes, self.left).len();
        let room = self.header.get_mut(self.begun..)?;
        let piece = take(bytes, room.len());
        room.get_mut(..piece.len())?.copy_from_slice(piece);
        self.begun += piece.len();
        if self.begun < HEADER {
            return None;
        }
        self.begun = 0;
        let [high, middle, low, kind, flags, stream @ ..] = self.header;
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        self.left = length;
        let stream = u32::from_be_bytes(stream) & !RESERVED_BIT;
        Some(Frame { length, kind, flags, stream })
    }

    /// Between two frames.
    pub fn at_rest(&self) -> bool {
        self.begun == 0 && self.left == 0
    }

    /// A frame's header has begun and not ended.
    pub fn in_header(&self) -> bool {
        self.begun > 0
    }
}

impl Frame {
    pub fn has(self, flag: u8) -> bool {
        self.flags & flag == flag
    }
}

/// The first bytes of `bytes`, `most` of them if there are so many, which then begins behind them.
fn take<'a>(bytes: &mut &'a [u8], most: usize) -> &'a [u8] {
    let whole = *bytes;
    let (piece, rest) = whole.split_at_checked(most).unwrap_or((whole, &[]));
    *bytes = rest;
    piece
}

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const GOAWAY: u8 = 7;
pub const CONTINUATION: u8 = 9;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
const HEADER: usize = 9;
const RESERVED_BIT: u32 = 1 << 31;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_however_the_bytes_are_cut() {
        let bytes =
            b"before\0\0\x03\x01\x05\x80\0\0\x07abc\0\0\0\x04\0\0\0\0\0\0\0\x01\0\x01\0\0\x01\x02x";
        let expected = [
            Frame { length: 3, kind: HEADERS, flags: 5, stream: 7 },
            Frame { length: 0, kind: 4, flags: 0, stream: 0 },
            Frame { length: 1, kind: DATA, flags: 1, stream: 258 },
        ];

        for size in 1..=bytes.len() {
            let mut frames = Frames::after(6);
            let mut found = Vec::new();
            for mut piece in bytes.chunks(size) {
                while let Some(frame) = frames.next(&mut piece) {
                    found.push(frame);
                }
                assert_eq!(piece, b"");
            }
            assert_eq!(found, expected, "in pieces of {size}");
            assert!(frames.at_rest());
        }
    }

    #[test]
    fn a_frame_is_under_way_until_its_payload_has_come() {
        let mut frames = Frames::default();

        frames.next(&mut &b"\0\0\x02"[..]);
        assert!(frames.in_header() && !frames.at_rest());
        frames.next(&mut &b"\0\0\0\0\0\x01"[..]).unwrap();
        assert!(!frames.in_header() && !frames.at_rest());
        frames.next(&mut &b"a"[..]);
        assert!(!frames.at_rest());
        frames.next(&mut &b"b"[..]);
        assert!(frames.at_rest());
    }
}
