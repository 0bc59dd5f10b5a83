//! From fetched bytes to proven blocks in files.

use std::sync::{LazyLock, Mutex, PoisonError};

use super::Work;
use super::request::Request;
use super::unit::Job;
use crate::error::{Error, Result};
use crate::repo::content::BLOCK;
use crate::repo::crypt::Secrets;
use crate::repo::pack::FrameReader;

/// Frame readers for all workers: each has contexts and buffers that are costly to make.
pub(super) struct Decoders {
    secrets: Secrets,
    free: Mutex<Vec<FrameReader>>,
}

impl Decoders {
    pub(super) fn new(secrets: Secrets) -> Self {
        Decoders { secrets, free: Mutex::default() }
    }

    fn take(&self) -> Result<FrameReader> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        free.map_or_else(|| FrameReader::new(self.secrets.clone()), Ok)
    }

    fn give_back(&self, reader: FrameReader) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
    }
}

/// Decodes the frames in the `bytes` of a request, each once, and writes the blocks that its runs name.
pub(super) fn decode(work: &Work, job: &mut Job, request: &Request, bytes: &[u8]) -> Result<()> {
    let pack = work.packs.get(request.pack);
    let secrets = work.repository.secrets();
    let mut reader = work.decoders.take()?;
    let runs = job.runs[request.runs.clone()].to_vec();
    for same_frame in runs.chunk_by(|a, b| a.frame == b.frame) {
        let frame = same_frame[0].frame;
        let start = usize::try_from(frame.offset - request.bytes.start).expect("inside the request");
        let stored = &bytes[start..start + frame.stored as usize];
        let raw = reader.read(&pack, frame.offset, stored, frame.raw)?;
        let mut written = 0;
        for run in same_frame {
            let part = &mut job.parts[run.part as usize];
            let skip = run.skip as usize;
            let data = &raw[skip..skip + part.length(run)];
            for (number, block) in (run.first as usize..).zip(data.chunks(BLOCK)) {
                if secrets.hash(block) != part.piece.hashes[number] {
                    let message = format!(
                        "block {number} of {:?} in the frame at byte {} of {} has another hash",
                        part.path(),
                        frame.offset,
                        pack.path()
                    );
                    return Err(Error::corrupt(message));
                }
                part.crcs[number] = crc32c::crc32c(block);
            }
            let offset = part.base + u64::from(run.first) * BLOCK as u64;
            part.write(work.destination.as_ref(), data, offset)?;
            written += data.len() as u64;
            part.missing -= run.blocks;
            if part.missing == 0 {
                part.end(work, false)?;
            }
        }
        job.done.written += written;
        work.meter.add(written)?;
    }
    work.decoders.give_back(reader);
    Ok(())
}

/// Returns the CRC-32C of `length` bytes from those of their blocks.
pub(super) fn join_blocks(crcs: &[u32], length: u64) -> u32 {
    let Some((last, full)) = crcs.split_last() else { return 0 };
    let sum = full.iter().fold(0, |sum, crc| behind_a_block(sum) ^ crc);
    let tail = usize::try_from(length - full.len() as u64 * BLOCK as u64).expect("at most one block");
    if full.is_empty() { *last } else { crc32c::crc32c_combine(sum, *last, tail) }
}

/// Returns what a checksum contributes to that of the same bytes with one block behind them.
///
/// The map is linear over GF(2): its columns are computed once, and then it costs a handful of instructions, where the
/// general way would multiply matrices for each block.
fn behind_a_block(crc: u32) -> u32 {
    static COLUMNS: LazyLock<[u32; 32]> =
        LazyLock::new(|| std::array::from_fn(|bit| crc32c::crc32c_combine(1 << bit, 0, BLOCK)));
    (0..32).filter(|bit| crc >> bit & 1 == 1).fold(0, |sum, bit| sum ^ COLUMNS[bit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_of_blocks_make_the_checksum_of_the_whole() {
        let bytes: Vec<u8> = (0..5 * BLOCK + 77).map(|at| (at * at % 251) as u8).collect();
        for length in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, bytes.len()] {
            let crcs: Vec<u32> = bytes[..length].chunks(BLOCK).map(crc32c::crc32c).collect();
            assert_eq!(join_blocks(&crcs, length as u64), crc32c::crc32c(&bytes[..length]), "{length}");
        }
    }
}
