//! Names, numbers and headers of WAL segments, and the names of the other files in a WAL archive. Pure.
//!
//! Sources: `access/xlog_internal.h` (names, page header) of PostgreSQL 14 to 18.

use std::fmt;

use crate::error::{Error, ErrorKind, Result};
use crate::postgres::lsn::{Lsn, SystemIdentifier};

/// The size of WAL segments, a power of two from 1 MiB to 1 GiB, fixed by initdb.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct SegmentSize(u32);

impl SegmentSize {
    /// Checks and wraps a size in bytes.
    pub fn new(bytes: u32) -> Option<Self> {
        let valid = bytes.is_power_of_two() && (1 << 20..=1 << 30).contains(&bytes);
        valid.then_some(SegmentSize(bytes))
    }

    /// Returns the size in bytes.
    pub fn bytes(self) -> u64 {
        u64::from(self.0)
    }

    /// Returns the number of the segment that holds the byte at `lsn`.
    pub fn segment_of(self, lsn: Lsn) -> u64 {
        lsn.0 / self.bytes()
    }

    /// Returns the number of the segment that holds the last byte before `lsn`: where a backup's stop position lies.
    pub fn segment_before(self, lsn: Lsn) -> u64 {
        lsn.0.saturating_sub(1) / self.bytes()
    }

    fn per_log_id(self) -> u64 {
        0x1_0000_0000 / self.bytes()
    }
}

impl TryFrom<u32> for SegmentSize {
    type Error = String;

    fn try_from(bytes: u32) -> Result<Self, String> {
        SegmentSize::new(bytes).ok_or_else(|| format!("{bytes} is not a WAL segment size"))
    }
}

impl From<SegmentSize> for u32 {
    fn from(size: SegmentSize) -> u32 {
        size.0
    }
}

/// The name of one WAL segment: 24 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SegmentName {
    /// The timeline that the segment was written on.
    pub(crate) timeline: u32,
    log_id: u32,
    index: u32,
}

impl SegmentName {
    /// The name of segment `number` on `timeline`.
    pub(crate) fn new(timeline: u32, number: u64, size: SegmentSize) -> Self {
        let log_id =
            u32::try_from(number / size.per_log_id()).expect("a segment number comes from a 64-bit position");
        let index = u32::try_from(number % size.per_log_id()).expect("at most 4096 segments for each log id");
        SegmentName { timeline, log_id, index }
    }

    /// Reads a name; `None` where `text` is not 24 upper-case hexadecimal digits.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.len() != 24 || !is_upper_hex(text) {
            return None;
        }
        let part = |range: std::ops::Range<usize>| u32::from_str_radix(&text[range], 16).ok();
        Some(SegmentName { timeline: part(0..8)?, log_id: part(8..16)?, index: part(16..24)? })
    }

    /// Returns the segment's number, or `None` where no segment of this size can have the name.
    pub(crate) fn number(self, size: SegmentSize) -> Option<u64> {
        let valid = u64::from(self.index) < size.per_log_id();
        valid.then(|| u64::from(self.log_id) * size.per_log_id() + u64::from(self.index))
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08X}{:08X}{:08X}", self.timeline, self.log_id, self.index)
    }
}

/// What a file of a WAL archive is, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ArchiveFile {
    /// A complete segment.
    Segment(SegmentName),
    /// The last, incomplete segment of a timeline that ended; never served as the complete one.
    Partial(SegmentName),
    /// The ancestry of a timeline.
    History(u32),
    /// The note that the server writes for each base backup.
    BackupLabel(SegmentName),
}

