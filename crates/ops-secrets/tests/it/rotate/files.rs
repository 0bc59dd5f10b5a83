//! Real files and real file events: the link of a mounted volume, and files that are replaced by a rename.
//!
//! Polling is an hour away here, so what is seen is seen by events.

use super::{contract, text};
use crate::support::Logged;
use ops_secrets::Secret;
use ops_secrets::rotate::{ErrorKind, FileProvider, FixedProvider, FolderProvider, Group, Options, Provider};
use std::fs;
use std::future::Future as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

fn options() -> Options {
    Options { poll: Duration::from_secs(3600), settle: Duration::from_millis(1), ..Options::default() }
}

/// What the kubelet does: a new folder, a new link beside the old one, a rename over it, the old folder removed.
fn swap(volume: &Path, number: usize) {
    let (new, old) = (format!("..{number}"), fs::read_link(volume.join("..data")).ok());
    fs::create_dir(volume.join(&new)).unwrap();
    fs::write(volume.join(&new).join("username"), format!("user-{number}")).unwrap();
    fs::write(volume.join(&new).join("password"), format!("word-{number}\n")).unwrap();
    symlink(&new, volume.join("..data_tmp")).unwrap();
    fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
    if let Some(old) = old {
        fs::remove_dir_all(volume.join(old)).unwrap();
    } else {
        for name in ["username", "password"] {
            symlink(format!("..data/{name}"), volume.join(name)).unwrap();
        }
    }
}

#[tokio::test]
async fn providers_of_files_keep_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    fs::write(&file, "first-value\r\n").unwrap();
    let provider = FileProvider::new(&file);
    contract::check(&provider, Some(&mut || fs::write(&file, "second-value\n").unwrap())).await;
    let fetched = provider.fetch().await.unwrap();
    assert_eq!(fetched.fields["value"].expose_secret(), "second-value", "without its line end");

    let volume = tempfile::tempdir().unwrap();
    swap(volume.path(), 1);
    let provider = FolderProvider::new(volume.path());
    contract::check(&provider, Some(&mut || swap(volume.path(), 2))).await;
    assert_eq!(provider.fetch().await.unwrap().fields.keys().collect::<Vec<_>>(), ["password", "username"]);

    contract::check(&FixedProvider::new("env PASSWORD", Secret::from("fixed-value")), None).await;
}

#[tokio::test]
async fn what_cannot_be_a_secret_is_refused_by_kind() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("empty"), "\n").unwrap();
    fs::write(path("binary"), b"\xff\xfe").unwrap();
    fs::write(path("large"), vec![b'x'; (1 << 20) + 1]).unwrap();
    fs::create_dir(path("folder")).unwrap();
    let done = std::process::Command::new("mkfifo").arg(path("fifo")).status().unwrap();
    assert!(done.success());
    for (name, kind) in [
        ("absent", ErrorKind::Missing),
        ("empty", ErrorKind::Missing),
        ("binary", ErrorKind::Invalid),
        ("large", ErrorKind::Invalid),
        ("folder", ErrorKind::Invalid),
        ("fifo", ErrorKind::Invalid),
    ] {
        assert_eq!(FileProvider::new(path(name)).fetch().await.unwrap_err().kind(), kind, "{name}");
    }
    assert_eq!(FolderProvider::new(path("absent")).fetch().await.unwrap_err().kind(), ErrorKind::Missing);
    assert_eq!(FolderProvider::new(path("folder")).fetch().await.unwrap_err().kind(), ErrorKind::Missing);
    let fixed = FixedProvider::new("env X", Secret::default());
    assert_eq!(fixed.fetch().await.unwrap_err().kind(), ErrorKind::Missing);
}

