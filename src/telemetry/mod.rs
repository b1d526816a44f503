//! Logs. One line per step of a login and per refused request, as fields; no token, code or secret.

pub mod escape;
pub mod queue;

use std::error::Error;
use std::io::{self, Write};

use tracing::Dispatch;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt as _;

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
    fn filter(self) -> Targets {
        let own = match self {
            Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
            Self::Trace => LevelFilter::TRACE,
        };
        let others = own.min(LevelFilter::WARN);
        Targets::new().with_default(others).with_target(env!("CARGO_CRATE_NAME"), own)
    }
}

/// A log that writes to `writer`. Every thread that works for an `App` sets it as its own, so that two
/// Apps in one process (as in tests) don't mix.
pub fn log_to<W>(settings: &LogSettings, writer: W) -> Dispatch
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // Without colours, so that no escape sequence is ours.
    let lines = fmt::layer()
        .with_target(false)
        .with_ansi(false)
        .with_writer(Escaping { writer, format: settings.format });
    let chosen = tracing_subscriber::registry().with(settings.level.filter());
    match settings.format {
        LogFormat::Text => Dispatch::new(chosen.with(lines)),
        LogFormat::Json => Dispatch::new(chosen.with(lines.json().flatten_event(true))),
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
