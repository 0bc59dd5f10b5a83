//! Variables, of the process or of a `.env` file: each declared setting is looked up by its variable's name, and by that
//! name with `_FILE`.

use super::dotenv;
use super::{Gathered, Warning, from_text};
use crate::error::{ErrorKind, Problem};
use crate::file::{self, LINE_END_CUT};
use crate::schema::{Schema, Setting, variable};
use crate::suggest::nearest;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::Path;

/// What the programs of this toolkit are told by variables that are no settings.
const NOT_SETTINGS: [&str; 3] = ["OPS_LOG", "OPS_PROFILE", "OPS_TOOLS_DIR"];
const NOT_SETTINGS_PREFIXES: [&str; 3] = ["OPS_BENCH_", "OPS_PG_", "OPS_TEST_"];

/// The variables that begin with the prefix of the settings.
#[derive(Default)]
pub(crate) struct Variables {
    prefix: String,
    variables: BTreeMap<String, Variable>,
    /// They are of the process, not of a file.
    process: bool,
}

struct Variable {
    value: OsString,
    /// Where it stands, for a person.
    origin: String,
}

impl Variables {
    /// The variables of a process.
    pub(crate) fn of_process(
        prefix: &str,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Self {
        let own = variables.into_iter().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        // An empty variable is how compose files and shells say "not set".
        let own = own.filter(|(name, value)| name.starts_with(prefix) && !value.is_empty());
        let own = own.map(|(name, value)| {
            let origin = format!("env {name}");
            (name, Variable { value, origin })
        });
        Self { prefix: prefix.to_owned(), variables: own.collect(), process: true }
    }

    /// The variables of a `.env` file; lines that cannot be read are problems.
    pub(crate) fn of_file(prefix: &str, text: &str, file: &str, into: &mut Gathered) -> Self {
        let (found, bad) = dotenv::parse(text);
        into.problems.extend(bad.iter().map(|bad| {
            Problem::new(ErrorKind::Syntax, format!("{file}:{} cannot be read: {}", bad.line, bad.why))
        }));
        // `NAME=` is how a template says "not set"; `NAME=''` is an empty value.
        let own = found.into_iter().filter(|one| one.name.starts_with(prefix));
        let own = own.filter(|one| one.quoted || !one.value.is_empty()).map(|one| {
            let origin = format!("{file}:{} {}", one.line, one.name);
            (one.name, Variable { value: one.value.into(), origin })
        });
        Self { prefix: prefix.to_owned(), variables: own.collect(), process: false }
    }

    /// Reads all values; variables of foreign tables are left alone.
    pub(crate) fn gather(&self, schema: &Schema, foreign: &[String], into: &mut Gathered) {
        let declared: BTreeSet<String> =
            schema.settings.iter().map(|setting| variable(&self.prefix, &setting.key)).collect();
        let mut unknown: BTreeSet<&str> = self.variables.keys().map(String::as_str).collect();
        for setting in &schema.settings {
            let name = variable(&self.prefix, &setting.key);
            let file_name = format!("{name}_FILE");
            unknown.remove(name.as_str());
            let value = self.variables.get(&name);
            // A setting whose own key ends in `_file` keeps its variable.
            let file = self.variables.get(&file_name).filter(|_| !declared.contains(&file_name));
            if file.is_some() {
                unknown.remove(file_name.as_str());
            }
            match (value, file) {
                (Some(_), Some(_)) => {
                    let message =
                        format!("`{}`: {name} and {file_name} are both set; unset one", setting.key);
                    into.problems.push(Problem::new(ErrorKind::Conflict, message));
                }
                (Some(value), None) => from_variable(setting, value, into),
                (None, Some(path)) => from_file(setting, path, into),
                (None, None) => {}
            }
        }
        for name in unknown.into_iter().filter(|name| !self.is_foreign(name, foreign)) {
            let suggestion = nearest(name, declared.iter().map(String::as_str)).map(str::to_owned);
            into.warnings.push(match self.variables.get(name).filter(|_| !self.process) {
                None => Warning::UnknownVariable { name: name.to_owned(), suggestion },
                Some(variable) => Warning::UnknownName { source: variable.origin.clone(), suggestion },
            });
        }
    }

    fn is_foreign(&self, name: &str, foreign: &[String]) -> bool {
        NOT_SETTINGS.contains(&name)
            || NOT_SETTINGS_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
            || foreign.iter().any(|table| name.starts_with(&format!("{}_", variable(&self.prefix, table))))
    }
}

fn from_variable(setting: &Setting, variable: &Variable, into: &mut Gathered) {
    let Variable { value, origin } = variable;
    match value.to_str().ok_or_else(|| "is not UTF-8".into()).and_then(|text| from_text(text, &setting.node))
    {
        Ok(value) => into.give(&setting.key, origin, value),
        Err(why) => into.refuse(ErrorKind::InvalidValue, &setting.key, origin, why),
    }
}

fn from_file(setting: &Setting, variable: &Variable, into: &mut Gathered) {
    let path = Path::new(&variable.value);
    // A path that leads nowhere is not shown: it may be the secret itself, put into the wrong variable.
    let file = match file::read(path) {
        Ok(file) => file,
        Err(why) => {
            let why = format!("the file that it names {why}");
            return into.refuse(ErrorKind::Unreadable, &setting.key, &variable.origin, why);
        }
    };
    let origin = format!("{} ({})", variable.origin, path.display());
    if file.text.is_empty() {
        return into.refuse(ErrorKind::EmptySecret, &setting.key, &origin, "the file is empty");
    }
    match from_text(&file.text, &setting.node) {
        Ok(value) => into.give_noted(&setting.key, &origin, value, file.cut.then_some(LINE_END_CUT)),
        Err(why) => into.refuse(ErrorKind::InvalidValue, &setting.key, &origin, why),
    }
    if setting.secret {
        into.warn_exposed(path, file.exposure);
    }
}
