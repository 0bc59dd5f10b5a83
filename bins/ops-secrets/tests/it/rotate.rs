//! `rotate postgres` against a real server, and `due`.

use crate::{command, text};
use ops_testkit::Postgres;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn server() -> Postgres {
    let server = Postgres::builder().setting("log_statement", "all").start().unwrap();
    server
        .psql("CREATE ROLE app_a LOGIN PASSWORD 'first'; CREATE ROLE app_b LOGIN; CREATE ROLE nobody")
        .unwrap();
    server
}

fn rotation(server: &Postgres, folder: &Path, words: &[&str]) -> Command {
    let mut command = command(&["rotate", "postgres", "--folder"]);
    command.arg(folder).args(words).env("OPS_SECRETS_POSTGRES_URL", server.url());
    command
}

fn run(server: &Postgres, folder: &Path, words: &[&str]) -> Output {
    rotation(server, folder, words).output().unwrap()
}

fn published(folder: &Path) -> (String, String) {
    let read = |name| fs::read_to_string(folder.join(name)).unwrap();
    (read("username"), read("password"))
}

/// Whether the server lets in who was published, over TCP and with the password.
fn logs_in(server: &Postgres, (user, password): &(String, String)) -> bool {
    let mut psql = server.command("psql");
    psql.args(["-XqAt", "-h", "127.0.0.1", "-U", user, "-d", "postgres", "-c", "SELECT session_user"]);
    let done = psql.env("PGPASSWORD", password).stderr(Stdio::null()).output().unwrap();
    String::from_utf8_lossy(&done.stdout).trim() == user
}

#[test]
fn two_roles_take_turns_and_no_password_reaches_the_log() {
    let (server, root) = (server(), tempfile::tempdir().unwrap());
    let folder = root.path().join("db");
    let roles = ["--role", "app_a", "--role", "app_b"];
    let shown = |done: &Output| {
        text(done).replace(&server.port().to_string(), "PORT").replace(folder.to_str().unwrap(), "FOLDER")
    };
    insta::assert_snapshot!("rotate_plan", shown(&run(&server, &folder, &roles)));
    assert!(!folder.exists(), "a plan changes nothing, and makes no folder");

    let mut before: Option<(String, String)> = None;
    let mut passwords = Vec::new();
    for expected in ["app_a", "app_b", "app_a"] {
        let done = run(&server, &folder, &[&roles[..], &["--apply"]].concat());
        assert_eq!(done.status.code(), Some(0), "{}", text(&done));
        let now = published(&folder);
        assert_eq!((now.0.as_str(), now.1.len()), (expected, 32));
        assert!(logs_in(&server, &now));
        assert!(before.is_none_or(|before| logs_in(&server, &before)), "the one before still works");
        let said = text(&done);
        assert!(!said.contains(&now.1));
        for step in ["prepared", "set", "verified", "published", "finished"] {
            assert!(said.contains(&format!("step={step}")), "{step} is audited: {said}");
        }
        passwords.push(now.1.clone());
        before = Some(now);
    }
    insta::assert_snapshot!("rotate_plan_in_turn", shown(&run(&server, &folder, &roles)));
    let json = run(&server, &folder, &[&roles[..], &["--format", "json"]].concat());
    insta::assert_snapshot!("rotate_plan_json", shown(&json));
    insta::assert_snapshot!("rotate_plan_one_role", shown(&run(&server, &folder, &["--role", "app_a"])));
    let log = server.log();
    assert!(log.contains("ALTER ROLE \"app_a\" PASSWORD 'SCRAM-SHA-256$4096:"));
    assert!(passwords.iter().all(|password| !log.contains(password)));
}

