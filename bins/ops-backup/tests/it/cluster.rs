//! A real PostgreSQL that archives through the binary, and recovers through it.

use crate::{command, shown};
use ops_testkit::{Postgres, TestUser, public_copy};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A repository that the server's user can write to, and a copy of the binary that it can execute.
struct Place {
    folder: tempfile::TempDir,
    program: PathBuf,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("ops-").tempdir_in("/tmp").unwrap();
        let user = TestUser::find().unwrap();
        let program = public_copy(Path::new(env!("CARGO_BIN_EXE_ops-backup"))).unwrap();
        let place = Place { folder, program };
        place.json(&["init"]);
        user.own_tree(place.folder.path()).unwrap();
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
        let done = command(self.folder.path(), &[&["--repo", &repo, "--format", "json"], args].concat())
            .output()
            .unwrap();
        assert_eq!(done.status.code(), Some(0), "{}", shown(&done, self.folder.path()));
        serde_json::from_slice(&done.stdout).unwrap()
    }
}

#[test]
fn backup_list_verify_restore_and_rehearse() {
    let place = Place::new();
    let server = Postgres::builder().durable(true).archive_command(place.push()).start().unwrap();
    server.psql("CREATE TABLE ledger AS SELECT n AS amount FROM generate_series(1, 1000) n").unwrap();
    let url = server.url();

    let taken = place.json(&["--postgres", &url, "backup"]);
    assert_eq!(taken["schema"], "ops-backup/backup/v1");
    assert_eq!(taken["backup"]["bad_pages"], 0);
    let before = server.psql("SELECT clock_timestamp()").unwrap();
    server.psql("SELECT pg_sleep(0.2); DELETE FROM ledger; SELECT pg_switch_wal(); CHECKPOINT").unwrap();
    drop(server);

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
    let configuration = std::fs::read_to_string(to.join("postgresql.auto.conf")).unwrap();
    // The test's binary may lie where the server's user cannot reach it; the copy can be reached.
    let configuration =
        configuration.replace(env!("CARGO_BIN_EXE_ops-backup"), &place.program.display().to_string());
    std::fs::write(to.join("postgresql.auto.conf"), configuration).unwrap();
    let restored = Postgres::from_data_dir(&to).setting("archive_mode", "off").start().unwrap();
    assert_eq!(restored.psql("SELECT count(*), sum(amount) FROM ledger").unwrap(), "1000|500500");
}
