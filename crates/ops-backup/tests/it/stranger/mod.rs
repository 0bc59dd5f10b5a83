//! A reader of repositories that was written from `docs/repository-format.md` alone. It shares no code with the crate:
//! what it needs and the document does not say is missing from the document.

mod content;
mod log;
mod object;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use ops_backup::{BackupOptions, Compression, Key, Monitor, Repository, TreeEngine, VerifyOptions};
use ops_testkit::TestUser;
use secrecy::SecretString;

use crate::end_to_end::start_restored;
use crate::engines::{Snapshot, noise, snapshot, tree};
use crate::support::{Site, store};
pub(crate) use object::{Reader, Secret, kind, list, number, text};

/// Asserts that `found` is `expected`, and names what is not.
pub(crate) fn assert_same(found: &Snapshot, expected: &Snapshot) {
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (path, expected) in expected {
        assert!(found[path] == *expected, "{path:?}: {:?}, not {:?}", found[path], expected);
    }
}

/// The key that the crate opens a repository with, where a stranger has `secret`.
pub(crate) fn key(secret: &Secret) -> Option<Key> {
    match secret {
        Secret::Nothing => None,
        Secret::Passphrase(passphrase) => {
            Some(Key::passphrase(SecretString::from(passphrase.clone())).unwrap())
        }
        Secret::Raw(raw) => Some(Key::from_file_bytes(raw).unwrap()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_reads_every_file_of_every_backup() {
    let raw = noise(99, 32).try_into().unwrap();
    let secrets = [
        (Secret::Nothing, Compression::Lz4),
        (Secret::Raw(raw), Compression::Zstd(3)),
        (Secret::Passphrase("größer als nötig".to_owned()), Compression::None),
    ];
    for (secret, compression) in secrets {
        let (source, place) = (tree(), tempfile::tempdir().unwrap());
        let repository =
            Repository::open_or_create(store(place.path()), key(&secret).as_ref()).await.unwrap();
        let engine = TreeEngine::new("t", source.path());
        let mut expected = Vec::new();
        for (number, compression) in [compression, Compression::Zstd(1)].into_iter().enumerate() {
            let options = BackupOptions { compression, workers: 2, ..BackupOptions::default() };
            let taken =
                ops_backup::backup(&repository, &engine, &options, &Monitor::default()).await.unwrap();
            expected.push((taken, snapshot(source.path())));
            let changed = source.path().join("a/b/size 3000000");
            let mut content = fs::read(&changed).unwrap();
            content[1_000_000..1_100_000].copy_from_slice(&noise(7, 100_000));
            fs::write(&changed, content).unwrap();
            fs::remove_file(source.path().join(format!("many/{number}"))).unwrap();
            fs::write(source.path().join("many/new"), noise(8, 20_000)).unwrap();
        }
        assert!(expected[1].0.new_bytes < 300_000, "it refers to the first one: {:?}", expected[1].0);
        ops_backup::verify(&repository, &VerifyOptions::default(), &Monitor::default()).await.unwrap();

        let reader = Reader::open(place.path(), &secret).unwrap();
        let sum = reader.log().unwrap();
        assert_eq!((sum.backups.len(), sum.verified.len(), sum.running.len()), (2, 2, 0));
        for (taken, files) in &expected {
            assert_same(&reader.files(&taken.id, &sum.backups[&taken.id]).unwrap(), files);
        }
        for wrong in [Secret::Raw([1; 32]), Secret::Passphrase("another".to_owned()), Secret::Nothing] {
            let opened = Reader::open(place.path(), &wrong);
            assert_eq!(opened.is_ok(), matches!(secret, Secret::Nothing), "{wrong:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_lost_is_made_good_by_the_next() {
    let source = tempfile::tempdir().unwrap();
    fs::write(source.path().join("f"), b"content").unwrap();
    let engine = TreeEngine::new("t", source.path());
    for (lost, is_there) in [(&[1][..], false), (&[2], true), (&[3], false), (&[2, 3], true)] {
        let place = tempfile::tempdir().unwrap();
        let repository = Repository::open_or_create(store(place.path()), None).await.unwrap();
        for _ in 0..2 {
            let options = BackupOptions::default();
            ops_backup::backup(&repository, &engine, &options, &Monitor::default()).await.unwrap();
        }
        for number in lost {
            let record = place.path().join(format!("log/{number:020}"));
            if is_there { fs::write(record, b"damaged").unwrap() } else { fs::remove_file(record).unwrap() }
        }
        let sum = Reader::open(place.path(), &Secret::Nothing).unwrap().log();
        if let [number] = *lost {
            let sum = sum.unwrap();
            assert_eq!((sum.repaired, sum.sequence, sum.backups.len()), (vec![number], 4, 2));
        } else {
            sum.unwrap_err();
        }
    }
}

/// Writes what a stranger has read, as a data directory.
fn write_out(files: &Snapshot, root: &Path) {
    fs::create_dir(root).unwrap();
    for (path, (kind, mode, _, content)) in files {
        let path = root.join(path);
        match kind.as_str() {
            "directory" => fs::create_dir(&path).unwrap(),
            "file" => fs::write(&path, content).unwrap(),
            other => panic!("a cluster has no {other}"),
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).unwrap();
    }
    fs::set_permissions(root, fs::Permissions::from_mode(0o700)).unwrap();
}

/// No server could be asked to stand still, so the judge is a server that starts from what the stranger has read.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_starts_from_what_a_stranger_has_read() {
    let site = Site::start().await;
    site.psql("CREATE TABLE t AS SELECT n, md5(n::text) AS text FROM generate_series(1, 100000) AS n");
    site.backup().await;
    site.psql("UPDATE t SET text = 'changed' WHERE n % 97 = 0");
    let second = site.backup().await;
    site.psql("DELETE FROM t WHERE n > 90000");
    site.switch_wal().await;
    let question = "SELECT count(*), md5(string_agg(text, ',' ORDER BY n)) FROM t";
    let expected = site.psql(question);

    let reader = Reader::open(&site.place(), &Secret::Nothing).unwrap();
    let sum = reader.log().unwrap();
    let description = &sum.backups[&second.id];
    let source = &description["source"];
    let system = text(&source["cluster"], "system_identifier").unwrap();
    let cluster = reader.json(kind::CLUSTER, &format!("pg/{system}/cluster")).unwrap();
    for field in ["system_identifier", "major", "segment_size"] {
        assert_eq!(cluster[field], source["cluster"][field], "{field}");
    }
    assert_eq!(source["databases"].as_array().unwrap().len(), 3);
    let files = reader.files(&second.id, description).unwrap();
    let data = site.root.path().join("stranger");
    write_out(&files, &data);
    let timeline = format!("pg/{system}/wal/{:08X}", number(source, "timeline").unwrap());
    let names = reader.names(&timeline).unwrap();
    for name in &names {
        let content = reader.unseal(kind::WAL, &format!("{timeline}/{name}")).unwrap();
        fs::write(data.join("pg_wal").join(name), content).unwrap();
    }
    // The segments from start to stop, by the arithmetic of the document.
    let size = number(&cluster, "segment_size").unwrap();
    let position = |field| {
        let (high, low) = text(source, field).unwrap().split_once('/').unwrap();
        u64::from_str_radix(high, 16).unwrap() << 32 | u64::from_str_radix(low, 16).unwrap()
    };
    for segment in position("start_lsn") / size..=(position("stop_lsn") - 1) / size {
        let of_four_gib = (1 << 32) / size;
        let name = format!("{:08X}{:08X}{:08X}", 1, segment / of_four_gib, segment % of_four_gib);
        assert!(names.contains(&name), "{name}");
    }
    TestUser::find().unwrap().own_tree(&data).unwrap();
    let server = start_restored(&data).await;
    assert_eq!(server.psql(question).unwrap(), expected);
    let amcheck = server.command("pg_amcheck").args(["--install-missing", "--all"]).output().unwrap();
    assert!(amcheck.status.success(), "{}", String::from_utf8_lossy(&amcheck.stdout));
}
