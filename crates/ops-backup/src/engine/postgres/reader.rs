//! Files of a running cluster, read with a check of their pages: from its directory, or as the server sends them.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::engine::chunks::Chunks;
use crate::engine::{Auditor, Contents, Facts, FileList, Findings, Inspector, Opener};
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
    pub(super) checked: Checked,
}

/// What the checks of pages have found so far; clones share it.
#[derive(Debug, Clone, Default)]
pub(in crate::engine) struct Checked(Arc<Mutex<Found>>);

#[derive(Debug)]
struct Found {
    findings: Findings,
    /// Pages with a wrong checksum that claim to be newer than the begin of the backup. Few: a read is seldom torn.
    newer: Vec<(BadPage, Lsn)>,
    /// How many more there are than are kept, by the length in bits of the distance that they claim from the begin.
    newer_more: [u64; 65],
    backup_start: Lsn,
}

impl Default for Found {
    fn default() -> Self {
        let (findings, newer) = (Findings::default(), Vec::new());
        Found { findings, newer, newer_more: [0; 65], backup_start: Lsn(0) }
    }
}

/// So many of them are kept, with their names. Where a file is full of garbage there are as many as it has pages.
const MAX_NEWER: usize = 10_000;

impl Checked {
    /// Reports the pages that name a position behind `stop`, the end of the backup: the server writes no page before its
    /// WAL, so no replay makes them whole.
    pub(in crate::engine) fn judge_newer(&self, stop: Lsn) {
        let mut found = self.lock();
        let (newer, more) =
            (std::mem::take(&mut found.newer), std::mem::replace(&mut found.newer_more, [0; 65]));
        // Of those with as long a distance as the end itself nothing more is known: among so many they are not taken for good.
        let end = bits(stop.0.saturating_sub(found.backup_start.0));
        found.findings.bad_pages += more[end..].iter().sum::<u64>();
        drop(found);
        for (page, _) in newer.into_iter().filter(|(_, lsn)| *lsn > stop) {
            self.report(page);
        }
    }

    fn note_newer(&self, page: impl FnOnce() -> BadPage, lsn: Lsn, backup_start: Lsn) {
        let mut found = self.lock();
        if found.newer.len() < MAX_NEWER {
            found.newer.push((page(), lsn));
            return;
        }
        found.backup_start = backup_start;
        found.newer_more[bits(lsn.0.saturating_sub(backup_start.0))] += 1;
    }

    fn report(&self, page: BadPage) {
        let findings = &mut self.lock().findings;
        findings.bad_pages += 1;
        // The others are counted: a file of garbage has as many as pages.
        if findings.examples.len() < MAX_EXAMPLES {
            tracing::warn!(file = page.file, block = page.block, "a data page has a wrong checksum");
            findings.examples.push(page);
        }
    }

    pub(in crate::engine) fn findings(&self) -> Findings {
        let mut findings = self.lock().findings.clone();
        findings.examples.sort_by(|a, b| (&a.file, a.block).cmp(&(&b.file, b.block)));
        findings
    }

    fn lock(&self) -> MutexGuard<'_, Found> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bits(number: u64) -> usize {
    (u64::BITS - number.leading_zeros()) as usize
}

/// How pages are checked.
#[derive(Debug, Clone, Copy)]
pub(in crate::engine) struct Pages {
    pub(in crate::engine) size: usize,
    pub(in crate::engine) blocks_per_file: u32,
    pub(in crate::engine) backup_start: Lsn,
}

/// The tag of a file in the list: zero for a file without pages, otherwise one more than its number in its relation.
pub(in crate::engine) fn tag(relation_part: Option<u32>) -> u32 {
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
        let check = PageCheck::new(self.pages, facts.tag, &path, facts.size, &self.checked);
        Ok(Some(Box::new(RelationFile { file, path, size: facts.size, at: offset, check })))
    }

    fn findings(&self) -> Findings {
        self.checked.findings()
    }
}

/// Checks files that the server sends.
#[derive(Debug)]
pub(in crate::engine) struct SentFiles {
    /// `None` where the pages carry no checksums.
    pub(in crate::engine) pages: Option<Pages>,
    pub(in crate::engine) checked: Checked,
    pub(in crate::engine) auditor: Option<Arc<dyn Auditor>>,
}

