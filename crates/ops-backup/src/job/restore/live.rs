//! Whether a server uses a data directory. Each sign is looked for by itself: any of them may be missing, because a
//! person removed it or because the server runs in another container.
//!
//! Sources: `utils/init/miscinit.c` and `storage/ipc` of PostgreSQL 14 to 18 for the lines of `postmaster.pid` and of the
//! lock files of sockets.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, test_kill_process};

/// Directories in which servers put their sockets where nobody says otherwise.
const SOCKET_DIRECTORIES: [&str; 3] = ["/run/postgresql", "/var/run/postgresql", "/tmp"];

/// Returns the first sign of life, in words that continue "it".
pub(super) fn sign_of_life(directory: &Path) -> Option<String> {
    let canonical = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
    let lock = PostmasterPid::read(directory);
    let by_lock = lock.as_ref().and_then(|lock| lock.sign(&canonical));
    by_lock.or_else(|| process_inside(&canonical)).or_else(|| socket_of(&canonical))
}

/// What `postmaster.pid` says; lines that are missing or odd are `None`.
struct PostmasterPid {
    process: Option<i32>,
    socket: Option<PathBuf>,
    /// Key and identifier of the System V shared memory.
    memory: Option<(String, String)>,
}

impl PostmasterPid {
    fn read(directory: &Path) -> Option<Self> {
        let text = fs::read_to_string(directory.join("postmaster.pid")).ok()?;
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let line = |number: usize| lines.get(number).copied().filter(|line| !line.is_empty());
        let port: Option<u16> = line(3).and_then(|port| port.parse().ok());
        let socket =
            line(4).zip(port).map(|(folder, port)| Path::new(folder).join(format!(".s.PGSQL.{port}")));
        let mut memory = line(6).unwrap_or_default().split_whitespace().map(str::to_owned);
        Some(PostmasterPid {
            // A single-user server writes a negative number.
            process: line(0).and_then(|pid| pid.parse::<i32>().ok()).map(i32::abs),
            socket,
            memory: memory.next().zip(memory.next()),
        })
    }

    fn sign(&self, canonical: &Path) -> Option<String> {
        if let Some(pid) = self.process.filter(|pid| is_server(*pid)) {
            return Some(format!("holds a cluster that is running (process {pid}, from postmaster.pid)"));
        }
        if let Some((key, id)) = &self.memory
            && is_attached(key, id)
        {
            return Some(format!("holds a cluster whose shared memory (key {key}, id {id}) is still in use"));
        }
        let socket = self.socket.as_ref()?;
        // Another server may have taken the port over.
        let owner = socket_owner(socket);
        let is_ours = owner.as_ref().is_none_or(|(_, data)| same(data, canonical));
        (is_ours && UnixStream::connect(socket).is_ok())
            .then(|| format!("holds a cluster that is running (it answers on {})", socket.display()))
    }
}

/// A process of this number that is a server. The number of a server that is gone may belong to anything by now.
fn is_server(pid: i32) -> bool {
    let Some(id) = Pid::from_raw(pid) else { return false };
    let is_there = !matches!(test_kill_process(id), Err(rustix::io::Errno::SRCH));
    is_there && fs::read_to_string(format!("/proc/{pid}/comm")).map_or(true, |name| is_server_name(&name))
}

fn is_server_name(name: &str) -> bool {
    name.contains("postgres") || name.contains("postmaster")
}

fn is_attached(key: &str, id: &str) -> bool {
    let Ok(table) = fs::read_to_string("/proc/sysvipc/shm") else { return false };
    table.lines().skip(1).any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.first() == Some(&key)
            && fields.get(1) == Some(&id)
            && fields.get(6).is_some_and(|attached| *attached != "0")
    })
}

/// All processes of a server work in its data directory.
fn process_inside(canonical: &Path) -> Option<String> {
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == canonical)
            && fs::read_to_string(entry.path().join("comm")).is_ok_and(|name| is_server_name(&name))
        {
            return Some(format!("holds a cluster that is running (process {pid} works in it)"));
        }
    }
    None
}

/// The lock file of a socket names the data directory of its server, also where `postmaster.pid` was removed.
fn socket_of(canonical: &Path) -> Option<String> {
    for folder in SOCKET_DIRECTORIES {
        let Ok(entries) = fs::read_dir(folder) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let Some(socket) = name.strip_suffix(".lock").filter(|name| name.starts_with(".s.PGSQL.")) else {
                continue;
            };
            let socket = Path::new(folder).join(socket);
            let Some((pid, data)) = socket_owner(&socket) else { continue };
            if same(&data, canonical) && is_server(pid) {
                return Some(format!(
                    "holds a cluster that is running (process {pid}, socket {})",
                    socket.display()
                ));
            }
        }
    }
    None
}

/// Returns process and data directory of the server that has locked `socket`.
fn socket_owner(socket: &Path) -> Option<(i32, PathBuf)> {
    let mut lock = socket.as_os_str().to_owned();
    lock.push(".lock");
    let text = fs::read_to_string(lock).ok()?;
    let mut lines = text.lines();
    let pid = lines.next()?.trim().parse::<i32>().ok()?.abs();
    Some((pid, PathBuf::from(lines.next()?)))
}

fn same(data: &Path, canonical: &Path) -> bool {
    data.canonicalize().is_ok_and(|data| data == canonical)
}
