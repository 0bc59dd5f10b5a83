//! The files of a restore on disk: how each is created, and in which order the last of them come into place.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{BufWriter, ErrorKind as IoKind, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown, lchown, symlink,
};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use crate::error::{Error, Result};
use crate::job::restore::Owner;
use crate::job::restore::plan::RestorePlan;
use crate::postgres::control;
use crate::postgres::manifest::ManifestWriter;
use crate::postgres::recovery;
use crate::repo::catalog::{BackupSource, PostgresBackup};
use crate::repo::content::{Entry, FileEntry, Listing};
use crate::transfer::read::{Destination, Treatment};

/// The name of `pg_control` until everything else is durable.
const CONTROL_WHILE_RESTORING: &str = "global/pg_control.ops-backup";

const BACKUP_MANIFEST: &str = "backup_manifest";

/// Writes what a plan says.
pub(super) struct Writer {
    root: PathBuf,
    /// The facts of a PostgreSQL backup; `None` for a tree.
    postgres: Option<PostgresBackup>,
    tablespaces: Vec<(u32, PathBuf)>,
    owner: Option<Owner>,
    umask: u32,
    /// The manifest for `pg_verifybackup`, written along as the listings come.
    manifest: Mutex<Option<ManifestWriter<BufWriter<File>>>>,
    /// Directories that could not be filled with their own mode; they get it in the end.
    closed: Mutex<Vec<(PathBuf, u32)>>,
    /// Symbolic links of a tree. They are made last, so that nothing is ever written through one.
    links: Mutex<Vec<(PathBuf, String)>>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("root", &self.root).finish_non_exhaustive()
    }
}

impl Writer {
    pub(super) fn new(plan: &RestorePlan) -> Self {
        let postgres = match &plan.backup.source {
            BackupSource::Postgres(facts) => Some(facts.clone()),
            BackupSource::Tree(_) => None,
        };
        Writer {
            root: plan.directory.path().to_owned(),
            postgres,
            tablespaces: plan
                .tablespaces
                .iter()
                .map(|(oid, target)| (*oid, target.path().to_owned()))
                .collect(),
            owner: plan.options.owner,
            umask: umask(),
            manifest: Mutex::default(),
            closed: Mutex::default(),
            links: Mutex::default(),
        }
    }

    /// Makes the root of the restore or of a tablespace.
    pub(super) fn prepare_root(&self, path: &Path, exists: bool) -> Result<()> {
        if !exists {
            DirBuilder::new()
                .mode(0o700)
                .create(path)
                .map_err(|error| Error::io(format!("create the directory {path:?}"), error))?;
        }
        set_mode(path, 0o700)?;
        self.give_away(path)
    }

    /// Begins the manifest that the server's own tool reads.
    pub(super) fn begin_manifest(&self) -> Result<()> {
        let Some(facts) = &self.postgres else { return Ok(()) };
        let path = self.root.join(BACKUP_MANIFEST);
        let file = BufWriter::new(self.create(&path, 0o600)?);
        let cluster = facts.cluster;
        let writer = ManifestWriter::new(file, cluster.major, cluster.system_identifier)
            .map_err(|error| Error::io(format!("write {path:?}"), error))?;
        *self.manifest.lock().unwrap_or_else(PoisonError::into_inner) = Some(writer);
        Ok(())
    }

