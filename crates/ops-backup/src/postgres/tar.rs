//! The tar stream in which a server sends its files, read as it comes. Pure.
//!
//! Source: POSIX `ustar` (IEEE Std 1003.1, `pax`), of which the server writes files, directories and symbolic links with
//! names of at most 99 bytes, and large sizes in base 256 (`port/tar.c`). Up to PostgreSQL 14 an archive has no end mark.
//!
//! The bytes are not to be trusted: no header makes a path that leads out of the root, and none makes memory grow.

use bytes::{Buf as _, Bytes};

use crate::error::{Error, Result};

const BLOCK: usize = 512;

/// The head of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Below the root, without a slash at either end.
    pub(crate) path: String,
    pub(crate) kind: EntryKind,
    pub(crate) mode: u32,
    /// Bytes of content that follow; zero for all but files.
    pub(crate) size: u64,
    /// Seconds since 1970.
    pub(crate) modified: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryKind {
    File,
    Directory,
    Link,
}

/// What an archive holds, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    Entry(Entry),
    /// The next bytes of the last file, never none.
    Data(Bytes),
}

/// Reads one archive.
#[derive(Debug, Default)]
pub(crate) struct TarReader {
    state: State,
    /// What has come and is not read.
    waiting: Bytes,
    /// The begin of a header whose end has not come.
    header: Vec<u8>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Header,
    /// So many bytes of content, then of padding.
    Content(u64, usize),
    Padding(usize),
    /// Behind the end mark: zeros alone.
    End,
}

impl TarReader {
    /// Adds the next bytes; all earlier ones have been read, until [`TarReader::next`] gave nothing.
    pub(crate) fn push(&mut self, bytes: Bytes) {
        debug_assert!(self.waiting.is_empty(), "what came before is read");
        self.waiting = bytes;
    }

    /// Returns the next part; `None` where more bytes are needed.
    ///
    /// # Errors
    /// `Corrupt` where the bytes are no archive that a server sends.
    pub(crate) fn next(&mut self) -> Result<Option<Part>> {
        while !self.waiting.is_empty() {
            match self.state {
                State::Header => {
                    let Some(block) = self.block() else { return Ok(None) };
                    if let Some(entry) = self.entry(&block)? {
                        return Ok(Some(Part::Entry(entry)));
                    }
                }
                State::Content(left, padding) => {
                    let length =
                        usize::try_from(left).map_or(self.waiting.len(), |l| l.min(self.waiting.len()));
                    let data = self.waiting.split_to(length);
                    self.state = match left - length as u64 {
                        0 => State::after_content(padding),
                        left => State::Content(left, padding),
                    };
                    return Ok(Some(Part::Data(data)));
                }
                State::Padding(left) => {
                    let length = left.min(self.waiting.len());
                    self.waiting.advance(length);
                    self.state = State::after_content(left - length);
                }
                State::End => {
                    if self.waiting.iter().any(|byte| *byte != 0) {
                        return Err(Error::corrupt("the tar stream goes on behind its end"));
                    }
                    self.waiting.clear();
                }
            }
        }
        Ok(None)
    }

    /// Fails where the archive cannot end here.
    pub(crate) fn end(&self) -> Result<()> {
        match self.state {
            State::Header if self.header.is_empty() => Ok(()),
            State::End => Ok(()),
            _ => Err(Error::corrupt("the tar stream ends within an entry")),
        }
    }

    /// Takes the next header, in most cases without a copy.
    fn block(&mut self) -> Option<Bytes> {
        if self.header.is_empty() && self.waiting.len() >= BLOCK {
            return Some(self.waiting.split_to(BLOCK));
        }
        let length = (BLOCK - self.header.len()).min(self.waiting.len());
        self.header.extend_from_slice(&self.waiting.split_to(length));
        (self.header.len() == BLOCK).then(|| Bytes::from(std::mem::take(&mut self.header)))
    }

