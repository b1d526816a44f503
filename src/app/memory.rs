//! How much of the memory that it may have the process has taken, as its control group tells (cgroup v2, and v1).

use std::fs;
use std::path::{Component, Path, PathBuf};

/// The control groups that the process is in, its own first.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    folders: Vec<PathBuf>,
    names: Names,
}

/// What the files are called in which a group tells of itself.
#[derive(Clone, Copy, Debug, Default)]
enum Names {
    #[default]
    V2,
    V1,
}

impl Memory {
    pub fn of_this_process() -> Self {
        let membership = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self::told_in(Path::new("/sys/fs/cgroup"), &membership)
    }

    /// By the files below `root`, of a process of which the kernel says `membership` (cgroups(7), `/proc/pid/cgroup`).
    pub fn told_in(root: &Path, membership: &str) -> Self {
        let lines =
            || membership.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
        let is_of_memory = |names: &str| names.split(',').any(|name| name == "memory");
        let v1 = lines().find(|(names, _)| is_of_memory(names)).map(|(_, path)| path);
        let v2 = lines().find(|(names, _)| names.is_empty()).map(|(_, path)| path);
        match (v1, v2) {
            (Some(path), _) => {
                Self { folders: upwards(&root.join("memory"), path), names: Names::V1 }
            }
            (None, Some(path)) => Self { folders: upwards(root, path), names: Names::V2 },
            (None, None) => Self::default(),
        }
    }

    /// Of the group that is nearest to its limit, in percent of it. `None`: none of them has one.
    pub fn used(&self) -> Option<u64> {
        self.folders.iter().filter_map(|folder| self.used_in(folder)).max()
    }

    /// What the kernel would free sooner than kill for, it does not count: pages of files that were not used lately.
    fn used_in(&self, folder: &Path) -> Option<u64> {
        let (limit, used, inactive) = match self.names {
            Names::V2 => ("memory.max", "memory.current", "inactive_file "),
            Names::V1 => ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "),
        };
        let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
        let number = |name: &str| read(name)?.trim().parse::<u64>().ok();
        // "max" is no number; v1 has the largest there is.
        let limit = number(limit).filter(|limit| (1..NO_LIMIT).contains(limit))?;
        let inactive = read("memory.stat")
            .and_then(|stat| {
                stat.lines().find_map(|line| line.strip_prefix(inactive)?.parse().ok())
            })
            .unwrap_or(0_u64);
        Some(number(used)?.saturating_sub(inactive).saturating_mul(100) / limit)
    }
}

/// The folder of `path` below `base`, and all above it down to `base`. In a container those of the host are not there,
/// and `base` itself is its own.
fn upwards(base: &Path, path: &str) -> Vec<PathBuf> {
    let within = Path::new(path.trim_start_matches('/'));
    let is_plain = within.components().all(|part| matches!(part, Component::Normal(_)));
    let within = if is_plain { within } else { Path::new("") };
    within.ancestors().map(|part| base.join(part)).collect()
}

const NO_LIMIT: u64 = 1 << 60;

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn group(root: &TempDir, path: &str, files: &[(&str, &str)]) {
        let folder = root.path().join(path);
        fs::create_dir_all(&folder).unwrap();
        for (name, text) in files {
            fs::write(folder.join(name), text).unwrap();
        }
    }

    #[test]
    fn what_is_used_is_told_by_the_group_nearest_to_its_limit() {
        let root = tempfile::tempdir().unwrap();
        let current = |mib: u64| format!("{}\n", mib * MIB);
        let stat = format!("anon 5\nfile 7\ninactive_file {}\nactive_file 9\n", 10 * MIB);
        group(
            &root,
            "pod/app",
            &[
                ("memory.max", &current(100)),
                ("memory.current", &current(60)),
                ("memory.stat", &stat),
            ],
        );
        let memory = Memory::told_in(root.path(), "0::/pod/app\n");
        assert_eq!(memory.used(), Some(50));

        group(&root, "pod", &[("memory.max", &current(200)), ("memory.current", &current(180))]);
        assert_eq!(memory.used(), Some(90));
        group(&root, "pod", &[("memory.max", "max\n")]);
        assert_eq!(memory.used(), Some(50));
        group(&root, "pod/app", &[("memory.max", "max\n")]);
        assert_eq!(memory.used(), None);
    }

    #[test]
    fn the_first_version_tells_it_in_other_files() {
        let root = tempfile::tempdir().unwrap();
        let stat = "inactive_file 1\ntotal_inactive_file 10\n";
        group(
            &root,
            "memory/a",
            &[
                ("memory.limit_in_bytes", "100\n"),
                ("memory.usage_in_bytes", "96\n"),
                ("memory.stat", stat),
            ],
        );
        let membership = "5:cpu,cpuacct:/a\n4:memory:/a\n0::/\n";
        let memory = Memory::told_in(root.path(), membership);

        assert_eq!(memory.used(), Some(86));
        group(&root, "memory/a", &[("memory.limit_in_bytes", "9223372036854771712\n")]);
        assert_eq!(memory.used(), None);
    }

    /// It sees its own group where the host has the root.
    #[test]
    fn in_a_container_the_root_is_its_own() {
        let root = tempfile::tempdir().unwrap();
        let files = [("memory.max", "100\n"), ("memory.current", "50\n"), ("memory.stat", "")];
        group(&root, "", &files);

        for membership in ["0::/", "0::/kubepods/pod1/2", "0::/../other"] {
            assert_eq!(Memory::told_in(root.path(), membership).used(), Some(50), "{membership}");
        }
        assert_eq!(Memory::told_in(root.path(), "").used(), None);
    }
}
