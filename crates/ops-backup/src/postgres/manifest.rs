//! The `backup_manifest` that stock `pg_verifybackup` reads, written for the restored bytes. Pure.
//!
//! Source: "Backup Manifest Format" of the PostgreSQL manual; version 1 up to 16, version 2 from 17 on.

use std::io::{self, Write};

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::postgres::lsn::{Lsn, SystemIdentifier};

/// Writes the manifest, one file at a time: a cluster may have more files than fit into memory.
pub(crate) struct ManifestWriter<W> {
    out: W,
    hash: Sha256,
    first: bool,
}

impl<W> std::fmt::Debug for ManifestWriter<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ManifestWriter").finish_non_exhaustive()
    }
}

impl<W: Write> ManifestWriter<W> {
    /// Begins a manifest; `out` is best buffered.
    pub(crate) fn new(out: W, major: u32, system_identifier: SystemIdentifier) -> io::Result<Self> {
        let head = if major >= 17 {
            format!(
                "{{ \"PostgreSQL-Backup-Manifest-Version\": 2,\n\"System-Identifier\": {system_identifier},\n"
            )
        } else {
            "{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n".to_owned()
        };
        let mut writer = ManifestWriter { out, hash: Sha256::new(), first: true };
        writer.put(&(head + "\"Files\": ["))?;
        Ok(writer)
    }

    /// Adds one file with the CRC-32C of its restored bytes.
    pub(crate) fn file(&mut self, path: &str, size: u64, modified: Timestamp, crc32c: u32) -> io::Result<()> {
        let separator = if self.first { "\n" } else { ",\n" };
        self.first = false;
        let path = serde_json::to_string(path).expect("a string is always valid JSON");
        let modified = modified.strftime("%Y-%m-%d %H:%M:%S GMT");
        // The checksum is written byte by byte as it lies in memory on a little-endian machine.
        let checksum = crc32c.swap_bytes();
        self.put(&format!(
            "{separator}{{ \"Path\": {path}, \"Size\": {size}, \"Last-Modified\": \"{modified}\", \
             \"Checksum-Algorithm\": \"CRC32C\", \"Checksum\": \"{checksum:08x}\" }}"
        ))
    }

    /// Returns where the manifest is written to.
    pub(crate) fn out(&mut self) -> &mut W {
        &mut self.out
    }

    /// Ends the manifest with the WAL that the backup needs.
    pub(crate) fn finish(mut self, timeline: u32, start: Lsn, end: Lsn) -> io::Result<W> {
        self.put(&format!(
            "\n],\n\"WAL-Ranges\": [\n{{ \"Timeline\": {timeline}, \"Start-LSN\": \"{start}\", \"End-LSN\": \"{end}\" }}\n],\n"
        ))?;
        let checksum: String = self.hash.finalize_reset().iter().map(|byte| format!("{byte:02x}")).collect();
        self.put(&format!("\"Manifest-Checksum\": \"{checksum}\"}}\n"))?;
        Ok(self.out)
    }

    fn put(&mut self, text: &str) -> io::Result<()> {
        self.hash.update(text.as_bytes());
        self.out.write_all(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_the_shape_and_byte_order_of_the_server() {
        let mut writer = ManifestWriter::new(Vec::new(), 15, SystemIdentifier(7)).unwrap();
        writer.file("PG_VERSION", 3, Timestamp::UNIX_EPOCH, crc32c::crc32c(b"15\n")).unwrap();
        writer.file("base/\"x\"", 0, Timestamp::UNIX_EPOCH, 0).unwrap();
        let text = writer.finish(1, Lsn(0x200_0028), Lsn(0x200_0100)).unwrap();
        let text = String::from_utf8(text).unwrap();
        let expected = r#"{ "PostgreSQL-Backup-Manifest-Version": 1,
"Files": [
{ "Path": "PG_VERSION", "Size": 3, "Last-Modified": "1970-01-01 00:00:00 GMT", "Checksum-Algorithm": "CRC32C", "Checksum": "8a744722" },
{ "Path": "base/\"x\"", "Size": 0, "Last-Modified": "1970-01-01 00:00:00 GMT", "Checksum-Algorithm": "CRC32C", "Checksum": "00000000" }
],
"WAL-Ranges": [
{ "Timeline": 1, "Start-LSN": "0/2000028", "End-LSN": "0/2000100" }
],
"Manifest-Checksum": ""#;
        assert_eq!(&text[..expected.len()], expected);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["Manifest-Checksum"].as_str().unwrap().len(), 64);
        let newer = ManifestWriter::new(Vec::new(), 17, SystemIdentifier(7)).unwrap();
        let newer = newer.finish(1, Lsn(1), Lsn(2)).unwrap();
        assert!(
            newer.starts_with(b"{ \"PostgreSQL-Backup-Manifest-Version\": 2,\n\"System-Identifier\": 7,\n")
        );
    }
}
