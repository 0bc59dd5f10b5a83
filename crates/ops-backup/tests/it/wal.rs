//! Push and fetch of WAL files, each by the rule for its name.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt as _};
use ops_backup::postgres::SegmentSize;
use ops_backup::wal::{self, Fetched, PushOptions, Pushed};
use ops_backup::{Cluster, Compression, ErrorKind, Key, Repository, SystemIdentifier};

pub(crate) const SEGMENT: u32 = 1 << 20;

pub(crate) fn cluster(system: u64) -> Cluster {
    Cluster {
        system_identifier: SystemIdentifier(system),
        major: 15,
        segment_size: SegmentSize::new(SEGMENT).unwrap(),
    }
}

/// A segment as the server begins it, filled with `filler`.
pub(crate) fn segment(number: u64, system: u64, timeline: u32, filler: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(0xD110_u16.to_le_bytes());
    bytes.extend(2_u16.to_le_bytes());
    bytes.extend(timeline.to_le_bytes());
    bytes.extend((number * u64::from(SEGMENT)).to_le_bytes());
    bytes.extend([0; 8]);
    bytes.extend(system.to_le_bytes());
    bytes.extend(SEGMENT.to_le_bytes());
    bytes.extend(8192_u32.to_le_bytes());
    bytes.resize(SEGMENT as usize, filler);
    bytes
}

