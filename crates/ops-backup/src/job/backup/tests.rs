//! A tree that is sent instead of read must come out the same: a stand-in for a source without files at hand.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use object_store::ObjectStoreExt as _;
use object_store::memory::InMemory;

use super::*;
use crate::engine::chunks::Chunks;
use crate::engine::{
    Arrival, Arrivals, Connect, Contents, Facts, FileList, Inspector, Kind, Listed, Opener, PagesOf, Proof,
    Start, Supply, TreeEngine,
};
use crate::error::{Error, ErrorKind};
use crate::job::verify::VerifyOptions;
use crate::repo::catalog::BackupSource;
use crate::repo::content::{Content, Entry};
use crate::repo::crypt::BlockHash;
use crate::repo::pack;

/// Sends the files of a tree, the last path first, in chunks that fit nothing.
#[derive(Debug, Clone)]
struct Sent {
    tree: TreeEngine,
    /// The source is lost after so many bytes.
    lost_after: u64,
    /// This item is sent twice.
    twice: Option<usize>,
    /// What the source says of this file is wrong.
    wrong: Option<&'static str>,
    /// The tree as it was: only pages that differ from it are sent.
    before: Option<PathBuf>,
}

impl Sent {
    fn new(root: &Path) -> Self {
        let tree = TreeEngine::new("t", root);
        Sent { tree, lost_after: u64::MAX, twice: None, wrong: None, before: None }
    }
}

impl Engine for Sent {}

#[async_trait]
impl Connect for Sent {
    async fn connect(&self) -> Result<Box<dyn Session>> {
        Ok(Box::new(Sending { inner: self.tree.connect().await?, sent: self.clone() }))
    }
}

struct Sending {
    inner: Box<dyn Session>,
    sent: Sent,
}

#[async_trait]
impl Session for Sending {
    fn source(&self) -> String {
        self.inner.source()
    }

    async fn start(&mut self, repository: &Repository, start: Start<'_>) -> Result<()> {
        self.inner.start(repository, start).await
    }

    async fn supply(&mut self) -> Result<Supply> {
        let Supply::Files(Listed { files, opener }) = self.inner.supply().await? else {
            unreachable!("a tree is at hand")
        };
        let mut order: Vec<usize> = (0..files.len()).rev().collect();
        order.extend(self.sent.twice);
        order.reverse();
        let left = self.sent.lost_after;
        let (root, before) = (self.sent.tree.root.clone(), self.sent.before.clone());
        Ok(Supply::Arrivals(Box::new(Sender { files, opener, order, open: None, left, root, before })))
    }

    fn doubt(&self, base: &BackupSource) -> Option<String> {
        self.inner.doubt(base)
    }

    async fn watch(&self, repository: &Repository) -> Error {
        self.inner.watch(repository).await
    }

    async fn finish(&mut self, repository: &Repository, monitor: &Monitor) -> Result<Finished> {
        let finished = self.inner.finish(repository, monitor).await?;
        Ok(Finished { proof: Some(Box::new(Word(self.sent.clone()))), ..finished })
    }
}

struct Sender {
    files: FileList,
    opener: Arc<dyn Opener>,
    /// The next one last.
    order: Vec<usize>,
    open: Option<(Box<dyn Contents>, u64)>,
    left: u64,
    root: PathBuf,
    before: Option<PathBuf>,
}

const PAGE: usize = 8192;

impl Sender {
    /// The pages of the file at `path` that differ from those before, where it has whole pages.
    fn changes(&self, path: &str) -> Option<(PagesOf, Vec<u8>)> {
        let before = fs::read(self.before.as_ref()?.join(path)).ok()?;
        let content = fs::read(self.root.join(path)).unwrap();
        if !content.len().is_multiple_of(PAGE) {
            return None;
        }
        let (mut numbers, mut bytes) = (Vec::new(), Vec::new());
        for (number, page) in (0..).zip(content.chunks(PAGE)) {
            let at = number as usize * PAGE;
            let is_same = match before.get(at..at + PAGE) {
                Some(before) => before == page,
                // What neither has is zero.
                None => page.iter().all(|byte| *byte == 0),
            };
            if !is_same {
                numbers.push(number);
                bytes.extend_from_slice(page);
            }
        }
        Some((PagesOf { size: PAGE as u32, numbers }, bytes))
    }
}

