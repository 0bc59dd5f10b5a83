//! `global/pg_control`: the identity and settings of a cluster, read from its own file.
//!
//! Source: `catalog/pg_control.h` of PostgreSQL 14 to 18, for 64-bit little-endian machines.

use std::path::Path;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::postgres::lsn::SystemIdentifier;
use crate::postgres::segment::{Cluster, SegmentSize};

/// What `pg_control` says about a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlFile {
    /// Identifier, major version and segment size.
    pub cluster: Cluster,
    /// The catalog version, part of the name of a tablespace's own folder.
    pub catalog_version: u32,
    /// The timeline of the last checkpoint.
    pub timeline: u32,
    /// Bytes in a data page.
    pub block_size: u32,
    /// Blocks in one file of a large relation.
    pub blocks_per_file: u32,
    /// Whether data pages carry checksums.
    pub page_checksums: bool,
    /// Settings that a server replaying this cluster's WAL must reach at least.
    pub minimum_settings: MinimumSettings,
}

/// The settings of the primary that bound a replaying server from below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MinimumSettings {
    /// `max_connections`
    pub max_connections: u32,
    /// `max_worker_processes`
    pub max_worker_processes: u32,
    /// `max_wal_senders`
    pub max_wal_senders: u32,
    /// `max_prepared_transactions`
    pub max_prepared_transactions: u32,
    /// `max_locks_per_transaction`
    pub max_locks_per_transaction: u32,
}

/// The place of `pg_control` below the data directory.
pub(crate) const PATH: &str = "global/pg_control";

const TORN_READ_ATTEMPTS: u32 = 20;

impl ControlFile {
    /// Reads and checks the control file of the cluster in `data_directory`, which may be running.
    ///
    /// # Errors
    /// `Configuration` where the directory holds no cluster, `Unsupported` for an unknown version, `Corrupt` where
    /// the checksum stays wrong.
    pub fn read(data_directory: &Path) -> Result<Self> {
        let (_, control) = read_raw(data_directory)?;
        Ok(control)
    }
}

/// Reads the bytes of the control file until they are not torn: the server writes them without a lock.
pub(crate) fn read_raw(data_directory: &Path) -> Result<(Vec<u8>, ControlFile)> {
    let not_a_cluster = |path: &Path, source: std::io::Error| {
        let message = format!("{data_directory:?} is not a PostgreSQL data directory: cannot read {path:?}");
        Error::new(ErrorKind::Configuration, message).with_source(source)
    };
    let version_path = data_directory.join("PG_VERSION");
    let version =
        std::fs::read_to_string(&version_path).map_err(|error| not_a_cluster(&version_path, error))?;
    let major =
        version.trim().parse().map_err(|_| Error::corrupt(format!("{version_path:?} holds no version")))?;
    let path = data_directory.join(PATH);
    let mut attempt = 1;
    loop {
        let bytes = std::fs::read(&path).map_err(|error| not_a_cluster(&path, error))?;
        match parse(&bytes, major) {
            Err(error) if error.kind() == ErrorKind::Corrupt && attempt < TORN_READ_ATTEMPTS => {
                attempt += 1;
                std::thread::sleep(Duration::from_millis(10));
            }
            result => return result.map(|control| (bytes, control)),
        }
    }
}

