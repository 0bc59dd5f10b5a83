//! Which files of a data directory belong to a physical backup, and how they are found. Reads names, never content.
//!
//! Source: `backup/basebackup.c` of PostgreSQL 15 and the manual's chapter on base backups.

use std::collections::HashSet;
use std::fs::{self, DirEntry};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};
use crate::postgres::control::{self, ControlFile};

/// One thing that a backup holds, by its path below the data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    Directory { path: String, mode: u32 },
    File(FoundFile),
}

/// A regular file as it was when it was listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundFile {
    pub(crate) path: String,
    pub(crate) on_disk: PathBuf,
    pub(crate) size: u64,
    pub(crate) mode: u32,
    /// Seconds since 1970.
    pub(crate) modified: i64,
    /// The number of the file in its relation (the `2` of `16384.2`), where its pages carry checksums.
    pub(crate) relation_part: Option<u32>,
}

/// A tablespace outside the data directory.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Tablespace {
    /// The name of its link in `pg_tblspc`.
    pub oid: u32,
    /// Where the link led when the backup was taken.
    pub location: PathBuf,
}

/// The files of a cluster.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) found: Vec<Found>,
    pub(crate) tablespaces: Vec<Tablespace>,
}

/// Directories whose content is rebuilt at start; they are kept, empty.
const EMPTIED: [&str; 8] = [
    "pg_wal",
    "pg_replslot",
    "pg_dynshmem",
    "pg_notify",
    "pg_serial",
    "pg_snapshots",
    "pg_subtrans",
    "pg_stat_tmp",
];

const EXCLUDED: [&str; 12] = [
    "backup_label",
    "backup_label.old",
    "backup_manifest",
    "backup_manifest.tmp",
    "current_logfiles.tmp",
    "postgresql.auto.conf.tmp",
    "postmaster.opts",
    "postmaster.pid",
    "recovery.signal",
    "standby.signal",
    "tablespace_map",
    "tablespace_map.old",
];

