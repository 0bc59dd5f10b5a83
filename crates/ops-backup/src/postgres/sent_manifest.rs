//! The `backup_manifest` that a server sends behind its files: what it says each of them is. Pure.
//!
//! Source: "Backup Manifest Format" of the PostgreSQL manual. The server writes one line for each file. Only hashes of the
//! paths are kept, so that a million files take 32 MB.

use std::collections::HashSet;

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};

/// Reads the manifest as it comes.
#[derive(Debug, Default)]
pub(crate) struct ManifestReader {
    /// Of every line before the checksum's own.
    hash: Sha256,
    line: Vec<u8>,
    files: Vec<SentFile>,
    /// The manifest's own checksum, which comes last.
    checksum: Option<String>,
}

/// What the server says about every file.
#[derive(Debug)]
pub(crate) struct SentManifest {
    /// In the order of keys.
    files: Vec<SentFile>,
    /// What is stored in another form than it was sent in, and was compared before.
    merged: HashSet<u128>,
}

/// A file that is not stored as it was sent: the server's word is about what it sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Merged {
    sent: u128,
    size: u64,
    crc32c: u32,
    stored: u128,
}

impl Merged {
    /// What came at the path `sent`, and the path at which something is stored for it.
    pub(crate) fn new(sent: &str, size: u64, crc32c: u32, stored: &str) -> Self {
        Merged { sent: key(sent.as_bytes()), size, crc32c, stored: key(stored.as_bytes()) }
    }
}

#[derive(Debug, Clone, Copy)]
struct SentFile {
    key: u128,
    size: u64,
    crc32c: u32,
    is_stored: bool,
}

/// No path has so many bytes.
const LONGEST_LINE: usize = 64 << 10;

#[derive(Deserialize)]
struct FileLine {
    #[serde(rename = "Path")]
    path: Option<String>,
    #[serde(rename = "Encoded-Path")]
    encoded_path: Option<String>,
    #[serde(rename = "Size")]
    size: u64,
    #[serde(rename = "Checksum-Algorithm")]
    algorithm: Option<String>,
    #[serde(rename = "Checksum")]
    checksum: Option<String>,
}

impl ManifestReader {
    /// Adds the next bytes.
    ///
    /// # Errors
    /// `Corrupt` for a line that no manifest has.
    pub(crate) fn push(&mut self, mut bytes: &[u8]) -> Result<()> {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.line.extend_from_slice(&bytes[..=end]);
            bytes = &bytes[end + 1..];
            let line = std::mem::take(&mut self.line);
            self.whole(&line)?;
            self.line = line;
            self.line.clear();
        }
        self.line.extend_from_slice(bytes);
        if self.line.len() > LONGEST_LINE {
            return Err(Error::corrupt("a line of the server's manifest has no end"));
        }
        Ok(())
    }

    fn whole(&mut self, line: &[u8]) -> Result<()> {
        let broken = || {
            let line = String::from_utf8_lossy(line);
            Error::corrupt(format!("the server's manifest holds the line {:?}", line.trim()))
        };
        if self.checksum.is_some() {
            return Err(broken());
        }
        if let Some(rest) = line.strip_prefix(b"\"Manifest-Checksum\": \"") {
            let end = rest.iter().position(|byte| *byte == b'"').ok_or_else(broken)?;
            self.checksum = Some(String::from_utf8_lossy(&rest[..end]).into_owned());
            return Ok(());
        }
        self.hash.update(line);
        if !(line.starts_with(b"{ \"Path\"") || line.starts_with(b"{ \"Encoded-Path\"")) {
            return Ok(());
        }
        let json = line.trim_ascii_end();
        let json = json.strip_suffix(b",").unwrap_or(json);
        let file: FileLine = serde_json::from_slice(json).map_err(|_| broken())?;
        let path = match (file.path, file.encoded_path) {
            (Some(path), None) => path.into_bytes(),
            (None, Some(encoded)) => decode_hex(&encoded).ok_or_else(broken)?,
            _ => return Err(broken()),
        };
        // Each byte of the checksum as it lies in memory on a little-endian machine.
        let checksum = file.checksum.filter(|_| file.algorithm.as_deref() == Some("CRC32C"));
        let checksum = checksum.filter(|digits| digits.len() == 8);
        let crc32c = checksum.and_then(|digits| u32::from_str_radix(&digits, 16).ok()).ok_or_else(broken)?;
        let crc32c = crc32c.swap_bytes();
        self.files.push(SentFile { key: key(&path), size: file.size, crc32c, is_stored: false });
        Ok(())
    }

    /// Ends the manifest.
    ///
    /// # Errors
    /// `Corrupt` where it is not whole.
    pub(crate) fn finish(mut self) -> Result<SentManifest> {
        let Some(checksum) = self.checksum.filter(|_| self.line.is_empty()) else {
            return Err(Error::corrupt("the server's manifest has no end"));
        };
        let found: String = self.hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        if found != checksum {
            return Err(Error::corrupt("the checksum of the server's manifest is wrong"));
        }
        self.files.sort_unstable_by_key(|file| file.key);
        if self.files.windows(2).any(|pair| pair[0].key == pair[1].key) {
            return Err(Error::corrupt("the server's manifest names a file twice"));
        }
        Ok(SentManifest { files: self.files, merged: HashSet::new() })
    }
}