impl Inspector for SentFiles {
    fn auditor(&self) -> Option<&dyn Auditor> {
        self.auditor.as_deref()
    }

    fn contents(&self, path: &str, facts: &Facts, offset: u64, chunks: Vec<Bytes>) -> Box<dyn Contents> {
        let chunks = Chunks::new(chunks);
        match PageCheck::new(self.pages, facts.tag, path, facts.size, &self.checked) {
            Some(check) => Box::new(SentFile { chunks, at: offset, check }),
            None => Box::new(chunks),
        }
    }

    fn findings(&self) -> Findings {
        self.checked.findings()
    }
}

struct SentFile {
    chunks: Chunks,
    at: u64,
    check: PageCheck,
}

impl Contents for SentFile {
    /// The server itself has read a page again that looked damaged: what it sends is what it stays with.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let length = self.chunks.read(buffer)?;
        let mut pages = buffer[..length].chunks_exact(self.check.pages.size);
        for (number, page) in (self.at / self.check.pages.size as u64..).zip(&mut pages) {
            self.check.settle(number, self.check.judge(number, page));
        }
        self.check.rest(pages.remainder().len());
        self.at += length as u64;
        Ok(length)
    }
}

/// How the pages of one file are checked.
struct PageCheck {
    pages: Pages,
    /// The number of the file in its relation.
    part: u32,
    path: String,
    size: u64,
    checked: Checked,
}

impl PageCheck {
    /// Returns `None` for a file without pages, or with none that carry checksums.
    fn new(pages: Option<Pages>, tag: u32, path: &str, size: u64, checked: &Checked) -> Option<Self> {
        let (pages, part) = pages.zip(tag.checked_sub(1))?;
        Some(PageCheck { pages, part, path: path.to_owned(), size, checked: checked.clone() })
    }

    fn judge(&self, number: u64, page: &[u8]) -> PageState {
        let in_file = u32::try_from(number).expect("block numbers have 32 bits");
        let block = self.part.wrapping_mul(self.pages.blocks_per_file).wrapping_add(in_file);
        page::judge(page, block, self.pages.backup_start)
    }

    /// Notes what a page is found to be for good.
    fn settle(&self, number: u64, state: PageState) {
        match state {
            PageState::Good => {}
            PageState::Newer(lsn) => {
                self.checked.note_newer(|| self.page(number), lsn, self.pages.backup_start);
            }
            PageState::Bad => self.checked.report(self.page(number)),
        }
    }

    /// A file that is being extended may end within a page. The server never writes less than a sector of one.
    fn rest(&self, length: usize) {
        if (1..512).contains(&length) {
            self.checked.report(self.page(self.size / self.pages.size as u64));
        }
    }

    fn page(&self, block: u64) -> BadPage {
        BadPage { file: self.path.clone(), block }
    }
}

struct RelationFile {
    file: File,
    path: String,
    size: u64,
    at: u64,
    check: Option<PageCheck>,
}

