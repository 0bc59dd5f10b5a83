//! A file of which the server sends the pages that changed.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::engine::{Arrival, Facts, PagesOf};
use crate::error::{Error, Result};
use crate::postgres::incremental::{self, HeadReader};
use crate::postgres::sent_manifest::Merged;
use crate::postgres::{files, tar};

use super::PageFormat;

/// Such a file, as far as it has come.
pub(super) struct Changing {
    /// What the server calls it.
    sent: String,
    /// The file that it changes.
    path: String,
    facts: Facts,
    size: u64,
    /// Of what was sent.
    crc32c: u32,
    page_size: u32,
    /// Until it is read.
    head: Option<HeadReader>,
}

impl Changing {
    /// Begins the file at `path` of the stream; `None` where it is one that is sent whole. `facts` are what the stream says.
    pub(super) fn new(path: &str, entry: &tar::Entry, facts: Facts, pages: PageFormat) -> Option<Self> {
        let changed = incremental::changed_path(path)?;
        let part = files::relation_part(&changed)?;
        let facts = Facts { tag: crate::engine::postgres::reader::tag(Some(part)), ..facts };
        let head = HeadReader::new(pages.size, pages.blocks_per_file, entry.size);
        Some(Changing {
            sent: path.to_owned(),
            path: changed,
            facts,
            size: entry.size,
            crc32c: 0,
            page_size: pages.size,
            head: Some(head),
        })
    }

    /// Takes the next bytes, and adds what they are to `ready`.
    pub(super) fn data(&mut self, mut data: Bytes, ready: &mut VecDeque<Arrival>) -> Result<()> {
        self.crc32c = crc32c::crc32c_append(self.crc32c, &data);
        if let Some(head) = &mut self.head {
            let Some(changes) = head.push(&mut data)? else { return Ok(()) };
            self.head = None;
            let facts = Facts { size: u64::from(changes.length) * u64::from(self.page_size), ..self.facts };
            let pages = PagesOf { size: self.page_size, numbers: changes.pages };
            ready.push_back(Arrival::Changes { path: self.path.clone(), facts, pages });
        }
        if !data.is_empty() {
            ready.push_back(Arrival::Data(data));
        }
        Ok(())
    }

    /// Ends the file.
    pub(super) fn end(self) -> Result<Merged> {
        if self.head.is_some() {
            return Err(Error::corrupt(format!("the server sent no changes at {:?}", self.sent)));
        }
        Ok(Merged::new(&self.sent, self.size, self.crc32c, &self.path))
    }
}
