//! A client of physical replication: one session that knows no repository.
//!
//! A server gives its WAL and its files through the replication protocol alone, without access to its file system. The
//! session is opened as every other one is ([`ConnectionSettings`]), with `replication=true`, and then understands the
//! few commands of the manual's section "Streaming Replication Protocol".
//!
//! A short command is one call: [`Replication::simple`]. One with a long answer (`BASE_BACKUP`) is [`Replication::begin`],
//! then [`Replication::next`] until [`Reply::Ready`]; the data is handed on as it was read, without a copy. A stream of
//! WAL is [`Replication::start_replication`], which turns the session into a [`WalStream`] and gives it back at its end.
//!
//! A session that was dropped in the middle of an answer is closed, and the server ends what it did for it.

mod connect;
mod frame;
#[cfg(test)]
mod live;
mod login;
mod message;
#[cfg(test)]
mod middle;
mod stream;
#[cfg(test)]
mod tests;

use bytes::{Bytes, BytesMut};
use ops_core::connection::ConnectionSettings;
use postgres_protocol::message::frontend;

use self::connect::within;
use self::frame::Frames;
pub(crate) use self::message::{Reply, Row, WalMessage, sqlstate};
pub(crate) use self::stream::{NextTimeline, Started, Streamed, WalStream};
use crate::error::{Error, ErrorKind, Result};
use crate::postgres::lsn::{Lsn, SystemIdentifier};
use crate::postgres::segment::{Cluster, SegmentSize};

/// A session of physical replication that waits for a command.
#[derive(Debug)]
pub(crate) struct Replication {
    frames: Frames,
    version: u32,
}

/// What the server is, and how far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) system_identifier: SystemIdentifier,
    pub(crate) timeline: u32,
    /// How far its WAL is durable.
    pub(crate) lsn: Lsn,
}

/// A physical replication slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot {
    /// The server keeps its WAL from here on; `None` while the slot keeps nothing.
    pub(crate) restart: Option<(u32, Lsn)>,
}

const OLDEST: u32 = 140_000;
const NEWEST: u32 = 190_000;