#[async_trait]
impl Arrivals for Sender {
    async fn next(&mut self) -> Result<Option<Arrival>> {
        if let Some((contents, size)) = self.open.as_mut().filter(|(_, size)| *size > 0) {
            let mut chunk = vec![0; 32_781.min(*size as usize)];
            assert_eq!(contents.read(&mut chunk)?, chunk.len());
            *size -= chunk.len() as u64;
            self.left = self
                .left
                .checked_sub(chunk.len() as u64)
                .ok_or_else(|| Error::new(ErrorKind::Unavailable, "the source is lost"))?;
            return Ok(Some(Arrival::Data(Bytes::from(chunk))));
        }
        let Some(index) = self.order.pop() else { return Ok(None) };
        let item = self.files.item(index);
        let facts = Facts {
            kind: item.kind,
            mode: item.mode.into(),
            tag: item.tag,
            size: item.size,
            modified: item.modified,
        };
        let path = self.files.path(index);
        if let Some((pages, bytes)) = self.changes(&path).filter(|_| item.kind == Kind::File) {
            let length = bytes.len() as u64;
            self.open = Some((Box::new(Chunks::new(vec![bytes.into()])), length));
            return Ok(Some(Arrival::Changes { path, facts, pages }));
        }
        if item.kind == Kind::File {
            self.open = self.opener.open(&self.files, index, 0)?.map(|contents| (contents, item.size));
        }
        Ok(Some(Arrival::Item { path, facts }))
    }

    fn expected_bytes(&self) -> u64 {
        0
    }

    fn inspector(&self) -> Arc<dyn Inspector> {
        Arc::new(Unchecked)
    }
}

struct Unchecked;

impl Inspector for Unchecked {
    fn contents(&self, _path: &str, _facts: &Facts, _offset: u64, chunks: Vec<Bytes>) -> Box<dyn Contents> {
        Box::new(Chunks::new(chunks))
    }

    fn findings(&self) -> Findings {
        Findings::default()
    }
}

/// The word of the source: what the files really are.
struct Word(Sent);

impl Proof for Word {
    fn file(&mut self, path: &str, size: u64, crc32c: u32) -> Result<()> {
        let content = fs::read(self.0.tree.root.join(path)).unwrap();
        assert_eq!((content.len() as u64, crc32c::crc32c(&content)), (size, crc32c), "{path}");
        if self.0.wrong == Some(path) { Err(Error::corrupt("it was another one")) } else { Ok(()) }
    }

    fn end(&mut self) -> Result<()> {
        if self.0.wrong == Some("") { Err(Error::corrupt("one is missing")) } else { Ok(()) }
    }
}

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new_derive_key("noise").update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Files at every border: of a block, a small file, a span, a piece; empty ones, and directories.
fn tree() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let sizes = [
        0,
        1,
        16_383,
        16_384,
        262_144,
        262_145,
        (4 << 20) - 1,
        4 << 20,
        (4 << 20) + 1,
        (12 << 20) + 77,
        (64 << 20) - 5,
        64 << 20,
        (68 << 20) + 3,
    ];
    for (number, size) in sizes.into_iter().enumerate() {
        fs::write(root.path().join(format!("{number}")), noise(number as u64, size)).unwrap();
    }
    for directory in ["a", "a/b", "z"] {
        fs::create_dir(root.path().join(directory)).unwrap();
        for number in 0..700 {
            let path = root.path().join(format!("{directory}/{}", number * 7919 % 1000));
            fs::write(path, noise(number, 500)).unwrap();
        }
    }
    root
}

/// Every file is read, whichever way.
fn options() -> BackupOptions {
    BackupOptions { change_detection: ChangeDetection::Hash, workers: 3, ..BackupOptions::default() }
}

async fn take(repository: &Repository, engine: &dyn Engine) -> Result<Backup> {
    backup(repository, engine, &options(), &Monitor::default()).await
}

/// The listings as they are stored: names, facts, and where each block lies.
async fn listings(repository: &Repository, backup: &Backup) -> Vec<Vec<u8>> {
    let packs = PackTable::default();
    let manifest = repository.read_manifest(&backup.id, Some(&backup.manifest), &packs).await.unwrap();
    let mut all = Vec::new();
    for listing in manifest.listings {
        let listing = repository.read_listing(listing.frame, &packs).await.unwrap();
        all.push(listing.encode(&packs));
    }
    all
}

/// Path, mode, time, size and checksum of every file, and of each of its pieces the length, checksum and blocks.
type FileFacts = (String, u32, i64, u64, u32, Vec<(u64, u32, Vec<BlockHash>)>);

