//! What the server sends: archives, its manifest, and the position of the end.
//!
//! Up to PostgreSQL 14 each archive, and the manifest behind them, is a copy stream of its own; from 15 on there is one, and
//! the first byte of each message says what it is.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::{Buf as _, Bytes};
use jiff::{SignedDuration, Timestamp};

use crate::engine::postgres::reader::{self, SentFiles};
use crate::engine::remote::PageFormat;
use crate::engine::remote::changes::Changing;
use crate::engine::remote::command::{Begun, position, unexpected};
use crate::engine::remote::incremental;
use crate::engine::{Arrival, Arrivals, Facts, Inspector, Kind};
use crate::error::{Error, ErrorKind, Result};
use crate::postgres::inflate::{Inflate, Method};
use crate::postgres::lsn::Lsn;
use crate::postgres::replication::{Replication, Reply, sqlstate};
use crate::postgres::sent_manifest::{ManifestReader, Merged, SentManifest};
use crate::postgres::tar::{self, EntryKind, TarReader};
use crate::postgres::{control, files};

/// What is known once everything has come.
pub(super) struct Ended {
    pub(super) stop: Lsn,
    pub(super) timeline: u32,
    pub(super) label: Vec<u8>,
    pub(super) control: Vec<u8>,
    /// Without the files that were left out.
    pub(super) manifest: SentManifest,
    /// How much the server's clock is ahead of ours, within a second or two.
    pub(super) clock_ahead: SignedDuration,
    /// The server found pages with a wrong checksum.
    pub(super) is_damaged: bool,
}

/// Reads the stream.
pub(super) struct Sent {
    replication: Replication,
    begun: Begun,
    inspector: Arc<SentFiles>,
    ended: Arc<Mutex<Option<Ended>>>,
    /// Archives that have begun.
    archives: usize,
    now: Now,
    /// Where the content of the last entry goes.
    content: Content,
    /// Items that come before what is read next.
    ready: VecDeque<Arrival>,
    label: Vec<u8>,
    control: Vec<u8>,
    left_out: Vec<String>,
    /// How the pages are, where the server sends changes.
    changes: Option<PageFormat>,
    changing: Option<Changing>,
    merged: Vec<Merged>,
    manifest: Option<ManifestReader>,
    end: Option<(Lsn, u32)>,
    clock_ahead: SignedDuration,
    /// As it came.
    sent_bytes: u64,
}

/// What the data belong to.
enum Now {
    Nothing,
    Archive {
        /// What comes before each path: nothing, or `pg_tblspc/<oid>/`.
        prefix: String,
        /// Where it comes compressed.
        inflate: Option<Inflate>,
        tar: TarReader,
    },
    Manifest,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Content {
    Stored,
    Changes,
    Label,
    Control,
    LeftOut,
}

/// The label and `pg_control` are much smaller.
const LARGEST_KEPT: usize = 64 << 10;
/// The SQLSTATE with which the server ends a backup in which it found damaged pages, when everything is sent.
const DATA_CORRUPTED: &str = "XX001";

impl Sent {
    /// Takes over where [`super::command::begin`] ended: at the first data.
    pub(super) fn new(
        replication: Replication,
        begun: Begun,
        inspector: Arc<SentFiles>,
        ended: Arc<Mutex<Option<Ended>>>,
        changes: Option<PageFormat>,
    ) -> Result<Self> {
        let mut sent = Sent {
            replication,
            begun,
            inspector,
            ended,
            archives: 0,
            now: Now::Nothing,
            content: Content::LeftOut,
            ready: VecDeque::new(),
            label: Vec::new(),
            control: Vec::new(),
            left_out: Vec::new(),
            changes,
            changing: None,
            merged: Vec::new(),
            manifest: None,
            end: None,
            clock_ahead: SignedDuration::ZERO,
            sent_bytes: 0,
        };
        if !sent.is_one_stream() {
            sent.next_stream()?;
        }
        Ok(sent)
    }

    fn is_one_stream(&self) -> bool {
        self.replication.version() >= 150_000
    }

    /// Up to PostgreSQL 14: the archives come in the order of the list, then the manifest.
    fn next_stream(&mut self) -> Result<()> {
        match self.begun.archives.get(self.archives).cloned() {
            Some(tablespace) => self.archive(tablespace.map(|tablespace| tablespace.oid)),
            None => self.begin_manifest(),
        }
    }

    fn archive(&mut self, tablespace: Option<u32>) -> Result<()> {
        self.end_part()?;
        self.archives += 1;
        let prefix = tablespace.map(|oid| format!("pg_tblspc/{oid}/")).unwrap_or_default();
        let inflate = self.begun.compression.map(Inflate::new).transpose()?;
        self.now = Now::Archive { prefix, inflate, tar: TarReader::default() };
        Ok(())
    }

