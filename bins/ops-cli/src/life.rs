//! The life of a command, from the first argument to the exit code.

use crate::command::{Command, Context, LogFormat, LogSettings};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::layers::{self, Layers};
use crate::output::{self, Format};
use crate::sources::Sources;
use crate::stop::Stop;
use ops_secrets::{Example, Loaded, Masker, Report};
use ops_telemetry::Telemetry;
use std::hash::{BuildHasher as _, RandomState};
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::sync::Arc;
use tracing::Instrument as _;

/// Runs a command from arguments to exit code; the whole of a binary's `main`.
pub fn main<C: Command>() -> ExitCode {
    let args = match C::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Done }.into();
        }
    };
    let common = args.common().clone();
    if common.env_example {
        return env_example::<C>();
    }
    let masker = Masker::new();
    let read = Layers::of(&args).and_then(|layers| layers.log().map(|log| (layers, log)));
    // Where the file cannot be read, what the flags say about logs still holds.
    let told = match &read {
        Ok((_, log)) => log.clone(),
        Err(_) => LogSettings {
            format: common.log_format.unwrap_or(LogFormat::Auto),
            level: common.log_level.clone().unwrap_or_else(|| "info".into()),
        },
    };
    let telemetry = match start_logs::<C>(&told, &masker) {
        Ok(telemetry) => telemetry,
        Err(failure) => return fail(&failure, failure.exit(), false),
    };
    let json = match told.format {
        LogFormat::Json => true,
        LogFormat::Human => false,
        LogFormat::Auto => !std::io::stderr().is_terminal(),
    };
    let map = args.failure_exit();
    let end = read.map_err(|failure| {
        let exit = map(failure.exit());
        (failure, exit)
    });
    match end.and_then(|(layers, _)| settle(args, &layers, masker, &telemetry)) {
        Ok(code) => code,
        Err((failure, exit)) => fail(&failure, exit, json),
    }
}

/// Loads the settings, and does what was asked for; a login that references needed lasts as long.
fn settle<C: Command>(
    args: C,
    layers: &Layers,
    masker: Masker,
    telemetry: &Telemetry,
) -> Result<ExitCode, (Failure, Exit)> {
    let map = args.failure_exit();
    let with_exit = |failure: Failure| {
        let exit = map(failure.exit());
        (failure, exit)
    };
    let common = args.common().clone();
    // Most settings refer to nothing, and are known before a runtime is started.
    let alone = layers.settings::<C>(layers.local(), &masker).load().ok();
    if let Some(loaded) = alone.as_ref().filter(|_| !common.show_config)
        && let Some(end) = at_once(&args, loaded)
    {
        return end.map(ExitCode::from);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| bug(&args, &format!("the runtime does not start: {error}")))?;
    let sources = Sources::new(layers.sources(&masker).map_err(with_exit)?, &masker);
    let references = sources.add_to(layers.local());
    let loaded = match alone {
        Some(loaded) => Ok(loaded),
        None => {
            let settings = layers.settings::<C>(references.clone(), &masker).load_async();
            runtime.block_on(settings).map_err(layers::failed)
        }
    };
    let end = loaded.map_err(with_exit).and_then(|loaded| {
        warn(&loaded);
        if common.show_config {
            return Ok(show_config(&loaded.report, common.format));
        }
        let context = |stop| Context {
            settings: loaded.settings,
            format: common.format,
            stop,
            masker,
            references,
            trace: telemetry.context(),
            config_file: layers.file.clone(),
            profile: layers.profile,
        };
        work(args, context, &runtime).map(ExitCode::from)
    });
    runtime.block_on(sources.log_out());
    end
}

/// What [`Command::run_at_once`] does, if anything.
fn at_once<C: Command>(args: &C, loaded: &Loaded<C::Settings>) -> Option<Result<Exit, (Failure, Exit)>> {
    let span = tracing::info_span!("command", command = C::NAME);
    let body = std::panic::AssertUnwindSafe(|| span.in_scope(|| args.run_at_once(&loaded.settings)));
    let Ok(end) = std::panic::catch_unwind(body) else { return Some(Err(bug(args, "stopped by a panic"))) };
    let end = end?;
    warn(loaded);
    Some(end.map_err(|failure| {
        let exit = args.failure_exit()(failure.exit());
        (failure, exit)
    }))
}

fn warn<T>(loaded: &Loaded<T>) {
    for warning in loaded.report.warnings() {
        tracing::warn!("{warning}");
    }
}

/// A failure that is our own mistake.
fn bug<C: Command>(args: &C, what: &str) -> (Failure, Exit) {
    let failure = Failure::new(Exit::Bug, format!("{}: {what}", C::NAME))
        .hint("this is a bug of ours; the log line above says where");
    (failure, args.failure_exit()(Exit::Bug))
}

