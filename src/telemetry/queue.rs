//! The log's way out of the process. Whoever has something to say does not wait for whoever reads it: lines wait in a
//! queue, one thread writes them. What finds the queue full is dropped and counted.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};

use crate::telemetry::LogFormat;

/// Clones write into the same queue.
#[derive(Clone, Debug)]
pub struct Queue {
    sender: SyncSender<Message>,
    lost: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Message {
    /// A whole one.
    Line(Vec<u8>),
    /// All that came before is to be written; then, to be told.
    Flush(SyncSender<()>),
}

impl Queue {
    /// A queue in front of `writer`, of a log in `format`. Errors: no thread can be started.
    pub fn before<W: Write + Send + 'static>(writer: W, format: LogFormat) -> io::Result<Self> {
        Self::with_room(MOST_LINES, writer, format)
    }

    fn with_room<W>(lines: usize, writer: W, format: LogFormat) -> io::Result<Self>
    where
        W: Write + Send + 'static,
    {
        let (sender, receiver) = sync_channel(lines);
        let lost = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&lost);
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_out(&receiver, writer, &counted, format))?;
        Ok(Self { sender, lost })
    }

    /// Wait until all that was said is written, but no longer than `within`: nobody may be reading. For threads that
    /// have nothing else to do.
    pub fn flush(&self, within: Duration) {
        let end = Instant::now() + within;
        let (written, is_written) = sync_channel(1);
        let mut message = Message::Flush(written);
        while let Err(TrySendError::Full(returned)) = self.sender.try_send(message) {
            if Instant::now() >= end {
                return;
            }
            message = returned;
            thread::sleep(PAUSE);
        }
        let _ = is_written.recv_timeout(end.saturating_duration_since(Instant::now()));
    }
}

impl Write for &Queue {
    /// `line` is a whole one.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.sender.try_send(Message::Line(line.to_vec())).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

/// Until nobody can say anything any more. A reader that has gone must not end us: errors are dropped.
fn write_out(
    receiver: &Receiver<Message>,
    mut writer: impl Write,
    lost: &AtomicU64,
    format: LogFormat,
) {
    for message in receiver {
        let count = lost.swap(0, Ordering::Relaxed);
        if count > 0 {
            let _ = writer.write_all(about_lost(count, format).as_bytes());
        }
        match message {
            Message::Line(line) => {
                let _ = writer.write_all(&line);
            }
            Message::Flush(written) => {
                let _ = writer.flush();
                let _ = written.try_send(());
            }
        }
    }
}

/// A line like those that others say.
fn about_lost(count: u64, format: LogFormat) -> String {
    let mut now = String::new();
    // Writing to a `String` can't fail.
    let _ = SystemTime.format_time(&mut format::Writer::new(&mut now));
    let message = "log lines were dropped: they came faster than they were read";
    match format {
        LogFormat::Json => {
            let line =
                json!({ "timestamp": now, "level": "WARN", "message": message, "dropped": count });
            format!("{line}\n")
        }
        LogFormat::Text => format!("{now}  WARN {message} dropped={count}\n"),
    }
}

/// Some MiB at most, usually one.
const MOST_LINES: usize = 4096;
const PAUSE: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    /// Takes a line each time that it is let.
    struct Pipe {
        let_through: Receiver<()>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let Ok(()) = self.let_through.recv() else {
                return Err(io::ErrorKind::BrokenPipe.into());
            };
            self.written.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn pipe() -> (Pipe, Sender<()>, Arc<Mutex<Vec<u8>>>) {
        let (sender, let_through) = channel();
        let written = Arc::<Mutex<Vec<u8>>>::default();
        (Pipe { let_through, written: written.clone() }, sender, written)
    }

    fn lines(written: &Mutex<Vec<u8>>) -> Vec<String> {
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// Fault 48 of the design.
    #[test]
    fn who_speaks_never_waits_and_what_is_dropped_is_counted() {
        let (pipe, sender, written) = pipe();
        let queue = Queue::with_room(3, pipe, LogFormat::Json).unwrap();
        let say = |number: usize| {
            let line = format!("{number}\n");
            assert_eq!((&queue).write(line.as_bytes()).unwrap(), line.len());
        };

        (0..10).for_each(say);
        // Of ten, three wait, and one may be with the writer.
        for _ in 0..10 {
            sender.send(()).unwrap();
        }
        queue.flush(LONG);

        let told = lines(&written);
        let kept: Vec<_> = told.iter().filter(|line| !line.starts_with('{')).collect();
        assert!((3..=4).contains(&kept.len()), "{told:?}");
        let about: Vec<serde_json::Value> = told
            .iter()
            .filter(|line| line.starts_with('{'))
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let dropped: u64 = about.iter().map(|line| line["dropped"].as_u64().unwrap()).sum();
        assert_eq!(dropped + kept.len() as u64, 10, "{told:?}");
        assert_eq!(about[0]["level"], "WARN");
    }

    #[test]
    fn a_flush_waits_for_all_lines_but_not_for_ever() {
        let (pipe, sender, written) = pipe();
        let queue = Queue::before(pipe, LogFormat::Text).unwrap();
        for _ in 0..1000 {
            (&queue).write_all(b"line\n").unwrap();
        }

        queue.flush(Duration::from_millis(20));
        assert!(lines(&written).is_empty(), "nobody reads");
        for _ in 0..1000 {
            sender.send(()).unwrap();
        }
        queue.flush(LONG);

        assert_eq!(lines(&written).len(), 1000);
    }

    #[test]
    fn a_reader_that_has_gone_ends_nothing() {
        let (pipe, sender, _) = pipe();
        let queue = Queue::with_room(2, pipe, LogFormat::Text).unwrap();
        drop(sender);

        for _ in 0..100 {
            (&queue).write_all(b"line\n").unwrap();
        }
        let begin = Instant::now();
        queue.flush(LONG);

        assert!(begin.elapsed() < LONG, "the thread has ended");
    }

    const LONG: Duration = Duration::from_secs(20);
}
