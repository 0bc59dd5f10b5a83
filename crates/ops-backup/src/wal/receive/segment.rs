//! The segment that is being received, in memory: its bytes, and how many of them are durable as pieces. Pure.

use crate::error::{Error, ErrorKind, Result};
use crate::postgres::lsn::Lsn;
use crate::postgres::segment::{Cluster, SegmentName};
use crate::wal::tail::{LARGEST, SHORTEST, Tail};

/// A segment that fills up.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) name: SegmentName,
    pub(super) start: Lsn,
    size: usize,
    /// What was received, and behind it what pieces hold that this connection has not shown yet.
    bytes: Vec<u8>,
    received: usize,
    /// Pieces in the repository.
    pub(super) pieces: u64,
    /// Bytes in these pieces.
    sealed: usize,
    /// The whole segment is in the archive already: it needs no pieces.
    pub(super) archived: bool,
}

impl Incoming {
    /// Segment `number` of `timeline`; `buffer` is memory to use again.
    pub(super) fn new(cluster: &Cluster, timeline: u32, number: u64, mut buffer: Vec<u8>) -> Self {
        let size = cluster.segment_size;
        let bytes = usize::try_from(size.bytes()).expect("a segment has at most 1 GiB");
        buffer.clear();
        buffer.reserve_exact(bytes);
        Incoming {
            name: SegmentName::new(timeline, number, size),
            start: Lsn(number * size.bytes()),
            size: bytes,
            bytes: buffer,
            received: 0,
            pieces: 0,
            sealed: 0,
            archived: false,
        }
    }

    /// Takes over what an earlier receiver has stored. It is compared with what comes.
    pub(super) fn resume(&mut self, tail: &Tail) {
        self.bytes.extend_from_slice(&tail.bytes);
        (self.pieces, self.sealed) = (tail.pieces, tail.bytes.len());
    }

    /// Where the next byte belongs.
    pub(super) fn position(&self) -> Lsn {
        Lsn(self.start.0 + self.received as u64)
    }

    /// Up to where every byte was received and is in a piece.
    pub(super) fn durable(&self) -> Lsn {
        Lsn(self.start.0 + self.sealed.min(self.received) as u64)
    }

    pub(super) fn is_full(&self) -> bool {
        self.received == self.size
    }

    /// Takes as much of `data` as belongs here, and returns how much that is.
    ///
    /// # Errors
    /// `Conflict` where the repository holds other bytes of this position.
    pub(super) fn take(&mut self, data: &[u8]) -> Result<usize> {
        let taken = data.len().min(self.size - self.received);
        let data = &data[..taken];
        let known = (self.bytes.len() - self.received).min(taken);
        if self.bytes[self.received..self.received + known] != data[..known] {
            return Err(self.conflict());
        }
        self.bytes.extend_from_slice(&data[known..]);
        self.received += taken;
        Ok(taken)
    }

    /// What is worth a piece: its offset and bytes.
    pub(super) fn unsealed(&self) -> Option<(usize, &[u8])> {
        let worth = !self.archived && self.received > self.sealed && self.received >= SHORTEST;
        let end = self.received.min(self.sealed.saturating_add(LARGEST));
        worth.then(|| (self.sealed, &self.bytes[self.sealed..end]))
    }

    /// So many bytes more are durable, in one more piece.
    pub(super) fn keep(&mut self, length: usize) {
        self.pieces += 1;
        self.sealed += length;
    }

    /// The next piece was there already, with this content, which may be more or less than what was received.
    ///
    /// # Errors
    /// As [`Incoming::take`].
    pub(super) fn adopt(&mut self, theirs: &[u8]) -> Result<()> {
        let known = (self.bytes.len() - self.sealed).min(theirs.len());
        let fits = self.sealed + theirs.len() <= self.size && !theirs.is_empty();
        if !fits || self.bytes[self.sealed..self.sealed + known] != theirs[..known] {
            return Err(self.conflict());
        }
        self.bytes.extend_from_slice(&theirs[known..]);
        self.keep(theirs.len());
        Ok(())
    }

    /// The whole segment. Only a full one has all its bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.received]
    }

    pub(super) fn into_buffer(self) -> Vec<u8> {
        self.bytes
    }

    fn conflict(&self) -> Error {
        let message = format!(
            "the server sends other WAL in segment {} than was received before: it is another copy of the cluster, or was \
             set back",
            self.name
        );
        Error::new(ErrorKind::Conflict, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::lsn::SystemIdentifier;
    use crate::postgres::segment::SegmentSize;

    const SIZE: usize = 1 << 20;

    fn incoming() -> Incoming {
        let segment_size = SegmentSize::new(1 << 20).unwrap();
        let cluster = Cluster { system_identifier: SystemIdentifier(7), major: 15, segment_size };
        Incoming::new(&cluster, 1, 3, Vec::new())
    }

    fn at(offset: usize) -> Lsn {
        Lsn((3 * SIZE + offset) as u64)
    }

    #[test]
    fn what_is_durable_never_runs_ahead_of_what_was_received_or_sealed() {
        let mut segment = incoming();
        assert_eq!(segment.take(&[1; 30]).unwrap(), 30);
        assert_eq!(segment.unsealed(), None, "no header yet");
        segment.take(&[1; 70]).unwrap();
        assert_eq!((segment.position(), segment.durable()), (at(100), at(0)));
        assert_eq!(segment.unsealed(), Some((0, &[1; 100][..])));
        segment.keep(60);
        assert_eq!((segment.durable(), segment.unsealed()), (at(60), Some((60, &[1; 40][..]))));
        // Another receiver was faster, and has more.
        segment.adopt(&[1; 50]).unwrap();
        assert_eq!((segment.durable(), segment.pieces, segment.unsealed()), (at(100), 2, None));
        segment.take(&[1; 5]).unwrap();
        assert_eq!((segment.durable(), segment.unsealed()), (at(105), None));
        segment.take(&[1; 10]).unwrap();
        assert_eq!((segment.durable(), segment.unsealed()), (at(110), Some((110, &[1; 5][..]))));
        let rest = vec![2; SIZE];
        assert_eq!(segment.take(&rest).unwrap(), SIZE - 115);
        assert!(segment.is_full() && segment.bytes().len() == SIZE);
        assert_eq!(segment.take(&rest).unwrap(), 0);
    }

    #[test]
    fn other_content_is_a_conflict_wherever_it_shows() {
        let resumed = || {
            let mut segment = incoming();
            segment.resume(&Tail { pieces: 2, bytes: vec![1; 100] });
            segment
        };
        let mut segment = resumed();
        assert_eq!((segment.position(), segment.durable(), segment.unsealed()), (at(0), at(0), None));
        segment.take(&[1; 99]).unwrap();
        assert_eq!(segment.durable(), at(99));
        assert_eq!(segment.take(&[2; 1]).unwrap_err().kind(), ErrorKind::Conflict);
        assert_eq!(resumed().take(&[[1; 99], [2; 99]].concat()).unwrap_err().kind(), ErrorKind::Conflict);
        let mut segment = resumed();
        segment.take(&[1; 120]).unwrap();
        for theirs in [&[2; 10][..], &[], &[1; SIZE]] {
            assert_eq!(segment.adopt(theirs).unwrap_err().kind(), ErrorKind::Conflict);
        }
        segment.adopt(&[1; 20]).unwrap();
        assert_eq!((segment.durable(), segment.pieces), (at(120), 3));
    }
}
