//! Who writes a record, and whether that process still lives as far as this machine can tell.

use serde::{Deserialize, Serialize};

/// A process on a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Host {
    pub(crate) name: String,
    /// The identity that the machine keeps over its starts; empty where the system has none.
    #[serde(default)]
    pub(crate) machine: String,
    /// Changes with every start of the machine; empty where the system has none.
    pub(crate) boot: String,
    /// The set of process numbers that `process` is one of: containers on one machine have their own.
    #[serde(default)]
    pub(crate) namespace: String,
    pub(crate) process: u32,
    /// When the process started, in ticks since the machine did: process numbers are used again.
    #[serde(default)]
    pub(crate) started: u64,
}

/// What this machine knows about the process of a [`Host`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Running,
    Gone,
    /// It is elsewhere, or cannot be looked at.
    Unknown,
}

impl Host {
    /// This process on this machine.
    pub(crate) fn this() -> Self {
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        let process = std::process::id();
        Host {
            name,
            machine: text("/etc/machine-id"),
            boot: text("/proc/sys/kernel/random/boot_id"),
            namespace: namespace.to_string_lossy().into_owned(),
            process,
            started: match process_start(process) {
                Process::Started(ticks) => ticks,
                Process::Gone | Process::Hidden => 0,
            },
        }
    }

    /// Says what became of the process, seen from `here`.
    pub(crate) fn fate(&self, here: &Host) -> Fate {
        if self.boot.is_empty() || here.boot.is_empty() {
            return Fate::Unknown;
        }
        if self.boot != here.boot {
            // The same machine, started again: no process outlives that. Images of virtual machines share their
            // identity, so the name must agree too.
            let same = !self.machine.is_empty() && self.machine == here.machine && self.name == here.name;
            return if same { Fate::Gone } else { Fate::Unknown };
        }
        if self.namespace.is_empty() || self.namespace != here.namespace {
            return Fate::Unknown;
        }
        match process_start(self.process) {
            Process::Started(ticks) if ticks == self.started => Fate::Running,
            Process::Started(_) if self.started == 0 => Fate::Unknown,
            Process::Started(_) | Process::Gone => Fate::Gone,
            Process::Hidden => Fate::Unknown,
        }
    }
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {} on {}", self.process, self.name)
    }
}

enum Process {
    Started(u64),
    Gone,
    /// There is one, and its start cannot be read.
    Hidden,
}

/// Reads `/proc/<number>/stat`, see proc(5): field 3 is the state, field 22 the start.
fn process_start(number: u32) -> Process {
    if let Ok(stat) = std::fs::read_to_string(format!("/proc/{number}/stat")) {
        // The second field is the name of the program, in parentheses, and may hold anything.
        let mut fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_ascii_whitespace();
        return match (fields.next(), fields.nth(18).and_then(|field| field.parse().ok())) {
            (Some("Z" | "X"), _) => Process::Gone,
            (_, Some(ticks)) => Process::Started(ticks),
            (_, None) => Process::Hidden,
        };
    }
    // A system can hide the processes of others.
    let number = i32::try_from(number).ok().and_then(rustix::process::Pid::from_raw);
    match number.map(rustix::process::test_kill_process) {
        Some(Err(rustix::io::Errno::SRCH)) => Process::Gone,
        _ => Process::Hidden,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_this_machine_can_see_is_judged() {
        type Change = fn(&mut Host);
        let here = Host::this();
        assert!(here.started > 0, "{here:?}");
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let gone = child.id();
        let table: [(&str, Change, Fate); 8] = [
            ("itself", |_| (), Fate::Running),
            ("a number used again", |host| host.started -= 1, Fate::Gone),
            ("no process can have the number", |host| host.process = i32::MAX as u32, Fate::Gone),
            ("another machine", |host| host.boot = "other".to_owned(), Fate::Unknown),
            (
                "this machine before its last start",
                |host| {
                    host.boot = "other".to_owned();
                    host.machine = "same".to_owned();
                },
                Fate::Gone,
            ),
            (
                "a copy of this machine",
                |host| {
                    host.boot = "other".to_owned();
                    host.machine = "same".to_owned();
                    host.name.push('2');
                },
                Fate::Unknown,
            ),
            ("another container", |host| host.namespace = "pid:[1]".to_owned(), Fate::Unknown),
            ("a system that says nothing", |host| host.boot = String::new(), Fate::Unknown),
        ];
        let here = Host { machine: "same".to_owned(), ..here };
        for (what, change, expected) in table {
            let mut host = Host { machine: "unlike".to_owned(), ..here.clone() };
            change(&mut host);
            assert_eq!(host.fate(&here), expected, "{what}");
        }
        // Ended, and not waited for: a zombie is no living process.
        while std::fs::read_to_string(format!("/proc/{gone}/stat")).is_ok_and(|stat| !stat.contains(") Z ")) {
            std::thread::yield_now();
        }
        let zombie = Host { process: gone, ..here.clone() };
        assert_eq!(zombie.fate(&here), Fate::Gone);
        child.wait().unwrap();
    }
}
