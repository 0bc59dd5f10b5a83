//! The manifest of a backup: every file and where its blocks lie. JSON lines under zstd.

use std::io::{BufRead as _, BufReader, Write as _};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

/// The version of the manifest's lines that this program writes and the newest that it reads.
pub(crate) const VERSION: u32 = 1;

const LEVEL: i32 = 3;

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    pub(crate) version: u32,
    pub(crate) backup: String,
    /// Blocks refer to packs by their index here.
    pub(crate) packs: Vec<PackRef>,
    /// The number of lines that follow.
    pub(crate) entries: u64,
}

/// A pack by its name, which is the BLAKE3 hash of its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PackRef {
    pub(crate) name: String,
    pub(crate) size: u64,
}

/// One line after the header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Entry {
    Directory { path: String, mode: u32 },
    File(FileEntry),
}

/// A file as it is restored: its size and checksum are those of the blocks, whatever happened to the file since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileEntry {
    pub(crate) path: String,
    pub(crate) mode: u32,
    /// Seconds since 1970.
    pub(crate) modified: i64,
    pub(crate) size: u64,
    pub(crate) crc32c: u32,
    pub(crate) blocks: Vec<BlockRef>,
}

/// A part of a file: `length` bytes from `skip` on in a block that holds `raw` bytes once decompressed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BlockRef {
    #[serde(rename = "p")]
    pub(crate) pack: u32,
    /// The position of the block's zstd frame in the pack, and its length.
    #[serde(rename = "o")]
    pub(crate) offset: u64,
    #[serde(rename = "s")]
    pub(crate) stored: u32,
    #[serde(rename = "r")]
    pub(crate) raw: u32,
    #[serde(rename = "k", default, skip_serializing_if = "is_zero")]
    pub(crate) skip: u32,
    #[serde(rename = "l")]
    pub(crate) length: u32,
    /// BLAKE3 of the decompressed block.
    #[serde(rename = "h", with = "hex_hash")]
    pub(crate) hash: blake3::Hash,
}

/// A hash as 64 hexadecimal digits.
mod hex_hash {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(hash: &blake3::Hash, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hash.to_hex())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<blake3::Hash, D::Error> {
        blake3::Hash::from_hex(String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

fn is_zero(value: &u32) -> bool {
    *value == 0
}

/// Everything that a manifest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) packs: Vec<PackRef>,
    pub(crate) entries: Vec<Entry>,
}

impl Manifest {
    /// Returns the stored bytes of the manifest.
    pub(crate) fn encode(&self, backup: &str) -> Bytes {
        const INFALLIBLE: &str = "writing to memory cannot fail";
        let mut encoder = zstd::Encoder::new(Vec::new(), LEVEL).expect(INFALLIBLE);
        let header = Header {
            version: VERSION,
            backup: backup.to_owned(),
            packs: self.packs.clone(),
            entries: self.entries.len() as u64,
        };
        serde_json::to_writer(&mut encoder, &header).expect(INFALLIBLE);
        for entry in &self.entries {
            encoder.write_all(b"\n").expect(INFALLIBLE);
            serde_json::to_writer(&mut encoder, entry).expect(INFALLIBLE);
        }
        encoder.write_all(b"\n").expect(INFALLIBLE);
        Bytes::from(encoder.finish().expect(INFALLIBLE))
    }

    /// Reads the stored bytes of the manifest of `backup`.
    ///
    /// # Errors
    /// `Corrupt`, or `Unsupported` where a newer version wrote it.
    pub(crate) fn decode(backup: &str, bytes: &[u8]) -> Result<Self> {
        let corrupt = |what: &str| Error::corrupt(format!("the manifest of backup {backup} {what}"));
        let decoder = zstd::Decoder::new(bytes).map_err(|error| corrupt("is not zstd").with_source(error))?;
        let mut lines = BufReader::with_capacity(1 << 18, decoder).lines();
        let first = lines.next().ok_or_else(|| corrupt("is empty"))?;
        let first = first.map_err(|error| corrupt("cannot be decompressed").with_source(error))?;
        let version = serde_json::from_str::<VersionOnly>(&first)
            .map_err(|error| corrupt("has no valid first line").with_source(error))?
            .version;
        if version > VERSION {
            let message = format!(
                "the manifest of backup {backup} has version {version}; this program reads up to {VERSION}"
            );
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let header: Header = serde_json::from_str(&first)
            .map_err(|error| corrupt("has no valid first line").with_source(error))?;
        if header.backup != backup {
            return Err(corrupt(&format!("belongs to backup {}", header.backup)));
        }
        let mut entries = Vec::new();
        for line in lines {
            let line = line.map_err(|error| corrupt("cannot be decompressed").with_source(error))?;
            let entry: Entry = serde_json::from_str(&line).map_err(|error| {
                corrupt(&format!("has a bad line {}", entries.len() + 2)).with_source(error)
            })?;
            check_references(&entry, &header.packs).map_err(|what| corrupt(&what))?;
            entries.push(entry);
        }
        if entries.len() as u64 != header.entries {
            return Err(corrupt(&format!("has {} entries, expected {}", entries.len(), header.entries)));
        }
        Ok(Manifest { packs: header.packs, entries })
    }

    pub(crate) fn files(&self) -> impl Iterator<Item = &FileEntry> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::File(file) => Some(file),
            Entry::Directory { .. } => None,
        })
    }

