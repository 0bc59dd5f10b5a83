//! The merge of all layers into one typed value. figment does the work, but never speaks: its errors quote values.

use super::values::secret_texts;
use crate::error::{Error, ErrorKind, Problem};
use crate::schema::{Schema, Setting};
use crate::source::Given;
use figment::error::{Actual, Kind};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use serde::de::DeserializeOwned;

/// All layers, one over the other.
pub(super) struct Merged {
    figment: Figment,
    /// What figment made of them: it would make it anew for each question.
    values: Dict,
}

impl Merged {
    /// Lays each value over those before it.
    pub(super) fn of(given: &[Given]) -> Self {
        let figment = given.iter().fold(Figment::new(), |merged, given| merged.merge(Layer(given)));
        let values = figment.data().ok().and_then(|mut profiles| profiles.remove(&Profile::Default));
        Self { figment, values: values.unwrap_or_default() }
    }

    /// The value of a setting and where it came from, after all layers.
    pub(super) fn get(&self, key: &str) -> Option<(Value, String)> {
        let mut names = key.split('.');
        let first = self.values.get(names.next()?)?;
        let value = names.try_fold(first, |value, name| value.as_dict()?.get(name))?;
        let origin = self.figment.get_metadata(value.tag())?.name.to_string();
        Some((value.clone(), origin))
    }

    /// Refuses secrets that some source sets to nothing. A default may be empty: it says that there is none.
    pub(super) fn refuse_empty(&self, schema: &Schema) -> Result<(), Error> {
        let mut problems = Vec::new();
        for setting in schema.settings.iter().filter(|setting| setting.secret) {
            let Some((value, origin)) = self.get(&setting.key).filter(|(_, origin)| origin != "default")
            else {
                continue;
            };
            if secret_texts(&value, &setting.node).iter().any(String::is_empty) {
                let message = format!("`{}` from {origin}: the secret is empty", setting.key);
                problems.push(Problem::new(ErrorKind::EmptySecret, message));
            }
        }
        Error::of(problems).map_or(Ok(()), Err)
    }

    pub(super) fn extract<T: DeserializeOwned>(&self, schema: &Schema) -> Result<T, Error> {
        self.figment.extract().map_err(|error| self.explain(&error, schema))
    }

    /// Says in our own words what figment found; of its text only the path is used, and that as far as it names settings.
    fn explain(&self, error: &figment::Error, schema: &Schema) -> Error {
        if let Kind::MissingField(name) = &error.kind {
            let path: Vec<&str> = error.path.iter().map(String::as_str).chain([name.as_ref()]).collect();
            if let Some(key) = declared(&path.join("."), schema) {
                return Error::new(ErrorKind::Missing, format!("`{key}` is not set in any source"));
            }
        }
        let path = error.path.join(".");
        let Some(setting) = schema.settings.iter().find(|setting| is_within(&path, &setting.key)) else {
            let place = declared(&path, schema).map_or_else(String::new, |key| format!("`{key}`: "));
            return Error::new(
                ErrorKind::InvalidValue,
                format!("{place}the type of the settings refuses its values"),
            );
        };
        let origin = self.get(&setting.key).map_or_else(|| "no source".into(), |(_, origin)| origin);
        Error::new(
            ErrorKind::InvalidValue,
            format!("`{}` from {origin}: {}", setting.key, refusal(setting, &path, &error.kind)),
        )
    }
}

/// One value of one source: a provider of its own, so that figment can tell where each value came from.
struct Layer<'a>(&'a Given);

impl Provider for Layer<'_> {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.0.origin.clone())
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        Ok(Profile::Default.collect(nest(&self.0.key, self.0.value.clone())))
    }
}

fn nest(key: &str, value: Value) -> Dict {
    match key.split_once('.') {
        Some((first, rest)) => Dict::from([(first.to_owned(), Value::from(nest(rest, value)))]),
        None => Dict::from([(key.to_owned(), value)]),
    }
}

fn is_within(path: &str, key: &str) -> bool {
    path.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The path, if it is that of a setting or of a table of settings.
fn declared<'a>(path: &'a str, schema: &Schema) -> Option<&'a str> {
    schema.settings.iter().any(|setting| is_within(&setting.key, path)).then_some(path)
}

fn refusal(setting: &Setting, path: &str, kind: &Kind) -> String {
    let inside = if path == setting.key { "" } else { "within it, " };
    let expected = setting.node.expected();
    match kind {
        Kind::InvalidType(found, _) if inside.is_empty() => {
            format!("expected {expected}, found {}", class(found))
        }
        Kind::InvalidType(found, _) => {
            format!("within it, {} stands where something else is expected", class(found))
        }
        Kind::InvalidValue(found, _) => format!("{inside}{} is out of range or not allowed", class(found)),
        Kind::InvalidLength(..) => format!("{inside}the number of items is wrong"),
        Kind::UnknownVariant(..) if inside.is_empty() => format!("expected {expected}"),
        Kind::MissingField(_) => format!("{inside}a field is missing"),
        _ => format!("{inside}the value is refused by the setting's type"),
    }
}

fn class(actual: &Actual) -> &'static str {
    match actual {
        Actual::Bool(_) => "a boolean",
        Actual::Unsigned(_) | Actual::Signed(_) => "an integer",
        Actual::Float(_) => "a number",
        Actual::Char(_) | Actual::Str(_) | Actual::Bytes(_) => "text",
        Actual::Seq => "a list",
        Actual::Map => "a table",
        Actual::Unit | Actual::Option => "nothing",
        _ => "another kind of value",
    }
}
