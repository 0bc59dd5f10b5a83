//! A full backup over the network: ours, encrypted and stored, beside `pg_basebackup` that writes nowhere.
//!
//! Both read the same server through the same port of the loopback. What `pg_basebackup` sends is thrown away; ours is
//! checked, hashed, compressed, encrypted, and durable in a folder on the file system of the data.

use super::cluster::{Cluster, Turn};
use super::contest::{Contestant, Prepare, Series, contest};
use super::programs::{Ours, remove, words};
use crate::Args;
use anyhow::Result;
use std::path::Path;

/// The peer's name.
pub(crate) const NOWHERE: &str = "pg_basebackup -Ft > /dev/null";

/// Runs it on a cluster of its own, whose WAL goes into the encrypted repository.
pub(crate) fn run(args: &Args, rounds: usize) -> Result<Vec<Series>> {
    let home = args.home.join("remote");
    std::fs::create_dir(&home)?;
    std::os::unix::fs::symlink(args.home.join("bin"), home.join("bin"))?;
    let ours = Ours::encrypted(&home, "ours")?;
    ours.fresh()?;
    let scale = args.scale.unwrap_or(super::SCALE);
    let cluster = Cluster::start(&home, args.cache.as_deref(), scale, &ours, None)?;
    let contestants = vec![
        over_network(&cluster, &ours, "zstd:3"),
        over_network(&cluster, &ours, "lz4"),
        nowhere(&cluster, &args.postgres_bin),
    ];
    let series = contest("backup over the network", rounds, |_| Ok(()), contestants)?;
    drop(cluster);
    remove(&home)?;
    Ok(series)
}

fn over_network<'a>(cluster: &'a Cluster, ours: &'a Ours, compression: &'static str) -> Contestant<'a> {
    let prepare = move |_| {
        cluster.turn(Turn::Ours)?;
        cluster.settle()?;
        ours.fresh()?;
        Ok(ours.remote(&cluster.server, compression))
    };
    Contestant {
        name: format!("{} --remote, {compression}, encrypted", super::OURS),
        prepare: Some(Box::new(prepare)),
        finish: Box::new(|_| ours.stored().map(Some)),
    }
}

fn nowhere<'a>(cluster: &'a Cluster, postgres_bin: &Path) -> Contestant<'a> {
    let program = postgres_bin.join("pg_basebackup");
    let prepare: Prepare<'a> = Box::new(move |_| {
        cluster.turn(Turn::Ours)?;
        cluster.settle()?;
        let line = format!(
            "exec {} -d '{}' -Ft -D - -X none -c fast > /dev/null",
            program.display(),
            cluster.server.url()
        );
        Ok(words(&["sh", "-c", &line]))
    });
    Contestant { name: NOWHERE.into(), prepare: Some(prepare), finish: Box::new(|_| Ok(None)) }
}
