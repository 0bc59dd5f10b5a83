//! What `/proc` says of processes, and signals that hit exactly the one that was seen.

use rustix::param::clock_ticks_per_second;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, pidfd_send_signal, waitpid};
use rustix::time::{ClockId, clock_gettime};
use std::io::Read as _;

/// The variable that marks every process of an attempt.
pub(crate) const MARKER: &str = "OPS_GATES_ATTEMPT";

/// What `/proc/PID/stat` says that matters here (proc(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    state: u8,
    pub(crate) parent: u32,
    pub(crate) group: u32,
    pub(super) session: u32,
    /// In clock ticks after boot; with the pid it names a process for ever.
    pub(crate) born: u64,
}

/// The marker of this attempt behind those of the run that we may ourselves be a gate of.
pub(crate) fn nested(marker: &str) -> String {
    match std::env::var(MARKER) {
        Ok(outer) => format!("{outer}:{marker}"),
        Err(_) => marker.to_owned(),
    }
}

impl Process {
    /// A process, where it is there.
    pub(crate) fn find(pid: u32) -> Option<Self> {
        stat(pid)
    }

    pub(crate) fn is_dead(&self) -> bool {
        matches!(self.state, b'Z' | b'X')
    }

    fn parse(pid: u32, stat: &str) -> Option<Self> {
        // The name in parentheses may itself hold spaces and parentheses.
        let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace();
        let state = *fields.next()?.as_bytes().first()?;
        let [parent, group, session] =
            [fields.next()?, fields.next()?, fields.next()?].map(|field| field.parse().ok());
        // The 22nd field, of which the first six are behind us.
        let born = fields.nth(15)?.parse().ok()?;
        Some(Self { pid, state, parent: parent?, group: group?, session: session?, born })
    }
}

pub(super) fn stat(pid: u32) -> Option<Process> {
    // One read gives all of it; the name may be any bytes.
    let mut stat = [0; 1024];
    let length = std::fs::File::open(format!("/proc/{pid}/stat")).ok()?.read(&mut stat).ok()?;
    Process::parse(pid, &String::from_utf8_lossy(&stat[..length]))
}

/// Every process but us that was not born before a time.
pub(super) fn processes(born: u64) -> Vec<Process> {
    let us = std::process::id();
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != us)
        .filter_map(stat)
        .filter(|process| process.born >= born)
        .collect()
}

/// The environment of a process. One that is in the middle of `exec` has none for a moment, and is looked at again; else a
/// program that starts others without end would have one unseen in the very look that ends the others.
fn environment(pid: u32) -> Vec<u8> {
    for _ in 0..20 {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        if !environment.is_empty() || !is_in_exec(pid) {
            return environment;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    Vec::new()
}

/// Whether a process has neither arguments nor a reason not to: threads of the kernel, the children of process 2, and the
/// dead have none.
fn is_in_exec(pid: u32) -> bool {
    let has_no_arguments = std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.is_empty());
    has_no_arguments
        && stat(pid).is_some_and(|process| !process.is_dead() && process.parent != 2 && process.pid > 2)
}

pub(super) fn carries(pid: u32, marker: &str) -> bool {
    markers(&environment(pid))
        .is_some_and(|markers| markers.split(|byte| *byte == b':').any(|it| it == marker.as_bytes()))
}

/// Whether a process belongs to another run than this one.
pub(crate) fn is_foreign(pid: u32, run: &str) -> bool {
    markers(&environment(pid)).is_some_and(|markers| !is_of_run(markers, run))
}

/// Whether a process carries the mark of any attempt of a run.
pub(crate) fn belongs_to(pid: u32, run: &str) -> bool {
    markers(&environment(pid)).is_some_and(|markers| is_of_run(markers, run))
}

/// The leaders of process groups that carry a mark of a run: commands, without what they started beside themselves.
pub(crate) fn leaders_of(run: &str) -> Vec<Process> {
    let leads = |process: &Process| process.pid == process.group && !process.is_dead();
    processes(0).into_iter().filter(|process| leads(process) && belongs_to(process.pid, run)).collect()
}

fn is_of_run(markers: &[u8], run: &str) -> bool {
    let ours = |marker: &[u8]| marker.strip_prefix(run.as_bytes()).is_some_and(|rest| rest.starts_with(b"/"));
    markers.split(|byte| *byte == b':').any(ours)
}

/// The children of a process, where the kernel lists them.
pub(crate) fn children(pid: u32) -> Option<Vec<u32>> {
    let mut children = Vec::new();
    for thread in std::fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        match std::fs::read_to_string(thread.ok()?.path().join("children")) {
            Ok(list) => children.extend(pids(&list)),
            // A thread that has just ended has none; where the file is never there, nothing is known.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {}
            Err(_) => return None,
        }
    }
    Some(children)
}

