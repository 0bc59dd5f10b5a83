//! Keys, sealed objects, frames: the chapters "Objects" and "Encryption" of `docs/repository-format.md`.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use serde_json::Value;

pub(crate) type Result<T> = std::result::Result<T, String>;

/// What the user holds.
#[derive(Debug, Clone)]
pub(crate) enum Secret {
    Nothing,
    Passphrase(String),
    Raw([u8; 32]),
}

/// An opened repository in a directory.
#[derive(Debug)]
pub(crate) struct Reader {
    root: PathBuf,
    /// The repository key, where there is one.
    key: Option<[u8; 32]>,
    block_hash_key: [u8; 32],
}

pub(crate) mod kind {
    pub(crate) const RECORD: u8 = 2;
    pub(crate) const SNAPSHOT: u8 = 3;
    pub(crate) const MANIFEST: u8 = 4;
    pub(crate) const PART: u8 = 5;
    pub(crate) const CLUSTER: u8 = 6;
    pub(crate) const WAL: u8 = 7;
    pub(crate) const LEDGER: u8 = 8;
    pub(crate) const CONDEMNED: u8 = 9;
    pub(crate) const TAIL: u8 = 11;
}

pub(crate) fn text<'a>(value: &'a Value, field: &str) -> Result<&'a str> {
    value[field].as_str().ok_or_else(|| format!("no text {field} in {value}"))
}

pub(crate) fn number(value: &Value, field: &str) -> Result<u64> {
    value[field].as_u64().ok_or_else(|| format!("no number {field} in {value}"))
}

pub(crate) fn list<'a>(value: &'a Value, field: &str) -> Result<&'a [Value]> {
    value[field].as_array().map(Vec::as_slice).ok_or_else(|| format!("no list {field} in {value}"))
}

pub(crate) fn hex(text: &str) -> Result<Vec<u8>> {
    let digit = |digit: u8| char::from(digit).to_digit(16).map(|digit| digit as u8);
    let byte = |pair: &[u8]| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?);
    text.as_bytes()
        .chunks(2)
        .map(byte)
        .collect::<Option<_>>()
        .ok_or_else(|| format!("{text} is not hexadecimal"))
}

fn array<const N: usize>(bytes: &[u8]) -> Result<[u8; N]> {
    bytes.try_into().map_err(|_| format!("{} bytes, expected {N}", bytes.len()))
}

pub(crate) fn version_two(value: &Value) -> Result<()> {
    match number(value, "version")? {
        2 => Ok(()),
        other => Err(format!("version {other} is not known to this reader")),
    }
}

fn decrypt(key: &[u8; 32], position: u64, associated: &[u8], sealed: &[u8]) -> Result<Vec<u8>> {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&position.to_le_bytes());
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).unwrap());
    let mut buffer = sealed.to_vec();
    let plain = key
        .open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(associated), &mut buffer)
        .map_err(|_| "cannot be decrypted".to_owned())?;
    Ok(plain.to_vec())
}

/// "Compressed content": how, then the bytes.
fn decompress(content: &[u8], length: usize) -> Result<Vec<u8>> {
    let (how, body) = content.split_first().ok_or("no content")?;
    let raw = match how {
        0 => body.to_vec(),
        1 => zstd::bulk::decompress(body, length).map_err(|error| error.to_string())?,
        2 => lz4_flex::block::decompress(body, length).map_err(|error| error.to_string())?,
        other => return Err(format!("compressed in the unknown way {other}")),
    };
    if raw.len() == length { Ok(raw) } else { Err(format!("{} bytes, expected {length}", raw.len())) }
}

