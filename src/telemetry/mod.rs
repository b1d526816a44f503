//! Logs. One line per step of a login and per refused request, as fields; no token, code or secret.

pub mod escape;
pub mod queue;

use std::error::Error;
use std::io::{self, Write};

use tracing::Dispatch;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::telemetry::escape::Escaping;

/// How the log is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: LogLevel,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    /// Other crates speak from `warn` upwards only: below, they may print what they send.
    fn directives(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "warn,mcp_doorman=info",
            Self::Debug => "warn,mcp_doorman=debug",
            Self::Trace => "warn,mcp_doorman=trace",
        }
    }
}

/// A log that writes to `writer`. Every thread that works for an `App` sets it as its own, so that two
/// Apps in one process (as in tests) don't mix.
pub fn log_to<W>(settings: &LogSettings, writer: W) -> Dispatch
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::new(settings.level.directives());
    // Without colours, so that no escape sequence is ours.
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(false)
        .with_writer(Escaping { writer, format: settings.format });
    match settings.format {
        LogFormat::Text => Dispatch::new(subscriber.finish()),
        LogFormat::Json => Dispatch::new(subscriber.json().flatten_event(true).finish()),
    }
}

/// An error with its causes, in one line.
pub fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// Standard output or standard error. A reader that has gone must not be able to break the process: errors are
/// dropped. One that reads no more holds up who writes, unless a `Queue` stands before it.
#[derive(Clone, Copy, Debug)]
pub enum Standard {
    Output,
    Error,
}

impl Write for Standard {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = match self {
            Self::Output => io::stdout().write(bytes),
            Self::Error => io::stderr().write(bytes),
        };
        Ok(written.unwrap_or(bytes.len()))
    }

    fn flush(&mut self) -> io::Result<()> {
        let _ = match self {
            Self::Output => io::stdout().flush(),
            Self::Error => io::stderr().flush(),
        };
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Standard {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        *self
    }
}
