//! The envelope of every object that is not a pack: what it is, where it belongs, and a hash over all of it.
//!
//! ```text
//!  0   8  "OPSBKUP", 2                          16   8  length of the content, decompressed
//!  8   1  kind                                  24  16  salt
//!  9   1  1 where encrypted, otherwise 0        40   …  content: one byte for the compression, then the bytes
//! 10   6  0                                     end 32  BLAKE3 of the path, a zero byte, and all that precedes
//! ```
//! The content is encrypted with the header and the path as associated data, so that no object passes for another.

use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};
use crate::repo::compress::{Compression, Compressor, Data, Decompressor};
use crate::repo::crypt::{self, Salt, Secrets};

pub(crate) const MAGIC: [u8; 8] = *b"OPSBKUP\x02";
pub(crate) const HEADER: usize = 40;
const HASH: usize = 32;
/// No object that is read whole is larger; a damaged length must not take all memory.
const LARGEST: u64 = 2 << 30;

/// What a sealed object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Pack = 1,
    Record = 2,
    Snapshot = 3,
    Manifest = 4,
    Part = 5,
    Cluster = 6,
    Wal = 7,
    Ledger = 8,
    Condemned = 9,
    Lease = 10,
    Tail = 11,
}

/// Returns the header of an object.
pub(crate) fn header(kind: Kind, encrypted: bool, length: u64, salt: &Salt) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(&MAGIC);
    header[8] = kind as u8;
    header[9] = u8::from(encrypted);
    header[16..24].copy_from_slice(&length.to_le_bytes());
    header[24..].copy_from_slice(salt);
    header
}

impl Secrets {
    /// Returns the object that holds `content` at `path`. Two calls give two different objects where encrypted.
    pub(crate) fn seal(
        &self,
        kind: Kind,
        path: &str,
        content: &[u8],
        compression: Compression,
    ) -> Result<Bytes> {
        let salt = if self.is_encrypted() { crypt::random()? } else { [0; 16] };
        let header = header(kind, self.is_encrypted(), content.len() as u64, &salt);
        let mut object = header.to_vec();
        let data = match kind {
            Kind::Wal | Kind::Tail => Data::Wal,
            _ => Data::Other,
        };
        Compressor::new(compression, data)?.append(content, &mut object)?;
        self.cipher(&salt).seal(0, &identity(&header, path), &mut object, HEADER);
        let hash = hash(path, &object);
        object.extend_from_slice(hash.as_bytes());
        Ok(Bytes::from(object))
    }

    /// Returns the content of the object at `path`.
    ///
    /// # Errors
    /// `Corrupt` where the object is not what was sealed as this kind for this path; `Unsupported` where a newer
    /// version wrote it.
    pub(crate) fn unseal(&self, kind: Kind, path: &str, object: &[u8]) -> Result<Vec<u8>> {
        let corrupt = |what: &str| Error::corrupt(format!("{path} {what}"));
        if object.len() < HEADER + HASH || object[..7] != MAGIC[..7] {
            return Err(corrupt("is damaged: it is no object of a repository"));
        }
        let (body, trailer) = object.split_at(object.len() - HASH);
        if hash(path, body).as_bytes() != trailer {
            return Err(corrupt("is damaged: its hash differs"));
        }
        if object[7] != MAGIC[7] {
            let message = format!("{path} has format version {}; this program reads {}", object[7], MAGIC[7]);
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        if object[10..16] != [0; 6] {
            let message = format!("{path} uses something that only a newer program knows");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        if object[8] != kind as u8 || object[9] != u8::from(self.is_encrypted()) {
            return Err(corrupt("is another kind of object than its place says"));
        }
        let length = u64::from_le_bytes(body[16..24].try_into().expect("eight bytes"));
        if length > LARGEST {
            return Err(corrupt("is damaged: its length is absurd"));
        }
        let salt: Salt = body[24..HEADER].try_into().expect("sixteen bytes");
        let mut plain = Vec::new();
        let identity = identity(&body[..HEADER], path);
        self.cipher(&salt).open(0, &identity, &body[HEADER..], &mut plain).map_err(|what| corrupt(&what))?;
        let mut content = Vec::new();
        let length = usize::try_from(length).expect("checked to be below 2 GiB");
        Decompressor::new()?.read(&plain, length, &mut content).map_err(|what| corrupt(&what))?;
        Ok(content)
    }
}

fn identity(header: &[u8], path: &str) -> Vec<u8> {
    [header, path.as_bytes()].concat()
}

fn hash(path: &str, object: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(path.as_bytes()).update(&[0]).update(object);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        for secrets in [Secrets::plain("repo"), Secrets::encrypted(Zeroizing::new([3; 32]))] {
            let object = secrets.seal(Kind::Record, "log/1", b"content", Compression::default()).unwrap();
            assert_eq!(secrets.unseal(Kind::Record, "log/1", &object).unwrap(), b"content");
            assert!(secrets.unseal(Kind::Record, "log/2", &object).is_err(), "moved");
            assert!(secrets.unseal(Kind::Wal, "log/1", &object).is_err(), "passed off as another kind");
            for bit in 0..object.len() * 8 {
                let mut changed = object.to_vec();
                changed[bit / 8] ^= 1 << (bit % 8);
                assert!(secrets.unseal(Kind::Record, "log/1", &changed).is_err(), "bit {bit}");
            }
            for length in 0..object.len() {
                assert!(secrets.unseal(Kind::Record, "log/1", &object[..length]).is_err(), "cut to {length}");
            }
        }
    }

    #[test]
    fn a_newer_version_is_told_from_damage() {
        let secrets = Secrets::plain("repo");
        let object = secrets.seal(Kind::Wal, "w", b"x", Compression::None).unwrap().to_vec();
        for at in [7, 10, 15] {
            let mut object = object.clone();
            object[at] += 1;
            let end = object.len() - HASH;
            let again = hash("w", &object[..end]);
            object[end..].copy_from_slice(again.as_bytes());
            let error = secrets.unseal(Kind::Wal, "w", &object).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported, "byte {at}");
        }
    }
}
