//! Compression of one buffer at a time. Knows no objects.

use std::io::Cursor;

use serde::{Deserialize, Serialize};
use zstd::zstd_safe::{CParameter, Strategy};

use crate::error::{Error, Result};

/// How stored data is compressed. Backups with different settings share one repository, and blocks of one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// As it is: for data that is compressed already, or a file system that compresses.
    None,
    /// LZ4: several times faster than zstd, and several times larger.
    Lz4,
    /// Zstandard with its level, 1 to 19. Above 3 a backup costs much more time than it saves space.
    Zstd(i32),
}

impl Default for Compression {
    fn default() -> Self {
        Compression::Zstd(3)
    }
}

/// The number of each way in the format.
const STORED: u8 = 0;
const ZSTD: u8 = 1;
const LZ4: u8 = 2;

/// What is compressed. At level 3, our default, zstd fills two tables to find long and short matches. In blocks of tables and in
/// WAL one small table with matches of five bytes finds as much, or nearly, in two thirds to four fifths of the time:
/// `docs/measurements.md` has the figures. Other levels are zstd's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Data {
    /// Blocks of 16 KiB or less, each by itself.
    Blocks,
    /// A WAL file, or a piece of one.
    Wal,
    /// Whatever else is stored.
    Other,
}

impl Data {
    fn parameters(self, level: i32) -> &'static [CParameter] {
        const FAST: CParameter = CParameter::Strategy(Strategy::ZSTD_fast);
        match (self, level) {
            (Data::Blocks, 3) => &[FAST, CParameter::MinMatch(5), CParameter::HashLog(12)],
            (Data::Wal, 3) => {
                &[FAST, CParameter::MinMatch(5), CParameter::HashLog(15), CParameter::WindowLog(21)]
            }
            _ => &[],
        }
    }
}

/// Compresses buffers one by one; a context is costly to make and is used again.
pub(crate) struct Compressor {
    way: Compression,
    zstd: Option<zstd::bulk::Compressor<'static>>,
}

impl Compressor {
    pub(crate) fn new(way: Compression, data: Data) -> Result<Self> {
        let failed = |error| Error::io("prepare the compressor", error);
        let Compression::Zstd(level) = way else { return Ok(Compressor { way, zstd: None }) };
        let mut zstd = zstd::bulk::Compressor::new(level).map_err(failed)?;
        for parameter in data.parameters(level) {
            zstd.set_parameter(*parameter).map_err(failed)?;
        }
        Ok(Compressor { way, zstd: Some(zstd) })
    }

    /// Appends `raw` to `out`, behind one byte that says how; what does not shrink is stored as it is.
    pub(crate) fn append(&mut self, raw: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let start = out.len();
        let failed = |error: std::io::Error| Error::io("compress a block", error);
        out.push(STORED);
        let (way, length) = match (&mut self.zstd, self.way) {
            (Some(zstd), _) => {
                // Not filled with zeros first: of the room that is asked for little is used.
                out.reserve(zstd::zstd_safe::compress_bound(raw.len()));
                let mut behind = Cursor::new(&mut *out);
                behind.set_position(start as u64 + 1);
                (ZSTD, zstd.compress_to_buffer(raw, &mut behind).map_err(failed)?)
            }
            (None, Compression::Lz4) => {
                out.resize(start + 1 + lz4_flex::block::get_maximum_output_size(raw.len()), 0);
                let length = lz4_flex::block::compress_into(raw, &mut out[start + 1..])
                    .map_err(|error| failed(std::io::Error::other(error)))?;
                (LZ4, length)
            }
            (None, _) => (STORED, raw.len()),
        };
        if way == STORED || length >= raw.len() {
            out.truncate(start);
            out.push(STORED);
            out.extend_from_slice(raw);
        } else {
            out[start] = way;
            out.truncate(start + 1 + length);
        }
        Ok(())
    }
}

/// Reads what a [`Compressor`] wrote, whatever its setting was.
pub(crate) struct Decompressor {
    zstd: zstd::bulk::Decompressor<'static>,
}

