//! Records in one file, by the embedded database redb: for one process that must survive restarts.
//!
//! Writers that wait at the same time share one commit, as a flush of the disk is what a write costs.

mod disk;
mod open;
mod tables;
mod turns;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use redb::{Database, ReadTransaction, ReadableDatabase as _};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::{Dispatch, dispatcher};

use crate::clock::{Clock, Timestamp};
use crate::store::{
    Answer, Created, Cursor, Followed, Key, Reach, Record, Store, StoreFault, Swap,
};

use disk::Health;
pub use open::OpenFault;
use tables::Tables;
use turns::Turns;

#[derive(Debug)]
pub struct FileStore(Arc<Inner>);

struct Inner {
    path: PathBuf,
    clock: Clock,
    /// Where faults are told: the threads that work on the file have no log of their own.
    log: Dispatch,
    state: RwLock<State>,
    health: Health,
    reads: Turns,
    lists: Turns,
    waiting: Mutex<Waiting>,
    /// The key after which the sweep goes on.
    swept_to: Mutex<String>,
}

enum State {
    Open(Database),
    /// redb takes nothing more after a failure. What was answered is in the file: open it again.
    Closed {
        tried: Timestamp,
    },
    /// A flush failed. Only a new process may look at the file again.
    Broken,
}

#[derive(Default)]
struct Waiting {
    jobs: Vec<Job>,
    is_writing: bool,
}

/// A change, to be made together with others. What it returns tells its caller, after the commit.
type Job = Box<dyn FnOnce(&mut Tables<'_>, Timestamp) -> Result<Tell, redb::Error> + Send>;
type Tell = Box<dyn FnOnce() + Send>;

/// What becomes of a change that is still waiting for the disk when its caller no longer waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unheard {
    /// Late is better than never: an ending above all.
    Made,
    /// Who did not hear of it comes again, and must find what was there: a login that was taken, a code or
    /// a form that was spent would be lost.
    Dropped,
}

/// Whether somebody is writing what waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writer {
    AtWork,
    /// The caller has to see to it.
    Needed,
}

impl FileStore {
    /// Open the file in `dir`; both are made if missing. Blocks: call it before there is anything to
    /// serve.
    pub fn open(dir: &Path, clock: Clock) -> Result<Self, OpenFault> {
        let path = open::prepare(dir)?;
        let health = Health::default();
        let database = open::database(&path, clock.now(), &health)?;
        Ok(Self(Arc::new(Inner {
            path,
            clock,
            log: dispatcher::get_default(Clone::clone),
            state: RwLock::new(State::Open(database)),
            health,
            reads: Turns::new(READS_AT_ONCE, MOST_WAITING, DEADLINE),
            lists: Turns::new(LISTS_AT_ONCE, MOST_LISTS, LIST_DEADLINE),
            waiting: Mutex::default(),
            swept_to: Mutex::default(),
        })))
    }

    async fn look<T: Send + 'static>(
        &self,
        turns: &Turns,
        look: impl FnOnce(&ReadTransaction, Timestamp) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, StoreFault> {
        let inner = Arc::clone(&self.0);
        let work = move || {
            let now = inner.clock.now();
            inner.with_database(|database| look(&database.begin_read()?, now))
        };
        turns.take(work).await
    }

    async fn change<T: Send + 'static>(
        &self,
        unheard: Unheard,
        change: impl FnOnce(&mut Tables<'_>, Timestamp) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, StoreFault> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |tables, now| {
            if unheard == Unheard::Dropped && answer.is_closed() {
                return Ok(Box::new(|| ()));
            }
            let changed = change(tables, now)?;
            // Who gave up waiting needs no answer.
            Ok(Box::new(move || drop(answer.send(changed))))
        });
        if self.0.enqueue(job)? == Writer::Needed {
            let inner = Arc::clone(&self.0);
            spawn_blocking(move || inner.write_what_waits());
        }
        // A job that was dropped was not committed, or nobody knows whether it was.
        timeout(DEADLINE, answered).await.map_err(|_| StoreFault)?.map_err(|_| StoreFault)
    }
}