impl Reader {
    pub(crate) fn open(root: &Path, secret: &Secret) -> Result<Self> {
        let mut reader = Reader { root: root.to_owned(), key: None, block_hash_key: [0; 32] };
        let marker: Value =
            serde_json::from_slice(&reader.bytes("repository.json")?).map_err(|error| error.to_string())?;
        if text(&marker, "format")? != "ops-backup repository" {
            return Err("not a repository".to_owned());
        }
        version_two(&marker)?;
        let (id, encryption) = (text(&marker, "id")?, text(&marker, "encryption")?);
        let hashed =
            format!("ops-backup repository\n2\n{id}\n{}\n{encryption}\n", text(&marker, "created_at")?);
        if blake3::hash(hashed.as_bytes()).to_hex().as_str() != text(&marker, "blake3")? {
            return Err("repository.json has another hash".to_owned());
        }
        let material = match encryption {
            "none" => id.as_bytes().to_vec(),
            "aes-256-gcm" => {
                let key = reader.unlock(id, secret)?;
                reader.key = Some(key);
                key.to_vec()
            }
            other => return Err(format!("encryption {other} is not known to this reader")),
        };
        reader.block_hash_key = blake3::derive_key("ops-backup repository 2 block hash key", &material);
        Ok(reader)
    }

