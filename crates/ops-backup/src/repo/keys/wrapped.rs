//! One wrapped key as it is stored, and the cipher that wraps it.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind, Result};
use crate::repo::crypt::{self, Salt, TAG};
use crate::repo::keys::Key;
use crate::repo::pack::hex_bytes;

const WRAP_KEY: &str = "ops-backup repository 2 key wrap";
const VERSION: u32 = 2;

/// The most that a derivation may ask for: who can write to the store must not be able to take all memory or time.
const MOST_MEMORY_KIB: u32 = 256 << 10;
const MOST_PASSES: u32 = 16;
const MOST_LANES: u32 = 8;

/// How a key-encryption key is made of what the person has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Derivation {
    /// Argon2id, version 0x13 (RFC 9106), with 32 bytes of output.
    Passphrase {
        memory_kib: u32,
        passes: u32,
        lanes: u32,
    },
    Raw,
}

/// A wrapped repository key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Wrapped {
    version: u32,
    pub(super) id: String,
    pub(super) created_at: Timestamp,
    pub(super) derivation: Derivation,
    #[serde(with = "hex_bytes")]
    salt: Salt,
    #[serde(with = "hex_bytes")]
    wrapped: [u8; 32 + TAG],
    /// BLAKE3 of the other fields: damage is found by who does not hold the key, too.
    #[serde(with = "hex_bytes")]
    blake3: [u8; 32],
}

impl Wrapped {
    /// Wraps `master` for `repository` so that `key` unlocks it.
    pub(super) fn new(master: &[u8; 32], key: &Key, repository: &str) -> Result<Self> {
        key.refuse_empty()?;
        let derivation = match key {
            // OWASP's recommendation for a server (2023); the first one of RFC 9106 needs 2 GiB.
            Key::Passphrase(_) => Derivation::Passphrase { memory_kib: 19 << 10, passes: 2, lanes: 1 },
            Key::Raw(_) => Derivation::Raw,
        };
        let mut wrapped = Wrapped {
            version: VERSION,
            id: format!("{:016x}", u64::from_le_bytes(crypt::random()?)),
            created_at: Timestamp::now(),
            derivation,
            salt: crypt::random()?,
            wrapped: [0; 32 + TAG],
            blake3: [0; 32],
        };
        let cipher = wrapped.cipher(key)?.expect("the derivation was chosen for this key");
        let mut sealed = master.to_vec();
        cipher
            .seal_in_place_append_tag(nonce(), Aad::from(wrapped.identity(repository)), &mut sealed)
            .expect("a key is far below the limit of AES-GCM");
        wrapped.wrapped.copy_from_slice(&sealed);
        wrapped.blake3 = wrapped.hash();
        Ok(wrapped)
    }

    /// Reads the object `keys/<id>.json`.
    ///
    /// # Errors
    /// `Corrupt`; `Unsupported` where a newer program wrote it.
    pub(super) fn decode(path: &str, id: &str, bytes: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let damaged = |error| Error::corrupt(format!("{path} is damaged")).with_source(error);
        let Version { version } = serde_json::from_slice(bytes).map_err(damaged)?;
        if version > VERSION {
            let message = format!("{path} has version {version}; this program reads {VERSION}");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let wrapped: Wrapped = serde_json::from_slice(bytes).map_err(damaged)?;
        // There is one way to write it, so that any other byte is damage.
        if wrapped.hash() != wrapped.blake3 || wrapped.encode() != bytes || wrapped.id != id {
            return Err(Error::corrupt(format!("{path} is damaged: its hash differs")));
        }
        Ok(wrapped)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("a wrapped key is always valid JSON")
    }

    /// Returns the repository key where `key` unlocks it.
    ///
    /// # Errors
    /// `Corrupt` where the derivation cannot be done, or asks for too much.
    pub(super) fn unlock(&self, key: &Key, repository: &str) -> Result<Option<Zeroizing<[u8; 32]>>> {
        let Some(cipher) = self.cipher(key)? else { return Ok(None) };
        let mut sealed = Zeroizing::new(self.wrapped);
        let identity = self.identity(repository);
        let opened = cipher.open_in_place(nonce(), Aad::from(identity), &mut *sealed);
        Ok(opened.ok().map(|master| {
            let mut key = Zeroizing::new([0; 32]);
            key.copy_from_slice(master);
            key
        }))
    }

    fn hash(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.identity("")).update(b"\n").update(&self.salt).update(&self.wrapped);
        *hasher.finalize().as_bytes()
    }