impl Inner {
    /// A fault if too many wait already.
    fn enqueue(&self, job: Job) -> Result<Writer, StoreFault> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.jobs.len() >= MOST_WAITING {
            return Err(StoreFault);
        }
        waiting.jobs.push(job);
        let is_writing = std::mem::replace(&mut waiting.is_writing, true);
        Ok(if is_writing { Writer::AtWork } else { Writer::Needed })
    }

    /// Commit until nothing waits.
    fn write_what_waits(&self) {
        let _over = WritingIsOver(self);
        loop {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if waiting.jobs.is_empty() {
                waiting.is_writing = false;
                return;
            }
            let jobs = std::mem::take(&mut waiting.jobs);
            drop(waiting);
            if let Ok(committed) = self.with_database(|database| self.commit(database, jobs)) {
                for tell in committed {
                    tell();
                }
            }
        }
    }

    fn commit(&self, database: &Database, jobs: Vec<Job>) -> Result<Vec<Tell>, redb::Error> {
        let now = self.clock.now();
        let transaction = database.begin_write()?;
        let mut tables = Tables::open(&transaction)?;
        let mut swept_to = self.swept_to.lock().unwrap_or_else(PoisonError::into_inner);
        *swept_to = tables.sweep_some(&swept_to, jobs.len(), now)?;
        let done = jobs.into_iter().map(|job| job(&mut tables, now)).collect::<Result<_, _>>()?;
        tables.close()?;
        transaction.commit()?;
        Ok(done)
    }

    fn with_database<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, StoreFault> {
        self.reopen_if_closed();
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let State::Open(database) = &*state else { return Err(StoreFault) };
        let fault = match work(database) {
            Ok(done) => return Ok(done),
            Err(fault) => fault,
        };
        drop(state);
        self.close_after(&fault);
        Err(StoreFault)
    }

    fn close_after(&self, fault: &redb::Error) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if !matches!(*state, State::Open(_)) {
            return;
        }
        if self.health.flush_failed() {
            *state = State::Broken;
            self.tell(|file| tracing::error!(file, %fault, whose_fault = "store", "the disk lost what was written: no state until a restart; look after the disk first"));
        } else {
            *state = State::Closed { tried: self.clock.now() };
            self.tell(|file| tracing::error!(file, %fault, whose_fault = "store", "the state file could not be used; nothing that was answered is lost"));
        }
    }

    /// Once a second at most: a damaged file is read whole each time.
    fn reopen_if_closed(&self) {
        let now = self.clock.now();
        let is_due = |state: &State| matches!(state, State::Closed { tried } if *tried < now);
        if !is_due(&self.state.read().unwrap_or_else(PoisonError::into_inner)) {
            return;
        }
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if !is_due(&state) {
            return;
        }
        *state = State::Closed { tried: now };
        match open::database(&self.path, now, &self.health) {
            Ok(database) => *state = State::Open(database),
            Err(fault) => self.tell(|file| {
                tracing::error!(file, %fault, whose_fault = "store", "no state");
            }),
        }
    }

    fn tell(&self, event: impl FnOnce(&str)) {
        dispatcher::with_default(&self.log, || event(&self.path.to_string_lossy()));
    }
}

/// Should a write panic, the next one still finds somebody to write it.
struct WritingIsOver<'a>(&'a Inner);

impl Drop for WritingIsOver<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            *waiting = Waiting::default();
        }
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileStore").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Store for FileStore {
    fn read<'a>(&'a self, key: &'a Key) -> Answer<'a, Option<Record>> {
        let key = key.clone();
        Box::pin(
            self.look(&self.0.reads, move |transaction, now| tables::read(transaction, &key, now)),
        )
    }

    fn put<'a>(&'a self, key: &'a Key, value: String, until: Timestamp) -> Answer<'a, ()> {
        let key = key.clone();
        Box::pin(
            self.change(Unheard::Made, move |tables, _| {
                tables.write(&key, &value, until).map(|_| ())
            }),
        )
    }

    fn take<'a>(&'a self, key: &'a Key) -> Answer<'a, Option<Record>> {
        let key = key.clone();
        Box::pin(self.change(Unheard::Dropped, move |tables, now| tables.remove(&key, now)))
    }

    fn create<'a>(&'a self, key: &'a Key, value: String, until: Timestamp) -> Answer<'a, Created> {
        let key = key.clone();
        Box::pin(self.change(Unheard::Dropped, move |tables, now| {
            if tables.version(&key, now)?.is_some() {
                return Ok(Created::Present);
            }
            tables.write(&key, &value, until).map(Created::New)
        }))
    }

    fn swap<'a>(
        &'a self,
        key: &'a Key,
        read: super::Version,
        value: String,
        until: Timestamp,
        reach: Reach,
    ) -> Answer<'a, Swap> {
        let key = key.clone();
        let unheard = match reach {
            Reach::OneServer => Unheard::Dropped,
            // What may not come undone must be done.
            Reach::TwoServers => Unheard::Made,
        };
        Box::pin(self.change(unheard, move |tables, now| {
            if tables.version(&key, now)? != Some(read) {
                return Ok(Swap::Lost);
            }
            tables.write(&key, &value, until).map(Swap::Done)
        }))
    }

    fn delete<'a>(&'a self, key: &'a Key) -> Answer<'a, ()> {
        let key = key.clone();
        Box::pin(
            self.change(Unheard::Made, move |tables, now| tables.remove(&key, now).map(|_| ())),
        )
    }

    fn list<'a>(&'a self, kind: &'static str) -> Answer<'a, Vec<Record>> {
        Box::pin(
            self.look(&self.0.lists, move |transaction, now| tables::list(transaction, kind, now)),
        )
    }

    fn append<'a>(&'a self, log: &'static str, entry: String, until: Timestamp) -> Answer<'a, ()> {
        Box::pin(
            self.change(Unheard::Made, move |tables, now| tables.append(log, &entry, until, now)),
        )
    }

    fn follow<'a>(&'a self, log: &'static str, after: Cursor) -> Answer<'a, Followed> {
        Box::pin(self.look(&self.0.reads, move |transaction, now| {
            tables::follow(transaction, log, after, now)
        }))
    }
}

/// A disk that takes longer is not one to wait for.
const DEADLINE: Duration = Duration::from_secs(5);
const READS_AT_ONCE: usize = 32;
/// Reads, and changes: more than all clients that come at once, and little memory.
const MOST_WAITING: usize = 4096;
/// A big store takes longer to read, and the disk is not to blame for it.
const LIST_DEADLINE: Duration = Duration::from_mins(1);
/// Each has the whole store in memory.
const LISTS_AT_ONCE: usize = 2;
const MOST_LISTS: usize = 64;

#[cfg(test)]
mod tests;
