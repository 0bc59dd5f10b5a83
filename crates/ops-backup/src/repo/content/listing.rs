//! Listings: runs of paths with what is restored at each. JSON lines.

use serde::{Deserialize, Serialize};

use crate::repo::content::piece::{LocalPacks, StoredPiece, intern, known};
use crate::repo::content::version::{self, Refusal, VERSION};
use crate::repo::content::{Piece, PieceRef};
use crate::repo::crypt::BlockHash;
use crate::repo::pack::{Frame, FrameRef, PackId, PackRef, PackTable, hex_bytes};

/// What is restored at a path below the root of the backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    Directory {
        path: String,
        mode: u32,
    },
    /// A symbolic link; its target is any text.
    Link {
        path: String,
        target: String,
    },
    File(FileEntry),
}

/// A file as it is restored: its size and checksum are those of the blocks, whatever happened to the file since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileEntry {
    pub(crate) path: String,
    pub(crate) mode: u32,
    /// Nanoseconds since 1970.
    pub(crate) modified: i64,
    pub(crate) size: u64,
    pub(crate) crc32c: u32,
    pub(crate) content: Content,
}

/// The bytes of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    Inline(Piece),
    Pieces(Vec<PieceRef>),
}

impl Entry {
    pub(crate) fn path(&self) -> &str {
        match self {
            Entry::Directory { path, .. } | Entry::Link { path, .. } => path,
            Entry::File(file) => &file.path,
        }
    }
}

impl FileEntry {
    /// Returns every pack that the file needs, with the bytes that it uses of it; a pack may come twice.
    pub(crate) fn uses(&self) -> Vec<(PackId, u64)> {
        match &self.content {
            Content::Inline(piece) => piece.uses(),
            Content::Pieces(pieces) => pieces
                .iter()
                .flat_map(|piece| {
                    let frame = piece.frame.frame;
                    piece.uses.iter().copied().chain([(frame.pack, u64::from(frame.raw))])
                })
                .collect(),
        }
    }
}

/// A run of entries in the order of their paths.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Listing {
    pub(crate) entries: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    version: u32,
    packs: Vec<PackRef>,
    entries: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Line {
    Directory {
        path: String,
        mode: u32,
    },
    Link {
        path: String,
        target: String,
    },
    File {
        path: String,
        mode: u32,
        modified: i64,
        size: u64,
        crc32c: u32,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        content: Option<StoredPiece>,
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        pieces: Vec<StoredPieceRef>,
    },
}

/// A frame that another object names.
#[derive(Serialize, Deserialize)]
pub(super) struct StoredFrame {
    pack: u32,
    offset: u64,
    stored: u32,
    raw: u32,
    #[serde(with = "hex_bytes")]
    hash: [u8; 16],
}

#[derive(Serialize, Deserialize)]
struct StoredPieceRef {
    #[serde(flatten)]
    frame: StoredFrame,
    uses: Vec<(u32, u64)>,
}

impl StoredFrame {
    pub(super) fn new(reference: &FrameRef, packs: &mut LocalPacks) -> Self {
        let Frame { pack, offset, stored, raw } = reference.frame;
        StoredFrame { pack: packs.place(pack), offset, stored, raw, hash: reference.hash.0 }
    }

    pub(super) fn check(self, ids: &[PackId], table: &PackTable) -> Result<FrameRef, String> {
        let pack = known(ids, self.pack.into())?;
        if self.offset.checked_add(self.stored.into()).is_none_or(|end| end > table.get(pack).size) {
            return Err("places a frame outside its pack".to_owned());
        }
        let frame = Frame { pack, offset: self.offset, stored: self.stored, raw: self.raw };
        Ok(FrameRef { frame, hash: BlockHash(self.hash) })
    }
}

impl Listing {
    pub(crate) fn encode(&self, table: &PackTable) -> Vec<u8> {
        const INFALLIBLE: &str = "a listing is always valid JSON";
        let mut packs = LocalPacks::default();
        let mut lines = Vec::new();
        for entry in &self.entries {
            serde_json::to_writer(&mut lines, &Line::new(entry, &mut packs)).expect(INFALLIBLE);
            lines.push(b'\n');
        }
        let header =
            Header { version: VERSION, packs: packs.references(table), entries: self.entries.len() as u64 };
        let mut bytes = serde_json::to_vec(&header).expect(INFALLIBLE);
        bytes.push(b'\n');
        bytes.append(&mut lines);
        bytes
    }

