//! WAL that lies in a directory and nowhere else: the last transactions of a cluster. It is copied aside before a delta
//! restore removes anything.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::io::Read as _;
use std::os::unix::fs::{DirBuilderExt as _, chown};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::job::restore::Owner;
use crate::job::restore::survey;
use crate::job::restore::writer::sync_directory;
use crate::postgres::segment::{self, ArchiveFile, Cluster};
use crate::repo::Repository;
use crate::wal::archive;

/// WAL files that are not in the repository, and where they are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SavedWal {
    /// The directory that they are copied to, beside the data directory.
    pub directory: PathBuf,
    /// Their names.
    pub files: Vec<String>,
    /// Their bytes.
    pub bytes: u64,
}

/// Finds the files in `pg_wal` of `data_directory` that the repository lacks.
pub(super) async fn find(
    repository: &Repository,
    cluster: &Cluster,
    data_directory: &Path,
    now: Timestamp,
) -> Result<Option<SavedWal>> {
    let folder = data_directory.join("pg_wal");
    let Ok(entries) = fs::read_dir(&folder) else { return Ok(None) };
    let given_up =
        repository.state().await?.wal_expired.get(&cluster.system_identifier).copied().unwrap_or(0);
    let mut names: Vec<String> = Vec::new();
    for entry in entries.flatten() {
        names.extend(entry.file_name().into_string());
    }
    names.sort();
    let mut files = Vec::new();
    let mut bytes = 0;
    let mut listed: Option<(u32, BTreeSet<String>)> = None;
    for name in names {
        let Some(file) = ArchiveFile::parse(&name) else { continue };
        let path = folder.join(&name);
        let is_archived = match file {
            ArchiveFile::Segment(segment) => {
                let Some(number) = segment.number(cluster.segment_size) else { continue };
                // A file that was recycled for a later segment holds nothing of its own.
                if number < given_up || !is_begun(&path, segment, cluster) {
                    continue;
                }
                archive::has_segment(repository, cluster, segment.timeline, number).await?
            }
            ArchiveFile::BackupLabel(_) => continue,
            ArchiveFile::Partial(_) | ArchiveFile::History(_) => {
                let timeline = file.timeline();
                let known = match listed.take() {
                    Some(known) if known.0 == timeline => known,
                    _ => {
                        let names = archive::files(repository, cluster, timeline).await?;
                        (timeline, names.into_iter().collect())
                    }
                };
                let is_archived = known.1.contains(&name);
                listed = Some(known);
                is_archived
            }
        };
        if !is_archived {
            bytes += survey::size(&path);
            files.push(name);
        }
    }
    if files.is_empty() {
        return Ok(None);
    }
    let mut directory = data_directory.as_os_str().to_owned();
    directory.push(now.strftime(".saved-wal-%Y%m%dT%H%M%SZ").to_string());
    Ok(Some(SavedWal { directory: directory.into(), files, bytes }))
}

fn is_begun(path: &Path, segment: segment::SegmentName, cluster: &Cluster) -> bool {
    let mut head = [0; 40];
    let read = File::open(path).and_then(|mut file| {
        file.read_exact(&mut head)?;
        file.metadata()
    });
    read.is_ok_and(|metadata| segment::check_header(segment, &head, metadata.len(), cluster).is_ok())
}

/// Copies the files, durably.
pub(super) fn save(saved: &SavedWal, data_directory: &Path, owner: Option<Owner>) -> Result<()> {
    let folder = &saved.directory;
    DirBuilder::new()
        .mode(0o700)
        .recursive(true)
        .create(folder)
        .map_err(|error| Error::io(format!("create the directory {folder:?}"), error))?;
    let give_away = |path: &Path| match owner {
        Some(Owner { uid, gid }) => chown(path, Some(uid), Some(gid)),
        None => Ok(()),
    };
    give_away(folder).map_err(|error| Error::io(format!("set the owner of {folder:?}"), error))?;
    for name in &saved.files {
        let (from, to) = (data_directory.join("pg_wal").join(name), folder.join(name));
        let copied =
            fs::copy(&from, &to).and_then(|_| give_away(&to)).and_then(|()| File::open(&to)?.sync_all());
        copied.map_err(|error| Error::io(format!("save {from:?} as {to:?}"), error))?;
    }
    sync_directory(folder)?;
    match folder.parent() {
        Some(parent) => sync_directory(parent),
        None => Ok(()),
    }
}