#[test]
fn a_rotation_that_was_killed_goes_on() {
    let (server, root) = (server(), tempfile::tempdir().unwrap());
    let folder = root.path().join("db");
    let words = ["--role", "app_a", "--apply"];
    assert!(run(&server, &folder, &words).status.success());
    let old = published(&folder);

    // Another session has changed the role and not committed, so ours waits between its steps and can be killed there.
    let mut blocker = server.command("psql");
    blocker.args(["-XqAt", "-c", "BEGIN; ALTER ROLE app_a CONNECTION LIMIT 50; SELECT pg_sleep(600)"]);
    let mut blocker = blocker.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let wait_for = |what: &str, sql: &str| {
        let deadline = Instant::now() + Duration::from_secs(60);
        while server.psql(sql).unwrap() != "1" {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    wait_for("the blocker sleeps", "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
    let mut ours =
        rotation(&server, &folder, &words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for(
        "ours waits for the blocker",
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name LIKE 'ops-secrets%'",
    );
    let busy = run(&server, &folder, &words);
    assert_eq!(busy.status.code(), Some(75), "{}", text(&busy));
    ours.kill().unwrap();
    ours.wait().unwrap();
    assert!(folder.join("..pending").exists());
    // The backend of the killed one first: let go by the blocker it would still do what it was asked.
    let end = |which: &str| {
        let sql =
            format!("SELECT count(pg_terminate_backend(pid, 60000)) FROM pg_stat_activity WHERE {which}");
        server.psql(&sql).unwrap()
    };
    assert_eq!(end("wait_event_type = 'Lock'"), "1");
    assert_eq!(end("wait_event = 'PgSleep'"), "1");
    blocker.wait().unwrap();
    assert_eq!(published(&folder), old);
    assert!(logs_in(&server, &old));

    let resumed = run(&server, &folder, &words);
    assert!(text(&resumed).contains("resumes  an earlier rotation was cut off"), "{}", text(&resumed));
    assert_eq!(resumed.status.code(), Some(0));
    let new = published(&folder);
    assert!(new.1 != old.1 && logs_in(&server, &new) && !logs_in(&server, &old));
    assert!(!folder.join("..pending").exists());
}

#[test]
fn what_cannot_be_rotated_says_why() {
    let (server, root) = (server(), tempfile::tempdir().unwrap());
    let folder = root.path().join("db");
    let shown = |done: &Output| text(done).replace(&server.port().to_string(), "PORT");
    insta::assert_snapshot!("rotate_no_role", shown(&run(&server, &folder, &["--role", "absent"])));
    insta::assert_snapshot!("rotate_no_login", shown(&run(&server, &folder, &["--role", "nobody"])));
    let mut no_server = command(&["rotate", "postgres", "--role", "a", "--folder", "/nonexistent/x"]);
    insta::assert_snapshot!("rotate_no_server", text(&no_server.output().unwrap()));
    // The socket of the test server trusts everybody: a login there is no proof.
    let mut trusting = rotation(&server, &folder, &["--role", "app_a", "--apply"]);
    let done = trusting.env("OPS_SECRETS_POSTGRES_URL", server.socket_url()).output().unwrap();
    assert_eq!(done.status.code(), Some(65));
    assert!(
        text(&done).contains("takes any password of `app_a` from here, so a login proves nothing"),
        "{}",
        text(&done)
    );
    assert!(!folder.join("..data").exists(), "nothing is published without proof");
    insta::assert_snapshot!(
        "rotate_help",
        text(&command(&["rotate", "postgres", "--help"]).output().unwrap())
    );
}

#[test]
fn what_is_due_is_told() {
    let root = tempfile::tempdir().unwrap();
    let schedule = root.path().join("rotation.toml");
    let shown = |words: &[&str]| {
        let done = command(&["due"]).arg(&schedule).args(words).output().unwrap();
        text(&done).replace(root.path().to_str().unwrap(), "ROOT")
    };
    let secret = |name: &str, from: &str| {
        format!("[[secret]]\nname = '{name}'\nowner = 'team-a'\nevery = '36500d'\n{from}\n")
    };
    let write =
        |secrets: &[String]| fs::write(&schedule, format!("version = 1\n{}", secrets.concat())).unwrap();
    insta::assert_snapshot!("due_no_file", shown(&[]));
    write(&[]);
    insta::assert_snapshot!("due_nothing", shown(&[]));
    write(&[secret("a", "rotated = 2020-01-01")]);
    assert!(shown(&[]).starts_with("exit 0\n"));
    fs::write(root.path().join("torn"), "").unwrap();
    fs::create_dir(root.path().join("db")).unwrap();
    fs::write(root.path().join("db/..rotated.json"), "{}").unwrap();
    write(&[secret("fine", "rotated = 2020-01-01"), secret("torn", "folder = 'db'")]);
    assert!(shown(&[]).starts_with("exit 21\n"));
    write(&[secret("torn", "folder = 'db'"), secret("never", "folder = 'nowhere'")]);
    insta::assert_snapshot!("due_overdue", shown(&[]));
    insta::assert_snapshot!("due_overdue_json", shown(&["--format", "json"]));
    insta::assert_snapshot!("due_help", text(&command(&["due", "--help"]).output().unwrap()));
}
