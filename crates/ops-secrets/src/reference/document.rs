//! What a reference leads to, and who fetches it.

use super::parse::{Reference, Scheme};
use crate::error::ErrorKind;
use crate::file::{Exposure, LINE_END_CUT, SecretFile};
use crate::suggest::nearest;
use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use zeroize::Zeroizing;

/// What stands at the place that a reference names: one text, or fields.
pub struct Document {
    content: Content,
    note: Option<String>,
    /// It stood in this file, in which others have a hand.
    exposed: Option<(PathBuf, Exposure)>,
    /// What was done to its text.
    change: Option<&'static str>,
}

enum Content {
    Text(Zeroizing<String>),
    Fields(serde_json::Map<String, serde_json::Value>),
}

/// A value that was picked from a document.
pub(super) enum Picked {
    Text(Zeroizing<String>),
    /// A number or a boolean: fit for a setting that is one, but no text, which may have been written otherwise.
    Bare(Zeroizing<String>, &'static str),
}

impl Document {
    /// A document that is one text; a field of it is picked by reading it as JSON.
    pub fn text(text: impl Into<String>) -> Self {
        Self { content: Content::Text(Zeroizing::new(text.into())), note: None, exposed: None, change: None }
    }

    /// A document of named fields.
    pub fn fields(fields: serde_json::Map<String, serde_json::Value>) -> Self {
        Self { content: Content::Fields(fields), note: None, exposed: None, change: None }
    }

    /// Says in a few words which one it is, for the report: `version 3`.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    pub(super) fn of_file(path: &Path, file: &SecretFile) -> Self {
        let exposed = Some((path.to_owned(), file.exposure));
        Self { exposed, change: file.cut.then_some(LINE_END_CUT), ..Self::text(file.text.as_str()) }
    }

    pub(super) fn exposed(&self) -> Option<&(PathBuf, Exposure)> {
        self.exposed.as_ref()
    }

    pub(super) fn change(&self) -> Option<&'static str> {
        self.change
    }

    pub(super) fn told(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// Picks the field, or all of it.
    pub(super) fn pick(&self, field: Option<&str>) -> Result<Picked, FetchError> {
        let missing = |why: String| FetchError::new(ErrorKind::MissingField, why);
        let parsed;
        let fields = match (&self.content, field) {
            (Content::Text(text), None) => return Ok(Picked::Text(text.clone())),
            (Content::Fields(_), None) => {
                return Err(missing("it has fields; say which by `#field`".into()));
            }
            (Content::Fields(fields), Some(_)) => fields,
            (Content::Text(text), Some(_)) => {
                // The cause is left out: it may quote the text.
                parsed = serde_json::from_str::<serde_json::Map<_, _>>(text)
                    .map_err(|_| missing("it is no JSON object, so it has no fields".into()))?;
                &parsed
            }
        };
        let path = field.unwrap_or_default();
        let value = find(fields, path).ok_or_else(|| {
            let names = fields.keys().map(String::as_str);
            let hint =
                nearest(path, names).map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            missing(format!("it has no field `{path}`{hint}"))
        })?;
        match value {
            serde_json::Value::String(text) => Ok(Picked::Text(Zeroizing::new(text.clone()))),
            serde_json::Value::Number(number) => {
                Ok(Picked::Bare(Zeroizing::new(number.to_string()), "a number"))
            }
            serde_json::Value::Bool(on) => Ok(Picked::Bare(Zeroizing::new(on.to_string()), "a boolean")),
            serde_json::Value::Null => Err(missing(format!("its field `{path}` is null"))),
            serde_json::Value::Array(_) => Err(wrong_type("a list")),
            serde_json::Value::Object(_) => Err(wrong_type("a table")),
        }
    }
}

fn wrong_type(found: &str) -> FetchError {
    FetchError::new(ErrorKind::InvalidValue, format!("the field is {found}, not one value"))
}

/// The value of a field by its own name, else by a path of names joined by dots.
fn find<'a>(
    fields: &'a serde_json::Map<String, serde_json::Value>,
    path: &str,
) -> Option<&'a serde_json::Value> {
    fields.get(path).or_else(|| {
        let (first, rest) = path.split_once('.')?;
        find(fields.get(first)?.as_object()?, rest)
    })
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document").field("note", &self.note).finish_non_exhaustive()
    }
}

/// Why a document could not be fetched.
///
/// Its text goes into an error of the loader, so it holds no value, no token, and no words of a server that may quote them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct FetchError {
    kind: ErrorKind,
    why: String,
}

impl FetchError {
    /// An error of a kind; the text continues "vault://mount/path: …".
    pub fn new(kind: ErrorKind, why: impl Into<String>) -> Self {
        Self { kind, why: why.into() }
    }

    /// Returns what went wrong, as far as a caller can act on it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

/// A fetch under way.
pub type Fetching<'a> = Pin<Box<dyn Future<Output = Result<Document, FetchError>> + Send + 'a>>;

/// Fetches documents from a server.
///
/// The contract: a document is fetched at most once a load, several at the same time; the field of the reference is not
/// the fetcher's concern; a fetch may be dropped at any point; it keeps a time limit of its own; and what it returns as an
/// error can be shown to anybody.
pub trait Fetch: Send + Sync {
    /// Which references it resolves.
    fn schemes(&self) -> &[Scheme];

    /// Fetches the document of a reference of one of these schemes.
    fn fetch<'a>(&'a self, reference: &'a Reference) -> Fetching<'a>;
}
