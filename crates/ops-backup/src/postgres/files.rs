//! Which files of a data directory belong to a physical backup, and how they are found. Reads names, never content.
//!
//! Source: `backup/basebackup.c` of PostgreSQL 15 and the manual's chapter on base backups.

use std::collections::HashSet;
use std::fs::{self, DirEntry, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};
use crate::postgres::control::{self, ControlFile};

/// What the walk through a data directory meets, directory by directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    /// What follows lies in the directory at this path.
    Inside(&'a str),
    Directory {
        name: &'a str,
        mode: u32,
    },
    File(FoundFile<'a>),
}

/// A regular file as it was when it was listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FoundFile<'a> {
    pub(crate) name: &'a str,
    pub(crate) size: u64,
    pub(crate) mode: u32,
    /// Nanoseconds since 1970.
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

/// Shows `visit` what a backup of the running cluster in `data_directory` must hold, except for `pg_control`, and returns
/// the tablespaces. Every path is also one below `data_directory`, through the links of the tablespaces.
pub(crate) fn walk(
    data_directory: &Path,
    control: &ControlFile,
    visit: &mut dyn FnMut(Found<'_>),
) -> Result<Vec<Tablespace>> {
    let mut walk = Walk { data_directory, visit, waiting: vec![String::new()], tablespaces: Vec::new() };
    walk.directories()?;
    let folder = format!("PG_{}_{}", control.cluster.major, control.catalog_version);
    for tablespace in std::mem::take(&mut walk.tablespaces) {
        let parent = format!("pg_tblspc/{}", tablespace.oid);
        let on_disk = data_directory.join(&parent).join(&folder);
        let mode = match fs::metadata(&on_disk) {
            Ok(metadata) => metadata.mode(),
            // Dropped since it was listed. While its link is there, its place may just not be mounted.
            Err(error)
                if error.kind() == std::io::ErrorKind::NotFound
                    && data_directory.join(&parent).symlink_metadata().is_err() =>
            {
                continue;
            }
            Err(error) => return Err(Error::io(format!("read {on_disk:?}"), error)),
        };
        refuse_inside(data_directory, &tablespace)?;
        walk.tablespaces.push(tablespace);
        (walk.visit)(Found::Inside(&parent));
        (walk.visit)(Found::Directory { name: &folder, mode: mode & 0o7777 });
        walk.waiting.push(format!("{parent}/{folder}"));
        walk.directories()?;
    }
    Ok(walk.tablespaces)
}

/// It would be copied twice, and restored into itself.
fn refuse_inside(data_directory: &Path, tablespace: &Tablespace) -> Result<()> {
    let real = |path: &Path| path.canonicalize().map_err(|error| Error::io(format!("find {path:?}"), error));
    if !real(&data_directory.join(&tablespace.location))?.starts_with(real(data_directory)?) {
        return Ok(());
    }
    let message =
        format!("tablespace {} lies inside the data directory, at {:?}", tablespace.oid, tablespace.location);
    Err(Error::new(ErrorKind::Unsupported, message))
}

struct Walk<'a> {
    data_directory: &'a Path,
    visit: &'a mut dyn FnMut(Found<'_>),
    waiting: Vec<String>,
    tablespaces: Vec<Tablespace>,
}

impl Walk<'_> {
    fn directories(&mut self) -> Result<()> {
        while let Some(path) = self.waiting.pop() {
            self.directory(&path)?;
        }
        Ok(())
    }

    fn directory(&mut self, path: &str) -> Result<()> {
        let on_disk = self.data_directory.join(path);
        let failed = |error| Error::io(format!("list {on_disk:?}"), error);
        let entries: Vec<DirEntry> = match fs::read_dir(&on_disk).and_then(Iterator::collect) {
            Ok(entries) => entries,
            // A database that was dropped since its directory was listed.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !path.is_empty() => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        (self.visit)(Found::Inside(path));
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
            // `pg_wal` may be a link to another disk, and is restored as a directory.
            match if path == "pg_wal" { fs::metadata(entry.path()) } else { entry.metadata() } {
                Ok(metadata) => self.entry(&entry, path, name, &metadata, &relations)?,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(error)),
            }
        }
        // Its content is not copied, and the server does not start without it.
        if path.is_empty() {
            (self.visit)(Found::Inside("pg_wal"));
            (self.visit)(Found::Directory { name: "archive_status", mode: 0o700 });
        }
        Ok(())
    }

    fn entry(
        &mut self,
        entry: &DirEntry,
        path: String,
        name: &str,
        metadata: &Metadata,
        relations: &Relations,
    ) -> Result<()> {
        let (kind, mode) = (metadata.file_type(), metadata.mode() & 0o7777);
        if path.starts_with("pg_tblspc/") && path.split('/').count() == 2 {
            self.tablespaces.push(tablespace(entry, name, kind.is_symlink())?);
        } else if kind.is_dir() {
            (self.visit)(Found::Directory { name, mode });
            if !EMPTIED.contains(&path.as_str()) {
                self.waiting.push(path);
            }
        } else if kind.is_file() {
            (self.visit)(Found::File(FoundFile {
                name,
                size: metadata.len(),
                mode,
                modified: metadata
                    .mtime()
                    .saturating_mul(1_000_000_000)
                    .saturating_add(metadata.mtime_nsec()),
                relation_part: relations.part_of(name),
            }));
        } else {
            tracing::warn!(path, "left out of the backup: neither a file nor a directory");
        }
        Ok(())
    }
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

/// What the file at `path` is to a backup that did not find it itself: the number in its relation, where its pages carry
/// checksums.
pub(crate) fn relation_part(path: &str) -> Option<u32> {
    let (directory, name) = path.rsplit_once('/')?;
    RelationFile::parse(name).filter(|_| holds_relations(directory)).map(|file| file.part)
}

/// Whether what the server sends at `path` is left out of every backup: some of it the server leaves out itself.
pub(crate) fn is_left_out(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let emptied = path.split_once('/').is_some_and(|(directory, _)| EMPTIED.contains(&directory));
    emptied || (path != control::PATH && is_excluded(path, name))
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
    fn what_the_server_sends_is_told_by_its_path() {
        for (path, part) in [
            ("base/5/16384.2", Some(2)),
            ("global/1262", Some(0)),
            ("pg_tblspc/16400/PG_15_202209061/5/16401_vm", Some(0)),
            ("base/5/PG_VERSION", None),
            ("pg_xact/0000", None),
            ("PG_VERSION", None),
        ] {
            assert_eq!((relation_part(path), is_left_out(path)), (part, false), "{path}");
        }
        for path in
            ["standby.signal", "pg_wal/000000010000000000000001", "pg_wal/summaries", "tablespace_map"]
        {
            assert!(is_left_out(path), "{path}");
        }
        assert!(!is_left_out(control::PATH) && !is_left_out("pg_wal") && !is_left_out("pg_replslot"));
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
