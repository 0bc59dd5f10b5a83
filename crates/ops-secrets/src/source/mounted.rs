//! A folder with one file a setting: what Docker mounts at `/run/secrets`, Kubernetes as a secret volume, and systemd at
//! `$CREDENTIALS_DIRECTORY`.
//!
//! Kubernetes changes all files at once by turning the link `..data` to a new folder, and removes the old one. So all files
//! are read through the folder that the link names, and read again where it was turned meanwhile: a password is never that
//! of one version and its user that of another.

use super::{Gathered, Warning, from_text, is_engine_mount};
use crate::error::{ErrorKind, Problem};
use crate::file::{self, LINE_END_CUT, SecretFile};
use crate::schema::{Schema, variable};
use crate::suggest::nearest;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// The link that Kubernetes turns.
const DATA_LINK: &str = "..data";
/// How often a folder is read again that changes while it is read.
const ATTEMPTS: usize = 5;

/// What mounted the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mount {
    /// A container engine, or a person.
    Secrets,
    /// systemd.
    Credentials,
}

/// A folder with one file a setting.
pub(crate) struct Mounted<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) mount: Mount,
    /// The prefix of variables, which a file's name may have too.
    pub(crate) prefix: &'a str,
    pub(crate) foreign: &'a [String],
}

/// The files of one moment.
type Snapshot = Vec<(String, Result<SecretFile, String>)>;

impl Mounted<'_> {
    /// Reads all files that are named like settings; others are left alone, unless they look misspelt.
    pub(crate) fn gather(&self, schema: &Schema, into: &mut Gathered) {
        let wanted = |name: &str| self.canonical(name);
        let known: BTreeMap<String, &str> = schema
            .settings
            .iter()
            .map(|setting| (variable("", &setting.key), setting.key.as_str()))
            .collect();
        let (files, others) = match self.snapshot(&|name| known.contains_key(&wanted(name))) {
            Ok(found) => found,
            Err(error) => {
                let message = format!("folder {} cannot be read ({})", self.folder.display(), error.kind());
                return into.problems.push(Problem::new(ErrorKind::Unreadable, message));
            }
        };
        let mut seen: BTreeMap<&str, String> = BTreeMap::new();
        for (name, file) in files {
            let Some(setting) = known.get(&wanted(&name)).and_then(|key| schema.find(key)) else { continue };
            let origin = self.origin(&name);
            if let Some(other) = seen.insert(&setting.key, origin.clone()) {
                let message = format!("`{}`: {other} and {origin} both give it; remove one", setting.key);
                into.problems.push(Problem::new(ErrorKind::Conflict, message));
                continue;
            }
            let file = match file {
                Ok(file) => file,
                Err(why) => {
                    into.refuse(ErrorKind::Unreadable, &setting.key, &origin, format!("the file {why}"));
                    continue;
                }
            };
            if file.text.is_empty() {
                into.refuse(ErrorKind::EmptySecret, &setting.key, &origin, "the file is empty");
                continue;
            }
            match from_text(&file.text, &setting.node) {
                Ok(value) => {
                    into.give_noted(&setting.key, &origin, value, file.cut.then_some(LINE_END_CUT));
                }
                Err(why) => into.refuse(ErrorKind::InvalidValue, &setting.key, &origin, why),
            }
            if setting.secret && !self.is_engines() {
                into.warn_exposed(&self.folder.join(&name), file.exposure);
            }
        }
        self.warn_misspelt(&others, &known, into);
    }

    /// All files of one moment that are wanted, and the names of the others.
    fn snapshot(&self, wanted: &dyn Fn(&str) -> bool) -> io::Result<(Snapshot, Vec<String>)> {
        let mut attempt = 1;
        loop {
            let link = fs::read_link(self.folder.join(DATA_LINK)).ok();
            let folder = link.as_ref().map_or_else(|| self.folder.to_owned(), |link| self.folder.join(link));
            let read = read_all(&folder, wanted);
            let turned = fs::read_link(self.folder.join(DATA_LINK)).ok() != link;
            if !turned {
                return read;
            }
            if attempt == ATTEMPTS {
                // The old folder is removed after the turn: what was read of it may be only a part.
                return Err(io::ErrorKind::Interrupted.into());
            }
            attempt += 1;
        }
    }

    fn warn_misspelt(&self, others: &[String], known: &BTreeMap<String, &str>, into: &mut Gathered) {
        for name in others {
            let canonical = self.canonical(name);
            let is_foreign = |table: &String| canonical.starts_with(&format!("{}_", variable("", table)));
            // The folder may serve other programs as well, so only what is nearly right is told.
            let near = nearest(&canonical, known.keys().map(String::as_str));
            if let Some(near) = near.filter(|_| !self.foreign.iter().any(is_foreign)) {
                let suggestion = known.get(near).map(|key| (*key).to_owned());
                into.warnings.push(Warning::UnknownName { source: self.origin(name), suggestion });
            }
        }
    }

    /// `db.password`, `db-password`, `DB_PASSWORD` and `APP_DB_PASSWORD` are one name.
    fn canonical(&self, name: &str) -> String {
        let name = variable("", name);
        name.strip_prefix(self.prefix).map(str::to_owned).unwrap_or(name)
    }

    fn origin(&self, name: &str) -> String {
        match self.mount {
            Mount::Secrets => self.folder.join(name).display().to_string(),
            Mount::Credentials => format!("credential {name}"),
        }
    }

    /// An engine decides about the mode and owner of what it mounts, and keeps others out by other means.
    fn is_engines(&self) -> bool {
        self.mount == Mount::Credentials
            || is_engine_mount(self.folder)
            || fs::symlink_metadata(self.folder.join(DATA_LINK)).is_ok()
    }
}

fn read_all(folder: &Path, wanted: &dyn Fn(&str) -> bool) -> io::Result<(Snapshot, Vec<String>)> {
    let (mut files, mut others) = (Vec::new(), Vec::new());
    let entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    let names = entries.into_iter().filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
    names.sort();
    for name in names {
        if wanted(&name) {
            let path: PathBuf = folder.join(&name);
            let file = file::read(&path).map_err(|why| why.to_string());
            files.push((name, file));
        } else {
            others.push(name);
        }
    }
    Ok((files, others))
}
