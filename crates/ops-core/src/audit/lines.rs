//! Reading a log line by line, and the lock on it.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::error::{Error, ErrorKind};

/// The longest line that is written or read, with its line end.
pub(super) const MAX_LINE_BYTES: usize = 1 << 20;

/// How much is read at once.
const CHUNK_BYTES: usize = 64 << 10;

/// How long a waiting process sleeps between two attempts.
const NAP: Duration = Duration::from_millis(1);

/// A lock on a file, until it is dropped. It also ends with the process.
#[derive(Debug)]
pub(super) struct Lock<'a>(&'a File);

impl<'a> Lock<'a> {
    /// Waits until no other process has the lock, but not forever: a process may have been stopped with it.
    pub(super) fn exclusive(file: &'a File, path: &Path, patience: Duration) -> Result<Self, Error> {
        Self::take(file, path, patience, FlockOperation::NonBlockingLockExclusive)
    }

    /// As [`Lock::exclusive`], but shared with other readers.
    pub(super) fn shared(file: &'a File, path: &Path, patience: Duration) -> Result<Self, Error> {
        Self::take(file, path, patience, FlockOperation::NonBlockingLockShared)
    }

    fn take(
        file: &'a File,
        path: &Path,
        patience: Duration,
        operation: FlockOperation,
    ) -> Result<Self, Error> {
        let deadline = Instant::now() + patience;
        loop {
            match flock(file, operation) {
                Ok(()) => return Ok(Self(file)),
                Err(Errno::WOULDBLOCK | Errno::INTR) if Instant::now() < deadline => std::thread::sleep(NAP),
                Err(Errno::WOULDBLOCK | Errno::INTR) => {
                    let message = format!("another process has held {} for too long", path.display());
                    return Err(Error::new(ErrorKind::LogBusy, message));
                }
                Err(error) => {
                    let message = format!("cannot lock {}", path.display());
                    return Err(Error::new(ErrorKind::Io, message).caused_by(error));
                }
            }
        }
    }
}

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        // It cannot fail for a lock that is held, and closing the file would give it back all the same.
        let _ = flock(self.0, FlockOperation::Unlock);
    }
}

/// One piece of a log.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// A line, without its line end.
    Line(Vec<u8>),
    /// The bytes behind the last line end.
    Tail(Vec<u8>),
    /// More bytes without a line end than any line has. What follows is not read.
    TooLong,
}

/// Reads the pieces of a part of a file. The file's own position does not move.
#[derive(Debug)]
pub(super) struct Pieces<'a> {
    file: &'a File,
    /// The first byte that is in the buffer.
    at: u64,
    end: u64,
    buffer: Vec<u8>,
    /// How much of the buffer was handed out.
    used: usize,
    is_over: bool,
}

impl<'a> Pieces<'a> {
    pub(super) fn new(file: &'a File, at: u64, end: u64) -> Self {
        Self { file, at, end, buffer: Vec::new(), used: 0, is_over: false }
    }

    /// Returns where the next piece begins.
    pub(super) fn position(&self) -> u64 {
        self.at + self.used as u64
    }

    /// Returns the next piece; none at the end.
    pub(super) fn next_piece(&mut self) -> std::io::Result<Option<Piece>> {
        let mut searched = 0;
        loop {
            if self.is_over {
                return Ok(None);
            }
            let unused = &self.buffer[self.used..];
            if let Some(more) = unused[searched..].iter().position(|byte| *byte == b'\n') {
                let line = unused[..searched + more].to_vec();
                self.used += line.len() + 1;
                return Ok(Some(Piece::Line(line)));
            }
            searched = unused.len();
            if searched >= MAX_LINE_BYTES {
                self.is_over = true;
                return Ok(Some(Piece::TooLong));
            }
            self.at += self.used as u64;
            self.buffer.drain(..self.used);
            self.used = 0;
            let from = self.at + searched as u64;
            let wanted =
                usize::try_from(self.end.saturating_sub(from)).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
            self.buffer.resize(searched + wanted, 0);
            let got = self.file.read_at(&mut self.buffer[searched..], from)?;
            self.buffer.truncate(searched + got);
            if got == 0 {
                self.is_over = true;
                let tail = std::mem::take(&mut self.buffer);
                return Ok((!tail.is_empty()).then_some(Piece::Tail(tail)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_cut_at_its_line_ends() {
        let line = |text: &str| Piece::Line(text.as_bytes().to_vec());
        let long = "x".repeat(CHUNK_BYTES * 2 + 7);
        let cases = [
            (String::new(), vec![]),
            ("a\n".to_owned(), vec![line("a")]),
            ("a\n\nbc\nd".to_owned(), vec![line("a"), line(""), line("bc"), Piece::Tail(b"d".to_vec())]),
            (format!("a\n{long}\nb\n"), vec![line("a"), line(&long), line("b")]),
            ("x".repeat(MAX_LINE_BYTES + 5), vec![Piece::TooLong]),
        ];
        for (text, expected) in cases {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), &text).unwrap();
            let mut pieces = Pieces::new(file.as_file(), 0, text.len() as u64);
            let mut found = Vec::new();
            while let Some(piece) = pieces.next_piece().unwrap() {
                found.push(piece);
            }
            assert!(found == expected, "{} bytes", text.len());
        }
    }
}
