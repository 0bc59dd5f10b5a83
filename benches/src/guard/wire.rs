//! The guarded client beside `tokio_postgres`, and its pool beside `deadpool-postgres`, on one fresh server.

use super::pairs::{Pair, Pairs};
use super::report::Row;
use super::turns::Turns;
use anyhow::{Context as _, Result, anyhow, ensure};
use deadpool_postgres::{ManagerConfig, RecyclingMethod};
use ops_core::connection::ConnectionSettings;
use ops_core::guard::Policy;
use ops_core::postgres::{GuardedClient, Manager, SessionLimits};
use ops_testkit::Postgres;
use std::cell::Cell;
use std::process::Stdio;
use std::time::Instant;
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls};

const READ: &str = "SELECT abalance FROM pgbench_accounts WHERE aid = $1";
const WRITE: &str = "UPDATE pgbench_accounts SET abalance = abalance + $1 WHERE aid = $2";

/// Operations of one side before it is the other's turn.
const BATCH: usize = 50;
/// Turns of each side in one round.
const TURNS: usize = 20;
/// Sessions that work at the same time.
const SESSIONS: usize = 8;
/// Operations of each of them in one turn.
const SESSION_BATCH: usize = 200;
/// Operations over which round trips are counted.
const COUNTED: u64 = 20;

const PEER: &str = "tokio_postgres";

