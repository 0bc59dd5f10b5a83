//! References that this process resolves alone: variables, files, commands, and the files of sops and age.

use super::document::{Document, FetchError};
use super::parse::{Reference, Scheme};
use super::process;
use crate::error::ErrorKind;
use crate::file::{self, without_line_end};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a command may see of the environment: how to find programs and keys, but no settings.
const PASSED: [&str; 14] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "GNUPGHOME",
    "GPG_TTY",
    "XDG_CONFIG_HOME",
    "XDG_RUNTIME_DIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];
/// Of sops, and of the services that hold its keys.
const PASSED_TO_SOPS: [&str; 6] = ["SOPS_", "AWS_", "AZURE_", "GOOGLE_", "VAULT_", "BAO_"];

/// What is needed to resolve such references.
#[derive(Clone)]
pub(super) struct Local {
    pub(super) variables: BTreeMap<String, OsString>,
    pub(super) folder: Option<PathBuf>,
    pub(super) commands: bool,
    /// Variables that commands get beside the usual ones.
    pub(super) passed: Vec<String>,
    pub(super) timeout: Duration,
    pub(super) sops: PathBuf,
    pub(super) age: PathBuf,
    pub(super) identities: Vec<PathBuf>,
}

impl Default for Local {
    fn default() -> Self {
        Self {
            variables: BTreeMap::new(),
            folder: None,
            commands: false,
            passed: Vec::new(),
            timeout: Duration::from_secs(30),
            sops: "sops".into(),
            age: "age".into(),
            identities: Vec::new(),
        }
    }
}

impl Local {
    /// Fetches a document; may wait for a command.
    pub(super) fn fetch(&self, reference: &Reference) -> Result<Document, FetchError> {
        match reference.scheme() {
            Scheme::Literal => Ok(Document::text(reference.address())),
            Scheme::Env => self.variable(reference.address()),
            Scheme::File => self.file(reference),
            Scheme::Exec => self.exec(reference),
            Scheme::Sops => self.sops(reference),
            Scheme::Age => self.age(reference),
            _ => Err(FetchError::new(
                ErrorKind::UnresolvedReference,
                "this program was not given what resolves such references",
            )),
        }
    }

    fn variable(&self, name: &str) -> Result<Document, FetchError> {
        let value = self.variables.get(name).filter(|value| !value.is_empty());
        let value = value.ok_or_else(|| FetchError::new(ErrorKind::NotFound, "the variable is not set"))?;
        let text = value.to_str();
        text.map(Document::text)
            .ok_or_else(|| FetchError::new(ErrorKind::InvalidValue, "the variable is not UTF-8"))
    }

    fn file(&self, reference: &Reference) -> Result<Document, FetchError> {
        let path = self.path(reference);
        let kind = if path.exists() { ErrorKind::Unreadable } else { ErrorKind::NotFound };
        let file = file::read(&path).map_err(|why| FetchError::new(kind, format!("the file {why}")))?;
        Ok(Document::of_file(&path, &file))
    }

    fn exec(&self, reference: &Reference) -> Result<Document, FetchError> {
        if !self.commands {
            let why = "this program does not run commands for its settings";
            return Err(FetchError::new(ErrorKind::UnresolvedReference, why));
        }
        let [program, args @ ..] = reference.words() else {
            return Err(FetchError::new(ErrorKind::InvalidReference, "it names no program"));
        };
        let args: Vec<OsString> = args.iter().map(OsString::from).collect();
        self.run(OsStr::new(program), &args, &[])
    }

    fn sops(&self, reference: &Reference) -> Result<Document, FetchError> {
        let path = self.existing(reference)?;
        let args = ["--decrypt".into(), "--output-type".into(), "json".into(), path.into_os_string()];
        self.run(self.sops.as_os_str(), &args, &PASSED_TO_SOPS)
    }

    fn age(&self, reference: &Reference) -> Result<Document, FetchError> {
        if self.identities.is_empty() {
            let why = "this program was not given an age identity";
            return Err(FetchError::new(ErrorKind::UnresolvedReference, why));
        }
        let path = self.existing(reference)?;
        let mut args: Vec<OsString> = vec!["--decrypt".into()];
        for identity in &self.identities {
            args.extend(["--identity".into(), identity.clone().into_os_string()]);
        }
        args.extend(["--".into(), path.into_os_string()]);
        self.run(self.age.as_os_str(), &args, &[])
    }

    fn run(&self, program: &OsStr, args: &[OsString], prefixes: &[&str]) -> Result<Document, FetchError> {
        let passes = |name: &String| {
            PASSED.contains(&name.as_str())
                || self.passed.contains(name)
                || prefixes.iter().any(|prefix| name.starts_with(prefix))
        };
        let passed = self.variables.iter().filter(|(name, _)| passes(name));
        let env: Vec<_> = passed.map(|(name, value)| (OsString::from(name), value.clone())).collect();
        let text = process::run(program, args, &env, self.timeout)?;
        Ok(Document::text(without_line_end(&text)))
    }

    /// The absolute path of a file's reference, so that it can never be taken for an option.
    fn path(&self, reference: &Reference) -> PathBuf {
        let path = Path::new(reference.address());
        let path = self.folder.as_ref().map_or_else(|| path.to_owned(), |folder| folder.join(path));
        std::path::absolute(&path).unwrap_or(path)
    }

    fn existing(&self, reference: &Reference) -> Result<PathBuf, FetchError> {
        let path = self.path(reference);
        match path.is_file() {
            true => Ok(path),
            false => Err(FetchError::new(ErrorKind::NotFound, "there is no such file")),
        }
    }
}
