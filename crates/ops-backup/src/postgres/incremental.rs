//! The head of a file of which the server sends only the pages that changed: which these are, and how long the file is. Pure.
//!
//! Source: `GetIncrementalHeaderSize` and `sendFile` of the server (`basebackup_incremental.c`, `basebackup.c`), and how
//! `pg_combinebackup` reads them (`reconstruct.c`), of PostgreSQL 17 and 18. The head has a magic number, the number of
//! pages, the length in pages below which a page that is not sent is that of the earlier backup, and the numbers of the
//! pages, each with 32 bits; where pages follow, zeros fill it up to a whole page.

use bytes::{Buf as _, Bytes, BytesMut};

use crate::error::{Error, Result};

/// What the name of such a file begins with.
const PREFIX: &str = "INCREMENTAL.";
const MAGIC: u32 = 0xd3ae_1f0d;
/// Magic, count, length.
const FIXED: usize = 12;

/// Returns the path of the file that the changes at `path` are of.
pub(crate) fn changed_path(path: &str) -> Option<String> {
    let (directory, name) = path.rsplit_once('/')?;
    let name = name.strip_prefix(PREFIX).filter(|name| !name.is_empty())?;
    Some(format!("{directory}/{name}"))
}

/// Which pages of a file follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Changes {
    /// The pages that follow, by their number in the file, each greater than the one before.
    pub(crate) pages: Vec<u32>,
    /// How many pages the file has.
    pub(crate) length: u32,
}

/// Reads the head as it comes.
#[derive(Debug)]
pub(crate) struct HeadReader {
    page_size: u32,
    /// The most pages that a file has.
    most_pages: u32,
    /// Bytes of the whole file as it is sent.
    size: u64,
    head: BytesMut,
}

impl HeadReader {
    /// Begins a file of which `size` bytes are sent.
    pub(crate) fn new(page_size: u32, most_pages: u32, size: u64) -> Self {
        HeadReader { page_size, most_pages, size, head: BytesMut::new() }
    }

    /// Takes what it needs of `data`; returns the changes once their head is whole.
    ///
    /// # Errors
    /// A description of what no server writes, as `Corrupt`.
    pub(crate) fn push(&mut self, data: &mut Bytes) -> Result<Option<Changes>> {
        self.take(data, FIXED);
        let Some(fixed) = self.head.first_chunk::<FIXED>() else { return Ok(None) };
        let [magic, count, length] = words(fixed)[..] else { return Err(broken()) };
        let pages = u64::from(count) * u64::from(self.page_size);
        let bytes = FIXED as u64 + u64::from(count) * 4;
        let bytes = if count > 0 { bytes.next_multiple_of(self.page_size.into()) } else { bytes };
        if magic != MAGIC || count > self.most_pages || bytes + pages != self.size {
            return Err(broken());
        }
        let bytes = usize::try_from(bytes).map_err(|_| broken())?;
        self.take(data, bytes);
        if self.head.len() < bytes {
            return Ok(None);
        }
        let (numbers, padding) = self.head[FIXED..].split_at(count as usize * 4);
        let pages = words(numbers);
        let is_ordered = pages.is_sorted_by(|a, b| a < b);
        if !is_ordered || padding.iter().any(|byte| *byte != 0) {
            return Err(broken());
        }
        // A relation that is longer than one file is truncated in a later one: this one keeps all that it can have.
        let length = length.min(self.most_pages).max(pages.last().map_or(0, |last| last.saturating_add(1)));
        if length > self.most_pages {
            return Err(broken());
        }
        Ok(Some(Changes { pages, length }))
    }

    fn take(&mut self, data: &mut Bytes, wanted: usize) {
        let missing = wanted.saturating_sub(self.head.len()).min(data.len());
        self.head.extend_from_slice(&data[..missing]);
        data.advance(missing);
    }
}

fn words(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect()
}

fn broken() -> Error {
    Error::corrupt("the server sent changes of a file with a head that no server writes")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAGE: u32 = 1024;
    const MOST: u32 = 1000;

    fn head(magic: u32, length: u32, pages: &[u32]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [magic, u32::try_from(pages.len()).unwrap(), length].iter().chain(pages) {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        if !pages.is_empty() {
            bytes.resize(bytes.len().next_multiple_of(PAGE as usize), 0);
        }
        bytes
    }

    /// Reads a file cut into chunks of `chunk` bytes; returns how many bytes are left for the pages.
    fn read(file: &[u8], size: u64, chunk: usize) -> Result<Option<(Changes, usize)>> {
        let mut reader = HeadReader::new(PAGE, MOST, size);
        let mut left = file.len();
        for chunk in file.chunks(chunk) {
            let mut data = Bytes::copy_from_slice(chunk);
            let changes = reader.push(&mut data)?;
            left -= chunk.len() - data.len();
            if let Some(changes) = changes {
                return Ok(Some((changes, left)));
            }
            assert!(data.is_empty());
        }
        Ok(None)
    }

    #[test]
    fn heads_that_no_server_writes_are_refused() {
        let whole = |head: Vec<u8>, pages: usize| {
            let size = head.len() + pages * PAGE as usize;
            read(&head, size as u64, 7)
        };
        assert!(whole(head(MAGIC, 5, &[1, 3]), 2).unwrap().is_some());
        whole(head(MAGIC ^ 1, 5, &[1, 3]), 2).unwrap_err();
        whole(head(MAGIC, 5, &[1, 3]), 1).unwrap_err();
        whole(head(MAGIC, 5, &[3, 1]), 2).unwrap_err();
        whole(head(MAGIC, 5, &[3, 3]), 2).unwrap_err();
        whole(head(MAGIC, 5, &[MOST]), 1).unwrap_err();
        whole(head(MAGIC, 5, &[u32::MAX]), 1).unwrap_err();
        let mut padded = head(MAGIC, 5, &[1]);
        padded[100] = 1;
        whole(padded, 1).unwrap_err();
        let (changes, left) = whole(head(MAGIC, u32::MAX, &[]), 0).unwrap().unwrap();
        assert_eq!((changes, left), (Changes { pages: vec![], length: MOST }, 0));
    }

    #[test]
    fn the_file_is_found_by_the_path_of_its_changes() {
        for (path, expected) in [
            ("base/5/INCREMENTAL.1259_vm.2", Some("base/5/1259_vm.2")),
            ("global/INCREMENTAL.1260", Some("global/1260")),
            ("base/5/1259", None),
            ("INCREMENTAL.1259", None),
            ("base/5/INCREMENTAL.", None),
        ] {
            assert_eq!(changed_path(path).as_deref(), expected, "{path}");
        }
    }

    proptest! {
        #[test]
        fn heads_are_read_however_they_are_cut(
            pages in prop::collection::btree_set(0..MOST, 0..600),
            length in 0..MOST,
            chunk in 1..3000_usize,
        ) {
            let pages: Vec<u32> = pages.into_iter().collect();
            let mut file = head(MAGIC, length, &pages);
            let behind = pages.len() * PAGE as usize;
            file.resize(file.len() + behind, 7);
            let (changes, left) = read(&file, file.len() as u64, chunk)?.expect("it is whole");
            prop_assert_eq!(left, behind);
            prop_assert_eq!(changes.length, length.max(pages.last().map_or(0, |last| last + 1)));
            prop_assert_eq!(changes.pages, pages);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..3000), size in 0..5000_u64) {
            _ = read(&bytes, size, 100);
            let mut signed = bytes;
            signed.splice(0..signed.len().min(4), MAGIC.to_le_bytes());
            _ = read(&signed, size, 100);
        }
    }
}
