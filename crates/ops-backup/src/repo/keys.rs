//! The repository key, wrapped by key-encryption keys: `keys/<id>.json`, one object for each way in.
//!
//! The repository key is drawn once and never changes; what a person holds only unlocks it. So a passphrase is changed by
//! wrapping the same key once more and removing the old object: no data is rewritten.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use object_store::ObjectStore as _;
use object_store::path::Path;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind, Result};
use crate::repo::crypt::{self, Salt, TAG};
use crate::repo::pack::hex_bytes;
use crate::repo::{Repository, object_path};

/// What unlocks an encrypted repository. Never shown.
#[derive(Clone)]
pub enum Key {
    /// Something that a person remembers. Deriving a key from it takes a moment and 19 MiB of memory each time.
    Passphrase(SecretString),
    /// 32 random bytes, from a file or a secret store.
    Raw(Zeroizing<[u8; 32]>),
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(…)")
    }
}

const WRAP_KEY: &str = "ops-backup repository 2 key wrap";
const VERSION: u32 = 2;

/// How a key-encryption key is made of what the person has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Derivation {
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
struct Wrapped {
    version: u32,
    id: String,
    created_at: Timestamp,
    derivation: Derivation,
    #[serde(with = "hex_bytes")]
    salt: Salt,
    #[serde(with = "hex_bytes")]
    wrapped: [u8; 32 + TAG],
}

impl Wrapped {
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
            (Key::Passphrase(passphrase), Derivation::Passphrase { memory_kib, passes, lanes }) => {
                let failed = |error: argon2::Error| {
                    let message =
                        format!("keys/{}.json asks for a derivation that cannot be done: {error}", self.id);
                    Error::corrupt(message)
                };
                let parameters =
                    argon2::Params::new(*memory_kib, *passes, *lanes, Some(32)).map_err(failed)?;
                let argon =
                    argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, parameters);
                argon
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

fn path(id: &str) -> Path {
    object_path(&format!("keys/{id}.json"))
}

/// Each wrapped key has a cipher of its own, so one nonce is enough.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

impl Repository {
    /// Wraps the repository key `master` so that `key` unlocks it, and returns the id of the new object.
    pub(super) async fn wrap_key(&self, master: &[u8; 32], key: &Key) -> Result<String> {
        let derivation = match key {
            // The first recommendation of RFC 9106 needs 2 GiB; this is OWASP's for a server (2023).
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
        };
        let cipher = wrapped.cipher(key)?.expect("the derivation was chosen for this key");
        let identity = wrapped.identity(self.id());
        let mut sealed = master.to_vec();
        cipher
            .seal_in_place_append_tag(nonce(), Aad::from(identity), &mut sealed)
            .expect("a key is far below the limit of AES-GCM");
        wrapped.wrapped.copy_from_slice(&sealed);
        let json = serde_json::to_vec_pretty(&wrapped).expect("a wrapped key is always valid JSON");
        self.write(&path(&wrapped.id), Bytes::from(json)).await?;
        Ok(wrapped.id)
    }

    /// Finds the wrapped key that `key` unlocks.
    ///
    /// # Errors
    /// `WrongKey` where it unlocks none.
    pub(super) async fn unwrap_key(&self, key: &Key) -> Result<Zeroizing<[u8; 32]>> {
        for wrapped in self.wrapped_keys().await? {
            let Some(cipher) = wrapped.cipher(key)? else { continue };
            let mut sealed = wrapped.wrapped;
            let identity = wrapped.identity(self.id());
            if let Ok(master) = cipher.open_in_place(nonce(), Aad::from(identity), &mut sealed) {
                let mut key = Zeroizing::new([0; 32]);
                key.copy_from_slice(master);
                return Ok(key);
            }
        }
        Err(Error::new(
            ErrorKind::WrongKey,
            "the repository is encrypted, and the key that was given does not open it",
        ))
    }

    async fn wrapped_keys(&self) -> Result<Vec<Wrapped>> {
        let listed: Vec<_> = self
            .store()
            .list(Some(&object_path("keys")))
            .try_collect()
            .await
            .map_err(|error| Error::storage("list the keys", error))?;
        stream::iter(listed)
            .map(|object| async move {
                let bytes = self.read(&object.location).await?;
                let corrupt =
                    |error| Error::corrupt(format!("{} is damaged", object.location)).with_source(error);
                serde_json::from_slice::<Wrapped>(&bytes).map_err(corrupt)
            })
            .buffered(4)
            .try_collect()
            .await
    }
}
