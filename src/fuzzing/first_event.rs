//! The first event of a stream (`proxy::first_event`): what goes out is what came in, but for the URL in an
//! `endpoint` event, and a slow reader of events sees the same.

use bytes::Bytes;

use crate::fuzzing::cut::cut;
use crate::fuzzing::event_stream;
use crate::proxy::fed::{FirstEvent, Looked, NoUrl};

pub fn first_event(data: &[u8]) {
    let passed = Passed::of(&cut(data));
    assert_eq!(Passed::of(&[data]), passed, "it matters how the bytes are cut");
    assert_eq!(Passed::of(&data.chunks(1).collect::<Vec<_>>()), passed, "byte by byte");

    let (mut expected, retry) = event_stream::read(data);
    let first = expected.first_mut().filter(|event| event.kind == b"endpoint");
    match passed {
        Err(NoUrl) => {
            let url = first.expect("there is no event endpoint").data.clone();
            assert!(url.is_empty() || url.contains(&b'\n'), "it has a URL");
        }
        Ok(Passed { out, url: None }) => {
            assert_eq!(out, data);
            if let Some(event) = first {
                assert!(may_be_missed(data), "its URL was passed on: {event:?}");
            }
        }
        Ok(Passed { out, url: Some(url) }) => {
            let event = first.expect("there is no event endpoint");
            assert_eq!(url, event.data);
            event.data = MAPPED.into();
            assert_eq!(event_stream::read(&out), (expected, retry), "more has changed");
            assert_eq!(out.len() + url.len(), data.len() + MAPPED.len());
        }
    }
}

/// By design: what has another field, or `event` more than once, or is too long, is none that we know.
fn may_be_missed(data: &[u8]) -> bool {
    let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let data = data.strip_prefix(b"\xef\xbb\xbf").unwrap_or(data);
    let is_known = |line: &[u8]| {
        [&b"event: endpoint"[..], b"event:endpoint", b"data", b"id", b"retry", b""].contains(&line)
            || [&b"data:"[..], b"id:", b"retry:", b":"].iter().any(|name| line.starts_with(name))
    };
    data.len() >= 8 * 1024 || !data.split(is_end).all(is_known)
}

#[derive(Debug, PartialEq, Eq)]
struct Passed {
    out: Vec<u8>,
    url: Option<Vec<u8>>,
}

impl Passed {
    fn of(pieces: &[&[u8]]) -> Result<Self, NoUrl> {
        let (mut out, mut url) = (Vec::new(), None);
        let mut looking = Some(FirstEvent::default());
        for piece in pieces {
            let Some(first) = &mut looking else {
                out.extend_from_slice(piece);
                continue;
            };
            let map = |text: &[u8]| {
                assert_eq!(url.replace(text.to_vec()), None, "a second one");
                Ok::<_, NoUrl>(MAPPED.to_owned())
            };
            match first.look(&Bytes::copy_from_slice(piece), map)? {
                Looked::Undecided(now) => out.extend_from_slice(&now),
                Looked::Decided(now, then) => {
                    out.extend_from_slice(&now);
                    out.extend_from_slice(&then);
                    looking = None;
                }
            }
        }
        out.extend_from_slice(&looking.map(|mut first| first.rest()).unwrap_or_default());
        Ok(Self { out, url })
    }
}

const MAPPED: &str = "/mcp?sessionId=sealed";
