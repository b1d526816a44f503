//! The chunked coding of an upstream's answer (`proxy::upstream::http1::chunked`), beside a slow reader of the
//! same bytes.

use bytes::Bytes;

use crate::fuzzing::chunked_coding::{self, Body};
use crate::fuzzing::cut::cut;
use crate::proxy::fed::chunked::{BadChunk, Chunked};

pub fn chunked(data: &[u8]) {
    let pieces = taken(cut(data));
    assert_eq!(taken(vec![data]), pieces, "it matters how the bytes are cut");
    assert_eq!(taken(data.chunks(1).collect()), pieces, "it matters how the bytes are cut");
    assert!(pieces.data.len() <= data.len());

    match (pieces.end, chunked_coding::read(data)) {
        (End::Ended { left }, Body::Whole { data: read, length }) => {
            assert_eq!(pieces.data, read);
            assert_eq!(data.len() - left, length, "it took bytes that are not of the body");
        }
        (End::More, Body::Partial { data: read }) => assert_eq!(pieces.data, read),
        (End::Bad(_), Body::Wrong) => {}
        // What it is stricter about, by name: long sizes, extensions and trailers.
        (End::Bad(fault), Body::Whole { .. } | Body::Partial { .. }) => {
            assert!(is_too_long(data, fault), "{fault:?}");
        }
        (end, read) => panic!("{end:?}, but {read:?}"),
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Taken {
    data: Vec<u8>,
    end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// So much of the input was not taken.
    Ended {
        left: usize,
    },
    More,
    Bad(BadChunk),
}

fn taken(pieces: Vec<&[u8]>) -> Taken {
    let mut chunked = Chunked::default();
    let (mut data, mut left) = (Vec::new(), 0);
    for piece in pieces {
        let mut input = Bytes::copy_from_slice(piece);
        loop {
            match chunked.next(&mut input) {
                Ok(Some(run)) => {
                    assert!(!run.is_empty(), "an empty run of data, which may pass for the end");
                    data.extend_from_slice(&run);
                }
                Ok(None) => break,
                Err(fault) => return Taken { data, end: End::Bad(fault) },
            }
        }
        assert!(input.is_empty() || chunked.has_ended(), "it left bytes of its own");
        left += input.len();
    }
    let end = if chunked.has_ended() { End::Ended { left } } else { End::More };
    Taken { data, end }
}

/// Is there something in `data` so long that it may be refused for it?
fn is_too_long(data: &[u8], fault: BadChunk) -> bool {
    match fault {
        BadChunk::Size => {
            let mut runs = data.split(|byte| !byte.is_ascii_hexdigit());
            runs.any(|digits| digits.len() > 16)
        }
        BadChunk::Extension => data.split(|byte| *byte == b'\n').any(|line| line.len() > 256),
        BadChunk::Trailers => data.len() > 16 * 1024,
        BadChunk::Length => false,
    }
}