async fn files_of(repository: &Repository, backup: &Backup) -> Vec<FileFacts> {
    let packs = PackTable::default();
    let manifest = repository.read_manifest(&backup.id, Some(&backup.manifest), &packs).await.unwrap();
    let mut files = Vec::new();
    for listing in manifest.listings {
        for entry in repository.read_listing(listing.frame, &packs).await.unwrap().entries {
            let Entry::File(file) = entry else { continue };
            let mut pieces = Vec::new();
            match file.content {
                Content::Inline(piece) => pieces.push((piece.length, piece.crc32c, piece.hashes)),
                Content::Pieces(references) => {
                    for reference in references {
                        let piece = repository.read_piece(reference.frame, &packs).await.unwrap();
                        pieces.push((piece.length, piece.crc32c, piece.hashes));
                    }
                }
            }
            files.push((file.path, file.mode, file.modified, file.size, file.crc32c, pieces));
        }
    }
    files
}

async fn repository() -> Repository {
    Repository::open_or_create(Arc::new(InMemory::new()), None).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_is_stored_as_what_is_read() {
    let (tree, repository) = (tree(), repository().await);
    let (read, sent) = (TreeEngine::new("t", tree.path()), Sent::new(tree.path()));
    let first = take(&repository, &sent).await.unwrap();
    assert_eq!(first.new_bytes, first.raw_bytes);
    let second = take(&repository, &read).await.unwrap();
    let third = take(&repository, &sent).await.unwrap();
    assert_eq!((second.new_bytes, third.new_bytes), (0, 0), "{second:?} {third:?}");
    let entries = listings(&repository, &first).await;
    assert!(entries == listings(&repository, &second).await, "the same entries, block for block");
    assert!(entries == listings(&repository, &third).await);

    // One byte in the middle of the second piece, one small file that grows large, and one large that becomes small.
    let path = tree.path().join("12");
    let mut content = fs::read(&path).unwrap();
    content[(66 << 20) + 9] ^= 1;
    fs::write(&path, &content).unwrap();
    fs::write(tree.path().join("4"), noise(4, 300_000)).unwrap();
    fs::write(tree.path().join("5"), noise(5, 100_000)).unwrap();
    let changed = take(&repository, &sent).await.unwrap();
    // A block, what is new of the grown one, and the last block of the shrunk one.
    assert_eq!(changed.new_bytes, 16_384 + (300_000 - 262_144) + 100_000 % 16_384);
    let read_again = take(&repository, &read).await.unwrap();
    assert_eq!(read_again.new_bytes, 0);
    assert!(listings(&repository, &changed).await == listings(&repository, &read_again).await);
}

/// Pages from `first` on, so many, each `step` behind the one before, become other ones.
fn rewrite(content: &mut [u8], first: usize, count: usize, step: usize) {
    for number in 0..count {
        let at = (first + number * step) * PAGE;
        content[at..at + PAGE].copy_from_slice(&noise(at as u64 + 1, PAGE));
    }
}

/// Everything that a file can go through between two backups, at the borders of a block, a small file, a piece.
#[tokio::test(flavor = "multi_thread")]
async fn changes_are_stored_as_what_is_read() {
    const MIB: usize = 1 << 20;
    type Change = fn(&mut Vec<u8>);
    let files: [(usize, Change); 18] = [
        (16 * PAGE, |_| {}),
        (PAGE, |content| rewrite(content, 0, 1, 1)),
        (3 * PAGE, |content| rewrite(content, 2, 1, 1)),
        (32 * PAGE, |content| rewrite(content, 1, 10, 3)),
        (32 * PAGE, |content| content.resize(33 * PAGE, 0)),
        (20 * PAGE, |content| content.resize(9 * MIB, 7)),
        (33 * PAGE, |content| content.truncate(32 * PAGE)),
        (9 * MIB, |content| content.truncate(5 * PAGE)),
        (9 * MIB, |content| content.truncate(5 * MIB + PAGE)),
        (9 * MIB, |_| {}),
        (20 * MIB, |content| rewrite(content, 0, 1200, 2)),
        (20 * MIB, |content| rewrite(content, 100, 2300, 1)),
        (20 * MIB + PAGE, |content| rewrite(content, 2560, 1, 1)),
        (63 * MIB, |content| content.resize(66 * MIB, 0)),
        (66 * MIB, |content| {
            content.truncate(60 * MIB + PAGE);
            rewrite(content, 7, 2, 3000);
        }),
        (130 * MIB, |content| rewrite(content, 8191, 2, 1)),
        (66 * MIB, |content| {
            content.resize(67 * MIB, 0);
            rewrite(content, 67 * 128 - 1, 1, 1);
        }),
        (70 * MIB, |_| {}),
    ];
    let (now, before) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for (number, (size, change)) in files.into_iter().enumerate() {
        let mut content = noise(number as u64, size);
        fs::write(before.path().join(number.to_string()), &content).unwrap();
        change(&mut content);
        fs::write(now.path().join(number.to_string()), &content).unwrap();
    }
    // One that is new, and one that goes.
    fs::write(now.path().join("new"), noise(77, 3 * PAGE)).unwrap();
    fs::write(before.path().join("gone"), noise(78, 3 * PAGE)).unwrap();
    let repository = repository().await;
    take(&repository, &TreeEngine::new("t", before.path())).await.unwrap();
    let mut sent = Sent::new(now.path());
    sent.before = Some(before.path().to_owned());
    let changed = take(&repository, &sent).await.unwrap();
    assert!(changed.new_bytes < 80 << 20, "{changed:?}");
    let read = take(&repository, &TreeEngine::new("t", now.path())).await.unwrap();
    // Every block is known; those of packs of which little is left are stored anew nevertheless, so that these die.
    assert!(read.new_bytes < 32 << 20, "{read:?}");
    assert_eq!(files_of(&repository, &changed).await, files_of(&repository, &read).await);
    let report =
        crate::job::verify::verify(&repository, &VerifyOptions::default(), &Monitor::default()).await;
    let report = report.unwrap();
    assert!(report.is_proven() && report.complete, "every block is where it is looked for: {report:?}");

    // Pages of a file that the base does not have are no file.
    let other = Repository::open_or_create(Arc::new(InMemory::new()), None).await.unwrap();
    let reading = Reading { whole: false, ignores_base: false };
    let error = attempt(&other, &sent, &options(), reading, &Monitor::default()).await.unwrap_err();
    assert!(is_base_lost(&error), "{error}");
    assert!(other.backups().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_repository_has_lost_is_stored_anew_and_the_rest_is_referred_to() {
    let (tree, store) = (tree(), Arc::new(InMemory::new()));
    let repository = Repository::open_or_create(Arc::clone(&store) as _, None).await.unwrap();
    let engine = TreeEngine::new("t", tree.path());
    let first = take(&repository, &engine).await.unwrap();
    // Those that were full; the last one has the listings, without which nothing of a backup can be referred to.
    let mut packs: Vec<_> = repository.packs_of(&first.id).try_collect().await.unwrap();
    packs.retain(|object| object.size >= pack::TARGET as u64);
    let [gone, .., short] = &packs[..] else { panic!("{packs:?}") };
    store.delete(&gone.location).await.unwrap();
    let whole = store.get(&short.location).await.unwrap().bytes().await.unwrap();
    store.put(&short.location, whole.slice(..whole.len() - 1).into()).await.unwrap();

    let second = take(&repository, &engine).await.unwrap();
    assert_eq!(second.base.as_ref(), Some(&first.id));
    assert!(second.new_bytes > 0 && second.new_bytes < second.raw_bytes / 4 * 3, "{second:?}");
    for (backup, is_sound) in [(&first, false), (&second, true)] {
        let options = VerifyOptions { backup: Some(backup.id.clone()), ..VerifyOptions::default() };
        let report = crate::job::verify::verify(&repository, &options, &Monitor::default()).await.unwrap();
        assert_eq!(report.is_proven(), is_sound, "{report:?}");
    }
    assert_eq!(take(&repository, &engine).await.unwrap().new_bytes, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_lost_leaves_no_backup_and_what_came_is_not_stored_again() {
    let (tree, repository) = (tree(), repository().await);
    let sent = Sent::new(tree.path());
    for lost_after in [0, 100_000, 3 << 20, 80 << 20, 150 << 20] {
        let lost = Sent { lost_after, ..sent.clone() };
        let eager = BackupOptions { checkpoint_interval: std::time::Duration::ZERO, ..options() };
        let error = backup(&repository, &lost, &eager, &Monitor::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    }
    assert!(repository.backups().await.unwrap().is_empty());
    let whole = take(&repository, &sent).await.unwrap();
    assert!(whole.new_bytes < whole.raw_bytes - (64 << 20), "{whole:?}");
    // Packs that hold little but spans of pieces that never became whole are given up.
    let read = take(&repository, &TreeEngine::new("t", tree.path())).await.unwrap();
    assert!(read.new_bytes < 16 << 20, "{read:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_contradicts_itself_makes_no_backup() {
    let root = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c"] {
        fs::write(root.path().join(name), name).unwrap();
    }
    let (repository, sent) = (repository().await, Sent::new(root.path()));
    for (what, expected) in [
        (Sent { twice: Some(1), ..sent.clone() }, "the source sent \"b\" twice"),
        (Sent { wrong: Some("c"), ..sent.clone() }, "it was another one"),
        (Sent { wrong: Some(""), ..sent.clone() }, "one is missing"),
    ] {
        let error = take(&repository, &what).await.unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Corrupt, expected));
    }
    assert!(repository.backups().await.unwrap().is_empty());
    take(&repository, &sent).await.unwrap();
}
