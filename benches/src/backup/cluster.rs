//! The cluster that is backed up: made once with pgbench's tables after some load, columns that do not compress, and many
//! small relations; then a server on it that archives to whoever is measured.

use super::programs::{Ours, PgBackRest, call, remove, words};
use anyhow::{Context as _, Result, anyhow, ensure};
use ops_testkit::{Mode, Postgres};
use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Raised when the data below change, so that a cached cluster of an older kind is not used.
const FORMAT: u32 = 1;

/// Tables of one row, each with a primary key: twice as many relations.
const SMALL_TABLES: u32 = 10_000;

/// Rows of each of the two tables that do not compress, about 150 MB each.
const ROWS: u32 = 300_000;

/// Of a server on the loopback, which lives for one run.
const PASSWORD: &str = "bench";

/// How long the archiver may take for what was written before a run.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running server that archives to the repositories of the programs.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// The server.
    pub(crate) server: Postgres,
    turn: PathBuf,
}

/// Who is measured, and so is served first by the archiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Ours, then the peer.
    Ours,
    /// The peer, then ours.
    Peer,
    /// Nobody: what is archived now is thrown away. For loading alone.
    Nobody,
}

impl Cluster {
    /// Starts the server on the data of this scale. They are made below `cache` if they are not there yet, or for this run
    /// alone without one.
    pub(crate) fn start(
        home: &Path,
        cache: Option<&Path>,
        scale: u32,
        ours: &Ours,
        peer: Option<&PgBackRest>,
    ) -> Result<Self> {
        let data = home.join("data");
        match cache {
            None => make(&data, scale)?,
            Some(folder) => {
                let major = ops_testkit::default_major().map_err(|error| anyhow!("{error:?}"))?;
                let kept = folder.join(format!("cluster-{FORMAT}-{major}-{scale}"));
                if !kept.is_dir() {
                    fs::create_dir_all(folder)?;
                    make(&kept, scale)?;
                }
                let (from, to) = (kept.display().to_string(), data.display().to_string());
                call(&words(&["cp", "-a", "--reflink=auto", &from, &to]))?;
            }
        }
        let turn = home.join("turn");
        fs::write(&turn, "nobody")?;
        let server = Postgres::from_data_dir(&data)
            .password(PASSWORD)
            .durable(true)
            .remove_on_drop(true)
            .setting("archive_mode", "on")
            .setting("archive_command", format!("sh {} %p", archiver(home, &turn, ours, peer)?))
            .setting("autovacuum", "off")
            .setting("shared_buffers", "256MB")
            .setting("max_wal_size", "4GB");
        let server = server.start().map_err(|error| anyhow!("PostgreSQL does not start: {error:?}"))?;
        let cluster = Self { server, turn };
        cluster.sql(&format!("ALTER ROLE current_user PASSWORD '{PASSWORD}'"))?;
        Ok(cluster)
    }

    /// A new and empty server, for a table that grows.
    pub(crate) fn empty(home: &Path, ours: &Ours) -> Result<Self> {
        let turn = home.join("turn-growth");
        fs::write(&turn, "nobody")?;
        let server = Postgres::builder()
            .durable(true)
            .archive_command(format!("sh {} %p", archiver(home, &turn, ours, None)?))
            .setting("autovacuum", "off")
            .setting("shared_buffers", "256MB")
            .setting("max_wal_size", "4GB")
            .start();
        let server = server.map_err(|error| anyhow!("PostgreSQL does not start: {error:?}"))?;
        Ok(Self { server, turn })
    }

    /// Says whose turn it is with the archiver.
    pub(crate) fn turn(&self, turn: Turn) -> Result<()> {
        let word = match turn {
            Turn::Ours => "ours",
            Turn::Peer => "peer",
            Turn::Nobody => "nobody",
        };
        Ok(fs::write(&self.turn, word)?)
    }

    /// Runs SQL.
    pub(crate) fn sql(&self, sql: &str) -> Result<String> {
        self.server.psql(sql).map_err(|error| anyhow!("{error:?}"))
    }

