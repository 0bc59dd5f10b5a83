//! Small backups for the tests of what reads them, made without the code that makes real ones.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use object_store::memory::InMemory;

use crate::repo::Repository;
use crate::repo::catalog::{Backup, BackupSource, TreeBackup};
use crate::repo::compress::Compression;
use crate::repo::content::{
    BLOCK, Content, Entry, Extent, FileEntry, INLINE, Listing, ListingRef, Manifest, PIECE, Piece, PieceRef,
};
use crate::repo::keys::Key;
use crate::repo::log::Event;
use crate::repo::pack::{FrameRef, PackId, PackTable, Packer, Placed};

/// A repository in memory.
pub(crate) async fn repository(encrypted: bool) -> Repository {
    let key = Key::Raw(zeroize::Zeroizing::new([5; 32]));
    Repository::open_or_create(Arc::new(InMemory::new()), encrypted.then_some(&key)).await.unwrap()
}

/// Bytes that differ from block to block, compress, and depend on `seed`.
pub(crate) fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let word = |at: usize| (seed.wrapping_mul(0x9E37_79B9) ^ (at / 64) as u64).wrapping_mul(0xD129_42B5);
    (0..length).map(|at| (word(at) >> (at % 4)) as u8).collect()
}

pub(crate) struct Sample<'a> {
    pub(crate) repository: &'a Repository,
    pub(crate) id: String,
    pub(crate) source: BackupSource,
    /// Blocks in a frame, and files in a listing.
    pub(crate) frame_blocks: usize,
    pub(crate) listing_files: usize,
}

impl<'a> Sample<'a> {
    pub(crate) fn new(repository: &'a Repository, id: &str) -> Self {
        let source = BackupSource::Tree(TreeBackup {
            name: "sample".to_owned(),
            root: "/".into(),
            changed_files: 0,
            changed_examples: Vec::new(),
        });
        Sample { repository, id: id.to_owned(), source, frame_blocks: 4, listing_files: 3 }
    }

    /// Stores and commits a backup of `files`, and returns it. Paths that end with a slash are directories.
    pub(crate) async fn store(&self, files: &[(&str, Vec<u8>)]) -> Backup {
        let source = match &self.source {
            BackupSource::Tree(tree) => format!("tree/{}", tree.name),
            BackupSource::Postgres(facts) => format!("postgres/{}", facts.cluster.system_identifier),
        };
        let begin = Event::Begin { backup: self.id.clone(), source, bases: Vec::new() };
        self.repository.append(|_| Ok(Some(begin.clone()))).await.unwrap();
        let table = PackTable::default();
        let mut files: Vec<_> = files.iter().collect();
        files.sort_by_key(|(path, _)| path.trim_end_matches('/').to_owned());
        let mut listings = Vec::new();
        let mut added = 0;
        for run in files.chunks(self.listing_files) {
            listings.push(self.listing(run, &table, &mut added).await);
        }
        let raw = files.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        let count = files.iter().filter(|(path, _)| !path.ends_with('/')).count() as u64;
        let manifest = Manifest {
            backup: self.id.clone(),
            source: self.source.clone(),
            files: count,
            bytes: raw,
            listings,
        };
        let reference = self.repository.write_manifest(&manifest, &table).await.unwrap();
        let backup = Backup {
            id: self.id.clone(),
            tool: "sample".to_owned(),
            started_at: Timestamp::now(),
            finished_at: Timestamp::now(),
            source: self.source.clone(),
            base: None,
            files: count,
            raw_bytes: raw,
            new_bytes: raw,
            added_bytes: added,
            stored_bytes: added,
            manifest: reference,
            bad_pages: 0,
            bad_page_examples: Vec::new(),
        };
        let commit = Event::Commit { backup: Box::new(backup.clone()) };
        self.repository.append(|_| Ok(Some(commit.clone()))).await.unwrap();
        backup
    }

    fn packer(&self) -> Packer {
        let secrets = self.repository.secrets().clone();
        Packer::new(self.id.as_str().into(), secrets, Compression::default()).unwrap()
    }

