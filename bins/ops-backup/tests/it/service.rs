//! The WAL service as a person runs it, and the audit of the archive.

use crate::cluster::Place;
use crate::{masked, shape_text};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// The answer to `GET path`, head and body.
fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Reads metric `name` until it is at least `least`.
fn wait_for(address: &str, name: &str, least: f64) -> f64 {
    let began = Instant::now();
    loop {
        let page = get(address, "/metrics");
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
        match line {
            Some(value) if value >= least => return value,
            _ => assert!(began.elapsed() < Duration::from_secs(60), "{name} is not {least}: {page}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_service_archives_for_a_server_and_says_what_it_does() {
    let place = Place::new();
    let server = place.server();
    let data = server.data_dir().display().to_string();
    let serve = ["wal", "serve", "--data-directory", &data, "--listen", "127.0.0.1:0"];
    let (code, said) = place.run(&["wal", "serve", "--data-directory", "nowhere"]);
    assert!(code == 78 || code == 74, "{code} {said}");
    assert_eq!(place.run(&["wal", "check", "--cluster", "17"]).0, 22);

    let mut command = place.command(&[&["--log-format", "json"], &serve[..]].concat());
    let mut service = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(service.stderr.take().unwrap()).lines().map(Result::unwrap);
    let line = lines.find(|line| line.contains("serving WAL")).unwrap();
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert!(line["trace_id"].is_string(), "{line}");
    let address =
        line["metrics"].as_str().unwrap().trim_start_matches("http://").trim_end_matches("/metrics");
    let rest = std::thread::spawn(move || lines.collect::<Vec<_>>());

    let (code, said) = place.run(&serve);
    assert_eq!(code, 75, "a second service was started: {said}");
    server.psql("CREATE TABLE more AS SELECT 1; SELECT pg_switch_wal()").unwrap();
    let answered = wait_for(address, "ops_wal_push_answers_total ", 1.0);
    assert!(answered >= 1.0);
    wait_for(address, "ops_wal_disk_free_bytes ", 1.0);
    assert!(get(address, "/ready").starts_with("HTTP/1.1 200"), "{}", get(address, "/ready"));

    let taken = place.json(&["--postgres", &server.url(), "backup"]);
    let checked = place.json(&["wal", "check"]);
    assert_eq!(checked["clusters"][0]["backups"][0]["id"], taken["backup"]["id"]);
    assert_eq!(checked["whole"], true);
    insta::assert_snapshot!("wal_check_json", shape_text(&checked));
    insta::assert_snapshot!("wal_check", masked(&place.run(&["wal", "check"]).1));
    let (code, said) = place.run(&["wal", "check", "--max-age", "0s"]);
    assert!(code == 20 && said.contains("is behind"), "{code} {said}");

    // The repository is away: not ready, and the server is told that its segment is not archived.
    let (repo, away) = (place.folder.path().join("repo"), place.folder.path().join("away"));
    std::fs::rename(&repo, &away).unwrap();
    server.psql("CREATE TABLE lost AS SELECT 1; SELECT pg_switch_wal()").unwrap();
    wait_for(address, "ops_wal_push_failures_total ", 1.0);
    assert!(get(address, "/ready").starts_with("HTTP/1.1 503"), "{}", get(address, "/ready"));
    std::fs::remove_dir_all(&repo).ok();
    std::fs::rename(&away, &repo).unwrap();
    let began = Instant::now();
    while !get(address, "/ready").starts_with("HTTP/1.1 200") {
        assert!(began.elapsed() < Duration::from_secs(90), "{}", get(address, "/ready"));
        std::thread::sleep(Duration::from_millis(200));
    }

    rustix::process::kill_process(
        rustix::process::Pid::from_raw(service.id().cast_signed()).unwrap(),
        rustix::process::Signal::TERM,
    )
    .unwrap();
    assert_eq!(service.wait().unwrap().code(), Some(143));
    let log = rest.join().unwrap().join("\n");
    assert!(log.contains("the service has ended"), "{log}");
}
