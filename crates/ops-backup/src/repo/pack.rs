//! Packs: frames end to end behind a header. Many small writes become one object of 16 MiB or more.
//!
//! A frame is what is compressed and encrypted at once, up to 1 MiB of blocks. It is found by the reference that a
//! piece or a listing holds; a pack has no index of its own. The name of a pack is the BLAKE3 of the whole object, so
//! that it can be proven without any key.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use bytes::Bytes;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::repo::compress::{Compression, Compressor, Data, Decompressor};
use crate::repo::crypt::{self, BlockHash, Cipher, Salt, Secrets};
use crate::repo::object_path;
use crate::repo::seal::{self, Kind};

/// A pack is closed once it holds this many bytes.
pub(crate) const TARGET: usize = 16 << 20;

/// The most bytes that a frame holds before compression.
pub(crate) const FRAME: usize = 1 << 20;

/// A pack, with all that is needed to read a frame of it without reading the whole.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct PackRef {
    /// The backup whose job wrote it, committed or not.
    pub(crate) backup: String,
    /// BLAKE3 of the object.
    #[serde(with = "hex_bytes")]
    pub(crate) name: [u8; 32],
    #[serde(with = "hex_bytes")]
    pub(crate) salt: Salt,
    /// Bytes of the object.
    pub(crate) size: u64,
    /// Bytes of its frames before compression.
    pub(crate) raw: u64,
}

impl PackRef {
    pub(crate) fn path(&self) -> Path {
        object_path(&format!("packs/{}/{}", self.backup, blake3::Hash::from_bytes(self.name).to_hex()))
    }
}

/// The number of a pack in one [`PackTable`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct PackId(pub(crate) u32);

/// The packs that a job deals with, each once: references in memory are small. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub(crate) struct PackTable(Arc<RwLock<Table>>);

#[derive(Debug, Default)]
struct Table {
    packs: Vec<Arc<PackRef>>,
    ids: HashMap<Arc<PackRef>, PackId>,
}

impl PackTable {
    pub(crate) fn intern(&self, pack: PackRef) -> PackId {
        let mut table = self.0.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(id) = table.ids.get(&pack) {
            return *id;
        }
        let id = PackId(u32::try_from(table.packs.len()).expect("packs are numbered with 32 bits"));
        let pack = Arc::new(pack);
        table.packs.push(Arc::clone(&pack));
        table.ids.insert(pack, id);
        id
    }

    pub(crate) fn get(&self, id: PackId) -> Arc<PackRef> {
        let table = self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        Arc::clone(&table.packs[id.0 as usize])
    }
}

/// Where a frame lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Frame {
    pub(crate) pack: PackId,
    pub(crate) offset: u64,
    /// Its bytes in the pack.
    pub(crate) stored: u32,
    /// Its bytes before compression.
    pub(crate) raw: u32,
}

/// A frame that is read as a whole, with the hash of its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameRef {
    pub(crate) frame: Frame,
    pub(crate) hash: BlockHash,
}

/// A place in the pack that is being filled; its pack has no name yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) offset: u64,
    pub(crate) stored: u32,
    pub(crate) raw: u32,
}

impl Placed {
    pub(crate) fn in_pack(self, pack: PackId) -> Frame {
        Frame { pack, offset: self.offset, stored: self.stored, raw: self.raw }
    }
}

/// A finished pack on its way to the repository.
#[derive(Debug, Clone)]
pub(crate) struct Pack {
    pub(crate) reference: PackRef,
    pub(crate) bytes: Bytes,
}

/// Fills one pack after another.
pub(crate) struct Packer {
    backup: Arc<str>,
    secrets: Secrets,
    compressor: Compressor,
    open: Option<OpenPack>,
}

struct OpenPack {
    salt: Salt,
    cipher: Cipher,
    bytes: Vec<u8>,
    raw: u64,
}

impl Packer {
    pub(crate) fn new(backup: Arc<str>, secrets: Secrets, compression: Compression) -> Result<Self> {
        Ok(Packer { backup, secrets, compressor: Compressor::new(compression, Data::Blocks)?, open: None })
    }

    /// Adds a frame to the open pack, and begins one where there is none.
    pub(crate) fn add(&mut self, raw: &[u8]) -> Result<Placed> {
        if self.open.is_none() {
            let salt = if self.secrets.is_encrypted() { crypt::random()? } else { [0; 16] };
            let mut bytes = Vec::with_capacity(TARGET + FRAME + FRAME / 8);
            bytes.extend_from_slice(&seal::header(Kind::Pack, self.secrets.is_encrypted(), 0, &salt));
            self.open = Some(OpenPack { salt, cipher: self.secrets.cipher(&salt), bytes, raw: 0 });
        }
        let pack = self.open.as_mut().expect("opened above");
        let start = pack.bytes.len();
        self.compressor.append(raw, &mut pack.bytes)?;
        pack.cipher.seal(start as u64, self.backup.as_bytes(), &mut pack.bytes, start);
        pack.raw += raw.len() as u64;
        let small = |length: usize| u32::try_from(length).expect("a frame is far below 4 GiB");
        Ok(Placed { offset: start as u64, stored: small(pack.bytes.len() - start), raw: small(raw.len()) })
    }

