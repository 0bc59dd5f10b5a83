//! Which stretches of packs are fetched for a set of runs: few requests, none of them large. Pure.

use std::ops::Range;

use crate::repo::pack::{Frame, PackId};

/// What lies between two wanted frames is fetched too where it is not longer: cheaper than another request.
const GAP: u64 = 256 << 10;

/// A request is not made longer than this by joining; two are in memory for each worker.
const LONGEST: u64 = 8 << 20;

/// Blocks that lie side by side in a frame and in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::transfer) struct Run {
    pub(in crate::transfer) frame: Frame,
    /// Where the first block begins in the decompressed frame.
    pub(in crate::transfer) skip: u32,
    /// The part of the unit that the blocks belong to.
    pub(in crate::transfer) part: u32,
    /// The first block in that part, and how many.
    pub(in crate::transfer) first: u32,
    pub(in crate::transfer) blocks: u32,
}

/// One stretch of a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::transfer) struct Request {
    pub(in crate::transfer) pack: PackId,
    pub(in crate::transfer) bytes: Range<u64>,
    /// The runs whose frames lie in it.
    pub(in crate::transfer) runs: Range<usize>,
}

/// Sorts `runs` by where they lie, and joins them to requests.
pub(in crate::transfer) fn requests(runs: &mut [Run]) -> Vec<Request> {
    runs.sort_unstable_by_key(|run| (run.frame.pack, run.frame.offset, run.skip));
    let mut requests: Vec<Request> = Vec::new();
    for (index, run) in runs.iter().enumerate() {
        let Frame { pack, offset, stored, .. } = run.frame;
        let end = offset + u64::from(stored);
        match requests.last_mut() {
            Some(last)
                if last.pack == pack
                    && offset <= last.bytes.end + GAP
                    && (end - last.bytes.start <= LONGEST || end <= last.bytes.end) =>
            {
                last.bytes.end = last.bytes.end.max(end);
                last.runs.end = index + 1;
            }
            _ => requests.push(Request { pack, bytes: offset..end, runs: index..index + 1 }),
        }
    }
    requests
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_joined_up_to_a_gap_and_a_length() {
        const MIB: u64 = 1 << 20;
        let run = |pack, offset, stored: u64| Run {
            frame: Frame { pack: PackId(pack), offset, stored: u32::try_from(stored).unwrap(), raw: 1 },
            skip: 0,
            part: 0,
            first: 0,
            blocks: 1,
        };
        let check = |mut runs: Vec<Run>, expected: &[(u32, Range<u64>, usize)]| {
            let found: Vec<_> = requests(&mut runs)
                .into_iter()
                .map(|request| (request.pack.0, request.bytes, request.runs.len()))
                .collect();
            assert_eq!(found, expected);
        };
        check(vec![], &[]);
        check(vec![run(1, 500, 100), run(0, 40, 10), run(1, 40, 100)], &[(0, 40..50, 1), (1, 40..600, 2)]);
        check(vec![run(0, 40, 10), run(0, 40, 10)], &[(0, 40..50, 2)]);
        check(vec![run(0, 0, 10), run(0, 10 + GAP, 10)], &[(0, 0..20 + GAP, 2)]);
        check(vec![run(0, 0, 10), run(0, 11 + GAP, 10)], &[(0, 0..10, 1), (0, 11 + GAP..21 + GAP, 1)]);
        let long = (0..10).map(|n| run(0, n * MIB, MIB)).collect();
        check(long, &[(0, 0..8 * MIB, 8), (0, 8 * MIB..10 * MIB, 2)]);
        check(vec![run(0, 0, 20 * MIB), run(0, 0, 20 * MIB)], &[(0, 0..20 * MIB, 2)]);
    }
}