impl Replication {
    /// Opens a session.
    ///
    /// # Errors
    /// `Unavailable` where no server answers or lets us in now, `Postgres` where one refuses (a wrong password, no right
    /// to replicate), `Configuration` for settings that cannot work, `Unsupported` for another version.
    #[tracing::instrument(skip_all, fields(target = settings.target()))]
    pub(crate) async fn connect(settings: &ConnectionSettings) -> Result<Self> {
        let (frames, parameters) = connect::connect(settings).await?;
        let text = parameters.get("server_version").map(String::as_str).unwrap_or_default();
        let version = version(text)
            .ok_or_else(|| Error::corrupt(format!("{} says that its version is {text:?}", frames.target)))?;
        if !(OLDEST..NEWEST).contains(&version) {
            let message = format!("PostgreSQL {} is not supported (14 to 18 are)", version / 10_000);
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        Ok(Replication { frames, version })
    }

    /// Returns the server's version, for example 150006.
    pub(crate) fn version(&self) -> u32 {
        self.version
    }

    /// Whether the server is on this machine, as far as the connection tells.
    pub(crate) fn is_local(&self) -> bool {
        self.frames.is_local
    }

    /// Sends a command. Its answer is read with [`Replication::next`].
    pub(crate) async fn begin(&mut self, command: &str) -> Result<()> {
        let mut message = BytesMut::new();
        frontend::query(command, &mut message).map_err(|error| {
            Error::new(ErrorKind::Configuration, "a replication command holds a zero byte").with_source(error)
        })?;
        self.frames.send(&message).await
    }

    /// Returns the next message of an answer. Safe to drop at any await.
    ///
    /// # Errors
    /// What the server refuses; the session can be used again behind [`Replication::after_refusal`].
    pub(crate) async fn next(&mut self) -> Result<Reply> {
        loop {
            if let Some(reply) = message::reply(self.frames.next().await?)? {
                return Ok(reply);
            }
        }
    }

    /// Sends data that the server waits for, after [`Reply::CopyIn`]; empty data end it.
    pub(crate) async fn send_data(&mut self, data: &[u8]) -> Result<()> {
        let mut message = BytesMut::new();
        if data.is_empty() {
            frontend::copy_done(&mut message);
        } else {
            let data = frontend::CopyData::new(data).map_err(|error| {
                Error::new(ErrorKind::Configuration, "a piece of data is too long to be sent")
                    .with_source(error)
            })?;
            data.write(&mut message);
        }
        self.frames.send(&message).await
    }

    /// Runs a command and returns its rows, of all sets one after the other. A refused one leaves the session usable.
    pub(crate) async fn simple(&mut self, command: &str) -> Result<Vec<Row>> {
        let run = async {
            self.begin(command).await?;
            let mut rows = Vec::new();
            loop {
                match self.next().await? {
                    Reply::Row(row) => rows.push(row),
                    Reply::Columns(_) | Reply::Complete(_) => {}
                    Reply::Ready => return Ok(rows),
                    Reply::CopyOut | Reply::CopyIn | Reply::CopyBoth | Reply::Data(_) | Reply::CopyDone => {
                        return Err(Error::corrupt("the server answers with data where rows were expected"));
                    }
                }
            }
        };
        // The name of the command alone: its arguments may be long.
        let name = command.split([' ', '(']).next().unwrap_or_default();
        let result: Result<Vec<Row>> = run.await;
        if matches!(&result, Err(error) if error.kind() == ErrorKind::Postgres) {
            self.after_refusal().await;
        }
        result.map_err(|error| within(error, &format!("cannot run {name}")))
    }

    /// Reads to the end of a refused command, behind which the next one may be sent. Where the server hangs up instead, that
    /// one will tell.
    pub(crate) async fn after_refusal(&mut self) {
        while self.next().await.is_ok_and(|reply| reply != Reply::Ready) {}
    }

    /// Asks the server who it is.
    pub(crate) async fn identify(&mut self) -> Result<Identity> {
        let row = one(self.simple("IDENTIFY_SYSTEM").await?, "IDENTIFY_SYSTEM")?;
        Ok(Identity {
            system_identifier: field(&row, 0, "a system identifier")?,
            timeline: field(&row, 1, "a timeline")?,
            lsn: field(&row, 2, "a position")?,
        })
    }

    /// Returns a setting as the server shows it.
    pub(crate) async fn show(&mut self, setting: &str) -> Result<String> {
        let row = one(self.simple(&format!("SHOW {}", quoted(setting))).await?, "SHOW")?;
        field(&row, 0, "a setting")
    }

    /// Returns the identity that the WAL files of the server's cluster carry.
    pub(crate) async fn cluster(&mut self) -> Result<Cluster> {
        let system_identifier = self.identify().await?.system_identifier;
        let shown = self.show("wal_segment_size").await?;
        let segment_size = segment_size(&shown)
            .ok_or_else(|| Error::corrupt(format!("the server says that its WAL segments have {shown:?}")))?;
        Ok(Cluster { system_identifier, major: self.version / 10_000, segment_size })
    }

    /// Returns the history file of `timeline`, byte for byte; the first timeline of a cluster has none.
    pub(crate) async fn timeline_history(&mut self, timeline: u32) -> Result<Bytes> {
        let row = one(self.simple(&format!("TIMELINE_HISTORY {timeline}")).await?, "TIMELINE_HISTORY")?;
        match row.into_iter().nth(1) {
            Some(Some(content)) => Ok(content),
            _ => Err(Error::corrupt("the server gives no content of a timeline's history")),
        }
    }

    /// Makes a physical slot; with `reserve_wal` the server keeps its WAL from now on.
    ///
    /// # Errors
    /// `Postgres` with SQLSTATE 42710 where there is a slot of that name.
    pub(crate) async fn create_physical_slot(&mut self, name: &str, reserve_wal: bool) -> Result<()> {
        let reserve = if reserve_wal { " RESERVE_WAL" } else { "" };
        let command = format!("CREATE_REPLICATION_SLOT {} PHYSICAL{reserve}", quoted(name));
        self.simple(&command).await.map(drop)
    }

    /// Returns what a physical slot keeps; `None` where there is no slot of that name.
    ///
    /// # Errors
    /// `Unsupported` before PostgreSQL 15, which has no such command.
    pub(crate) async fn read_slot(&mut self, name: &str) -> Result<Option<Slot>> {
        if self.version < 150_000 {
            let message = "PostgreSQL 14 cannot be asked for a slot over a replication session";
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let rows = self.simple(&format!("READ_REPLICATION_SLOT {}", quoted(name))).await?;
        let row = one(rows, "READ_REPLICATION_SLOT")?;
        if row.first().is_none_or(Option::is_none) {
            return Ok(None);
        }
        let restart = match (row.get(1), row.get(2)) {
            (Some(Some(_)), Some(Some(_))) => {
                Some((field(&row, 2, "a timeline")?, field(&row, 1, "a position")?))
            }
            _ => None,
        };
        Ok(Some(Slot { restart }))
    }
}

/// Returns 150006 for `15.6 (Debian 15.6-1)`, 180000 for `18beta1`.
fn version(text: &str) -> Option<u32> {
    let digits = |text: &str| -> String { text.chars().take_while(char::is_ascii_digit).collect() };
    let major: u32 = digits(text).parse().ok()?;
    let minor = text.split_once('.').and_then(|(_, minor)| digits(minor).parse().ok()).unwrap_or(0);
    major.checked_mul(10_000)?.checked_add(minor)
}

/// Reads a size such as `16MB`, as the server shows it.
fn segment_size(text: &str) -> Option<SegmentSize> {
    let at = text.find(|character: char| !character.is_ascii_digit())?;
    let (number, unit) = text.split_at(at);
    let unit: u32 = match unit {
        "kB" => 1 << 10,
        "MB" => 1 << 20,
        "GB" => 1 << 30,
        "B" => 1,
        _ => return None,
    };
    SegmentSize::new(number.parse::<u32>().ok()?.checked_mul(unit)?)
}

/// A name within a replication command.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn one(rows: Vec<Row>, command: &str) -> Result<Row> {
    rows.into_iter()
        .next()
        .ok_or_else(|| Error::corrupt(format!("the server answers {command} with nothing")))
}

fn field<T: std::str::FromStr>(row: &Row, index: usize, what: &str) -> Result<T> {
    let value = row.get(index).and_then(Option::as_ref).map(|value| String::from_utf8_lossy(value));
    let value = value.unwrap_or_default();
    value.parse().map_err(|_| Error::corrupt(format!("the server names {value:?} as {what}")))
}
