//! Repositories of format 2 that every later version must read: `tests/fixtures/format-2/`.
//!
//! Each is copied, then read by a stranger and by the crate, verified, restored, and built on.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use object_store::ObjectStore;
use ops_backup::postgres::SegmentSize;
use ops_backup::wal::{self, Fetched, Pushed};
use ops_backup::{
    Backup, BackupOptions, Cluster, Compression, ErrorKind, Key, Monitor, Repository, Retention, RetryPolicy,
    SystemIdentifier, TreeEngine, VerifyOptions, backup, expire, verify,
};
use secrecy::SecretString;
use tempfile::TempDir;

use crate::engines::{Snapshot, noise, restore_tree, snapshot};
use crate::faulty::{Fault, FaultyStore};
use crate::stranger::{Reader, Secret, key, kind, list, text};
use crate::support::store;

/// What is in a fixture besides its backups.
struct Fixture {
    name: &'static str,
    secret: Secret,
    compression: Compression,
    /// Whether the tree has a file of two pieces.
    large: bool,
    /// Verifications after the last backup: enough of them make a snapshot of the log.
    verifications: usize,
}

/// A key for tests, which protects nothing: everybody can compute it.
fn test_key() -> Secret {
    Secret::Raw(*blake3::hash(b"the test key of ops-backup's fixtures; it protects nothing").as_bytes())
}

fn test_passphrase() -> Secret {
    Secret::Passphrase("this passphrase protects nothing but test fixtures".to_owned())
}

fn fixtures() -> [Fixture; 4] {
    let of =
        |name, secret, compression| Fixture { name, secret, compression, large: false, verifications: 1 };
    [
        Fixture { large: true, ..of("plain-zstd", Secret::Nothing, Compression::Zstd(3)) },
        of("raw-key-lz4", test_key(), Compression::Lz4),
        of("passphrase-none", test_passphrase(), Compression::None),
        Fixture { verifications: 62, ..of("many-records", Secret::Nothing, Compression::Zstd(19)) },
    ]
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/format-2")
}

/// The cluster of the WAL in every fixture; no server ever had it.
fn cluster() -> Cluster {
    let segment_size = SegmentSize::new(1 << 20).unwrap();
    Cluster { system_identifier: SystemIdentifier(7_000_000_000_000_000_001), major: 15, segment_size }
}

/// A segment as PostgreSQL 15 begins one, without any record in it.
fn segment(number: u64) -> Vec<u8> {
    let mut bytes = vec![0; 1 << 20];
    bytes[..2].copy_from_slice(&0xD110_u16.to_le_bytes());
    bytes[2..4].copy_from_slice(&2_u16.to_le_bytes());
    bytes[4..8].copy_from_slice(&1_u32.to_le_bytes());
    bytes[8..16].copy_from_slice(&(number << 20).to_le_bytes());
    bytes[24..32].copy_from_slice(&cluster().system_identifier.0.to_le_bytes());
    bytes[32..36].copy_from_slice(&(1_u32 << 20).to_le_bytes());
    bytes[36..40].copy_from_slice(&8192_u32.to_le_bytes());
    bytes
}

const HISTORY: &[u8] = b"1\t0/300000\tno recovery target specified\n";

