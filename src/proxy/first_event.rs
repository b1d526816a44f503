//! The first event of a stream, which in the old transport says where messages go (MCP 2024-11-05 "HTTP with
//! SSE", event `endpoint`). Held back until it is whole or is known to be another; then never looked at again.
//! The grammar is that of the HTML standard, §9.2.5 and §9.2.6.

use std::mem;
use std::ops::Range;

use bytes::Bytes;

/// Looks for the event. Thrown away when it has decided.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each says something of its own")]
pub struct FirstEvent {
    /// Of the event under way, from the beginning of its first field. Comments before it are not held.
    held: Vec<u8>,
    /// Where its last line begins.
    line: usize,
    is_endpoint: bool,
    data: Data,
    is_in_comment: bool,
    /// A line feed that follows belongs to the same end of line.
    is_after_cr: bool,
    is_past_first_line: bool,
}

/// What to do with a piece of the stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Looked {
    /// This much goes out now; may be nothing.
    Undecided(Bytes),
    /// Both go out, and whatever comes after them, unseen.
    Decided(Bytes, Bytes),
}

/// An `endpoint` event of which no client can make anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its event endpoint has no URL in a single line of data")]
pub struct NoUrl;

#[derive(Debug, Default)]
enum Data {
    #[default]
    None,
    /// Where its value stands.
    One(Range<usize>),
    /// Several, or an empty one.
    NoUrl,
}

/// What a byte shows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    Nothing,
    /// What is held is of no event: it has no data.
    NoEvent,
    Endpoint,
    Another,
}

impl FirstEvent {
    /// `chunk` has come. The URL that messages go to becomes what `map` makes of it.
    pub fn look<E: From<NoUrl>>(
        &mut self,
        chunk: &Bytes,
        map: impl FnOnce(&[u8]) -> Result<String, E>,
    ) -> Result<Looked, E> {
        let is_all_here = self.held.is_empty();
        let mut out = Vec::new();
        for (place, byte) in chunk.iter().enumerate() {
            match self.read(*byte, &mut out) {
                Shown::Nothing => continue,
                Shown::NoEvent => {
                    out.append(&mut self.held);
                    self.line = 0;
                    continue;
                }
                Shown::Another if is_all_here => {
                    return Ok(Looked::Decided(chunk.clone(), Bytes::new()));
                }
                Shown::Another => {}
                Shown::Endpoint => self.replace_url(map)?,
            }
            out.append(&mut self.held);
            return Ok(Looked::Decided(out.into(), chunk.slice(place + 1..)));
        }
        Ok(Looked::Undecided(out.into()))
    }

    /// What was held back, when no more comes.
    pub fn rest(&mut self) -> Bytes {
        mem::take(&mut self.held).into()
    }

    /// What can go out at once goes to `out`.
    fn read(&mut self, byte: u8, out: &mut Vec<u8>) -> Shown {
        let is_rest_of_end = mem::take(&mut self.is_after_cr) && byte == b'\n';
        let is_end = matches!(byte, b'\r' | b'\n');
        self.is_after_cr = byte == b'\r';
        if self.is_in_comment {
            self.is_in_comment = !is_end;
            out.push(byte);
            return Shown::Nothing;
        }
        if self.held.is_empty() && (is_rest_of_end || is_end || byte == b':') {
            self.is_in_comment = byte == b':';
            self.is_past_first_line = true;
            out.push(byte);
            return Shown::Nothing;
        }
        let shown = if is_end && !is_rest_of_end { self.end_of_line() } else { Shown::Nothing };
        self.held.push(byte);
        if is_end {
            self.line = self.held.len();
        }
        let is_over = self.held.len() >= MOST_HELD || !self.may_be_endpoint();
        if shown == Shown::Nothing && is_over { Shown::Another } else { shown }
    }

    /// As far as its last line has come. A field that nobody knows is in no event that we know.
    fn may_be_endpoint(&self) -> bool {
        let line = self.last_line();
        let begins = |with: &&[u8]| with.starts_with(line);
        !self.is_past_first_line && BYTE_ORDER_MARK.starts_with(line)
            || TELLING.iter().any(begins)
            || FREE.iter().any(|name| line.starts_with(name))
    }