    fn begin_manifest(&mut self) -> Result<()> {
        self.end_part()?;
        if self.manifest.replace(ManifestReader::default()).is_some() {
            return Err(unexpected());
        }
        self.now = Now::Manifest;
        Ok(())
    }

    fn end_part(&mut self) -> Result<()> {
        self.end_changes()?;
        match std::mem::replace(&mut self.now, Now::Nothing) {
            Now::Archive { inflate, tar, .. } => {
                inflate.as_ref().map_or(Ok(()), Inflate::end)?;
                tar.end()
            }
            Now::Nothing | Now::Manifest => Ok(()),
        }
    }

    fn end_changes(&mut self) -> Result<()> {
        if let Some(changing) = self.changing.take() {
            self.merged.push(changing.end()?);
        }
        Ok(())
    }

    fn data(&mut self, mut bytes: Bytes) -> Result<()> {
        if self.is_one_stream() {
            match bytes.try_get_u8().map_err(|_| unexpected())? {
                b'n' => return self.named_archive(&bytes),
                b'm' => return self.begin_manifest(),
                // How many bytes the server has read: those that were stored are counted instead.
                b'p' => return Ok(()),
                b'd' => {}
                _ => return Err(unexpected()),
            }
        }
        match &mut self.now {
            Now::Archive { inflate: Some(inflate), .. } => inflate.push(bytes),
            Now::Archive { tar, .. } => tar.push(bytes),
            Now::Manifest => {
                let manifest = self.manifest.as_mut().ok_or_else(unexpected)?;
                return manifest.push(&bytes);
            }
            Now::Nothing => return Err(unexpected()),
        }
        Ok(())
    }

    /// From PostgreSQL 15 on an archive begins with its name: `base.tar` or `<oid>.tar`, and behind it how it is compressed.
    fn named_archive(&mut self, message: &[u8]) -> Result<()> {
        let compressed = self.begun.compression.map_or("", Method::suffix);
        let name = message.split(|byte| *byte == 0).next();
        let name = name.and_then(|name| name.strip_suffix(compressed.as_bytes())?.strip_suffix(b".tar"));
        let name = name.and_then(|name| std::str::from_utf8(name).ok()).ok_or_else(unexpected)?;
        let tablespace = if name == "base" { None } else { Some(name.parse().map_err(|_| unexpected())?) };
        let known = self.begun.archives.iter().map(|archive| archive.as_ref().map(|archive| archive.oid));
        if !known.into_iter().any(|known| known == tablespace) {
            return Err(unexpected());
        }
        self.archive(tablespace)
    }

    /// Returns what the data that have come hold; `None` where more are needed.
    fn read(&mut self) -> Result<Option<Arrival>> {
        loop {
            if let Some(arrival) = self.ready.pop_front() {
                return Ok(Some(arrival));
            }
            let Now::Archive { prefix, inflate, tar } = &mut self.now else { return Ok(None) };
            match tar.next()? {
                None => match inflate.as_mut().map(Inflate::next).transpose()?.flatten() {
                    Some(plain) => tar.push(plain),
                    None => return Ok(None),
                },
                Some(tar::Part::Entry(entry)) => {
                    let path = format!("{prefix}{}", entry.path);
                    self.entry(path, &entry)?;
                }
                Some(tar::Part::Data(data)) => match self.content {
                    Content::Stored => return Ok(Some(Arrival::Data(data))),
                    Content::Changes => {
                        let changing = self.changing.as_mut().ok_or_else(unexpected)?;
                        changing.data(data, &mut self.ready)?;
                    }
                    Content::Label => keep(&mut self.label, &data)?,
                    Content::Control => keep(&mut self.control, &data)?,
                    Content::LeftOut => {}
                },
            }
        }
    }

