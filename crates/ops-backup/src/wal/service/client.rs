//! The client of a WAL service: small and blocking, because the server starts one for each file.
//!
//! It finds the service by the WAL directory alone. `None` means that there is no service, or that it went away: the caller
//! then does the work itself, which is always right, because pushes and fetches can be repeated.
//!
//! ```no_run
//! use std::path::Path;
//! use ops_backup::wal::service::client;
//!
//! let path = Path::new("pg_wal/000000010000000000000001");
//! match client::push(path, None) {
//!     Some(Ok(_)) => {}        // durable
//!     Some(Err(_error)) => {}  // the service says why not
//!     None => {}               // call wal::push
//! }
//! ```

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::socket;
use super::wire::{self, Reply, Request};
use crate::error::Result;
use crate::wal::{Fetched, Pushed};

/// A service that is silent for longer is taken for dead: it says every two seconds that it lives.
const SILENCE: Duration = Duration::from_secs(20);

/// Asks the service of the directory of `path` to store that file; success means that it is durable.
///
/// # Errors
/// As [`push`](crate::wal::push()), as the service told it.
pub fn push(path: &Path, socket_directory: Option<&Path>) -> Option<Result<Pushed>> {
    let request = Request::Push { name: path.file_name()?.to_str()?.to_owned() };
    match ask(path.parent()?, socket_directory, &request)? {
        Reply::Stored => Some(Ok(Pushed::Stored)),
        Reply::AlreadyThere => Some(Ok(Pushed::AlreadyThere)),
        Reply::Failed { code, message, cause } => Some(Err(wire::error(&code, message, cause))),
        Reply::Written | Reply::Absent | Reply::Unknown => None,
    }
}

/// Asks the service of the directory of `to` to write the WAL file `name` there.
///
/// # Errors
/// As [`fetch`](crate::wal::fetch()), as the service told it.
pub fn fetch(name: &str, to: &Path, socket_directory: Option<&Path>) -> Option<Result<Fetched>> {
    let request = Request::Fetch { name: name.to_owned(), to: to.file_name()?.to_str()?.to_owned() };
    match ask(to.parent()?, socket_directory, &request)? {
        Reply::Written => Some(Ok(Fetched::Written)),
        Reply::Absent => Some(Ok(Fetched::Absent)),
        Reply::Failed { code, message, cause } => Some(Err(wire::error(&code, message, cause))),
        Reply::Stored | Reply::AlreadyThere | Reply::Unknown => None,
    }
}

fn ask(wal_directory: &Path, socket_directory: Option<&Path>, request: &Request) -> Option<Reply> {
    let here = if wal_directory == Path::new("") { Path::new(".") } else { wal_directory };
    let name = socket::name(here).ok()?;
    let stream = socket::directories(socket_directory).into_iter().find_map(|directory| {
        // In a directory of others anybody could pretend to be the service.
        socket::is_private(&directory).then(|| UnixStream::connect(directory.join(&name)).ok()).flatten()
    })?;
    let peer = rustix::net::sockopt::socket_peercred(&stream).ok()?;
    if !socket::is_trusted(peer.uid.as_raw()) {
        return None;
    }
    stream.set_read_timeout(Some(SILENCE)).ok()?;
    stream.set_write_timeout(Some(SILENCE)).ok()?;
    (&stream).write_all(&request.to_line()).ok()?;
    let mut reader = BufReader::new((&stream).take(wire::LONGEST));
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line != "\n" {
            return Reply::parse(&line);
        }
    }
}
