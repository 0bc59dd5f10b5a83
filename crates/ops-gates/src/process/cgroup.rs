//! A control group (version 2) for a run: what is born in it cannot leave it unseen, and the kernel ends all of it at once.
//!
//! A child is born in the group of its parent, so that this process itself moves into a group below its own before the
//! first program starts, and back when the last has ended. Order of steps: the group is made; we move in; the run; we
//! move out; what is left in it is killed; the group is removed. A runner that is killed leaves the group behind with
//! all that ran, for its guardian; one that is killed in the milliseconds of moving in may leave an empty group, which
//! nobody removes.
//!
//! Only where a hierarchy of version 2 is mounted and our own group is writable (cgroups(7)): as root, in a container
//! with its own, in a unit of systemd with `Delegate=yes`.

use super::proc::{Process, stat};
use super::tree::KILL_PATIENCE;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The file whose processes are the members of a group; a pid that is written to it moves.
const MEMBERS: &str = "cgroup.procs";

/// The group of a run. Dropping it ends everything in it.
#[derive(Debug)]
pub(crate) struct Cgroup {
    path: PathBuf,
    /// Where we came from.
    outer: PathBuf,
    left: bool,
}

impl Cgroup {
    /// Makes a group below our own and moves this process into it; none where that cannot be done, or a run of this process
    /// is already in one.
    pub(crate) fn enter() -> Option<Self> {
        let outer = own_group()?;
        let name = format!("ops-gates-{}", std::process::id());
        // Two runs of one process would end each other's programs.
        if outer.file_name().is_some_and(|own| own.to_str() == Some(&name)) {
            return None;
        }
        let path = outer.join(name);
        fs::create_dir(&path).ok()?;
        // Kernels before 5.14 know no such file, and can only kill one by one.
        if !path.join("cgroup.kill").exists() || move_us(&path).is_err() {
            let _ = fs::remove_dir(&path);
            return None;
        }
        Some(Self { path, outer, left: false })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Moves out, and ends all that is left. Returns how many processes that were.
    pub(crate) fn end(mut self) -> usize {
        self.leave()
    }

    fn leave(&mut self) -> usize {
        if self.left {
            return 0;
        }
        self.left = true;
        if move_us(&self.outer).is_err() {
            // A kill would hit us. Our own group stays, and what is in it is found in the other ways.
            return 0;
        }
        end(&self.path)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Kills everything in a group and below it, and removes it. Returns how many processes that were.
pub(crate) fn end(group: &Path) -> usize {
    let count = members(group).iter().filter(|process| !process.is_dead()).count();
    let start = Instant::now();
    while is_populated(group) && start.elapsed() < KILL_PATIENCE {
        let _ = fs::write(group.join("cgroup.kill"), "1");
        std::thread::sleep(Duration::from_millis(1));
    }
    remove(group);
    count
}

/// The processes of a group and of those below it.
pub(crate) fn members(group: &Path) -> Vec<Process> {
    let text = fs::read_to_string(group.join(MEMBERS)).unwrap_or_default();
    let own = text.lines().filter_map(|line| stat(line.parse().ok()?));
    own.chain(below(group).iter().flat_map(|group| members(group))).collect()
}

fn is_populated(group: &Path) -> bool {
    let events = fs::read_to_string(group.join("cgroup.events")).unwrap_or_default();
    events.lines().any(|line| line == "populated 1")
}

fn below(group: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(group).into_iter().flatten().filter_map(Result::ok);
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.map(|entry| entry.path()).collect()
}

/// The inner ones first; a group with members or groups cannot be removed.
fn remove(group: &Path) {
    below(group).iter().for_each(|group| remove(group));
    let _ = fs::remove_dir(group);
}

fn move_us(group: &Path) -> io::Result<()> {
    fs::write(group.join(MEMBERS), std::process::id().to_string())
}

/// The folder of the group that we are in.
fn own_group() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    folder(&mounts, &groups)
}

/// The folder of a group, from `/proc/self/mountinfo` and `/proc/self/cgroup` (proc(5), cgroups(7)).
fn folder(mounts: &str, groups: &str) -> Option<PathBuf> {
    let own = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    mounts.lines().find_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        let mut fields = place.split(' ').skip(3);
        let (root, mount_point) = (fields.next()?, fields.next()?);
        let inside = Path::new(own).strip_prefix(root).ok().filter(|_| kind.starts_with("cgroup2 "))?;
        Some(Path::new(mount_point).join(inside))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_a_group_is_found() {
        let unified = "24 1 0:22 / /proc rw - proc proc rw\n30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        let hybrid = "41 31 0:38 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n42 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let part = "30 23 0:26 /docker/1f /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        for (mounts, groups, expected) in [
            (unified, "0::/user.slice/a.scope\n", Some("/sys/fs/cgroup/user.slice/a.scope")),
            (hybrid, "8:pids:/x\n0::/\n", Some("/sys/fs/cgroup/unified")),
            (hybrid, "8:pids:/x\n", None),
            (part, "0::/docker/1f/ci\n", Some("/sys/fs/cgroup/ci")),
            (part, "0::/elsewhere\n", None),
            ("24 1 0:22 / /proc rw - proc proc rw\n", "0::/\n", None),
        ] {
            assert_eq!(folder(mounts, groups), expected.map(PathBuf::from), "{mounts} {groups}");
        }
    }
}
