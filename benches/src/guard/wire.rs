//! One guarded session beside one of `tokio_postgres`, on a fresh server: time, and round trips.

use super::pairs::{Pair, Pairs};
use super::pool;
use super::turns::Turns;
use crate::report;
use anyhow::{Context as _, Result, anyhow, ensure};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use ops_core::connection::ConnectionSettings;
use ops_core::guard::Policy;
use ops_core::postgres::GuardedClient;
use ops_testkit::Postgres;
use std::cell::Cell;
use std::process::Stdio;
use std::time::Instant;
use tokio_postgres::{Client, NoTls, Row};

/// The statement that reads.
pub(crate) const READ: &str = "SELECT abalance FROM pgbench_accounts WHERE aid = $1";
const WRITE: &str = "UPDATE pgbench_accounts SET abalance = abalance + $1 WHERE aid = $2";

/// Operations of one side before it is the other's turn.
const BATCH: usize = 50;
/// Turns of each side in one round.
const TURNS: usize = 20;
/// Operations over which round trips are counted.
const COUNTED: u64 = 20;

const PEER: &str = "tokio_postgres";

/// Fills a fresh server and measures; also says what it was measured on.
pub(crate) fn rows(rounds: usize) -> Result<(String, Vec<report::Row>)> {
    // One thread and one processor for one session of each side: where the kernel puts a server process is worth more than all
    // that the guard costs, and differs between the two connections.
    let everywhere = sched_getaffinity(Pid::from_raw(0))?;
    let mut here = CpuSet::new();
    let first = (0..CpuSet::count()).find(|processor| everywhere.is_set(*processor).unwrap_or_default());
    here.set(first.unwrap_or_default())?;
    sched_setaffinity(Pid::from_raw(0), &here)?;
    let server = filled_server()?;
    let single = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut rows = single.block_on(one_session(&server, rounds))?;
    rows.extend(single.block_on(round_trips(&server))?);
    sched_setaffinity(Pid::from_raw(0), &everywhere)?;
    rows.extend(pool::rows(&filled_server()?, rounds)?);
    let data = format!(
        "PostgreSQL {} on a unix socket, fsync off, pgbench scale 1; medians of {rounds} rounds, ours and the peer in turns",
        server.major()
    );
    Ok((data, rows))
}

fn filled_server() -> Result<Postgres> {
    let server = Postgres::start().map_err(|error| anyhow!("PostgreSQL does not start: {error:?}"))?;
    let filled = server.command("pgbench").args(["-i", "-q", "-s", "1"]).stdin(Stdio::null()).output()?;
    ensure!(filled.status.success(), "pgbench -i failed: {}", String::from_utf8_lossy(&filled.stderr));
    Ok(server)
}

/// One session of each side.
struct Both {
    guarded: GuardedClient,
    bare: Client,
}

impl Both {
    async fn connect(url: &str) -> Result<Self> {
        let settings = ConnectionSettings::parse(url)?;
        let guarded = GuardedClient::connect(&settings, Policy::app()).await?;
        let (bare, connection) = tokio_postgres::connect(url, NoTls).await?;
        tokio::spawn(connection);
        Ok(Self { guarded, bare })
    }
}

/// Another account for each operation, the same ones for both sides.
#[derive(Debug, Default)]
struct Accounts(Cell<i32>);

impl Accounts {
    fn next(&self) -> i32 {
        self.0.set(self.0.get() % 100_000 + 1);
        self.0.get()
    }
}

/// Lets both work in turns; who begins alternates too.
async fn in_turns(
    rounds: usize,
    mut ours: impl AsyncFnMut() -> Result<()>,
    mut theirs: impl AsyncFnMut() -> Result<()>,
) -> Result<Pair> {
    async fn batch(operation: &mut impl AsyncFnMut() -> Result<()>) -> Result<f64> {
        let began = Instant::now();
        for _ in 0..BATCH {
            operation().await?;
        }
        Ok(began.elapsed().as_secs_f64() / BATCH as f64)
    }
    let mut pairs = Pairs::default();
    for turn in 0..=rounds * TURNS {
        let (our_time, their_time) = if turn % 2 == 0 {
            let our_time = batch(&mut ours).await?;
            (our_time, batch(&mut theirs).await?)
        } else {
            let their_time = batch(&mut theirs).await?;
            (batch(&mut ours).await?, their_time)
        };
        // The first turn warms both up.
        if turn > 0 {
            pairs.push(our_time, their_time);
        }
    }
    Ok(pairs.sum_up())
}

/// A row of a comparison in turns.
pub(crate) fn microseconds(task: &str, peer: &str, pair: Pair) -> report::Row {
    report::Row::new(task, "µs", pair.ours * 1e6).beside(peer, pair.theirs * 1e6, Some(pair.ratio))
}