    fn last_line(&self) -> &[u8] {
        let line = self.held.get(self.line..).unwrap_or_default();
        match line.strip_prefix(BYTE_ORDER_MARK) {
            Some(line) if !self.is_past_first_line => line,
            Some(_) | None => line,
        }
    }

    fn end_of_line(&mut self) -> Shown {
        let line = self.last_line();
        if line.is_empty() {
            self.is_past_first_line = true;
            return match &self.data {
                Data::None => {
                    self.is_endpoint = false;
                    Shown::NoEvent
                }
                Data::One(_) | Data::NoUrl if self.is_endpoint => Shown::Endpoint,
                Data::One(_) | Data::NoUrl => Shown::Another,
            };
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = line.split_at(colon.unwrap_or(line.len()));
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        let place = self.held.len() - value.len()..self.held.len();
        let shown = match name {
            b"event" if value == b"endpoint" => {
                self.is_endpoint = true;
                Shown::Nothing
            }
            b"data" => {
                self.data = match self.data {
                    Data::None if !place.is_empty() => Data::One(place),
                    Data::None | Data::One(_) | Data::NoUrl => Data::NoUrl,
                };
                Shown::Nothing
            }
            b"" | b"id" | b"retry" => Shown::Nothing,
            _ => Shown::Another,
        };
        self.is_past_first_line = true;
        shown
    }

    fn replace_url<E: From<NoUrl>>(
        &mut self,
        map: impl FnOnce(&[u8]) -> Result<String, E>,
    ) -> Result<(), E> {
        let Data::One(place) = mem::take(&mut self.data) else { return Err(NoUrl.into()) };
        let url = map(self.held.get(place.clone()).unwrap_or_default())?;
        self.held.splice(place, url.into_bytes());
        Ok(())
    }
}

/// More is no URL. A client reads nothing of an event before its end, so it misses nothing meanwhile.
const MOST_HELD: usize = 8 * 1024;
/// How lines of an `endpoint` event begin that are not yet, or have to be, one of these.
const TELLING: [&[u8]; 5] = [b"event: endpoint", b"event:endpoint", b"data:", b"id:", b"retry:"];
/// After which anything may come.
const FREE: [&[u8]; 4] = [b"data:", b"id:", b"retry:", b":"];
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All that goes out, and whether the event was mapped.
    fn passed(pieces: &[&[u8]]) -> Result<(Vec<u8>, Option<Vec<u8>>), NoUrl> {
        let (mut first, mut out, mut mapped) = (Some(FirstEvent::default()), Vec::new(), None);
        for piece in pieces {
            let piece = Bytes::copy_from_slice(piece);
            let Some(looking) = &mut first else {
                out.extend_from_slice(&piece);
                continue;
            };
            let map = |url: &[u8]| {
                mapped = Some(url.to_vec());
                Ok::<_, NoUrl>("MAPPED".to_owned())
            };
            match looking.look(&piece, map)? {
                Looked::Undecided(bytes) => out.extend_from_slice(&bytes),
                Looked::Decided(one, two) => {
                    out.extend_from_slice(&one);
                    out.extend_from_slice(&two);
                    first = None;
                }
            }
            assert!(first.as_ref().is_none_or(|first| first.held.len() < MOST_HELD));
        }
        out.extend_from_slice(&first.map(|mut first| first.rest()).unwrap_or_default());
        Ok((out, mapped))
    }

    fn by_bytes(stream: &[u8]) -> Vec<&[u8]> {
        stream.chunks(1).collect()
    }

    fn text(bytes: &[u8]) -> String {
        bytes.escape_ascii().to_string()
    }