/// Lists what a backup of the running cluster in `data_directory` must hold, except for `pg_control`.
pub(crate) fn list(data_directory: &Path, control: &ControlFile) -> Result<Listing> {
    let mut listing = Listing::default();
    list_directory(data_directory, "", &mut listing)?;
    let tablespace_folder = format!("PG_{}_{}", control.cluster.major, control.catalog_version);
    for tablespace in listing.tablespaces.clone() {
        let inside = tablespace.location.canonicalize().is_ok_and(|path| {
            data_directory.canonicalize().is_ok_and(|data_directory| path.starts_with(data_directory))
        });
        if inside {
            let message = format!(
                "tablespace {} lies inside the data directory, at {:?}",
                tablespace.oid, tablespace.location
            );
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let path = format!("pg_tblspc/{}/{tablespace_folder}", tablespace.oid);
        let on_disk = tablespace.location.join(&tablespace_folder);
        let mode =
            fs::metadata(&on_disk).map_err(|error| Error::io(format!("read {on_disk:?}"), error))?.mode();
        listing.found.push(Found::Directory { path: path.clone(), mode: mode & 0o7777 });
        list_directory(&on_disk, &path, &mut listing)?;
    }
    Ok(listing)
}

fn list_directory(on_disk: &Path, path: &str, listing: &mut Listing) -> Result<()> {
    let failed = |error| Error::io(format!("list {on_disk:?}"), error);
    let entries: Vec<DirEntry> = match fs::read_dir(on_disk).and_then(Iterator::collect) {
        Ok(entries) => entries,
        // A database that was dropped since its directory was listed.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !path.is_empty() => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    let relations = Relations::of(path, &entries);
    for entry in entries {
        let name = entry.file_name();
        let Some(name) = name.to_str() else {
            let message = format!("the name of {:?} is not UTF-8", entry.path());
            return Err(Error::new(ErrorKind::Unsupported, message));
        };
        let path = if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
        if is_excluded(&path, name) || relations.excludes(name) {
            continue;
        }
        let metadata = match if path == "pg_wal" { fs::metadata(entry.path()) } else { entry.metadata() } {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(failed(error)),
        };
        let kind = metadata.file_type();
        if path.starts_with("pg_tblspc/") && !path["pg_tblspc/".len()..].contains('/') {
            listing.tablespaces.push(tablespace(&entry, name, kind.is_symlink())?);
        } else if kind.is_dir() {
            listing.found.push(Found::Directory { path: path.clone(), mode: metadata.mode() & 0o7777 });
            if path == "pg_wal" {
                listing
                    .found
                    .push(Found::Directory { path: "pg_wal/archive_status".to_owned(), mode: 0o700 });
            } else if !EMPTIED.contains(&path.as_str()) {
                list_directory(&entry.path(), &path, listing)?;
            }
        } else if kind.is_file() {
            listing.found.push(Found::File(FoundFile {
                relation_part: relations.part_of(name),
                on_disk: entry.path(),
                size: metadata.len(),
                mode: metadata.mode() & 0o7777,
                modified: metadata.mtime(),
                path,
            }));
        } else {
            tracing::warn!(path, "left out of the backup: neither a file nor a directory");
        }
    }
    Ok(())
}

fn tablespace(entry: &DirEntry, name: &str, is_link: bool) -> Result<Tablespace> {
    let oid = name.parse().ok().filter(|_| is_link).ok_or_else(|| {
        let message =
            format!("{:?} is not a tablespace link; in-place tablespaces are not supported", entry.path());
        Error::new(ErrorKind::Unsupported, message)
    })?;
    let location = fs::read_link(entry.path())
        .map_err(|error| Error::io(format!("read the link {:?}", entry.path()), error))?;
    Ok(Tablespace { oid, location })
}

fn is_excluded(path: &str, name: &str) -> bool {
    path == control::PATH
        || EXCLUDED.contains(&path)
        || name.starts_with("pgsql_tmp")
        || name.starts_with("pg_internal.init")
}

/// What one directory's names say about its relations.
struct Relations {
    holds_relations: bool,
    unlogged: HashSet<u32>,
}

impl Relations {
    fn of(path: &str, entries: &[DirEntry]) -> Self {
        let names = entries.iter().filter_map(|entry| entry.file_name().into_string().ok());
        Relations { holds_relations: holds_relations(path), unlogged: unlogged(names) }
    }

    /// Temporary relations, and every fork of an unlogged one but the `init` fork that it is reset from.
    fn excludes(&self, name: &str) -> bool {
        self.holds_relations
            && (is_temporary(name)
                || RelationFile::parse(name)
                    .is_some_and(|file| file.fork != "init" && self.unlogged.contains(&file.number)))
    }

    fn part_of(&self, name: &str) -> Option<u32> {
        RelationFile::parse(name).filter(|_| self.holds_relations).map(|file| file.part)
    }
}

fn holds_relations(path: &str) -> bool {
    let mut parts = path.split('/');
    let is_number = |part: Option<&str>| part.is_some_and(|part| part.parse::<u32>().is_ok());
    match parts.next() {
        Some("global") => parts.next().is_none(),
        Some("base") => is_number(parts.next()) && parts.next().is_none(),
        Some("pg_tblspc") => is_number(parts.next()) && parts.next().is_some() && is_number(parts.next()),
        _ => false,
    }
}

fn unlogged(names: impl Iterator<Item = String>) -> HashSet<u32> {
    names.filter_map(|name| name.strip_suffix("_init").and_then(|number| number.parse().ok())).collect()
}

/// `t<backend>_<number>…`: `t3_16384`, `t3_16384_fsm`, `t3_16384.1`.
fn is_temporary(name: &str) -> bool {
    name.strip_prefix('t').and_then(|rest| rest.split_once('_')).is_some_and(|(backend, relation)| {
        !backend.is_empty()
            && backend.bytes().all(|byte| byte.is_ascii_digit())
            && RelationFile::parse(relation).is_some()
    })
}

/// `<number>[_<fork>][.<part>]`
#[derive(Debug, PartialEq, Eq)]
struct RelationFile<'a> {
    number: u32,
    fork: &'a str,
    part: u32,
}

impl<'a> RelationFile<'a> {
    fn parse(name: &'a str) -> Option<Self> {
        let (stem, part) = match name.split_once('.') {
            Some((stem, part)) => (stem, part.parse().ok()?),
            None => (name, 0),
        };
        let (number, fork) = stem.split_once('_').unwrap_or((stem, "main"));
        let known = matches!(fork, "main" | "fsm" | "vm" | "init");
        if !known || !number.starts_with(|first: char| first.is_ascii_digit()) {
            return None;
        }
        Some(RelationFile { number: number.parse().ok()?, fork, part })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relation_files_are_told_by_name() {
        let file = |number, fork, part| Some(RelationFile { number, fork, part });
        for (name, expected) in [
            ("16384", file(16384, "main", 0)),
            ("16384.12", file(16384, "main", 12)),
            ("16384_vm", file(16384, "vm", 0)),
            ("16384_fsm.1", file(16384, "fsm", 1)),
            ("16384_init", file(16384, "init", 0)),
            ("pg_filenode.map", None),
            ("PG_VERSION", None),
            ("16384_other", None),
            ("+5", None),
            ("16384.x", None),
        ] {
            assert_eq!(RelationFile::parse(name), expected, "{name}");
        }
    }

    #[test]
    fn exclusions_follow_the_server() {
        let relations =
            Relations { holds_relations: true, unlogged: unlogged(["5_init".to_owned()].into_iter()) };
        for (name, expected) in [
            ("5", true),
            ("5.1", true),
            ("5_fsm", true),
            ("5_init", false),
            ("6", false),
            ("t3_6", true),
            ("t3_6_fsm", true),
            ("t3_x", false),
            ("table_6", false),
        ] {
            assert_eq!(relations.excludes(name), expected, "{name}");
        }
        let elsewhere = Relations { holds_relations: false, unlogged: HashSet::from([5]) };
        assert!(!elsewhere.excludes("5"));
        for (path, expected) in [
            ("postmaster.pid", true),
            ("log/postmaster.pid", false),
            ("global/pg_control", true),
            ("base/pgsql_tmp", true),
            ("base/5/pg_internal.init.77", true),
            ("log", false),
            ("recovery.signal", true),
        ] {
            assert_eq!(is_excluded(path, path.rsplit('/').next().unwrap()), expected, "{path}");
        }
    }

    #[test]
    fn only_database_directories_hold_relations() {
        for (path, expected) in [
            ("global", true),
            ("base/5", true),
            ("pg_tblspc/16400/PG_15_202209061/5", true),
            ("pg_tblspc/16400/PG_15_202209061", false),
            ("base", false),
            ("base/pgsql_tmp", false),
            ("pg_xact", false),
            ("", false),
        ] {
            assert_eq!(holds_relations(path), expected, "{path}");
        }
    }
}
