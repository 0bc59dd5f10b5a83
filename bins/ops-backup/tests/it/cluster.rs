//! A real PostgreSQL that archives through the binary, and recovers through it.

use crate::{command_of, masked, shape_text, shown};
use ops_testkit::{Mode, Postgres, TestUser, public_copy};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A repository of the server's user, and a copy of the binary that this user can execute; as root, all commands run as
/// this user too, as they would on a server.
pub(crate) struct Place {
    pub(crate) folder: tempfile::TempDir,
    program: PathBuf,
    user: TestUser,
}

impl Place {
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("ops-").tempdir_in("/tmp").unwrap();
        let user = TestUser::find().unwrap();
        let program = public_copy(Path::new(env!("CARGO_BIN_EXE_ops-backup"))).unwrap();
        user.own(folder.path()).unwrap();
        let place = Place { folder, program, user };
        place.json(&["key", "new", &place.path("key")]);
        place.json(&["--key-file", &place.path("key"), "init"]);
        place
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn push(&self) -> String {
        let (program, repo, key) = (self.program.display(), self.path("repo"), self.path("key"));
        format!("{program} --repo {repo} --key-file {key} wal push %p")
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = command_of(&self.program, self.folder.path(), args);
        self.user.apply(&mut command);
        command.env("OPS_BACKUP_REPO", self.path("repo")).env("OPS_LOG_FORMAT", "human").env(
            "OPS_BACKUP_POSTGRES_BIN",
            ops_testkit::bin_dir(ops_testkit::default_major().unwrap()).unwrap(),
        );
        if Path::new(&self.path("key")).exists() {
            command.env("OPS_BACKUP_KEY_FILE", self.path("key"));
        }
        command
    }

    /// Exit code and text, without log lines.
    pub(crate) fn run(&self, args: &[&str]) -> (i32, String) {
        let done = self.command(&[&["--log-level", "error"], args].concat()).output().unwrap();
        (done.status.code().unwrap(), shown(&done, self.folder.path()))
    }

    /// Runs the command and returns its answer; anything but exit code 0 fails the test.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let done = self.command(&[&["--format", "json"], args].concat()).output().unwrap();
        assert_eq!(done.status.code(), Some(0), "{}", shown(&done, self.folder.path()));
        serde_json::from_slice(&done.stdout).unwrap()
    }

    /// A server that archives into the repository, with a ledger of a thousand rows and a database beside it.
    pub(crate) fn server(&self) -> Postgres {
        let server = Postgres::builder().durable(true).archive_command(self.push()).start().unwrap();
        server.psql("CREATE TABLE ledger AS SELECT n AS amount FROM generate_series(1, 1000) n").unwrap();
        server.psql("CREATE DATABASE other").unwrap();
        server
    }
}

