//! Archives: gzip, zip and tar, opened in memory, with bounds on depth and size.
//!
//! An archive that is broken, encrypted or of another kind is *opaque*: it is searched as the bytes that it is, and
//! counted, because nobody can say what is in it. One that is larger than the bound is a gap: it could be judged, and was
//! not.

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags};

/// What an archive holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Unpacked {
    /// Names and contents of its members.
    pub(crate) members: Vec<Member>,
    /// Why something of it stays unseen.
    pub(crate) opaque: Option<&'static str>,
    /// Whether a member is longer than the bound, and was cut there.
    pub(crate) cut: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) content: Vec<u8>,
}

/// Whether bytes begin like an archive that can be opened.
pub(crate) fn is_archive(bytes: &[u8]) -> bool {
    is_gzip(bytes) || is_zip(bytes) || is_tar(bytes)
}

/// The format of an archive that cannot be opened, by its first bytes.
pub(crate) fn closed_format(bytes: &[u8]) -> Option<&'static str> {
    let formats: [(&[u8], &str); 6] = [
        (b"\xfd7zXZ\0", "xz"),
        (b"BZh9", "bzip2"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"7z\xbc\xaf\x27\x1c", "7z"),
        (b"Rar!\x1a\x07", "rar"),
        (b"\x04\x22\x4d\x18", "lz4"),
    ];
    formats.iter().find(|(magic, _)| bytes.starts_with(magic)).map(|(_, name)| *name)
}

/// Opens an archive; all members together are at most so many bytes.
pub(crate) fn open(bytes: &[u8], most: usize) -> Unpacked {
    if is_gzip(bytes) {
        gzip(bytes, most)
    } else if is_zip(bytes) {
        zip(bytes, most).unwrap_or(Unpacked { opaque: Some("a broken zip archive"), ..Unpacked::default() })
    } else {
        tar(bytes)
    }
}

fn is_gzip(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1f, 0x8b, 8])
}

fn is_zip(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04")
}

fn is_tar(bytes: &[u8]) -> bool {
    bytes.len() > 512 && bytes[257..].starts_with(b"ustar")
}

/// How an inflation ended.
#[derive(PartialEq, Eq)]
enum End {
    Done,
    Cut,
    Broken,
}

/// Inflates up to a bound: the bytes, how many were read, and how it ended.
fn inflate(bytes: &[u8], most: usize) -> (Vec<u8>, usize, End) {
    let mut machine = Box::new(DecompressorOxide::new());
    let mut out = vec![0; (bytes.len() * 3).clamp(4096, most.max(4096))];
    let (mut read, mut written) = (0, 0);
    loop {
        let flags = inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
        let (status, consumed, produced) = decompress(&mut machine, &bytes[read..], &mut out, written, flags);
        read += consumed;
        written += produced;
        let end = match status {
            TINFLStatus::Done => End::Done,
            TINFLStatus::HasMoreOutput if out.len() >= most => End::Cut,
            TINFLStatus::HasMoreOutput => {
                out.resize((out.len() * 2).min(most), 0);
                continue;
            }
            _ => End::Broken,
        };
        out.truncate(written);
        return (out, read, end);
    }
}

/// RFC 1952: members one after the other, each with a header of flags.
fn gzip(bytes: &[u8], most: usize) -> Unpacked {
    let (mut found, mut content, mut rest) = (Unpacked::default(), Vec::new(), bytes);
    while is_gzip(rest) {
        let Some(body) = gzip_header(rest) else {
            found.opaque = Some("a broken gzip file");
            break;
        };
        let (text, read, end) = inflate(&rest[body..], most.saturating_sub(content.len()));
        content.extend(text);
        match end {
            End::Done => rest = rest.get(body + read + 8..).unwrap_or_default(),
            End::Cut => {
                found.cut = true;
                break;
            }
            End::Broken => {
                found.opaque = Some("a broken gzip file");
                break;
            }
        }
    }
    found.members.push(Member { name: "gzip".into(), content });
    found
}

