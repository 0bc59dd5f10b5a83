//! One link of the chain, and how a process goes on where an earlier one ended.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::sha256::sha256;
use crate::json;
use crate::line::MAX_LINE_LEN;

/// How many turned-over files are looked through for the last line.
const MAX_FILES: usize = 1000;

/// The end of an audit chain: enough to check what follows, and to prove that nothing was cut off before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The number of the last line; 0 before the first.
    pub seq: u64,
    /// The SHA-256 of the last line, newline excluded, in hexadecimal; zeros before the first.
    pub hash: String,
}

/// What a line says of its place in the chain.
#[derive(Debug, PartialEq)]
pub(super) struct Claim {
    pub(super) seq: u64,
    pub(super) prev: String,
}

impl Link {
    /// The start of a chain.
    pub(super) fn start() -> Self {
        Self { seq: 0, hash: "0".repeat(64) }
    }

    /// Returns the members that the next line has.
    pub(super) fn next_members(&self) -> String {
        format!(r#","stream":"audit","audit.seq":{},"audit.prev":"{}""#, self.seq + 1, self.hash)
    }

    /// Returns the end of the chain after this line.
    pub(super) fn follow(&self, line: &[u8]) -> Self {
        Self { seq: self.seq + 1, hash: hash(line) }
    }
}

/// Returns the hash of a line, with or without its newline.
pub(super) fn hash(line: &[u8]) -> String {
    let digest = sha256(line.strip_suffix(b"\n").unwrap_or(line));
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads what a line says of its place, or returns `None` for a line of another stream.
pub(super) fn claim(line: &[u8]) -> Option<Claim> {
    let mut members = line.strip_prefix(b"{")?.strip_suffix(b"}")?.to_vec();
    members.insert(0, b',');
    let mut walked = 0;
    let (mut is_audit, mut seq, mut prev) = (false, None, None);
    for member in json::members(&members) {
        walked += member.text.len();
        match member.key {
            b"stream" => is_audit = member.value == b"\"audit\"",
            b"audit.seq" => seq = str::from_utf8(member.value).ok()?.parse().ok(),
            b"audit.prev" => prev = str::from_utf8(json::string_inside(member.value)?).ok(),
            _ => {}
        }
    }
    (is_audit && walked == members.len()).then_some(())?;
    Some(Claim { seq: seq?, prev: prev?.to_owned() })
}

/// Returns the end of the chain that the file has, or the file that was turned over before it.
pub(super) fn continue_from(path: &Path) -> io::Result<Link> {
    for number in 0..MAX_FILES {
        let mut name = path.as_os_str().to_owned();
        if number > 0 {
            name.push(format!(".{number}"));
        }
        match last_link(Path::new(&name)) {
            Ok(Some(link)) => return Ok(link),
            Ok(None) => {}
            // The file itself may be missing where a process died while turning it over.
            Err(error) if error.kind() == io::ErrorKind::NotFound && number == 0 => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => return Err(error),
        }
    }
    Ok(Link::start())
}

fn last_link(path: &Path) -> io::Result<Option<Link>> {
    let mut file = File::open(path)?;
    let mut end = file.metadata()?.len();
    let mut tail = Vec::new();
    loop {
        let start = end.saturating_sub(MAX_LINE_LEN as u64);
        let mut block = vec![0; (end - start) as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut block)?;
        block.append(&mut tail);
        tail = block;
        // The first line of the block may be a part of one, unless the file begins there.
        let whole = if start == 0 {
            0
        } else {
            tail.iter().position(|byte| *byte == b'\n').map_or(tail.len(), |at| at + 1)
        };
        // A line without its newline was torn by a crash and never became part of the chain.
        let complete = tail[whole..].rsplit(|byte| *byte == b'\n').skip(1);
        for line in complete {
            if let Some(claim) = claim(line) {
                return Ok(Some(Link { seq: claim.seq, hash: hash(line) }));
            }
        }
        if start == 0 {
            return Ok(None);
        }
        end = start;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_audit_lines_make_a_claim() {
        let line = br#"{"a":"x","stream":"audit","audit.seq":3,"audit.prev":"00","b":1}"#;
        assert_eq!(claim(line), Some(Claim { seq: 3, prev: "00".into() }));
        for end in 0..line.len() {
            assert_eq!(claim(&line[..end]), None);
        }
        assert_eq!(claim(br#"{"stream":"other","audit.seq":3,"audit.prev":"00"}"#), None);
        assert_eq!(claim(br#"{"field.stream":"audit","audit.seq":3,"audit.prev":"00"}"#), None);
        assert_eq!(claim(br#"{"stream":"audit","audit.prev":"00"}"#), None);
    }

    #[test]
    fn a_missing_file_starts_a_chain() {
        assert_eq!(continue_from(Path::new("/nonexistent/audit.log")).expect("no file"), Link::start());
    }
}