/// The children of our main thread, where the kernel lists them. Every orphan that comes to us is among them: the kernel
/// gives it to the first of our threads that is not ending (`find_new_reaper` in its kernel/exit.c), and the main one ends
/// with the process.
pub(super) fn children_of_main_thread() -> Option<Vec<u32>> {
    let us = std::process::id();
    Some(pids(&std::fs::read_to_string(format!("/proc/self/task/{us}/children")).ok()?).collect())
}

fn pids(list: &str) -> impl Iterator<Item = u32> {
    list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok())
}

/// What [`Process::born`] is at least for every process that starts from now on.
pub(super) fn now() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let (seconds, nanoseconds) = (now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs());
    let ticks = clock_ticks_per_second();
    seconds * ticks + nanoseconds * ticks / 1_000_000_000
}

fn markers(environment: &[u8]) -> Option<&[u8]> {
    environment
        .split(|byte| *byte == 0)
        .find_map(|pair| pair.strip_prefix(MARKER.as_bytes())?.strip_prefix(b"="))
}

/// Sends a signal to exactly this process: the handle is opened first and the birth compared after, so that a reused pid
/// cannot be hit.
pub(crate) fn signal(process: &Process, signal: Signal) -> rustix::io::Result<()> {
    let gone = rustix::io::Errno::SRCH;
    let pid = i32::try_from(process.pid).ok().and_then(Pid::from_raw).ok_or(gone)?;
    let handle = pidfd_open(pid, PidfdFlags::empty())?;
    if stat(process.pid).is_none_or(|now| now.born != process.born) {
        return Err(gone);
    }
    pidfd_send_signal(handle, signal)
}

/// Sends a signal to each. Who is gone already needs none.
pub(super) fn signal_all(processes: &[Process], sent: Signal) {
    for process in processes {
        let _ = signal(process, sent);
    }
}

/// Collects the exit status of a dead process that was adopted by us.
pub(super) fn bury(process: &Process) {
    if process.is_dead()
        && process.parent == std::process::id()
        && let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw)
    {
        let _ = waitpid(Some(pid), WaitOptions::NOHANG);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_whatever_the_name_of_the_program() {
        for name in ["sh", "a b", "x) S 1 1 1", "((("] {
            let line = format!("42 ({name}) S 7 40 39 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 1 2");
            let expected = Process { pid: 42, state: b'S', parent: 7, group: 40, session: 39, born: 98765 };
            assert_eq!(Process::parse(42, &line), Some(expected), "{name}");
        }
        assert_eq!(Process::parse(42, "42 (sh"), None);
        assert_eq!(Process::parse(42, ""), None);
    }

    #[test]
    fn no_process_is_born_before_its_start() {
        for _ in 0..50 {
            let before = now();
            let mut child = std::process::Command::new("/bin/true").spawn().expect("a program");
            let born = stat(child.id()).expect("it was not waited for").born;
            child.wait().expect("a child");
            assert!((before..=now()).contains(&born), "{before} {born} {}", now());
        }
    }

    #[test]
    fn our_own_stat_can_be_read() {
        let own = stat(std::process::id()).expect("proc is mounted");
        assert_eq!(own.parent, std::os::unix::process::parent_id());
    }

    #[test]
    fn a_marker_is_found_among_nested_ones_and_not_in_a_longer_one() {
        let environment = b"A=1\0OPS_GATES_ATTEMPT=run1/a:run2/b\0B=2\0";
        let found = |marker: &str| {
            markers(environment)
                .is_some_and(|it| it.split(|byte| *byte == b':').any(|it| it == marker.as_bytes()))
        };
        assert!(found("run1/a") && found("run2/b") && !found("run2") && !found("un1/a"));
    }
}