/// Where the data begin.
fn gzip_header(bytes: &[u8]) -> Option<usize> {
    let flags = *bytes.get(3)?;
    let mut at = 10;
    if flags & 4 != 0 {
        at += 2 + usize::from(u16::from_le_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
    }
    for flag in [8, 16] {
        if flags & flag != 0 {
            at += bytes.get(at..)?.iter().position(|byte| *byte == 0)? + 1;
        }
    }
    if flags & 2 != 0 {
        at += 2;
    }
    (at <= bytes.len()).then_some(at)
}

/// The central directory of a zip archive (APPNOTE 6.3, sections 4.3.12 and 4.3.16), and its members.
fn zip(bytes: &[u8], most: usize) -> Option<Unpacked> {
    let u16_at = |at: usize| Some(usize::from(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?)));
    let u32_at =
        |at: usize| usize::try_from(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?)).ok();
    let tail = bytes.len().saturating_sub(22 + 65_535);
    let end = tail + bytes[tail..].windows(4).rposition(|window| window == b"PK\x05\x06")?;
    let (count, mut at) = (u16_at(end + 10)?, u32_at(end + 16)?);
    let mut found = Unpacked::default();
    let mut left = most;
    for _ in 0..count {
        if bytes.get(at..at + 4)? != b"PK\x01\x02" {
            return None;
        }
        let (flags, method, size) = (u16_at(at + 8)?, u16_at(at + 10)?, u32_at(at + 20)?);
        let (name_length, extra, comment) = (u16_at(at + 28)?, u16_at(at + 30)?, u16_at(at + 32)?);
        let local = u32_at(at + 42)?;
        let name = String::from_utf8_lossy(bytes.get(at + 46..at + 46 + name_length)?).into_owned();
        at += 46 + name_length + extra + comment;
        let data = local + 30 + u16_at(local + 26)? + u16_at(local + 28)?;
        let Some(data) = bytes.get(data..data + size) else {
            found.opaque = Some("a zip archive of another structure");
            continue;
        };
        let (content, end) = match method {
            _ if flags & 1 != 0 => {
                found.opaque = Some("an encrypted member");
                continue;
            }
            0 if size <= left => (data.to_vec(), End::Done),
            0 => (data[..left].to_vec(), End::Cut),
            8 => {
                let (content, _, end) = inflate(data, left);
                (content, end)
            }
            _ => {
                found.opaque = Some("a member of another compression");
                continue;
            }
        };
        found.cut |= end == End::Cut;
        if end == End::Broken {
            found.opaque = Some("a broken member");
        }
        left -= content.len().min(left);
        found.members.push(Member { name, content });
    }
    Some(found)
}

/// POSIX tar: blocks of 512 bytes, a header before each member.
fn tar(bytes: &[u8]) -> Unpacked {
    let mut found = Unpacked::default();
    let mut at = 0;
    while let Some(header) = bytes.get(at..at + 512).filter(|header| header[0] != 0) {
        let text = |field: &[u8]| {
            let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
            String::from_utf8_lossy(&field[..end]).trim().to_owned()
        };
        let Ok(size) = usize::from_str_radix(&text(&header[124..136]), 8) else {
            found.opaque = Some("a tar archive of another structure");
            break;
        };
        let Some(content) = bytes.get(at + 512..(at + 512).saturating_add(size)) else {
            found.opaque = Some("a tar archive that was cut");
            break;
        };
        let (prefix, name) = (text(&header[345..500]), text(&header[..100]));
        let name = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
        found.members.push(Member { name, content: content.to_vec() });
        at += 512 + size.div_ceil(512) * 512;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use miniz_oxide::deflate::compress_to_vec;

    fn gz(content: &[u8]) -> Vec<u8> {
        let header = [0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 3];
        [&header[..], b"name\0", &compress_to_vec(content, 6), &[0; 8]].concat()
    }

    #[test]
    fn gzip_members_are_joined_and_bounded() {
        let two = [gz(b"first "), gz(b"second")].concat();
        assert_eq!(open(&two, 1000).members[0].content, b"first second");
        let bomb = gz(&vec![b'x'; 1 << 20]);
        let found = open(&bomb, 10_000);
        assert!(found.cut && found.members[0].content.len() == 10_000, "{}", found.members[0].content.len());
        assert!(open(&bomb[..bomb.len() / 2], 1 << 21).opaque.is_some());
    }

    #[test]
    fn tar_members_are_found() {
        let mut header = vec![0_u8; 512];
        header[..5].copy_from_slice(b"a.txt");
        header[124..136].copy_from_slice(b"00000000005\0");
        header[257..262].copy_from_slice(b"ustar");
        let mut tar = header;
        tar.extend(b"hello");
        tar.resize(1024 + 512, 0);
        assert!(is_archive(&tar));
        assert_eq!(open(&tar, 100).members, [Member { name: "a.txt".into(), content: b"hello".to_vec() }]);
        assert!(open(&tar[..514], 100).opaque.is_some());
    }

    #[test]
    fn no_cut_and_no_changed_byte_is_a_panic() {
        let whole = gz(b"some content that is long enough to have a few symbols");
        for length in 0..whole.len() {
            open(&whole[..length], 1000);
            let mut changed = whole.clone();
            changed[length] ^= 0x55;
            open(&changed, 1000);
        }
    }
}
