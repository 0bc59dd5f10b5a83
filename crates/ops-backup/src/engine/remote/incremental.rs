//! The server's incremental mode: whether it is used, and the manifest of the base, by which the server knows what it need
//! not send.
//!
//! The server says which pages have changed by its summaries of the WAL since the base began (`summarize_wal`, PostgreSQL
//! 17). What it does not send comes from the base, so that the backup is as complete as any other, and restores alone.
//!
//! Rules, all of them towards reading everything:
//! - The base and the server are on the same timeline. A standby may have summarized WAL that its promotion left behind,
//!   and servers without the fix of that (`FilterWalSummaries`, after 17.11 and 18.6) then leave out pages that changed.
//!   Within one timeline no such summary is asked for.
//! - The base was taken from a server of the same role, because a standby lacks hints that its primary has.
//! - The base is neither known to be damaged nor has bad pages, and its pages carry checksums if the server's do.
//! - After some days everything is read again, and compared with what the line of changes holds: see [`super::audit`].

use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use jiff::{SignedDuration, Timestamp};

use crate::engine::remote::PageFormat;
use crate::engine::remote::command::unexpected;
use crate::error::{Error, Result};
use crate::postgres::manifest::ManifestWriter;
use crate::postgres::replication::{Replication, Reply};
use crate::repo::Repository;
use crate::repo::catalog::{Backup, Incremental, Origin, PostgresBackup};
use crate::repo::content::{BLOCK, Entry};
use crate::repo::pack::PackTable;

/// Whether the server is asked for what has changed since the base alone (PostgreSQL 17 and later, `summarize_wal = on`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IncrementalUse {
    /// Where it can be; otherwise the server sends everything, and the log says why.
    #[default]
    Auto,
    /// The server always sends everything.
    Never,
    /// The backup fails where it cannot be.
    Require,
}

/// The first version that can.
pub(super) const FIRST_VERSION: u32 = 170_000;
/// Listings that are read ahead.
const AHEAD: usize = 4;
/// Bytes of the manifest that are sent at once.
const CHUNK: usize = 64 << 10;

/// What is known of the server.
#[derive(Debug, Clone, Copy)]
pub(super) struct Server {
    pub(super) major: u32,
    pub(super) timeline: u32,
    pub(super) origin: Origin,
    pub(super) pages: PageFormat,
    pub(super) summarizes: bool,
}

/// Returns the reason for which the changes since `base` are not enough at `now`; `None` where they are.
pub(super) fn why_not(
    server: Server,
    base: &Backup,
    now: Timestamp,
    whole_after: Duration,
) -> Option<String> {
    let Backup { id, bad_pages, .. } = base;
    let Some(facts) = base.postgres() else { return Some(format!("{id} is no backup of a server")) };
    let page = server.pages.size as usize;
    if !server.summarizes {
        return Some("the server has summarize_wal off".to_owned());
    }
    if facts.cluster.major != server.major {
        return Some(format!("{id} is of PostgreSQL {}", facts.cluster.major));
    }
    if facts.timeline != server.timeline {
        let (was, is) = (facts.timeline, server.timeline);
        return Some(format!("the server is on timeline {is}, and {id} was taken on {was}"));
    }
    if is_standby(facts.origin) != is_standby(server.origin) {
        let role = if is_standby(facts.origin) { "a standby" } else { "the primary" };
        return Some(format!("{id} was taken from {role}"));
    }
    if *bad_pages > 0 {
        return Some(format!("{id} has bad pages"));
    }
    if facts.page_checksums != server.pages.checksums {
        return Some("page checksums have been switched on or off".to_owned());
    }
    if !BLOCK.is_multiple_of(page) {
        return Some(format!("pages of {page} bytes are larger than the blocks of the repository"));
    }
    let (whole, whole_at) = match &facts.incremental {
        Some(line) => (&line.whole, line.whole_at),
        None => (id, base.started_at),
    };
    let age = now.duration_since(whole_at);
    let longest = SignedDuration::try_from(whole_after).unwrap_or(SignedDuration::MAX);
    if age >= longest || age.is_negative() {
        return Some(format!("the last backup that was read whole, {whole}, is of {whole_at}"));
    }
    None
}

fn is_standby(origin: Origin) -> bool {
    matches!(origin, Origin::StandbyFiles | Origin::StandbyNetwork)
}

/// Returns the place of a backup in the line that `base`, with these facts, belongs to.
pub(super) fn next(base: &Backup, facts: &PostgresBackup) -> Incremental {
    match &facts.incremental {
        Some(line) => Incremental { step: line.step.saturating_add(1), ..line.clone() },
        None => Incremental { whole: base.id.clone(), whole_at: base.started_at, step: 1 },
    }
}

/// Sends the server the manifest of `base`, made of its listings as it is sent.
///
/// # Errors
/// `NotFound` and `Corrupt` where a listing cannot be read, and what the server refuses.
#[tracing::instrument(skip_all, fields(base = base.id))]
pub(super) async fn upload_manifest(
    replication: &mut Replication,
    repository: &Repository,
    base: &Backup,
    facts: &PostgresBackup,
) -> Result<()> {
    let packs = PackTable::default();
    let manifest = repository.read_manifest(&base.id, Some(&base.manifest), &packs).await?;
    replication.begin("UPLOAD_MANIFEST").await?;
    if replication.next().await? != Reply::CopyIn {
        return Err(unexpected());
    }
    let frames: Vec<_> = manifest.listings.iter().map(|listing| listing.frame).collect();
    let mut listings =
        stream::iter(frames).map(|frame| repository.read_listing(frame, &packs)).buffered(AHEAD);
    let cluster = facts.cluster;
    let in_memory = |error| Error::io("write a manifest into memory", error);
    let mut writer =
        ManifestWriter::new(Vec::new(), cluster.major, cluster.system_identifier).map_err(in_memory)?;
    while let Some(listing) = listings.next().await {
        for entry in listing?.entries {
            let Entry::File(file) = entry else { continue };
            let modified = Timestamp::from_nanosecond(file.modified.into()).unwrap_or(Timestamp::UNIX_EPOCH);
            writer.file(&file.path, file.size, modified, file.crc32c).map_err(in_memory)?;
        }
        if writer.out().len() >= CHUNK {
            replication.send_data(writer.out()).await?;
            writer.out().clear();
        }
    }
    let rest = writer.finish(facts.timeline, facts.start_lsn, facts.stop_lsn).map_err(in_memory)?;
    replication.send_data(&rest).await?;
    replication.send_data(&[]).await?;
    loop {
        match replication.next().await? {
            Reply::Complete(_) => {}
            Reply::Ready => return Ok(()),
            _ => return Err(unexpected()),
        }
    }
}

