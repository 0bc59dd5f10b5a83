//! What a program writes: all of it masked to a log file, its beginning and its end kept in memory.

use super::Masker;
use sha2::{Digest, Sha256};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use tokio::io::{AsyncRead, AsyncReadExt as _};

const HEAD: usize = 16 * 1024;
const TAIL: usize = 48 * 1024;

/// The largest log of one gate. A program that writes without end must not fill the disk that the verdict needs.
const LOG_LIMIT: u64 = 256 * 1024 * 1024;

/// A line that is longer is masked and written in pieces.
const LINE_LIMIT: usize = 256 * 1024;

/// The part of a long line that is held back, so that a secret across two pieces is seen whole, encoded or not.
const OVERLAP: usize = 64 * 1024;

/// Collects the output of one attempt, both streams in the order in which their lines arrive. The log is a new file, which the
/// first byte makes: many a check has nothing to say.
pub(crate) struct Capture {
    masker: Option<Masker>,
    inner: Mutex<Inner>,
}

struct Inner {
    path: PathBuf,
    log: Option<File>,
    digest: Sha256,
    head: Vec<u8>,
    tail: VecDeque<u8>,
    bytes: u64,
    failure: Option<io::Error>,
}

/// The beginning and the end of an output, and what is known of all of it.
#[derive(Debug)]
pub(crate) struct Excerpt {
    pub(crate) text: String,
    pub(crate) sha256: String,
}

impl Capture {
    /// A capture whose log will stand at a path where nothing is yet.
    pub(crate) fn new(log: &Path, masker: Option<Masker>) -> Self {
        let inner = Inner {
            path: log.to_path_buf(),
            log: None,
            digest: Sha256::new(),
            head: Vec::new(),
            tail: VecDeque::new(),
            bytes: 0,
            failure: None,
        };
        Self { masker, inner: Mutex::new(inner) }
    }

    /// A capture whose log is there at once: for what must not begin where its evidence cannot be written.
    pub(crate) fn create(log: &Path, masker: Option<Masker>) -> io::Result<Self> {
        let capture = Self::new(log, masker);
        capture.inner().log = Some(File::create_new(log)?);
        Ok(capture)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no writer panics while it holds the lock")
    }

    /// Writes a line of our own.
    pub(crate) fn note(&self, line: &str) {
        let mut bytes = line.as_bytes().to_vec();
        bytes.push(b'\n');
        self.mask(&mut bytes);
        self.write(&bytes);
    }

    fn mask(&self, bytes: &mut Vec<u8>) {
        if let Some(masker) = &self.masker {
            masker(bytes);
        }
    }

    fn write(&self, bytes: &[u8]) {
        self.inner().write(bytes);
    }

    /// Ends the log and returns the excerpt; none where nothing was written. The log is not forced to disk: the verdict has its
    /// digest, so that one that was lost with the power does not verify.
    ///
    /// # Errors
    /// Fails where any part of the log could not be written: what is not on disk is not evidence.
    pub(crate) fn finish(&self) -> io::Result<Option<Excerpt>> {
        let mut inner = self.inner();
        if let Some(failure) = inner.failure.take() {
            return Err(failure);
        }
        if inner.bytes == 0 {
            return Ok(None);
        }
        let kept = (inner.head.len() + inner.tail.len()) as u64;
        let mut text = String::from_utf8_lossy(&inner.head).into_owned();
        if inner.bytes > kept {
            text.push_str(&format!("\n[… {} bytes are only in the log …]\n", inner.bytes - kept));
        }
        text.push_str(&String::from_utf8_lossy(inner.tail.make_contiguous()));
        let sha256 = inner.digest.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Some(Excerpt { text, sha256 }))
    }
}

impl Inner {
    fn write(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let head = bytes.len().min(HEAD - self.head.len());
        self.head.extend_from_slice(&bytes[..head]);
        self.tail.extend(&bytes[head..]);
        let surplus = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..surplus);
        let before = self.bytes;
        self.bytes += bytes.len() as u64;
        if self.bytes <= LOG_LIMIT {
            self.log(bytes);
        } else if before <= LOG_LIMIT {
            self.log(b"\n[the log is cut here: its limit of 256 MiB is reached]\n");
        }
    }

    fn log(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
        if let Err(error) = self.append(bytes) {
            self.failure.get_or_insert(error);
        }
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let log = match &mut self.log {
            Some(log) => log,
            none => none.insert(File::create_new(&self.path)?),
        };
        log.write_all(bytes)
    }
}

/// What is known of a stream that was read to its end.
#[derive(Debug, Default)]
pub(super) struct Output {
    /// Whether the text that was looked for was in it.
    pub(super) found: bool,
    /// Its beginning, unmasked.
    pub(super) kept: Vec<u8>,
}

