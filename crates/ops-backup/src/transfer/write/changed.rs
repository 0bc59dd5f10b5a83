//! Files of which a source sends only the pages that changed, on their way to the workers.
//!
//! What comes is cut into stretches that hold no more than a span of pages, however much of the file lies between them.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::engine::{Facts, PagesOf};
use crate::error::{Error, Result};
use crate::repo::content::INLINE;
use crate::transfer::write::arrive::{Splitter, length_of_piece};
use crate::transfer::write::feed::{Arrived, ArrivingPiece, Body, ChangedSpan, Parcel, SpanPlace};
use crate::transfer::write::spans::{self, Stretch};

/// A file of which pages are to come.
pub(super) struct Changing {
    pub(super) path: Arc<str>,
    page_size: u32,
    /// What is to come, in order; the first of it is being filled.
    parts: VecDeque<Part>,
    chunks: Vec<Bytes>,
    /// Bytes in `chunks`.
    held: u64,
}

enum Part {
    /// The pages of a small file.
    Small {
        item: u32,
        facts: Facts,
        pages: Vec<u32>,
    },
    Stretch {
        place: SpanPlace,
        stretch: Stretch,
    },
}

impl Part {
    fn pages(&self) -> &[u32] {
        match self {
            Part::Small { pages, .. } => pages,
            Part::Stretch { stretch, .. } => &stretch.pages,
        }
    }
}

impl Splitter {
    /// Begins a file; what needs no page is handed on at once.
    pub(super) async fn changes(&mut self, path: &str, facts: Facts, pages: PagesOf) -> Result<()> {
        let item = self.push(path, facts)?;
        let path: Arc<str> = path.into();
        let PagesOf { size: page_size, numbers } = pages;
        let mut parts = VecDeque::new();
        if facts.size > INLINE && numbers.is_empty() {
            return self.send(Parcel::Unchanged { item, path, facts }).await;
        } else if facts.size > INLINE {
            let stretches = spans::stretches(facts.size, page_size, &numbers);
            for (number, stretches) in (0..).zip(stretches) {
                let spans = u32::try_from(stretches.len()).expect("a piece has few stretches");
                let piece = Arc::new(ArrivingPiece {
                    item,
                    number,
                    spans,
                    path: Arc::clone(&path),
                    facts,
                    length: length_of_piece(facts.size, number),
                    known: OnceLock::new(),
                    before: OnceLock::new(),
                });
                parts.extend((0..).zip(stretches).map(|(number, stretch)| {
                    let place = SpanPlace { piece: Arc::clone(&piece), number };
                    Part::Stretch { place, stretch }
                }));
            }
        } else if facts.size > 0 {
            parts.push_back(Part::Small { item, facts, pages: numbers });
        }
        let changing = Changing { path, page_size, parts, chunks: Vec::new(), held: 0 };
        self.changing = self.hand_on(changing).await?;
        Ok(())
    }

    /// Takes the next bytes of the file that is coming.
    pub(super) async fn changed_data(&mut self, changing: Changing, mut bytes: Bytes) -> Result<()> {
        let mut open = Some(changing);
        while !bytes.is_empty() {
            let part = open.as_ref().and_then(|changing| changing.parts.front());
            let Some((pages, mut changing)) = part.map(|part| part.pages().len()).zip(open.take()) else {
                return Err(Error::corrupt("the source sent bytes that belong to no file"));
            };
            let wanted = pages as u64 * u64::from(changing.page_size) - changing.held;
            let taken = usize::try_from(wanted).map_or(bytes.len(), |wanted| wanted.min(bytes.len()));
            changing.chunks.push(bytes.split_to(taken));
            changing.held += taken as u64;
            open = if taken as u64 == wanted { self.hand_on(changing).await? } else { Some(changing) };
        }
        self.changing = open;
        Ok(())
    }

    /// Hands on what is filled; returns the rest, where more is to come.
    async fn hand_on(&mut self, mut changing: Changing) -> Result<Option<Changing>> {
        while let Some(part) = changing.parts.front() {
            if part.pages().len() as u64 * u64::from(changing.page_size) > changing.held {
                return Ok(Some(changing));
            }
            let chunks = std::mem::take(&mut changing.chunks);
            let held = std::mem::take(&mut changing.held);
            let page_size = changing.page_size;
            match changing.parts.pop_front() {
                Some(Part::Small { item, facts, pages }) => {
                    let pages = PagesOf { size: page_size, numbers: pages };
                    let path = changing.path.as_ref().to_owned();
                    self.group(Arrived { item, path, facts, body: Body::Changes(pages), chunks }, held)
                        .await?;
                }
                Some(Part::Stretch { place, stretch }) => {
                    let Stretch { start, length, pages } = stretch;
                    let pages = PagesOf { size: page_size, numbers: pages };
                    let span = ChangedSpan { place, start, length, pages, chunks };
                    self.send(Parcel::Changes(span)).await?;
                }
                None => {}
            }
        }
        Ok(None)
    }
}
