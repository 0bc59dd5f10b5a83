//! A log file that is turned over by size and age.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::LineWriter;

/// When a log file is turned over: `app.log` becomes `app.log.1`, that one `app.log.2`, and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// The size in bytes that no file outgrows by more than what is written at once, 64 KiB.
    pub max_bytes: Option<u64>,
    /// The length of a period, counted from 1970 in UTC: a day ends at midnight. The first line of a new period opens a
    /// new file.
    pub every: Option<Duration>,
    /// How many old files are kept; older ones are removed.
    pub keep: usize,
}

impl Default for Rotation {
    /// Files of 64 MiB, ten old ones.
    fn default() -> Self {
        Self { max_bytes: Some(64 << 20), every: None, keep: 10 }
    }
}

impl Rotation {
    /// Leaves turning over to others: `logrotate`, with [`Telemetry::reopen`](crate::Telemetry::reopen) on SIGHUP.
    pub const NEVER: Self = Self { max_bytes: None, every: None, keep: 0 };
}

/// Appends to a file, and turns it over as its [`Rotation`] says.
///
/// Where turning over fails, for example because the folder is read-only, lines go on to the old file. A path that names
/// no regular file itself (a device, a pipe, a symbolic link) is never turned over: to rename `/dev/null` or `/dev/stdout`
/// would take it from the whole machine.
#[derive(Debug)]
pub struct FileWriter {
    path: PathBuf,
    rotation: Rotation,
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    len: u64,
    period: u64,
    /// Whether the path is a regular file, which may be renamed.
    is_regular: bool,
    /// Whether the last write stopped within a line.
    is_torn: bool,
}

impl FileWriter {
    /// Opens or creates the file; what is in it stays.
    ///
    /// # Errors
    /// Where it cannot be opened for appending.
    pub fn open(path: impl Into<PathBuf>, rotation: Rotation) -> io::Result<Self> {
        let path = path.into();
        let open = Mutex::new(open(&path, &rotation)?);
        Ok(Self { path, rotation, open })
    }

    /// Returns where the lines go.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn is_due(&self, open: &Open, now: u64, coming: usize) -> bool {
        let too_large = |max: u64| open.len > 0 && open.len + coming as u64 > max;
        open.is_regular && (open.period != now || self.rotation.max_bytes.is_some_and(too_large))
    }

    fn rotate(&self) -> io::Result<Open> {
        let name = |number: usize| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        if self.rotation.keep == 0 {
            fs::remove_file(&self.path)?;
        } else {
            for number in (1..self.rotation.keep).rev() {
                match fs::rename(name(number), name(number + 1)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            fs::rename(&self.path, name(1))?;
        }
        open(&self.path, &self.rotation)
    }

    /// Writes whole lines.
    pub(crate) fn append_line(&self, line: &[u8]) -> io::Result<()> {
        self.append(line).map(drop)
    }

    /// Writes whole lines, and makes the disk keep them before it returns.
    pub(crate) fn write_durably(&self, line: &[u8]) -> io::Result<()> {
        self.append(line)?.file.sync_data()
    }

    fn append(&self, lines: &[u8]) -> io::Result<MutexGuard<'_, Open>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let now = period(SystemTime::now(), &self.rotation);
        if self.is_due(&open, now, lines.len()) {
            match self.rotate() {
                Ok(next) => *open = next,
                // The next period tries again; a file that is too large does at each line.
                Err(_) => open.period = now,
            }
        }
        if open.is_torn {
            open.file.write_all(b"\n")?;
            open.is_torn = false;
        }
        let mut rest = lines;
        while !rest.is_empty() {
            match open.file.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    open.len += written as u64;
                    rest = &rest[written..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let written = lines.len() - rest.len();
                    open.is_torn = written > 0 && lines[written - 1] != b'\n';
                    return Err(error);
                }
            }
        }
        Ok(open)
    }
}

impl LineWriter for FileWriter {
    fn write_line(&self, line: &[u8]) -> io::Result<()> {
        self.append_line(line)
    }

    fn accepts_batches(&self) -> bool {
        true
    }

    fn reopen(&self) -> io::Result<()> {
        let next = open(&self.path, &self.rotation)?;
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(())
    }
}

fn open(path: &Path, rotation: &Rotation) -> io::Result<Open> {
    let file = OpenOptions::new().append(true).create(true).open(path)?;
    let about = file.metadata()?;
    // A file of an earlier run belongs to the period of its last line.
    let written = if about.len() > 0 { about.modified()? } else { SystemTime::now() };
    // Of the path, not of what a link leads to: the path is what would be renamed.
    let is_regular = fs::symlink_metadata(path)?.is_file();
    let is_torn = about.len() > 0 && !ends_with_newline(path)?;
    Ok(Open { len: about.len(), period: period(written, rotation), is_regular, file, is_torn })
}

/// A process that died within a write has left half a line.
fn ends_with_newline(path: &Path) -> io::Result<bool> {
    let mut last = [0];
    let mut file = File::open(path)?;
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

fn period(time: SystemTime, rotation: &Rotation) -> u64 {
    let every = rotation.every.map_or(0, |every| every.as_secs());
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    seconds.checked_div(every).unwrap_or(0)
}