    fn unlock(&self, repository: &str, secret: &Secret) -> Result<[u8; 32]> {
        for name in self.names("keys")? {
            let object = self.bytes(&format!("keys/{name}"))?;
            let key: Value = serde_json::from_slice(&object).map_err(|error| error.to_string())?;
            version_two(&key)?;
            let (derivation, salt) = (&key["derivation"], hex(text(&key, "salt")?)?);
            let kind = text(derivation, "kind")?;
            let mut compact = format!("{{\"kind\":\"{kind}\"}}");
            let key_encryption_key = match (kind, secret) {
                ("raw", Secret::Raw(raw)) => *raw,
                ("passphrase", Secret::Passphrase(passphrase)) => {
                    let of = |field| number(derivation, field).map(|value| value as u32);
                    let (memory, passes, lanes) = (of("memory_kib")?, of("passes")?, of("lanes")?);
                    compact = format!(
                        "{{\"kind\":\"{kind}\",\"memory_kib\":{memory},\"passes\":{passes},\"lanes\":{lanes}}}"
                    );
                    let parameters = argon2::Params::new(memory, passes, lanes, Some(32)).unwrap();
                    let mut output = [0; 32];
                    argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, parameters)
                        .hash_password_into(passphrase.as_bytes(), &salt, &mut output)
                        .map_err(|error| error.to_string())?;
                    output
                }
                _ => continue,
            };
            let identity = |of: &str| {
                Ok::<_, String>([of, "2", text(&key, "id")?, text(&key, "created_at")?, &compact].join("\n"))
            };
            let wrapped = hex(text(&key, "wrapped")?)?;
            let hashed = [identity("")?.as_bytes(), b"\n", &salt, &wrapped].concat();
            if blake3::hash(&hashed).to_hex().as_str() != text(&key, "blake3")? {
                return Err(format!("keys/{name} has another hash"));
            }
            let material = [&key_encryption_key[..], &salt].concat();
            let wrapping = blake3::derive_key("ops-backup repository 2 key wrap", &material);
            if let Ok(found) = decrypt(&wrapping, 0, identity(repository)?.as_bytes(), &wrapped) {
                return array(&found);
            }
        }
        Err("no key object is opened by this secret".to_owned())
    }

    /// The names in a directory of the repository; none where it is not there.
    pub(crate) fn names(&self, prefix: &str) -> Result<Vec<String>> {
        let Ok(entries) = fs::read_dir(self.root.join(prefix)) else { return Ok(Vec::new()) };
        let name = |entry: std::io::Result<fs::DirEntry>| {
            entry.map(|entry| entry.file_name().into_string().unwrap()).map_err(|error| error.to_string())
        };
        let mut names = entries.map(name).collect::<Result<Vec<_>>>()?;
        names.retain(|name| !name.contains('#'));
        names.sort();
        Ok(names)
    }

    pub(crate) fn has(&self, path: &str) -> bool {
        self.root.join(path).is_file()
    }

    pub(crate) fn bytes(&self, path: &str) -> Result<Vec<u8>> {
        fs::read(self.root.join(path)).map_err(|error| format!("{path}: {error}"))
    }

    fn key_of(&self, salt: &[u8]) -> Option<[u8; 32]> {
        let material = [&self.key?[..], salt].concat();
        Some(blake3::derive_key("ops-backup repository 2 object key", &material))
    }

    /// The content of the sealed object at `path`.
    pub(crate) fn unseal(&self, kind: u8, path: &str) -> Result<Vec<u8>> {
        let object = self.bytes(path)?;
        let refuse = |what: &str| Err(format!("{path} {what}"));
        if object.len() < 72 || &object[..7] != b"OPSBKUP" {
            return refuse("is damaged");
        }
        let (body, trailer) = object.split_at(object.len() - 32);
        if blake3::hash(&[path.as_bytes(), &[0], body].concat()).as_bytes() != trailer {
            return refuse("is damaged");
        }
        if body[7] != 2 || body[10..16] != [0; 6] {
            return refuse("was written by a newer program");
        }
        if body[8] != kind || body[9] != u8::from(self.key.is_some()) {
            return refuse("is another kind of object");
        }
        let length = u64::from_le_bytes(array(&body[16..24])?);
        if length > 1 << 31 {
            return refuse("has an absurd length");
        }
        let content = match self.key_of(&body[24..40]) {
            Some(key) => decrypt(&key, 0, &[&body[..40], path.as_bytes()].concat(), &body[40..])?,
            None => body[40..].to_vec(),
        };
        decompress(&content, length as usize)
    }

    pub(crate) fn json(&self, kind: u8, path: &str) -> Result<Value> {
        let value =
            serde_json::from_slice(&self.unseal(kind, path)?).map_err(|error| format!("{path}: {error}"))?;
        version_two(&value).map_err(|what| format!("{path}: {what}"))?;
        Ok(value)
    }

    /// The frame at `offset` of the pack that `reference` names, decompressed.
    pub(crate) fn frame(&self, reference: &Value, offset: u64, stored: u64, raw: u64) -> Result<Vec<u8>> {
        let backup = text(reference, "backup")?;
        let path = format!("packs/{backup}/{}", text(reference, "name")?);
        if offset + stored > number(reference, "size")? {
            return Err(format!("a frame lies behind the end of {path}"));
        }
        let mut bytes = vec![0; stored as usize];
        fs::File::open(self.root.join(&path))
            .and_then(|pack| pack.read_exact_at(&mut bytes, offset))
            .map_err(|error| format!("{path}: {error}"))?;
        let salt = hex(text(reference, "salt")?)?;
        let content = match self.key_of(&salt) {
            Some(key) => decrypt(&key, offset, backup.as_bytes(), &bytes)?,
            None => bytes,
        };
        decompress(&content, raw as usize).map_err(|what| format!("{path} at {offset}: {what}"))
    }

    /// Proves a whole pack by its name and header.
    pub(crate) fn prove_pack(&self, reference: &Value) -> Result<()> {
        let (backup, name) = (text(reference, "backup")?, text(reference, "name")?);
        let pack = self.bytes(&format!("packs/{backup}/{name}"))?;
        let salt = hex(text(reference, "salt")?)?;
        let encrypted = u8::from(self.key.is_some());
        let header = [b"OPSBKUP\x02\x01".as_slice(), &[encrypted], &[0; 14], &salt].concat();
        let right = pack.len() as u64 == number(reference, "size")?
            && blake3::hash(&pack).to_hex().as_str() == name
            && pack.starts_with(&header);
        if right { Ok(()) } else { Err(format!("pack {name} is damaged")) }
    }

    pub(crate) fn block_hash(&self, bytes: &[u8]) -> [u8; 16] {
        array(&blake3::keyed_hash(&self.block_hash_key, bytes).as_bytes()[..16]).unwrap()
    }
}
