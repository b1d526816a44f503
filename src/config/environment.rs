//! What the configuration may see of the world: variables, files, processors, time. A parameter, so that a
//! test needs neither global state nor files.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::num::NonZeroUsize;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::clock::{Clock, Timestamp};
use crate::config::sources::Sources;

/// Variables, files, processors and time. Files that were not given are read from the disk.
pub struct Environment {
    variables: BTreeMap<OsString, OsString>,
    files: BTreeMap<PathBuf, String>,
    parallelism: NonZeroUsize,
    secrets: Secrets,
    clock: Clock,
    /// What was read from the disk so far.
    sources: Mutex<Sources>,
}

/// May the files and variables that hold secrets be looked at?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Secrets {
    Here,
    Elsewhere,
}

impl Environment {
    /// What this process was started with. The processors are those that its cgroup may use.
    pub fn of_this_process() -> Self {
        // vars() would panic on a variable that is not UTF-8.
        let variables = env::vars_os().collect();
        let parallelism = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self { variables, parallelism, ..Self::empty() }
    }

    /// No variables, one processor, the machine's time.
    pub fn empty() -> Self {
        Self {
            variables: BTreeMap::new(),
            files: BTreeMap::new(),
            parallelism: NonZeroUsize::MIN,
            secrets: Secrets::Here,
            clock: Clock::System,
            sources: Mutex::default(),
        }
    }

    pub fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }

    /// `text` stands in for what the disk holds at `path`.
    pub fn with_file(mut self, path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        self.files.insert(path.into(), text.into());
        self
    }

    pub fn with_parallelism(mut self, parallelism: NonZeroUsize) -> Self {
        self.parallelism = parallelism;
        self
    }

    /// What is to be good now is so by `clock`.
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Secrets are not here, so nobody looks for them. What is loaded so can be checked, not started: it has
    /// none of the sealing keys.
    pub fn without_secrets(mut self) -> Self {
        self.secrets = Secrets::Elsewhere;
        self
    }

    pub(super) fn has_secrets(&self) -> bool {
        self.secrets == Secrets::Here
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn parallelism(&self) -> NonZeroUsize {
        self.parallelism
    }

    /// `None` if unset; the error if it is not UTF-8.
    pub(super) fn variable(&self, name: &str) -> Option<Result<&str, NotText>> {
        self.variables
            .get(name.as_ref() as &std::ffi::OsStr)
            .map(|value| value.to_str().ok_or(NotText))
    }

    /// The text at `path`, or what is wrong with it as a fragment that completes "/the/path …".
    pub(super) fn read(&self, path: &Path) -> Result<String, String> {
        if let Some(text) = self.files.get(path) {
            return Ok(text.clone());
        }
        let read = read_from_disk(path);
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        sources.note(path, read.as_deref().ok());
        read.map_err(|error| tell(&error))
    }

    /// The files that were read from the disk, and those that could not be.
    pub fn sources(self) -> Sources {
        self.sources.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// May every user of this machine read the file? In what a container is given as its secrets there are no
    /// others, and both Docker and Kubernetes make such files readable for all by default.
    pub(super) fn is_open_to_all(&self, path: &Path) -> bool {
        let is_mounted_secret = path.starts_with("/run/secrets")
            || path.starts_with("/var/run/secrets")
            || path.parent().is_some_and(|folder| folder.join("..data").exists());
        let is_given = self.files.contains_key(path);
        !is_given && !is_mounted_secret && others_may_read(path)
    }
}

impl fmt::Debug for Environment {
    // Values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment")
            .field("parallelism", &self.parallelism)
            .finish_non_exhaustive()
    }
}

/// The variable is set, but not to UTF-8.
#[derive(Clone, Copy, Debug)]
pub(super) struct NotText;

pub(super) fn read_from_disk(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    // One byte more than is allowed tells a longer file, even one without an end.
    let read = File::open(path)?.take(LONGEST_FILE + 1).read_to_string(&mut text)?;
    if u64::try_from(read).is_ok_and(|read| read <= LONGEST_FILE) {
        Ok(text)
    } else {
        Err(io::ErrorKind::FileTooLarge.into())
    }
}

fn others_may_read(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
}

fn tell(error: &io::Error) -> String {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "io::ErrorKind grows with the standard library"
    )]
    match error.kind() {
        io::ErrorKind::NotFound => "does not exist".to_owned(),
        io::ErrorKind::PermissionDenied => "may not be read by this process".to_owned(),
        io::ErrorKind::IsADirectory => "is a directory".to_owned(),
        io::ErrorKind::InvalidData => "is not UTF-8 text".to_owned(),
        io::ErrorKind::FileTooLarge => "is longer than 1 MiB".to_owned(),
        _ => format!("can't be read: {error}"),
    }
}

/// Bytes: 1 MiB.
const LONGEST_FILE: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_variable() {
        let environment = Environment::empty().with_variable("PASSWORD", "s3cr3t");

        assert!(!format!("{environment:?}").contains("s3cr3t"));
    }

    #[test]
    fn a_file_is_open_to_all_unless_it_is_a_containers_secret() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        fs::write(&file, "x").unwrap();
        let is_open = |mode| {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            Environment::empty().is_open_to_all(&file)
        };

        assert!(is_open(0o644));
        assert!(!is_open(0o640) && !is_open(0o600));
        // As Kubernetes mounts a Secret.
        fs::create_dir(folder.path().join("..data")).unwrap();
        assert!(!is_open(0o644));
    }

    #[test]
    fn a_file_without_an_end_is_refused() {
        assert!(Environment::empty().read(Path::new("/dev/zero")).is_err());
    }
}
