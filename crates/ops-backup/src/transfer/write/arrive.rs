//! Cuts what comes into parcels: spans of large files, groups of small ones. The list grows in the order of arrival.
//!
//! In memory are at most the parcel that is being filled, those that wait (one for each worker), and those in work.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::engine::{Arrival, Arrivals, Facts, Kind, Parent};
use crate::error::{Error, ErrorKind, Result};
use crate::repo::content::{INLINE, PIECE};
use crate::repo::pack::FRAME;
use crate::transfer::write::changed::Changing;
use crate::transfer::write::feed::{Arrived, ArrivingPiece, Body, Files, Parcel, Span, SpanPlace};

/// Bytes of a large file that a worker takes at once; a piece has a whole number of them.
pub(super) const SPAN: u64 = 4 << 20;
/// The most files that a worker takes at once.
const GROUP: usize = 256;

pub(super) struct Splitter {
    files: Files,
    parcels: mpsc::Sender<Parcel>,
    /// The directory of the last item: its siblings share it.
    parent: Option<(String, Parent)>,
    coming: Option<Coming>,
    pub(super) changing: Option<Changing>,
    group: Vec<Arrived>,
    group_bytes: u64,
}

/// A file of which some bytes are still to come.
struct Coming {
    item: u32,
    path: Arc<str>,
    facts: Facts,
    /// Bytes that were sent on.
    sent: u64,
    chunks: Vec<Bytes>,
    /// Bytes in `chunks`.
    held: u64,
    piece: Option<Arc<ArrivingPiece>>,
}

impl Splitter {
    pub(super) fn new(files: Files, parcels: mpsc::Sender<Parcel>) -> Self {
        Splitter {
            files,
            parcels,
            parent: None,
            coming: None,
            changing: None,
            group: Vec::new(),
            group_bytes: 0,
        }
    }

    /// Hands on all that comes. Where the source fails, what came whole is handed on before.
    pub(super) async fn run(mut self, mut arrivals: Box<dyn Arrivals>) -> Result<()> {
        let ended = self.all(&mut *arrivals).await;
        self.close_group().await?;
        ended
    }

    async fn all(&mut self, arrivals: &mut dyn Arrivals) -> Result<()> {
        while let Some(arrival) = arrivals.next().await? {
            match arrival {
                Arrival::Item { path, facts } => self.item(&path, facts)?,
                Arrival::Changes { path, facts, pages } => self.changes(&path, facts, pages).await?,
                Arrival::Data(bytes) => match self.changing.take() {
                    Some(changing) => self.changed_data(changing, bytes).await?,
                    None => self.data(bytes).await?,
                },
            }
        }
        self.nothing_open()
    }

    fn nothing_open(&self) -> Result<()> {
        let changing = self.changing.as_ref().map(|changing| &changing.path);
        match self.coming.as_ref().map(|coming| &coming.path).or(changing) {
            Some(path) => Err(Error::corrupt(format!("the source ended within {path:?}"))),
            None => Ok(()),
        }
    }

    fn item(&mut self, path: &str, facts: Facts) -> Result<()> {
        let item = self.push(path, facts)?;
        if facts.kind == Kind::File && facts.size > 0 {
            let (path, chunks) = (path.into(), Vec::new());
            self.coming = Some(Coming { item, path, facts, sent: 0, chunks, held: 0, piece: None });
        }
        Ok(())
    }

    /// Adds a path to the list; returns its item.
    pub(super) fn push(&mut self, path: &str, facts: Facts) -> Result<u32> {
        self.nothing_open()?;
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        let mut files = self.files.write();
        let parent = match &self.parent {
            Some((last, parent)) if last == directory => *parent,
            _ => {
                let parent = files.parent(directory);
                self.parent = Some((directory.to_owned(), parent));
                parent
            }
        };
        files.push(parent, name, facts);
        Ok(u32::try_from(files.len() - 1).expect("a list has less than 4 billion items"))
    }

    async fn data(&mut self, mut bytes: Bytes) -> Result<()> {
        while !bytes.is_empty() {
            let Some(coming) = &mut self.coming else {
                return Err(Error::corrupt("the source sent bytes that belong to no file"));
            };
            let size = coming.facts.size;
            let parcel = if size > INLINE { SPAN.min(size - coming.sent) } else { size };
            let wanted = parcel - coming.held;
            let taken = usize::try_from(wanted).map_or(bytes.len(), |wanted| wanted.min(bytes.len()));
            coming.chunks.push(bytes.split_to(taken));
            coming.held += taken as u64;
            if coming.held == parcel {
                self.parcel().await?;
            }
        }
        Ok(())
    }

    /// Hands on what is held: a whole small file, or a span.
    async fn parcel(&mut self) -> Result<()> {
        let Some(mut coming) = self.coming.take() else { return Ok(()) };
        let chunks = std::mem::take(&mut coming.chunks);
        let size = coming.facts.size;
        if size <= INLINE {
            let Coming { item, path, facts, .. } = coming;
            let path = path.as_ref().to_owned();
            return self.group(Arrived { item, path, facts, body: Body::Whole, chunks }, size).await;
        }
        let in_piece = coming.sent % PIECE;
        let piece = match coming.piece.take() {
            Some(piece) if in_piece > 0 => piece,
            _ => Arc::new(coming.next_piece()),
        };
        let number = u32::try_from(in_piece / SPAN).expect("a piece has few spans");
        let place = SpanPlace { piece: Arc::clone(&piece), number };
        self.send(Parcel::Span(Span { place, start: in_piece, length: coming.held, chunks })).await?;
        coming.sent += coming.held;
        if coming.sent < size {
            coming.held = 0;
            coming.piece = Some(piece);
            self.coming = Some(coming);
        }
        Ok(())
    }

    /// Adds a small file that holds so many bytes to the group.
    pub(super) async fn group(&mut self, arrived: Arrived, held: u64) -> Result<()> {
        if self.group.len() == GROUP || self.group_bytes + held > FRAME as u64 {
            self.close_group().await?;
        }
        self.group_bytes += held;
        self.group.push(arrived);
        Ok(())
    }

    async fn close_group(&mut self) -> Result<()> {
        self.group_bytes = 0;
        match std::mem::take(&mut self.group) {
            group if group.is_empty() => Ok(()),
            group => self.send(Parcel::Group(group)).await,
        }
    }

    pub(super) async fn send(&self, parcel: Parcel) -> Result<()> {
        // The workers have ended only where one failed, and that error is the one that is reported.
        self.parcels
            .send(parcel)
            .await
            .map_err(|_| Error::new(ErrorKind::Storage, "nobody takes what the source sends"))
    }
}

impl Coming {
    /// The piece that begins with what is held.
    fn next_piece(&self) -> ArrivingPiece {
        let number = u32::try_from(self.sent / PIECE).expect("a file has few pieces");
        let length = length_of_piece(self.facts.size, number);
        let spans = u32::try_from(length.div_ceil(SPAN)).expect("a piece has few spans");
        let path = Arc::clone(&self.path);
        let (item, facts) = (self.item, self.facts);
        let (known, before) = (OnceLock::new(), OnceLock::new());
        ArrivingPiece { item, number, spans, path, facts, length, known, before }
    }
}

/// Returns the bytes of piece `number` of a file.
pub(super) fn length_of_piece(size: u64, number: u32) -> u64 {
    PIECE.min(size.saturating_sub(u64::from(number) * PIECE))
}