/// Fills a fresh server and measures; also says what it was measured on.
pub(crate) fn rows(rounds: usize) -> Result<(String, Vec<Row>)> {
    let server = Postgres::start().map_err(|error| anyhow!("PostgreSQL does not start: {error:?}"))?;
    let filled = server.command("pgbench").args(["-i", "-q", "-s", "1"]).stdin(Stdio::null()).output()?;
    ensure!(filled.status.success(), "pgbench -i failed: {}", String::from_utf8_lossy(&filled.stderr));
    // One thread for one session: the wake-ups of a second thread would hide what the guard itself costs.
    let single = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut rows = single.block_on(one_session(&server, rounds))?;
    rows.extend(single.block_on(round_trips(&server))?);
    rows.extend(many_sessions(&server, rounds)?);
    let data = format!(
        "PostgreSQL {} on a unix socket, fsync off, pgbench scale 1; medians of {rounds} rounds, ours and the peer in turns",
        server.major()
    );
    Ok((data, rows))
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

fn microseconds(task: &str, peer: &str, pair: Pair) -> Row {
    Row::new(task, "µs", pair.ours * 1e6).beside(peer, pair.theirs * 1e6, Some(pair.ratio))
}

async fn one_session(server: &Postgres, rounds: usize) -> Result<Vec<Row>> {
    let Both { mut guarded, bare } = Both::connect(&server.socket_url()).await?;
    let (ours, theirs) = (Accounts::default(), Accounts::default());
    let mut rows = Vec::new();

    let (our_read, their_read) = (guarded.prepare(READ).await?, bare.prepare(READ).await?);
    let pair = in_turns(
        rounds,
        async || Ok(drop(guarded.query_one(&our_read, &[&ours.next()]).await?)),
        async || Ok(drop(bare.query_one(&their_read, &[&theirs.next()]).await?)),
    );
    rows.push(microseconds("read one row, prepared", PEER, pair.await?).ratio_at_most(1.15));

    let pair = in_turns(
        rounds,
        async || Ok(drop(guarded.query_one(READ, &[&ours.next()]).await?)),
        async || Ok(drop(bare.query_one(READ, &[&theirs.next()]).await?)),
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

/// Both sides must really have done the work.
fn changed_one(rows: u64) -> Result<()> {
    ensure!(rows == 1, "a write of one row changed {rows}");
    Ok(())
}

/// Counts how often each side waits for the server, on sessions through the counting socket.
async fn round_trips(server: &Postgres) -> Result<Vec<Row>> {
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
        Row::new(format!("round trips: {task}"), "round trips", ours).beside(PEER, theirs, None)
    };
    let ours = counted(&turns, async || Ok(drop(guarded.query_one(&our_read, &[&1]).await?))).await?;
    let theirs = counted(&turns, async || Ok(drop(bare.query_one(&their_read, &[&1]).await?))).await?;
    let mut rows = vec![row("read one row, prepared", ours, theirs)];

    let ours = counted(&turns, async || Ok(drop(guarded.query_one(READ, &[&1]).await?))).await?;
    let theirs = counted(&turns, async || Ok(drop(bare.query_one(READ, &[&1]).await?))).await?;
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

/// Eight sessions at a time, each held for its whole batch, and each taken from the pool for one statement.
fn many_sessions(server: &Postgres, rounds: usize) -> Result<Vec<Row>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let settings = ConnectionSettings::parse(&server.socket_url())?;
    let ours = Manager::new(settings, Policy::app(), &SessionLimits::default()).pool(SESSIONS);
    let peer = |method: RecyclingMethod| {
        let config: tokio_postgres::Config = server.socket_url().parse()?;
        let manager = deadpool_postgres::Manager::from_config(
            config,
            NoTls,
            ManagerConfig { recycling_method: method },
        );
        anyhow::Ok(deadpool_postgres::Pool::builder(manager).max_size(SESSIONS).build()?)
    };
    let (clean, fast) = (peer(RecyclingMethod::Clean)?, peer(RecyclingMethod::Fast)?);

    let our_held = || {
        all(&runtime, || {
            let pool = ours.clone();
            async move {
                let client = pool.get().await.map_err(|error| anyhow!("no guarded session: {error}"))?;
                for aid in 1..=SESSION_BATCH as i32 {
                    client.query_one(READ, &[&aid]).await?;
                }
                Ok(())
            }
        })
    };
    let our_taken = || {
        all(&runtime, || {
            let pool = ours.clone();
            async move {
                for aid in 1..=SESSION_BATCH as i32 {
                    let client = pool.get().await.map_err(|error| anyhow!("no guarded session: {error}"))?;
                    client.query_one(READ, &[&aid]).await?;
                }
                Ok(())
            }
        })
    };
    let their_held = |pool: &deadpool_postgres::Pool| {
        all(&runtime, || {
            let pool = pool.clone();
            async move {
                let client = pool.get().await?;
                for aid in 1..=SESSION_BATCH as i32 {
                    client.query_one(READ, &[&aid]).await?;
                }
                Ok(())
            }
        })
    };
    let their_taken = |pool: &deadpool_postgres::Pool| {
        all(&runtime, || {
            let pool = pool.clone();
            async move {
                for aid in 1..=SESSION_BATCH as i32 {
                    pool.get().await?.query_one(READ, &[&aid]).await?;
                }
                Ok(())
            }
        })
    };
    let held = pool_pair(rounds, our_held, || their_held(&fast))?;
    let taken_clean = pool_pair(rounds, our_taken, || their_taken(&clean))?;
    let taken_fast = pool_pair(rounds, our_taken, || their_taken(&fast))?;
    let task = |what: &str| format!("{SESSIONS} sessions, read by text, {what}");
    Ok(vec![
        microseconds(&task("held"), "deadpool-postgres", held).ratio_at_most(1.15),
        microseconds(&task("taken each time"), "deadpool-postgres, Clean", taken_clean)
            .note("both clean the session each time; ours also verifies it"),
        microseconds(&task("taken each time"), "deadpool-postgres, Fast", taken_fast)
            .note("the peer cleans nothing"),
    ])
}

/// Seconds an operation with all sessions at work.
fn all<F>(runtime: &Runtime, work: impl Fn() -> F) -> Result<f64>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    runtime.block_on(async {
        let began = Instant::now();
        let tasks: Vec<_> = (0..SESSIONS).map(|_| tokio::spawn(work())).collect();
        for task in tasks {
            task.await??;
        }
        Ok(began.elapsed().as_secs_f64() / (SESSIONS * SESSION_BATCH) as f64)
    })
}

fn pool_pair(
    rounds: usize,
    ours: impl Fn() -> Result<f64>,
    theirs: impl Fn() -> Result<f64>,
) -> Result<Pair> {
    let mut pairs = Pairs::default();
    (ours()?, theirs()?);
    for _ in 0..rounds {
        pairs.push(ours()?, theirs()?);
    }
    Ok(pairs.sum_up())
}
