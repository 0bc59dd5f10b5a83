//! `BASE_BACKUP`: the command, and the begin of its answer.
//!
//! Source: the manual's section "Streaming Replication Protocol". PostgreSQL 15 changed the command's grammar, and made one
//! stream of what were several.

use jiff::Timestamp;

use crate::engine::remote::wire::is_unknown;
use crate::error::{Error, ErrorKind, Result};
use crate::postgres::Tablespace;
use crate::postgres::inflate::Method;
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
    /// How the archives are compressed.
    pub(super) compression: Option<Method>,
}

impl Begun {
    pub(super) fn tablespaces(&self) -> Vec<Tablespace> {
        self.archives.iter().flatten().cloned().collect()
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct BaseBackup<'a> {
    /// Of the server.
    pub(super) version: u32,
    pub(super) label: &'a str,
    /// Whether the checkpoint is made at once.
    pub(super) fast: bool,
    pub(super) bytes_per_second: Option<u64>,
    /// What has changed since the manifest that was sent before, and no more.
    pub(super) changes: bool,
    /// From PostgreSQL 15 on.
    pub(super) compression: Option<Method>,
}

impl BaseBackup<'_> {
    /// Returns the command. Links of tablespaces are not asked for: they come in the list, where they may be of any length.
    fn text(self) -> String {
        /// The bounds that the server sets, in kilobytes a second.
        const RATES: (u64, u64) = (32, 1 << 20);
        let BaseBackup { fast, changes, compression, .. } = self;
        let label = self.label.replace('\'', "''");
        let rate = self.bytes_per_second.map(|bytes| bytes.div_ceil(1024).clamp(RATES.0, RATES.1));
        if self.version >= 150_000 {
            let checkpoint = if fast { "fast" } else { "spread" };
            let rate = rate.map(|rate| format!(", MAX_RATE {rate}")).unwrap_or_default();
            // The lowest level: the server has other work.
            let compression = compression
                .map(|method| format!(", COMPRESSION '{}', COMPRESSION_DETAIL 'level=1'", method.name()));
            let compression = compression.unwrap_or_default();
            let changes = if changes { ", INCREMENTAL" } else { "" };
            format!(
                "BASE_BACKUP (LABEL '{label}', PROGRESS, CHECKPOINT '{checkpoint}', WAIT 0, TABLESPACE_MAP, \
                 MANIFEST 'yes', MANIFEST_CHECKSUMS 'CRC32C'{rate}{compression}{changes})"
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
}

/// Begins in the first way to compress that the server knows, of which there is at least one. The manifest of a base that was
/// sent stays with the session.
pub(super) async fn begin_in_one_of(
    replication: &mut Replication,
    command: BaseBackup<'_>,
    ways: &[Option<Method>],
) -> Result<Begun> {
    let mut left = ways.iter();
    loop {
        let compression = left.next().copied().flatten();
        match begin(replication, BaseBackup { compression, ..command }).await {
            Err(error) if !left.as_slice().is_empty() && is_unknown(&error) => {
                tracing::debug!(%error, "the server cannot compress so");
                replication.after_refusal().await;
            }
            begun => return begun,
        }
    }
}

/// Sends the command, and reads up to the first data. Where the checkpoint is not made at once, this takes minutes.
async fn begin(replication: &mut Replication, command: BaseBackup<'_>) -> Result<Begun> {
    let sets = async {
        replication.begin(&command.text()).await?;
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
    let BaseBackup { compression, .. } = command;
    Ok(Begun { start, timeline, at: Timestamp::now(), archives: read, expected_bytes, compression })
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
    use ops_core::connection::ConnectionSettings;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn the_command_is_that_of_the_version() {
        let fast = |version| BaseBackup {
            version,
            label: "x",
            fast: true,
            bytes_per_second: None,
            changes: false,
            compression: None,
        };
        let slow = BaseBackup { label: "it's", bytes_per_second: Some(5_000_000), ..fast(150_006) };
        assert_eq!(
            slow.text(),
            "BASE_BACKUP (LABEL 'it''s', PROGRESS, CHECKPOINT 'fast', WAIT 0, TABLESPACE_MAP, MANIFEST 'yes', \
             MANIFEST_CHECKSUMS 'CRC32C', MAX_RATE 4883)"
        );
        assert_eq!(
            BaseBackup { fast: false, bytes_per_second: Some(1), ..fast(140_010) }.text(),
            "BASE_BACKUP LABEL 'x' PROGRESS NOWAIT MAX_RATE 32 TABLESPACE_MAP MANIFEST 'yes' MANIFEST_CHECKSUMS 'CRC32C'"
        );
        assert!(!fast(180_000).text().contains("MAX_RATE"));
        let changes = BaseBackup { changes: true, ..fast(180_000) };
        assert!(changes.text().ends_with("'CRC32C', INCREMENTAL)"));
        let packed = BaseBackup { compression: Some(Method::Zstd), ..changes };
        assert!(packed.text().ends_with(", COMPRESSION 'zstd', COMPRESSION_DETAIL 'level=1', INCREMENTAL)"));
        let unbounded = BaseBackup { bytes_per_second: Some(u64::MAX), ..fast(140_000) };
        assert!(unbounded.text().contains("FAST NOWAIT MAX_RATE 1048576"));
    }

    /// Passes everything on, and garbles the names of the ways to compress, so that the server knows fewer of them.
    async fn garbles(to: u16, names: &'static [&'static str]) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut server = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
            let (mut from_client, mut to_client) = client.split();
            let (mut from_server, mut to_server) = server.split();
            let up = async {
                let mut buffer = vec![0; 64 << 10];
                while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
                    for name in names.iter().map(|name| format!("'{name}'")) {
                        let found =
                            buffer[..read].windows(name.len()).position(|bytes| bytes == name.as_bytes());
                        if let Some(at) = found {
                            buffer[at + 1] = b'q';
                        }
                    }
                    to_server.write_all(&buffer[..read]).await.unwrap();
                }
            };
            let down = tokio::io::copy(&mut from_server, &mut to_client);
            _ = tokio::join!(up, down);
        });
        port
    }

    #[tokio::test]
    async fn a_way_that_the_server_does_not_know_gives_way_to_the_next() {
        for major in ops_testkit::installed_majors().into_iter().filter(|major| *major >= 15) {
            let server = ops_testkit::Postgres::builder().major(major).unwrap().start().unwrap();
            let ways = [Some(Method::Zstd), Some(Method::Lz4), None];
            let cases: [(&[&str], _); 3] =
                [(&[], ways[0]), (&["zstd"], ways[1]), (&["zstd", "lz4"], ways[2])];
            for (unknown, expected) in cases {
                let port = garbles(server.port(), unknown).await;
                let url = server.url().replace(&format!(":{}/", server.port()), &format!(":{port}/"));
                let settings = ConnectionSettings::parse(&url).unwrap();
                let mut replication = Replication::connect(&settings).await.unwrap();
                let command = BaseBackup {
                    version: replication.version(),
                    label: "x",
                    fast: true,
                    bytes_per_second: None,
                    changes: false,
                    compression: None,
                };
                let begun = begin_in_one_of(&mut replication, command, &ways).await.unwrap();
                assert_eq!(begun.compression, expected, "{major} without {unknown:?}");
            }
        }
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
