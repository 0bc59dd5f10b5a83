//! `check`: reads files, lets the guard judge them, and decides the exit code.

use crate::args::{CheckArgs, Settings};
use crate::render;
use ops_cli::{Context, Exit, Failure};
use ops_core::guard::Policy;
use std::io::Read as _;
use std::path::Path;

/// The name that stands for standard input.
const STDIN: &str = "-";

/// Judges every file, in order; a file that cannot be read ends the run before anything is printed.
pub(crate) fn run(args: &CheckArgs, context: &Context<Settings>) -> Result<Exit, Failure> {
    let name = context.settings.guard.policy.as_str();
    let policy = Policy::by_name(name).ok_or_else(|| {
        Failure::new(Exit::Config, format!("there is no policy `{name}`"))
            .hint("the policies are read-only, app, migration and break-glass")
    })?;
    let files: Vec<(String, String)> = args.files.iter().map(|path| read(path)).collect::<Result<_, _>>()?;
    let (mut statements, mut denied) = (0, 0);
    for (file, sql) in &files {
        let verdict = policy.judge(sql);
        statements += verdict.statements.len();
        denied += verdict.denied().count();
        render::verdict(file, sql, &verdict, context.format).map_err(written)?;
    }
    render::summary(statements, denied, policy.name(), context.format).map_err(written)?;
    Ok(match (statements, denied) {
        (0, _) => Exit::Nothing,
        (_, 0) => Exit::Done,
        _ => Exit::No,
    })
}

fn written(error: std::io::Error) -> Failure {
    Failure::new(Exit::Io, format!("the verdicts cannot be written: {error}"))
}

/// The name to show and the text. Bytes that are no UTF-8 are refused, because the server might read them otherwise.
fn read(path: &Path) -> Result<(String, String), Failure> {
    let name = path.display().to_string();
    let fail = |what: String| Failure::new(Exit::Input, format!("file {name} {what}"));
    let bytes = if path == Path::new(STDIN) {
        let mut bytes = Vec::new();
        std::io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        std::fs::read(path)
    };
    let bytes = bytes.map_err(|error| fail(format!("cannot be read: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        fail(format!("is not UTF-8 from byte {} on", error.utf8_error().valid_up_to()))
            .hint("convert it first; what the server would read is not known otherwise")
    })?;
    Ok((name, text))
}
