//! Providers of what stands in files, and of what never changes.

use super::error::{Error, ErrorKind};
use super::provider::{Fetched, Provider, Work};
use crate::secret::Secret;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{ErrorKind as IoKind, Read as _};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

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
}

impl FileProvider {
    /// A provider of a file. Replace the file by a rename, or swap a link above it: one that is written in place is read
    /// half-written sooner or later.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), hasher: RandomState::new() }
    }
}

impl Provider for FileProvider {
    fn name(&self) -> String {
        format!("file {}", self.path.display())
    }

    fn fetch(&self) -> Work<'_, Fetched> {
        Box::pin(async {
            let text = read(&self.path)?;
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
}

impl FolderProvider {
    /// A provider of a folder. Names that begin with a dot are no fields.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), hasher: RandomState::new() }
    }

    fn read(&self) -> Result<BTreeMap<String, Secret>, Error> {
        let link = self.path.join(DATA);
        for _ in 0..TRIES {
            let target = fs::read_link(&link).ok();
            let folder = target.as_ref().map_or_else(|| self.path.clone(), |target| self.path.join(target));
            let fields = fields(&folder);
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

/// A folder, and those of the links that lead to it: a link that is swapped makes an event where it stands.
fn around(folder: &Path) -> Vec<PathBuf> {
    let links = folder.ancestors().filter(|part| part.is_symlink());
    let of_links = links.filter_map(|link| {
        let parent = link.parent()?;
        Some(if parent.as_os_str().is_empty() { PathBuf::from(".") } else { parent.to_path_buf() })
    });
    std::iter::once(folder.to_path_buf()).chain(of_links).collect()
}

fn fields(folder: &Path) -> Result<BTreeMap<String, Secret>, Error> {
    let mut fields = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(|error| failed(folder, &error))? {
        let entry = entry.map_err(|error| failed(folder, &error))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name.starts_with('.') || !entry.path().is_file() {
            continue;
        }
        fields.insert(name, read(&entry.path())?);
    }
    Ok(fields)
}

/// The text of a small regular file.
pub(super) fn read(path: &Path) -> Result<Secret, Error> {
    let shown = path.display();
    // Asked before opening: opening a FIFO would wait for its writer.
    if !fs::metadata(path).map_err(|error| failed(path, &error))?.is_file() {
        return Err(Error::new(ErrorKind::Invalid, format!("{shown} is not a regular file")));
    }
    let file = fs::File::open(path).map_err(|error| failed(path, &error))?;
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|error| failed(path, &error))?;
    if bytes.len() as u64 > LARGEST {
        return Err(Error::new(ErrorKind::Invalid, format!("{shown} has more than {LARGEST} bytes")));
    }
    let Ok(text) = str::from_utf8(&bytes) else {
        return Err(Error::new(ErrorKind::Invalid, format!("{shown} is not UTF-8")));
    };
    let text = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
    if text.is_empty() {
        // Also what a writer leaves between truncating and writing: the next try will see the rest.
        return Err(Error::new(ErrorKind::Missing, format!("{shown} is empty")));
    }
    Ok(Secret::from(text))
}

fn failed(path: &Path, error: &std::io::Error) -> Error {
    let kind = match error.kind() {
        IoKind::NotFound => ErrorKind::Missing,
        IoKind::PermissionDenied => ErrorKind::Refused,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("{} cannot be read: {}", path.display(), error.kind()))
}