/// Reads a stream to its end, keeping so much of its beginning.
pub(super) async fn read(
    mut stream: impl AsyncRead + Unpin,
    capture: std::sync::Arc<Capture>,
    mut expect: Option<Finder>,
    keep: usize,
) -> Output {
    let mut kept = Vec::new();
    let mut line: Vec<u8> = Vec::new();
    let mut chunk = vec![0; 32 * 1024];
    loop {
        let read = match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => break,
            Ok(read) => read,
        };
        if let Some(finder) = &mut expect {
            finder.feed(&chunk[..read]);
        }
        kept.extend_from_slice(&chunk[..read.min(keep - kept.len())]);
        line.extend_from_slice(&chunk[..read]);
        let complete = match line.iter().rposition(|byte| *byte == b'\n') {
            Some(newline) => newline + 1,
            None if line.len() > LINE_LIMIT => {
                capture.mask(&mut line);
                line.len().saturating_sub(OVERLAP)
            }
            None => continue,
        };
        let rest = line.split_off(complete);
        capture.mask(&mut line);
        capture.write(&line);
        line = rest;
    }
    capture.mask(&mut line);
    capture.write(&line);
    Output { found: expect.is_some_and(|finder| finder.found()), kept }
}

/// Looks for a text in a stream of chunks, keeping no more than the text's length.
#[derive(Debug)]
pub(crate) struct Finder {
    wanted: Vec<u8>,
    carry: Vec<u8>,
    found: bool,
}

impl Finder {
    pub(crate) fn new(wanted: &str) -> Self {
        Self { wanted: wanted.as_bytes().to_vec(), carry: Vec::new(), found: wanted.is_empty() }
    }

    pub(crate) fn feed(&mut self, chunk: &[u8]) {
        if self.found {
            return;
        }
        self.carry.extend_from_slice(chunk);
        self.found = contains(&self.carry, &self.wanted);
        let keep = self.carry.len().saturating_sub(self.wanted.len() - 1);
        self.carry.drain(..keep);
    }

    pub(crate) fn found(&self) -> bool {
        self.found
    }
}

/// Whether the bytes hold the wanted ones: jumps from one first byte to the next, and compares there.
fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    let Some((first, rest)) = wanted.split_first() else { return true };
    let mut bytes = bytes;
    while let Some(position) = bytes.iter().position(|byte| byte == first) {
        bytes = &bytes[position + 1..];
        if bytes.starts_with(rest) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_text_is_found_however_the_stream_is_cut() {
        let stream = b"xxaabaabbbaab";
        for (wanted, expected) in
            [("aabb", true), ("x", true), ("bbaab", true), ("abba", false), ("xxaabaabbbaabx", false)]
        {
            for size in 1..=stream.len() {
                let mut finder = Finder::new(wanted);
                stream.chunks(size).for_each(|chunk| finder.feed(chunk));
                assert_eq!(finder.found(), expected, "{wanted} in chunks of {size}");
            }
        }
    }

    fn captured(input: &[u8], masker: Option<Masker>) -> (Excerpt, Vec<u8>) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("log");
        let capture = Arc::new(Capture::new(&path, masker));
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(read(input, Arc::clone(&capture), None, 0));
        let excerpt = capture.finish().expect("a written log").expect("an output");
        (excerpt, std::fs::read(&path).expect("a log"))
    }

    #[test]
    fn a_log_begins_with_the_first_byte_and_what_cannot_be_written_is_no_evidence() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("log");
        let capture = Capture::new(&path, None);
        capture.write(b"");
        assert!(capture.finish().expect("nothing to write").is_none() && !path.exists());
        std::fs::write(&path, "of another").expect("a file");
        capture.note("first");
        let error = capture.finish().expect_err("the log is another's");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).expect("the file"), b"of another");
    }

    #[test]
    fn memory_holds_the_beginning_and_the_end_and_the_log_all() {
        let input: Vec<u8> = (0..100_000_u32).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
        let (excerpt, log) = captured(&input, None);
        assert_eq!(log, input);
        assert!(excerpt.text.len() < HEAD + TAIL + 100);
        assert!(excerpt.text.starts_with("line 0\n") && excerpt.text.ends_with("line 99999\n"));
        assert!(
            excerpt.text.contains(&format!("[… {} bytes are only in the log …]", input.len() - HEAD - TAIL))
        );
        assert_eq!(
            excerpt.sha256,
            Sha256::digest(&input).iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        );
    }

    #[test]
    fn a_secret_is_masked_also_in_a_line_without_end() {
        let masker: Masker = Arc::new(|bytes: &mut Vec<u8>| {
            let text = String::from_utf8_lossy(bytes).replace("hunter2secret", "***");
            *bytes = text.into_bytes();
        });
        // A secret at every place of a piece's end: 7 does not divide the limit.
        let input = "hunter2secret.......".repeat(60_000).into_bytes();
        let (excerpt, log) = captured(&input, Some(masker));
        let log = String::from_utf8(log).expect("text");
        assert!(!log.contains("hunter2secret") && !excerpt.text.contains("hunter2secret"));
        assert_eq!(log.matches("***").count(), 60_000);
    }
}
