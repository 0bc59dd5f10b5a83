//! WAL: archived from a backlog and replayed into a restored cluster, by our service, by our commands alone, by pgBackRest's
//! asynchronous ones and by `cp`; and received as it is written ([`receive`]).
//!
//! The WAL is real: pgbench and a table that hardly compresses wrote it, on a server that was not let archive. Then the
//! server is stopped, and in its place the [`archiver`] calls `archive_command` as the server would: one file after the
//! other, by a shell, in the data directory. So each program archives the same files, as often as it is asked to.
//!
//! Each program stores with zstd level 3, unencrypted, into a folder on the same file system, and makes durable what it
//! stores; `cp` does neither. pgBackRest has two processes, our service as many uploads as it comes with. CPU is that of all processes that the calls have started, those that have
//! left their parents among them.

mod archiver;
mod push;
mod receive;
mod replay;

use crate::backup::programs::{Ours, PgBackRest, call, words};
use crate::report::Report;
use crate::{Args, Outcome};
use anyhow::{Context as _, Result, anyhow, ensure};
pub(crate) use archiver::{ARCHIVE, child};
use ops_testkit::{Mode, Postgres};
use std::path::{Path, PathBuf};
use std::time::Duration;

const PARTS: [&str; 3] = ["push", "replay", "receive"];

/// Rounds of each contest, where nobody says how many.
const ROUNDS: usize = 3;

/// Segments of 16 MiB that are archived and replayed: 2 GiB.
const SEGMENTS: usize = 128;

/// What both parts work on: a stopped server whose WAL waits to be archived, and a backup from before it.
struct Site {
    home: PathBuf,
    data: PathBuf,
    major: u32,
    ours: Ours,
    peer: Option<PgBackRest>,
    rounds: usize,
}

/// Runs the parts that were asked for, or all of them.
pub(crate) fn compare(args: &Args) -> Result<Outcome> {
    for part in &args.parts {
        ensure!(PARTS.contains(&part.as_str()), "there is no part `{part}`, only {}", PARTS.join(", "));
    }
    let wants = |part: &str| args.parts.is_empty() || args.parts.iter().any(|wanted| wanted == part);
    let mut report = Report { schema: "ops-bench/wal/v1", data: "zstd 3".to_owned(), rows: Vec::new() };
    if wants("push") || wants("replay") {
        let site = Site::make(args)?;
        report.data = format!(
            "PostgreSQL {}, {} segments of 16 MiB that pgbench and a table of random text wrote; zstd 3, {} rounds in \
             turns, medians",
            site.major,
            site.waiting()?.len(),
            site.rounds
        );
        if wants("push") {
            report.rows.extend(push::run(&site)?);
        }
        if wants("replay") {
            report.rows.extend(replay::run(&site)?);
        }
    }
    if wants("receive") {
        report.rows.extend(receive::run(args)?);
    }
    Ok(Outcome { text: report.text(), json: report.json() })
}

impl Site {
    fn make(args: &Args) -> Result<Self> {
        let home = args.home.clone();
        let ours = Ours::new(&home, "ours");
        ours.fresh()?;
        let turn = home.join("turn");
        std::fs::write(&turn, "go")?;
        let push = format!("test $(cat {}) = go && {} %p", turn.display(), ours.push());
        let data = home.join("data");
        let mut server = Postgres::builder()
            .archive_command(push)
            .setting("max_wal_size", "16GB")
            .setting("checkpoint_timeout", "1d")
            .setting("shared_buffers", "512MB")
            .start()
            .map_err(|error| anyhow!("PostgreSQL does not start: {error:?}"))?;
        eprintln!("making the WAL");
        sql(&server, "CREATE TABLE text_of_chance (id int PRIMARY KEY, t text)")?;
        bench(&server, &["-i", "-q", "-s", "20"])?;
        call(&ours.backup(&server))?;
        std::fs::write(&turn, "wait")?;
        let begin = waiting(server.data_dir())?.len();
        let mut seed = 0;
        while waiting(server.data_dir())?.len() < begin + SEGMENTS {
            seed += 1;
            bench(&server, &["-n", "-c", "4", "-t", "500", "--random-seed", &seed.to_string()])?;
            sql(
                &server,
                "INSERT INTO text_of_chance SELECT i, repeat(md5(i::text), 2) FROM generate_series(
                     (SELECT coalesce(max(id), 0) + 1 FROM text_of_chance),
                     (SELECT coalesce(max(id), 0) + 500000 FROM text_of_chance)) AS i",
            )?;
        }
        sql(&server, "SELECT pg_switch_wal()")?;
        let major = server.major();
        // Without a checkpoint: the next start would replay, and this one must not archive.
        server.stop(Mode::Immediate).map_err(|error| anyhow!("{error:?}"))?;
        call(&words(&["cp", "-a", &server.data_dir().display().to_string(), &data.display().to_string()]))?;
        let _ = std::fs::remove_file(data.join("postmaster.pid"));
        let peer = PgBackRest::find(&home)?;
        if let Some(peer) = &peer {
            peer.configure_offline(&data)?;
        }
        let rounds = args.runs.unwrap_or(ROUNDS).max(1);
        Ok(Site { home, data, major, ours, peer, rounds })
    }

    /// The files that wait to be archived, in order.
    fn waiting(&self) -> Result<Vec<String>> {
        waiting(&self.data)
    }
}

fn waiting(data: &Path) -> Result<Vec<String>> {
    let status = data.join("pg_wal/archive_status");
    let mut names = Vec::new();
    for note in std::fs::read_dir(&status)? {
        let name = note?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".ready").map(str::to_owned));
    }
    names.sort_by_key(|name| (!name.ends_with(".history"), name.clone()));
    Ok(names)
}

fn sql(server: &Postgres, text: &str) -> Result<String> {
    server.psql(text).map_err(|error| anyhow!("{error:?}"))
}

fn bench(server: &Postgres, options: &[&str]) -> Result<()> {
    let done = server.command("pgbench").args(options).output().context("pgbench does not start")?;
    ensure!(done.status.success(), "pgbench failed: {}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

/// Waits until the socket of a service can be expected: it is made last of all.
fn started(service: &mut std::process::Child) -> Result<()> {
    std::thread::sleep(Duration::from_millis(400));
    ensure!(service.try_wait()?.is_none(), "the service has ended");
    Ok(())
}
