//! What is released, by digest: the commit of a repository, artifacts, or what the plan is told.
//!
//! Evidence that is bound to nothing proves nothing. So a name alone is refused, a repository must be clean (what is not
//! committed has no digest), and all of it is looked at again when the gates have ended: a subject that changed while it
//! was judged was not judged.

use crate::error::{Error, ErrorKind};
use crate::gate::{Subject, Wrong};
use crate::value::{Text, Variables, digest, is_hex};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What is released, as a plan names it. At least one of `digest`, `commit`, `git` and `artifacts` is given.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubjectKeys {
    /// The name of the artifact or repository.
    pub name: Text,
    /// A digest as `sha256:…` or `sha512:…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Text>,
    /// The full name of a commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<Text>,
    /// A folder in the repository whose HEAD is released; nothing in it may be uncommitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub git: Option<Text>,
    /// Patterns of files that are released; each must find one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<Text>,
}

/// A subject with its digests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resolved {
    pub(crate) subject: Subject,
    pub(crate) artifacts: Vec<Subject>,
    /// Who made the commit: its author and its committer, by e-mail address.
    pub(crate) authors: Vec<String>,
}

impl SubjectKeys {
    /// What is wrong with the keys, as far as it can be seen without looking at the world.
    pub(crate) fn wrong(&self, variables: &Variables) -> Option<Wrong> {
        let resolve = |text: &Text| text.resolve(&|reference| variables.value(reference)).ok();
        if let Some(text) = &self.digest
            && resolve(text).is_some_and(|text| digest(&text).is_none())
        {
            let message =
                "the subject's digest is not a digest: write `sha256:` or `sha512:` and hexadecimal digits";
            return Some(Wrong::text(text, message));
        }
        if let Some(text) = &self.commit
            && resolve(text).is_some_and(|text| !is_commit(&text))
        {
            let message = "the subject's commit is not a full object name of 40 or 64 hexadecimal digits";
            return Some(Wrong::text(text, message));
        }
        let has_none = self.digest.is_none() && self.commit.is_none() && self.git.is_none();
        (has_none && self.artifacts.is_empty()).then(|| {
            let message = "the subject has no digest; give `git`, `commit`, `digest` or `artifacts`, \
                           because a name alone binds the verdict to nothing";
            Wrong::text(&self.name, message)
        })
    }

    /// Looks at the world. Blocks on files and on git.
    ///
    /// # Errors
    /// [`ErrorKind::SubjectNotProven`] says what is not as it must be.
    pub(crate) fn resolve(&self, directory: &Path, variables: &Variables) -> Result<Resolved, Error> {
        let text = |text: &Text| {
            let resolved = text.resolve(&|reference| variables.value(reference));
            resolved.map_err(|error| not_proven(format!("subject: {error}")))
        };
        let mut subject = Subject { name: text(&self.name)?, digest: BTreeMap::new() };
        let mut authors = Vec::new();
        if let Some((algorithm, hex)) =
            self.digest.as_ref().map(text).transpose()?.as_deref().and_then(digest)
        {
            subject.digest.insert(algorithm.to_owned(), hex.to_owned());
        }
        if let Some(commit) = self.commit.as_ref().map(text).transpose()? {
            subject.digest.insert("gitCommit".to_owned(), commit);
        }
        if let Some(folder) = &self.git {
            let folder = directory.join(text(folder)?);
            let commit = clean_commit(&folder)?;
            if subject.digest.get("gitCommit").is_some_and(|named| *named != commit) {
                let folder = folder.display();
                return Err(not_proven(format!(
                    "HEAD of {folder} is {commit}, not the commit that the plan names"
                )));
            }
            authors = git(&folder, &["log", "-1", "--format=%ae%n%ce"])?.lines().map(str::to_owned).collect();
            subject.digest.insert("gitCommit".to_owned(), commit);
        }
        let mut artifacts = Vec::new();
        for pattern in &self.artifacts {
            artifacts.extend(files(directory, &text(pattern)?)?);
        }
        if subject.digest.is_empty() {
            // The artifacts together are the subject then, by a digest over theirs.
            let mut all = Sha256::new();
            for artifact in &artifacts {
                all.update(format!("{}  {}\n", artifact.digest["sha256"], artifact.name));
            }
            subject.digest.insert("sha256".to_owned(), hex(&all.finalize()));
        }
        Ok(Resolved { subject, artifacts, authors })
    }
}

fn not_proven(message: String) -> Error {
    Error::new(ErrorKind::SubjectNotProven, message)
}

fn is_commit(text: &str) -> bool {
    is_hex(text, 40) || is_hex(text, 64)
}

/// HEAD of a repository in which nothing is uncommitted.
fn clean_commit(folder: &Path) -> Result<String, Error> {
    let commit = git(folder, &["rev-parse", "--verify", "HEAD^{commit}"])?.trim().to_owned();
    let status =
        git(folder, &["status", "--porcelain=v1", "--untracked-files=normal", "--ignore-submodules=none"])?;
    let mut changed = status.lines();
    match changed.next() {
        None => Ok(commit),
        Some(first) => {
            let more = changed.count();
            let more = if more == 0 { String::new() } else { format!(" and {more} more") };
            let first = first.get(3..).unwrap_or(first);
            let folder = folder.display();
            Err(not_proven(format!("{folder} has changes that are not committed: {first}{more}")))
        }
    }
}

fn git(folder: &Path, arguments: &[&str]) -> Result<String, Error> {
    let mut command = Command::new("git");
    command.arg("-C").arg(folder).args(arguments).stdin(Stdio::null());
    // A hook or an index that is refreshed would write into what is looked at.
    command.env("GIT_OPTIONAL_LOCKS", "0").env("LC_ALL", "C");
    let ran = command.output().map_err(|error| not_proven("cannot start `git`".to_owned()).because(error))?;
    if ran.status.success() {
        return Ok(String::from_utf8_lossy(&ran.stdout).into_owned());
    }
    let why = String::from_utf8_lossy(&ran.stderr);
    let why = why.lines().next().unwrap_or("no reason given").to_owned();
    Err(not_proven(format!("git {} in {}: {why}", arguments[0], folder.display())))
}

/// The files that a pattern finds, with their digests; at least one.
fn files(directory: &Path, pattern: &str) -> Result<Vec<Subject>, Error> {
    let whole = directory.join(pattern);
    let whole = whole.to_str().ok_or_else(|| not_proven(format!("artifact `{pattern}` is not UTF-8")))?;
    let paths = glob::glob(whole).map_err(|error| not_proven(format!("artifact `{pattern}`: {error}")))?;
    let mut found = Vec::new();
    for path in paths {
        let path = path.map_err(|error| not_proven(format!("artifact `{pattern}`: {error}")))?;
        if path.is_file() {
            found.push(file(directory, path)?);
        }
    }
    if found.is_empty() {
        return Err(not_proven(format!("no artifact is found at {pattern}")));
    }
    Ok(found)
}

fn file(directory: &Path, path: PathBuf) -> Result<Subject, Error> {
    let cannot = |error| Error::io(ErrorKind::SubjectNotProven, "read artifact", &path, error);
    let mut file = std::fs::File::open(&path).map_err(cannot)?;
    let (mut all, mut buffer) = (Sha256::new(), vec![0; 256 * 1024]);
    loop {
        match file.read(&mut buffer).map_err(cannot)? {
            0 => break,
            read => all.update(&buffer[..read]),
        }
    }
    let name = path.strip_prefix(directory).unwrap_or(&path).display().to_string();
    Ok(Subject { name, digest: [("sha256".to_owned(), hex(&all.finalize()))].into() })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