    #[test]
    fn the_url_of_an_endpoint_event_is_mapped_and_nothing_else() {
        for (stream, url, expected) in [
            ("event: endpoint\ndata: /m?s=1\n\n", "/m?s=1", "event: endpoint\ndata: MAPPED\n\n"),
            ("event:endpoint\ndata:/m\n\nx", "/m", "event:endpoint\ndata:MAPPED\n\nx"),
            (
                "event: endpoint\r\ndata: /m\r\n\r\n",
                "/m",
                "event: endpoint\r\ndata: MAPPED\r\n\r\n",
            ),
            ("event: endpoint\rdata: /m\r\rx", "/m", "event: endpoint\rdata: MAPPED\r\rx"),
            ("data: /m\nevent: endpoint\n\n", "/m", "data: MAPPED\nevent: endpoint\n\n"),
            ("event: endpoint\ndata:  /m \n\n", " /m ", "event: endpoint\ndata: MAPPED\n\n"),
            (
                "\u{feff}event: endpoint\ndata: /m\n\n",
                "/m",
                "\u{feff}event: endpoint\ndata: MAPPED\n\n",
            ),
            (
                ": one\r\n:\n\nretry: 5\n\n\r: two\nid: 1\nevent: endpoint\n: in\ndata: /m\n\n: x",
                "/m",
                ": one\r\n:\n\nretry: 5\n\n\r: two\nid: 1\nevent: endpoint\n: in\ndata: MAPPED\n\n: x",
            ),
            // An event without data is none to anybody.
            (
                "event: endpoint\n\nevent: endpoint\ndata: /m\n\n",
                "/m",
                "event: endpoint\n\nevent: endpoint\ndata: MAPPED\n\n",
            ),
            (
                "event: endpoint\ndata: /m\n\nevent: endpoint\ndata: /2\n\n",
                "/m",
                "event: endpoint\ndata: MAPPED\n\nevent: endpoint\ndata: /2\n\n",
            ),
        ] {
            for pieces in [vec![stream.as_bytes()], by_bytes(stream.as_bytes())] {
                let (out, mapped) = passed(&pieces).unwrap();
                assert_eq!(mapped.as_deref().map(text), Some(text(url.as_bytes())), "{stream:?}");
                assert_eq!(text(&out), text(expected.as_bytes()));
            }
        }
    }

    #[test]
    fn what_is_no_endpoint_event_passes_as_it_is() {
        let long = format!("event: endpoint\ndata: /{}\n\n", "x".repeat(MOST_HELD));
        for stream in [
            "",
            "x",
            "event: message\ndata: {}\n\nevent: endpoint\ndata: /m\n\n",
            "id: 1\ndata:\n\nevent: endpoint\ndata: /m\n\n",
            "data: {}\n\nevent: endpoint\ndata: /m\n\n",
            "event: endpoint \ndata: /m\n\n",
            "event: endpoint\nodd: 1\ndata: /m\n\n",
            "hello",
            "event:  endpoint\ndata: /m\n\n",
            "Event: endpoint\ndata: /m\n\n",
            " event: endpoint\ndata: /m\n\n",
            "\u{feff}\u{feff}event: endpoint\ndata: /m\n\n",
            "\n\u{feff}event: endpoint\ndata: /m\n\n",
            "event: endpoint\nevent: message\ndata: /m\n\n",
            "event: endpoint\n\ndata: /m\n\n",
            "event: endpoint\ndata: /m\n",
            &long,
        ] {
            for pieces in [vec![stream.as_bytes()], by_bytes(stream.as_bytes())] {
                let (out, mapped) = passed(&pieces).unwrap();
                assert_eq!(mapped, None, "{stream:?}");
                assert_eq!(text(&out), text(stream.as_bytes()));
            }
        }
    }

    #[test]
    fn an_endpoint_without_a_url_is_refused() {
        for stream in [
            "event: endpoint\ndata: /m\ndata: ?x\n\n",
            "event: endpoint\ndata: \n\n",
            "data\nevent: endpoint\r\r",
        ] {
            assert_eq!(passed(&[stream.as_bytes()]), Err(NoUrl), "{stream:?}");
        }
    }

    /// A server may say for hours that it is still there.
    #[test]
    fn nothing_is_held_that_need_not_be() {
        for (piece, held) in [
            (": a comment without end", 0),
            ("\n\n:\r\n\r", 0),
            ("\nretry: 500\n\n", 0),
            ("ev", 2),
            ("ent: end", 10),
        ] {
            let mut first = FirstEvent::default();
            let before = if piece.starts_with("ent") { "ev" } else { "" };
            let nothing = |_: &[u8]| Ok::<_, NoUrl>(String::new());
            first.look(&Bytes::copy_from_slice(before.as_bytes()), nothing).unwrap();
            first.look(&Bytes::copy_from_slice(piece.as_bytes()), nothing).unwrap();
            assert_eq!(first.held.len(), held, "{piece:?}");
        }
        let another = Bytes::from_static(b"event: message\ndata");
        let looked = FirstEvent::default().look(&another, |_| Ok::<_, NoUrl>(String::new()));
        assert_eq!(looked, Ok(Looked::Decided(another, Bytes::new())));
    }

