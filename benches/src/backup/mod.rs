//! Backups and restores of one cluster: ours, pgBackRest, `pg_basebackup`, and a tar through zstd as the limit.
//!
//! All on one machine in one run, on one file system, with the page cache warm for everybody: the data were read before
//! the first run, and before each run everything that is not written yet is written. CPU and memory are those of the
//! command and its children: what the server does for it, and what `archive_command` starts, is in none of them. The
//! archiver serves the program first that is measured.

mod again;
pub(crate) mod cluster;
mod contest;
mod full;
mod growth;
mod pages;
pub(crate) mod programs;
mod remote;
mod restore;
mod table;
mod tree;

use crate::{Args, Outcome};
use anyhow::{Result, ensure};
use cluster::{Cluster, Turn};
use contest::{Contestant, Series};
use pages::Pages;
use programs::{Kind, Ours, PgBackRest, WORKERS, call};
use std::path::Path;
use table::Table;

/// Our name in tables.
pub(crate) const OURS: &str = "ops-backup";

/// The peer's name where it is absent.
const PEER: &str = "pgBackRest";

/// Rounds of each contest, where nobody says how many.
const ROUNDS: usize = 3;

/// pgbench's scale, where nobody says it.
const SCALE: u32 = 100;

/// The parts of the comparison, in order.
const PARTS: [&str; 9] =
    ["full", "updated", "unchanged", "restore", "delta", "files", "remote", "growth", "tree"];

/// What all parts work on.
struct Site<'a> {
    home: &'a Path,
    postgres_bin: &'a Path,
    rounds: usize,
    cluster: Cluster,
    ours: Ours,
    peer: Option<PgBackRest>,
}

impl Site<'_> {
    /// Brings the machine to the state that every run begins in. Only then may a repository be made anew: the archiver
    /// writes to it no more.
    fn before_run(&self, turn: Turn) -> Result<()> {
        self.cluster.turn(turn)?;
        self.cluster.settle()
    }

    /// One full backup of each program into an empty repository, off the clock: what the later parts start from.
    fn base(&self) -> Result<()> {
        self.before_run(Turn::Ours)?;
        self.ours.fresh()?;
        call(&self.ours.backup(&self.cluster.server))?;
        if let Some(peer) = &self.peer {
            self.before_run(Turn::Peer)?;
            peer.fresh()?;
            call(&peer.backup(Kind::Full))?;
        }
        Ok(())
    }
}

/// Runs the parts that were asked for, or all of them.
pub(crate) fn compare(args: &Args) -> Result<Outcome> {
    for part in &args.parts {
        ensure!(PARTS.contains(&part.as_str()), "there is no part `{part}`, only {}", PARTS.join(", "));
    }
    let wants = |part: &str| args.parts.is_empty() || args.parts.iter().any(|wanted| wanted == part);
    let rounds = args.runs.unwrap_or(ROUNDS).max(1);
    let mut table = Table::default();
    let load = load_average();
    if PARTS[..5].iter().any(|part| wants(part)) || wants("files") {
        let site = prepare(args, rounds)?;
        table.data = describe(&site, args)?;
        if wants("full") {
            table.full(full::run(&site)?);
        }
        if ["updated", "unchanged", "restore", "delta"].iter().any(|part| wants(part)) {
            site.base()?;
        }
        if wants("updated") {
            let (series, updates) = again::after_updates(&site)?;
            table.updated(series, &updates);
        }
        if wants("unchanged") {
            table.unchanged(again::unchanged(&site)?);
        }
        if wants("restore") {
            table.restored(restore::into_empty(&site)?);
        }
        if wants("delta") {
            table.delta(restore::onto_damaged(&site)?);
        }
        restore::tidy(&site)?;
        if wants("files") {
            // One round is enough for its memory, and many small files take their time.
            table.many_files(full::many_files(&site, 1)?);
        }
    }
    if wants("remote") {
        table.remote(remote::run(args, rounds)?);
    }
    if wants("growth") {
        table.growth(growth::run(&args.home, rounds)?);
    }
    if wants("tree") {
        table.tree(tree::run(&args.home)?);
    }
    table.data += &format!("; load average {load} before, {} after", load_average());
    Ok(Outcome { text: table.text(), json: table.json() })
}

fn prepare(args: &Args, rounds: usize) -> Result<Site<'_>> {
    let home = args.home.as_path();
    let ours = Ours::new(home, "ours");
    ours.fresh()?;
    let peer = PgBackRest::find(home)?;
    let scale = args.scale.unwrap_or(SCALE);
    let cluster = Cluster::start(home, args.cache.as_deref(), scale, &ours, peer.as_ref())?;
    if let Some(peer) = &peer {
        peer.configure(&cluster.server)?;
        peer.fresh()?;
    }
    Ok(Site { home, postgres_bin: &args.postgres_bin, rounds, cluster, ours, peer })
}

/// The data in words; reading all of them warms the page cache.
fn describe(site: &Site, args: &Args) -> Result<String> {
    let pages = Pages::of(site.cluster.server.data_dir())?;
    Ok(format!(
        "PostgreSQL {}, pgbench scale {} after 40,000 transactions, 300 MB that hardly compress, 20,000 small relations: {:.2} GB in {} \
         relation files; {WORKERS} workers, zstd 3, {} rounds in turns, medians",
        site.cluster.server.major(),
        args.scale.unwrap_or(SCALE),
        pages.count() as f64 * 8192.0 / 1e9,
        pages.files(),
        site.rounds
    ))
}

/// The peer's place in a contest that it takes no part in.
fn absent<'a>() -> Contestant<'a> {
    Contestant { name: PEER.into(), prepare: None, finish: Box::new(|_| Ok(None)) }
}

/// The first three figures of the kernel's load average.
fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

/// The series of a program by the beginning of its name.
fn of<'a>(series: &'a [Series], program: &str) -> Option<&'a Series> {
    series.iter().find(|one| one.program.to_lowercase().starts_with(&program.to_lowercase()))
}
