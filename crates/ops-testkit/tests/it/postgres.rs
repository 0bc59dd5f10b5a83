//! A disposable PostgreSQL does what its documentation says.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;
use std::time::Duration;

use ops_testkit::{ErrorKind, Mode, Postgres, or_skip};

#[test]
fn every_installed_major_starts() {
    let majors = ops_testkit::installed_majors();
    if majors.is_empty() {
        ops_testkit::skip!("PostgreSQL is not installed");
    }
    for major in majors {
        for checksums in [true, false] {
            let postgres = Postgres::builder().major(major).unwrap().checksums(checksums).start().unwrap();
            let version = postgres.psql("SHOW server_version_num").unwrap();
            assert_eq!(version.parse::<u32>().unwrap() / 10_000, major);
            let expected = if checksums { "on" } else { "off" };
            assert_eq!(postgres.psql("SHOW data_checksums").unwrap(), expected, "major {major}");
        }
    }
}

#[test]
fn stop_kill_and_restart_keep_data_and_port() {
    let mut postgres = or_skip!(Postgres::start());
    postgres.psql("CREATE TABLE t (n int)").unwrap();
    let port = postgres.port();
    for round in 1..=4 {
        postgres.psql("INSERT INTO t VALUES (1)").unwrap();
        match round {
            1 => postgres.stop(Mode::Fast).unwrap(),
            2 => postgres.stop(Mode::Immediate).unwrap(),
            3 => postgres.kill(),
            _ => {}
        }
        assert_eq!(postgres.is_running(), round == 4);
        postgres.restart().unwrap();
        assert_eq!(postgres.psql("SELECT count(*) FROM t").unwrap(), round.to_string());
        assert_eq!(postgres.port(), port);
    }
}

#[test]
fn a_failed_restart_keeps_the_data_and_shows_the_log() {
    let mut postgres = or_skip!(Postgres::start());
    let conf = postgres.data_dir().join("postgresql.conf");
    let good = fs::read_to_string(&conf).unwrap();
    fs::write(&conf, format!("{good}\nmax_connections = nonsense\n")).unwrap();
    let error = postgres.restart().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotReady);
    assert!(error.log().unwrap().contains("max_connections"), "{error:?}");
    fs::write(&conf, good).unwrap();
    postgres.restart().unwrap();
    assert_eq!(postgres.psql("SELECT 1").unwrap(), "1");
}

#[test]
fn a_bad_setting_fails_at_once_and_leaves_nothing() {
    let error = Postgres::builder().setting("no_such_setting", "1").start();
    let error = match error {
        Err(error) if error.kind() == ErrorKind::NotInstalled => ops_testkit::skip!("{error}"),
        other => other.unwrap_err(),
    };
    assert_eq!(error.kind(), ErrorKind::NotReady);
    assert!(error.log().unwrap().contains("no_such_setting"), "{error:?}");
    assert!(!error.to_string().contains('\n'));
}

#[test]
fn password_with_special_characters_works_over_tcp() {
    let postgres = or_skip!(Postgres::start());
    let password = postgres.password().unwrap();
    for character in ['%', '\'', '"', ' '] {
        assert!(password.contains(character), "{password}");
    }
    let psql = |url: &str| {
        let mut psql = Command::new(postgres.command("psql").get_program());
        psql.args(["-XqAt", "-w", "-c", "SELECT inet_client_addr()", url]).output().unwrap()
    };
    let url = postgres.url();
    let output = psql(&url);
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "127.0.0.1", "{output:?}");
    assert!(!psql(&url.replace("te%25st", "wrong")).status.success(), "a wrong password must be refused");
    let output = psql(&postgres.socket_url());
    assert!(output.status.success() && output.stdout.trim_ascii().is_empty(), "{output:?}");
}

#[test]
fn it_listens_on_loopback_only_and_not_as_root() {
    let postgres = or_skip!(Postgres::start());
    let port = format!(":{:04X}", postgres.port());
    let mut listeners = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        for line in fs::read_to_string(table).unwrap_or_default().lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            // State 0A is LISTEN (proc(5)); the address is in host byte order.
            if fields[3] == "0A" && fields[1].ends_with(&port) {
                listeners.push(fields[1].to_owned());
            }
        }
    }
    assert_eq!(listeners, [format!("{:08X}{port}", u32::from_ne_bytes([127, 0, 0, 1]))]);
    let owner = fs::metadata(format!("/proc/{}", postgres.pid())).unwrap().uid();
    assert_ne!(owner, 0);
    assert_eq!(owner, ops_testkit::TestUser::find().unwrap().uid());
    for private in [postgres.data_dir(), postgres.socket_dir()] {
        assert_eq!(fs::metadata(private).unwrap().mode() & 0o077, 0, "{}", private.display());
    }
}