/// Returns `backup_label` as it is for a backup that was read whole: with these lines no server starts from it.
pub(super) fn label_of_whole(label: &[u8]) -> Vec<u8> {
    let lines = label.split_inclusive(|byte| *byte == b'\n');
    lines.filter(|line| !line.starts_with(b"INCREMENTAL FROM ")).flatten().copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::lsn::{Lsn, SystemIdentifier};
    use crate::postgres::segment::{Cluster, SegmentSize};
    use crate::repo::catalog::BackupSource;
    use crate::repo::fake;

    const DAY: Duration = Duration::from_secs(86_400);

    fn base(change: impl FnOnce(&mut PostgresBackup)) -> Backup {
        let at: Timestamp = "2026-11-01T00:00:00Z".parse().unwrap();
        let size = SegmentSize::new(16 << 20).unwrap();
        let cluster = Cluster { system_identifier: SystemIdentifier(7), major: 17, segment_size: size };
        let mut facts = PostgresBackup {
            cluster,
            server_version: 170_011,
            catalog_version: 1,
            timeline: 2,
            start_lsn: Lsn(40),
            stop_lsn: Lsn(400),
            start_time: at,
            stop_time: at,
            page_checksums: true,
            tablespaces: Vec::new(),
            databases: Vec::new(),
            origin: Origin::PrimaryNetwork,
            incremental: None,
            audit: None,
        };
        change(&mut facts);
        Backup { started_at: at, source: BackupSource::Postgres(facts), ..fake::backup("b1") }
    }

    #[test]
    fn everything_is_read_where_changes_may_not_be_enough() {
        let pages = PageFormat { size: 8192, blocks_per_file: 131_072, checksums: true };
        let origin = Origin::PrimaryNetwork;
        let server = Server { major: 17, timeline: 2, origin, pages, summarizes: true };
        let line = |at: &str| Incremental { whole: "b0".to_owned(), whole_at: at.parse().unwrap(), step: 3 };
        let same = base(|_| {});
        let later: Timestamp = "2026-11-02T00:00:00Z".parse().unwrap();
        let check = |server: Server, base: &Backup, days: u32, expected: Option<&str>| {
            let reason = why_not(server, base, later, DAY * days);
            match (&reason, expected) {
                (None, None) => {}
                (Some(reason), Some(part)) if reason.contains(part) => {}
                _ => panic!("{reason:?}, expected {expected:?}"),
            }
        };
        check(server, &same, 7, None);
        check(server, &same, 1, Some("b1, is of 2026-11-01"));
        check(Server { summarizes: false, ..server }, &same, 7, Some("summarize_wal off"));
        check(Server { major: 18, ..server }, &same, 7, Some("of PostgreSQL 17"));
        check(Server { timeline: 3, ..server }, &same, 7, Some("on timeline 3, and b1 was taken on 2"));
        check(Server { origin: Origin::StandbyNetwork, ..server }, &same, 7, Some("taken from the primary"));
        check(server, &base(|facts| facts.origin = Origin::StandbyFiles), 7, Some("taken from a standby"));
        check(server, &base(|facts| facts.origin = Origin::PrimaryFiles), 7, None);
        check(server, &Backup { bad_pages: 1, ..same.clone() }, 7, Some("bad pages"));
        let bare = PageFormat { checksums: false, ..pages };
        check(Server { pages: bare, ..server }, &same, 7, Some("checksums"));
        check(server, &base(|facts| facts.page_checksums = false), 7, Some("checksums"));
        let large = PageFormat { size: 32_768, ..pages };
        check(Server { pages: large, ..server }, &same, 7, Some("larger"));
        let of_line = |at: &str| {
            let line = line(at);
            base(|facts| facts.incremental = Some(line))
        };
        check(server, &of_line("2026-10-27T00:00:00Z"), 7, None);
        check(server, &of_line("2026-10-26T00:00:00Z"), 7, Some("b0, is of 2026-10-26"));
        check(server, &of_line("2026-11-03T00:00:00Z"), 7, Some("b0"));
        let facts = |backup: &Backup| next(backup, backup.postgres().unwrap());
        assert_eq!(facts(&same), Incremental { whole: "b1".to_owned(), whole_at: same.started_at, step: 1 });
        assert_eq!(facts(&of_line("2026-10-27T00:00:00Z")).step, 4);
    }

    #[test]
    fn the_label_says_no_more_that_the_backup_is_one_of_changes() {
        let label =
            b"START WAL LOCATION: 0/4000028\nINCREMENTAL FROM LSN: 0/2000028\nINCREMENTAL FROM TLI: 1\nEND\n";
        assert_eq!(label_of_whole(label), b"START WAL LOCATION: 0/4000028\nEND\n");
    }
}
