//! The same table at 1, 4 and 16 times its size: time for each GB, and memory, should stay where they are.

use super::cluster::{Cluster, Turn};
use super::contest::{Contestant, Series, contest};
use super::programs::Ours;
use anyhow::{Context as _, Result};
use std::path::Path;

/// The sizes, and the task's name at each.
const SIZES: [(u32, &str); 3] =
    [(1, "full backup, table × 1"), (4, "full backup, table × 4"), (16, "full backup, table × 16")];

/// Rows of the table at its first size: 110 MB, of which half compresses.
const ROWS: u32 = 200_000;

/// All runs at one size.
#[derive(Debug)]
pub(crate) struct Size {
    /// How many times the first size.
    pub(crate) times: u32,
    /// The whole cluster, in GB.
    pub(crate) gigabytes: f64,
    /// The runs.
    pub(crate) series: Series,
}

/// Grows the table, and backs up at each size.
pub(crate) fn run(home: &Path, rounds: usize) -> Result<Vec<Size>> {
    let ours = Ours::new(home, "growth");
    let cluster = Cluster::empty(home, &ours)?;
    let hash = "sha512((n::text || random())::bytea)";
    let body = [hash; 4].join(" || ");
    cluster.sql(&format!(
        "CREATE TABLE grown AS SELECT n AS id, {body} AS body, repeat('common', 40) AS filler FROM generate_series(1, {ROWS}) n"
    ))?;
    let mut sizes = Vec::new();
    let mut now = 1;
    for (times, task) in SIZES {
        while now < times {
            cluster.sql(&format!(
                "INSERT INTO grown SELECT id + {now} * {ROWS}, body, filler FROM grown LIMIT {}",
                ROWS * now.min(times - now)
            ))?;
            now += now.min(times - now);
        }
        cluster.sql("VACUUM ANALYZE grown")?;
        let bytes: f64 = cluster
            .sql("SELECT sum(pg_database_size(oid)) FROM pg_database")?
            .parse()
            .context("the size is no number")?;
        let alone = Contestant {
            name: super::OURS.into(),
            prepare: Some(Box::new(|_| {
                // The archiver first: it may still write to the repository that is to go.
                cluster.turn(Turn::Nobody)?;
                cluster.settle()?;
                ours.fresh()?;
                cluster.turn(Turn::Ours)?;
                Ok(ours.backup(&cluster.server))
            })),
            finish: Box::new(|_| ours.stored().map(Some)),
        };
        let series = contest(task, rounds, |_| Ok(()), vec![alone])?.pop().context("no series")?;
        sizes.push(Size { times, gigabytes: bytes / 1e9, series });
    }
    Ok(sizes)
}