pub(crate) fn write(directory: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

async fn repository(key: Option<&Key>) -> Repository {
    Repository::open_or_create(Arc::new(InMemory::new()), key).await.unwrap()
}

/// A key that costs no time to use.
pub(crate) fn raw_key() -> Key {
    Key::Raw([7; 32].into())
}

#[tokio::test]
async fn a_push_is_judged_by_name_and_content() {
    a_push_is_judged(&repository(None).await).await;
}

#[tokio::test]
async fn encrypted_too_although_no_two_objects_are_alike() {
    a_push_is_judged(&repository(Some(&raw_key())).await).await;
}

async fn a_push_is_judged(repository: &Repository) {
    let directory = tempfile::tempdir().unwrap();
    let name = "000000020000000000000003";
    let good = segment(3, 7, 2, 1);
    let history: &[u8] = b"1\t0/3000060\tno recovery target specified\n";
    let label: &[u8] = b"START WAL LOCATION: 0/300028 (file 000000020000000000000003)\n";
    let partial = format!("{name}.partial");
    let stored = Ok(Pushed::Stored);
    // In this order: later pushes meet what earlier ones left.
    for (name, bytes, expected) in [
        (name, &good[..], stored),
        (name, &good[..], Ok(Pushed::AlreadyThere)),
        (name, &segment(3, 7, 2, 2)[..], Err(ErrorKind::Conflict)),
        (name, &good[..good.len() - 1], Err(ErrorKind::Corrupt)),
        (name, &[&good[..], &[0]].concat()[..], Err(ErrorKind::Corrupt)),
        (name, &segment(3, 8, 2, 1)[..], Err(ErrorKind::Corrupt)),
        (name, &segment(2, 7, 2, 1)[..], Err(ErrorKind::Corrupt)),
        (name, &segment(3, 7, 3, 1)[..], Err(ErrorKind::Corrupt)),
        (name, b"", Err(ErrorKind::Corrupt)),
        // The first segment of a timeline is a copy of its parent's last one.
        ("000000020000000000000004", &segment(4, 7, 1, 1)[..], stored),
        (&partial, &segment(3, 7, 2, 9)[..], stored),
        (&partial, &segment(3, 7, 2, 9)[..], Ok(Pushed::AlreadyThere)),
        (&partial, &segment(3, 7, 2, 8)[..], Err(ErrorKind::Conflict)),
        ("00000002.history", history, stored),
        ("00000002.history", history, Ok(Pushed::AlreadyThere)),
        ("00000002.history", b"1\t0/4000060\tanother\n", Err(ErrorKind::Conflict)),
        ("00000003.history", b"not a history", Err(ErrorKind::Corrupt)),
        ("000000020000000000000003.00000028.backup", label, stored),
        ("000000020000000000000003.00000030.backup", b"something", Err(ErrorKind::Corrupt)),
        ("000000020000000000001003", &good[..], Err(ErrorKind::Corrupt)),
        ("archive.tmp", &good[..], Err(ErrorKind::Configuration)),
    ] {
        let path = write(directory.path(), name, bytes);
        let result = wal::push(repository, &cluster(7), &path).await;
        assert_eq!(
            result.as_ref().map_err(ops_backup::Error::kind),
            expected.as_ref().map_err(|kind| *kind),
            "{name}: {result:?}"
        );
    }
    let absent = wal::push(repository, &cluster(7), &directory.path().join("000000020000000000000009")).await;
    assert_eq!(absent.unwrap_err().kind(), ErrorKind::Io);

    let out = directory.path().join("out");
    for (name, expected) in [
        (name, Fetched::Written),
        (&partial, Fetched::Written),
        ("00000002.history", Fetched::Written),
        ("000000020000000000000003.00000028.backup", Fetched::Written),
        ("000000020000000000000005", Fetched::Absent),
        ("00000003.history", Fetched::Absent),
    ] {
        std::fs::remove_file(&out).ok();
        assert_eq!(wal::fetch(repository, &cluster(7), name, &out).await.unwrap(), expected, "{name}");
        assert_eq!(out.exists(), expected == Fetched::Written, "{name}");
        let original = std::fs::read(directory.path().join(name)).ok();
        // The conflicting and damaged pushes above left their last content in these files.
        if expected == Fetched::Written && name == "000000020000000000000003.00000028.backup" {
            assert_eq!(std::fs::read(&out).ok(), original, "{name}");
        }
    }
    let error =
        wal::fetch(repository, &cluster(7), name, &directory.path().join("no/where")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(wal::fetch(repository, &cluster(7), "../../repository.json", &out).await.is_err());
}

#[tokio::test]
async fn what_was_pushed_is_fetched_and_clusters_are_kept_apart() {
    let directory = tempfile::tempdir().unwrap();
    let repository = repository(None).await;
    let name = "000000010000000000000003";
    for system in [7, 8] {
        let path = write(directory.path(), name, &segment(3, system, 1, system as u8));
        assert_eq!(wal::push(&repository, &cluster(system), &path).await.unwrap(), Pushed::Stored);
    }
    let out = directory.path().join("out");
    for system in [7, 8] {
        assert_eq!(wal::fetch(&repository, &cluster(system), name, &out).await.unwrap(), Fetched::Written);
        assert_eq!(std::fs::read(&out).unwrap(), segment(3, system, 1, system as u8));
    }
    // The same identifier with another version or segment size is another cluster, or an upgrade gone wrong.
    let upgraded = Cluster { major: 16, ..cluster(7) };
    let larger = Cluster { segment_size: SegmentSize::new(2 << 20).unwrap(), ..cluster(7) };
    for other in [upgraded, larger] {
        let path = write(directory.path(), "00000002.history", b"1\t0/3000060\tx\n");
        let error = wal::push(&repository, &other, &path).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        assert!(wal::fetch(&repository, &other, name, &out).await.is_err());
    }
}

#[tokio::test]
async fn a_repeated_push_is_known_by_content_whatever_the_compression_was() {
    let directory = tempfile::tempdir().unwrap();
    let name = "000000010000000000000003";
    let path = write(directory.path(), name, &segment(3, 7, 1, 5));
    for key in [None, Some(raw_key())] {
        let repository = repository(key.as_ref()).await;
        let mut expected = Pushed::Stored;
        for compression in [Compression::Lz4, Compression::None, Compression::Zstd(1)] {
            let mut options = PushOptions::default();
            options.compression = compression;
            let pushed = wal::push_with(&repository, &cluster(7), &path, &options).await.unwrap();
            assert_eq!(pushed, expected, "{compression:?}");
            expected = Pushed::AlreadyThere;
        }
    }
}

/// A segment that is damaged, cut, or another one's object in its place is never handed to the server.
#[tokio::test]
async fn what_was_changed_in_the_store_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (name, other) = ("000000010000000000000003", "000000010000000000000004");
    for key in [None, Some(raw_key())] {
        let memory = Arc::new(InMemory::new());
        let store = Arc::clone(&memory) as Arc<dyn ObjectStore>;
        let repository = Repository::open_or_create(store, key.as_ref()).await.unwrap();
        for (name, number) in [(name, 3), (other, 4)] {
            let path = write(directory.path(), name, &segment(number, 7, 1, 5));
            wal::push(&repository, &cluster(7), &path).await.unwrap();
        }
        let place = |name: &str| ObjectPath::from(format!("pg/0000000000000007/wal/00000001/{name}"));
        let places = [place(name), ObjectPath::from(format!("pg/7/wal/00000001/{name}"))];
        let (mut found, mut at) = (None, None);
        for place in places {
            if let Ok(object) = memory.get(&place).await {
                (found, at) = (Some(object.bytes().await.unwrap()), Some(place));
            }
        }
        let (sound, at) = (found.unwrap(), at.unwrap());
        let swapped = memory.get(&ObjectPath::from(at.as_ref().replace(name, other))).await.unwrap();
        let mut damaged =
            vec![swapped.bytes().await.unwrap().to_vec(), sound[..sound.len() - 1].to_vec(), Vec::new()];
        for bit in (0..sound.len() * 8).step_by(97) {
            let mut flipped = sound.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            damaged.push(flipped);
        }
        let out = directory.path().join("out");
        for bytes in damaged {
            memory.put(&at, bytes.into()).await.unwrap();
            let error = wal::fetch(&repository, &cluster(7), name, &out).await.unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported), "{error}");
            assert!(!out.exists());
            let path = write(directory.path(), name, &segment(3, 7, 1, 5));
            let error = wal::push(&repository, &cluster(7), &path).await.unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported), "{error}");
        }
    }
}
