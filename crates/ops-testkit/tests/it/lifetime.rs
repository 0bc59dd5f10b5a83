//! However a test ends, its servers end with it.

use std::env;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ops_testkit::{Postgres, is_running, or_skip};
use rustix::process::{Pid, Signal, kill_process};

const HOLDER: &str = "OPS_TESTKIT_HOLDER";

/// Runs this very test once more in a child process that starts a server and waits, and ends the child.
#[test]
fn a_dead_test_leaves_no_server_and_no_directory() {
    let postgres = or_skip!(Postgres::start());
    if env::var_os(HOLDER).is_some() {
        // Files of the test's own user, root perhaps, are removed as well as those of the server.
        std::fs::create_dir(postgres.dir().join("of-the-test")).unwrap();
        std::fs::write(postgres.dir().join("of-the-test/file"), "").unwrap();
        println!("\nholds {} {}", postgres.pid(), postgres.dir().display());
        // A child of the test must not keep the pipe open.
        Command::new("sleep").arg("30").status().unwrap();
        panic!("the parent should have ended this process");
    }
    drop(postgres);
    for signal in [Signal::KILL, Signal::INT, Signal::TERM, Signal::ABORT] {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "lifetime::a_dead_test_leaves_no_server_and_no_directory", "--nocapture"])
            .env(HOLDER, "1")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let line = lines.into_iter().find(|line| line.starts_with("holds ")).unwrap();
        let fields: Vec<&str> = line.split(' ').collect();
        let (server, directory): (u32, _) = (fields[1].parse().unwrap(), Path::new(fields[2]));
        assert!(is_running(server) && directory.exists());

        kill_process(Pid::from_child(&child), signal).unwrap();
        child.wait().unwrap();
        let deadline = Instant::now() + Duration::from_secs(15);
        while (is_running(server) || directory.exists()) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(!is_running(server), "the server outlived {signal:?}");
        assert!(!directory.exists(), "the directory outlived {signal:?}");
    }
}

#[test]
fn a_panic_stops_the_server() {
    let postgres = or_skip!(Postgres::start());
    let (server, directory) = (postgres.pid(), postgres.dir().to_owned());
    let test = std::thread::spawn(move || {
        let _held = postgres;
        panic!("as a failing test does");
    });
    assert!(test.join().is_err());
    assert!(!is_running(server) && !directory.exists());
}