impl SentManifest {
    /// Notes that the file at `path` was left out, and need not be stored.
    pub(crate) fn leave_out(&mut self, path: &str) {
        if let Some(file) = self.find(key(path.as_bytes())) {
            file.is_stored = true;
        }
    }

    /// Compares a file as it was sent with what the server says; what is stored for it is not compared any more.
    ///
    /// # Errors
    /// `Corrupt` where it says another thing, or nothing.
    pub(crate) fn merge(&mut self, merged: &Merged) -> Result<()> {
        let other = || Error::corrupt("the server sent changes of a file that are not those in its manifest");
        let clash = merged.sent != merged.stored && self.find(merged.stored).is_some();
        let file = self.find(merged.sent).filter(|_| !clash).ok_or_else(other)?;
        if (file.size, file.crc32c, file.is_stored) != (merged.size, merged.crc32c, false) {
            return Err(other());
        }
        file.is_stored = true;
        if self.merged.insert(merged.stored) { Ok(()) } else { Err(other()) }
    }

    /// Compares what was stored at `path` with what the server says.
    ///
    /// # Errors
    /// `Corrupt` where it says another thing, or nothing.
    pub(crate) fn check(&mut self, path: &str, size: u64, crc32c: u32) -> Result<()> {
        let key = key(path.as_bytes());
        if self.merged.remove(&key) {
            return Ok(());
        }
        let Some(file) = self.find(key) else {
            return Err(Error::corrupt(format!("{path:?} came from the server, but not in its manifest")));
        };
        file.is_stored = true;
        if (file.size, file.crc32c) != (size, crc32c) {
            let message = format!(
                "{path:?} has {size} bytes with the CRC-32C {crc32c:08x}, and by the server's manifest {} with {:08x}",
                file.size, file.crc32c
            );
            return Err(Error::corrupt(message));
        }
        Ok(())
    }

    /// Fails where a file was not stored.
    ///
    /// # Errors
    /// `Corrupt`.
    pub(crate) fn end(&self) -> Result<()> {
        match self.files.iter().filter(|file| !file.is_stored).count() + self.merged.len() {
            0 => Ok(()),
            missing => {
                let message = format!("{missing} of the files in the server's manifest did not come");
                Err(Error::corrupt(message))
            }
        }
    }

    fn find(&mut self, key: u128) -> Option<&mut SentFile> {
        let at = self.files.binary_search_by_key(&key, |file| file.key).ok()?;
        Some(&mut self.files[at])
    }
}

/// What stands for a path: no two that anyone can make are the same.
fn key(path: &[u8]) -> u128 {
    let hash = blake3::hash(path);
    u128::from_le_bytes(*hash.as_bytes().first_chunk().expect("a hash has 32 bytes"))
}