    async fn send(&self, packer: &mut Packer, table: &PackTable, added: &mut u64) -> PackId {
        let pack = packer.take().unwrap();
        *added += pack.reference.size;
        self.repository.write(&pack.reference.path(), pack.bytes).await.unwrap();
        table.intern(pack.reference)
    }

    async fn listing(&self, run: &[&(&str, Vec<u8>)], table: &PackTable, added: &mut u64) -> ListingRef {
        let mut data = self.packer();
        let mut pieces = Vec::new();
        for (_, bytes) in run {
            let mut of_file: Vec<(Piece, Vec<(Placed, u32)>)> = Vec::new();
            for piece in bytes.chunks(usize::try_from(PIECE).unwrap()) {
                let mut placed = Vec::new();
                for frame in piece.chunks(self.frame_blocks * BLOCK) {
                    let blocks = u32::try_from(frame.len().div_ceil(BLOCK)).unwrap();
                    placed.push((data.add(frame).unwrap(), blocks));
                }
                let hashes = piece.chunks(BLOCK).map(|block| self.repository.secrets().hash(block)).collect();
                let piece = Piece {
                    length: piece.len() as u64,
                    crc32c: crc32c::crc32c(piece),
                    extents: Vec::new(),
                    hashes,
                };
                of_file.push((piece, placed));
            }
            pieces.push(of_file);
        }
        let has_data = pieces.iter().any(|pieces| !pieces.is_empty());
        let pack = if has_data { Some(self.send(&mut data, table, added).await) } else { None };
        let mut entries = Vec::new();
        for ((path, bytes), pieces) in run.iter().zip(pieces) {
            if let Some(path) = path.strip_suffix('/') {
                entries.push(Entry::Directory { path: path.to_owned(), mode: 0o700 });
                continue;
            }
            let mut whole: Vec<Piece> = pieces
                .into_iter()
                .map(|(mut piece, placed)| {
                    let pack = pack.unwrap();
                    let extent = |(placed, blocks): (Placed, u32)| Extent {
                        frame: placed.in_pack(pack),
                        skip: 0,
                        blocks,
                    };
                    piece.extents = placed.into_iter().map(extent).collect();
                    piece
                })
                .collect();
            let content = if bytes.len() as u64 <= INLINE {
                Content::Inline(whole.pop().unwrap_or_default())
            } else {
                let mut metadata = self.packer();
                let mut references = Vec::new();
                for piece in &whole {
                    let encoded = piece.encode(table);
                    references
                        .push((metadata.add(&encoded).unwrap(), self.repository.secrets().hash(&encoded)));
                }
                let pack = self.send(&mut metadata, table, added).await;
                let references = references.into_iter().zip(&whole).map(|((placed, hash), piece)| PieceRef {
                    frame: FrameRef { frame: placed.in_pack(pack), hash },
                    uses: piece.uses(),
                });
                Content::Pieces(references.collect())
            };
            entries.push(Entry::File(FileEntry {
                path: (*path).to_owned(),
                mode: 0o640,
                modified: 1_600_000_000_000_000_007,
                size: bytes.len() as u64,
                crc32c: crc32c::crc32c(bytes),
                content,
            }));
        }
        let listing = Listing { entries };
        let encoded = listing.encode(table);
        let mut metadata = self.packer();
        let placed = metadata.add(&encoded).unwrap();
        let pack = self.send(&mut metadata, table, added).await;
        let hash = self.repository.secrets().hash(&encoded);
        ListingRef {
            first: listing.entries[0].path().to_owned(),
            frame: FrameRef { frame: placed.in_pack(pack), hash },
            uses: listing.uses(),
        }
    }
}

/// Replaces an object, as only damage does.
pub(crate) async fn overwrite(repository: &Repository, path: &object_store::path::Path, bytes: Vec<u8>) {
    use object_store::ObjectStoreExt as _;
    repository.store().put(path, Bytes::from(bytes).into()).await.unwrap();
}