/// Reads the bytes of the control file of a server of this major version.
pub(crate) fn parse(bytes: &[u8], major: u32) -> Result<ControlFile> {
    if bytes.len() < 512 {
        return Err(Error::corrupt(format!("pg_control has only {} bytes", bytes.len())));
    }
    let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let crc_at = match u32_at(8) {
        // 1700 added a field where 1300 had padding.
        1300 | 1700 => 288,
        1800 => 292,
        version => {
            let message = format!(
                "pg_control has format {version}; 1300 (PostgreSQL 14 to 16), 1700 (17) and 1800 (18) are supported"
            );
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
    };
    if crc32c::crc32c(&bytes[..crc_at]) != u32_at(crc_at) {
        return Err(Error::corrupt("the checksum of pg_control is wrong"));
    }
    let segment_size = SegmentSize::new(u32_at(228))
        .ok_or_else(|| Error::corrupt(format!("pg_control names a WAL segment size of {}", u32_at(228))))?;
    let system_identifier = SystemIdentifier(u64::from(u32_at(0)) | u64::from(u32_at(4)) << 32);
    Ok(ControlFile {
        cluster: Cluster { system_identifier, major, segment_size },
        catalog_version: u32_at(12),
        timeline: u32_at(48),
        block_size: u32_at(216),
        blocks_per_file: u32_at(220),
        // Other values mean that checksums are being switched on or off: pages may lack them.
        page_checksums: u32_at(252) == 1,
        minimum_settings: MinimumSettings {
            max_connections: u32_at(180),
            max_worker_processes: u32_at(184),
            max_wal_senders: u32_at(188),
            max_prepared_transactions: u32_at(192),
            max_locks_per_transaction: u32_at(196),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A control file of `format` as the server writes it, as far as it is read here.
    fn control(format: u32, checksums: u32) -> Vec<u8> {
        let crc_at = if format == 1800 { 292 } else { 288 };
        let mut bytes = vec![0; 8192];
        let fields =
            [(0, 7), (8, format), (12, 202_209_061), (48, 3), (216, 8192), (220, 131_072), (228, 1 << 24)];
        for (at, value) in fields.into_iter().chain([(180, 100), (252, checksums)]) {
            bytes[at..at + 4].copy_from_slice(&u32::to_le_bytes(value));
        }
        let crc = crc32c::crc32c(&bytes[..crc_at]);
        bytes[crc_at..crc_at + 4].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    #[test]
    fn each_format_is_read_and_no_flipped_bit_passes() {
        for format in [1300, 1700, 1800] {
            let sound = control(format, 1);
            let read = parse(&sound, 15).expect("it is sound");
            assert_eq!((read.cluster.system_identifier, read.timeline), (SystemIdentifier(7), 3));
            assert_eq!((read.cluster.segment_size.bytes(), read.block_size), (16 << 20, 8192));
            for bit in 0..288 * 8 {
                let mut flipped = sound.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(parse(&flipped, 15).is_err(), "format {format}, bit {bit}");
            }
        }
        assert_eq!(parse(&control(1900, 1), 19).map_err(|error| error.kind()), Err(ErrorKind::Unsupported));
        assert_eq!(
            parse(&control(1300, 1)[..511], 15).map_err(|error| error.kind()),
            Err(ErrorKind::Corrupt)
        );
    }

    /// While checksums are being switched on or off, some pages lack them.
    #[test]
    fn pages_are_checked_only_where_all_of_them_carry_checksums() {
        for (value, expected) in [(0, false), (1, true), (2, false), (3, false)] {
            assert_eq!(
                parse(&control(1800, value), 18).expect("it is sound").page_checksums,
                expected,
                "{value}"
            );
        }
    }

    #[test]
    fn a_torn_file_is_read_again_until_it_is_whole() {
        let data = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(data.path().join("global")).expect("it is made");
        std::fs::write(data.path().join("PG_VERSION"), "15\n").expect("it is written");
        let (old, new) = (control(1300, 0), control(1300, 1));
        let path = data.path().join(PATH);
        let torn = [&old[..255], &new[255..]].concat();
        std::fs::write(&path, &torn).expect("it is written");
        let error = ControlFile::read(data.path()).expect_err("it stays torn");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        let writer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(30));
            let whole = path.with_extension("new");
            std::fs::write(&whole, &new).and_then(|()| std::fs::rename(&whole, &path))
        });
        let (bytes, read) = read_raw(data.path()).expect("the next read is whole");
        assert!(read.page_checksums && bytes == control(1300, 1));
        writer.join().expect("the writer ends").expect("it writes");
    }
}