    /// Reads a header; `None` for the end mark.
    fn entry(&mut self, block: &[u8]) -> Result<Option<Entry>> {
        if block.iter().all(|byte| *byte == 0) {
            self.state = State::End;
            return Ok(None);
        }
        let sum: u64 = block
            .iter()
            .enumerate()
            .map(|(at, byte)| if (148..156).contains(&at) { u64::from(b' ') } else { u64::from(*byte) })
            .sum();
        if &block[257..262] != b"ustar" || number(&block[148..156]) != Some(sum) {
            return Err(Error::corrupt("the tar stream has no header where one must be"));
        }
        let path = path(block)?;
        let kind = match block[156] {
            b'0' | 0 => EntryKind::File,
            b'2' => EntryKind::Link,
            b'5' => EntryKind::Directory,
            other => {
                return Err(Error::corrupt(format!("{path:?} in the tar stream is of kind {other}")));
            }
        };
        let broken = || Error::corrupt(format!("the tar header of {path:?} is broken"));
        let size = number(&block[124..136]).ok_or_else(broken)?;
        let mode = number(&block[100..108]).and_then(|mode| u32::try_from(mode).ok()).ok_or_else(broken)?;
        let modified =
            number(&block[136..148]).and_then(|time| i64::try_from(time).ok()).ok_or_else(broken)?;
        let size = if kind == EntryKind::File { size } else { 0 };
        let padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
        let padding = usize::try_from(padding).expect("less than a block");
        self.state = if size == 0 { State::Header } else { State::Content(size, padding) };
        Ok(Some(Entry { path, kind, mode: mode & 0o7777, size, modified }))
    }
}

impl State {
    fn after_content(padding: usize) -> Self {
        if padding == 0 { State::Header } else { State::Padding(padding) }
    }
}

/// A number in octal digits, or in base 256 where the first bit is set. None is larger than 2⁶³.
fn number(field: &[u8]) -> Option<u64> {
    if field[0] & 0x80 != 0 {
        let mut value: u64 = u64::from(field[0] & 0x7f);
        for byte in &field[1..] {
            value = value.checked_mul(256)?.checked_add(u64::from(*byte))?;
        }
        return i64::try_from(value).ok().map(|_| value);
    }
    let end = field.iter().position(|byte| matches!(byte, 0 | b' ')).unwrap_or(field.len());
    let digits = std::str::from_utf8(&field[..end]).ok().filter(|digits| !digits.starts_with('+'))?;
    u64::from_str_radix(digits, 8).ok()
}

