//! Secrets that a command line names: in a file, or by a reference.

use crate::args::{Settings, named};
use ops_cli::{Context, Exit, Failure};
use ops_secrets::{Problem, Secret};
use std::path::Path;

/// A secret in a file, without the line end of the file.
pub(crate) fn read(name: &str, path: &Path) -> Result<Secret, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::new(Exit::Input, format!("{name} in {} cannot be read: {error}", path.display()))
    })?;
    let value = text.strip_suffix('\n').unwrap_or(&text);
    let value = value.strip_suffix('\r').unwrap_or(value);
    if value.is_empty() {
        return Err(Failure::new(Exit::Input, format!("{name} in {} is empty", path.display())));
    }
    Ok(Secret::from(value))
}

/// What references of a command line lead to, by their names.
pub(crate) async fn referred(
    words: &[String],
    flag: &str,
    context: &Context<Settings>,
) -> Result<Vec<(String, Secret)>, Failure> {
    let named = words.iter().map(|word| {
        let (name, reference) =
            named(word).ok_or_else(|| Failure::new(Exit::Usage, format!("{flag} takes NAME=REFERENCE")))?;
        Ok((name.to_owned(), reference.to_owned()))
    });
    let named: Vec<_> = named.collect::<Result<_, Failure>>()?;
    let secrets = context.references.secrets(&named, &format!("flag {flag}"), &context.masker).await;
    secrets.map_err(|error| {
        let exit = if error.is_unavailable() { Exit::Unavailable } else { Exit::Input };
        let problems: Vec<String> = error.problems().iter().map(Problem::to_string).collect();
        Failure::new(exit, problems.join("; "))
    })
}