/// The WAL files of every fixture that has any.
fn wal_files() -> [(&'static str, Vec<u8>); 3] {
    [
        ("000000010000000000000002", segment(2)),
        ("000000010000000000000003.partial", segment(3)),
        ("00000002.history", HISTORY.to_vec()),
    ]
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// One line for each path of each backup.
fn lines(of: &BTreeMap<String, Snapshot>) -> String {
    let mut text = String::new();
    for (backup, files) in of {
        for (path, (kind, mode, modified, content)) in files {
            let hash = blake3::hash(content).to_hex();
            writeln!(text, "{backup} {kind} {mode:o} {modified} {} {hash} {path:?}", content.len()).unwrap();
        }
    }
    text
}

fn assert_lines(found: &str, expected: &str, who: &str) {
    let [found, expected]: [BTreeSet<&str>; 2] = [found.lines().collect(), expected.lines().collect()];
    let missing: Vec<_> = expected.difference(&found).collect();
    let wrong: Vec<_> = found.difference(&expected).collect();
    assert!(missing.is_empty() && wrong.is_empty(), "{who}: expected {missing:#?}, found {wrong:#?}");
}

fn whole() -> VerifyOptions {
    VerifyOptions { workers: 1, ..VerifyOptions::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fixture_is_read_verified_restored_and_built_on() {
    for fixture in fixtures() {
        let name = fixture.name;
        let copy = tempfile::tempdir().unwrap();
        let place = copy.path().join("repository");
        copy_tree(&directory().join(name).join("repository"), &place);
        let expected = fs::read_to_string(directory().join(name).join("expected.txt")).unwrap();
        let repository = Repository::open(store(&place), key(&fixture.secret).as_ref()).await.unwrap();

        let report = verify(&repository, &whole(), &Monitor::default()).await.unwrap();
        assert!(report.is_proven() && report.complete, "{name}: {:?}", report.problems);
        let mut restored = BTreeMap::new();
        for taken in repository.backups().await.unwrap() {
            let target = tempfile::tempdir().unwrap();
            restore_tree(&repository, target.path(), &taken.id).await;
            restored.insert(taken.id, snapshot(target.path()));
        }
        assert_lines(&lines(&restored), &expected, name);
        read_wal(&repository, copy.path()).await;

        // What an aborted job has stored is not stored again.
        let source = make_source(&fixture, 2);
        let options = BackupOptions { compression: fixture.compression, ..BackupOptions::default() };
        let engine = TreeEngine::new("fixture", source.path());
        let next = backup(&repository, &engine, &options, &Monitor::default()).await.unwrap();
        assert_eq!(next.new_bytes, 0, "{name}: {next:?}");
        // And what was condemned goes.
        let gone = keep_one(&repository, later(100)).await;
        assert!(gone.removed_packs > 0, "{name}: {gone:?}");
        let report = verify(&repository, &whole(), &Monitor::default()).await.unwrap();
        assert!(report.is_proven(), "{name}: {:?}", report.problems);
        let target = tempfile::tempdir().unwrap();
        restore_tree(&repository, target.path(), &next.id).await;
        assert!(snapshot(target.path()) == snapshot(source.path()), "{name}");
    }
}

async fn read_wal(repository: &Repository, scratch: &Path) {
    for (name, expected) in wal_files() {
        let destination = scratch.join(name);
        assert_eq!(wal::fetch(repository, &cluster(), name, &destination).await.unwrap(), Fetched::Written);
        assert!(fs::read(&destination).unwrap() == expected, "{name}");
        assert_eq!(wal::push(repository, &cluster(), &destination).await.unwrap(), Pushed::AlreadyThere);
    }
    let absent = wal::fetch(repository, &cluster(), "000000010000000000000003", &scratch.join("x")).await;
    assert_eq!(absent.unwrap(), Fetched::Absent, "a partial segment is not the whole one");
}

#[test]
fn a_stranger_reads_every_fixture() {
    for fixture in fixtures() {
        let (name, root) = (fixture.name, directory().join(fixture.name));
        let reader = Reader::open(&root.join("repository"), &fixture.secret).unwrap();
        let sum = reader.log().unwrap();
        let states = (sum.backups.len(), sum.expired.len(), sum.abandoned.len(), sum.running.len());
        // The expired backup was forgotten when its packs were condemned; what the job has stored is kept.
        assert_eq!(states, (1, 0, 1, 0), "{name}");
        let read: BTreeMap<String, Snapshot> =
            sum.backups.iter().map(|(id, backup)| (id.clone(), reader.files(id, backup).unwrap())).collect();
        assert_lines(&lines(&read), &fs::read_to_string(root.join("expected.txt")).unwrap(), name);

        let system = format!("pg/{}", cluster().system_identifier);
        assert_eq!(
            reader.json(kind::CLUSTER, &format!("{system}/cluster")).unwrap()["segment_size"],
            1 << 20
        );
        for (file, expected) in wal_files() {
            let path = format!("{system}/wal/{}/{file}", &file[..8]);
            assert!(reader.unseal(kind::WAL, &path).unwrap() == expected, "{name}: {file}");
        }
        let job = sum.abandoned.keys().next().unwrap();
        let part = reader.json(kind::PART, &format!("backups/{job}/part-000000")).unwrap();
        assert!(
            text(&part, "backup").unwrap() == job && !list(&part, "listings").unwrap().is_empty(),
            "{part}"
        );
        for pack in list(&part, "packs").unwrap() {
            reader.prove_pack(pack).unwrap();
        }
        let condemned = sum.condemned.values().next().unwrap();
        let condemned = reader.json(kind::CONDEMNED, condemned).unwrap();
        for pack in list(&condemned, "packs").unwrap() {
            assert!(reader.has(pack[0].as_str().unwrap()), "{name}: its grace time is not over: {pack}");
        }
        let ledgers = reader.names("ledger").unwrap();
        let ledger = reader.json(kind::LEDGER, &format!("ledger/{}", ledgers[0])).unwrap();
        assert_eq!((ledgers.len(), sum.verified.len()), (1, 1), "{name}");
        assert!(ledger["proven"].as_object().unwrap().keys().any(|path| path.starts_with("packs/")));
        let snapshots = reader.names("log/snapshots").unwrap();
        assert_eq!(snapshots.len(), usize::from(sum.sequence >= 64), "{name}");
        for snapshot in snapshots {
            let path = format!("log/snapshots/{snapshot}");
            let state = &reader.json(kind::SNAPSHOT, &path).unwrap()["state"];
            assert_eq!((&state["sequence"], state["backups"].as_object().unwrap().len()), (&64.into(), 1));
        }
        assert_eq!(sum.removed_keys.len(), usize::from(!matches!(fixture.secret, Secret::Nothing)), "{name}");
    }
}

#[tokio::test]
async fn another_version_is_refused_by_its_number() {
    let copy = tempfile::tempdir().unwrap();
    copy_tree(&directory().join("plain-zstd/repository"), copy.path());
    let path = copy.path().join("repository.json");
    let marker = fs::read_to_string(&path).unwrap();
    for version in ["1", "3", "4294967295"] {
        let other =
            marker.replace("\"version\": 2", &format!("\"version\": {version}, \"colour\": \"blue\""));
        assert_ne!(other, marker);
        fs::write(&path, other).unwrap();
        let error = Repository::open(store(copy.path()), None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(error.to_string().contains(&format!("version {version};")), "{error}");
        let stranger = Reader::open(copy.path(), &Secret::Nothing).unwrap_err();
        assert!(stranger.contains(&format!("version {version} ")), "{stranger}");
    }
    // A field more is none of a reader's business.
    fs::write(&path, marker.replace("\"version\": 2", "\"version\": 2, \"colour\": \"blue\"")).unwrap();
    Repository::open(store(copy.path()), None).await.unwrap();
}

#[tokio::test]
async fn a_fixture_opens_with_its_own_key_only() {
    for fixture in fixtures() {
        let place = directory().join(fixture.name).join("repository");
        for secret in [Secret::Nothing, test_key(), test_passphrase(), Secret::Raw([7; 32])] {
            let key = match &secret {
                Secret::Raw(raw) if raw == &[7; 32] => Some(Key::from_file_bytes(&noise(7, 32)).unwrap()),
                secret => key(secret),
            };
            let opened = Repository::open(store(&place), key.as_ref()).await;
            let expected = format!("{secret:?}") == format!("{:?}", fixture.secret);
            assert_eq!(opened.is_ok(), expected, "{} with {secret:?}", fixture.name);
        }
    }
}

async fn keep_one(repository: &Repository, now: Timestamp) -> expire::Expired {
    let policy = Retention { last: Some(1), ..Retention::default() };
    let plan = expire::plan(repository, &policy, now).await.unwrap();
    expire::apply(repository, plan, &Monitor::default()).await.unwrap()
}

fn later(hours: i64) -> Timestamp {
    Timestamp::now() + jiff::SignedDuration::from_hours(hours)
}

/// The tree as it was for the first, the second, and the aborted third backup.
fn make_source(fixture: &Fixture, generation: u64) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let at = |path: &str| root.path().join(path);
    for directory in ["empty", "deep/er/and/deeper", "ü"] {
        fs::create_dir_all(at(directory)).unwrap();
    }
    let line = |n| format!("{n:6} {} never green without evidence\n", if n == 999 { generation } else { 9 });
    let text: String = (0..7_000).map(line).collect();
    fs::write(at("pieces"), &text).unwrap();
    fs::write(at("empty file"), b"").unwrap();
    for size in [1, 16_383, 16_384, 16_385] {
        fs::write(at(&format!("deep/{size}")), &text.as_bytes()[..size]).unwrap();
    }
    fs::write(at("deep/er/noise"), noise(3, 5_000)).unwrap();
    fs::write(at(&format!("deep/er/generation {generation}")), noise(10 + generation, 3_000)).unwrap();
    fs::write(at(&"n".repeat(255)), b"a long name").unwrap();
    fs::write(at("ü/日本語 \"quoted\"\n\\"), b"an odd name").unwrap();
    symlink("../outside/ü", at("deep/dangling")).unwrap();
    symlink("er", at("deep/link")).unwrap();
    fs::set_permissions(at("deep/1"), fs::Permissions::from_mode(0o751)).unwrap();
    fs::set_permissions(at("deep/er"), fs::Permissions::from_mode(0o700)).unwrap();
    if fixture.large {
        let file = fs::File::create(at("sparse")).unwrap();
        file.set_len(65 << 20).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, b"across the end of a piece", (64 << 20) - 10)
            .unwrap();
    }
    root
}

/// How the fixtures were made. It writes those that are not there: a fixture is never changed, only added.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "writes fixtures into the source tree"]
async fn make_fixtures() {
    for fixture in fixtures() {
        let root = directory().join(fixture.name);
        if root.exists() {
            continue;
        }
        let made = tempfile::tempdir().unwrap();
        let place = made.path().join("repository");
        let kept = make(&fixture, &place).await;
        let place = abort(&fixture, &place, made.path()).await;
        fs::create_dir_all(&root).unwrap();
        copy_tree(&place, &root.join("repository"));
        fs::write(root.join("expected.txt"), lines(&kept)).unwrap();
    }
}

/// Two backups of which the first is expired and condemned, a ledger, WAL, and keys; returns what is in the second.
async fn make(fixture: &Fixture, place: &Path) -> BTreeMap<String, Snapshot> {
    fs::create_dir(place).unwrap();
    let first = key(&fixture.secret);
    let repository = Repository::open_or_create(store(place), first.as_ref()).await.unwrap();
    if first.is_some() {
        let other = Key::passphrase(SecretString::from("a passphrase that is removed again")).unwrap();
        let id = repository.add_key(&other).await.unwrap();
        repository.remove_key(&id).await.unwrap();
    }
    let mut taken: Vec<(Backup, Snapshot)> = Vec::new();
    for generation in 0..2 {
        let source = make_source(fixture, generation);
        let options =
            BackupOptions { compression: fixture.compression, workers: 1, ..BackupOptions::default() };
        let engine = TreeEngine::new("fixture", source.path());
        let backup = backup(&repository, &engine, &options, &Monitor::default()).await.unwrap();
        taken.push((backup, snapshot(source.path())));
    }
    for (name, content) in wal_files() {
        let file = place.parent().unwrap().join(name);
        fs::write(&file, content).unwrap();
        wal::push(&repository, &cluster(), &file).await.unwrap();
    }
    let expired = keep_one(&repository, later(0)).await;
    assert!(expired.backups.len() == 1 && expired.condemned_packs > 0, "{expired:?}");
    for _ in 0..fixture.verifications {
        let report = verify(&repository, &whole(), &Monitor::default()).await.unwrap();
        assert!(report.is_proven(), "{report:?}");
    }
    taken.split_off(1).into_iter().map(|(backup, files)| (backup.id, files)).collect()
}

/// Lets a third backup fail behind its last part; returns the place of the repository with its remains.
async fn abort(fixture: &Fixture, place: &Path, scratch: &Path) -> PathBuf {
    let source = make_source(fixture, 2);
    let once = RetryPolicy { attempts: 1, ..RetryPolicy::default() };
    for at in (0..60).rev() {
        let copy = scratch.join(format!("failed at {at}"));
        copy_tree(place, &copy);
        let faulty = FaultyStore::new(store(&copy), Fault::Fail, usize::MAX);
        let inner: std::sync::Arc<dyn ObjectStore> = std::sync::Arc::clone(&faulty) as _;
        let repository =
            Repository::open(inner, key(&fixture.secret).as_ref()).await.unwrap().with_retries(once);
        faulty.arm(at);
        let options = BackupOptions {
            compression: fixture.compression,
            workers: 1,
            checkpoint_interval: Duration::ZERO,
            ..BackupOptions::default()
        };
        let engine = TreeEngine::new("fixture", source.path());
        let failed = backup(&repository, &engine, &options, &Monitor::default()).await.is_err();
        drop(repository);
        let reader = Reader::open(&copy, &fixture.secret).unwrap();
        let sum = reader.log().unwrap();
        let Some(job) = sum.abandoned.keys().next().filter(|_| failed) else { continue };
        if reader.has(&format!("backups/{job}/part-000000"))
            && reader.names(&format!("leases/{job}")).unwrap().is_empty()
        {
            return copy;
        }
    }
    panic!("no failure leaves parts");
}
