//! A restored cluster replays the WAL: from its own `pg_wal`, and by `restore_command`.

use super::Site;
use super::archiver::archive;
use crate::backup::cluster::sync;
use crate::backup::programs::{call, remove};
use crate::measure::median;
use crate::report::Row;
use anyhow::{Context as _, Result, anyhow};
use ops_testkit::Postgres;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// One way to get the WAL.
struct Way {
    name: String,
    restore_command: String,
    /// Whether the files are in `pg_wal` already.
    in_place: bool,
    with_service: bool,
    seconds: Vec<f64>,
}

pub(super) fn run(site: &Site) -> Result<Vec<Row>> {
    // Everything into the repositories, off the clock.
    ready_again(site)?;
    archive(&site.data, &format!("{} %p", site.ours.push()), None, false)?;
    let copies = site.home.join("copies");
    remove(&copies)?;
    std::fs::create_dir(&copies)?;
    ready_again(site)?;
    archive(&site.data, &format!("cp %p {}/%f", copies.display()), None, false)?;
    let fetch = site.ours.words(&["wal", "fetch", "%f", "%p"]).join(" ");
    let way = |name: &str, restore_command: String, in_place, with_service| Way {
        name: name.to_owned(),
        restore_command,
        in_place,
        with_service,
        seconds: Vec::new(),
    };
    let mut ways = vec![
        way("files in place", "false".to_owned(), true, false),
        way("service", fetch.clone(), false, true),
        way("commands alone", fetch, false, false),
        way("cp", format!("cp {}/%f %p", copies.display()), false, false),
    ];
    if let Some(peer) = &site.peer {
        ready_again(site)?;
        peer.fresh_offline()?;
        archive(&site.data, &format!("{} %p", peer.push()), None, false)?;
        ways.push(way(&peer.name(), peer.get(&site.home.join("copy")), false, false));
    }
    for round in 0..site.rounds {
        for way in &mut ways {
            let seconds = replay(site, way, &copies)?;
            eprintln!("replay, round {}: {} in {seconds:.2} s", round + 1, way.name);
            way.seconds.push(seconds);
        }
    }
    let of = |at: usize| ways.get(at).map(|way| median(way.seconds.iter().copied()));
    let (Some(place), Some(ours), Some(alone), Some(cp)) = (of(0), of(1), of(2), of(3)) else {
        return Ok(Vec::new());
    };
    let row = |ours: f64| Row::new("replay of 128 segments, service", "s", ours);
    let peer = match (ways.get(4), of(4)) {
        (Some(way), Some(theirs)) => row(ours).beside(way.name.clone(), theirs, None),
        _ => row(ours).beside_absent("pgBackRest"),
    };
    Ok(vec![
        row(ours).beside("files in place", place, None).ratio_at_most(1.1),
        row(ours).beside("commands alone", alone, None),
        row(ours).beside("cp", cp, None),
        peer,
    ])
}

fn ready_again(site: &Site) -> Result<()> {
    let status = site.data.join("pg_wal/archive_status");
    for note in std::fs::read_dir(&status)? {
        let note = note?.path();
        if note.extension().is_some_and(|end| end == "done") {
            std::fs::rename(&note, note.with_extension("ready"))?;
        }
    }
    Ok(())
}

/// Restores the backup, and times the server from its start to its first answer as a primary.
fn replay(site: &Site, way: &Way, copies: &Path) -> Result<f64> {
    let copy = site.home.join("copy");
    remove(&copy)?;
    call(&site.ours.restore(&copy, false))?;
    if way.in_place {
        let line = format!("cp {}/0* {}/pg_wal/", copies.display(), copy.display());
        call(&["sh".to_owned(), "-c".to_owned(), line])?;
    }
    sync(&site.home)?;
    let service = way.with_service.then(|| serve(site, &copy)).transpose()?;
    let began = Instant::now();
    let server = Postgres::from_data_dir(&copy)
        .setting("restore_command", &way.restore_command)
        .setting("archive_mode", "off")
        .setting("shared_buffers", "512MB")
        .setting("max_wal_size", "16GB")
        .setting("recovery_prefetch", "off")
        .patience(Duration::from_secs(600))
        .start()
        .map_err(|error| anyhow!("the copy does not start: {error:?}"))?;
    while super::sql(&server, "SELECT pg_is_in_recovery()")? != "f" {
        std::thread::sleep(Duration::from_millis(20));
    }
    let seconds = began.elapsed().as_secs_f64();
    drop(server);
    if let Some(mut service) = service {
        service.kill().context("the service is gone")?;
        service.wait()?;
    }
    Ok(seconds)
}

fn serve(site: &Site, copy: &Path) -> Result<Child> {
    let words = site.ours.words(&["wal", "serve", "--data-directory", &copy.display().to_string()]);
    let (program, arguments) = words.split_first().context("no command")?;
    let mut service =
        Command::new(program).args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).spawn()?;
    super::started(&mut service)?;
    Ok(service)
}
