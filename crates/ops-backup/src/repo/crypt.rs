//! The secrets of a repository and what they do: seal, open, hash. Knows no objects and no wrapping of keys.
//!
//! One repository key makes everything. Each pack and each object has a random salt, and a key of its own derived from
//! both, so that a nonce need only be unique within one object.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind, Result};

/// A random value that makes the key of one object.
pub(crate) type Salt = [u8; 16];

/// Bytes that encryption adds.
pub(crate) const TAG: usize = 16;

const OBJECT_KEY: &str = "ops-backup repository 2 object key";
const HASH_KEY: &str = "ops-backup repository 2 block hash key";

/// A truncated BLAKE3 hash of one block, keyed by the repository: equal blocks of two repositories have two hashes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct BlockHash(pub(crate) [u8; 16]);

impl std::fmt::Debug for BlockHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The key of an encrypted repository, or the lack of one.
#[derive(Clone)]
pub(crate) struct Secrets {
    master: Option<Zeroizing<[u8; 32]>>,
    hash_key: [u8; 32],
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secrets").field("encrypted", &self.master.is_some()).finish_non_exhaustive()
    }
}

impl Secrets {
    /// For a repository that is not encrypted; `id` is its public identity.
    pub(crate) fn plain(id: &str) -> Self {
        Secrets { master: None, hash_key: blake3::derive_key(HASH_KEY, id.as_bytes()) }
    }

    /// For an encrypted repository.
    pub(crate) fn encrypted(master: Zeroizing<[u8; 32]>) -> Self {
        let hash_key = blake3::derive_key(HASH_KEY, &*master);
        Secrets { master: Some(master), hash_key }
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        self.master.is_some()
    }

    /// The repository key, for wrapping it once more.
    pub(crate) fn master(&self) -> Option<&[u8; 32]> {
        self.master.as_deref()
    }

    pub(crate) fn hash(&self, raw: &[u8]) -> BlockHash {
        let mut short = [0; 16];
        short.copy_from_slice(&blake3::keyed_hash(&self.hash_key, raw).as_bytes()[..16]);
        BlockHash(short)
    }

    /// Returns the cipher of the object that has `salt`.
    pub(crate) fn cipher(&self, salt: &Salt) -> Cipher {
        let Some(master) = &self.master else { return Cipher(None) };
        let mut material = Zeroizing::new([0; 48]);
        material[..32].copy_from_slice(&**master);
        material[32..].copy_from_slice(salt);
        let key = Zeroizing::new(blake3::derive_key(OBJECT_KEY, &*material));
        let key = UnboundKey::new(&AES_256_GCM, &*key).expect("the key has 32 bytes");
        Cipher(Some(LessSafeKey::new(key)))
    }
}

/// Encrypts and decrypts the parts of one object, or passes them on where the repository is not encrypted.
#[derive(Debug)]
pub(crate) struct Cipher(Option<LessSafeKey>);

impl Cipher {
    /// Encrypts `buffer[from..]` in place and appends the tag. `position` must be used once only with this cipher.
    pub(crate) fn seal(&self, position: u64, identity: &[u8], buffer: &mut Vec<u8>, from: usize) {
        let Some(key) = &self.0 else { return };
        let tag = key
            .seal_in_place_separate_tag(nonce(position), Aad::from(identity), &mut buffer[from..])
            .expect("a buffer is far below the limit of AES-GCM");
        buffer.extend_from_slice(tag.as_ref());
    }

    /// Decrypts `stored` into `plain`, which is emptied first; without encryption it copies.
    ///
    /// # Errors
    /// Where the bytes, the key, the position or the identity are not those of the sealing.
    pub(crate) fn open(
        &self,
        position: u64,
        identity: &[u8],
        stored: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<(), String> {
        plain.clear();
        let Some(key) = &self.0 else {
            plain.extend_from_slice(stored);
            return Ok(());
        };
        let Some(length) = stored.len().checked_sub(TAG) else { return Err("is too short".to_owned()) };
        plain.resize(length, 0);
        let (body, tag) = stored.split_at(length);
        key.open_separate_gather(nonce(position), Aad::from(identity), body, tag, plain).map_err(|_| {
            "cannot be decrypted: it was changed, moved, or encrypted with another key".to_owned()
        })
    }
}

fn nonce(position: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&position.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}

/// Fills an array from the operating system's source of randomness.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(_) => Err(Error::new(ErrorKind::Io, "the operating system gives no random bytes")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_bytes_key_position_and_identity_open() {
        let secrets = Secrets::encrypted(Zeroizing::new([7; 32]));
        let cipher = secrets.cipher(&[1; 16]);
        let mut sealed = b"headsecret".to_vec();
        cipher.seal(5, b"me", &mut sealed, 4);
        assert_eq!(sealed.len(), 10 + TAG);
        let mut plain = Vec::new();
        cipher.open(5, b"me", &sealed[4..], &mut plain).unwrap();
        assert_eq!(plain, b"secret");
        assert!(cipher.open(6, b"me", &sealed[4..], &mut plain).is_err());
        assert!(cipher.open(5, b"you", &sealed[4..], &mut plain).is_err());
        assert!(secrets.cipher(&[2; 16]).open(5, b"me", &sealed[4..], &mut plain).is_err());
        let other = Secrets::encrypted(Zeroizing::new([8; 32]));
        assert!(other.cipher(&[1; 16]).open(5, b"me", &sealed[4..], &mut plain).is_err());
        assert_ne!(other.hash(b"x"), secrets.hash(b"x"));
        for at in 4..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(cipher.open(5, b"me", &changed[4..], &mut plain).is_err(), "byte {at}");
        }
    }
}
