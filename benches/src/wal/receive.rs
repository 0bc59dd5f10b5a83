//! WAL as it is written: how far `wal receive` is behind a server that pgbench keeps busy, and what it holds in memory.
//!
//! The lag is the server's own figure (`flush_lag` of `pg_stat_replication`): from the moment when WAL was durable on the
//! server to the moment when the server heard that it is durable in the repository.

use super::{bench, sql, started};
use crate::Args;
use crate::backup::programs::Ours;
use crate::report::Row;
use anyhow::{Context as _, Result, anyhow, ensure};
use ops_testkit::Postgres;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long pgbench runs, in seconds.
const SECONDS: &str = "60";

/// The lag, and how much WAL there is, again and again.
const LOOK: &str = "SELECT coalesce(extract(epoch FROM flush_lag), -1), pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0') \
                    FROM pg_stat_replication \\watch 0.2\n";

/// Runs it.
pub(crate) fn run(args: &Args) -> Result<Vec<Row>> {
    let ours = Ours::new(&args.home, "received");
    ours.fresh()?;
    let server = Postgres::builder()
        .durable(true)
        .setting("max_wal_size", "4GB")
        .setting("shared_buffers", "256MB")
        .start()
        .map_err(|error| anyhow!("PostgreSQL does not start: {error:?}"))?;
    bench(&server, &["-i", "-q", "-s", "20"])?;
    let command = ours.words(&["--postgres", &server.socket_url(), "wal", "receive", "--create-slot"]);
    let (program, words) = command.split_first().context("no command")?;
    let receiver = Command::new(program).args(words).stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
    let mut receiver = Ended(receiver);
    started(&mut receiver.0)?;
    while sql(&server, "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'")? != "1" {
        ensure!(receiver.0.try_wait()?.is_none(), "the receiver has ended");
        std::thread::sleep(Duration::from_millis(100));
    }
    let mut looks = server.command("psql");
    let looks = looks.args(["-At", "-F", " "]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut looks = Ended(looks);
    looks.0.stdin.as_mut().context("no pipe")?.write_all(LOOK.as_bytes())?;
    let lines = BufReader::new(looks.0.stdout.take().context("no pipe")?).lines();
    let reader = std::thread::spawn(move || lines.map_while(Result::ok).collect::<Vec<String>>());
    let done = server
        .command("pgbench")
        .args(["-n", "-c", "4", "-j", "2", "-T", SECONDS])
        .output()
        .context("pgbench does not start")?;
    ensure!(done.status.success(), "pgbench failed: {}", String::from_utf8_lossy(&done.stderr));
    drop(looks);
    let lines = reader.join().map_err(|_| anyhow!("the reader panicked"))?;
    ensure!(receiver.0.try_wait()?.is_none(), "the receiver has ended");
    let memory = super::archiver::peak(receiver.0.id()) as f64 / 1e6;
    rows(&lines, memory, &String::from_utf8_lossy(&done.stdout))
}

fn rows(lines: &[String], memory: f64, pgbench: &str) -> Result<Vec<Row>> {
    let figures = lines.iter().filter_map(|line| {
        let (lag, wal) = line.split_once(' ')?;
        Some((lag.parse::<f64>().ok()?, wal.parse::<f64>().ok()?))
    });
    let figures: Vec<(f64, f64)> = figures.collect();
    let mut lags: Vec<f64> = figures.iter().map(|(lag, _)| *lag).filter(|lag| *lag >= 0.0).collect();
    ensure!(lags.len() > 50, "the server told the lag {} times", lags.len());
    lags.sort_by(f64::total_cmp);
    let quantile = |share: f64| lags[((lags.len() - 1) as f64 * share).round() as usize];
    let written = figures.last().zip(figures.first()).map_or(0.0, |(last, first)| last.1 - first.1);
    let tps = pgbench.lines().find(|line| line.starts_with("tps")).unwrap_or_default();
    let tps = tps.split('(').next().unwrap_or_default().trim().to_owned();
    let note = format!("{tps}, {:.1} MB of WAL a second", written / 1e6 / SECONDS.parse::<f64>()?);
    Ok(vec![
        Row::new("receive: lag, p50", "s", quantile(0.5)).note(note),
        Row::new("receive: lag, p99", "s", quantile(0.99)).at_most(1.0),
        Row::new("receive: lag, most", "s", quantile(1.0)),
        Row::new("receive: peak memory", "MB", memory).at_most(64.0),
    ])
}

/// A process that ends with its owner.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
