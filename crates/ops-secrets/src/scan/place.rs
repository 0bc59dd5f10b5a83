//! Where a secret stands.

use serde::Serialize;
use std::fmt;

/// What kind of thing holds a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum PlaceKind {
    /// A file of the working tree.
    File,
    /// The name of a file or folder.
    Name,
    /// The target of a symbolic link.
    Link,
    /// What was staged for the next commit.
    Staged,
    /// A version of a file in the object database; also a note, or the content of a stash.
    Blob,
    /// A commit: its message, its author.
    Commit,
    /// The message of an annotated tag.
    Tag,
    /// Standard input.
    Stream,
}

/// A place where a secret stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// What holds it.
    pub kind: PlaceKind,
    /// The path from the root of the scan; of an object in the history one of its paths, where it has any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The members of archives that lead to it, outermost first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inside: Vec<String>,
    /// The line, from 1; inside a member or a decoded UTF-16 text, the line there.
    pub line: u64,
    /// The column in bytes, from 1.
    pub column: u64,
    /// What was decoded to see it, outermost first: `base64`, `hex`, `utf-16`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub through: Vec<&'static str>,
    /// The git object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// The oldest commit that brought the object in; None where no reference and no reflog leads to one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

impl Place {
    pub(crate) fn new(kind: PlaceKind, path: Option<String>) -> Self {
        Self {
            kind,
            path,
            inside: Vec::new(),
            line: 1,
            column: 1,
            through: Vec::new(),
            object: None,
            commit: None,
        }
    }

    pub(crate) fn of_object(kind: PlaceKind, object: &str, path: Option<String>) -> Self {
        Self { object: Some(object.to_owned()), ..Self::new(kind, path) }
    }

    pub(crate) fn member(&self, name: &str) -> Self {
        let mut place = self.clone();
        place.inside.push(name.to_owned());
        place
    }
}

/// `path:line:column`, with the members of archives after `!`, and the object where it is one of the history.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = |id: &str| id.chars().take(12).collect::<String>();
        let what = match self.kind {
            PlaceKind::Commit => "commit ",
            PlaceKind::Tag => "tag ",
            PlaceKind::Name => "the name ",
            PlaceKind::Link => "the link ",
            PlaceKind::Staged => "staged ",
            _ => "",
        };
        f.write_str(what)?;
        match (&self.path, &self.object) {
            (Some(path), _) => f.write_str(path)?,
            (None, Some(object)) if what.is_empty() => write!(f, "object {}", short(object))?,
            (None, Some(object)) => f.write_str(&short(object))?,
            (None, None) => f.write_str("standard input")?,
        }
        for member in &self.inside {
            write!(f, "!{member}")?;
        }
        write!(f, ":{}:{}", self.line, self.column)?;
        if !self.through.is_empty() {
            write!(f, " in {}", self.through.join(" in "))?;
        }
        match (&self.commit, &self.object) {
            (Some(commit), _) => write!(f, " since commit {}", short(commit)),
            (None, Some(object)) if self.path.is_some() => write!(f, " of object {}", short(object)),
            _ => Ok(()),
        }
    }
}

/// Something that could not be judged.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Gap {
    /// The path or object.
    pub place: String,
    /// Why.
    pub reason: String,
}
