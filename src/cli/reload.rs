//! The config that `serve` runs by, when it changes: SIGHUP says so, or one of its files is another for a while. A
//! config that can't be used changes nothing.

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::app::Running;
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
    /// Why the config that is there is not what is served by, and for how many looks that has been so.
    refused: Option<(String, u32)>,
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
pub fn load(path: &Path) -> Loaded {
    let environment = Environment::of_this_process();
    let config = config::load(path, &environment);
    Loaded { config, sources: environment.sources() }
}

impl Watch {
    /// To be called inside the runtime. `known` is what is served by.
    pub fn over(path: PathBuf, known: Sources) -> io::Result<Self> {
        let hangup = signal(SignalKind::hangup())?;
        Ok(Self { path, hangup, known, found: None, refused: None })
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
            (self.known, self.found) = (sources, None);
            match config {
                Ok(config) => self.take_on(running, config, &why).await,
                Err(problems) => self.note_refusal(problems.to_string(), &why),
            }
        }
    }

    async fn take_on(&mut self, running: &Running, config: Config, why: &Why) {
        match running.reload(config).await {
            Ok(left) => {
                self.refused = None;
                let left = (!left.is_empty()).then(|| left.join(" "));
                tracing::info!(because = why.told(), waits_for_restart = left, "config reloaded");
            }
            Err(fault) => self.note_refusal(fault.to_string(), why),
        }
    }

    /// Told at once, and of what is tried again each half hour: meanwhile nothing else of the config changes either.
    fn note_refusal(&mut self, problems: String, why: &Why) {
        let looks = match (&self.refused, why) {
            (Some((told, looks)), Why::Again)
                if *told == problems && *looks < LOOKS_BETWEEN_LINES =>
            {
                *looks
            }
            (_, Why::Signal | Why::Changed(_) | Why::Again) => {
                tracing::error!(
                    problems,
                    whose_fault = "us",
                    "the changed config can't be used: the old one stays"
                );
                0
            }
        };
        self.refused = Some((problems, looks));
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
            return self.is_time_to_try_again().then_some(Why::Again);
        }
        if self.found.as_ref() != Some(&now) {
            self.found = Some(now);
            return None;
        }
        Some(Why::Changed(now.unlike(&self.known).map(PathBuf::from).collect()))
    }

    /// Whatever it was refused for may be over without a change of the files: an IdP is back, a certificate begins.
    fn is_time_to_try_again(&mut self) -> bool {
        let Some((_, looks)) = &mut self.refused else { return false };
        *looks += 1;
        looks.is_multiple_of(LOOKS_BETWEEN_TRIES)
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
const LOOKS_BETWEEN_LINES: u32 = 900;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

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

    /// The files need not change for it to be over.
    #[tokio::test]
    async fn what_was_refused_is_tried_again_each_half_minute() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        let mut watch = watch(&path);

        watch.note_refusal("idp: does not answer".to_owned(), &Why::Again);

        for _ in 0..3 {
            for _ in 1..LOOKS_BETWEEN_TRIES {
                assert_eq!(reason(watch.look().await), None);
            }
            assert_eq!(reason(watch.look().await).as_deref(), Some("tried again"));
            watch.note_refusal("idp: does not answer".to_owned(), &Why::Again);
        }
    }

    #[tokio::test]
    async fn one_reason_is_told_each_half_hour_and_another_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut watch = watch(&folder.path().join("config.yaml"));
        let looks = |watch: &Watch| watch.refused.as_ref().unwrap().1;

        watch.note_refusal("one".to_owned(), &Why::Again);
        for _ in 0..LOOKS_BETWEEN_LINES {
            assert_eq!(watch.refused.as_ref().unwrap().0, "one");
            watch.is_time_to_try_again();
        }
        assert_eq!(looks(&watch), LOOKS_BETWEEN_LINES);
        watch.note_refusal("one".to_owned(), &Why::Again);
        assert_eq!(looks(&watch), 0, "told again");
        watch.is_time_to_try_again();
        watch.note_refusal("another".to_owned(), &Why::Again);
        assert_eq!(looks(&watch), 0, "told at once");
        watch.is_time_to_try_again();
        watch.note_refusal("another".to_owned(), &Why::Signal);
        assert_eq!(looks(&watch), 0, "somebody waits for it");
    }
}
