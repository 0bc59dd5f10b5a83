//! Our pool beside `deadpool-postgres`: several sessions at the same time.

use super::pairs::{Pair, Pairs};
use super::wire::{READ, microseconds};
use crate::report::Row;
use anyhow::{Result, anyhow};
use deadpool_postgres::{ManagerConfig, RecyclingMethod};
use ops_core::connection::ConnectionSettings;
use ops_core::guard::Policy;
use ops_core::postgres::{Manager, SessionLimits};
use ops_testkit::Postgres;
use std::time::Instant;
use tokio::runtime::Runtime;
use tokio_postgres::NoTls;

/// Sessions that work at the same time.
const SESSIONS: usize = 8;
/// Turns of each side in one round.
const TURNS: usize = 3;
/// Operations of each session in one turn.
const BATCH: usize = 200;

/// Eight sessions at a time, each held for its whole batch, and each taken from the pool for one statement.
pub(crate) fn rows(server: &Postgres, rounds: usize) -> Result<Vec<Row>> {
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
                for aid in 1..=BATCH as i32 {
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
                for aid in 1..=BATCH as i32 {
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
                for aid in 1..=BATCH as i32 {
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
                for aid in 1..=BATCH as i32 {
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
        Ok(began.elapsed().as_secs_f64() / (SESSIONS * BATCH) as f64)
    })
}

fn pool_pair(
    rounds: usize,
    ours: impl Fn() -> Result<f64>,
    theirs: impl Fn() -> Result<f64>,
) -> Result<Pair> {
    let mut pairs = Pairs::default();
    // Both open their sessions before anything counts.
    ours()?;
    theirs()?;
    for _ in 0..rounds * TURNS {
        pairs.push(ours()?, theirs()?);
    }
    Ok(pairs.sum_up())
}
