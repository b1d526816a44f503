//! The file as redb sees it, and whether the disk still keeps its word.

use std::fs::File;
use std::io;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::backends::FileBackend;
use redb::{BackendError, DatabaseError, StorageBackend};

/// What became of the disk, seen from outside.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Faults>);

#[derive(Debug, Default)]
struct Faults {
    flush_failed: AtomicBool,
    #[cfg(test)]
    no_space: AtomicBool,
    #[cfg(test)]
    no_flush: AtomicBool,
}

impl Health {
    /// A flush failed. The kernel then drops what it could not write, and shows it as written to who reads
    /// the file again: nothing in it can be trusted by this process any more.
    pub fn flush_failed(&self) -> bool {
        self.0.flush_failed.load(Ordering::Acquire)
    }
}

#[derive(Debug)]
pub struct Disk {
    file: FileBackend,
    health: Health,
}

impl Disk {
    pub fn new(file: File, health: Health) -> Result<Self, DatabaseError> {
        Ok(Self { file: FileBackend::new(file)?, health })
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        #[cfg(test)]
        self.health.allows_write()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        #[cfg(test)]
        let flushed = self.health.allows_flush().and_then(|()| self.file.sync_data());
        #[cfg(not(test))]
        let flushed = self.file.sync_data();
        flushed.inspect_err(|_| self.health.0.flush_failed.store(true, Ordering::Release))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        #[cfg(test)]
        self.health.allows_write()?;
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}

#[cfg(test)]
impl Health {
    pub fn fill_disk(&self, is_full: bool) {
        self.0.no_space.store(is_full, Ordering::Release);
    }

    pub fn break_flush(&self, is_broken: bool) {
        self.0.no_flush.store(is_broken, Ordering::Release);
    }

    fn allows_write(&self) -> io::Result<()> {
        let is_full = self.0.no_space.load(Ordering::Acquire);
        if is_full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn allows_flush(&self) -> io::Result<()> {
        let is_broken = self.0.no_flush.load(Ordering::Acquire);
        if is_broken { Err(io::Error::from_raw_os_error(5)) } else { Ok(()) }
    }
}
