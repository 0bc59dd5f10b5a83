//! `check`: runs the policy's tests, lets the guard judge the files, and decides the exit code.

use crate::args::{CheckArgs, Settings, TextArgs};
use crate::policy;
use crate::render::{self, Counts, unwritten};
use ops_cli::{Context, Exit, Failure};
use std::io::Read as _;
use std::path::Path;

/// The name that stands for standard input.
const STDIN: &str = "-";

/// Judges every file, in order; a file that cannot be read ends the run before any verdict is printed.
pub(crate) fn run(args: &CheckArgs, context: &Context<Settings>) -> Result<Exit, Failure> {
    let given = context.settings.guard.policy.as_str();
    let policy = policy::load(given)?;
    let tests = policy::test(&policy, given, context.format, args.files.is_empty())?;
    if args.files.is_empty() && tests > 0 {
        render::tests(tests, policy.name(), context.format).map_err(unwritten)?;
        return Ok(Exit::Done);
    }
    let files: Vec<(String, String)> = args.files.iter().map(|path| read(path)).collect::<Result<_, _>>()?;
    let circumstances = circumstances(args);
    let mut counts = Counts::default();
    for (file, sql) in &files {
        let verdict = policy.judge_in(sql, &circumstances);
        counts.add(&verdict);
        render::verdict(file, sql, &verdict, context.format).map_err(unwritten)?;
    }
    render::summary(&counts, &policy, context.format).map_err(unwritten)?;
    Ok(match counts.all() {
        0 => Exit::Nothing,
        _ if policy.is_shadow() || counts.refused() == 0 => Exit::Done,
        _ => Exit::No,
    })
}

fn circumstances(args: &CheckArgs) -> ops_core::guard::Context {
    let mut context = ops_core::guard::Context::default();
    context.principal.clone_from(&args.principal);
    context.database.clone_from(&args.database);
    context.at = args.at;
    context
}

/// The name to show and the text: of `-c`, of a file, or of standard input.
pub(crate) fn text(args: &TextArgs) -> Result<(String, String), Failure> {
    match (&args.command, &args.file) {
        (Some(sql), _) => Ok(("-c".to_owned(), sql.clone())),
        (None, Some(file)) => read(file),
        (None, None) => read(Path::new(STDIN)),
    }
}

/// The name to show and the text. Bytes that are no UTF-8 are refused, because the server might read them otherwise.
pub(crate) fn read(path: &Path) -> Result<(String, String), Failure> {
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
