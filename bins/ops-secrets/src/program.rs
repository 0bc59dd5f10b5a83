//! `example`, `check` and `show`: what a program says of its own settings. Only the program knows their type, so it is asked:
//! with `--env-example` for its example, with `--show-config` for what it loads. It writes its own errors to our stderr.

use crate::args::{CheckArgs, ExampleArgs, Settings, ShowArgs};
use ops_cli::{Context, Exit, Failure, Format, output};
use ops_secrets::Drift;
use ops_secrets::scan::{Options, Target, scan};
use serde::Serialize;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Output, Stdio};
use tokio::process::Command;

pub(crate) async fn example(args: &ExampleArgs) -> Result<Exit, Failure> {
    let text = of_program(&args.program).await?;
    match &args.output {
        Some(path) => std::fs::write(path, text).map_err(|error| {
            Failure::new(Exit::CannotCreate, format!("{} cannot be written: {error}", path.display()))
        })?,
        None => output::text(&text).map_err(stdout)?,
    }
    Ok(Exit::Done)
}

/// The answer of `check`: its shape is a promise.
#[derive(Serialize)]
struct Checked {
    schema: &'static str,
    file: String,
    right: bool,
    drift: Option<Drift>,
    secrets: Vec<Found>,
    /// Null where nobody asked.
    settings_load: Option<bool>,
}

#[derive(Serialize)]
struct Found {
    rule: &'static str,
    line: Option<u64>,
    preview: String,
}

pub(crate) async fn check(args: &CheckArgs, context: &Context<Settings>) -> Result<Exit, Failure> {
    let file = args.example.display().to_string();
    let committed = std::fs::read_to_string(&args.example).map_err(|error| {
        Failure::new(Exit::Input, format!("{file} cannot be read: {error}"))
            .hint(format!("`ops-secrets example --output {file} -- PROGRAM` writes it"))
    })?;
    let drift = Drift::between(&of_program(&args.program).await?, &committed);
    let secrets = secrets(&args.example)?;
    let settings_load = if args.example_only {
        None
    } else {
        let words = ["--show-config", "--format", "json"];
        Some(run(&args.program, &words).await?.status.success())
    };
    let right = drift.is_none() && secrets.is_empty() && settings_load != Some(false);
    let checked = Checked { schema: "ops-secrets/check/v1", file, right, drift, secrets, settings_load };
    let written = match context.format {
        Format::Json => output::json(&checked),
        Format::Text => output::text(&text(&checked, &args.program)),
    };
    written.map_err(stdout)?;
    Ok(if right { Exit::Done } else { Exit::No })
}

pub(crate) async fn show(args: &ShowArgs, context: &Context<Settings>) -> Result<Exit, Failure> {
    let format = match context.format {
        Format::Json => "json",
        Format::Text => "text",
    };
    let done = run(&args.program, &["--show-config", "--format", format]).await?;
    output::text(&String::from_utf8_lossy(&done.stdout)).map_err(stdout)?;
    Ok(done.status.code().and_then(|code| u8::try_from(code).ok()).map_or(Exit::Unavailable, Exit::Child))
}

/// What the scanner finds in the file, likely or certain: an example has no reason to look as if it had a secret.
fn secrets(path: &Path) -> Result<Vec<Found>, Failure> {
    let report = scan(Target::Tree(path.to_path_buf()), Options { ignored: true, ..Options::default() })
        .map_err(|error| Failure::from_error(Exit::Unjudged, &error))?;
    if let Some(gap) = report.gaps.first() {
        return Err(Failure::new(
            Exit::Unjudged,
            format!("{} was not searched: {}", path.display(), gap.reason),
        ));
    }
    let found = report.findings.into_iter().map(|finding| Found {
        rule: finding.rule,
        line: finding.places.first().map(|place| place.line),
        preview: finding.preview,
    });
    Ok(found.collect())
}

fn text(checked: &Checked, program: &[OsString]) -> String {
    let mut text = String::new();
    let shown = program.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    let file = &checked.file;
    if let Some(drift) = &checked.drift {
        let _ = writeln!(text, "drifted  {file}: {drift}");
    }
    for found in &checked.secrets {
        let line = found.line.map_or_else(String::new, |line| format!(":{line}"));
        let _ = writeln!(text, "secret   {file}{line}: {} ({})", found.rule, found.preview);
    }
    match checked.settings_load {
        Some(false) => {
            let _ = writeln!(text, "invalid  the settings of {shown} do not load: why stands on stderr");
        }
        Some(true) => {
            let _ = writeln!(text, "right    the settings of {shown} load");
        }
        None => {}
    }
    if checked.drift.is_none() && checked.secrets.is_empty() {
        let _ = writeln!(text, "right    {file} is what {shown} takes, and holds no secret");
    } else {
        let _ = writeln!(text, "         `ops-secrets example --output {file} -- {shown}` writes it anew");
    }
    text
}

async fn of_program(program: &[OsString]) -> Result<String, Failure> {
    let done = run(program, &["--env-example"]).await?;
    let text = String::from_utf8(done.stdout).ok().filter(|text| done.status.success() && !text.is_empty());
    text.ok_or_else(|| {
        let name = program.first().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        Failure::new(Exit::Input, format!("{name} gives no example for --env-example"))
            .hint("a program of your own prints one with `ops_secrets::Example`")
    })
}

async fn run(program: &[OsString], words: &[&str]) -> Result<Output, Failure> {
    let Some((name, own)) = program.split_first() else {
        return Err(Failure::new(Exit::Usage, "no program is named"));
    };
    let mut command = Command::new(name);
    command
        .args(own)
        .args(words)
        .envs(ops_telemetry::child_env())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .kill_on_drop(true);
    // `output` of the command would take its stderr too.
    command.stdout(Stdio::piped());
    let failed = |error| {
        Failure::new(Exit::Unavailable, format!("{} does not start: {error}", name.to_string_lossy()))
    };
    command.spawn().map_err(failed)?.wait_with_output().await.map_err(failed)
}

fn stdout(error: std::io::Error) -> Failure {
    Failure::new(Exit::Io, format!("cannot write to stdout: {error}"))
}
