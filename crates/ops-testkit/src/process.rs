//! Small helpers around processes: run a command, look at a process tree, find a free port. No server stands here.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Command, Output};

use crate::error::{Error, ErrorKind};

/// Runs a command to its end; a status other than 0 is an error that carries what was printed.
pub(crate) fn run(command: &mut Command) -> Result<Output, Error> {
    let program = command.get_program().to_owned();
    let output = command.output().map_err(|e| Error::io("run", Path::new(&program), e))?;
    if output.status.success() {
        return Ok(output);
    }
    let message = format!("{} failed with {}", program.display(), output.status);
    Err(Error::new(ErrorKind::Command, message).with_log(String::from_utf8_lossy(&output.stderr)))
}

/// Returns a loopback port that nobody listened on a moment ago.
///
/// Another process may take it before it is used: whoever starts a server tries again on "address in use".
///
/// # Errors
/// [`ErrorKind::Io`] when the machine has no free port or no loopback interface.
pub fn free_port() -> Result<u16, Error> {
    free_ports::<1>().map(|[port]| port)
}

/// Returns different ports, each as [`free_port`].
pub(crate) fn free_ports<const N: usize>() -> Result<[u16; N], Error> {
    let io = |e| Error::io("bind", Path::new("127.0.0.1:0"), e);
    // All are open at once, so that none is given twice.
    let mut listeners = Vec::with_capacity(N);
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(io)?;
        *port = listener.local_addr().map_err(io)?.port();
        listeners.push(listener);
    }
    Ok(ports)
}

/// Lists all descendants of a process, parents first.
pub(crate) fn descendants(root: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, stat(pid)?.1)))
        .collect();
    let mut found = vec![root];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(parents.iter().filter(|(_, ppid)| *ppid == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found.split_off(1)
}

/// Says whether a process runs. A zombie does not: where PID 1 reaps late, it may stay for minutes.
#[must_use]
pub fn is_running(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| state != 'Z' && state != 'X')
}

/// Reads state and parent of a process (proc(5), `/proc/pid/stat`: the name in parentheses may contain anything).
fn stat(pid: u32) -> Option<(char, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// Returns 20 hexadecimal digits that nobody can guess.
pub(crate) fn random_hex() -> Result<String, Error> {
    let path = Path::new("/dev/urandom");
    let mut bytes = [0_u8; 10];
    let read = fs::File::open(path).and_then(|mut file| io::Read::read_exact(&mut file, &mut bytes));
    read.map_err(|e| Error::io("read", path, e))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Percent-encodes all but the unreserved characters of RFC 3986, section 2.3.
pub(crate) fn percent_encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_encoding_keeps_only_unreserved_characters() {
        for (plain, encoded) in [
            ("aZ09-._~", "aZ09-._~"),
            ("%", "%25"),
            (" ", "%20"),
            ("'\"@/:", "%27%22%40%2F%3A"),
            ("é", "%C3%A9"),
        ] {
            assert_eq!(percent_encode(plain), encoded);
        }
    }

    #[test]
    fn grandchildren_are_descendants() {
        let mut shell = Command::new("sh").args(["-c", "sh -c 'sleep 60; :' & echo; wait"]).spawn().unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while descendants(shell.id()).len() < 2 && std::time::Instant::now() < deadline {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let found = descendants(shell.id());
        shell.kill().unwrap();
        shell.wait().unwrap();
        assert_eq!(found.len(), 2, "a shell and its sleep: {found:?}");
        for pid in found {
            assert!(is_running(pid));
            let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        }
    }
}
