//! Resolves many references: each document once, all at the same time, and on to the next where one leads on.

use super::document::{Document, Fetch, FetchError, Picked};
use super::local::Local;
use super::parse::{Reference, Scheme};
use crate::error::{ErrorKind, Problem};
use crate::file::Exposure;
#[cfg(feature = "tokio")]
use crate::{error::Error, mask::Masker, secret::Secret};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

/// How many references may lead from one to the next.
const LONGEST_CHAIN: usize = 8;

/// What a program needs to resolve references in its settings; see [`Loader::references`](crate::Loader::references).
///
/// Nothing is taken from the process on its own: what `env://` may see is given, and commands are run only where they
/// are allowed.
///
/// ```
/// use ops_secrets::{Loader, References, Secret};
///
/// #[derive(serde::Deserialize)]
/// struct Settings {
///     password: Secret,
/// }
///
/// let loaded = Loader::<Settings>::new()
///     .defaults_toml("password = 'env://PGPASSWORD'")
///     .references(References::new().env_vars([("PGPASSWORD".into(), "hunter2".into())]))
///     .load()?;
/// assert_eq!(loaded.settings.password.expose_secret(), "hunter2");
/// assert_eq!(loaded.report.entries()[0].source, "default -> env://PGPASSWORD");
/// # Ok::<(), ops_secrets::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct References {
    local: Local,
    fetchers: Vec<Arc<dyn Fetch>>,
}

impl References {
    /// Resolves `file://` and `literal://`, and `sops://` where the program `sops` is found.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the variables that `env://` sees; commands get the few of them that they need to find programs and keys.
    #[must_use]
    pub fn env_vars(mut self, variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let named = variables.into_iter().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        self.local.variables.extend(named);
        self
    }

    /// Sets the folder that the paths of files start from, where they are relative; else it is the working directory.
    #[must_use]
    pub fn relative_to(mut self, folder: &Path) -> Self {
        self.local.folder = Some(folder.to_owned());
        self
    }

    /// Allows `exec://`. Who can write a setting can then run a command as this program's user.
    #[must_use]
    pub fn allow_commands(mut self) -> Self {
        self.local.commands = true;
        self
    }

    /// Passes a variable on to commands, beside `PATH`, `HOME` and the like; no other is.
    #[must_use]
    pub fn pass_variable(mut self, name: &str) -> Self {
        self.local.passed.push(name.to_owned());
        self
    }

    /// Sets how long a command may take, 30 s by default; then it is killed with all that it started.
    #[must_use]
    pub fn command_timeout(mut self, timeout: Duration) -> Self {
        self.local.timeout = timeout;
        self
    }

    /// Sets the program that decrypts `sops://`, `sops` by default.
    #[must_use]
    pub fn sops_program(mut self, program: &Path) -> Self {
        self.local.sops = program.to_owned();
        self
    }

    /// Sets the program that decrypts `age://`, `age` by default.
    #[must_use]
    pub fn age_program(mut self, program: &Path) -> Self {
        self.local.age = program.to_owned();
        self
    }

    /// Adds a file with identities (private keys) for `age://`.
    #[must_use]
    pub fn age_identity(mut self, file: &Path) -> Self {
        self.local.identities.push(file.to_owned());
        self
    }

    /// Adds what resolves the references of a server; such settings are loaded by `Loader::load_async`.
    #[must_use]
    pub fn fetcher(mut self, fetcher: Arc<dyn Fetch>) -> Self {
        self.fetchers.push(fetcher);
        self
    }

    /// Resolves all that this process can resolve alone; the others end as unresolved.
    pub(crate) fn resolve(&self, wanted: Vec<Wanted>) -> Resolution {
        let mut rounds = Rounds::new(wanted);
        loop {
            let documents = rounds.missing();
            if documents.is_empty() {
                return rounds.done;
            }
            let fetched = std::thread::scope(|threads| {
                let started: Vec<_> = documents
                    .into_iter()
                    .map(|document| {
                        let wanted = document.clone();
                        (document, threads.spawn(move || self.fetch_here(&wanted)))
                    })
                    .collect();
                let ended = started
                    .into_iter()
                    .map(|(document, thread)| (document, thread.join().unwrap_or_else(|_| Err(stopped()))));
                ended.collect::<Vec<_>>()
            });
            rounds.go_on(fetched);
        }
    }

    fn fetch_here(&self, reference: &Reference) -> Result<Document, FetchError> {
        match self.remote(reference.scheme()) {
            Some(_) => Err(FetchError::new(
                ErrorKind::UnresolvedReference,
                "it stands on a server; load these settings with `load_async`",
            )),
            None => self.local.fetch(reference),
        }
    }

