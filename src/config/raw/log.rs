//! `log:` how the log is written.

use serde_json::json;

use crate::config::field::Field;
use crate::config::form::Form;
use crate::config::schema;
use crate::config::stanza::{Reading, Stanza};
use crate::config::values;
use crate::telemetry::{LogFormat, LogLevel};

pub(in crate::config) struct RawLog {
    pub format: Field<String>,
    pub level: Field<String>,
}

pub(super) fn read(stanza: &mut Stanza, reading: &mut Reading) -> RawLog {
    RawLog {
        format: stanza.ask(
            "format",
            "How the log is written.",
            FORMAT.by_default(|| json!("json")),
            reading,
        ),
        level: stanza.ask(
            "level",
            "The least that is worth a line.",
            LEVEL.by_default(|| json!("info")),
            reading,
        ),
    }
}

const FORMAT: Form<String> =
    Form::new(values::text, || schema::choice(FORMATS.map(|(word, _)| word)));

const LEVEL: Form<String> =
    Form::new(values::text, || schema::choice(LEVELS.map(|(word, _)| word)));

pub(in crate::config) const FORMATS: [(&str, LogFormat); 2] =
    [("text", LogFormat::Text), ("json", LogFormat::Json)];

pub(in crate::config) const LEVELS: [(&str, LogLevel); 5] = [
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
];
