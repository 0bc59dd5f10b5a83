//! WAL of a cluster that never was, for tests: segments of 1 MiB with the header that the server would have written.

use std::ops::RangeInclusive;

use crate::postgres::lsn::SystemIdentifier;
use crate::postgres::segment::{Cluster, SegmentName, SegmentSize};
use crate::repo::Repository;
use crate::wal;

const SEGMENT: u32 = 1 << 20;

pub(crate) fn cluster() -> Cluster {
    let segment_size = SegmentSize::new(SEGMENT).unwrap();
    Cluster { system_identifier: SystemIdentifier(7), major: 15, segment_size }
}

pub(crate) fn name(timeline: u32, number: u64) -> String {
    SegmentName::new(timeline, number, cluster().segment_size).to_string()
}

/// Segment `number` of `timeline`, filled with `filler`.
pub(crate) fn segment(timeline: u32, number: u64, filler: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(0xD110_u16.to_le_bytes());
    bytes.extend(2_u16.to_le_bytes());
    bytes.extend(timeline.to_le_bytes());
    bytes.extend((number * u64::from(SEGMENT)).to_le_bytes());
    bytes.extend([0; 8]);
    bytes.extend(7_u64.to_le_bytes());
    bytes.extend(SEGMENT.to_le_bytes());
    bytes.extend(8192_u32.to_le_bytes());
    bytes.resize(SEGMENT as usize, filler);
    bytes
}

/// Puts segments `numbers` of `timeline` into the repository.
pub(crate) async fn archived(repository: &Repository, timeline: u32, numbers: RangeInclusive<u64>) {
    for number in numbers {
        let content = segment(timeline, number, number as u8);
        push(repository, &name(timeline, number), &content).await;
    }
}

/// Puts the history of `timeline` into the repository.
pub(crate) async fn archived_history(repository: &Repository, timeline: u32, text: &str) {
    push(repository, &format!("{timeline:08X}.history"), text.as_bytes()).await;
}

async fn push(repository: &Repository, name: &str, content: &[u8]) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    std::fs::write(&path, content).unwrap();
    wal::push(repository, &cluster(), &path).await.unwrap();
}
