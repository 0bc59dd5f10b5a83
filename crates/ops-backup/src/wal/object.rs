//! The stored form of a WAL file: a header of 64 bytes, then one zstd frame. Pure.
//!
//! ```text
//!  0  8  magic "OPSWAL\0\0"          16  8  system identifier
//!  8  4  version, 1                  24  8  length of the raw file
//! 12  4  major version of PostgreSQL 32 32  BLAKE3 of the raw file
//! ```
//! Numbers are little-endian.

use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};
use crate::postgres::lsn::SystemIdentifier;
use crate::postgres::segment::Cluster;

const MAGIC: &[u8; 8] = b"OPSWAL\0\0";
const VERSION: u32 = 1;
const HEADER: usize = 64;
const LEVEL: i32 = 3;

pub(super) fn encode(cluster: &Cluster, raw: &[u8]) -> Result<Bytes> {
    let mut stored = Vec::with_capacity(HEADER + zstd::zstd_safe::compress_bound(raw.len()));
    stored.extend(MAGIC);
    stored.extend(VERSION.to_le_bytes());
    stored.extend(cluster.major.to_le_bytes());
    stored.extend(cluster.system_identifier.0.to_le_bytes());
    stored.extend((raw.len() as u64).to_le_bytes());
    stored.extend(blake3::hash(raw).as_bytes());
    let frame = zstd::bulk::compress(raw, LEVEL).map_err(|error| Error::io("compress a WAL file", error))?;
    stored.extend(frame);
    Ok(Bytes::from(stored))
}

/// Returns the raw file, proven by its hash to be of `cluster`.
pub(super) fn decode(label: &str, cluster: &Cluster, stored: &[u8]) -> Result<Vec<u8>> {
    let corrupt = |what: String| Error::corrupt(format!("{label} {what}"));
    let Some((header, frame)) = stored.split_first_chunk::<HEADER>() else {
        return Err(corrupt(format!("has only {} bytes", stored.len())));
    };
    let u32_at = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
    if !header.starts_with(MAGIC) {
        return Err(corrupt("is not a stored WAL file".to_owned()));
    }
    if u32_at(8) > VERSION {
        let message = format!("{label} has version {}; this program reads up to {VERSION}", u32_at(8));
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    let system_identifier = SystemIdentifier(u64_at(16));
    if u32_at(12) != cluster.major || system_identifier != cluster.system_identifier {
        return Err(corrupt(format!("is of PostgreSQL {}, system {system_identifier}", u32_at(12))));
    }
    let length = u64_at(24);
    let capacity = usize::try_from(length).ok().filter(|_| length <= cluster.segment_size.bytes());
    let capacity = capacity.ok_or_else(|| corrupt(format!("claims a length of {length}")))?;
    let raw = zstd::bulk::decompress(frame, capacity)
        .map_err(|error| corrupt("cannot be decompressed".to_owned()).with_source(error))?;
    if raw.len() != capacity || blake3::hash(&raw).as_bytes() != &header[32..64] {
        return Err(corrupt("has another hash".to_owned()));
    }
    Ok(raw)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::segment::SegmentSize;

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let cluster = Cluster {
            system_identifier: SystemIdentifier(7),
            major: 15,
            segment_size: SegmentSize::new(1 << 20).unwrap(),
        };
        let raw: Vec<u8> = (0..2000_u32).map(|at| (at * at % 255) as u8).collect();
        let stored = encode(&cluster, &raw).unwrap();
        assert_eq!(decode("x", &cluster, &stored).unwrap(), raw);
        for bit in 0..stored.len() * 8 {
            let mut flipped = stored.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            // A flipped bit may be harmless only in how the frame says the same bytes.
            if let Ok(decoded) = decode("x", &cluster, &flipped) {
                assert_eq!(decoded, raw, "bit {bit}");
            }
        }
        for length in 0..stored.len() {
            assert!(decode("x", &cluster, &stored[..length]).is_err(), "cut to {length} bytes");
        }
        let other = Cluster { system_identifier: SystemIdentifier(8), ..cluster };
        assert!(decode("x", &other, &stored).is_err());
    }
}