async fn one_session(server: &Postgres, rounds: usize) -> Result<Vec<report::Row>> {
    let Both { mut guarded, bare } = Both::connect(&server.socket_url()).await?;
    let (ours, theirs) = (Accounts::default(), Accounts::default());
    let mut rows = Vec::new();

    let (our_read, their_read) = (guarded.prepare(READ).await?, bare.prepare(READ).await?);
    let pair = in_turns(
        rounds,
        async || one_balance(&guarded.query_one(&our_read, &[&ours.next()]).await?),
        async || one_balance(&bare.query_one(&their_read, &[&theirs.next()]).await?),
    );
    rows.push(microseconds("read one row, prepared", PEER, pair.await?).ratio_at_most(1.15));

    let pair = in_turns(
        rounds,
        async || one_balance(&guarded.query_one(READ, &[&ours.next()]).await?),
        async || one_balance(&bare.query_one(READ, &[&theirs.next()]).await?),
    );
    rows.push(microseconds("read one row, by text", PEER, pair.await?).ratio_at_most(1.15));

    let (our_write, their_write) = (guarded.prepare(WRITE).await?, bare.prepare(WRITE).await?);
    let pair = in_turns(
        rounds,
        async || changed_one(guarded.execute(&our_write, &[&1, &ours.next()]).await?),
        async || changed_one(bare.execute(&their_write, &[&1, &theirs.next()]).await?),
    );
    rows.push(microseconds("write one row, prepared", PEER, pair.await?).note("bare: autocommit"));

    let pair = in_turns(
        rounds,
        async || changed_one(guarded.execute(WRITE, &[&1, &ours.next()]).await?),
        async || changed_one(bare.execute(WRITE, &[&1, &theirs.next()]).await?),
    );
    rows.push(microseconds("write one row, by text", PEER, pair.await?).note("bare: autocommit"));

    let mut peer = bare;
    let (our_write, their_write) = (guarded.prepare(WRITE).await?, peer.prepare(WRITE).await?);
    let pair = in_turns(
        rounds,
        async || {
            let transaction = guarded.transaction().await?;
            changed_one(transaction.execute(&our_write, &[&1, &ours.next()]).await?)?;
            Ok(transaction.commit().await?)
        },
        async || {
            let transaction = peer.transaction().await?;
            changed_one(transaction.execute(&their_write, &[&1, &theirs.next()]).await?)?;
            Ok(transaction.commit().await?)
        },
    );
    rows.push(microseconds("transaction of one write, prepared", PEER, pair.await?));
    Ok(rows)
}

fn one_balance(row: &Row) -> Result<()> {
    row.try_get::<_, i32>(0)?;
    Ok(())
}

/// Both sides must really have done the work.
fn changed_one(rows: u64) -> Result<()> {
    ensure!(rows == 1, "a write of one row changed {rows}");
    Ok(())
}

/// Counts how often each side waits for the server, on sessions through the counting socket.
async fn round_trips(server: &Postgres) -> Result<Vec<report::Row>> {
    let folder = server.dir().join("turns");
    std::fs::create_dir(&folder).context("no folder for the counting socket")?;
    let socket = server.socket_dir().join(format!(".s.PGSQL.{}", server.port()));
    let turns = Turns::listen(&folder, socket)?;
    let url = format!(
        "host={} port={} user={} dbname={}",
        folder.display(),
        server.port(),
        server.user(),
        server.database()
    );
    let Both { mut guarded, mut bare } = Both::connect(&url).await?;
    let (our_read, their_read) = (guarded.prepare(READ).await?, bare.prepare(READ).await?);
    let (our_write, their_write) = (guarded.prepare(WRITE).await?, bare.prepare(WRITE).await?);

    let row = |task: &str, ours: f64, theirs: f64| {
        report::Row::new(format!("round trips: {task}"), "round trips", ours).beside(PEER, theirs, None)
    };
    let ours = counted(&turns, async || one_balance(&guarded.query_one(&our_read, &[&1]).await?)).await?;
    let theirs = counted(&turns, async || one_balance(&bare.query_one(&their_read, &[&1]).await?)).await?;
    let mut rows = vec![row("read one row, prepared", ours, theirs)];

    let ours = counted(&turns, async || one_balance(&guarded.query_one(READ, &[&1]).await?)).await?;
    let theirs = counted(&turns, async || one_balance(&bare.query_one(READ, &[&1]).await?)).await?;
    rows.push(row("read one row, by text", ours, theirs));

    let ours = counted(&turns, async || changed_one(guarded.execute(&our_write, &[&1, &1]).await?)).await?;
    let theirs = counted(&turns, async || changed_one(bare.execute(&their_write, &[&1, &1]).await?)).await?;
    rows.push(row("write one row, prepared", ours, theirs).at_most_more(2.0));

    let ours = counted(&turns, async || changed_one(guarded.execute(WRITE, &[&1, &1]).await?)).await?;
    let theirs = counted(&turns, async || changed_one(bare.execute(WRITE, &[&1, &1]).await?)).await?;
    rows.push(row("write one row, by text", ours, theirs).at_most_more(2.0));

    let ours = counted(&turns, async || {
        let transaction = guarded.transaction().await?;
        changed_one(transaction.execute(&our_write, &[&1, &1]).await?)?;
        Ok(transaction.commit().await?)
    });
    let ours = ours.await?;
    let theirs = counted(&turns, async || {
        let transaction = bare.transaction().await?;
        changed_one(transaction.execute(&their_write, &[&1, &1]).await?)?;
        Ok(transaction.commit().await?)
    });
    rows.push(row("transaction of one write, prepared", ours, theirs.await?));
    Ok(rows)
}

async fn counted(turns: &Turns, mut operation: impl AsyncFnMut() -> Result<()>) -> Result<f64> {
    // What a client sets up at its first use does not count.
    operation().await?;
    let before = turns.count();
    for _ in 0..COUNTED {
        operation().await?;
    }
    Ok((turns.count() - before) as f64 / COUNTED as f64)
}
