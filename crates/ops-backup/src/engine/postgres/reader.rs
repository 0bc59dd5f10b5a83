//! Files of a running cluster, read with a check of their pages.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::engine::{Contents, FileList, Findings, Opener};
use crate::error::{Error, Result};
use crate::postgres::lsn::Lsn;
use crate::postgres::page::{self, PageState};
use crate::repo::catalog::BadPage;

const MAX_EXAMPLES: usize = 100;

/// Opens the files of one data directory.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) data_directory: PathBuf,
    /// `None` where the pages carry no checksums.
    pub(super) pages: Option<Pages>,
    pub(super) findings: Arc<Mutex<Findings>>,
}

/// How pages are checked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pages {
    pub(super) size: usize,
    pub(super) blocks_per_file: u32,
    pub(super) backup_start: Lsn,
}

/// The tag of a file in the list: zero for a file without pages, otherwise one more than its number in its relation.
pub(super) fn tag(relation_part: Option<u32>) -> u32 {
    relation_part.map_or(0, |part| part + 1)
}

impl Opener for Files {
    fn open(&self, files: &FileList, item: usize, offset: u64) -> Result<Option<Box<dyn Contents>>> {
        let path = files.path(item);
        let file = match File::open(self.data_directory.join(&path)) {
            Ok(file) => file,
            // Dropped since it was listed; replay drops it too.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io(format!("open {path:?}"), error)),
        };
        let facts = files.item(item);
        let part = facts.tag.checked_sub(1);
        let pages = self.pages.zip(part);
        let findings = Arc::clone(&self.findings);
        Ok(Some(Box::new(RelationFile { file, path, size: facts.size, at: offset, pages, findings })))
    }

    fn findings(&self) -> Findings {
        let mut findings = self.findings.lock().unwrap_or_else(PoisonError::into_inner).clone();
        findings.examples.sort_by(|a, b| (&a.file, a.block).cmp(&(&b.file, b.block)));
        findings
    }
}

struct RelationFile {
    file: File,
    path: String,
    size: u64,
    at: u64,
    /// How its pages are checked, and the number of the file in its relation.
    pages: Option<(Pages, u32)>,
    findings: Arc<Mutex<Findings>>,
}

impl Contents for RelationFile {
    /// What lies behind the end of a file that shrank is zero: the server truncated it, and replay does so again.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let left = self.size.saturating_sub(self.at);
        let length = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let buffer = &mut buffer[..length];
        read_or_zero(&self.file, buffer, self.at)
            .map_err(|error| Error::io(format!("read {:?}", self.path), error))?;
        if let Some((pages, part)) = self.pages {
            self.check(buffer, pages, part)?;
        }
        self.at += length as u64;
        Ok(length)
    }
}

/// Fills `buffer`; what lies behind the end of the file becomes zero.
fn read_or_zero(file: &File, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer[filled..].fill(0);
    Ok(())
}

impl RelationFile {
    /// Judges each page of `buffer`, which begins at a page; one that looks damaged is read again, because the server may
    /// have been writing it.
    fn check(&self, buffer: &mut [u8], pages: Pages, part: u32) -> Result<()> {
        let first = self.at / pages.size as u64;
        let mut all = buffer.chunks_exact_mut(pages.size);
        for (number, bytes) in (first..).zip(&mut all) {
            let in_file = u32::try_from(number).expect("block numbers have 32 bits");
            let block = part.wrapping_mul(pages.blocks_per_file).wrapping_add(in_file);
            if page::judge(bytes, block, pages.backup_start) != PageState::Bad {
                continue;
            }
            let mut again = vec![0; pages.size];
            read_or_zero(&self.file, &mut again, number * pages.size as u64)
                .map_err(|error| Error::io(format!("read {:?} again", self.path), error))?;
            let changed = again != *bytes;
            bytes.copy_from_slice(&again);
            // A page that changed between the reads is being written, and its new image is in the WAL of this backup.
            if !changed && page::judge(bytes, block, pages.backup_start) == PageState::Bad {
                self.report(number);
            }
        }
        // A file that is being extended may end within a page. The server never writes less than a sector of one.
        let rest = all.into_remainder().len();
        if (1..512).contains(&rest) {
            self.report(self.size / pages.size as u64);
        }
        Ok(())
    }

    fn report(&self, block: u64) {
        tracing::warn!(file = self.path, block, "a data page has a wrong checksum");
        let mut findings = self.findings.lock().unwrap_or_else(PoisonError::into_inner);
        findings.bad_pages += 1;
        if findings.examples.len() < MAX_EXAMPLES {
            findings.examples.push(BadPage { file: self.path.clone(), block });
        }
    }
}
