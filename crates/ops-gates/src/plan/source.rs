//! The texts that a plan is read from, and the problems that were found in them, each with its place.

use super::ReadOptions;
use crate::error::{Error, Problem};
use crate::value::{names_in, nearest};
use serde::de::DeserializeOwned;
use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

/// One file of a plan.
pub(super) struct Source {
    /// As messages call it.
    pub(super) origin: String,
    pub(super) text: String,
    /// Where its relative paths start.
    pub(super) directory: PathBuf,
}

/// Something wrong: the source, the place in it, what, and what to do.
type Found = (usize, Range<usize>, String, Option<String>);

impl Source {
    /// The plan's own text, then all that it includes, each file once, in the order in which it is named.
    pub(super) fn all(text: &str, origin: &str, directory: &Path) -> (Vec<Source>, Vec<Found>) {
        let (text, origin, directory) = (text.to_owned(), origin.to_owned(), directory.to_path_buf());
        let mut sources = vec![Source { origin, text, directory }];
        let (mut problems, mut seen, mut next) = (Vec::new(), HashSet::new(), 0);
        while next < sources.len() {
            for (span, name) in sources[next].includes() {
                let path = sources[next].directory.join(&name);
                let known = path.canonicalize().unwrap_or_else(|_| path.clone());
                if !seen.insert(known) {
                    continue;
                }
                match std::fs::read_to_string(&path) {
                    Ok(text) => {
                        let directory = path.parent().map(Path::to_path_buf).unwrap_or_default();
                        sources.push(Source { origin: path.display().to_string(), text, directory });
                    }
                    Err(error) => {
                        problems.push((next, span, format!("cannot include `{name}`: {error}"), None))
                    }
                }
            }
            next += 1;
        }
        (sources, problems)
    }

    /// The files that it includes. What is wrong with the text itself is told when it is read.
    fn includes(&self) -> Vec<(Range<usize>, String)> {
        let Ok(table) = self.table() else { return Vec::new() };
        let Some(DeValue::Array(names)) = table.get("include").map(Spanned::get_ref) else {
            return Vec::new();
        };
        names.iter().filter_map(|name| Some((name.span(), name.get_ref().as_str()?.to_owned()))).collect()
    }

    /// The text as a table; YAML where the name says so.
    fn table(&self) -> Result<DeTable<'_>, (Range<usize>, String)> {
        if [".yaml", ".yml"].iter().any(|end| self.origin.ends_with(end)) {
            return super::yaml::table(&self.text);
        }
        match DeTable::parse(&self.text) {
            Ok(table) => Ok(table.into_inner()),
            Err(error) => Err((error.span().unwrap_or(0..0), error.message().replace('\n', "; "))),
        }
    }
}

/// A plan that is being read: its texts, and all that is wrong so far.
pub(super) struct Reader<'a> {
    pub(super) sources: &'a [Source],
    /// The source that is being read.
    pub(super) current: usize,
    pub(super) environment: &'a dyn Fn(&str) -> Option<String>,
    pub(super) options: &'a ReadOptions,
    problems: Vec<Found>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        sources: &'a [Source],
        problems: Vec<Found>,
        environment: &'a dyn Fn(&str) -> Option<String>,
        options: &'a ReadOptions,
    ) -> Self {
        Self { sources, current: 0, environment, options, problems }
    }

    pub(super) fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }

    /// The current source as a table.
    pub(super) fn table(&mut self) -> Option<DeTable<'a>> {
        let sources: &'a [Source] = self.sources;
        match sources[self.current].table() {
            Ok(table) => Some(table),
            Err((span, message)) => {
                self.problem(span, message, None);
                None
            }
        }
    }

    /// Deserialises a value; `more` are keys that were taken out of it before, for the suggestion.
    pub(super) fn deserialize<T: DeserializeOwned>(
        &mut self,
        value: Spanned<DeValue<'_>>,
        more: &[&str],
    ) -> Option<T> {
        let span = value.span();
        T::deserialize(ValueDeserializer::from(value))
            .map_err(|error| self.toml_error(&error, &span, more))
            .ok()
    }

    pub(super) fn toml_error(&mut self, error: &toml::de::Error, fallback: &Range<usize>, more: &[&str]) {
        let message = error.message();
        let span = error.span().unwrap_or_else(|| fallback.clone());
        let Some((given, known)) = names_in(message) else {
            return self.problem(span, message.replace('\n', "; "), None);
        };
        let mut known: Vec<&str> = known.into_iter().chain(more.iter().copied()).collect();
        known.dedup();
        let hint = nearest(given, known.iter().copied()).map_or_else(
            || format!("known keys: `{}`", known.join("`, `")),
            |name| format!("did you mean `{name}`?"),
        );
        self.problem(span, format!("key `{given}` is not known here"), Some(hint));
    }

    pub(super) fn problem(&mut self, span: Range<usize>, message: impl Into<String>, hint: Option<String>) {
        self.problems.push((self.current, span, message.into(), hint));
    }

    /// How a message calls a place in a source.
    pub(super) fn place(&self, source: usize, offset: usize) -> String {
        let (line, _) = line_and_column(&self.sources[source].text, offset);
        if source == self.current {
            return format!("line {line}");
        }
        format!("{}:{line}", self.sources[source].origin)
    }

    pub(super) fn into_error(self) -> Error {
        let mut problems = self.problems;
        problems.sort_by_key(|(source, span, ..)| (*source, span.start));
        let place = |(source, span, message, hint): Found| {
            let (line, column) = line_and_column(&self.sources[source].text, span.start);
            let file = (source > 0).then(|| self.sources[source].origin.clone());
            Problem { file, line, column, message, hint }
        };
        Error::plan(&self.sources[0].origin, problems.into_iter().map(place).collect())
    }
}

fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}
