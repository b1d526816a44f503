//! The config that `serve` runs by, when it changes: SIGHUP says so, or one of its files is another for a while. A
//! config that can't be used changes nothing.

use std::convert::Infallible;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::app::{ReloadFault, Running};
use crate::config::{self, Config, Environment, Problems, Sources};

/// Waits for changes.
#[derive(Debug)]
pub struct Watch {
    path: PathBuf,
    hangup: Signal,
    /// What was last read, whatever came of it.
    known: Sources,
    /// What was found in the same files since, if it is something else.
    found: Option<Sources>,
    /// Looks until what was refused for a reason that may be over is tried again.
    again_in: Option<u32>,
}

/// Why a config is read.
enum Why {
    Signal,
    Changed(Vec<PathBuf>),
    Again,
}

/// What was read at one moment.
#[derive(Debug)]
pub struct Loaded {
    pub config: Result<Config, Problems>,
    pub sources: Sources,
}

/// Read the config at `path`, and which files it is made of.
pub fn load(path: &std::path::Path) -> Loaded {
    let environment = Environment::of_this_process();
    let config = config::load(path, &environment);
    Loaded { config, sources: environment.sources() }
}

impl Watch {
    /// To be called inside the runtime. `known` is what is served by.
    pub fn over(path: PathBuf, known: Sources) -> io::Result<Self> {
        let hangup = signal(SignalKind::hangup())?;
        Ok(Self { path, hangup, known, found: None, again_in: None })
    }

    /// Have `running` serve by what the config says at any time.
    pub async fn keep(mut self, running: &Running) -> Infallible {
        loop {
            let why = self.change().await;
            let path = self.path.clone();
            // A disk that hangs stops nothing else.
            let Ok(Loaded { config, sources }) = spawn_blocking(move || load(&path)).await else {
                continue;
            };
            (self.known, self.found, self.again_in) = (sources, None, None);
            match config {
                Ok(config) => self.take_on(running, config, &why).await,
                Err(problems) => tracing::error!(
                    %problems,
                    whose_fault = "us",
                    "the changed config can't be used: the old one stays"
                ),
            }
        }
    }

    async fn take_on(&mut self, running: &Running, config: Config, why: &Why) {
        match running.reload(config).await {
            Ok(left) => {
                let left = (!left.is_empty()).then(|| left.join(" "));
                tracing::info!(because = why.told(), waits_for_restart = left, "config reloaded");
            }
            Err(fault) => self.note_refusal(&fault),
        }
    }

    fn note_refusal(&mut self, fault: &ReloadFault) {
        self.again_in = fault.is_passing().then_some(LOOKS_BETWEEN_TRIES);
        tracing::error!(
            %fault,
            will_try_again = fault.is_passing(),
            whose_fault = "us",
            "the changed config can't be used: the old one stays"
        );
    }

    /// Until there is a reason to read the config again.
    async fn change(&mut self) -> Why {
        loop {
            tokio::select! {
                Some(()) = self.hangup.recv() => return Why::Signal,
                () = sleep(PAUSE) => {}
            }
            if let Some(why) = self.look().await {
                return why;
            }
        }
    }

    /// A file that is being written is another at each look: it counts once it has been the same at two.
    async fn look(&mut self) -> Option<Why> {
        let known = self.known.clone();
        let now = spawn_blocking(move || known.read_again()).await.ok()?;
        if now == self.known {
            self.found = None;
            self.again_in = self.again_in.map(|looks| looks.saturating_sub(1));
            return (self.again_in == Some(0)).then_some(Why::Again);
        }
        if self.found.as_ref() != Some(&now) {
            self.found = Some(now);
            return None;
        }
        Some(Why::Changed(now.unlike(&self.known).map(PathBuf::from).collect()))
    }
}

impl Why {
    fn told(&self) -> String {
        match self {
            Self::Signal => "SIGHUP".to_owned(),
            Self::Changed(paths) => {
                let paths: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
                format!("changed: {}", paths.join(" "))
            }
            Self::Again => "tried again".to_owned(),
        }
    }
}

/// Between two looks at the files.
const PAUSE: Duration = Duration::from_secs(2);
const LOOKS_BETWEEN_TRIES: u32 = 15;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::idp::DiscoveryFault;

    fn watch(path: &Path) -> Watch {
        Watch::over(path.to_owned(), load(path).sources).unwrap()
    }

    fn reason(why: Option<Why>) -> Option<String> {
        why.map(|why| why.told())
    }

    /// Fault 35
    #[tokio::test]
    async fn a_file_that_is_being_written_is_not_read_before_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        fs::write(&path, "before").unwrap();
        let mut watch = watch(&path);
        assert_eq!(reason(watch.look().await), None);

        for text in ["", "aft", "after"] {
            fs::write(&path, text).unwrap();
            assert_eq!(reason(watch.look().await), None, "{text:?}");
        }

        let changed = format!("changed: {}", path.display());
        assert_eq!(reason(watch.look().await), Some(changed));
    }

    #[tokio::test]
    async fn a_file_that_is_put_back_was_never_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        fs::write(&path, "before").unwrap();
        let mut watch = watch(&path);

        for text in ["after", "before", "after"] {
            fs::write(&path, text).unwrap();
            assert_eq!(reason(watch.look().await), None, "{text:?}");
        }
    }

    #[tokio::test]
    async fn only_what_may_be_over_soon_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        let looks = |watch: Watch, count: u32| async move {
            let mut watch = watch;
            for _ in 0..count {
                assert_eq!(reason(watch.look().await), None);
            }
            watch
        };
        let (mut passing, mut lasting) = (watch(&path), watch(&path));

        passing.note_refusal(&ReloadFault::Idp(DiscoveryFault::NoKeys.into()));
        lasting.note_refusal(&ReloadFault::Unusable(crate::app::StartFault::NotBefore));

        let mut passing = looks(passing, LOOKS_BETWEEN_TRIES - 1).await;
        assert_eq!(reason(passing.look().await).as_deref(), Some("tried again"));
        looks(lasting, 2 * LOOKS_BETWEEN_TRIES).await;
    }
}
