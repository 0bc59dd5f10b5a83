//! A directory tree: files, directories and symbolic links, with their modes and times.
//!
//! There is no moment at which a whole tree stands still, so each file is what it was while it was read; one that changed
//! meanwhile is counted in [`TreeBackup`] and warned of. Names of one file (hard links) become files of their own with the
//! same content, holes become zeros; owners, access lists and extended attributes are not kept.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use crate::engine::list::Facts;
use crate::engine::{
    Connect, Contents, Engine, FileList, Findings, Finished, Kind, Listed, Opener, Session, Start, Supply,
};
use crate::error::{Error, ErrorKind, Result};
use crate::monitor::Monitor;
use crate::repo::Repository;
use crate::repo::catalog::{BackupSource, TreeBackup};

/// A directory tree on this machine.
#[derive(Debug, Clone)]
pub struct TreeEngine {
    /// What the tree is called. Backups of one name build on one another, wherever the tree lies.
    pub name: String,
    /// The directory; its content is backed up, and links in it are not followed.
    pub root: PathBuf,
    /// Paths below the root that are left out, with all that is in them.
    pub exclude: Vec<PathBuf>,
}

impl TreeEngine {
    /// An engine for the whole tree at `root`.
    pub fn new(name: impl Into<String>, root: impl Into<PathBuf>) -> Self {
        TreeEngine { name: name.into(), root: root.into(), exclude: Vec::new() }
    }
}

impl Engine for TreeEngine {}

#[async_trait]
impl Connect for TreeEngine {
    async fn connect(&self) -> Result<Box<dyn Session>> {
        let named = !self.name.is_empty()
            && self.name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
        if !named {
            let message =
                format!("{:?} cannot name a tree: letters, digits, '-', '_' and '.' are accepted", self.name);
            return Err(Error::new(ErrorKind::Configuration, message));
        }
        if !self.root.is_dir() {
            let message = format!("{:?} is not a directory", self.root);
            return Err(Error::new(ErrorKind::Configuration, message));
        }
        let changed = Arc::new(Mutex::default());
        Ok(Box::new(TreeSession { engine: self.clone(), changed }))
    }
}

struct TreeSession {
    engine: TreeEngine,
    changed: Arc<Mutex<Vec<String>>>,
}

#[async_trait]
impl Session for TreeSession {
    fn source(&self) -> String {
        format!("tree/{}", self.engine.name)
    }

    async fn start(&mut self, _repository: &Repository, _start: Start<'_>) -> Result<()> {
        Ok(())
    }

    async fn supply(&mut self) -> Result<Supply> {
        let engine = self.engine.clone();
        let files = Error::joined(tokio::task::spawn_blocking(move || list(&engine)).await)?;
        let opener = Files { root: self.engine.root.clone(), changed: Arc::clone(&self.changed) };
        Ok(Supply::Files(Listed { files, opener: Arc::new(opener) }))
    }

    fn doubt(&self, base: &BackupSource) -> Option<String> {
        match base {
            BackupSource::Tree(base) if base.root == self.engine.root => None,
            BackupSource::Tree(base) => Some(format!("the tree was at {:?}", base.root)),
            BackupSource::Postgres(_) => Some("the base is no tree".to_owned()),
        }
    }

    async fn watch(&self, _repository: &Repository) -> Error {
        std::future::pending().await
    }

    async fn finish(&mut self, _repository: &Repository, _monitor: &Monitor) -> Result<Finished> {
        let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        changed.sort();
        changed.dedup();
        let changed_files = changed.len() as u64;
        changed.truncate(MAX_EXAMPLES);
        let TreeEngine { name, root, .. } = self.engine.clone();
        let source = TreeBackup { name, root, changed_files, changed_examples: changed };
        Ok(Finished { source: BackupSource::Tree(source), files: Vec::new(), proof: None })
    }
}

const MAX_EXAMPLES: usize = 100;

/// Lists the tree, or says what in it cannot be kept.
fn list(engine: &TreeEngine) -> Result<FileList> {
    let mut list = FileList::default();
    let mut refused = Vec::new();
    let mut waiting = vec![String::new()];
    while let Some(directory) = waiting.pop() {
        let on_disk = engine.root.join(&directory);
        let failed = |error| Error::io(format!("list {on_disk:?}"), error);
        let entries = match fs::read_dir(&on_disk) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !directory.is_empty() => continue,
            Err(error) => return Err(failed(error)),
        };
        let parent = list.parent(&directory);
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let below = Path::new(&directory).join(&name);
            if engine.exclude.contains(&below) {
                continue;
            }
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failed(error)),
            };
            let kind = metadata.file_type();
            let Some(name) = name.to_str() else {
                refused.push(format!("{below:?} (its name is not UTF-8)"));
                continue;
            };
            let mut facts = Facts {
                kind: Kind::Directory,
                mode: metadata.mode(),
                tag: 0,
                size: 0,
                modified: nanoseconds(&metadata),
            };
            if kind.is_dir() {
                list.push(parent, name, facts);
                waiting.push(below.to_str().expect("made of UTF-8 names").to_owned());
            } else if kind.is_file() {
                facts.kind = Kind::File;
                facts.size = metadata.len();
                list.push(parent, name, facts);
            } else if kind.is_symlink() {
                let target = fs::read_link(entry.path()).map_err(failed)?;
                let Some(target) = target.to_str() else {
                    refused.push(format!("{below:?} (its target is not UTF-8)"));
                    continue;
                };
                facts.kind = Kind::Link;
                list.push(parent, name, facts);
                list.target(target);
            } else {
                refused.push(format!("{below:?} (neither a file, a directory nor a link)"));
            }
        }
    }
    if !refused.is_empty() {
        let count = refused.len();
        refused.truncate(10);
        let message =
            format!("{count} paths cannot be backed up, and must be excluded: {}", refused.join(", "));
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    list.sort();
    Ok(list)
}

fn nanoseconds(metadata: &fs::Metadata) -> i64 {
    metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec())
}

struct Files {
    root: PathBuf,
    changed: Arc<Mutex<Vec<String>>>,
}

impl Opener for Files {
    fn open(&self, files: &FileList, item: usize, offset: u64) -> Result<Option<Box<dyn Contents>>> {
        let path = files.path(item);
        let failed = |error| Error::io(format!("open {path:?}"), error);
        // A link that has taken the place of the file must not lead out of the tree, nor a pipe stop the backup.
        let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits() as i32;
        let opened = File::options().read(true).custom_flags(flags).open(self.root.join(&path));
        let mut file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(offset)).map_err(failed)?;
        let item = files.item(item);
        let (size, modified) = (item.size, item.modified);
        let changed = Arc::clone(&self.changed);
        Ok(Some(Box::new(TreeFile { file, path, size, modified, changed })))
    }

    fn findings(&self) -> Findings {
        Findings::default()
    }
}

struct TreeFile {
    file: File,
    path: String,
    size: u64,
    modified: i64,
    changed: Arc<Mutex<Vec<String>>>,
}

impl Contents for TreeFile {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.file.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io(format!("read {:?}", self.path), error)),
            }
        }
        Ok(filled)
    }
}

impl Drop for TreeFile {
    fn drop(&mut self) {
        let same =
            |metadata: &fs::Metadata| metadata.len() == self.size && nanoseconds(metadata) == self.modified;
        if !self.file.metadata().is_ok_and(|metadata| same(&metadata)) {
            tracing::warn!(path = self.path, "a file changed while it was backed up");
            self.changed.lock().unwrap_or_else(PoisonError::into_inner).push(self.path.clone());
        }
    }
}
