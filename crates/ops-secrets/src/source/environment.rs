//! The environment: each declared setting is looked up by its variable's name, and by that name with `_FILE`.

use super::suggest::nearest;
use super::{Gathered, Warning, from_text, open_to_others};
use crate::error::{ErrorKind, Problem};
use crate::schema::{Schema, Setting, variable};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read as _;
use std::path::Path;

/// The most bytes that the file behind a `_FILE` variable may have.
const MAX_SECRET_FILE: u64 = 64 * 1024;

/// What the programs of this toolkit are told by variables that are no settings.
const NOT_SETTINGS: [&str; 2] = ["OPS_LOG", "OPS_TOOLS_DIR"];
const NOT_SETTINGS_PREFIXES: [&str; 3] = ["OPS_BENCH_", "OPS_PG_", "OPS_TEST_"];

/// Where a container engine mounts secrets and decides about their mode.
const ENGINE_MOUNTS: [&str; 2] = ["/run/secrets", "/var/run/secrets"];

/// The variables that begin with the prefix of the settings.
#[derive(Default)]
pub(crate) struct Environment {
    prefix: String,
    variables: BTreeMap<String, OsString>,
}

impl Environment {
    pub(crate) fn new(prefix: &str, variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let own = variables.into_iter().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        // An empty variable is how compose files and shells say "not set".
        let own = own.filter(|(name, value)| name.starts_with(prefix) && !value.is_empty());
        Self { prefix: prefix.to_owned(), variables: own.collect() }
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
                (Some(value), None) => from_variable(setting, &name, value, into),
                (None, Some(path)) => from_file(setting, &file_name, Path::new(path), into),
                (None, None) => {}
            }
        }
        for name in unknown.into_iter().filter(|name| !self.is_foreign(name, foreign)) {
            let suggestion = nearest(name, declared.iter().map(String::as_str)).map(str::to_owned);
            into.warnings.push(Warning::UnknownVariable { name: name.to_owned(), suggestion });
        }
    }

    fn is_foreign(&self, name: &str, foreign: &[String]) -> bool {
        NOT_SETTINGS.contains(&name)
            || NOT_SETTINGS_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
            || foreign.iter().any(|table| name.starts_with(&format!("{}_", variable(&self.prefix, table))))
    }
}

fn from_variable(setting: &Setting, name: &str, value: &OsStr, into: &mut Gathered) {
    let origin = format!("env {name}");
    match value.to_str().ok_or_else(|| "is not UTF-8".into()).and_then(|text| from_text(text, &setting.node))
    {
        Ok(value) => into.give(&setting.key, &origin, value),
        Err(why) => into.refuse(ErrorKind::InvalidValue, &setting.key, &origin, why),
    }
}

fn from_file(setting: &Setting, name: &str, path: &Path, into: &mut Gathered) {
    // A path that leads nowhere is not shown: it may be the secret itself, put into the wrong variable.
    let nowhere = format!("env {name}");
    let (text, mode) = match read(path) {
        Ok(read) => read,
        Err(why) => return into.refuse(ErrorKind::Unreadable, &setting.key, &nowhere, why),
    };
    let origin = format!("{nowhere} ({})", path.display());
    let text = text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
    if text.is_empty() {
        return into.refuse(ErrorKind::EmptySecret, &setting.key, &origin, "the file is empty");
    }
    match from_text(text, &setting.node) {
        Ok(value) => into.give(&setting.key, &origin, value),
        Err(why) => into.refuse(ErrorKind::InvalidValue, &setting.key, &origin, why),
    }
    let mode = mode.filter(|_| setting.secret && !ENGINE_MOUNTS.iter().any(|mount| path.starts_with(mount)));
    into.warnings.extend(mode.map(|mode| Warning::OpenFile { path: path.to_owned(), mode }));
}

/// The text of a small regular file, and its mode where others can read it.
fn read(path: &Path) -> Result<(String, Option<u32>), String> {
    let failed = |error: std::io::Error| format!("the file that it names cannot be read ({})", error.kind());
    // Asked before opening: opening a FIFO would wait for its writer.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err("what it names is not a regular file".into());
    }
    let file = fs::File::open(path).map_err(failed)?;
    let mode = open_to_others(&file.metadata().map_err(failed)?);
    let mut bytes = Vec::new();
    file.take(MAX_SECRET_FILE + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_SECRET_FILE {
        return Err(format!("the file that it names has more than {MAX_SECRET_FILE} bytes"));
    }
    let text = String::from_utf8(bytes).map_err(|_| "the file that it names is not UTF-8")?;
    Ok((text, mode))
}
