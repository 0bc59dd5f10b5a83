//! The second half of a restore: writing what the plan says, durably, and nothing on failure.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::job::restore::{Owner, RestorePlan};
use crate::monitor::{Monitor, Phase};
use crate::postgres::control;
use crate::postgres::manifest::ManifestBuilder;
use crate::postgres::recovery;
use crate::repo::Repository;
use crate::repo::manifest::{Entry, FileEntry};
use crate::transfer::read;

/// What a restore wrote.
#[derive(Debug, Clone, Serialize)]
pub struct Restored {
    /// The backup that was restored.
    pub backup: String,
    /// Where it lies now, ready to be started.
    pub data_directory: PathBuf,
    /// Files written.
    pub files: u64,
    /// Bytes written.
    pub bytes: u64,
}

const CONTROL_WHILE_RESTORING: &str = "global/pg_control.ops-backup";

/// Carries out `plan`. When it returns, everything is durable.
///
/// # Errors
/// `Corrupt` and `NotFound` for damaged or missing packs, `NoSpace`, `Io`, `Cancelled`. The directories are emptied then.
#[tracing::instrument(skip_all, fields(backup = plan.backup.id))]
pub async fn apply(repository: &Repository, plan: RestorePlan, monitor: &Monitor) -> Result<Restored> {
    let bytes = plan.manifest.size();
    monitor.phase(Phase::Copy, bytes);
    let mut cleanup = Cleanup::default();
    let files: Vec<FileEntry> = plan.manifest.files().cloned().collect();
    let root = plan.data_directory.path().to_owned();
    let destinations: Vec<PathBuf> = files
        .iter()
        .map(|file| root.join(if file.path == control::PATH { CONTROL_WHILE_RESTORING } else { &file.path }))
        .collect();

    let mut writer = Writer { root, owner: plan.options.owner };
    let plan = std::sync::Arc::new(plan);
    (cleanup, writer) = {
        let (plan, destinations) = (std::sync::Arc::clone(&plan), destinations.clone());
        blocking(move || {
            writer.create_all(&plan, &destinations, &mut cleanup)?;
            Ok((cleanup, writer))
        })
        .await?
    };
    let packs = &plan.manifest.packs;
    let copy = read::restore(repository, packs, &files, destinations, plan.options.workers, monitor);
    monitor.until_cancelled(copy).await?;

    monitor.phase(Phase::Finish, bytes);
    let count = files.len() as u64;
    let finished = std::sync::Arc::clone(&plan);
    blocking(move || writer.finish(&finished, &files)).await?;
    cleanup.keep();
    tracing::info!(files = count, bytes, "the restore is durable");
    let data_directory = plan.data_directory.path().to_owned();
    Ok(Restored { backup: plan.backup.id.clone(), data_directory, files: count, bytes })
}

struct Writer {
    root: PathBuf,
    owner: Option<Owner>,
}

impl Writer {
    /// Creates every directory, link and file, all files empty.
    fn create_all(
        &mut self,
        plan: &RestorePlan,
        destinations: &[PathBuf],
        cleanup: &mut Cleanup,
    ) -> Result<()> {
        let targets =
            std::iter::once(&plan.data_directory).chain(plan.tablespaces.iter().map(|(_, target)| target));
        for target in targets {
            if !target.exists() {
                self.directory(target.path(), 0o700)?;
            }
            cleanup.roots.push(Root { path: target.path().to_owned(), existed: target.exists() });
            self.mode_and_owner(target.path(), 0o700)?;
        }
        for entry in &plan.manifest.entries {
            let Entry::Directory { path, mode } = entry else { continue };
            self.directory(&self.root.join(path), *mode)?;
            if path == "pg_tblspc" {
                for (oid, target) in &plan.tablespaces {
                    let link = self.root.join(format!("pg_tblspc/{oid}"));
                    symlink(target.path(), &link)
                        .map_err(|error| Error::io(format!("create the link {link:?}"), error))?;
                }
            }
        }
        for (file, destination) in plan.manifest.files().zip(destinations) {
            self.file(destination, file.mode, b"")?;
        }
        Ok(())
    }

