//! `BASE_BACKUP`: the command, and the begin of its answer.
//!
//! Source: the manual's section "Streaming Replication Protocol". PostgreSQL 15 changed the command's grammar, and made one
//! stream of what were several.

use jiff::Timestamp;

use crate::error::{Error, ErrorKind, Result};
use crate::postgres::Tablespace;
use crate::postgres::lsn::Lsn;
use crate::postgres::replication::{Replication, Reply, Row};

/// What the server says before the first file.
#[derive(Debug, Clone)]
pub(super) struct Begun {
    pub(super) start: Lsn,
    pub(super) timeline: u32,
    /// When it said so, by our clock.
    pub(super) at: Timestamp,
    /// The archives in the order in which they come; the data directory's own is `None`.
    pub(super) archives: Vec<Option<Tablespace>>,
    /// Bytes that will come, as the server reckons.
    pub(super) expected_bytes: u64,
}

impl Begun {
    pub(super) fn tablespaces(&self) -> Vec<Tablespace> {
        self.archives.iter().flatten().cloned().collect()
    }
}

/// The command. Links of tablespaces are not asked for: they come in the list, where they may be of any length.
/// `changes` asks for what has changed since the manifest that was sent before.
pub(super) fn base_backup(
    version: u32,
    label: &str,
    fast: bool,
    bytes_per_second: Option<u64>,
    changes: bool,
) -> String {
    /// The bounds that the server sets, in kilobytes a second.
    const RATES: (u64, u64) = (32, 1 << 20);
    let label = label.replace('\'', "''");
    let rate = bytes_per_second.map(|bytes| bytes.div_ceil(1024).clamp(RATES.0, RATES.1));
    if version >= 150_000 {
        let checkpoint = if fast { "fast" } else { "spread" };
        let rate = rate.map(|rate| format!(", MAX_RATE {rate}")).unwrap_or_default();
        let changes = if changes { ", INCREMENTAL" } else { "" };
        format!(
            "BASE_BACKUP (LABEL '{label}', PROGRESS, CHECKPOINT '{checkpoint}', WAIT 0, TABLESPACE_MAP, \
             MANIFEST 'yes', MANIFEST_CHECKSUMS 'CRC32C'{rate}{changes})"
        )
    } else {
        let fast = if fast { " FAST" } else { "" };
        let rate = rate.map(|rate| format!(" MAX_RATE {rate}")).unwrap_or_default();
        format!(
            "BASE_BACKUP LABEL '{label}' PROGRESS{fast} NOWAIT{rate} TABLESPACE_MAP MANIFEST 'yes' \
             MANIFEST_CHECKSUMS 'CRC32C'"
        )
    }
}

/// Sends the command, and reads up to the first data. Where the checkpoint is not made at once, this takes minutes.
pub(super) async fn begin(replication: &mut Replication, command: &str) -> Result<Begun> {
    let sets = async {
        replication.begin(command).await?;
        let mut sets: Vec<Vec<Row>> = Vec::new();
        loop {
            match replication.next().await? {
                Reply::Columns(_) => sets.push(Vec::new()),
                Reply::Row(row) => sets.last_mut().ok_or_else(unexpected)?.push(row),
                Reply::Complete(_) => {}
                Reply::CopyOut => return Ok(sets),
                _ => return Err(unexpected()),
            }
        }
    };
    let sets: Result<Vec<Vec<Row>>> = sets.await;
    let sets = sets.map_err(|error| match error.kind() {
        ErrorKind::Corrupt => error,
        kind => Error::new(kind, "cannot start the backup on the server").with_source(error),
    })?;
    let [positions, archives] = &sets[..] else { return Err(unexpected()) };
    let (start, timeline) = position(positions.first().ok_or_else(unexpected)?)?;
    let mut expected_bytes = 0_u64;
    let mut read = Vec::new();
    for row in archives {
        let (archive, kilobytes) = archive(row)?;
        expected_bytes = expected_bytes.saturating_add(kilobytes.saturating_mul(1024));
        read.push(archive);
    }
    if read.iter().filter(|archive| archive.is_none()).count() != 1 {
        return Err(unexpected());
    }
    Ok(Begun { start, timeline, at: Timestamp::now(), archives: read, expected_bytes })
}

/// A position and its timeline, as the first and the last set of rows have them.
pub(super) fn position(row: &Row) -> Result<(Lsn, u32)> {
    let [Some(lsn), Some(timeline)] = &row[..] else { return Err(unexpected()) };
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_| unexpected());
    let lsn = text(lsn)?.parse().map_err(Error::corrupt)?;
    Ok((lsn, text(timeline)?.parse().map_err(|_| unexpected())?))
}

fn archive(row: &Row) -> Result<(Option<Tablespace>, u64)> {
    let [oid, location, size] = &row[..] else { return Err(unexpected()) };
    let text = |value: &Option<bytes::Bytes>| {
        let text = value.as_ref().map(|bytes| std::str::from_utf8(bytes).map(str::to_owned));
        text.transpose().map_err(|_| unexpected())
    };
    let size = text(size)?.and_then(|size| size.parse().ok()).unwrap_or(0);
    let (Some(oid), Some(location)) = (text(oid)?, text(location)?) else { return Ok((None, size)) };
    let oid = oid.parse().map_err(|_| unexpected())?;
    if !location.starts_with('/') {
        let message = format!("tablespace {oid} lies inside the data directory, at {location:?}");
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    Ok((Some(Tablespace { oid, location: location.into() }), size))
}

pub(super) fn unexpected() -> Error {
    Error::corrupt("the server answers BASE_BACKUP with what no known version sends")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_that_of_the_version() {
        assert_eq!(
            base_backup(150_006, "it's", true, Some(5_000_000), false),
            "BASE_BACKUP (LABEL 'it''s', PROGRESS, CHECKPOINT 'fast', WAIT 0, TABLESPACE_MAP, MANIFEST 'yes', \
             MANIFEST_CHECKSUMS 'CRC32C', MAX_RATE 4883)"
        );
        assert_eq!(
            base_backup(140_010, "x", false, Some(1), false),
            "BASE_BACKUP LABEL 'x' PROGRESS NOWAIT MAX_RATE 32 TABLESPACE_MAP MANIFEST 'yes' MANIFEST_CHECKSUMS 'CRC32C'"
        );
        assert!(!base_backup(180_000, "x", true, None, false).contains("MAX_RATE"));
        assert!(base_backup(180_000, "x", true, None, true).ends_with("'CRC32C', INCREMENTAL)"));
        assert!(
            base_backup(140_000, "x", true, Some(u64::MAX), false).contains("FAST NOWAIT MAX_RATE 1048576")
        );
    }

    #[test]
    fn what_a_tablespace_is_must_be_said_whole() {
        let row =
            |fields: [Option<&'static str>; 3]| fields.map(|field| field.map(bytes::Bytes::from)).to_vec();
        let (base, size) = archive(&row([None, None, Some("77")])).unwrap();
        assert_eq!((base, size), (None, 77));
        let (tablespace, _) = archive(&row([Some("16400"), Some("/fast"), None])).unwrap();
        assert_eq!(tablespace, Some(Tablespace { oid: 16400, location: "/fast".into() }));
        assert!(archive(&row([Some("16400"), Some("pg_tblspc/16400"), None])).is_err());
        assert!(archive(&row([Some("x"), Some("/fast"), None])).is_err());
    }
}