    /// Writes everything down, and waits until the archiver has nothing left: so no run pays for what came before it.
    pub(crate) fn settle(&self) -> Result<()> {
        self.sql("CHECKPOINT; SELECT pg_switch_wal()")?;
        let status = self.server.data_dir().join("pg_wal/archive_status");
        let began = Instant::now();
        loop {
            let waiting = fs::read_dir(&status)?.flatten();
            if !waiting.into_iter().any(|file| file.path().extension().is_some_and(|end| end == "ready")) {
                break;
            }
            ensure!(began.elapsed() < PATIENCE, "the archiver does not keep up:\n{}", self.server.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        sync(self.server.data_dir())
    }

    /// Updates one row in each of a hundredth of the pages of the large tables, chosen at random. The tables have room in
    /// their pages, so that the new row lies in the page of the old one.
    pub(crate) fn update_some(&self, seed: usize) -> Result<()> {
        for (table, column) in [("pgbench_accounts", "abalance"), ("random_bytes", "n"), ("random_text", "n")]
        {
            self.sql(&format!(
                "UPDATE {table} SET {column} = {column} + 1 WHERE ctid = ANY (ARRAY(
                     SELECT DISTINCT ON ((ctid::text::point)[0]) ctid
                     FROM {table} TABLESAMPLE SYSTEM (1) REPEATABLE ({seed})))"
            ))?;
        }
        Ok(())
    }
}

/// Writes what the server holds in memory to disk, so that the next run does not wait for it.
pub(crate) fn sync(folder: &Path) -> Result<()> {
    call(&words(&["sync", "-f", &folder.display().to_string()]))
}

/// The script behind `archive_command`: both programs get every file, the measured one first.
fn archiver(home: &Path, turn: &Path, ours: &Ours, peer: Option<&PgBackRest>) -> Result<String> {
    let ours = format!("{} \"$1\"", ours.push());
    let peer = peer.map_or_else(|| "true".to_owned(), |peer| format!("{} \"$1\"", peer.push()));
    let text = format!(
        "case $(cat '{}') in\n  ours) {ours} && {peer} ;;\n  peer) {peer} && {ours} ;;\n  *) exit 0 ;;\nesac\n",
        turn.display()
    );
    // pgBackRest refuses a server whose archive_command does not contain its name.
    let name = format!("pgbackrest-or-{}.sh", turn.file_name().context("no name")?.display());
    fs::write(home.join(&name), text)?;
    Ok(home.join(name).display().to_string())
}

/// Makes the data directory: with fsync off and nothing archived, as nobody will recover it.
fn make(to: &Path, scale: u32) -> Result<()> {
    eprintln!("making the data: pgbench scale {scale}, columns that do not compress, small relations");
    let server = Postgres::builder()
        .setting("max_wal_size", "4GB")
        .setting("wal_recycle", "off")
        .setting("shared_buffers", "512MB")
        .setting("autovacuum", "off")
        .patience(PATIENCE)
        .start();
    let mut server = server.map_err(|error| anyhow!("PostgreSQL does not start: {error:?}"))?;
    let pgbench = |args: &[&str]| -> Result<()> {
        let done = server.command("pgbench").args(args).stdin(Stdio::null()).output()?;
        ensure!(done.status.success(), "pgbench failed: {}", String::from_utf8_lossy(&done.stderr));
        Ok(())
    };
    pgbench(&["-i", "-q", "-F", "90", "-s", &scale.to_string()])?;
    pgbench(&["-n", "-c", "4", "-j", "2", "-t", "10000"])?;
    let hash = "sha512((n::text || random())::bytea)";
    let wide = [hash; 7].join(" || ");
    let text = ["md5(n::text || random())"; 14].join(" || ");
    let sql = format!(
        "CREATE TABLE random_bytes WITH (fillfactor = 90) AS SELECT n AS id, n, {wide} AS body FROM generate_series(1, {ROWS}) n;
         CREATE TABLE random_text WITH (fillfactor = 90) AS SELECT n AS id, n, {text} AS body FROM generate_series(1, {ROWS}) n;
         VACUUM ANALYZE random_bytes, random_text, pgbench_accounts;
         CREATE SCHEMA small;
         DO $$ BEGIN
             FOR i IN 1..{SMALL_TABLES} LOOP
                 EXECUTE format('CREATE TABLE small.t%s (id int PRIMARY KEY, n int)', i);
                 EXECUTE format('INSERT INTO small.t%s VALUES (%s, 0)', i, i);
                 IF i % 500 = 0 THEN COMMIT; END IF;
             END LOOP;
         END $$;
         CHECKPOINT; CHECKPOINT"
    );
    server.psql(&sql).map_err(|error| anyhow!("{error:?}"))?;
    server.stop(Mode::Fast).map_err(|error| anyhow!("{error:?}"))?;
    // Under another name first: a run that is stopped here leaves no half of a cluster behind.
    let part = to.with_extension("part");
    remove(&part)?;
    fs::DirBuilder::new().mode(0o700).create(&part)?;
    let from = server.data_dir().join(".").display().to_string();
    call(&words(&["cp", "-a", "--reflink=auto", &from, &part.display().to_string()]))?;
    Ok(fs::rename(&part, to)?)
}
