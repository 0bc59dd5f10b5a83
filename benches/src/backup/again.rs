//! A second backup: after one in a hundred pages was updated at random, and after nothing at all.

use super::Site;
use super::cluster::Turn;
use super::contest::{Contestant, Series, contest};
use super::pages::Pages;
use super::programs::Kind;
use anyhow::Result;
use std::cell::Cell;
use std::rc::Rc;

/// What was updated before each round.
#[derive(Debug)]
pub(crate) struct Updates {
    /// Share of pages that really changed, indexes and all.
    pub(crate) share: Vec<f64>,
    /// What they compress to, in MB.
    pub(crate) compressed: Vec<f64>,
    /// All relation files, in MB.
    pub(crate) data: f64,
}

/// Updates before each round, and backs up with each program.
pub(crate) fn after_updates(site: &Site) -> Result<(Vec<Series>, Updates)> {
    let data = site.cluster.server.data_dir();
    let mut pages = Pages::of(data)?;
    let mut updates =
        Updates { share: Vec::new(), compressed: Vec::new(), data: pages.count() as f64 * 8192.0 / 1e6 };
    let update = |round| {
        site.cluster.turn(Turn::Ours)?;
        site.cluster.update_some(round + 1)?;
        site.cluster.settle()?;
        let changed = pages.update(data)?;
        updates.share.push(changed.pages as f64 / changed.of as f64);
        updates.compressed.push(changed.compressed as f64 / 1e6);
        Ok(())
    };
    let series = contest("backup, 1 % updated", site.rounds, update, both(site))?;
    Ok((series, updates))
}

/// Backs up again and again.
pub(crate) fn unchanged(site: &Site) -> Result<Vec<Series>> {
    contest("backup, unchanged", site.rounds, |_| Ok(()), both(site))
}

/// Each program adds to the repository that it has.
fn both<'a>(site: &'a Site<'a>) -> Vec<Contestant<'a>> {
    let ours = adds(
        site,
        super::OURS.into(),
        Turn::Ours,
        || site.ours.stored(),
        || site.ours.backup(&site.cluster.server),
    );
    let Some(peer) = &site.peer else { return vec![ours, super::absent()] };
    let theirs = adds(site, peer.name(), Turn::Peer, || peer.stored(), || peer.backup(Kind::Incremental));
    vec![ours, theirs]
}

/// A program whose stored bytes are what a run has added.
fn adds<'a>(
    site: &'a Site<'a>,
    name: String,
    turn: Turn,
    stored: impl Fn() -> Result<u64> + Copy + 'a,
    command: impl Fn() -> Vec<String> + 'a,
) -> Contestant<'a> {
    let before = Rc::new(Cell::new(0));
    let noted = Rc::clone(&before);
    Contestant {
        name,
        prepare: Some(Box::new(move |_| {
            site.before_run(turn)?;
            noted.set(stored()?);
            Ok(command())
        })),
        finish: Box::new(move |_| Ok(Some(stored()?.saturating_sub(before.get())))),
    }
}