#[tokio::test]
async fn a_hundred_swaps_of_a_mounted_volume_are_a_hundred_generations() {
    let volume = tempfile::tempdir().unwrap();
    swap(volume.path(), 1);
    let group = Group::new(options(), || 0.5)
        .member("db", FolderProvider::new(volume.path()))
        // The same secret by its single files: the links beside `..data`, and the path through it.
        .member("password", FileProvider::new(volume.path().join("password")))
        .member("through", FileProvider::new(volume.path().join("..data/password")));
    let group = group.validate(|candidate| {
        Box::pin(async move {
            let password = text(&candidate, "db", "password");
            let same = [text(&candidate, "password", "value"), text(&candidate, "through", "value")]
                == [password; 2];
            if same { Ok(()) } else { Err("read while it was swapped".into()) }
        })
    });
    let (live, watch) = group.start().await.unwrap();
    let task = tokio::spawn(watch.run(std::future::pending()));
    let mut versions = live.subscribe();
    for number in 2..=101 {
        swap(volume.path(), number);
        let next = tokio::time::timeout(Duration::from_secs(60), versions.next());
        let snapshot = next.await.expect("an event comes long before").unwrap();
        assert_eq!(text(&snapshot, "db", "username"), format!("user-{number}"));
        assert_eq!(text(&snapshot, "db", "password"), format!("word-{number}"));
        assert_eq!(snapshot.generation(), number as u64);
    }
    task.abort();
}

#[tokio::test]
async fn a_folder_that_is_reached_through_a_link_may_be_swapped_as_a_whole() {
    let root = tempfile::tempdir().unwrap();
    for number in [1, 2, 3] {
        fs::create_dir(root.path().join(format!("release-{number}"))).unwrap();
        fs::write(root.path().join(format!("release-{number}/password")), format!("word-{number}")).unwrap();
    }
    symlink("release-1", root.path().join("current")).unwrap();
    let group =
        Group::new(options(), || 0.5).member("db", FileProvider::new(root.path().join("current/password")));
    let (live, watch) = group.start().await.unwrap();
    let task = tokio::spawn(watch.run(std::future::pending()));
    let mut versions = live.subscribe();
    for number in [2, 3] {
        symlink(format!("release-{number}"), root.path().join("next")).unwrap();
        fs::rename(root.path().join("next"), root.path().join("current")).unwrap();
        let next =
            tokio::time::timeout(Duration::from_secs(60), versions.next()).await.expect("an event comes");
        assert_eq!(text(&next.unwrap(), "db", "value"), format!("word-{number}"));
    }
    task.abort();
}

#[tokio::test]
async fn files_that_are_replaced_written_anew_or_come_late_are_seen() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    fs::write(&file, "word-1").unwrap();
    let group = Group::new(options(), || 0.5).member("db", FileProvider::new(&file));
    let (live, watch) = group.start().await.unwrap();
    let task = tokio::spawn(watch.run(std::future::pending()));
    let mut versions = live.subscribe();
    for number in 2..=13 {
        let word = format!("word-{number}");
        match number % 3 {
            0 => fs::write(&file, &word).unwrap(),
            1 => {
                fs::write(folder.path().join("new"), &word).unwrap();
                fs::rename(folder.path().join("new"), &file).unwrap();
            }
            _ => {
                fs::remove_file(&file).unwrap();
                tokio::time::sleep(Duration::from_millis(5)).await;
                fs::write(&file, &word).unwrap();
            }
        }
        let next =
            tokio::time::timeout(Duration::from_secs(60), versions.next()).await.expect("an event comes");
        assert_eq!(text(&next.unwrap(), "db", "value"), word);
    }
    task.abort();
}

#[test]
fn a_file_that_others_read_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    fs::write(&file, "word-1").unwrap();
    for (mode, expected) in [(0o600, 0), (0o644, 1)] {
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        for provider in [&FileProvider::new(&file) as &dyn Provider, &FolderProvider::new(folder.path())] {
            let said = Logged::during(|| {
                for _ in 0..3 {
                    // Files are read at once: there is nothing to wait for.
                    let fetched = std::pin::pin!(provider.fetch())
                        .poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
                    assert!(matches!(fetched, std::task::Poll::Ready(Ok(_))));
                }
            });
            assert_eq!(said.lines().count(), expected, "{} {mode:o}: {said}", provider.name());
            assert!(!said.contains("word-1"), "{said}");
        }
    }
}