    fn remote(&self, scheme: Scheme) -> Option<&Arc<dyn Fetch>> {
        self.fetchers.iter().find(|fetcher| fetcher.schemes().contains(&scheme))
    }
}

#[cfg(feature = "tokio")]
impl References {
    /// Resolves references that stand outside of settings, such as those of a command line, by names that are given; masks
    /// what they lead to. What is asked for in one call comes of one fetch of each document, so that a leased user and its
    /// password belong together.
    ///
    /// # Errors
    /// As [`Loader::load_async`](crate::Loader::load_async), with the names in place of settings; and where a text is no
    /// reference, for it may be a secret that was put there by mistake.
    pub async fn secrets(
        &self,
        named: &[(String, String)],
        origin: &str,
        masker: &Masker,
    ) -> Result<Vec<(String, Secret)>, Error> {
        let wanted = named.iter().map(|(name, text)| Wanted {
            key: name.clone(),
            origin: origin.to_owned(),
            text: text.clone(),
            only_text: true,
        });
        let mut resolution = self.resolve_async(wanted.collect()).await;
        let values = resolution.values.iter();
        masker.register_all(values.map(|((name, _), found)| (name.as_str(), found.value.as_str())));
        for (name, _) in named.iter().filter(|(_, text)| Reference::parse(text).is_none()) {
            let message = format!(
                "`{name}` from {origin} is no reference; one begins with its scheme, as `openbao://`"
            );
            resolution.problems.push(Problem::new(ErrorKind::InvalidReference, message));
        }
        if let Some(error) = Error::of(resolution.problems) {
            return Err(error);
        }
        let secret = |(name, _), found: Resolved| (name, Secret::from(found.value.as_str()));
        Ok(resolution.values.into_iter().map(|(key, found)| secret(key, found)).collect())
    }

    /// Resolves all; dropping the future ends what is under way, but a command, which ends by its own time limit.
    pub(crate) async fn resolve_async(&self, wanted: Vec<Wanted>) -> Resolution {
        let mut rounds = Rounds::new(wanted);
        loop {
            let documents = rounds.missing();
            if documents.is_empty() {
                return rounds.done;
            }
            let mut fetches = tokio::task::JoinSet::new();
            let mut running = BTreeMap::new();
            for document in documents {
                let wanted = document.clone();
                let task = match self.remote(document.scheme()).map(Arc::clone) {
                    Some(fetcher) => fetches.spawn(async move { fetcher.fetch(&wanted).await }),
                    None => {
                        let local = self.local.clone();
                        fetches.spawn_blocking(move || local.fetch(&wanted))
                    }
                };
                running.insert(task.id(), document);
            }
            let mut fetched = Vec::new();
            while let Some(ended) = fetches.join_next_with_id().await {
                let (id, result) = match ended {
                    Ok((id, result)) => (id, result),
                    Err(error) => (error.id(), Err(stopped())),
                };
                fetched.extend(running.remove(&id).map(|document| (document, result)));
            }
            rounds.go_on(fetched);
        }
    }
}

/// What a panic of a fetcher is told as: its own words may quote anything.
fn stopped() -> FetchError {
    FetchError::new(ErrorKind::UnresolvedReference, "the fetch was stopped by a bug")
}

impl fmt::Debug for References {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let schemes: Vec<&str> =
            self.fetchers.iter().flat_map(|fetcher| fetcher.schemes()).map(|scheme| scheme.name()).collect();
        f.debug_struct("References")
            .field("fetched", &schemes)
            .field("commands", &self.local.commands)
            .finish_non_exhaustive()
    }
}

/// A reference that stands in a setting.
pub(crate) struct Wanted {
    pub(crate) key: String,
    /// Where the reference stands.
    pub(crate) origin: String,
    /// The text of the reference.
    pub(crate) text: String,
    /// The setting takes text alone, so a number or a boolean in a document does not fit.
    pub(crate) only_text: bool,
}

/// What came of references.
#[derive(Default)]
pub(crate) struct Resolution {
    /// By key and text of the reference.
    pub(crate) values: BTreeMap<(String, String), Resolved>,
    /// The files that values stood in, and who else has a hand in them.
    pub(crate) files: BTreeMap<PathBuf, Exposure>,
    pub(crate) problems: Vec<Problem>,
}