    /// Writes what makes the copy recover and verify, makes all of it durable, and only then puts `pg_control` in place.
    pub(super) fn finish(&self, plan: &RestorePlan) -> Result<()> {
        if let (Some(facts), Some(replay)) = (&self.postgres, &plan.replay) {
            let options = &plan.options;
            let settings =
                recovery::settings(&options.target, replay.setting, options.action, &options.restore_command);
            let auto_conf = self.root.join("postgresql.auto.conf");
            let existing = fs::read_to_string(&auto_conf).unwrap_or_default();
            self.replace(&auto_conf, recovery::merge_auto_conf(&existing, &settings).as_bytes())?;
            self.replace(&self.root.join("recovery.signal"), b"")?;
            self.end_manifest(facts)?;
        }
        for (path, target) in self.links.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            self.link(path, target)?;
        }
        for (path, mode) in self.closed.lock().unwrap_or_else(PoisonError::into_inner).iter().rev() {
            set_mode(path, *mode)?;
        }
        self.sync_all()?;
        if self.postgres.is_some() {
            let (from, to) = (self.root.join(CONTROL_WHILE_RESTORING), self.root.join(control::PATH));
            fs::rename(&from, &to).map_err(|error| Error::io(format!("put {to:?} in place"), error))?;
            sync_directory(&self.root.join("global"))?;
        }
        sync_directory(&self.root)
    }

    fn end_manifest(&self, facts: &PostgresBackup) -> Result<()> {
        let writer = self.manifest.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(writer) = writer else { return Ok(()) };
        writer
            .finish(facts.timeline, facts.start_lsn, facts.stop_lsn)
            .and_then(|mut out| out.flush())
            .map_err(|error| Error::io(format!("write {:?}", self.root.join(BACKUP_MANIFEST)), error))
    }

    /// One barrier for each file system instead of one for each file.
    fn sync_all(&self) -> Result<()> {
        let mut devices = Vec::new();
        let roots = std::iter::once(&self.root).chain(self.tablespaces.iter().map(|(_, path)| path));
        for path in roots {
            let device =
                fs::metadata(path).map_err(|error| Error::io(format!("read {path:?}"), error))?.dev();
            if !devices.contains(&device) {
                devices.push(device);
                sync_file_system(path)?;
            }
        }
        Ok(())
    }

    fn place(&self, path: &str) -> PathBuf {
        match &self.postgres {
            Some(_) if path == control::PATH => self.root.join(CONTROL_WHILE_RESTORING),
            _ => self.root.join(path),
        }
    }

    fn directory(&self, path: &str, mode: u32) -> Result<()> {
        let place = self.root.join(path);
        // A tree may hold directories that their owner cannot write; they are filled first.
        let open = mode | 0o700;
        DirBuilder::new()
            .mode(open)
            .create(&place)
            .map_err(|error| Error::io(format!("create the directory {place:?}"), error))?;
        if open & self.umask != 0 {
            set_mode(&place, open)?;
        }
        if open != mode {
            self.closed.lock().unwrap_or_else(PoisonError::into_inner).push((place.clone(), mode));
        }
        self.give_away(&place)?;
        if self.postgres.is_some() && path == "pg_tblspc" {
            for (oid, target) in &self.tablespaces {
                self.link(&place.join(oid.to_string()), target)?;
            }
        }
        Ok(())
    }

    fn link(&self, path: &Path, target: impl AsRef<Path>) -> Result<()> {
        symlink(target, path).map_err(|error| Error::io(format!("create the link {path:?}"), error))?;
        let Some(Owner { uid, gid }) = self.owner else { return Ok(()) };
        lchown(path, Some(uid), Some(gid))
            .map_err(|error| Error::io(format!("set the owner of {path:?}"), error))
    }

    fn create(&self, path: &Path, mode: u32) -> Result<File> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(path)
            .map_err(|error| Error::io(format!("create {path:?}"), error))?;
        if mode & self.umask != 0 {
            file.set_permissions(Permissions::from_mode(mode))
                .map_err(|error| Error::io(format!("set the mode of {path:?}"), error))?;
        }
        self.give_away(path)?;
        Ok(file)
    }

    fn replace(&self, path: &Path, content: &[u8]) -> Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != IoKind::NotFound => {
                return Err(Error::io(format!("replace {path:?}"), error));
            }
            _ => {}
        }
        self.create(path, 0o600)?
            .write_all(content)
            .map_err(|error| Error::io(format!("write {path:?}"), error))
    }

    fn give_away(&self, path: &Path) -> Result<()> {
        let Some(Owner { uid, gid }) = self.owner else { return Ok(()) };
        chown(path, Some(uid), Some(gid))
            .map_err(|error| Error::io(format!("set the owner of {path:?}"), error))
    }
}

impl Destination for Writer {
    fn begin(&self, listing: &Listing) -> Result<()> {
        for entry in &listing.entries {
            match entry {
                Entry::Directory { path, mode } => self.directory(path, *mode)?,
                Entry::Link { path, target } => {
                    let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
                    links.push((self.root.join(path), target.clone()));
                }
                Entry::File(file) => {
                    let mut manifest = self.manifest.lock().unwrap_or_else(PoisonError::into_inner);
                    let Some(manifest) = manifest.as_mut() else { continue };
                    let modified =
                        Timestamp::from_nanosecond(i128::from(file.modified)).map_err(|error| {
                            Error::corrupt(format!("{:?} has no valid time", file.path)).with_source(error)
                        })?;
                    manifest
                        .file(&file.path, file.size, modified, file.crc32c)
                        .map_err(|error| Error::io("write the backup manifest", error))?;
                }
            }
        }
        Ok(())
    }

    fn treatment(&self, _file: &FileEntry) -> Result<Treatment> {
        Ok(Treatment::Write)
    }

    fn open(&self, file: &FileEntry) -> Result<File> {
        self.create(&self.place(&file.path), file.mode)
    }

    fn finish(&self, file: &FileEntry, written: Option<&File>) -> Result<()> {
        // A server's files keep the time of their restore, so that no later backup takes them for unchanged.
        if let (None, Some(written)) = (&self.postgres, written) {
            let since = Duration::from_nanos(file.modified.unsigned_abs());
            let modified = if file.modified < 0 {
                SystemTime::UNIX_EPOCH - since
            } else {
                SystemTime::UNIX_EPOCH + since
            };
            written
                .set_modified(modified)
                .map_err(|error| Error::io(format!("set the time of {:?}", file.path), error))?;
        }
        Ok(())
    }
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode))
        .map_err(|error| Error::io(format!("set the mode of {path:?}"), error))
}

/// The bits that the system takes from the modes of new files; all where it does not tell.
fn umask() -> u32 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|digits| u32::from_str_radix(digits.trim(), 8).ok()).unwrap_or(0o7777)
}

pub(super) fn sync_directory(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|handle| handle.sync_all())
        .map_err(|error| Error::io(format!("make {path:?} durable"), error))
}

fn sync_file_system(path: &Path) -> Result<()> {
    let failed = |error: std::io::Error| Error::io(format!("make {path:?} durable"), error);
    let directory = File::open(path).map_err(failed)?;
    #[cfg(target_os = "linux")]
    rustix::fs::syncfs(&directory).map_err(|error| failed(error.into()))?;
    #[cfg(not(target_os = "linux"))]
    rustix::fs::sync();
    drop(directory);
    Ok(())
}