impl ArchiveFile {
    /// Reads the name of an archive file; `None` where the server never asks for or archives such a name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name.split_once('.') {
            None => SegmentName::parse(name).map(ArchiveFile::Segment),
            Some((segment, "partial")) => SegmentName::parse(segment).map(ArchiveFile::Partial),
            Some((timeline, "history")) if timeline.len() == 8 && is_upper_hex(timeline) => {
                u32::from_str_radix(timeline, 16).ok().map(ArchiveFile::History)
            }
            Some((segment, rest)) => {
                let offset = rest.strip_suffix(".backup")?;
                let valid = offset.len() == 8 && is_upper_hex(offset);
                SegmentName::parse(segment).filter(|_| valid).map(ArchiveFile::BackupLabel)
            }
        }
    }

    /// Returns the timeline that the file belongs to.
    pub(crate) fn timeline(self) -> u32 {
        match self {
            ArchiveFile::Segment(name) | ArchiveFile::Partial(name) | ArchiveFile::BackupLabel(name) => {
                name.timeline
            }
            ArchiveFile::History(timeline) => timeline,
        }
    }
}

/// The identity that every WAL file of a cluster must agree with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Cluster {
    /// The cluster's system identifier.
    pub system_identifier: SystemIdentifier,
    /// The major version of the server, for example 15.
    pub major: u32,
    /// The size of its WAL segments.
    pub segment_size: SegmentSize,
}

const LONG_HEADER: u16 = 0x0002;

/// Checks that `head`, the first bytes of a file of `length` bytes, begins segment `name` of `cluster`.
///
/// Finds recycled and preallocated files, other clusters, other versions and truncated files.
///
/// # Errors
/// `Corrupt`, naming the field that disagrees.
pub(crate) fn check_header(name: SegmentName, head: &[u8], length: u64, cluster: &Cluster) -> Result<()> {
    let refuse = |what: String| Err(Error::corrupt(format!("WAL segment {name} {what}")));
    if length != cluster.segment_size.bytes() {
        return refuse(format!("is {length} bytes long, expected {}", cluster.segment_size.bytes()));
    }
    let Some(number) = name.number(cluster.segment_size) else {
        return refuse(format!("cannot exist with segments of {} bytes", cluster.segment_size.bytes()));
    };
    let Some(head) = head.first_chunk::<40>() else {
        return refuse("is too short for a page header".to_owned());
    };
    let u16_at = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
    let u32_at = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;

    let magic = page_magic(cluster.major)?;
    if u16_at(0) != magic {
        return refuse(format!(
            "has page magic {:04X}, expected {magic:04X} of PostgreSQL {}",
            u16_at(0),
            cluster.major
        ));
    }
    if u16_at(2) & LONG_HEADER == 0 {
        return refuse("does not begin with a long page header".to_owned());
    }
    let timeline = u32_at(4);
    // A new timeline begins with a copy of the segment in which its parent ended.
    if timeline == 0 || timeline > name.timeline {
        return refuse(format!("was written on timeline {timeline}"));
    }
    let address = Lsn(u64_at(8));
    if address.0 != number * cluster.segment_size.bytes() {
        return refuse(format!("holds data of position {address}: a recycled file"));
    }
    if u64_at(24) != cluster.system_identifier.0 {
        return refuse(format!("belongs to system {}, expected {}", u64_at(24), cluster.system_identifier));
    }
    if u64::from(u32_at(32)) != cluster.segment_size.bytes() {
        return refuse(format!("says that segments have {} bytes", u32_at(32)));
    }
    Ok(())
}

fn page_magic(major: u32) -> Result<u16> {
    match major {
        14 => Ok(0xD10D),
        15 => Ok(0xD110),
        16 => Ok(0xD113),
        17 => Ok(0xD116),
        18 => Ok(0xD118),
        _ => Err(Error::new(
            ErrorKind::Unsupported,
            format!("PostgreSQL {major} is not supported (14 to 18 are)"),
        )),
    }
}