fn path(block: &[u8]) -> Result<String> {
    let text = |from: usize, to: usize| {
        let field = &block[from..to];
        let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
        std::str::from_utf8(&field[..end]).ok()
    };
    let name = text(0, 100).zip(text(345, 500)).map(|(name, prefix)| match prefix {
        "" => name.to_owned(),
        prefix => format!("{prefix}/{name}"),
    });
    let Some(name) = name else {
        return Err(Error::corrupt("a name in the tar stream is not UTF-8"));
    };
    // Of one directory that it makes up, the server says that it is below `.`.
    let path = name.strip_prefix("./").unwrap_or(&name);
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(Error::corrupt(format!("the tar stream names {name:?}")));
    }
    Ok(path.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A header as the server writes it.
    fn header(path: &str, kind: u8, size: u64) -> Vec<u8> {
        let mut block = vec![0; BLOCK];
        block[..path.len()].copy_from_slice(path.as_bytes());
        block[100..108].copy_from_slice(b"0000600 ");
        if size < 1 << 33 {
            block[124..136].copy_from_slice(format!("{size:011o} ").as_bytes());
        } else {
            block[124] = 0x80;
            block[128..136].copy_from_slice(&size.to_be_bytes());
        }
        block[136..148].copy_from_slice(format!("{:011o} ", 1_700_000_000).as_bytes());
        block[156] = kind;
        block[257..265].copy_from_slice(b"ustar\x0000");
        sign(&mut block);
        block
    }

    fn sign(block: &mut [u8]) {
        block[148..156].fill(b' ');
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }

    fn archive(entries: &[(&str, u8, Vec<u8>)], end: bool) -> Vec<u8> {
        let mut all = Vec::new();
        for (path, kind, content) in entries {
            all.extend(header(path, *kind, content.len() as u64));
            all.extend(content);
            all.resize(all.len().next_multiple_of(BLOCK), 0);
        }
        all.resize(all.len() + if end { 2 * BLOCK } else { 0 }, 0);
        all
    }

    /// The entries with their content, read in chunks of these lengths, again and again.
    fn read(bytes: &[u8], chunks: &[usize]) -> Result<Vec<(Entry, Vec<u8>)>> {
        let (mut reader, mut rest, mut found) = (TarReader::default(), bytes, Vec::<(Entry, Vec<u8>)>::new());
        for length in chunks.iter().cycle() {
            let (chunk, behind) = rest.split_at((*length).min(rest.len()));
            reader.push(Bytes::copy_from_slice(chunk));
            rest = behind;
            while let Some(part) = reader.next()? {
                match part {
                    Part::Entry(entry) => found.push((entry, Vec::new())),
                    Part::Data(data) => found.last_mut().expect("an entry came").1.extend(&data),
                }
            }
            if rest.is_empty() {
                break;
            }
        }
        reader.end()?;
        Ok(found)
    }

    #[test]
    fn sizes_of_any_length_are_read() {
        for (size, expected) in [(0_u64, 0), (511, 511), ((1 << 33) - 1, (1 << 33) - 1), (1 << 40, 1 << 40)] {
            let mut reader = TarReader::default();
            reader.push(header("base/5/1259", b'0', size).into());
            let Some(Part::Entry(entry)) = reader.next().unwrap() else { panic!("an entry") };
            assert_eq!((entry.size, entry.mode, entry.modified), (expected, 0o600, 1_700_000_000));
        }
        assert_eq!(number(&[0xff; 12]), None, "a negative size");
    }

    #[test]
    fn a_made_up_directory_is_where_it_belongs() {
        let found = read(&archive(&[("./pg_wal/archive_status/", b'5', vec![])], true), &[512]).unwrap();
        assert_eq!(
            (found[0].0.path.as_str(), found[0].0.kind),
            ("pg_wal/archive_status", EntryKind::Directory)
        );
    }

    #[test]
    fn hostile_headers_are_refused() {
        for path in
            ["/etc/passwd", "..", "../x", "a/../b", "a//b", ".", "./", "././a", ".//a", "a/./b", "", "a/.."]
        {
            assert!(read(&archive(&[(path, b'0', vec![1])], true), &[512]).is_err(), "{path:?}");
        }
        for kind in [b'1', b'3', b'6', b'x', b'g', b'L'] {
            assert!(read(&archive(&[("a", kind, vec![])], true), &[512]).is_err(), "{kind}");
        }
        let whole = archive(&[("a", b'0', vec![7; 600]), ("b/", b'5', vec![])], true);
        assert!(read(&[&whole[..], b"x"].concat(), &[512]).is_err(), "something behind the end");
        let mut size = header("a", b'0', 5);
        size[124..136].copy_from_slice(b"0000000009z ");
        sign(&mut size);
        assert!(read(&size, &[512]).is_err());
        // Whatever is changed in the first header, what was meant is not silently another thing.
        // The last byte of the sum's own field says nothing.
        for at in (0..BLOCK).filter(|at| *at != 155) {
            let mut changed = whole.clone();
            changed[at] = changed[at].wrapping_add(1);
            assert!(read(&changed, &[512]).is_err(), "byte {at}");
        }
    }

    #[test]
    fn an_archive_may_end_without_its_mark_but_not_within_an_entry() {
        let whole = archive(&[("a", b'0', vec![7; 600])], false);
        assert_eq!(read(&whole, &[77]).unwrap().len(), 1);
        for cut in 1..whole.len() {
            assert!(read(&whole[..cut], &[512]).is_err(), "{cut}");
        }
    }

    proptest! {
        #[test]
        fn archives_are_read_however_they_are_cut(
            entries in prop::collection::vec(("[a-z]{1,8}(/[a-z]{1,8}){0,3}", prop::collection::vec(any::<u8>(), 0..1500)), 0..8),
            chunks in prop::collection::vec(1..1700_usize, 1..9),
            end in any::<bool>(),
        ) {
            let entries: Vec<_> = entries.iter().map(|(path, content)| (path.as_str(), b'0', content.clone())).collect();
            let found = read(&archive(&entries, end), &chunks).unwrap();
            let found: Vec<_> = found.iter().map(|(entry, content)| (entry.path.as_str(), b'0', content.clone())).collect();
            prop_assert_eq!(found, entries);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..3000), chunks in prop::collection::vec(1..700_usize, 1..5)) {
            _ = read(&bytes, &chunks);
        }

        #[test]
        fn any_signed_header_is_read_or_refused(mut block in prop::collection::vec(any::<u8>(), BLOCK)) {
            block[257..262].copy_from_slice(b"ustar");
            sign(&mut block);
            if let Ok(found) = read(&block, &[512]) {
                for (entry, _) in found {
                    prop_assert!(!entry.path.starts_with('/') && !entry.path.split('/').any(|part| part == ".."));
                }
            }
        }
    }
}
