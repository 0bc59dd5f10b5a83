//! Ed25519 keys and their files: the PEM forms that `openssl genpkey -algorithm ed25519` writes and reads.

use std::fmt;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::Signer as _;
use rand::TryRng as _;
use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind};

/// The DER that stands before the 32 bytes of a private key (RFC 8410, section 7: PKCS#8 version 1, no attributes).
const PRIVATE_PREFIX: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
const PRIVATE_LABEL: &str = "PRIVATE KEY";

/// The DER that stands before the 32 bytes of a public key (RFC 8410, section 4).
const PUBLIC_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];
const PUBLIC_LABEL: &str = "PUBLIC KEY";

/// A private key that signs evidence. It is cleared from memory when dropped.
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// Makes a new key from the operating system's random numbers.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] where the system has no random numbers to give.
    pub fn generate() -> Result<Self, Error> {
        let mut seed = Zeroizing::new([0; 32]);
        rand::rngs::SysRng.try_fill_bytes(&mut *seed).map_err(|error| {
            Error::new(ErrorKind::Io, "cannot get random numbers for a new key").caused_by(error)
        })?;
        Ok(Self(ed25519_dalek::SigningKey::from_bytes(&seed)))
    }

    /// Reads a key from PKCS#8 PEM.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidKey`] where the text is not an unencrypted ed25519 private key.
    pub fn from_pem(pem: &str) -> Result<Self, Error> {
        let seed = from_pem(pem, PRIVATE_LABEL, &PRIVATE_PREFIX)?;
        Ok(Self(ed25519_dalek::SigningKey::from_bytes(&seed)))
    }

    /// Reads a key from a PEM file.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] where the file cannot be read, [`ErrorKind::InvalidKey`] where it has no such key.
    pub fn from_file(path: &Path) -> Result<Self, Error> {
        let pem = Zeroizing::new(read(path)?);
        Self::from_pem(&pem).map_err(|error| in_file(error, path))
    }

    /// Returns the key as PKCS#8 PEM. The text is cleared from memory when dropped.
    pub fn to_pem(&self) -> Zeroizing<String> {
        to_pem(PRIVATE_LABEL, &PRIVATE_PREFIX, self.0.as_bytes())
    }

    /// Writes the key to a new file that only its owner can read (mode 0600).
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`] where the file is there: a key is never overwritten. [`ErrorKind::Io`] else.
    pub fn write_file(&self, path: &Path) -> Result<(), Error> {
        write_new(path, 0o600, self.to_pem().as_bytes())
    }

    /// Returns the public half.
    pub fn verifying_key(&self) -> VerifyingKey {
        VerifyingKey(self.0.verifying_key())
    }

    pub(super) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.verifying_key().id())
    }
}

/// A public key that verifies evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyingKey(ed25519_dalek::VerifyingKey);

impl VerifyingKey {
    /// Returns the key's id: the first 32 hexadecimal digits of the SHA-256 of its 32 bytes.
    pub fn id(&self) -> String {
        let mut id = crate::digest::sha256_hex(self.0.as_bytes());
        id.truncate(32);
        id
    }

    /// Reads a key from a `PUBLIC KEY` PEM.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidKey`] where the text is not an ed25519 public key, or is a weak one.
    pub fn from_pem(pem: &str) -> Result<Self, Error> {
        let bytes = from_pem(pem, PUBLIC_LABEL, &PUBLIC_PREFIX)?;
        match ed25519_dalek::VerifyingKey::from_bytes(&bytes) {
            Ok(key) if !key.is_weak() => Ok(Self(key)),
            _ => Err(Error::new(ErrorKind::InvalidKey, "public key is not a usable point on the curve")),
        }
    }

    /// Reads a key from a PEM file.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] where the file cannot be read, [`ErrorKind::InvalidKey`] where it has no such key.
    pub fn from_file(path: &Path) -> Result<Self, Error> {
        Self::from_pem(&read(path)?).map_err(|error| in_file(error, path))
    }

    /// Returns the key as a `PUBLIC KEY` PEM.
    pub fn to_pem(&self) -> String {
        to_pem(PUBLIC_LABEL, &PUBLIC_PREFIX, self.0.as_bytes()).to_string()
    }

    /// Writes the key to a new file that everyone can read (mode 0644).
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`] where the file is there, [`ErrorKind::Io`] else.
    pub fn write_file(&self, path: &Path) -> Result<(), Error> {
        write_new(path, 0o644, self.to_pem().as_bytes())
    }

    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        ed25519_dalek::Signature::from_slice(signature)
            .is_ok_and(|signature| self.0.verify_strict(message, &signature).is_ok())
    }
}

fn to_pem(label: &str, prefix: &[u8], key: &[u8; 32]) -> Zeroizing<String> {
    let der = Zeroizing::new([prefix, key].concat());
    let body = Zeroizing::new(BASE64.encode(&*der));
    Zeroizing::new(format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", &*body))
}

fn from_pem(pem: &str, label: &str, prefix: &[u8]) -> Result<Zeroizing<[u8; 32]>, Error> {
    let malformed = || {
        Error::new(ErrorKind::InvalidKey, format!("text is not an ed25519 {} in PEM", label.to_lowercase()))
    };
    let body = pem
        .split_once(&format!("-----BEGIN {label}-----"))
        .and_then(|(_, rest)| rest.split_once(&format!("-----END {label}-----")))
        .map(|(body, _)| Zeroizing::new(body.split_ascii_whitespace().collect::<String>()))
        .ok_or_else(malformed)?;
    let der = Zeroizing::new(BASE64.decode(&*body).map_err(|_| malformed())?);
    let key = der.strip_prefix(prefix).ok_or_else(malformed)?;
    let key: &[u8; 32] = key.try_into().map_err(|_| malformed())?;
    Ok(Zeroizing::new(*key))
}

fn in_file(error: Error, path: &Path) -> Error {
    Error::new(ErrorKind::InvalidKey, format!("cannot use the key in {}", path.display())).caused_by(error)
}

fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|error| {
        Error::new(ErrorKind::Io, format!("cannot read {}", path.display())).caused_by(error)
    })
}

fn write_new(path: &Path, mode: u32, bytes: &[u8]) -> Result<(), Error> {
    use std::os::unix::fs::OpenOptionsExt as _;

    let written =
        OpenOptions::new().write(true).create_new(true).mode(mode).open(path).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
    written.map_err(|error| {
        let kind = match error.kind() {
            std::io::ErrorKind::AlreadyExists => ErrorKind::AlreadyExists,
            _ => ErrorKind::Io,
        };
        Error::new(kind, format!("cannot write the key to {}", path.display())).caused_by(error)
    })
}