fn work<C: Command>(
    args: C,
    context: impl FnOnce(Stop) -> Context<C::Settings>,
    runtime: &tokio::runtime::Runtime,
) -> Result<Exit, (Failure, Exit)> {
    let map = args.failure_exit();
    let panicked = bug(&args, "stopped by a panic");
    let span = tracing::info_span!("command", command = C::NAME);
    let body = std::panic::AssertUnwindSafe(|| {
        runtime.block_on(
            async {
                let stop = Stop::listen().map_err(|error| {
                    Failure::new(Exit::Bug, format!("signals cannot be handled: {error}"))
                })?;
                let end = args.run(context(stop.clone())).await;
                // A signal decides the exit code also where the work ended as a failure because of it.
                match (stop.exit(), end) {
                    (Some(exit), Err(failure)) => Err(failure.with_exit(exit)),
                    // A child got the signal too, and its answer is the one that counts.
                    (_, Ok(exit @ Exit::Child(_))) => Ok(exit),
                    (Some(exit), Ok(_)) => Ok(exit),
                    (None, end) => end,
                }
            }
            .instrument(span),
        )
    });
    match std::panic::catch_unwind(body) {
        Ok(end) => end.map_err(|failure| {
            let exit = map(failure.exit());
            (failure, exit)
        }),
        Err(_) => Err(panicked),
    }
}

fn start_logs<C: Command>(log: &LogSettings, masker: &Masker) -> Result<Telemetry, Failure> {
    let mut options = ops_telemetry::Options::from_env();
    options.service = C::NAME.into();
    options.version = env!("CARGO_PKG_VERSION").into();
    options.redactor = Some(Arc::new(Redact(masker.clone())));
    options.filter = log.level.clone();
    // A command is one trace, and prints its answer between its lines.
    options.roots = ops_telemetry::Roots::Process;
    options.ring = None;
    options.format = match log.format {
        LogFormat::Auto => ops_telemetry::LogFormat::Auto,
        LogFormat::Human => ops_telemetry::LogFormat::Human,
        LogFormat::Json => ops_telemetry::LogFormat::Json,
    };
    let telemetry =
        ops_telemetry::init(options).map_err(|error| Failure::from_error(Exit::Config, &error))?;
    // Before any secret is loaded: a process whose logs do not mask must not get one.
    masker
        .prove(canary(), |text| telemetry.redact(text).into_bytes())
        .map_err(|error| Failure::from_error(Exit::Bug, &error))?;
    Ok(telemetry)
}

/// Bytes that stand in no log by chance.
fn canary() -> [u8; 16] {
    let half = || RandomState::new().hash_one(0_u8).to_le_bytes();
    let (first, second) = (half(), half());
    std::array::from_fn(|at| if at < 8 { first[at] } else { second[at - 8] })
}

/// The masker of ops-secrets as the redactor of ops-telemetry: the two know nothing of each other.
struct Redact(Masker);

impl ops_telemetry::Redactor for Redact {
    fn redact(&self, line: &mut Vec<u8>) {
        self.0.mask(line);
    }
}

/// Needs no settings: an example is asked for where there are none yet.
fn env_example<C: Command>() -> ExitCode {
    let example = Example::<C::Settings>::new("OPS_").title(C::NAME);
    let text = example.defaults_toml(&layers::defaults::<C>()).render();
    let text = text.map_err(|error| Failure::from_error(Exit::Bug, &error));
    let written = text.and_then(|text| {
        output::text(&text)
            .map_err(|error| Failure::new(Exit::Io, format!("cannot write to stdout: {error}")))
    });
    match written {
        Ok(()) => Exit::Done.into(),
        Err(failure) => fail(&failure, failure.exit(), false),
    }
}

fn show_config(report: &Report, format: Format) -> ExitCode {
    let written = match format {
        Format::Json => {
            output::json(&serde_json::json!({ "schema": "ops-cli/config/v1", "entries": report.entries() }))
        }
        Format::Text => {
            let width =
                |get: fn(&ops_secrets::Entry) -> usize| report.entries().iter().map(get).max().unwrap_or(0);
            let (key, value) = (
                width(|entry| entry.key.chars().count()),
                width(|entry| entry.value.chars().count()).min(60),
            );
            let lines: Vec<String> = report
                .entries()
                .iter()
                .map(|entry| format!("{:key$}  {:value$}  {}", entry.key, entry.value, entry.source))
                .collect();
            output::text(&lines.join("\n"))
        }
    };
    match written {
        Ok(()) => Exit::Done.into(),
        Err(_) => Exit::Io.into(),
    }
}

/// Says why: as an ERROR log line where logs are JSON, so that a machine finds it with its trace id; else as plain lines.
#[expect(clippy::print_stderr, reason = "the one place where a failure is told to a person")]
fn fail(failure: &Failure, exit: Exit, json: bool) -> ExitCode {
    if json {
        tracing::error!(exit_code = exit.code(), hint = failure.hints().join(" "), "{failure}");
    } else {
        eprintln!("error: {failure}");
        for hint in failure.hints() {
            eprintln!("hint: {hint}");
        }
    }
    exit.into()
}