fn is_upper_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u32 = 1 << 20;

    #[test]
    fn names_follow_the_segment_size() {
        for (size, number, name) in [
            (16, 0, "000000010000000000000000"),
            (16, 255, "0000000100000000000000FF"),
            (16, 256, "000000010000000100000000"),
            (64, 64, "000000010000000100000000"),
            (1, 4095, "000000010000000000000FFF"),
            (1024, 5, "000000010000000100000001"),
        ] {
            let size = SegmentSize::new(size * MIB).unwrap();
            let segment = SegmentName::new(1, number, size);
            assert_eq!(segment.to_string(), name);
            assert_eq!(SegmentName::parse(name), Some(segment));
            assert_eq!(segment.number(size), Some(number), "{name}");
        }
        let name = SegmentName::parse("000000010000000000000040").unwrap();
        assert_eq!(name.number(SegmentSize::new(64 * MIB).unwrap()), None);
        for bytes in [0, MIB / 2, 3 * MIB, 1 << 31] {
            assert_eq!(SegmentSize::new(bytes), None, "{bytes}");
        }
    }

    #[test]
    fn the_stop_position_at_a_boundary_needs_the_segment_before() {
        let size = SegmentSize::new(16 * MIB).unwrap();
        let boundary = Lsn(3 * size.bytes());
        assert_eq!(size.segment_of(boundary), 3);
        assert_eq!(size.segment_before(boundary), 2);
        assert_eq!(size.segment_before(Lsn(boundary.0 + 1)), 3);
    }

    #[test]
    fn archive_files_are_told_by_name() {
        let segment = SegmentName::parse("00000002000000000000000A").unwrap();
        for (name, expected) in [
            ("00000002000000000000000A", Some(ArchiveFile::Segment(segment))),
            ("00000002000000000000000A.partial", Some(ArchiveFile::Partial(segment))),
            ("00000002000000000000000A.00000028.backup", Some(ArchiveFile::BackupLabel(segment))),
            ("0000001F.history", Some(ArchiveFile::History(31))),
            ("00000002000000000000000a", None),
            ("00000002000000000000000A.tmp", None),
            ("00000002000000000000000A.28.backup", None),
            ("1.history", None),
            ("../../etc/passwd", None),
            ("", None),
        ] {
            assert_eq!(ArchiveFile::parse(name), expected, "{name}");
        }
    }

    fn header(magic: u16, info: u16, timeline: u32, address: u64, system: u64, size: u32) -> Vec<u8> {
        let mut head = Vec::new();
        head.extend(magic.to_le_bytes());
        head.extend(info.to_le_bytes());
        head.extend(timeline.to_le_bytes());
        head.extend(address.to_le_bytes());
        head.extend([0; 8]);
        head.extend(system.to_le_bytes());
        head.extend(size.to_le_bytes());
        head.extend(8192_u32.to_le_bytes());
        head
    }

    #[test]
    fn every_field_of_the_header_is_checked() {
        let size = 16 * MIB;
        let cluster = Cluster {
            system_identifier: SystemIdentifier(7),
            major: 15,
            segment_size: SegmentSize::new(size).unwrap(),
        };
        let name = SegmentName::parse("000000020000000000000003").unwrap();
        let address = 3 * u64::from(size);
        let length = u64::from(size);
        let good = header(0xD110, 2, 2, address, 7, size);
        for (head, length, complaint) in [
            (good.clone(), length, None),
            (header(0xD110, 2, 1, address, 7, size), length, None),
            (good.clone(), length - 1, Some("bytes long")),
            (good[..39].to_vec(), length, Some("too short")),
            (header(0xD113, 2, 2, address, 7, size), length, Some("page magic D113")),
            (header(0xD110, 0, 2, address, 7, size), length, Some("long page header")),
            (header(0xD110, 2, 3, address, 7, size), length, Some("timeline 3")),
            (header(0xD110, 2, 0, address, 7, size), length, Some("timeline 0")),
            (header(0xD110, 2, 2, address - length, 7, size), length, Some("recycled")),
            (header(0xD110, 2, 2, address, 8, size), length, Some("system 8")),
            (header(0xD110, 2, 2, address, 7, MIB), length, Some("segments have")),
        ] {
            let result = check_header(name, &head, length, &cluster).map_err(|error| error.to_string());
            match complaint {
                None => assert_eq!(result, Ok(())),
                Some(part) => {
                    assert!(result.as_ref().is_err_and(|text| text.contains(part)), "{part}: {result:?}")
                }
            }
        }
    }
}