impl Contents for RelationFile {
    /// What lies behind the end of a file that shrank is zero: the server truncated it, and replay does so again.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let left = self.size.saturating_sub(self.at);
        let length = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let buffer = &mut buffer[..length];
        read_or_zero(&self.file, buffer, self.at)
            .map_err(|error| Error::io(format!("read {:?}", self.path), error))?;
        if let Some(check) = &self.check {
            self.check(buffer, check)?;
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
    fn check(&self, buffer: &mut [u8], check: &PageCheck) -> Result<()> {
        let size = check.pages.size;
        let mut all = buffer.chunks_exact_mut(size);
        for (number, bytes) in (self.at / size as u64..).zip(&mut all) {
            if check.judge(number, bytes) == PageState::Good {
                continue;
            }
            let mut again = vec![0; size];
            read_or_zero(&self.file, &mut again, number * size as u64)
                .map_err(|error| Error::io(format!("read {:?} again", self.path), error))?;
            let changed = again != *bytes;
            bytes.copy_from_slice(&again);
            match check.judge(number, bytes) {
                // It is being written, and its new image is in the WAL of this backup.
                PageState::Bad if changed => {}
                state => check.settle(number, state),
            }
        }
        check.rest(all.into_remainder().len());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Kind;
    use crate::postgres::page::tests::page;

    const PAGE: usize = 8192;
    const BLOCKS: u32 = 131_072;
    const START: Lsn = Lsn(0x5000_0000);
    const STOP: Lsn = Lsn(0x6000_0000);

    /// Reads `first` where the file holds `then` by the time of a second read, and returns the blocks reported.
    fn check(part: u32, first: &[u8], then: &[u8]) -> (Vec<u8>, Vec<u64>) {
        let place = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(place.path(), then).expect("it is written");
        let checked = Checked::default();
        let (path, size) = ("base/5/16384", first.len() as u64);
        let pages = Pages { size: PAGE, blocks_per_file: BLOCKS, backup_start: START };
        let file = RelationFile {
            file: File::open(place.path()).expect("it opens"),
            path: path.to_owned(),
            size,
            at: 0,
            check: PageCheck::new(Some(pages), tag(Some(part)), path, size, &checked),
        };
        let mut buffer = first.to_vec();
        file.check(&mut buffer, file.check.as_ref().expect("it has pages")).expect("it is read again");
        checked.judge_newer(STOP);
        (buffer, checked.findings().examples.iter().map(|page| page.block).collect())
    }

    fn old(block: u32) -> Vec<u8> {
        page(Lsn(START.0 - 1), block)
    }

    fn damaged(mut page: Vec<u8>) -> Vec<u8> {
        page[5000] ^= 1;
        page
    }

    #[test]
    fn a_page_that_was_torn_is_read_again_and_one_that_stays_damaged_is_reported() {
        let good = [old(0), old(1)].concat();
        let torn = [old(0), damaged(old(1))].concat();
        assert_eq!(check(0, &good, &good), (good.clone(), vec![]));
        assert_eq!(check(0, &torn, &good), (good, vec![]));
        assert_eq!(check(0, &torn, &torn), (torn.clone(), vec![1]));
        // Still wrong but another one: it is being written.
        let later = [old(0), damaged(page(Lsn(7), 1))].concat();
        assert_eq!(check(0, &torn, &later).1, Vec::<u64>::new());
    }

    #[test]
    fn the_blocks_of_later_files_are_counted_over_the_whole_relation_and_reported_in_their_file() {
        let second = [old(BLOCKS), old(BLOCKS + 1)].concat();
        assert_eq!(check(1, &second, &second).1, Vec::<u64>::new());
        assert_eq!(check(0, &second, &second).1, [0, 1], "pages of another file of the relation");
        let damaged = [old(BLOCKS), damaged(old(BLOCKS + 1))].concat();
        assert_eq!(check(1, &damaged, &damaged).1, [1]);
    }

    #[test]
    fn a_newer_page_may_be_torn_but_none_is_newer_than_the_end() {
        for (lsn, expected) in [
            (START, vec![]),
            (STOP, vec![]),
            (Lsn(STOP.0 + 1), vec![0]),
            (Lsn(u64::MAX), vec![0]),
            (Lsn(START.0 - 1), vec![0]),
        ] {
            let torn = damaged(page(lsn, 0));
            assert_eq!(check(0, &torn, &torn).1, expected, "{lsn}");
        }
    }

    #[test]
    fn of_many_pages_that_claim_to_be_newer_those_past_the_end_are_counted_and_few_are_kept() {
        let checked = Checked::default();
        let many = MAX_NEWER as u64 * 3;
        for number in 0..many {
            // Right behind the begin, right before the end, behind it, and as garbage has it.
            let lsn = [START.0 + 1, STOP.0, STOP.0 + 1, u64::MAX - number][number as usize % 4];
            checked.note_newer(|| BadPage { file: "1".to_owned(), block: number }, Lsn(lsn), START);
        }
        assert_eq!(checked.lock().newer.len(), MAX_NEWER);
        checked.judge_newer(STOP);
        let (kept, counted) = (MAX_NEWER as u64, many - MAX_NEWER as u64);
        // Of those that are not kept, what comes close to the end is not taken for good.
        assert_eq!(checked.findings().bad_pages, kept / 2 + counted * 3 / 4);
        assert_eq!(checked.findings().examples.len(), MAX_EXAMPLES);
    }

    /// Has the server send `file`, cut somewhere, and returns the blocks reported.
    fn check_sent(part: u32, file: &[u8]) -> Vec<u64> {
        let pages = Some(Pages { size: PAGE, blocks_per_file: BLOCKS, backup_start: START });
        let files = SentFiles { pages, checked: Checked::default(), auditor: None };
        let size = file.len() as u64;
        let facts = Facts { kind: Kind::File, mode: 0o600, tag: tag(Some(part)), size, modified: 0 };
        for (offset, run) in [(0, &file[..PAGE]), (PAGE as u64, &file[PAGE..])] {
            let chunks = run.chunks(3000).map(Bytes::copy_from_slice).collect();
            let mut contents = files.contents("base/5/16384", &facts, offset, chunks);
            let mut buffer = vec![0; 10 * PAGE];
            assert_eq!(contents.read(&mut buffer).expect("it is read"), run.len());
            assert_eq!(&buffer[..run.len()], run);
        }
        files.checked.judge_newer(STOP);
        files.findings().examples.iter().map(|page| page.block).collect()
    }

    #[test]
    fn pages_that_the_server_sends_are_judged_as_they_are() {
        let second = [old(BLOCKS), old(BLOCKS + 1), old(BLOCKS + 2)].concat();
        assert_eq!(check_sent(1, &second), Vec::<u64>::new());
        assert_eq!(check_sent(0, &second), [0, 1, 2]);
        for (lsn, expected) in [(Lsn(START.0 - 1), vec![1]), (START, vec![]), (Lsn(STOP.0 + 1), vec![1])] {
            assert_eq!(check_sent(0, &[old(0), damaged(page(lsn, 1)), old(2)].concat()), expected, "{lsn}");
        }
        assert_eq!(check_sent(0, &[old(0), old(1), vec![0; 100]].concat()), [2]);
        assert_eq!(check_sent(0, &[old(0), old(1), vec![0; 512]].concat()), Vec::<u64>::new());
    }

    fn read_all(listed: u64, content: &[u8]) -> Vec<u8> {
        let place = tempfile::tempdir().expect("a directory");
        std::fs::write(place.path().join("1"), content).expect("it is written");
        let files = Files {
            data_directory: place.path().to_owned(),
            pages: Some(Pages { size: PAGE, blocks_per_file: BLOCKS, backup_start: START }),
            checked: Checked::default(),
        };
        let mut list = FileList::default();
        let root = list.parent("");
        for name in ["1", "2"] {
            let facts = Facts { kind: Kind::File, mode: 0o600, tag: tag(Some(0)), size: listed, modified: 0 };
            list.push(root, name, facts);
        }
        list.sort();
        let vanished = files.open(&list, 1, 0).expect("a file may be dropped meanwhile");
        assert!(vanished.is_none());
        let mut contents = files.open(&list, 0, 0).expect("it opens").expect("it is there");
        let (mut all, mut buffer) = (Vec::new(), vec![0; 3 * PAGE]);
        loop {
            let read = contents.read(&mut buffer).expect("it is read");
            all.extend(&buffer[..read]);
            if read < buffer.len() {
                assert_eq!(files.findings().bad_pages, 0);
                return all;
            }
        }
    }

    #[test]
    fn a_file_has_the_length_it_was_listed_with_whatever_became_of_it() {
        let pages: Vec<_> = (0..5).map(old).collect();
        let five = pages.concat();
        let three = pages[..3].concat();
        assert_eq!(read_all(3 * PAGE as u64, &five), three, "it grew");
        let shrunk = [&three[..], &[0; 2 * PAGE]].concat();
        assert_eq!(read_all(5 * PAGE as u64, &three), shrunk, "it shrank, at a page");
        assert_eq!(read_all(5 * PAGE as u64, &[]), [0; 5 * PAGE], "it was truncated");
    }

    #[test]
    fn a_file_may_end_within_a_page_but_not_within_a_sector() {
        let mut file = old(0);
        file.resize(PAGE + 511, 1);
        assert_eq!(check(0, &file, &file).1, [1]);
        file.resize(PAGE + 512, 1);
        assert_eq!(check(0, &file, &file).1, Vec::<u64>::new());
    }
}
