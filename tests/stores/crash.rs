//! A process that keeps its state in a file is killed while it writes.

use std::env;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use tokio::task::JoinSet;

use crate::chance::Chance;
use crate::clock::{Clock, Timestamp};
use crate::store::{Cursor, FileStore, Followed, Key, Store as _};

const UNTIL: Timestamp = Timestamp::from_seconds(u64::MAX);
/// Set in the process that is killed: where it writes.
const WRITE_INTO: &str = "MCP_DOORMAN_WRITE_INTO";

#[tokio::test]
async fn a_kill_loses_no_write_that_was_answered() {
    if let Ok(dir) = env::var(WRITE_INTO) {
        write_for_ever(Path::new(&dir)).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut answered = 0;

    for round in 1..=10_usize {
        let mut writer = Command::new(env::current_exe().unwrap())
            .args(["--exact", "crash::a_kill_loses_no_write_that_was_answered", "--nocapture"])
            .env(WRITE_INTO, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // At another point of its writing each time.
        let told = BufReader::new(writer.stdout.take().unwrap()).lines();
        let told = told.map_while(Result::ok).filter(|line| line == "wrote");
        let process = writer.id().to_string();
        let mut count = 0;
        for _ in told.inspect(|_| {
            count += 1;
            if count == round * 7 {
                let killed = Command::new("kill").args(["-KILL", &process]).status();
                assert!(killed.unwrap().success());
            }
        }) {}
        writer.wait().unwrap();
        assert!(count >= round * 7, "it stopped by itself");
        answered += count;

        let store = FileStore::open(dir.path(), Clock::System).unwrap();
        let records = store.list("k").await.unwrap().len();
        let Followed::New(entries, _) = store.follow("log", Cursor::START).await.unwrap() else {
            panic!("the log is lost");
        };
        assert!(records >= answered, "{records} records of {answered}");
        assert!(entries.len() >= answered, "{} entries of {answered}", entries.len());
        // What was written but not answered is there as well.
        answered = records.min(entries.len());
    }
}

async fn write_for_ever(dir: &Path) -> ! {
    let store = Arc::new(FileStore::open(dir, Clock::System).unwrap());
    let mut writers = JoinSet::new();
    for _ in 0..4 {
        writers.spawn(write_on(Arc::clone(&store)));
    }
    writers.join_all().await;
    panic!("nobody stops writing");
}

async fn write_on(store: Arc<FileStore>) {
    for _ in 0..u64::MAX {
        let id = Chance::system().bytes().unwrap();
        store.put(&Key::new("k", &id), "x".repeat(700), UNTIL).await.unwrap();
        store.append("log", "entry".to_owned(), UNTIL).await.unwrap();
        let mut out = std::io::stdout().lock();
        writeln!(out, "\nwrote").unwrap();
        out.flush().unwrap();
    }
}
