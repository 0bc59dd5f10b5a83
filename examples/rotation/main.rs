//! A pool of deadpool-postgres that moves to new credentials under load, and no caller sees an error.
//!
//! `cargo run -p ops-examples-rotation`
//!
//! The recipe is `pool.rs`, to be copied: ops-secrets knows nothing of PostgreSQL. Here it runs against a disposable server:
//! eight callers query without a pause while the credentials are rotated six times, by two roles that take turns, in the
//! layout that `ops-secrets rotate postgres` publishes. After each turn the old role's password is made invalid, once its
//! sessions are gone.

mod pool;

use anyhow::{anyhow, ensure};
use ops_secrets::Masker;
use ops_secrets::rotate::{FolderProvider, Group, Options};
use ops_testkit::Postgres;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const CALLERS: usize = 8;
const ROTATIONS: usize = 6;
/// A pool that does not let go would be waited for without an end.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let testkit = |error: ops_testkit::Error| anyhow!("{error:?}");
    let server = Postgres::start().map_err(testkit)?;
    server.psql("CREATE ROLE app_0 LOGIN PASSWORD 'word-0'; CREATE ROLE app_1 LOGIN").map_err(testkit)?;
    let folder = tempfile::tempdir()?;
    publish(folder.path(), 0)?;

    let mut base = tokio_postgres::Config::new();
    base.host("127.0.0.1").port(server.port()).dbname("postgres");
    let trial = base.clone();
    let masker = Masker::new();
    let options = Options { settle: Duration::from_millis(1), ..Options::default() };
    let group = Group::new(options, || 0.5)
        .member("database", FolderProvider::new(folder.path()))
        .masker(masker.clone())
        .validate(move |candidate| Box::pin(pool::trial(trial.clone(), candidate)));
    let (live, watch) = group.start().await?;
    let watch = tokio::spawn(watch.run(std::future::pending()));
    let pool = pool::build(base, live.clone(), 4)?;

    let (stop, queries) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..CALLERS {
        let (pool, stop, queries) = (pool.clone(), Arc::clone(&stop), Arc::clone(&queries));
        callers.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let client = pool.get().await?;
                client.query_one("SELECT session_user::text, pg_sleep(0.001)", &[]).await?;
                queries.fetch_add(1, Ordering::Relaxed);
            }
            anyhow::Ok(())
        });
    }

    let mut versions = live.subscribe();
    for number in 1..=ROTATIONS {
        let (new, old) = (number % 2, (number + 1) % 2);
        server.psql(&format!("ALTER ROLE app_{new} PASSWORD 'word-{number}'")).map_err(testkit)?;
        publish(folder.path(), number)?;
        let version = versions.next().await.ok_or_else(|| anyhow!("the watch has ended"))?;
        let (before, swapped) = (queries.load(Ordering::Relaxed), Instant::now());
        // The pool lets its old sessions go as callers take them, and they are eight for four.
        while server
            .psql(&format!("SELECT count(*) FROM pg_stat_activity WHERE usename = 'app_{old}'"))
            .map_err(testkit)?
            != "0"
        {
            ensure!(swapped.elapsed() < PATIENCE, "the pool keeps sessions of app_{old}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        server.psql(&format!("ALTER ROLE app_{old} PASSWORD NULL")).map_err(testkit)?;
        let during = queries.load(Ordering::Relaxed) - before;
        tell(&format!(
            "generation {}: app_{new} is in use, {during} queries while the old sessions left",
            version.generation()
        ));
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(end) = callers.join_next().await {
        end??;
    }
    watch.abort();
    let queries = queries.load(Ordering::Relaxed);
    tell(&format!("{queries} queries over {ROTATIONS} rotations, and no error"));
    ensure!(live.current()?.generation() == 1 + ROTATIONS as u64, "a rotation was not seen");
    ensure!(queries > ROTATIONS * CALLERS, "there was no load");
    ensure!(masker.mask_str("word-5 word-6") == "[redacted] [redacted]", "a password was not masked");
    Ok(())
}

/// A new version, and the swap of its link, as a rotation and the kubelet do it.
fn publish(folder: &Path, number: usize) -> std::io::Result<()> {
    let name = format!("..v{number}");
    std::fs::create_dir(folder.join(&name))?;
    std::fs::write(folder.join(&name).join("username"), format!("app_{}", number % 2))?;
    std::fs::write(folder.join(&name).join("password"), format!("word-{number}"))?;
    std::os::unix::fs::symlink(&name, folder.join("..next"))?;
    std::fs::rename(folder.join("..next"), folder.join("..data"))
}

#[expect(clippy::print_stdout, reason = "an example talks to its reader")]
fn tell(line: &str) {
    println!("{line}");
}
