//! Programs that a plan names: the words of their command line, and the variables that they get.

use crate::gate::{Context, Program, Wrong};
use crate::outcome::Finding;
use crate::value::{Reference, Text, VariableName, names_a_secret};
use secrecy::ExposeSecret as _;
use std::ffi::OsString;

/// What is wrong with a command line.
pub(super) fn wrong(key: &str, words: &[Text]) -> Vec<Wrong> {
    let mut wrong: Vec<Wrong> = words.iter().flat_map(secrets_in).collect();
    if words.first().is_none_or(|program| program.template().is_empty()) {
        wrong.push(Wrong::gate(format!(
            "`{key}` names no program; write `{key} = [\"program\", \"argument\"]`"
        )));
    }
    wrong
}

/// Secrets in a word, which everyone on the machine can see.
pub(super) fn secrets_in(text: &Text) -> Vec<Wrong> {
    let secret = |reference| match reference {
        Reference::Secret(name) => Some(name),
        Reference::Env(name) => Some(name).filter(|name| names_a_secret(name)),
        Reference::Gate { .. } => None,
    };
    let message = |name| {
        format!(
            "`{name}` looks like a secret, and everyone can see a program's arguments; pass it with `env = [\"{name}\"]`"
        )
    };
    let references = text.references().unwrap_or_default();
    references.into_iter().filter_map(secret).map(|name| Wrong::text(text, message(name))).collect()
}

/// The program with its words and its variables.
pub(super) fn program(
    context: &Context<'_>,
    words: &[Text],
    variables: &[VariableName],
    directory: Option<&Text>,
) -> Result<Program, Finding> {
    let words: Vec<OsString> =
        words.iter().map(|text| context.resolve(text).map(OsString::from)).collect::<Result<_, _>>()?;
    let mut words = words.into_iter();
    let mut program = Program::new(words.next().unwrap_or_default()).args(words);
    program.environment = environment(context, variables);
    program.directory = directory.map(|directory| context.path(directory)).transpose()?;
    Ok(program)
}

/// The variables that a program gets from our environment.
pub(super) fn environment(context: &Context<'_>, variables: &[VariableName]) -> Vec<(OsString, OsString)> {
    let value = |name: &VariableName| {
        let value = context.variable(name)?;
        Some((OsString::from(name.as_str()), OsString::from(value.expose_secret())))
    };
    variables.iter().filter_map(value).collect()
}

/// The command line as a plan shows it, in one line.
pub(super) fn shown(words: &[Text]) -> String {
    words.iter().map(|text| text.template().lines().next().unwrap_or("")).collect::<Vec<_>>().join(" ")
}