fn decode_hex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    if rest.is_empty() { pairs.iter().map(byte).collect() } else { None }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::postgres::lsn::{Lsn, SystemIdentifier};
    use crate::postgres::manifest::ManifestWriter;

    const FILES: [(&str, u64, u32); 3] =
        [("PG_VERSION", 3, 0x2247_748a), ("base/5/1 \"x\"", 0, 0), ("b", 9, 7)];

    fn manifest() -> Vec<u8> {
        let mut writer = ManifestWriter::new(Vec::new(), 17, SystemIdentifier(7)).unwrap();
        for (path, size, crc32c) in FILES {
            writer.file(path, size, Timestamp::UNIX_EPOCH, crc32c).unwrap();
        }
        writer.finish(1, Lsn(1), Lsn(2)).unwrap()
    }

    fn read(bytes: &[u8], chunk: usize) -> Result<SentManifest> {
        let mut reader = ManifestReader::default();
        bytes.chunks(chunk).try_for_each(|chunk| reader.push(chunk))?;
        reader.finish()
    }

    #[test]
    fn every_file_must_be_what_the_manifest_says() {
        for chunk in [1, 7, 100_000] {
            let mut whole = read(&manifest(), chunk).unwrap();
            for (path, size, crc32c) in FILES {
                assert!(whole.end().is_err(), "{path} is missing");
                assert!(whole.check(path, size + 1, crc32c).is_err());
                assert!(whole.check(path, size, crc32c ^ 1).is_err());
                whole.check(path, size, crc32c).unwrap();
            }
            whole.end().unwrap();
            assert!(whole.check("c", 0, 0).is_err(), "an unknown file");
        }
        let mut left_out = read(&manifest(), 50).unwrap();
        FILES.iter().for_each(|(path, ..)| left_out.leave_out(path));
        left_out.end().unwrap();
    }

    #[test]
    fn what_is_stored_in_another_form_is_compared_as_it_was_sent() {
        let (path, size, crc32c) = FILES[0];
        for wrong in [
            Merged::new(path, size + 1, crc32c, "x"),
            Merged::new(path, size, crc32c ^ 1, "x"),
            Merged::new("unknown", size, crc32c, "x"),
            Merged::new(path, size, crc32c, FILES[1].0),
        ] {
            read(&manifest(), 50).unwrap().merge(&wrong).unwrap_err();
        }
        for stored in ["x", path] {
            let mut whole = read(&manifest(), 50).unwrap();
            whole.merge(&Merged::new(path, size, crc32c, stored)).unwrap();
            whole.merge(&Merged::new(path, size, crc32c, stored)).unwrap_err();
            FILES[1..].iter().for_each(|(path, ..)| whole.leave_out(path));
            whole.end().expect_err("what was merged must be stored");
            whole.check(stored, 777, 777).unwrap();
            whole.end().unwrap();
        }
    }

    #[test]
    fn a_damaged_manifest_is_refused() {
        let whole = manifest();
        for cut in 0..whole.len() {
            assert!(read(&whole[..cut], 64).is_err(), "cut at {cut}");
        }
        for at in 0..whole.len() - 3 {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            assert!(read(&changed, 64).is_err(), "byte {at}");
        }
        assert!(read(&[&whole[..], b"more\n"].concat(), 64).is_err());
        assert!(read(&vec![b'x'; LONGEST_LINE + 2], 1000).is_err());
    }

    #[test]
    fn encoded_paths_are_read() {
        let text = "{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n\"Files\": [\n\
                    { \"Encoded-Path\": \"6261\", \"Size\": 1, \"Checksum-Algorithm\": \"CRC32C\", \"Checksum\": \"01000000\" }\n],\n";
        let checksum: String = Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
        let mut manifest =
            read(format!("{text}\"Manifest-Checksum\": \"{checksum}\"}}\n").as_bytes(), 9).unwrap();
        manifest.check("ba", 1, 1).unwrap();
    }
}