    /// Whether the open pack should be taken.
    pub(crate) fn is_full(&self) -> bool {
        self.open.as_ref().is_some_and(|pack| pack.bytes.len() >= TARGET)
    }

    /// Closes and returns the open pack, if there is one.
    pub(crate) fn take(&mut self) -> Option<Pack> {
        let OpenPack { salt, bytes, raw, .. } = self.open.take()?;
        let name = *blake3::hash(&bytes).as_bytes();
        let size = bytes.len() as u64;
        let reference = PackRef { backup: self.backup.to_string(), name, salt, size, raw };
        Some(Pack { reference, bytes: Bytes::from(bytes) })
    }
}

/// Decrypts and decompresses frames, one at a time, into one buffer.
pub(crate) struct FrameReader {
    secrets: Secrets,
    decompressor: Decompressor,
    cipher: Option<(Salt, Cipher)>,
    plain: Vec<u8>,
    raw: Vec<u8>,
}

impl FrameReader {
    pub(crate) fn new(secrets: Secrets) -> Result<Self> {
        let decompressor = Decompressor::new()?;
        Ok(FrameReader { secrets, decompressor, cipher: None, plain: Vec::new(), raw: Vec::new() })
    }

    /// Returns the content of the frame at `offset` of `pack`, out of its `stored` bytes. The caller proves it by hash.
    ///
    /// # Errors
    /// `Corrupt`, naming the pack and the place.
    pub(crate) fn read(&mut self, pack: &PackRef, offset: u64, stored: &[u8], raw: u32) -> Result<&[u8]> {
        let corrupt =
            |what: String| Error::corrupt(format!("the frame at byte {offset} of {} {what}", pack.path()));
        if self.secrets.is_encrypted() {
            if self.cipher.as_ref().is_none_or(|(salt, _)| *salt != pack.salt) {
                self.cipher = Some((pack.salt, self.secrets.cipher(&pack.salt)));
            }
            let (_, cipher) = self.cipher.as_ref().expect("set above");
            cipher.open(offset, pack.backup.as_bytes(), stored, &mut self.plain).map_err(corrupt)?;
            self.decompressor.read(&self.plain, raw as usize, &mut self.raw).map_err(corrupt)?;
        } else {
            self.decompressor.read(stored, raw as usize, &mut self.raw).map_err(corrupt)?;
        }
        Ok(&self.raw)
    }
}

/// Bytes as hexadecimal text in JSON.
pub(crate) mod hex_bytes {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(crate) fn serialize<S: Serializer, const N: usize>(
        bytes: &[u8; N],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(2 * N);
        for byte in bytes {
            text.push(char::from_digit(u32::from(byte >> 4), 16).expect("below 16"));
            text.push(char::from_digit(u32::from(byte & 15), 16).expect("below 16"));
        }
        serializer.serialize_str(&text)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>, const N: usize>(
        deserializer: D,
    ) -> Result<[u8; N], D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        let mut bytes = [0; N];
        if text.len() != 2 * N || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(D::Error::custom(format!("expected {} hexadecimal digits", 2 * N)));
        }
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digits = std::str::from_utf8(digits).expect("checked to be ASCII");
            *byte = u8::from_str_radix(digits, 16).map_err(D::Error::custom)?;
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    #[test]
    fn frames_read_back_and_no_other_bytes_pass_where_encrypted() {
        for secrets in [Secrets::plain("r"), Secrets::encrypted(Zeroizing::new([1; 32]))] {
            let mut packer = Packer::new("b1".into(), secrets.clone(), Compression::default()).unwrap();
            let frames: Vec<Vec<u8>> = (0..5_u8).map(|n| vec![n; 1000 + usize::from(n)]).collect();
            let placed: Vec<Placed> = frames.iter().map(|frame| packer.add(frame).unwrap()).collect();
            let pack = packer.take().unwrap();
            assert!(packer.take().is_none());
            assert_eq!(blake3::hash(&pack.bytes).as_bytes(), &pack.reference.name);
            assert_eq!((pack.reference.size, pack.reference.raw), (pack.bytes.len() as u64, 5010));
            let mut reader = FrameReader::new(secrets.clone()).unwrap();
            for (frame, at) in frames.iter().zip(&placed) {
                let range = at.offset as usize..at.offset as usize + at.stored as usize;
                let stored = &pack.bytes[range];
                assert_eq!(reader.read(&pack.reference, at.offset, stored, at.raw).unwrap(), &frame[..]);
                if secrets.is_encrypted() {
                    assert!(reader.read(&pack.reference, at.offset + 1, stored, at.raw).is_err(), "moved");
                    let foreign = PackRef { backup: "b2".to_owned(), ..pack.reference.clone() };
                    assert!(reader.read(&foreign, at.offset, stored, at.raw).is_err(), "of another backup");
                }
            }
        }
    }
}
