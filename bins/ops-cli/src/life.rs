//! The life of a command, from the first argument to the exit code.

use crate::command::{Command, Context};
use crate::common::{LogFormat, LogSettings};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::layers::{self, Layers, Own, Parts};
use crate::output::{self, Format};
use crate::sources::Sources;
use crate::stop::Stop;
use ops_secrets::{Example, Masker, Report};
use ops_telemetry::Telemetry;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, IsTerminal as _};
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
    let exit_of = args.failure_exit();
    let masker = Masker::new();
    let read = Layers::of(&common, args.flags(), own::<C>())
        .and_then(|layers| layers.log().map(|log| (layers, log)));
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
        Err(failure) => return fail(&failure, exit_of(failure.exit()), false),
    };
    let json = match told.format {
        LogFormat::Json => true,
        LogFormat::Human => false,
        LogFormat::Auto => !std::io::stderr().is_terminal(),
    };
    match read.and_then(|(layers, _)| settle(args, &layers, masker, &telemetry)) {
        Ok(exit) => exit.into(),
        Err(failure) => fail(&failure, exit_of(failure.exit()), json),
    }
}

/// What of the settings is the command's own.
fn own<C: Command>() -> Own {
    Own { table: C::TABLE, defaults: C::DEFAULTS, may_refer: C::MAY_REFER }
}

/// Loads the settings, and does what was asked for; a login that references needed lasts as long.
fn settle<C: Command>(
    args: C,
    layers: &Layers,
    masker: Masker,
    telemetry: &Telemetry,
) -> Result<Exit, Failure> {
    let common = args.common().clone();
    if !common.show_config
        && let Some(end) = guarded::<C, _>(|| args.run_at_once(&Parts::of(layers)).transpose())?
    {
        return Ok(end);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| bug::<C>(&format!("the runtime does not start: {error}")))?;
    let sources = Sources::new(layers.sources(&masker)?, &masker);
    let references = sources.add_to(layers.local());
    let loaded = runtime.block_on(layers.settings::<C::Settings>(references.clone(), &masker).load_async());
    let end = loaded.map_err(layers::failed).and_then(|loaded| {
        for warning in loaded.report.warnings() {
            tracing::warn!("{warning}");
        }
        if common.show_config {
            return show_config(&loaded.report, common.format);
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
        work(args, context, &runtime)
    });
    runtime.block_on(sources.log_out());
    end
}

/// Does something of the command's own within its span; a panic is a failure among others.
fn guarded<C: Command, T>(body: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    let span = tracing::info_span!("command", command = C::NAME);
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| span.in_scope(body)));
    caught.unwrap_or_else(|_| Err(bug::<C>("stopped by a panic")))
}

/// A failure that is our own mistake.
fn bug<C: Command>(what: &str) -> Failure {
    let failure = Failure::new(Exit::Bug, format!("{}: {what}", C::NAME));
    failure.hint("this is a bug of ours; the log line above says where")
}

fn work<C: Command>(
    args: C,
    context: impl FnOnce(Stop) -> Context<C::Settings>,
    runtime: &tokio::runtime::Runtime,
) -> Result<Exit, Failure> {
    let work = async {
        let stop = Stop::listen()
            .map_err(|error| Failure::new(Exit::Bug, format!("signals cannot be handled: {error}")))?;
        let end = args.run(context(stop.clone())).await;
        // A signal decides the exit code also where the work ended as a failure because of it.
        match (stop.exit(), end) {
            (Some(exit), Err(failure)) => Err(failure.with_exit(exit)),
            // A child got the signal too, and its answer is the one that counts.
            (_, Ok(exit @ Exit::Child(_))) => Ok(exit),
            (Some(exit), Ok(_)) => Ok(exit),
            (None, end) => end,
        }
    };
    guarded::<C, _>(|| runtime.block_on(work.in_current_span()))
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
    let text = example.defaults_toml(&own::<C>().all_defaults()).render();
    let text = text.map_err(|error| Failure::from_error(Exit::Bug, &error));
    match text.and_then(|text| told(output::text(&text))) {
        Ok(exit) => exit.into(),
        Err(failure) => fail(&failure, failure.exit(), false),
    }
}

/// The end of a command whose answer was written.
fn told(written: io::Result<()>) -> Result<Exit, Failure> {
    let failure = |error| Failure::new(Exit::Io, format!("cannot write to stdout: {error}"));
    written.map(|()| Exit::Done).map_err(failure)
}

fn show_config(report: &Report, format: Format) -> Result<Exit, Failure> {
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
    told(written)
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
