//! What one Doorman wrote to its log, and nobody else.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::sync::watch;
use tracing_subscriber::fmt::MakeWriter;

use crate::support::soon;

/// Keeps what is written; clones share it.
#[derive(Clone, Debug)]
pub struct CapturedLog {
    text: Arc<Mutex<String>>,
    length: watch::Sender<usize>,
}

impl CapturedLog {
    pub fn new() -> Self {
        Self { text: Arc::default(), length: watch::Sender::new(0) }
    }

    pub fn text(&self) -> String {
        self.text.lock().unwrap().clone()
    }

    /// Each line as the JSON object that it is.
    pub fn lines(&self) -> Vec<Value> {
        let text = self.text();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The first line that contains `text`, as soon as there is one.
    pub async fn line_with(&self, text: &str) -> String {
        let mut length = self.length.subscribe();
        let found = async {
            loop {
                if let Some(line) = self.text().lines().find(|line| line.contains(text)) {
                    return line.to_owned();
                }
                length.changed().await.unwrap();
            }
        };
        soon(&format!("a log line with {text:?}"), found).await
    }
}

impl<'a> MakeWriter<'a> for CapturedLog {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Write for CapturedLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut text = self.text.lock().unwrap();
        text.push_str(&String::from_utf8_lossy(bytes));
        self.length.send_replace(text.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
