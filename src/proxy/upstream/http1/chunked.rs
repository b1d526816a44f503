//! The chunked coding of an answer (RFC 9112 §7.1), taken off without a copy. More strictly than it allows:
//! a line ends in CRLF, and there is no white space about a size.

use bytes::{Buf as _, Bytes};

/// Follows one body from byte to byte, however it is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunked(State);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadChunk {
    #[error("a chunk's size is no hexadecimal number")]
    Size,
    #[error("a chunk's extension is malformed or too long")]
    Extension,
    #[error("a chunk is longer than it said")]
    Length,
    #[error("the trailers are malformed or too long")]
    Trailers,
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size {
        size: u64,
        digits: u8,
    },
    Extension {
        size: u64,
        seen: u16,
    },
    SizeLf {
        size: u64,
    },
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    /// At the beginning of a line of trailers.
    Line {
        seen: u16,
    },
    Trailer {
        seen: u16,
    },
    TrailerLf {
        seen: u16,
    },
    LastLf,
    Ended,
}

impl Default for Chunked {
    fn default() -> Self {
        Self(NEXT_SIZE)
    }
}

impl Chunked {
    /// The next run of data in `input`. `None`: more has to be read, or it has ended.
    pub fn next(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, BadChunk> {
        self.skip(input)?;
        let State::Data { left } = self.0 else { return Ok(None) };
        if input.is_empty() {
            return Ok(None);
        }
        let here = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
        let left = left - here as u64;
        self.0 = if left == 0 { State::DataCr } else { State::Data { left } };
        let data = input.split_to(here);
        // What ends the body is often here already. What is wrong with it is told when it is asked for: the data
        // before it must not depend on how the bytes come.
        let _ = self.skip(input);
        Ok(Some(data))
    }

    pub fn has_ended(&self) -> bool {
        self.0 == State::Ended
    }

    /// Take from `input` what belongs to the coding.
    fn skip(&mut self, input: &mut Bytes) -> Result<(), BadChunk> {
        while !matches!(self.0, State::Data { .. } | State::Ended)
            && let Some(byte) = input.first()
        {
            self.0 = self.0.after(*byte)?;
            input.advance(1);
        }
        Ok(())
    }
}

impl State {
    fn after(self, byte: u8) -> Result<Self, BadChunk> {
        match self {
            Self::Size { size, digits } => match byte {
                b'\r' if digits > 0 => Ok(Self::SizeLf { size }),
                b';' if digits > 0 => Ok(Self::Extension { size, seen: 0 }),
                _ if digits < MOST_DIGITS => {
                    let digit = char::from(byte).to_digit(16).ok_or(BadChunk::Size)?;
                    Ok(Self::Size { size: size << 4 | u64::from(digit), digits: digits + 1 })
                }
                _ => Err(BadChunk::Size),
            },
            Self::Extension { size, .. } if byte == b'\r' => Ok(Self::SizeLf { size }),
            Self::Extension { size, seen } if seen < LONGEST_EXTENSION && is_text(byte) => {
                Ok(Self::Extension { size, seen: seen + 1 })
            }
            Self::Extension { .. } => Err(BadChunk::Extension),
            Self::SizeLf { size: 0 } if byte == b'\n' => Ok(Self::Line { seen: 0 }),
            Self::SizeLf { size: left } if byte == b'\n' => Ok(Self::Data { left }),
            Self::SizeLf { .. } => Err(BadChunk::Size),
            Self::DataCr if byte == b'\r' => Ok(Self::DataLf),
            Self::DataLf if byte == b'\n' => Ok(NEXT_SIZE),
            Self::Line { .. } if byte == b'\r' => Ok(Self::LastLf),
            Self::Trailer { seen } if byte == b'\r' => Ok(Self::TrailerLf { seen }),
            Self::Line { seen } | Self::Trailer { seen } if seen < LONGEST_TRAILERS => {
                if is_text(byte) {
                    Ok(Self::Trailer { seen: seen + 1 })
                } else {
                    Err(BadChunk::Trailers)
                }
            }
            Self::TrailerLf { seen } if byte == b'\n' => Ok(Self::Line { seen }),
            Self::LastLf if byte == b'\n' => Ok(Self::Ended),
            Self::Line { .. } | Self::Trailer { .. } | Self::TrailerLf { .. } | Self::LastLf => {
                Err(BadChunk::Trailers)
            }
            // The last two are not asked about: data is taken by runs, and nothing after the end.
            Self::DataCr | Self::DataLf | Self::Data { .. } | Self::Ended => Err(BadChunk::Length),
        }
    }
}

fn is_text(byte: u8) -> bool {
    !byte.is_ascii_control() || byte == b'\t'
}

const NEXT_SIZE: State = State::Size { size: 0, digits: 0 };
const MOST_DIGITS: u8 = 16;
const LONGEST_EXTENSION: u16 = 256;
const LONGEST_TRAILERS: u16 = 16 * 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All data of `pieces` put together, or what is wrong. `None`: it has no end.
    fn decoded(pieces: &[&[u8]]) -> Result<Option<Vec<u8>>, BadChunk> {
        let (mut chunked, mut data) = (Chunked::default(), Vec::new());
        for piece in pieces {
            let mut input = Bytes::copy_from_slice(piece);
            while let Some(bytes) = chunked.next(&mut input)? {
                data.extend_from_slice(&bytes);
            }
        }
        Ok(chunked.has_ended().then_some(data))
    }

