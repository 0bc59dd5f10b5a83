//! Pieces in an honest and in a damaged store.

use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt as _};

use super::*;
use crate::postgres::segment::SegmentSize;

const SIZE: usize = 1 << 20;
const SYSTEM: SystemIdentifier = SystemIdentifier(7);

fn cluster() -> Cluster {
    Cluster { system_identifier: SYSTEM, major: 15, segment_size: SegmentSize::new(1 << 20).unwrap() }
}

fn name() -> SegmentName {
    SegmentName::new(1, 3, cluster().segment_size)
}

/// The first 100 bytes of segment 3.
fn beginning() -> Vec<u8> {
    let mut head = Vec::new();
    head.extend(0xD110_u16.to_le_bytes());
    head.extend(2_u16.to_le_bytes());
    head.extend(1_u32.to_le_bytes());
    head.extend((3 * SIZE as u64).to_le_bytes());
    head.extend([0; 8]);
    head.extend(SYSTEM.0.to_le_bytes());
    head.extend(u32::try_from(SIZE).unwrap().to_le_bytes());
    head.extend(8192_u32.to_le_bytes());
    head.resize(100, 9);
    head
}

async fn store() -> (Arc<InMemory>, Repository) {
    let memory = Arc::new(InMemory::new());
    let store = Arc::clone(&memory) as Arc<dyn ObjectStore>;
    (memory, Repository::open_or_create(store, None).await.unwrap())
}

async fn put(repository: &Repository, number: u64, offset: u64, bytes: &[u8]) -> Result<Kept> {
    let place = (name(), number);
    let sealed = seal(repository, SYSTEM, place, (offset, bytes), Compression::default())?;
    append(repository, SYSTEM, place, offset, sealed).await
}

#[tokio::test]
async fn pieces_make_a_beginning_and_a_segment_with_zeros() {
    let (_, repository) = store().await;
    let whole = beginning();
    assert_eq!(assemble(&repository, &cluster(), &name().to_string()).await.unwrap(), None);
    assert_eq!(put(&repository, 0, 0, &whole[..60]).await.unwrap(), Kept::Ours);
    assert_eq!(put(&repository, 1, 60, &whole[60..]).await.unwrap(), Kept::Ours);
    // Again, as after a lost answer; by another receiver; and by one that is out of step.
    assert_eq!(put(&repository, 1, 60, &whole[60..]).await.unwrap(), Kept::Theirs(whole[60..].to_vec()));
    assert_eq!(put(&repository, 1, 60, b"other").await.unwrap(), Kept::Theirs(whole[60..].to_vec()));
    assert_eq!(put(&repository, 1, 50, &whole[50..]).await.unwrap_err().kind(), ErrorKind::Conflict);
    let tail = read(&repository, &cluster(), name()).await.unwrap();
    assert_eq!(tail, Tail { pieces: 2, bytes: whole.clone() });
    let segment = assemble(&repository, &cluster(), &name().to_string()).await.unwrap().unwrap();
    assert!(segment.len() == SIZE && segment[..100] == whole && segment[100..].iter().all(|byte| *byte == 0));
    let start = Lsn(3 * SIZE as u64);
    let found = end(&repository, &cluster(), 1, start).await.unwrap().unwrap();
    assert_eq!(found.lsn, Lsn(start.0 + 100));
    assert!(stored_at(&repository, &cluster(), &found).await.unwrap().is_some());

    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    // A tail is no segment, and nothing but a segment has a tail.
    let name = name().to_string();
    assert_eq!(wal::fetch(&repository, &cluster(), &name, &out).await.unwrap(), Fetched::Absent);
    assert_eq!(fetch(&repository, &cluster(), &name, &out).await.unwrap(), Fetched::Written);
    assert_eq!(std::fs::read(&out).unwrap(), segment);
    for other in ["00000002.history", "000000010000000000000004", &format!("{name}.partial")] {
        assert_eq!(fetch(&repository, &cluster(), other, &out).await.unwrap(), Fetched::Absent, "{other}");
    }
    // The segment itself goes before its tail.
    let mut complete = segment.to_vec();
    complete[200] = 1;
    let path = folder.path().join(&name);
    std::fs::write(&path, &complete).unwrap();
    wal::push(&repository, &cluster(), &path).await.unwrap();
    assert_eq!(fetch(&repository, &cluster(), &name, &out).await.unwrap(), Fetched::Written);
    assert_eq!(std::fs::read(&out).unwrap(), complete);
    assert_eq!(end(&repository, &cluster(), 1, start).await.unwrap(), None);
    remove(&repository, SYSTEM, self::name(), 2).await.unwrap();
    assert_eq!(read(&repository, &cluster(), self::name()).await.unwrap(), Tail::default());
}

#[tokio::test]
async fn damage_is_an_error_and_never_an_absence() {
    let (memory, repository) = store().await;
    let whole = beginning();
    put(&repository, 0, 0, &whole[..60]).await.unwrap();
    put(&repository, 1, 60, &whole[60..]).await.unwrap();
    let first = path(SYSTEM, name(), 0);
    let sound = memory.get(&first).await.unwrap().bytes().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let other = memory.get(&path(SYSTEM, name(), 1)).await.unwrap().bytes().await.unwrap();
    let mut damaged = vec![sound.slice(..sound.len() - 1), other, Bytes::new()];
    for bit in 0..sound.len() * 8 {
        let mut flipped = sound.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        damaged.push(flipped.into());
    }
    for bytes in damaged {
        memory.put(&first, bytes.into()).await.unwrap();
        let error = fetch(&repository, &cluster(), &name().to_string(), &out).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported), "{error}");
        assert!(!out.exists());
    }
    // Pieces that do not follow one another, and a beginning that is another segment's.
    for (offset, bytes) in [(0, &whole[..50]), (0, &[][..])] {
        memory.delete(&first).await.unwrap();
        put(&repository, 0, offset, bytes).await.unwrap();
        assert_eq!(read(&repository, &cluster(), name()).await.unwrap_err().kind(), ErrorKind::Corrupt);
    }
    memory.delete(&first).await.unwrap();
    put(&repository, 0, 0, &[7; 60]).await.unwrap();
    let error = assemble(&repository, &cluster(), &name().to_string()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}

#[test]
fn a_piece_is_known_by_its_path() {
    let path = path(SYSTEM, name(), 12);
    assert_eq!(path.as_ref(), "pg/7/tail/00000001/000000010000000000000003/12");
    assert_eq!(segment_of(&path), Some((SYSTEM, name())));
    for other in ["pg/7/wal/00000001/000000010000000000000003", "pg/7/tail/00000001/x/12", "pg/x/tail/1/2/3"]
    {
        assert_eq!(segment_of(&Path::from(other)), None, "{other}");
    }
}