    /// Writes what makes the copy recover and verify, makes all of it durable, and only then puts `pg_control` in place.
    fn finish(&self, plan: &RestorePlan, files: &[FileEntry]) -> Result<()> {
        let options = &plan.options;
        let settings =
            recovery::settings(&options.target, options.timeline, options.action, &options.restore_command);
        let auto_conf = self.root.join("postgresql.auto.conf");
        let existing = fs::read_to_string(&auto_conf).unwrap_or_default();
        self.replace(&auto_conf, recovery::merge_auto_conf(&existing, &settings).as_bytes())?;
        self.replace(&self.root.join("recovery.signal"), b"")?;
        self.replace(&self.root.join("backup_manifest"), backup_manifest(plan, files)?.as_bytes())?;

        sync(&self.root)?;
        for (_, target) in &plan.tablespaces {
            sync(target.path())?;
        }
        let (from, to) = (self.root.join(CONTROL_WHILE_RESTORING), self.root.join(control::PATH));
        fs::rename(&from, &to).map_err(|error| Error::io(format!("put {to:?} in place"), error))?;
        for directory in [self.root.join("global"), self.root.clone()] {
            File::open(&directory)
                .and_then(|handle| handle.sync_all())
                .map_err(|error| Error::io(format!("make {directory:?} durable"), error))?;
        }
        Ok(())
    }

    fn directory(&self, path: &Path, mode: u32) -> Result<()> {
        let created = DirBuilder::new().mode(mode).create(path);
        created.map_err(|error| Error::io(format!("create the directory {path:?}"), error))?;
        self.mode_and_owner(path, mode)
    }

    fn file(&self, path: &Path, mode: u32, content: &[u8]) -> Result<()> {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(path)
            .and_then(|mut file| file.write_all(content))
            .map_err(|error| Error::io(format!("create {path:?}"), error))?;
        self.mode_and_owner(path, mode)
    }

    fn replace(&self, path: &Path, content: &[u8]) -> Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io(format!("replace {path:?}"), error))
            }
            _ => self.file(path, 0o600, content),
        }
    }

    /// The mode is set again because the process's umask may have taken bits away.
    fn mode_and_owner(&self, path: &Path, mode: u32) -> Result<()> {
        fs::set_permissions(path, Permissions::from_mode(mode))
            .map_err(|error| Error::io(format!("set the mode of {path:?}"), error))?;
        let Some(Owner { uid, gid }) = self.owner else { return Ok(()) };
        chown(path, Some(uid), Some(gid))
            .map_err(|error| Error::io(format!("set the owner of {path:?}"), error))
    }
}

fn backup_manifest(plan: &RestorePlan, files: &[FileEntry]) -> Result<String> {
    let facts = plan.backup.postgres();
    let mut builder = ManifestBuilder::new(facts.cluster.major, facts.cluster.system_identifier);
    for file in files {
        let modified = Timestamp::from_second(file.modified).map_err(|error| {
            Error::corrupt(format!("{:?} has no valid time", file.path)).with_source(error)
        })?;
        builder.file(&file.path, file.size, modified, file.crc32c);
    }
    Ok(builder.finish(facts.timeline, facts.start_lsn, facts.stop_lsn))
}

/// Makes everything on the file system of `path` durable: one barrier instead of one for each file.
fn sync(path: &Path) -> Result<()> {
    let failed = |error: std::io::Error| Error::io(format!("make {path:?} durable"), error);
    let directory = File::open(path).map_err(failed)?;
    #[cfg(target_os = "linux")]
    rustix::fs::syncfs(&directory).map_err(|error| failed(error.into()))?;
    #[cfg(not(target_os = "linux"))]
    rustix::fs::sync();
    drop(directory);
    Ok(())
}

/// Empties the directories again unless the restore is kept. They were proven empty before.
#[derive(Debug, Default)]
struct Cleanup {
    roots: Vec<Root>,
}

#[derive(Debug)]
struct Root {
    path: PathBuf,
    existed: bool,
}

impl Cleanup {
    fn keep(mut self) {
        self.roots.clear();
    }
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        for Root { path, existed } in self.roots.drain(..) {
            let removed = if existed { remove_content(&path) } else { fs::remove_dir_all(&path) };
            if let Err(error) = removed {
                tracing::warn!(?path, %error, "what a failed restore left could not be removed");
            }
        }
    }
}

fn remove_content(directory: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?
        } else {
            fs::remove_file(entry.path())?
        }
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    Error::joined(tokio::task::spawn_blocking(work).await)
}