    /// # Errors
    /// A description of what is wrong.
    pub(crate) fn decode(bytes: &[u8], table: &PackTable) -> Result<Self, Refusal> {
        let mut lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let first = lines.next().unwrap_or_default();
        let header: Header =
            version::parse(first, |header: &Header| header.version, "has no valid first line")?;
        let ids = intern(header.packs, table)?;
        let mut entries: Vec<Entry> = Vec::new();
        for line in lines {
            let line: Line = serde_json::from_slice(line)
                .map_err(|error| format!("has a bad line {}: {error}", entries.len() + 2))?;
            let entry = line.check(&ids, table)?;
            if entries.last().is_some_and(|last| last.path() >= entry.path()) {
                return Err(format!("has {:?} out of order", entry.path()).into());
            }
            entries.push(entry);
        }
        if entries.len() as u64 != header.entries {
            return Err(format!("has {} entries, expected {}", entries.len(), header.entries).into());
        }
        Ok(Listing { entries })
    }

    /// Returns every pack that the entries need, each once, with the bytes used.
    pub(crate) fn uses(&self) -> Vec<(PackId, u64)> {
        let mut uses = std::collections::BTreeMap::<PackId, u64>::new();
        for entry in &self.entries {
            let Entry::File(file) = entry else { continue };
            for (pack, bytes) in file.uses() {
                let used = uses.entry(pack).or_default();
                *used = used.saturating_add(bytes);
            }
        }
        uses.into_iter().collect()
    }
}

impl Line {
    fn new(entry: &Entry, packs: &mut LocalPacks) -> Self {
        let file = match entry {
            Entry::Directory { path, mode } => return Line::Directory { path: path.clone(), mode: *mode },
            Entry::Link { path, target } => {
                return Line::Link { path: path.clone(), target: target.clone() };
            }
            Entry::File(file) => file,
        };
        let mut content = None;
        let mut pieces = Vec::new();
        match &file.content {
            Content::Inline(piece) => content = Some(StoredPiece::new(piece, packs)),
            Content::Pieces(references) => {
                for PieceRef { frame, uses } in references {
                    let frame = StoredFrame::new(frame, packs);
                    let uses = uses.iter().map(|(pack, bytes)| (packs.place(*pack), *bytes)).collect();
                    pieces.push(StoredPieceRef { frame, uses });
                }
            }
        }
        let FileEntry { path, mode, modified, size, crc32c, .. } = file;
        Line::File {
            path: path.clone(),
            mode: *mode,
            modified: *modified,
            size: *size,
            crc32c: *crc32c,
            content,
            pieces,
        }
    }

    /// Paths must stay below the root, and the content must be all of the file.
    fn check(self, ids: &[PackId], table: &PackTable) -> Result<Entry, String> {
        let (Line::Directory { path, .. } | Line::Link { path, .. } | Line::File { path, .. }) = &self;
        if path.is_empty()
            || path.split('/').any(|part| matches!(part, "" | "." | ".."))
            || path.contains('\0')
        {
            return Err(format!("holds the path {path:?}"));
        }
        let (path, mode, modified, size, crc32c, content, pieces) = match self {
            Line::Directory { path, mode } => return Ok(Entry::Directory { path, mode }),
            Line::Link { path, target } => return Ok(Entry::Link { path, target }),
            Line::File { path, mode, modified, size, crc32c, content, pieces } => {
                (path, mode, modified, size, crc32c, content, pieces)
            }
        };
        let content = match content {
            Some(_) if !pieces.is_empty() => return Err(format!("has two contents for {path:?}")),
            Some(piece) => {
                let piece = piece.check(ids, table).map_err(|what| format!("{what} of {path:?}"))?;
                if piece.length != size {
                    return Err(format!(
                        "has {} bytes of blocks for {path:?}, which has {size}",
                        piece.length
                    ));
                }
                Content::Inline(piece)
            }
            None if pieces.len() as u64 == size.div_ceil(super::PIECE) => {
                let pieces = pieces.into_iter().map(|piece| {
                    let uses: Result<Vec<_>, String> = piece
                        .uses
                        .iter()
                        .map(|(pack, bytes)| Ok((known(ids, (*pack).into())?, *bytes)))
                        .collect();
                    Ok(PieceRef { frame: piece.frame.check(ids, table)?, uses: uses? })
                });
                Content::Pieces(pieces.collect::<Result<_, String>>()?)
            }
            None => return Err(format!("has {} pieces for {path:?}, which has {size} bytes", pieces.len())),
        };
        Ok(Entry::File(FileEntry { path, mode, modified, size, crc32c, content }))
    }
}
