//! The chapters "Packs" to "Manifest": from a backup's id to its files.

use std::collections::BTreeSet;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde_json::Value;

use super::object::{Reader, Result, hex, kind, list, number, text, version_two};
use crate::engines::Snapshot;

const BLOCK: u64 = 16 << 10;
const PIECE: u64 = 64 << 20;

/// The pack at `place` of the list in `of`.
fn pack(of: &Value, place: u64) -> Result<&Value> {
    of["packs"].get(place as usize).ok_or_else(|| format!("there is no pack {place}"))
}

/// What `[pack, bytes]` lists name, with the frame's own pack.
fn needed(of: &Value, reference: &Value) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::from([text(pack(of, number(reference, "pack")?)?, "name")?.to_owned()]);
    for used in list(reference, "uses")? {
        let place = used[0].as_u64().ok_or("a place is a number")?;
        names.insert(text(pack(of, place)?, "name")?.to_owned());
    }
    Ok(names)
}

impl Reader {
    /// The frame that a piece reference or a listing of a manifest names.
    fn referenced(&self, of: &Value, reference: &Value) -> Result<Vec<u8>> {
        let place = |field| number(reference, field);
        let frame =
            self.frame(pack(of, place("pack")?)?, place("offset")?, place("stored")?, place("raw")?)?;
        if self.block_hash(&frame)[..] != hex(text(reference, "hash")?)? {
            return Err(format!("the frame of {reference} has another hash"));
        }
        Ok(frame)
    }

    /// The bytes of a piece, and the packs that they lie in.
    fn piece(&self, of: &Value, piece: &Value, packs: &mut BTreeSet<String>) -> Result<Vec<u8>> {
        let length = number(piece, "length")?;
        let hashes = STANDARD_NO_PAD.decode(text(piece, "hashes")?).map_err(|error| error.to_string())?;
        if length > PIECE || hashes.len() as u64 != length.div_ceil(BLOCK) * 16 {
            return Err(format!("{} bytes of hashes for {length} bytes", hashes.len()));
        }
        let mut bytes = Vec::new();
        for extent in list(piece, "extents")? {
            let extent: Vec<u64> =
                extent.as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
            let [place, offset, stored, raw, skip, blocks] = extent[..] else {
                return Err("an extent has six numbers".to_owned());
            };
            let reference = pack(of, place)?;
            packs.insert(text(reference, "name")?.to_owned());
            let frame = self.frame(reference, offset, stored, raw)?;
            let end = (skip + blocks * BLOCK).min(skip + length - bytes.len() as u64);
            let run = frame.get(skip as usize..end as usize).ok_or("blocks end behind their frame")?;
            bytes.extend_from_slice(run);
        }
        let proven = bytes.chunks(BLOCK as usize).map(|block| self.block_hash(block));
        if bytes.len() as u64 != length || !proven.eq(hashes.as_chunks().0.iter().copied()) {
            return Err("a piece has other blocks than its hashes say".to_owned());
        }
        if u64::from(crc32c::crc32c(&bytes)) != number(piece, "crc32c")? {
            return Err("a piece has another checksum".to_owned());
        }
        Ok(bytes)
    }

    fn file(&self, header: &Value, line: &Value, packs: &mut BTreeSet<String>) -> Result<Vec<u8>> {
        let size = number(line, "size")?;
        let mut bytes = Vec::new();
        if line["content"].is_object() {
            bytes = self.piece(header, &line["content"], packs)?;
        } else if line["pieces"].is_array() {
            let pieces = list(line, "pieces")?;
            for (place, reference) in pieces.iter().enumerate() {
                let frame = self.referenced(header, reference)?;
                let alone: Value = serde_json::from_slice(&frame).map_err(|error| error.to_string())?;
                version_two(&alone)?;
                let mut used =
                    BTreeSet::from([text(pack(header, number(reference, "pack")?)?, "name")?.to_owned()]);
                let piece = self.piece(&alone, &alone, &mut used)?;
                if used != needed(header, reference)? {
                    return Err(format!("a piece needs other packs than its reference says: {reference}"));
                }
                if place + 1 < pieces.len() && piece.len() as u64 != PIECE {
                    return Err("a piece in the middle is short".to_owned());
                }
                packs.append(&mut used);
                bytes.extend(piece);
            }
        }
        if bytes.len() as u64 != size || u64::from(crc32c::crc32c(&bytes)) != number(line, "crc32c")? {
            return Err(format!("a file has {} bytes, or another checksum: {line}", bytes.len()));
        }
        Ok(bytes)
    }

    /// The files, directories and links of backup `id`, whose description in the log is `backup`.
    pub(crate) fn files(&self, id: &str, backup: &Value) -> Result<Snapshot> {
        let path = format!("backups/{id}/manifest");
        let object = self.bytes(&path)?;
        if object.len() as u64 != number(&backup["manifest"], "size")?
            || blake3::hash(&object).to_hex().as_str() != text(&backup["manifest"], "blake3")?
        {
            return Err(format!("{path} is another object than the log says"));
        }
        let manifest = self.json(kind::MANIFEST, &path)?;
        if text(&manifest, "backup")? != id || manifest["source"] != backup["source"] {
            return Err(format!("{path} is of another backup"));
        }
        let mut found = Snapshot::new();
        let (mut files, mut bytes, mut last) = (0, 0, String::new());
        for listing in list(&manifest, "listings")? {
            let frame =
                String::from_utf8(self.referenced(&manifest, listing)?).map_err(|error| error.to_string())?;
            let mut packs =
                BTreeSet::from([text(pack(&manifest, number(listing, "pack")?)?, "name")?.to_owned()]);
            let mut lines = frame
                .lines()
                .map(|line| serde_json::from_str::<Value>(line).map_err(|error| error.to_string()));
            let header = lines.next().ok_or("an empty listing")??;
            version_two(&header)?;
            let mut entries = 0;
            for line in lines {
                let line = line?;
                let path = text(&line, "path")?;
                if path <= last.as_str() || path.split('/').any(|part| matches!(part, "" | "." | "..")) {
                    return Err(format!("the path {path:?} behind {last:?}"));
                }
                if entries == 0 && path != text(listing, "first")? {
                    return Err(format!("the manifest says that {path:?} is not the first"));
                }
                let mode = |line| number(line, "mode").map(|mode| mode as u32);
                let entry = match text(&line, "type")? {
                    "directory" => ("directory".to_owned(), mode(&line)?, 0, Vec::new()),
                    "link" => ("link".to_owned(), 0, 0, text(&line, "target")?.as_bytes().to_vec()),
                    "file" => {
                        let content = self.file(&header, &line, &mut packs)?;
                        files += 1;
                        bytes += content.len() as u64;
                        (
                            "file".to_owned(),
                            mode(&line)?,
                            line["modified"].as_i64().ok_or("no time")?,
                            content,
                        )
                    }
                    other => return Err(format!("the type {other} is not known to this reader")),
                };
                found.insert(PathBuf::from(path), entry);
                last = path.to_owned();
                entries += 1;
            }
            if entries != number(&header, "entries")? || packs != needed(&manifest, listing)? {
                return Err(format!(
                    "a listing has {entries} entries, or needs other packs than the manifest says"
                ));
            }
        }
        if files != number(backup, "files")? || bytes != number(backup, "raw_bytes")? {
            return Err(format!("{files} files with {bytes} bytes"));
        }
        for reference in list(&manifest, "packs")? {
            self.prove_pack(reference)?;
        }
        Ok(found)
    }
}