impl Decompressor {
    pub(crate) fn new() -> Result<Self> {
        let zstd =
            zstd::bulk::Decompressor::new().map_err(|error| Error::io("prepare the decompressor", error))?;
        Ok(Decompressor { zstd })
    }

    /// Puts the `length` bytes that `stored` holds into `raw`, which is emptied first.
    ///
    /// # Errors
    /// A description of what is wrong with `stored`.
    pub(crate) fn read(&mut self, stored: &[u8], length: usize, raw: &mut Vec<u8>) -> Result<(), String> {
        raw.clear();
        let Some((way, body)) = stored.split_first() else { return Err("is empty".to_owned()) };
        if length > most(*way, body.len()) {
            return Err(format!("says that it has {length} bytes, which {} cannot hold", stored.len()));
        }
        match *way {
            STORED => raw.extend_from_slice(body),
            ZSTD => {
                raw.reserve(length);
                self.zstd
                    .decompress_to_buffer(body, raw)
                    .map_err(|error| format!("cannot be decompressed: {error}"))?;
            }
            LZ4 => {
                raw.resize(length, 0);
                let written = lz4_flex::block::decompress_into(body, raw)
                    .map_err(|error| format!("cannot be decompressed: {error}"))?;
                raw.truncate(written);
            }
            other => return Err(format!("is compressed in the unknown way {other}")),
        }
        if raw.len() == length { Ok(()) } else { Err(format!("has {} bytes, expected {length}", raw.len())) }
    }
}

/// The most that `length` bytes can hold: a false length must not take all memory.
fn most(way: u8, length: usize) -> usize {
    match way {
        // RFC 8878: a block has 4 bytes or more, and yields 128 KiB or less.
        ZSTD => (length / 4).saturating_mul(128 << 10),
        // A byte extends a match by 255 at most.
        LZ4 => length.saturating_mul(255),
        _ => usize::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_reads_back_and_refuses_damage() {
        let text = b"never green without evidence; ".repeat(100);
        let noise: Vec<u8> = (0..1000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let mut decompressor = Decompressor::new().unwrap();
        for way in [Compression::None, Compression::Lz4, Compression::Zstd(3)] {
            for raw in [&text[..], &noise[..], b""] {
                for data in [Data::Blocks, Data::Wal, Data::Other] {
                    let mut stored = vec![9];
                    Compressor::new(way, data).unwrap().append(raw, &mut stored).unwrap();
                    assert!(
                        stored.len() <= raw.len() + 2,
                        "{way:?} never grows the data by more than its mark"
                    );
                    let mut back = vec![1, 2];
                    decompressor.read(&stored[1..], raw.len(), &mut back).unwrap();
                    assert_eq!(back, raw, "{way:?}");
                    assert!(decompressor.read(&stored[1..], raw.len() + 1, &mut back).is_err(), "{way:?}");
                    assert!(decompressor.read(&stored[1..stored.len() - 1], raw.len(), &mut back).is_err());
                }
            }
        }
        assert!(decompressor.read(&[7, 1], 1, &mut Vec::new()).unwrap_err().contains("unknown way 7"));
    }

    #[test]
    fn a_false_length_takes_no_memory_and_the_densest_data_is_read() {
        let zeros = vec![0; 64 << 20];
        let mut decompressor = Decompressor::new().unwrap();
        for way in [Compression::Lz4, Compression::Zstd(1), Compression::Zstd(19)] {
            for length in [1, 100, 1 << 20, zeros.len()] {
                let mut stored = Vec::new();
                Compressor::new(way, Data::Other).unwrap().append(&zeros[..length], &mut stored).unwrap();
                let mut raw = Vec::new();
                decompressor.read(&stored, length, &mut raw).unwrap();
                assert_eq!(raw.len(), length, "{way:?}");
            }
        }
        for way in [ZSTD, LZ4] {
            let mut raw = Vec::new();
            let error = decompressor.read(&[way, 0, 0, 0, 0], usize::MAX, &mut raw).unwrap_err();
            assert!(error.contains("cannot hold") && raw.capacity() == 0, "{error}");
        }
    }
}