    fn entry(&mut self, path: String, entry: &tar::Entry) -> Result<()> {
        let mut facts =
            Facts { kind: Kind::Directory, mode: entry.mode, tag: 0, size: entry.size, modified: 0 };
        self.content = Content::LeftOut;
        self.end_changes()?;
        if path.split('/').any(|name| name.len() > usize::from(u8::MAX)) {
            return Err(Error::corrupt(format!("the server sent the path {path:?}")));
        }
        match entry.kind {
            EntryKind::File if path == "backup_label" => {
                self.content = Content::Label;
                // The server makes it on the way, and gives it the time of its making.
                let ahead = entry.modified.saturating_sub(Timestamp::now().as_second());
                self.clock_ahead = SignedDuration::from_secs(ahead);
            }
            EntryKind::File if path == control::PATH => self.content = Content::Control,
            EntryKind::File | EntryKind::Directory if files::is_left_out(&path) => {
                if entry.kind == EntryKind::File {
                    self.left_out.push(path);
                }
            }
            // Of a tablespace outside: it has an archive of its own.
            EntryKind::Link if path.starts_with("pg_tblspc/") => {}
            EntryKind::Link => return Err(Error::corrupt(format!("the server sent {path:?} as a link"))),
            EntryKind::Directory => {
                let is_wal = path == "pg_wal";
                self.ready.push_back(Arrival::Item { path, facts });
                // The server does not start without it.
                if is_wal {
                    let path = "pg_wal/archive_status".to_owned();
                    self.ready.push_back(Arrival::Item { path, facts: Facts { mode: 0o700, ..facts } });
                }
            }
            EntryKind::File => {
                facts.kind = Kind::File;
                facts.modified = entry.modified.saturating_mul(1_000_000_000);
                self.changing = self.changes.and_then(|pages| Changing::new(&path, entry, facts, pages));
                if self.changing.is_some() {
                    self.content = Content::Changes;
                    return Ok(());
                }
                self.content = Content::Stored;
                facts.tag = reader::tag(files::relation_part(&path));
                self.ready.push_back(Arrival::Item { path, facts });
            }
        }
        Ok(())
    }

    /// The server is done: everything must be there.
    fn finish(&mut self, is_damaged: bool) -> Result<()> {
        self.end_part()?;
        tracing::info!(bytes = self.sent_bytes, "the server has sent everything");
        let missing = |what: &str| Error::corrupt(format!("the server ended the backup without {what}"));
        if self.archives != self.begun.archives.len() {
            return Err(missing("all of its tablespaces"));
        }
        let (stop, timeline) = self.end.ok_or_else(|| missing("its position"))?;
        if self.label.is_empty() || self.control.is_empty() {
            return Err(missing("backup_label and pg_control"));
        }
        let manifest = self.manifest.take().ok_or_else(|| missing("a manifest"))?;
        let mut manifest = manifest.finish()?;
        self.left_out.iter().for_each(|path| manifest.leave_out(path));
        self.merged.iter().try_for_each(|merged| manifest.merge(merged))?;
        let mut label = std::mem::take(&mut self.label);
        if self.changes.is_some() {
            let sent = (label.len() as u64, crc32c::crc32c(&label));
            manifest.merge(&Merged::new("backup_label", sent.0, sent.1, "backup_label"))?;
            label = incremental::label_of_whole(&label);
        }
        let ended = Ended {
            stop,
            timeline,
            label,
            control: std::mem::take(&mut self.control),
            manifest,
            clock_ahead: self.clock_ahead,
            is_damaged,
        };
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(ended);
        Ok(())
    }
}

#[async_trait]
impl Arrivals for Sent {
    async fn next(&mut self) -> Result<Option<Arrival>> {
        loop {
            if let Some(arrival) = self.read()? {
                return Ok(Some(arrival));
            }
            match self.replication.next().await {
                Ok(Reply::Data(bytes)) => {
                    self.sent_bytes += bytes.len() as u64;
                    self.data(bytes)?;
                }
                Ok(Reply::CopyOut) if !self.is_one_stream() => self.next_stream()?,
                Ok(Reply::CopyDone) => self.end_part()?,
                Ok(Reply::Row(row)) => self.end = Some(position(&row)?),
                Ok(Reply::Columns(_) | Reply::Complete(_)) => {}
                Ok(Reply::Ready) => {
                    self.finish(false)?;
                    return Ok(None);
                }
                Ok(_) => return Err(unexpected()),
                // Everything is sent; the damage is counted by whoever checks the pages.
                Err(error) if self.end.is_some() && sqlstate(&error) == Some(DATA_CORRUPTED) => {
                    self.finish(true)?;
                    return Ok(None);
                }
                Err(error) => return Err(lost(error)),
            }
        }
    }

    fn expected_bytes(&self) -> u64 {
        self.begun.expected_bytes
    }

    fn inspector(&self) -> Arc<dyn Inspector> {
        Arc::clone(&self.inspector) as Arc<dyn Inspector>
    }
}

fn keep(kept: &mut Vec<u8>, data: &[u8]) -> Result<()> {
    if kept.len() + data.len() > LARGEST_KEPT {
        return Err(Error::corrupt("the server sent a backup_label or pg_control that is too large"));
    }
    kept.extend_from_slice(data);
    Ok(())
}

fn lost(error: Error) -> Error {
    match error.kind() {
        kind @ (ErrorKind::Postgres | ErrorKind::Unavailable) => {
            Error::new(kind, "the server did not send the backup to its end").with_source(error)
        }
        _ => error,
    }
}
