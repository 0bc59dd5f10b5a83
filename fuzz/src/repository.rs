//! A repository in which one object was changed and sealed anew: whatever it says, every job ends, and with an answer.
//!
//! The object is sealed by `docs/repository-format.md`, so that a change gets behind the hash of the envelope. Objects that
//! are named by their hash (packs, the manifest of a backup) are found out at once; the property tests of the crate's
//! decoders reach what they hold.

use std::collections::BTreeMap;
use std::path::Path as FilePath;
use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use ops_backup::{Monitor, Repository, RestoreOptions, RestoreTarget, VerifyOptions};

/// The objects of a repository without encryption, by their paths.
pub type Objects = BTreeMap<String, Vec<u8>>;

/// Reads a repository from a directory.
pub fn load(root: &FilePath) -> Objects {
    let mut objects = Objects::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(directory).expect("the fixture is there") {
            let path = entry.expect("the fixture can be listed").path();
            if path.is_dir() {
                waiting.push(path);
                continue;
            }
            let name = path.strip_prefix(root).ok().and_then(FilePath::to_str).expect("names are ASCII");
            objects.insert(name.to_owned(), std::fs::read(&path).expect("the fixture can be read"));
        }
    }
    objects
}

/// Changes one object as `bytes` say and does everything with the repository that reads. Returns whether it was opened.
///
/// The first two bytes choose the object; groups of five follow: what, where, and with which byte.
pub fn changed_object(objects: &Objects, bytes: &[u8]) -> bool {
    let Some((choice, edits)) = bytes.split_first_chunk::<2>() else { return false };
    let choice = usize::from(u16::from_le_bytes(*choice)) % objects.len();
    let (path, object) = objects.iter().nth(choice).expect("the number is below the count");
    let sealed = object.starts_with(b"OPSBKUP") && !path.starts_with("packs/");
    let changed = if sealed {
        seal(path, &object[..40], edited(&content(object), edits))
    } else {
        edited(object, edits)
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime needs nothing").block_on(async {
        let memory = Arc::new(InMemory::new());
        for (other, bytes) in objects {
            let bytes = if other == path { &changed } else { bytes };
            memory.put(&Path::from(other.as_str()), bytes.clone().into()).await.expect("memory takes it");
        }
        read_all(memory).await
    })
}

async fn read_all(store: Arc<dyn ObjectStore>) -> bool {
    let Ok(repository) = Repository::open(store, None).await else { return false };
    let _ = ops_backup::list(&repository).await;
    let options = VerifyOptions { record: false, workers: 1, ..VerifyOptions::default() };
    let _ = ops_backup::verify(&repository, &options, &Monitor::default()).await;
    for backup in repository.backups().await.unwrap_or_default() {
        let target = RestoreTarget::check(&std::env::temp_dir().join("ops-backup-fuzz-writes-nothing"));
        let options = RestoreOptions { backup: Some(backup.id), ..RestoreOptions::default() };
        if let Ok(target) = target {
            let _ = ops_backup::restore::plan(&repository, target, options).await;
        }
    }
    true
}

/// The content of a sealed object that is stored as it is or as a zstd frame.
fn content(object: &[u8]) -> Vec<u8> {
    let length = object[16..24].try_into().map(u64::from_le_bytes).expect("eight bytes");
    let body = &object[41..object.len() - 32];
    match object[40] {
        0 => body.to_vec(),
        _ => zstd::bulk::decompress(body, length as usize).expect("the fixture is sound"),
    }
}

fn seal(path: &str, header: &[u8], content: Vec<u8>) -> Vec<u8> {
    let mut object = header.to_vec();
    object[16..24].copy_from_slice(&(content.len() as u64).to_le_bytes());
    object.push(0);
    object.extend(content);
    let hash = blake3::Hasher::new().update(path.as_bytes()).update(&[0]).update(&object).finalize();
    object.extend_from_slice(hash.as_bytes());
    object
}

/// Numbers at which something may overflow, or be too much.
const EDGES: [&str; 8] =
    ["0", "1", "3", "4294967295", "4294967296", "9223372036854775807", "18446744073709551615", "-1"];

fn edited(bytes: &[u8], edits: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for edit in edits.chunks_exact(5).take(8) {
        let at = u32::from_le_bytes([edit[1], edit[2], edit[3], 0]) as usize % (bytes.len() + 1);
        let value = edit[4];
        let end = (at + usize::from(value)).min(bytes.len());
        match edit[0] % 6 {
            0 if at < bytes.len() => bytes[at] ^= value,
            1 => bytes.truncate(at),
            2 => bytes.insert(at, value),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            // The next number becomes another one.
            _ => {
                let Some(start) = bytes[at..].iter().position(u8::is_ascii_digit) else { continue };
                let start = at + start;
                let length = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                let number = EDGES[usize::from(value) % EDGES.len()];
                bytes.splice(start..start + length, number.bytes());
            }
        }
    }
    bytes
}