/// Starts what was restored, and waits until it takes writes.
fn opened(data: &Path) -> Postgres {
    let server = Postgres::from_data_dir(data).setting("archive_mode", "off").start().unwrap();
    while server.psql("SELECT pg_is_in_recovery()").unwrap() != "f" {
        std::thread::sleep(Duration::from_millis(50));
    }
    server
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn snapshot(name: &str, value: &Value) {
    insta::assert_snapshot!(format!("json_cluster_{name}"), shape_text(value));
}

/// The whole life of an encrypted repository, and what machines read of it.
#[test]
fn backup_list_verify_restore_and_rehearse() {
    let place = Place::new();
    let mut server = place.server();
    let url = server.url();

    let taken = place.json(&["--postgres", &url, "backup"]);
    snapshot("backup", &taken);
    assert_eq!(taken["backup"]["bad_pages"], 0);
    let before = server.psql("SELECT clock_timestamp()").unwrap();
    server.psql("SELECT pg_sleep(0.2); DELETE FROM ledger; SELECT pg_switch_wal(); CHECKPOINT").unwrap();
    let second = place.json(&["--postgres", &url, "backup", "--label", "the second", "--compression", "lz4"]);
    assert_eq!(second["backup"]["base"], taken["backup"]["id"]);
    let added = |backup: &Value| backup["backup"]["added_bytes"].as_u64().unwrap();
    assert!(added(&second) < added(&taken) / 10, "{second}");
    // A clean stop archives the last segment.
    server.stop(Mode::Fast).unwrap();

    let listed = place.json(&["list"]);
    snapshot("list", &listed);
    assert_eq!(listed["clusters"][0]["backups"][0]["id"], taken["backup"]["id"]);
    assert_eq!(listed["clusters"][0]["backups"][0]["recoverable"], true);
    assert_eq!(place.json(&["verify"])["proven"], true);
    assert_eq!(place.json(&["verify", "--sample", "1%"])["proven"], false, "a sample proves nothing whole");

    let to = place.folder.path().join("restored");
    let words = ["restore", "--to", to.to_str().unwrap(), "--target-time", &before];
    let plan = place.json(&[&words[..], &["--plan"]].concat());
    snapshot("restore_plan", &plan);
    assert_eq!(plan["plan"]["backup"]["id"], taken["backup"]["id"]);
    assert!(!to.exists(), "a plan writes nothing");
    insta::assert_snapshot!("cluster_plan", masked(&place.run(&[&words[..], &["--plan"]].concat()).1));
    place.json(&words);
    let restored = opened(&to);
    assert_eq!(restored.psql("SELECT count(*), sum(amount) FROM ledger").unwrap(), "1000|500500");
    drop(restored);

    let assertion = "ledger=postgres:SELECT count(*) FROM ledger=1000";
    let scratch = place.folder.path().to_str().unwrap();
    let rehearse = ["rehearse", "--target-time", &before, "--scratch", scratch, "--assert"];
    let done = place.json(&[&rehearse[..], &[assertion]].concat());
    snapshot("rehearsal", &done);
    assert_eq!((done["record"]["outcome"].as_str(), &done["evidence"]), (Some("passed"), &Value::Null));
    assert!(!place.json(&["list"])["clusters"][0]["backups"][0]["rehearsed"].is_null());

    let (code, said) = place.run(&["rehearse", "--backup", "no-such-backup", "--scratch", "."]);
    assert!(code == 65 && said.contains("no-such-backup"), "another backup was rehearsed: {said}");
    let expired = place.json(&["expire", "--keep-last", "1", "--grace", "0s"]);
    assert_eq!(expired["backups"], Value::from([text(&taken["backup"]["id"])]));
    assert_eq!(place.json(&["verify"])["proven"], true);
}

/// A restore over what is there writes what differs; what it must not touch it refuses, and says the way out.
#[test]
fn a_delta_restore_and_its_refusals() {
    let place = Place::new();
    let mut server = place.server();
    let taken = place.json(&["--postgres", &server.url(), "backup"]);
    // A tree beside the cluster does not have to be told apart from it.
    place.json(&["backup", "--tree", "repo/keys", "--name", "keys"]);
    server.psql("SELECT pg_switch_wal()").unwrap();
    server.stop(Mode::Fast).unwrap();
    insta::assert_snapshot!("cluster_list", masked(&place.run(&["list"]).1));

    let to = place.path("restored");
    let restore = |more: &[&str]| place.run(&[&["restore", "--to", &to], more].concat());
    assert_eq!(restore(&[]).0, 0);
    let (code, said) = restore(&[]);
    assert_eq!(code, 73);
    insta::assert_snapshot!("restore_over_a_cluster", said);
    let mut restored = opened(Path::new(&to));
    let (code, said) = restore(&["--delta"]);
    assert!(code == 73 && said.contains("is running") && said.contains("its server stopped"), "{said}");
    restored.psql("DROP TABLE ledger").unwrap();
    restored.stop(Mode::Fast).unwrap();
    insta::assert_snapshot!(
        "delta_plan",
        masked(&restore(&["--delta", "--plan"]).1).split("removes").next().unwrap()
    );
    let (code, said) = restore(&["--delta"]);
    assert!(code == 0 && said.contains("were right in place"), "{said}");
    let restored = opened(Path::new(&to));
    assert_eq!(restored.psql("SELECT count(*) FROM ledger").unwrap(), "1000");
    drop(restored);

    let (to, id) = (place.path("selected"), text(&taken["backup"]["id"]));
    let words = ["restore", "--to", &to, "--backup", id, "--database", "postgres"];
    insta::assert_snapshot!("selected_databases", masked(&place.run(&words).1));
    let (code, said) = place.run(&["restore", "--to", "x", "--database", "nope", "--plan"]);
    assert!(code == 65 && said.contains("postgres, other"), "{said}");
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
        let mut command = place.command(&["--postgres", &target, "--log-format", "human", "backup"]);
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

/// Over the network the answer has the same shape; and what a server refuses is told with what may be done about it.
#[test]
fn a_server_is_backed_up_over_the_network() {
    let place = Place::new();
    let server = place.server();
    let url = server.url();
    let read = place.json(&["--postgres", &url, "backup"]);
    let sent = place.json(&["--postgres", &url, "backup", "--remote"]);
    assert_eq!(shape_text(&sent), shape_text(&read).replace("\"base\": \"null\"", "\"base\": \"string\""));
    assert_eq!(sent["backup"]["base"], read["backup"]["id"]);
    let origin = |backup: &Value| text(&backup["backup"]["source"]["origin"]).to_owned();
    assert_eq!([origin(&read), origin(&sent)], ["primary_files", "primary_network"]);

    server.psql("CREATE ROLE plain LOGIN").unwrap();
    let plain = server.socket_url().replace("user=postgres", "user=plain");
    for (args, hint) in [
        (&["--postgres", &plain, "backup", "--remote"][..], "hint: --remote needs a role with REPLICATION"),
        (&["--postgres", &url, "backup", "--remote", "--from-standby"], "hint: without --from-standby"),
        (&["--postgres", &url, "backup", "--from-standby"], "hint: without --from-standby"),
    ] {
        let (code, said) = place.run(args);
        assert_eq!(code, 78, "{args:?}: {said}");
        assert!(said.contains(hint), "{args:?}: {said}");
    }
    let (code, said) = place.run(&["--postgres", &url, "backup", "--primary", "host=x"]);
    assert!(code == 64 && said.contains("--from-standby"), "{code}: {said}");
}
