//! A real PostgreSQL that archives through the binary, and recovers through it.

use crate::{command_of, shown};
use ops_testkit::{Mode, Postgres, TestUser, public_copy};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A repository of the server's user, and a copy of the binary that this user can execute; as root, all commands run as
/// this user too, as they would on a server.
struct Place {
    folder: tempfile::TempDir,
    program: PathBuf,
    user: TestUser,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("ops-").tempdir_in("/tmp").unwrap();
        let user = TestUser::find().unwrap();
        let program = public_copy(Path::new(env!("CARGO_BIN_EXE_ops-backup"))).unwrap();
        user.own(folder.path()).unwrap();
        let place = Place { folder, program, user };
        place.json(&["init"]);
        place
    }

    fn repo(&self) -> String {
        self.folder.path().join("repo").display().to_string()
    }

    fn push(&self) -> String {
        format!("{} --repo {} wal push %p", self.program.display(), self.repo())
    }

    /// Runs the command and returns its answer; anything but exit code 0 fails the test.
    fn json(&self, args: &[&str]) -> Value {
        let repo = self.repo();
        let words = [&["--repo", &repo, "--format", "json"], args].concat();
        let mut command = command_of(&self.program, self.folder.path(), &words);
        self.user.apply(&mut command);
        command.env(
            "OPS_BACKUP_POSTGRES_BIN",
            ops_testkit::bin_dir(ops_testkit::default_major().unwrap()).unwrap(),
        );
        let done = command.output().unwrap();
        assert_eq!(done.status.code(), Some(0), "{}", shown(&done, self.folder.path()));
        serde_json::from_slice(&done.stdout).unwrap()
    }
}

#[test]
fn backup_list_verify_restore_and_rehearse() {
    let place = Place::new();
    let mut server = Postgres::builder().durable(true).archive_command(place.push()).start().unwrap();
    server.psql("CREATE TABLE ledger AS SELECT n AS amount FROM generate_series(1, 1000) n").unwrap();
    let url = server.url();

    let taken = place.json(&["--postgres", &url, "backup"]);
    assert_eq!(taken["schema"], "ops-backup/backup/v1");
    assert_eq!(taken["backup"]["bad_pages"], 0);
    let before = server.psql("SELECT clock_timestamp()").unwrap();
    server.psql("SELECT pg_sleep(0.2); DELETE FROM ledger; SELECT pg_switch_wal(); CHECKPOINT").unwrap();
    // A clean stop archives the last segment.
    server.stop(Mode::Fast).unwrap();

    let listed = place.json(&["list"]);
    assert_eq!(listed["clusters"][0]["backups"][0]["id"], taken["backup"]["id"]);
    assert_eq!(listed["clusters"][0]["backups"][0]["recoverable"], true);
    assert_eq!(place.json(&["verify"])["proven"], true);

    let to = place.folder.path().join("restored");
    let words = ["restore", "--to", to.to_str().unwrap(), "--target-time", &before];
    let plan = place.json(&[&words[..], &["--plan"]].concat());
    assert_eq!(plan["schema"], "ops-backup/restore-plan/v1");
    assert!(!to.exists(), "a plan writes nothing");
    place.json(&words);
    let restored = Postgres::from_data_dir(&to).setting("archive_mode", "off").start().unwrap();
    assert_eq!(restored.psql("SELECT count(*), sum(amount) FROM ledger").unwrap(), "1000|500500");
    drop(restored);

    let assertion = "ledger=postgres:SELECT count(*) FROM ledger=1000";
    let done = place.json(&[
        "rehearse",
        "--target-time",
        &before,
        "--assert",
        assertion,
        "--scratch",
        place.folder.path().to_str().unwrap(),
    ]);
    assert_eq!((done["record"]["outcome"].as_str(), &done["evidence"]), (Some("passed"), &Value::Null));

    let words = ["--repo", "repo", "rehearse", "--backup", "no-such-backup", "--scratch", "."];
    let mut command = command_of(&place.program, place.folder.path(), &words);
    place.user.apply(&mut command);
    command
        .env("OPS_BACKUP_POSTGRES_BIN", ops_testkit::bin_dir(ops_testkit::default_major().unwrap()).unwrap());
    let said = shown(&command.output().unwrap(), place.folder.path());
    assert!(
        !said.starts_with("exit 0") && said.contains("no-such-backup"),
        "another backup was rehearsed: {said}"
    );
}

/// Files that root writes into another user's repository could not be used by that user: its WAL would pile up.
#[test]
fn root_does_not_write_into_the_repository_of_another_user() {
    let place = Place::new();
    if place.user.uid() == std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap()) {
        ops_testkit::skip!("this needs root");
    }
    let done = command_of(
        &place.program,
        place.folder.path(),
        &["--repo", "repo", "--postgres", "host=/nonexistent", "--log-format", "human", "backup"],
    )
    .output()
    .unwrap();
    let said = shown(&done, place.folder.path());
    assert!(said.starts_with("exit 78") && said.contains("another user"), "{said}");
}

/// A wrong password is the server's refusal, and is not shown; the right one holds every character that breaks escaping.
#[test]
fn a_server_that_refuses_says_so_without_the_password() {
    let place = Place::new();
    let server = Postgres::start().unwrap();
    let target = format!("host=127.0.0.1 port={} user=postgres dbname=postgres", server.port());
    let backup = |password: &str| {
        let words = ["--repo", "repo", "--postgres", &target, "--log-format", "human", "backup"];
        let mut command = command_of(&place.program, place.folder.path(), &words);
        place.user.apply(&mut command);
        shown(&command.env("OPS_BACKUP_PASSWORD", password).output().unwrap(), place.folder.path())
    };
    let refused = backup("wrong-SENTINEL-4711");
    assert!(
        refused.starts_with("exit 78") && refused.contains("password authentication failed"),
        "{refused}"
    );
    assert!(!refused.contains("SENTINEL"), "{refused}");
    let let_in = backup(server.password().unwrap());
    assert!(let_in.contains("archive_mode is off"), "the right password leads to the next refusal: {let_in}");
}
