//! Strangers' text where it could do more than be read: what ends a line, moves a cursor or turns the direction
//! of what is around it is written out.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};

use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

use crate::telemetry::LogFormat;

/// `json`, which is still JSON and says the same: such characters stand in its strings only.
pub fn json(json: &str) -> Cow<'_, str> {
    escaped(json, LogFormat::Json)
}

/// Where the log goes. The one place that every event passes, whatever wrote its fields.
#[derive(Clone, Debug)]
pub struct Escaping<W> {
    pub writer: W,
    pub format: LogFormat,
}

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for Escaping<W> {
    type Writer = Escaping<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        Escaping { writer: self.writer.make_writer(), format: self.format }
    }

    fn make_writer_for(&'a self, about: &Metadata<'_>) -> Self::Writer {
        Escaping { writer: self.writer.make_writer_for(about), format: self.format }
    }
}

impl<W: Write> Write for Escaping<W> {
    /// `event` is a whole one, as `tracing_subscriber` writes them: the newline at its end is ours, any
    /// other is not.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let line = text.strip_suffix('\n');
        let mut written = escaped(line.unwrap_or(&text), self.format).into_owned();
        if line.is_some() {
            written.push('\n');
        }
        self.writer.write_all(written.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

fn escaped(text: &str, format: LogFormat) -> Cow<'_, str> {
    if !text.contains(is_active) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        match format {
            _ if !is_active(letter) => escaped.push(letter),
            LogFormat::Text => escaped.extend(letter.escape_default()),
            // All of them are below U+10000. Writing to a `String` can't fail.
            LogFormat::Json => drop(write!(escaped, "\\u{:04x}", u32::from(letter))),
        }
    }
    Cow::Owned(escaped)
}

/// Controls of C0 and C1, ends of lines, and what turns the direction (Unicode UAX #9).
fn is_active(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{61c}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_only_read_stays_as_it_is() {
        let text = r#"{"user":"Ada \"ü\" 東京 \\n \u001b 👩‍🚀"}"#;

        assert_eq!(json(text), text);
        assert_eq!(escaped(text, LogFormat::Text), text);
    }

    #[test]
    fn json_stays_json_and_says_the_same() {
        let name = "a\u{9b}2J\u{7f}\u{202e}\u{2066}\u{61c}\u{200f}\u{2029}\n\u{1b}z";
        let written = serde_json::to_string(name).unwrap();

        let escaped = json(&written);

        assert_eq!(escaped, r#""a\u009b2J\u007f\u202e\u2066\u061c\u200f\u2029\n\u001bz""#);
        assert_eq!(serde_json::from_str::<String>(&escaped).unwrap(), name);
    }
}
