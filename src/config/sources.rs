//! The files that a config was made of, to notice that one of them is another now.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::config::environment;
use crate::secret;

/// Files and what they held, in digest: nothing of a secret is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources(BTreeMap<PathBuf, Held>);

/// `None`: nothing that could be read.
type Held = Option<[u8; 16]>;

impl Sources {
    /// Of what is no file, a pipe say, nobody can tell without waiting whether it is another now.
    pub(super) fn note(&mut self, path: &Path, text: Option<&str>) {
        if path.is_file() || !path.exists() {
            self.0.insert(path.to_owned(), held(text));
        }
    }

    /// What is in the same files now.
    pub fn read_again(&self) -> Self {
        let read = |path: &PathBuf| held(environment::read_from_disk(path).ok().as_deref());
        Self(self.0.keys().map(|path| (path.clone(), read(path))).collect())
    }

    /// Those that `other` found to be something else.
    pub fn unlike<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a Path> {
        let is_other = |(path, held): &(&PathBuf, &Held)| other.0.get(*path) != Some(*held);
        self.0.iter().filter(is_other).map(|(path, _)| path.as_path())
    }
}

fn held(text: Option<&str>) -> Held {
    text.map(|text| secret::short_hash(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_that_changed_came_or_went_is_noticed_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let [same, changed, gone, new] =
            ["same", "changed", "gone", "new"].map(|name| folder.path().join(name));
        let mut sources = Sources::default();
        for path in [&same, &changed, &gone] {
            fs::write(path, "before").unwrap();
            sources.note(path, Some("before"));
        }
        sources.note(&new, None);
        assert_eq!(sources.read_again(), sources);

        fs::write(&changed, "after").unwrap();
        fs::remove_file(&gone).unwrap();
        fs::write(&new, "").unwrap();

        let now = sources.read_again();
        assert_eq!(now.unlike(&sources).collect::<Vec<_>>(), [&changed, &gone, &new]);
    }
}
