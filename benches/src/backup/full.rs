//! A full backup into an empty repository: ours, pgBackRest, `pg_basebackup`, and a tar through zstd as the limit.

use super::Site;
use super::cluster::{Turn, sync};
use super::contest::{Contestant, Finish, Series, contest};
use super::pages::size;
use super::programs::{Kind, base_backup, remove, tar_zstd};
use anyhow::Result;
use std::path::PathBuf;

/// The limit's name.
pub(crate) const LIMIT: &str = "tar | zstd -T2 -3";

/// Runs it.
pub(crate) fn run(site: &Site) -> Result<Vec<Series>> {
    let mut contestants = both(site);
    let server = &site.cluster.server;
    let base = site.home.join("base");
    let to = base.clone();
    contestants.push(Contestant {
        name: "pg_basebackup -Ft, server-zstd:3".into(),
        prepare: Some(Box::new(move |_| {
            site.before_run(Turn::Ours)?;
            Ok(base_backup(site.postgres_bin, server, &to))
        })),
        finish: measured_and_removed(base),
    });
    let limit = site.home.join("limit");
    let file = limit.join("data.tar.zst");
    let command = tar_zstd(server.data_dir(), &file);
    let folder = limit.clone();
    contestants.push(Contestant {
        name: LIMIT.into(),
        prepare: command.map(|command| {
            let prepare = move |_| {
                site.before_run(Turn::Ours)?;
                std::fs::create_dir_all(&folder)?;
                Ok(command.clone())
            };
            Box::new(prepare) as super::contest::Prepare<'_>
        }),
        finish: measured_and_removed(limit),
    });
    contest("full backup", site.rounds, |_| Ok(()), contestants)
}

/// A cluster of more than 100,000 files: orphans, each a copy of a page that the server wrote.
pub(crate) fn many_files(site: &Site, rounds: usize) -> Result<Vec<Series>> {
    let data = site.cluster.server.data_dir();
    let files = super::pages::relation_files(data)?;
    let small: Vec<&PathBuf> = files
        .iter()
        .filter(|file| data.join(file).metadata().is_ok_and(|meta| meta.len() == 8192))
        .take(1_000)
        .collect();
    anyhow::ensure!(!small.is_empty(), "there is no relation of one page");
    let folder = data.join("base/5");
    anyhow::ensure!(folder.is_dir(), "{} is missing", folder.display());
    for number in files.len()..FILES {
        // Far above the numbers that a new cluster has given out.
        let name = (3_000_000_000 + number).to_string();
        std::fs::copy(data.join(small[number % small.len()]), folder.join(name))?;
    }
    sync(data)?;
    contest("full backup of 100,000 files", rounds, |_| Ok(()), both(site))
}

/// How many relation files there are then.
const FILES: usize = 100_000;

/// Ours and pgBackRest, each into an empty repository.
fn both<'a>(site: &'a Site<'a>) -> Vec<Contestant<'a>> {
    let ours = Contestant {
        name: super::OURS.into(),
        prepare: Some(Box::new(|_| {
            site.before_run(Turn::Ours)?;
            site.ours.fresh()?;
            Ok(site.ours.backup(&site.cluster.server))
        })),
        finish: Box::new(|_| site.ours.stored().map(Some)),
    };
    let Some(peer) = &site.peer else { return vec![ours, super::absent()] };
    let theirs = Contestant {
        name: peer.name(),
        prepare: Some(Box::new(|_| {
            site.before_run(Turn::Peer)?;
            peer.fresh()?;
            Ok(peer.backup(Kind::Full))
        })),
        finish: Box::new(|_| peer.stored().map(Some)),
    };
    vec![ours, theirs]
}

fn measured_and_removed<'a>(folder: PathBuf) -> Finish<'a> {
    Box::new(move |_| {
        let stored = size(&folder, &[])?;
        remove(&folder)?;
        Ok(Some(stored))
    })
}