/// What a reference leads to.
pub(crate) struct Resolved {
    pub(crate) value: Zeroizing<String>,
    /// How it was reached.
    pub(crate) path: String,
    /// What was done to the value.
    pub(crate) note: Option<&'static str>,
}

/// The fetched documents, and the references that still lead on.
struct Rounds {
    open: Vec<(Wanted, Vec<Reference>)>,
    documents: BTreeMap<Reference, Result<Document, FetchError>>,
    done: Resolution,
}

impl Rounds {
    fn new(wanted: Vec<Wanted>) -> Self {
        let mut rounds = Self { open: Vec::new(), documents: BTreeMap::new(), done: Resolution::default() };
        for one in wanted {
            match Reference::parse(&one.text) {
                Some(Ok(reference)) => rounds.open.push((one, vec![reference])),
                Some(Err(why)) => {
                    let message = format!("`{}` from {}: {why}", one.key, one.origin);
                    rounds.done.problems.push(Problem::new(ErrorKind::InvalidReference, message));
                }
                None => {}
            }
        }
        rounds
    }

    /// The documents that are needed next, each once.
    fn missing(&self) -> BTreeSet<Reference> {
        let next = self.open.iter().filter_map(|(_, chain)| chain.last()).map(Reference::document);
        next.filter(|document| !self.documents.contains_key(document)).collect()
    }

    /// Takes what was fetched, and follows what leads on until documents are missing again.
    fn go_on(&mut self, fetched: Vec<(Reference, Result<Document, FetchError>)>) {
        self.documents.extend(fetched);
        let mut waiting = std::mem::take(&mut self.open);
        while let Some((wanted, mut chain)) = waiting.pop() {
            let Some(document) = chain.last().and_then(|last| self.documents.get(&last.document())) else {
                self.open.push((wanted, chain));
                continue;
            };
            match step(&wanted, &chain, document) {
                Ok(Step::Value(resolved)) => {
                    let exposed = document.as_ref().ok().and_then(Document::exposed);
                    self.done.files.extend(exposed.cloned());
                    self.done.values.insert((wanted.key, wanted.text), resolved);
                }
                Ok(Step::On(next)) => {
                    chain.push(next);
                    waiting.push((wanted, chain));
                }
                Err(error) => {
                    let path = path(&chain);
                    let message = format!("`{}` from {} -> {path}: {error}", wanted.key, wanted.origin);
                    self.done.problems.push(Problem::new(error.kind(), message));
                }
            }
        }
    }
}

enum Step {
    Value(Resolved),
    On(Reference),
}

fn step(
    wanted: &Wanted,
    chain: &[Reference],
    document: &Result<Document, FetchError>,
) -> Result<Step, FetchError> {
    let document = document.as_ref().map_err(Clone::clone)?;
    let Some(last) = chain.last() else { return Err(stopped()) };
    let text = match document.pick(last.field())? {
        Picked::Text(text) => text,
        Picked::Bare(_, found) if wanted.only_text => {
            let why = format!("the field is {found}, expected text; put it in quotes in the document");
            return Err(FetchError::new(ErrorKind::InvalidValue, why));
        }
        Picked::Bare(text, _) => text,
    };
    if text.is_empty() {
        return Err(FetchError::new(ErrorKind::EmptySecret, "the secret is empty"));
    }
    let next = match Reference::parse(&text) {
        Some(next) if last.scheme() != Scheme::Literal => next,
        _ => {
            let note = document.told().map(|note| format!(" ({note})"));
            let path = path(chain) + &note.unwrap_or_default();
            // The line end of a file was no part of a field in it.
            let note = document.change().filter(|_| last.field().is_none());
            return Ok(Step::Value(Resolved { value: text, path, note }));
        }
    };
    if !last.scheme().leads_on() {
        let why = "what stands there is a reference again, which is followed from env:// and file:// alone";
        return Err(FetchError::new(ErrorKind::InvalidReference, why));
    }
    let next = next.map_err(|why| FetchError::new(ErrorKind::InvalidReference, why))?;
    if chain.contains(&next) {
        let why = format!("the references lead in a circle, back to {next}");
        return Err(FetchError::new(ErrorKind::ReferenceCycle, why));
    }
    if chain.len() == LONGEST_CHAIN {
        let why = format!("more than {LONGEST_CHAIN} references lead from one to the next");
        return Err(FetchError::new(ErrorKind::ReferenceCycle, why));
    }
    Ok(Step::On(next))
}

fn path(chain: &[Reference]) -> String {
    chain.iter().map(Reference::to_string).collect::<Vec<_>>().join(" -> ")
}
