//! What lies in an existing directory and is not in the backup: found for the plan, removed by its execution.

use std::collections::BTreeSet;
use std::fs::{self, DirEntry};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::job::restore::marker;
use crate::repo::content::Listing;

const EXAMPLES: usize = 20;

/// Files that a delta restore removes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Removal {
    /// How many files and links.
    pub files: u64,
    /// How many directories.
    pub directories: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// The first of them, by their paths below the directory.
    pub examples: Vec<String>,
}

/// The paths of a backup, 16 bytes for each: a million must not take much memory.
#[derive(Debug, Default)]
pub(super) struct Paths {
    hashes: Vec<u128>,
}

impl Paths {
    pub(super) fn add(&mut self, listing: &Listing) {
        self.hashes.extend(listing.entries.iter().map(|entry| hash(entry.path())));
    }

    pub(super) fn settle(&mut self) {
        self.hashes.sort_unstable();
    }

    fn contains(&self, path: &str) -> bool {
        self.hashes.binary_search(&hash(path)).is_ok()
    }
}

fn hash(path: &str) -> u128 {
    let hash = blake3::hash(path.as_bytes());
    u128::from_le_bytes(hash.as_bytes()[..16].try_into().expect("sixteen bytes"))
}

/// What is done with what is not in the backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Count,
    Remove,
}

/// Walks one directory of a restore.
pub(super) struct Survey<'a> {
    pub(super) paths: &'a Paths,
    /// Links in `pg_tblspc` that lead to tablespaces of the backup in the place where they stay.
    pub(super) tablespaces: &'a BTreeSet<u32>,
}

impl Survey<'_> {
    /// Counts what a restore into `root` removes.
    pub(super) fn count(&self, root: &Path) -> Result<Removal> {
        self.walk_root(root, Fate::Count)
    }

    /// Removes it. Run again after a crash it removes the rest.
    pub(super) fn remove(&self, root: &Path) -> Result<Removal> {
        self.walk_root(root, Fate::Remove)
    }

    fn walk_root(&self, root: &Path, fate: Fate) -> Result<Removal> {
        let mut removal = Removal::default();
        self.walk(root, "", fate, &mut removal)?;
        Ok(removal)
    }

    fn walk(&self, on_disk: &Path, path: &str, fate: Fate, removal: &mut Removal) -> Result<()> {
        let failed = |error| Error::io(format!("list {on_disk:?}"), error);
        let mut entries: Vec<DirEntry> = fs::read_dir(on_disk).and_then(Iterator::collect).map_err(failed)?;
        entries.sort_by_key(DirEntry::file_name);
        for entry in entries {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let below = if path.is_empty() { name.into_owned() } else { format!("{path}/{name}") };
            // A tablespace is one folder for each version that ever used its place; only ours is ours.
            let is_of_others = self.is_parent_of_tablespace(path) && !self.paths.contains(&below);
            if is_kept(&below) || is_of_others {
                continue;
            }
            let place = entry.path();
            let kind = entry.file_type().map_err(|error| Error::io(format!("read {place:?}"), error))?;
            let is_link_to_follow = kind.is_symlink() && self.is_followed(&below) && place.is_dir();
            if kind.is_dir() || is_link_to_follow {
                self.walk(&place, &below, fate, removal)?;
                if self.paths.contains(&below) || is_link_to_follow || self.is_parent_of_tablespace(&below) {
                    continue;
                }
                removal.directories += 1;
                note(removal, format!("{below}/"));
                if fate == Fate::Remove {
                    fs::remove_dir(&place).map_err(|error| Error::io(format!("remove {place:?}"), error))?;
                }
            } else if kind.is_symlink() || !self.paths.contains(&below) {
                // A link is never written through; it is removed also where the backup has a file or directory there.
                removal.files += 1;
                removal.bytes +=
                    if kind.is_file() { entry.metadata().map_or(0, |metadata| metadata.size()) } else { 0 };
                note(removal, below);
                if fate == Fate::Remove {
                    fs::remove_file(&place).map_err(|error| Error::io(format!("remove {place:?}"), error))?;
                }
            }
        }
        Ok(())
    }

    /// WAL may lie on a disk of its own, and tablespaces are links.
    fn is_followed(&self, path: &str) -> bool {
        path == "pg_wal" || self.is_parent_of_tablespace(path)
    }

    fn is_parent_of_tablespace(&self, path: &str) -> bool {
        let oid = path.strip_prefix("pg_tblspc/").and_then(|oid| oid.parse().ok());
        oid.is_some_and(|oid| self.tablespaces.contains(&oid))
    }
}

/// The note of the restore itself, and what belongs to the file system.
fn is_kept(path: &str) -> bool {
    path == marker::NAME || path == "lost+found" || path.ends_with("/lost+found")
}

fn note(removal: &mut Removal, path: String) {
    if removal.examples.len() < EXAMPLES {
        removal.examples.push(path);
    }
}

/// Bytes of an ordinary file; zero for anything else.
pub(super) fn size(path: &Path) -> u64 {
    fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file).map_or(0, |metadata| metadata.len())
}