    /// Returns the bytes of all files once restored.
    pub(crate) fn size(&self) -> u64 {
        self.files().map(|file| file.size).sum()
    }
}

#[derive(Deserialize)]
struct VersionOnly {
    version: u32,
}

/// Paths must stay below the data directory, and blocks inside their packs and files.
fn check_references(entry: &Entry, packs: &[PackRef]) -> Result<(), String> {
    let path = match entry {
        Entry::Directory { path, .. } => path,
        Entry::File(file) => &file.path,
    };
    if path.is_empty() || path.split('/').any(|part| matches!(part, "" | "." | "..")) || path.contains('\0') {
        return Err(format!("holds the path {path:?}"));
    }
    let Entry::File(file) = entry else { return Ok(()) };
    let mut size = 0;
    for block in &file.blocks {
        let pack = packs.get(block.pack as usize).ok_or_else(|| format!("has no pack for {path:?}"))?;
        let inside_pack =
            block.offset.checked_add(u64::from(block.stored)).is_some_and(|end| end <= pack.size);
        let inside_block = block.skip.checked_add(block.length).is_some_and(|end| end <= block.raw);
        if !inside_pack || !inside_block {
            return Err(format!("places a block of {path:?} outside its pack"));
        }
        size += u64::from(block.length);
    }
    if size != file.size {
        return Err(format!("has {size} bytes of blocks for {path:?}, which has {}", file.size));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> FileEntry {
        let block = BlockRef {
            pack: 0,
            offset: 10,
            stored: 20,
            raw: 100,
            skip: 40,
            length: 60,
            hash: blake3::hash(b"x"),
        };
        FileEntry {
            path: path.to_owned(),
            mode: 0o600,
            modified: 5,
            size: 60,
            crc32c: 7,
            blocks: vec![block],
        }
    }

    fn manifest(file: FileEntry) -> Manifest {
        Manifest {
            packs: vec![PackRef { name: "ab".to_owned(), size: 30 }],
            entries: vec![Entry::Directory { path: "base".to_owned(), mode: 0o700 }, Entry::File(file)],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let manifest = manifest(file("base/1"));
        assert_eq!(Manifest::decode("id", &manifest.encode("id")).unwrap(), manifest);
    }

    #[test]
    fn damaged_and_foreign_manifests_are_refused() {
        type Change = fn(&mut FileEntry);
        let changes: [(&str, Change); 6] = [
            ("holds the path", |file| file.path = "base/../../x".to_owned()),
            ("holds the path", |file| file.path = "/etc/passwd".to_owned()),
            ("has no pack", |file| file.blocks[0].pack = 1),
            ("outside its pack", |file| file.blocks[0].offset = 11),
            ("outside its pack", |file| file.blocks[0].skip = 41),
            ("bytes of blocks", |file| file.size = 61),
        ];
        for (complaint, change) in changes {
            let mut file = file("base/1");
            change(&mut file);
            let error = Manifest::decode("id", &manifest(file).encode("id")).unwrap_err();
            assert!(error.to_string().contains(complaint), "{complaint}: {error}");
        }
        let bytes = manifest(file("base/1")).encode("id");
        assert!(Manifest::decode("other", &bytes).unwrap_err().to_string().contains("belongs to backup id"));
        for length in 0..bytes.len() {
            assert!(Manifest::decode("id", &bytes[..length]).is_err(), "cut to {length} bytes");
        }
        let newer = zstd::encode_all(&b"{\"version\":2,\"else\":1}\n"[..], 3).unwrap();
        assert_eq!(Manifest::decode("id", &newer).unwrap_err().kind(), ErrorKind::Unsupported);
    }
}