    /// Pieces of what such streams are made of, in any order.
    pub(in crate::proxy) fn stream() -> impl Strategy<Value = String> {
        let part = prop::sample::select(vec![
            "event: endpoint",
            "event: message",
            "event:endpoint",
            "data: /m?s=1",
            "data:",
            "data",
            "id: 1",
            "retry: 5",
            ": comment",
            "\u{feff}",
            "\n",
            "\r\n",
            "\r",
            "\n\n",
            "\r\n\r\n",
            "x",
            " ",
            ":",
            "\0",
        ]);
        prop::collection::vec(part, 0..24).prop_map(|parts| parts.concat())
    }

    pub(in crate::proxy) fn cut<'a>(
        stream: &'a [u8],
        places: &[prop::sample::Index],
    ) -> Vec<&'a [u8]> {
        let mut places: Vec<usize> = places.iter().map(|at| at.index(stream.len() + 1)).collect();
        places.sort_unstable();
        let begins = std::iter::once(0).chain(places.iter().copied());
        let ends = places.iter().copied().chain([stream.len()]);
        begins.zip(ends).map(|(begin, end)| &stream[begin..end]).collect()
    }

    /// What a client makes of a stream, as the standard has it: the type and data of each event.
    pub(in crate::proxy) fn events(stream: &str) -> Vec<(String, String)> {
        let lines = stream.strip_prefix('\u{feff}').unwrap_or(stream);
        let lines = lines.replace("\r\n", "\n").replace('\r', "\n");
        let (mut events, mut kind, mut data) = (Vec::new(), String::new(), Vec::new());
        // What the last line end is missing of is no line.
        for line in lines.split('\n').take(lines.matches('\n').count()) {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match name {
                _ if line.is_empty() => {
                    let kind = mem::take(&mut kind);
                    if !data.is_empty() {
                        events.push((kind, mem::take(&mut data).join("\n")));
                    }
                }
                "event" => kind = value.to_owned(),
                "data" => data.push(value.to_owned()),
                _ => {}
            }
        }
        events
    }

    /// What a server may say before its event, and the event; its lines end in one way or another.
    fn with_an_endpoint() -> impl Strategy<Value = String> {
        let before = prop::sample::select(vec![": x", ":", "", "retry: 5\n", "id: 1\n\n"]);
        let rest = prop::sample::subsequence(vec!["id: 1", ": in", "retry: 5"], 0..=3);
        let rest = rest.prop_map(|rest| [&["event: endpoint", "data:/m?s=1"], &rest[..]].concat());
        let event = rest.prop_shuffle();
        let end = prop::sample::select(vec!["\n", "\r\n", "\r"]);
        (prop::collection::vec(before, 0..6), event, end).prop_map(|(before, event, end)| {
            [before, event].concat().join("\n").replace('\n', end) + end + end
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn an_endpoint_is_found_behind_whatever_is_no_event(
            stream in with_an_endpoint(),
            places in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let (out, mapped) = passed(&cut(stream.as_bytes(), &places)).unwrap();

            prop_assert_eq!(mapped.as_deref(), Some(&b"/m?s=1"[..]));
            let expected = stream.replace("/m?s=1", "MAPPED");
            prop_assert_eq!(String::from_utf8(out).unwrap(), expected);
        }

        /// G9: however it comes in pieces, and as another reader reads it.
        #[test]
        fn only_the_url_of_the_first_event_changes(
            stream in stream(),
            places in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let whole = passed(&[stream.as_bytes()]);
            prop_assert_eq!(passed(&cut(stream.as_bytes(), &places)), whole.clone());
            prop_assert_eq!(passed(&by_bytes(stream.as_bytes())), whole.clone());
            let Ok((out, mapped)) = whole else { return Ok(()) };

            let mut expected = events(&stream);
            match expected.first_mut() {
                Some((kind, url)) if kind == "endpoint" && mapped.is_some() => {
                    prop_assert_eq!(mapped, Some(url.clone().into_bytes()));
                    *url = "MAPPED".to_owned();
                    prop_assert_eq!(events(&String::from_utf8(out).unwrap()), expected);
                }
                _ => {
                    prop_assert_eq!(mapped, None);
                    prop_assert_eq!(String::from_utf8(out).unwrap(), stream);
                }
            }
        }
    }
}
