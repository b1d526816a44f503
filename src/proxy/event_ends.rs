//! Whether a stream of events stands between two of them (HTML standard, §9.2.5): only there may something be
//! put in.

/// The last bytes that have passed. Knows nothing else of a stream, however long its events are.
#[derive(Clone, Copy, Debug, Default)]
pub struct EventEnds {
    last: [u8; 3],
    count: u8,
}

impl EventEnds {
    /// `bytes` have passed.
    pub fn pass(&mut self, bytes: &[u8]) {
        let from = bytes.len().saturating_sub(self.last.len());
        for byte in bytes.get(from..).unwrap_or_default() {
            let [_, two, three] = self.last;
            self.last = [two, three, *byte];
            self.count = 3.min(self.count + 1);
        }
    }

    /// After an empty line, or before everything. Not where a carriage return is the last byte: the line may
    /// yet end with a line feed.
    pub fn is_between_events(self) -> bool {
        let [one, two, three] = self.last;
        let before_last_end = match (self.count, two, three) {
            (0, _, _) | (1, _, b'\n') | (2, b'\r', b'\n') => return true,
            (3, b'\r', b'\n') => one,
            (_, before, b'\n') => before,
            _ => return false,
        };
        matches!(before_last_end, b'\r' | b'\n')
    }
}

/// What is put in: a comment, which is nothing to whoever reads events. Without an empty line after it: some
/// take that for an event (httpx-sse does, once it has seen an id).
pub const COMMENT: &[u8] = b":\n";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::proxy::first_event::tests::{cut, events, stream};

    fn after(stream: &[u8]) -> bool {
        let mut ends = EventEnds::default();
        ends.pass(stream);
        ends.is_between_events()
    }

    #[test]
    fn between_events_is_after_an_empty_line() {
        for (stream, expected) in [
            ("", true),
            ("data: 1\n\n", true),
            ("data: 1\r\n\r\n", true),
            ("data: 1\r\r\n", true),
            ("data: 1\n\r\n", true),
            ("data: 1\r\n\n", true),
            ("\n", true),
            ("\r\n", true),
            ("data: 1\n\n\n", true),
            ("data: 1\n", false),
            ("data: 1\r\n", false),
            ("x\r\n", false),
            ("x\n", false),
            ("data: 1", false),
            ("data: 1\r", false),
            // The same byte may be half of an end of line.
            ("data: 1\r\r", false),
            ("data: 1\r\n\r", false),
            ("\r", false),
            ("data: 1\n\n:", false),
            ("data: 1\n\n: x\n", false),
        ] {
            assert_eq!(after(stream.as_bytes()), expected, "{stream:?}");
        }
    }

    proptest! {
        #[test]
        fn pieces_are_read_as_the_whole(stream in "[\r\nd:]{0,8}", at in 0_usize..8) {
            let (one, two) = stream.as_bytes().split_at(at.min(stream.len()));
            let mut ends = EventEnds::default();
            ends.pass(one);
            ends.pass(two);

            prop_assert_eq!(ends.is_between_events(), after(stream.as_bytes()));
            let lines = stream.replace("\r\n", "\n").replace('\r', "\n");
            let is_last_line_empty = lines.strip_suffix('\n').is_some_and(|before| {
                before.is_empty() || before.ends_with('\n')
            });
            let expected = stream.is_empty() || stream.ends_with('\n') && is_last_line_empty;
            prop_assert_eq!(after(stream.as_bytes()), expected);
        }

        /// Fault 23. A comment wherever one may stand, and whoever reads events sees no difference.
        #[test]
        fn a_comment_changes_no_event(
            stream in stream(),
            places in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            // It would no longer be the first: the one thing that can't be put in before.
            prop_assume!(!stream.starts_with('\u{feff}'));
            let (mut ends, mut out, mut count) = (EventEnds::default(), Vec::new(), 0);
            for piece in cut(stream.as_bytes(), &places) {
                if ends.is_between_events() {
                    out.extend_from_slice(COMMENT);
                    count += 1;
                }
                ends.pass(piece);
                out.extend_from_slice(piece);
            }

            prop_assert!(count > 0);
            prop_assert_eq!(out.len(), stream.len() + count * COMMENT.len());
            prop_assert_eq!(events(&String::from_utf8_lossy(&out)), events(&stream));
        }
    }
}
