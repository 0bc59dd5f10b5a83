//! Providers of what stands in files, and of what never changes.

use super::error::{Error, ErrorKind};
use super::provider::{Fetched, Provider, Work};
use crate::file::{self, Exposure, Unread};
use crate::secret::Secret;
use crate::source::exposed;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::hash::{BuildHasher as _, RandomState};
use std::io::ErrorKind as IoKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// The most bytes that a file with a secret may have.
const LARGEST: u64 = 1 << 20;

/// How often a folder is read again that changes while it is read.
const TRIES: usize = 5;

/// The link that Kubernetes swaps when a mounted volume changes.
const DATA: &str = "..data";

/// The text of one file, without the line end at its end.
#[derive(Debug)]
pub struct FileProvider {
    path: PathBuf,
    hasher: RandomState,
    exposed: Once,
}

impl FileProvider {
    /// A provider of a file. Replace the file by a rename, or swap a link above it: one that is written in place is read
    /// half-written sooner or later.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), hasher: RandomState::new(), exposed: Once::default() }
    }
}

impl Provider for FileProvider {
    fn name(&self) -> String {
        format!("file {}", self.path.display())
    }

    fn fetch(&self) -> Work<'_, Fetched> {
        Box::pin(async {
            let (text, exposure) = read_exposed(&self.path)?;
            self.exposed.tell(&self.path, exposure);
            // Keyed by this process: the version says nothing to others.
            let version = format!("{:016x}", self.hasher.hash_one(text.expose_secret()));
            Ok(Fetched::value(text, version))
        })
    }

    fn folders(&self) -> Vec<PathBuf> {
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        around(parent.unwrap_or(Path::new(".")))
    }
}

/// All files of a folder, each a field by its name: a mounted volume of Kubernetes, or what `ops-secrets rotate` publishes.
///
/// Where the folder has a `..data` link, what is read is of one version.
#[derive(Debug)]
pub struct FolderProvider {
    path: PathBuf,
    hasher: RandomState,
    exposed: Once,
}

impl FolderProvider {
    /// A provider of a folder. Names that begin with a dot are no fields.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), hasher: RandomState::new(), exposed: Once::default() }
    }

    fn read(&self) -> Result<BTreeMap<String, Secret>, Error> {
        let link = self.path.join(DATA);
        for _ in 0..TRIES {
            let target = fs::read_link(&link).ok();
            let folder = target.as_ref().map_or_else(|| self.path.clone(), |target| self.path.join(target));
            // What an engine or a rotation mounts has the mode and owner that they chose.
            let exposed = target.is_none().then_some(&self.exposed);
            let fields = fields(&folder, exposed);
            if fs::read_link(&link).ok() != target {
                continue;
            }
            let fields = fields?;
            if fields.is_empty() {
                return Err(Error::new(
                    ErrorKind::Missing,
                    format!("folder {} has no file", self.path.display()),
                ));
            }
            return Ok(fields);
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            format!("folder {} changes while it is read", self.path.display()),
        ))
    }
}

impl Provider for FolderProvider {
    fn name(&self) -> String {
        format!("folder {}", self.path.display())
    }

    fn fetch(&self) -> Work<'_, Fetched> {
        Box::pin(async {
            let fields = self.read()?;
            let texts: Vec<(&str, &str)> =
                fields.iter().map(|(name, text)| (name.as_str(), text.expose_secret().as_str())).collect();
            let version = format!("{:016x}", self.hasher.hash_one(texts));
            Ok(Fetched { fields, version, lease: None })
        })
    }

    fn folders(&self) -> Vec<PathBuf> {
        around(&self.path)
    }
}

/// A secret that does not change while the program runs, as one from the environment: a group may need it beside others.
pub struct FixedProvider {
    name: String,
    value: Secret,
}

impl FixedProvider {
    /// A provider of a value, and what a person would call its source: `env DATABASE_PASSWORD`.
    pub fn new(name: &str, value: Secret) -> Self {
        Self { name: name.to_owned(), value }
    }
}

impl fmt::Debug for FixedProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FixedProvider").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Provider for FixedProvider {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn fetch(&self) -> Work<'_, Fetched> {
        Box::pin(async {
            if self.value.is_empty() {
                return Err(Error::new(ErrorKind::Missing, format!("{} is empty", self.name)));
            }
            Ok(Fetched::value(self.value.clone(), "fixed"))
        })
    }
}

/// Tells once, and not in each round, that others have a hand in a file.
#[derive(Debug, Default)]
struct Once(AtomicBool);

impl Once {
    fn tell(&self, path: &Path, exposure: Exposure) {
        let warnings = exposed(path, exposure);
        if !warnings.is_empty() && !self.0.swap(true, Ordering::Relaxed) {
            warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        }
    }
}

/// A folder, and those of the links that lead to it: a link that is swapped makes an event where it stands.
fn around(folder: &Path) -> Vec<PathBuf> {
    let links = folder.ancestors().filter(|part| part.is_symlink());
    let of_links = links.filter_map(|link| {
        let parent = link.parent()?;
        Some(if parent.as_os_str().is_empty() { PathBuf::from(".") } else { parent.to_path_buf() })
    });
    std::iter::once(folder.to_path_buf()).chain(of_links).collect()
}

fn fields(folder: &Path, exposed: Option<&Once>) -> Result<BTreeMap<String, Secret>, Error> {
    let mut fields = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(|error| failed(folder, &error))? {
        let entry = entry.map_err(|error| failed(folder, &error))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name.starts_with('.') || !entry.path().is_file() {
            continue;
        }
        let (text, exposure) = read_exposed(&entry.path())?;
        if let Some(exposed) = exposed {
            exposed.tell(&entry.path(), exposure);
        }
        fields.insert(name, text);
    }
    Ok(fields)
}

/// The text of a small regular file.
pub(super) fn read(path: &Path) -> Result<Secret, Error> {
    read_exposed(path).map(|(text, _)| text)
}

/// The same, and who else has a hand in the file.
fn read_exposed(path: &Path) -> Result<(Secret, Exposure), Error> {
    let read = file::read_up_to(path, LARGEST).map_err(|why| {
        let kind = match why {
            Unread::Failed(kind) => kind_of(kind),
            Unread::NotRegular | Unread::MoreThan(_) | Unread::NotUtf8 => ErrorKind::Invalid,
        };
        Error::new(kind, format!("{} {why}", path.display()))
    })?;
    if read.text.is_empty() {
        // Also what a writer leaves between truncating and writing: the next try will see the rest.
        return Err(Error::new(ErrorKind::Missing, format!("{} is empty", path.display())));
    }
    Ok((Secret::from(read.text.as_str()), read.exposure))
}

fn failed(path: &Path, error: &std::io::Error) -> Error {
    Error::new(kind_of(error.kind()), format!("{} cannot be read ({})", path.display(), error.kind()))
}

fn kind_of(kind: IoKind) -> ErrorKind {
    match kind {
        IoKind::NotFound => ErrorKind::Missing,
        IoKind::PermissionDenied => ErrorKind::Refused,
        _ => ErrorKind::Unavailable,
    }
}