    /// Everything but the wrapped bytes, so that none of it can be changed.
    fn identity(&self, repository: &str) -> Vec<u8> {
        let Wrapped { version, id, created_at, derivation, .. } = self;
        let derivation = serde_json::to_string(derivation).expect("plain data is always valid JSON");
        format!("{repository}\n{version}\n{id}\n{created_at}\n{derivation}").into_bytes()
    }

    /// The cipher that the key makes with this object's salt; `None` where the key is of another kind.
    fn cipher(&self, key: &Key) -> Result<Option<LessSafeKey>> {
        let mut material = Zeroizing::new([0; 48]);
        match (key, &self.derivation) {
            (Key::Passphrase(passphrase), &Derivation::Passphrase { memory_kib, passes, lanes }) => {
                let cannot =
                    |why: &str| Error::corrupt(format!("keys/{}.json asks for a derivation {why}", self.id));
                if memory_kib > MOST_MEMORY_KIB || passes > MOST_PASSES || lanes > MOST_LANES {
                    return Err(cannot(&format!(
                        "with {memory_kib} KiB of memory, {passes} passes and {lanes} lanes, which is too much"
                    )));
                }
                let failed = |error: argon2::Error| cannot(&format!("that cannot be done: {error}"));
                let parameters = argon2::Params::new(memory_kib, passes, lanes, Some(32)).map_err(failed)?;
                argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, parameters)
                    .hash_password_into(
                        passphrase.expose_secret().as_bytes(),
                        &self.salt,
                        &mut material[..32],
                    )
                    .map_err(failed)?;
            }
            (Key::Raw(bytes), Derivation::Raw) => material[..32].copy_from_slice(&**bytes),
            _ => return Ok(None),
        }
        material[32..].copy_from_slice(&self.salt);
        let key = Zeroizing::new(blake3::derive_key(WRAP_KEY, &*material));
        let key = UnboundKey::new(&AES_256_GCM, &*key).expect("the key has 32 bytes");
        Ok(Some(LessSafeKey::new(key)))
    }
}

/// Each wrapped key has a cipher of its own, so one nonce is enough.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(byte: u8) -> Key {
        Key::Raw(Zeroizing::new([byte; 32]))
    }

    #[test]
    fn every_flipped_bit_is_found_without_the_key() {
        let wrapped = Wrapped::new(&[9; 32], &raw(1), "r").unwrap();
        assert_eq!(*wrapped.unlock(&raw(1), "r").unwrap().unwrap(), [9; 32]);
        assert!(wrapped.unlock(&raw(2), "r").unwrap().is_none());
        assert!(wrapped.unlock(&raw(1), "another repository").unwrap().is_none());
        let bytes = wrapped.encode();
        assert!(Wrapped::decode("k", &wrapped.id, &bytes).is_ok());
        assert!(Wrapped::decode("k", "another", &bytes).is_err(), "moved");
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(Wrapped::decode("k", &wrapped.id, &changed).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_derivation_cannot_ask_for_everything() {
        let passphrase = Key::Passphrase("correct horse".into());
        let wrapped = Wrapped::new(&[9; 32], &passphrase, "r").unwrap();
        assert!(wrapped.unlock(&passphrase, "r").unwrap().is_some());
        for (memory_kib, passes, lanes) in
            [(u32::MAX, 2, 1), (8, u32::MAX, 1), (1 << 20, 1, 1), (64, 1, 1 << 20)]
        {
            let derivation = Derivation::Passphrase { memory_kib, passes, lanes };
            let planted = Wrapped { derivation, ..wrapped.clone() };
            let error = planted.unlock(&passphrase, "r").unwrap_err();
            assert!(error.to_string().contains("too much"), "{error}");
        }
    }
}