#[test]
fn two_at_once_are_separate_and_identity_is_fresh_on_request() {
    let first = or_skip!(Postgres::start());
    let second = or_skip!(Postgres::builder().fresh_identity(true).start());
    let third = or_skip!(Postgres::builder().initdb_arg("--wal-segsize=1").start());
    assert_ne!(first.port(), second.port());
    first.psql("CREATE TABLE only_here ()").unwrap();
    let error = second.psql("SELECT FROM only_here").unwrap_err();
    assert!(error.log().unwrap().contains("does not exist"), "{error:?}");
    let identity = |p: &Postgres| p.psql("SELECT system_identifier FROM pg_control_system()").unwrap();
    assert_ne!(identity(&first), identity(&second));
    assert_eq!(third.psql("SHOW wal_segment_size").unwrap(), "1MB");
}

#[test]
fn settings_are_in_the_file_and_archiving_runs_as_the_server() {
    let postgres = or_skip!(
        Postgres::builder()
            .setting("work_mem", "7MB")
            .setting("application_name", r"it's a \ test")
            .archive_command("cp %p ../archive.%f")
            .start()
    );
    assert_eq!(postgres.psql("SHOW work_mem").unwrap(), "7MB");
    assert_eq!(postgres.psql("SHOW fsync").unwrap(), "off");
    let reset = "SELECT reset_val FROM pg_settings WHERE name = 'application_name'";
    assert_eq!(postgres.psql(&format!("RESET application_name; {reset}")).unwrap(), "psql");
    let in_file = "SELECT setting FROM pg_file_settings WHERE name = 'application_name'";
    assert_eq!(postgres.psql(in_file).unwrap(), r"it's a \ test");
    let segment = postgres.psql("CREATE TABLE t (); SELECT pg_walfile_name(pg_switch_wal())").unwrap();
    let archived = postgres.dir().join(format!("archive.{segment}"));
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while !archived.exists() && std::time::Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(fs::metadata(&archived).unwrap().uid(), ops_testkit::TestUser::find().unwrap().uid());
}

#[test]
fn psql_commits_each_statement_and_stops_at_the_first_error() {
    let postgres = or_skip!(Postgres::start());
    let error = postgres.psql("CREATE TABLE a (); SELECT 1/0; CREATE TABLE b ()").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Command);
    assert!(error.log().unwrap().contains("division by zero"), "{error:?}");
    assert_eq!(postgres.psql("SELECT to_regclass('a'), to_regclass('b')").unwrap(), "a|");
}

#[test]
fn an_existing_directory_is_used_in_place_and_kept() {
    let mut origin = or_skip!(Postgres::start());
    origin.psql("CREATE TABLE t AS SELECT 42 AS answer").unwrap();
    origin.stop(Mode::Fast).unwrap();
    let scratch = tempfile::Builder::new().prefix("ops-").tempdir_in("/tmp").unwrap();
    // As a restore by root leaves it: not owned by the server's user, and below a directory it can enter.
    ops_testkit::TestUser::find().unwrap().own(scratch.path()).unwrap();
    let data = scratch.path().join("restored");
    assert!(Command::new("cp").arg("-r").arg(origin.data_dir()).arg(&data).status().unwrap().success());

    let password = origin.password().unwrap();
    let build = || Postgres::from_data_dir(&data).password(password).setting("work_mem", "3MB");
    let before = fs::read(data.join("postgresql.conf")).unwrap();
    let restored = build().start().unwrap();
    assert_eq!(restored.psql("SELECT answer FROM t").unwrap(), "42");
    assert_eq!(restored.psql("SHOW work_mem").unwrap(), "3MB");
    assert!(restored.url().contains("te%25st"));
    drop(restored);
    assert_eq!(fs::read(data.join("postgresql.conf")).unwrap(), before);
    assert!(!data.join("postmaster.pid").exists(), "a clean stop");

    drop(build().remove_on_drop(true).start().unwrap());
    assert!(!data.exists());
}

#[test]
fn a_directory_that_is_no_cluster_is_refused() {
    let empty = tempfile::tempdir().unwrap();
    let error = Postgres::from_data_dir(empty.path()).start().unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Io, "testkit/io"));
    assert!(error.to_string().contains("PG_VERSION"), "{error}");
}

#[test]
fn a_taken_port_is_reported_on_restart() {
    let mut postgres = or_skip!(Postgres::start());
    postgres.stop(Mode::Fast).unwrap();
    let thief = TcpListener::bind(("127.0.0.1", postgres.port())).unwrap();
    let error = postgres.restart().unwrap_err();
    assert!(error.log().unwrap().contains("Address already in use"), "{error:?}");
    drop(thief);
    postgres.restart().unwrap();
}
