//! The `backup_manifest` that stock `pg_verifybackup` reads, written for the restored bytes. Pure.
//!
//! Source: "Backup Manifest Format" of the PostgreSQL manual; version 1 up to 16, version 2 from 17 on.

use std::fmt::Write as _;

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::postgres::lsn::{Lsn, SystemIdentifier};

/// Builds the manifest, one file at a time.
#[derive(Debug)]
pub(crate) struct ManifestBuilder {
    text: String,
    first: bool,
}

impl ManifestBuilder {
    pub(crate) fn new(major: u32, system_identifier: SystemIdentifier) -> Self {
        let head = if major >= 17 {
            format!(
                "{{ \"PostgreSQL-Backup-Manifest-Version\": 2,\n\"System-Identifier\": {system_identifier},\n"
            )
        } else {
            "{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n".to_owned()
        };
        ManifestBuilder { text: head + "\"Files\": [", first: true }
    }

    /// Adds one file with the CRC-32C of its restored bytes.
    pub(crate) fn file(&mut self, path: &str, size: u64, modified: Timestamp, crc32c: u32) {
        let separator = if self.first { "\n" } else { ",\n" };
        self.first = false;
        let path = serde_json::to_string(path).expect("a string is always valid JSON");
        let modified = modified.strftime("%Y-%m-%d %H:%M:%S GMT");
        // The checksum is written byte by byte as it lies in memory on a little-endian machine.
        let checksum = crc32c.swap_bytes();
        write!(
            self.text,
            "{separator}{{ \"Path\": {path}, \"Size\": {size}, \"Last-Modified\": \"{modified}\", \
             \"Checksum-Algorithm\": \"CRC32C\", \"Checksum\": \"{checksum:08x}\" }}"
        )
        .expect("writing to a string cannot fail");
    }

    /// Ends the manifest with the WAL that the backup needs.
    pub(crate) fn finish(mut self, timeline: u32, start: Lsn, end: Lsn) -> String {
        write!(
            self.text,
            "\n],\n\"WAL-Ranges\": [\n{{ \"Timeline\": {timeline}, \"Start-LSN\": \"{start}\", \"End-LSN\": \"{end}\" }}\n],\n"
        )
        .expect("writing to a string cannot fail");
        let checksum = Sha256::digest(self.text.as_bytes());
        self.text.push_str("\"Manifest-Checksum\": \"");
        for byte in checksum {
            write!(self.text, "{byte:02x}").expect("writing to a string cannot fail");
        }
        self.text.push_str("\"}\n");
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_the_shape_and_byte_order_of_the_server() {
        let mut builder = ManifestBuilder::new(15, SystemIdentifier(7));
        builder.file("PG_VERSION", 3, Timestamp::UNIX_EPOCH, crc32c::crc32c(b"15\n"));
        builder.file("base/\"x\"", 0, Timestamp::UNIX_EPOCH, 0);
        let text = builder.finish(1, Lsn(0x200_0028), Lsn(0x200_0100));
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
        let newer = ManifestBuilder::new(17, SystemIdentifier(7)).finish(1, Lsn(1), Lsn(2));
        assert!(
            newer.starts_with("{ \"PostgreSQL-Backup-Manifest-Version\": 2,\n\"System-Identifier\": 7,\n")
        );
    }
}
