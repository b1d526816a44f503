//! Where a comment may be put into a stream of events (`proxy::event_ends`): wherever it says so, and a slow
//! reader sees the same events.

use crate::fuzzing::cut::cut;
use crate::fuzzing::event_stream;
use crate::proxy::fed::{COMMENT, EventEnds};

pub fn event_ends(data: &[u8]) {
    let mut whole = EventEnds::default();
    whole.pass(data);
    let (mut ends, mut out) = (EventEnds::default(), Vec::new());
    for piece in cut(data) {
        if ends.is_between_events() {
            out.extend_from_slice(COMMENT);
        }
        ends.pass(piece);
        out.extend_from_slice(piece);
    }
    assert_eq!(ends.is_between_events(), whole.is_between_events(), "it matters how it is cut");
    if ends.is_between_events() {
        out.extend_from_slice(COMMENT);
    }

    // It would no longer be the first: the one thing that can't be put in before.
    if !data.starts_with(b"\xef\xbb\xbf") {
        assert_eq!(
            event_stream::read(&out),
            event_stream::read(data),
            "a comment changed an event"
        );
    }
    // A CR may yet be half of an end of line.
    let is_empty = |line: &&[u8]| line.is_empty();
    let after_an_event =
        data.ends_with(b"\n") && event_stream::lines(data).last().is_some_and(is_empty);
    assert_eq!(whole.is_between_events(), data.is_empty() || after_an_event);
}
