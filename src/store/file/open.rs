//! Opening the file: made if missing, refused if it is another process' or damaged, never silently empty.

use std::error::Error;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process;

use redb::Database;

use crate::clock::Timestamp;
use crate::store::file::disk::{Disk, Health};
use crate::store::file::tables::{TODAYS_FORMAT, Tables};

/// Why there is no store. Completes "…: ".
#[derive(Debug, thiserror::Error)]
pub enum OpenFault {
    #[error("can't make the directory {}: {fault}", path.display())]
    Directory { path: PathBuf, fault: io::Error },
    #[error("can't use {}: {fault}", path.display())]
    File { path: PathBuf, fault: io::Error },
    #[error(
        "{} is in use by another process: it holds the state of one process only, so stop the other \
         one, or give each a directory of its own",
        path.display()
    )]
    InUse { path: PathBuf },
    #[error(
        "{} is damaged ({what}): move it away to start without it, which signs everybody out",
        path.display()
    )]
    Damaged { path: PathBuf, what: String },
    #[error(
        "{} was written by a newer release (format {format}): start that one, or move the file away, \
         which signs everybody out",
        path.display()
    )]
    Newer { path: PathBuf, format: u64 },
}

/// Make what is missing of the directory. Returns where the file is, or will be.
pub fn prepare(dir: &Path) -> Result<PathBuf, OpenFault> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|fault| OpenFault::Directory { path: dir.to_owned(), fault })?;
    Ok(dir.join(FILE_NAME))
}

pub fn database(path: &Path, now: Timestamp, health: &Health) -> Result<Database, OpenFault> {
    if !path.try_exists().map_err(|fault| OpenFault::File { path: path.to_owned(), fault })? {
        return begun(path, now, health);
    }
    opened(path, now, health)
}

/// A process that dies while it makes the file leaves nothing under its name.
fn begun(path: &Path, now: Timestamp, health: &Health) -> Result<Database, OpenFault> {
    let unfinished = path.with_extension(format!("unfinished-{}", process::id()));
    let failed = |fault| OpenFault::File { path: path.to_owned(), fault };
    match fs::remove_file(&unfinished) {
        Err(fault) if fault.kind() != io::ErrorKind::NotFound => return Err(failed(fault)),
        Ok(()) | Err(_) => {}
    }
    drop(opened(&unfinished, now, health)?);
    // Unlike a rename, this never takes the place of what another process made meanwhile.
    match fs::hard_link(&unfinished, path) {
        Err(fault) if fault.kind() != io::ErrorKind::AlreadyExists => return Err(failed(fault)),
        Ok(()) | Err(_) => {}
    }
    fs::remove_file(&unfinished).map_err(failed)?;
    if let Some(dir) = path.parent() {
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)?;
    }
    opened(path, now, health)
}

fn opened(path: &Path, now: Timestamp, health: &Health) -> Result<Database, OpenFault> {
    let file = file(path).map_err(|fault| OpenFault::File { path: path.to_owned(), fault })?;
    let damaged = |what: String| OpenFault::Damaged { path: path.to_owned(), what };
    let Some(file) = file else { return Err(damaged("it is empty".to_owned())) };
    let disk = Disk::new(file, health.clone()).map_err(|fault| told(path, fault))?;
    // redb trusts the pages it reads: some damage ends in a panic of its own.
    let opened = catch_unwind(AssertUnwindSafe(|| -> Result<_, redb::Error> {
        let mut database = Database::builder().set_cache_size(CACHE).create_with_backend(disk)?;
        let is_whole = database.check_integrity()?;
        let format = tidy(&mut database, now)?;
        Ok((database, is_whole, format))
    }));
    match opened {
        Ok(Ok((database, true, TODAYS_FORMAT))) => Ok(database),
        Ok(Ok((_, true, format))) => Err(OpenFault::Newer { path: path.to_owned(), format }),
        Ok(Ok((_, false, _))) => Err(damaged("a checksum is wrong".to_owned())),
        Ok(Err(fault)) => Err(told(path, fault)),
        Err(_) => Err(damaged("it can't be read".to_owned())),
    }
}

/// `None` if there is a file with nothing in it: redb would begin anew in it.
fn file(path: &Path) -> io::Result<Option<File>> {
    let mut how = OpenOptions::new();
    how.read(true).write(true).mode(0o600);
    match how.clone().create_new(true).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(fault) if fault.kind() == io::ErrorKind::AlreadyExists => {
            let file = how.open(path)?;
            let is_empty = file.metadata()?.len() == 0;
            Ok((!is_empty).then_some(file))
        }
        Err(fault) => Err(fault),
    }
}

/// Remove what has expired, and give back to the disk what that leaves free. Returns the file's format.
fn tidy(database: &mut Database, now: Timestamp) -> Result<u64, redb::Error> {
    let transaction = database.begin_write()?;
    let mut tables = Tables::open(&transaction)?;
    let format = tables.format()?;
    if format != TODAYS_FORMAT {
        return Ok(format);
    }
    tables.sweep_all(now)?;
    tables.close()?;
    let stats = transaction.stats()?;
    transaction.commit()?;
    let used = stats.stored_bytes() + stats.metadata_bytes() + stats.fragmented_bytes();
    let held = stats.allocated_pages() * stats.page_size() as u64;
    if held > 4 * used && held > WORTH_COMPACTING {
        database.compact()?;
    }
    Ok(format)
}

fn told(path: &Path, fault: impl Into<redb::Error>) -> OpenFault {
    let (path, fault) = (path.to_owned(), fault.into());
    if matches!(fault, redb::Error::DatabaseAlreadyOpen) {
        return OpenFault::InUse { path };
    }
    let redb::Error::Io(fault) = fault else {
        return OpenFault::Damaged { path, what: lowercase(&fault) };
    };
    if DAMAGE.contains(&fault.kind()) {
        return OpenFault::Damaged { path, what: lowercase(&fault) };
    }
    OpenFault::File { path, fault }
}

fn lowercase(fault: &dyn Error) -> String {
    fault.to_string().to_lowercase()
}

const FILE_NAME: &str = "state.redb";
/// What redb says of a file that is not one of its own, or ends too early.
const DAMAGE: [io::ErrorKind; 2] = [io::ErrorKind::InvalidData, io::ErrorKind::UnexpectedEof];
/// Of the file, in memory.
const CACHE: usize = 16 << 20;
const WORTH_COMPACTING: u64 = 4 << 20;
