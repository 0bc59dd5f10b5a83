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
use crate::job::restore::databases::{self, Selection};
use crate::job::restore::plan::RestorePlan;
use crate::job::restore::target::RestoreTarget;
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
    /// Databases whose files stay without content.
    selection: Option<Selection>,
    /// Whether there may be something in the way, or something to compare with.
    is_delta: bool,
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
            selection: plan.selection.clone(),
            is_delta: plan.directory.is_delta(),
            umask: umask(),
            manifest: Mutex::default(),
            closed: Mutex::default(),
            links: Mutex::default(),
        }
    }

    /// Makes the root of the restore or of a tablespace private; one that is in use already keeps its mode.
    pub(super) fn prepare_root(&self, target: &RestoreTarget) -> Result<()> {
        let path = target.path();
        if !target.exists() {
            DirBuilder::new()
                .mode(0o700)
                .create(path)
                .map_err(|error| Error::io(format!("create the directory {path:?}"), error))?;
        }
        if target.is_own() {
            set_mode(path, 0o700)?;
        }
        self.give_away(path)
    }

    /// Begins the manifest that the server's own tool reads.
    pub(super) fn begin_manifest(&self) -> Result<()> {
        let Some(facts) = &self.postgres else { return Ok(()) };
        let path = self.root.join(BACKUP_MANIFEST);
        remove_if_there(&path)?;
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
            self.clear(path)?;
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
        let is_there = self.is_delta && self.clear_for_directory(path, &place)?;
        if !is_there {
            DirBuilder::new()
                .mode(open)
                .create(&place)
                .map_err(|error| Error::io(format!("create the directory {place:?}"), error))?;
        }
        if is_there || open & self.umask != 0 {
            set_mode(&place, open)?;
        }
        if open != mode {
            self.closed.lock().unwrap_or_else(PoisonError::into_inner).push((place.clone(), mode));
        }
        self.give_away(&place)?;
        if self.postgres.is_some() && path == "pg_tblspc" {
            for (oid, target) in &self.tablespaces {
                let link = place.join(oid.to_string());
                if !self.is_delta || !fs::read_link(&link).is_ok_and(|led| led == *target) {
                    self.clear(&link)?;
                    self.link(&link, target)?;
                }
            }
        }
        Ok(())
    }

    /// Says whether there is a directory already; anything else is removed. WAL may lie on a disk of its own, behind a link.
    fn clear_for_directory(&self, path: &str, place: &Path) -> Result<bool> {
        let followed = if path == "pg_wal" { fs::metadata(place) } else { fs::symlink_metadata(place) };
        match followed {
            Ok(metadata) if metadata.is_dir() => Ok(true),
            _ => self.clear(place).map(|()| false),
        }
    }

    /// Removes what is in the way of a new file or link: whatever is not in the backup is gone, so a directory is empty.
    fn clear(&self, place: &Path) -> Result<()> {
        if !self.is_delta {
            return Ok(());
        }
        let removed = match fs::symlink_metadata(place) {
            Ok(metadata) if metadata.is_dir() => fs::remove_dir(place),
            Ok(_) => fs::remove_file(place),
            Err(error) => Err(error),
        };
        match removed {
            Err(error) if error.kind() != IoKind::NotFound => {
                Err(Error::io(format!("remove {place:?}"), error))
            }
            _ => Ok(()),
        }
    }

    /// Prepares the place of a file before any of its content is looked at.
    fn prepare(&self, file: &FileEntry) -> Result<()> {
        let is_wanted = self.wants(file);
        if self.is_delta {
            let place = self.place(&file.path);
            // Another name of the same file, for example in a snapshot of hard links, must not be written through.
            let is_usable = |metadata: &fs::Metadata| metadata.is_file() && metadata.nlink() == 1;
            if !is_wanted || !fs::symlink_metadata(&place).is_ok_and(|metadata| is_usable(&metadata)) {
                self.clear(&place)?;
            }
        }
        if is_wanted {
            return Ok(());
        }
        let place = self.place(&file.path);
        let length = self.create(&place, file.mode)?.set_len(file.size);
        length.map_err(|error| Error::io(format!("set the length of {place:?}"), error))
    }

    fn wants(&self, file: &FileEntry) -> bool {
        self.selection.as_ref().is_none_or(|selection| selection.wants(&file.path))
    }

    /// Adds a file to the manifest that the server's own tool reads.
    fn describe(&self, file: &FileEntry) -> Result<()> {
        let mut manifest = self.manifest.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(manifest) = manifest.as_mut() else { return Ok(()) };
        let modified = Timestamp::from_nanosecond(i128::from(file.modified)).map_err(|error| {
            Error::corrupt(format!("{:?} has no valid time", file.path)).with_source(error)
        })?;
        let crc32c = if self.wants(file) { file.crc32c } else { databases::crc_of_zeros(file.size) };
        manifest
            .file(&file.path, file.size, modified, crc32c)
            .map_err(|error| Error::io("write the backup manifest", error))
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
        remove_if_there(path)?;
        self.create(path, 0o600)?
            .write_all(content)
            .map_err(|error| Error::io(format!("write {path:?}"), error))
    }

    /// Brings length, mode and owner of a file that was there to what they must be.
    fn settle(&self, file: &FileEntry) -> Result<()> {
        let place = self.place(&file.path);
        let failed = |error| Error::io(format!("set the length or mode of {place:?}"), error);
        let metadata = fs::symlink_metadata(&place).map_err(failed)?;
        if metadata.len() != file.size {
            let handle = OpenOptions::new().write(true).open(&place).map_err(failed)?;
            handle.set_len(file.size).map_err(failed)?;
        }
        if metadata.mode() & 0o7777 != file.mode {
            set_mode(&place, file.mode)?;
        }
        match self.owner {
            Some(Owner { uid, gid }) if (metadata.uid(), metadata.gid()) != (uid, gid) => {
                self.give_away(&place)
            }
            _ => Ok(()),
        }
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
                    self.prepare(file)?;
                    self.describe(file)?;
                }
            }
        }
        Ok(())
    }

    fn treatment(&self, file: &FileEntry) -> Result<Treatment> {
        if !self.wants(file) {
            return Ok(Treatment::Skip);
        }
        if !self.is_delta {
            return Ok(Treatment::Write);
        }
        let place = self.place(&file.path);
        match File::open(&place) {
            Ok(existing) => Ok(Treatment::Compare(existing)),
            Err(error) if error.kind() == IoKind::NotFound => Ok(Treatment::Write),
            Err(error) => Err(Error::io(format!("read {place:?}"), error)),
        }
    }

    fn open(&self, file: &FileEntry) -> Result<File> {
        let place = self.place(&file.path);
        if self.is_delta {
            let existing = OpenOptions::new().read(true).write(true).open(&place);
            match existing {
                Err(error) if error.kind() == IoKind::NotFound => {}
                result => return result.map_err(|error| Error::io(format!("write {place:?}"), error)),
            }
        }
        self.create(&place, file.mode)
    }

    fn finish(&self, file: &FileEntry, written: Option<&File>) -> Result<()> {
        if self.is_delta {
            self.settle(file)?;
        }
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

fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != IoKind::NotFound => Err(Error::io(format!("replace {path:?}"), error)),
        _ => Ok(()),
    }
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
