//! A restore into an empty directory, and one onto a directory with damage in one of a hundred pages. Both programs make
//! durable what they write. What they have restored is compared page by page: with each other, and with what it was
//! before the damage.

use super::Site;
use super::cluster::{Turn, sync};
use super::contest::{Contestant, Series, contest};
use super::pages::{Pages, damage};
use super::programs::{call, remove};
use anyhow::{Result, ensure};
use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

/// A program's command that restores into a directory, onto what lies there or not.
type Command<'a> = Box<dyn Fn(&Path, bool) -> Vec<String> + 'a>;

/// Restores into an empty directory, a new one each time: a file system looks long for an inode where many were removed
/// a moment ago. The last one of each program is for the delta restore.
pub(crate) fn into_empty(site: &Site) -> Result<Vec<Series>> {
    let contestants = programs(site)
        .into_iter()
        .map(|(name, folder, command)| {
            let last = site.rounds - 1;
            let to = move |round| match round {
                round if round == last => site.home.join(folder),
                _ => site.home.join(format!("{folder}-{round}")),
            };
            Contestant {
                name,
                prepare: command.map(|command| {
                    let prepare = move |round| {
                        let to = to(round);
                        empty(&to)?;
                        site.before_run(Turn::Ours)?;
                        Ok(command(&to, false))
                    };
                    Box::new(prepare) as super::contest::Prepare<'_>
                }),
                finish: Box::new(|_| Ok(None)),
            }
        })
        .collect();
    let series = contest("restore", site.rounds, |_| Ok(()), contestants)?;
    if site.peer.is_some() {
        let (ours, theirs) = (Pages::of(&site.home.join(OURS))?, Pages::of(&site.home.join(THEIRS))?);
        let differing = ours.differing(&theirs);
        eprintln!(
            "restored by both: {} pages in {} files, {differing} of them differ",
            ours.count(),
            ours.files()
        );
        // Two backups of an idle server: a few pages of catalogs and statistics may have been written between them.
        ensure!(differing * 1000 <= ours.count(), "{differing} restored pages differ between the programs");
    }
    Ok(series)
}

/// Damages the directories that were restored, and restores onto them.
pub(crate) fn onto_damaged(site: &Site) -> Result<Vec<Series>> {
    let mut contestants = Vec::new();
    for (name, folder, command) in programs(site) {
        let to = site.home.join(folder);
        let Some(command) = command else {
            contestants.push(super::absent());
            continue;
        };
        if !to.is_dir() {
            empty(&to)?;
            call(&command(&to, false))?;
        }
        let sound = Pages::of(&to)?;
        let damaged = to.clone();
        contestants.push(Contestant {
            name: name.clone(),
            prepare: Some(Box::new(move |round| {
                let pages = damage(&damaged, round)?;
                ensure!(pages > 0, "nothing was damaged");
                sync(&damaged)?;
                site.before_run(Turn::Ours)?;
                Ok(command(&damaged, true))
            })),
            finish: Box::new(move |_| {
                let wrong = Pages::of(&to)?.differing(&sound);
                ensure!(wrong == 0, "{wrong} pages are still wrong after {name}");
                Ok(None)
            }),
        });
    }
    contest("delta restore, 1 % damaged", site.rounds, |_| Ok(()), contestants)
}

/// Removes what was restored.
pub(crate) fn tidy(site: &Site) -> Result<()> {
    for entry in fs::read_dir(site.home)? {
        let entry = entry?;
        let name = entry.file_name();
        if [OURS, THEIRS].iter().any(|start| name.as_encoded_bytes().starts_with(start.as_bytes())) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

const OURS: &str = "restored-ours";
const THEIRS: &str = "restored-theirs";

fn programs<'a>(site: &'a Site) -> Vec<(String, &'static str, Option<Command<'a>>)> {
    let ours: Command<'_> = Box::new(|to, delta| site.ours.restore(to, delta));
    let theirs = site.peer.as_ref().map(|peer| {
        let command: Command<'_> = Box::new(|to, delta| peer.restore(to, delta));
        command
    });
    let name = site.peer.as_ref().map_or_else(|| super::PEER.into(), super::PgBackRest::name);
    vec![(super::OURS.into(), OURS, Some(ours)), (name, THEIRS, theirs)]
}

fn empty(to: &Path) -> Result<()> {
    remove(to)?;
    Ok(fs::DirBuilder::new().mode(0o700).create(to)?)
}
