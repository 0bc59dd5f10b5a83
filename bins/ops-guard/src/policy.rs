//! The policy that `--policy` and the settings name: a built-in one, or a file with tests of its own.

use crate::render;
use ops_cli::{Exit, Failure, Format};
use ops_core::guard::Policy;
use std::path::Path;

/// Finds the policy of a name or a path.
pub(crate) fn load(given: &str) -> Result<Policy, Failure> {
    if let Some(policy) = Policy::by_name(given) {
        return Ok(policy);
    }
    let path = Path::new(given);
    let is_path = path.extension().is_some() || path.components().count() > 1 || path.exists();
    if !is_path {
        return Err(Failure::new(Exit::Config, format!("there is no policy `{given}`")).hint(
            "the policies are read-only, app, migration and break-glass, or the path of a policy file",
        ));
    }
    Policy::from_file(path).map_err(|error| {
        let failure = Failure::from_error(Exit::Input, &error);
        error.problems().iter().skip(1).fold(failure, |failure, problem| failure.hint(problem.to_string()))
    })
}

/// Runs the policy's tests and returns how many there are. One that fails ends the run, after all were shown.
///
/// `shows_all` asks for those that hold as well.
pub(crate) fn test(policy: &Policy, given: &str, format: Format, shows_all: bool) -> Result<usize, Failure> {
    let outcomes = policy.run_tests();
    for outcome in outcomes.iter().filter(|outcome| shows_all || !outcome.holds()) {
        render::outcome(given, outcome, format).map_err(render::unwritten)?;
    }
    match outcomes.iter().filter(|outcome| !outcome.holds()).count() {
        0 => Ok(outcomes.len()),
        failing => {
            let message = format!("policy {given} fails {failing} of its {} tests", outcomes.len());
            Err(Failure::new(Exit::Input, message)
                .hint("no file is judged by a policy that does not do what it should"))
        }
    }
}