    #[test]
    fn data_comes_out_and_the_coding_stays_behind() {
        for (coded, expected) in [
            ("3\r\nabc\r\n0\r\n\r\n", Some("abc")),
            ("1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", Some("abc")),
            ("A\r\n0123456789\r\n0\r\n\r\n", Some("0123456789")),
            ("00000003\r\nabc\r\n000\r\n\r\n", Some("abc")),
            ("3;name=\"value\"\r\nabc\r\n0;x\r\n\r\n", Some("abc")),
            ("3\r\nabc\r\n0\r\nTrailer: value\r\nOther: \r\n\r\n", Some("abc")),
            ("3\r\n\r\n\n\r\n0\r\n\r\n", Some("\r\n\n")),
            ("0\r\n\r\n", Some("")),
            ("3\r\nabc\r\n0\r\n", None),
            ("3\r\nab", None),
            ("", None),
        ] {
            let expected = expected.map(|text: &str| text.as_bytes().to_vec());
            assert_eq!(decoded(&[coded.as_bytes()]), Ok(expected), "{coded:?}");
        }
    }

    /// RFC 9112 §7.1: what could be read in two ways is not read at all.
    #[test]
    fn what_is_malformed_is_refused() {
        let long_extension = format!("3;{}\r\nabc\r\n", "x".repeat(300));
        let long_trailer = format!("0\r\n{}\r\n\r\n", "x".repeat(17_000));
        for (coded, expected) in [
            ("\r\n", BadChunk::Size),
            (";\r\n", BadChunk::Size),
            ("0x3\r\nabc", BadChunk::Size),
            ("+3\r\nabc", BadChunk::Size),
            ("-3\r\nabc", BadChunk::Size),
            (" 3\r\nabc", BadChunk::Size),
            ("3 \r\nabc", BadChunk::Size),
            ("3\nabc", BadChunk::Size),
            ("3\r\rabc", BadChunk::Size),
            ("11111111111111111\r\n", BadChunk::Size),
            ("3;a\nabc", BadChunk::Extension),
            ("3;a\0\r\nabc", BadChunk::Extension),
            (long_extension.as_str(), BadChunk::Extension),
            ("3\r\nabcd\r\n", BadChunk::Length),
            ("3\r\nabc\n0\r\n", BadChunk::Length),
            ("3\r\nabc\r0\r\n", BadChunk::Length),
            ("0\r\na: b\n\r\n", BadChunk::Trailers),
            ("0\r\na: b\r\r\n", BadChunk::Trailers),
            ("0\r\n\n", BadChunk::Trailers),
            ("0\r\n\r\r", BadChunk::Trailers),
            (long_trailer.as_str(), BadChunk::Trailers),
        ] {
            assert_eq!(decoded(&[coded.as_bytes()]), Err(expected), "{coded:?}");
        }
    }

    #[test]
    fn data_before_what_is_malformed_comes_out_however_it_is_cut() {
        for (coded, fault) in [("1\r\nab", BadChunk::Length), ("1\r\na\r\n;", BadChunk::Size)] {
            let mut input = Bytes::copy_from_slice(coded.as_bytes());
            let mut chunked = Chunked::default();

            assert_eq!(chunked.next(&mut input), Ok(Some(Bytes::from_static(b"a"))), "{coded:?}");
            assert_eq!(chunked.next(&mut input), Err(fault), "{coded:?}");
        }
    }

    #[test]
    fn what_follows_the_end_is_left_where_it_is() {
        let mut input = Bytes::from_static(b"0\r\n\r\nHTTP/1.1 200 OK\r\n");

        let mut chunked = Chunked::default();
        assert_eq!(chunked.next(&mut input), Ok(None));
        assert!(chunked.has_ended());
        assert_eq!(input, "HTTP/1.1 200 OK\r\n");
    }

    proptest! {
        #[test]
        fn the_cuts_make_no_difference(
            coded in "([0-3](;[a-z]{0,3})?\r?\n?[a-z\r\n]{0,3}\r\n){0,4}0\r\n(a: b\r\n)?\r\n",
            cut in 0_usize..40,
        ) {
            let coded = coded.as_bytes();
            let (first, second) = coded.split_at(cut.min(coded.len()));
            let one_by_one: Vec<&[u8]> = coded.chunks(1).collect();

            prop_assert_eq!(decoded(&[first, second]), decoded(&[coded]));
            prop_assert_eq!(decoded(&one_by_one), decoded(&[coded]));
        }

        #[test]
        fn what_was_coded_comes_out(pieces in prop::collection::vec("[\\PC\r\n]{1,300}", 0..8)) {
            let chunk = |piece: &String| format!("{:x}\r\n{piece}\r\n", piece.len());
            let coded = pieces.iter().map(chunk).collect::<String>() + "0\r\n\r\n";

            let expected = pieces.concat().into_bytes();
            prop_assert_eq!(decoded(&[coded.as_bytes()]), Ok(Some(expected)));
        }
    }
}
