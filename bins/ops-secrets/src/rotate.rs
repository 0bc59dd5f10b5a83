//! `rotate` and `due`: plan, show, apply with a line of audit for each step; and the schedule.

use crate::args::{DueArgs, PostgresArgs, PostgresSettings, Settings};
use crate::postgres::Postgres;
use ops_cli::{Context, Exit, Failure, Format, output};
use ops_core::connection::ConnectionSettings;
use ops_secrets::Secret;
use ops_secrets::rotate::change::{Plan, Record, Step, Target, apply, plan};
use ops_secrets::rotate::schedule::{Due, Schedule, State};
use ops_secrets::rotate::{Error, ErrorKind};
use serde::Serialize;
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;
use std::time::SystemTime;

/// The characters of a password: none that a shell, a URL or a connection string would change.
const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
/// 32 of them are 190 bits.
const LENGTH: usize = 32;
/// What to do about a rotation that was cut off.
pub(crate) const AGAIN: &str = "run the command again: it goes on where it was cut off";

/// The answer of `rotate`: its shape is a promise.
#[derive(Serialize)]
struct Rotation<'a> {
    schema: &'static str,
    target: String,
    folder: String,
    account: &'a str,
    in_use: Option<&'a str>,
    resumes: bool,
    interrupts: bool,
    applied: bool,
    record: Option<Record>,
}

pub(crate) async fn postgres(args: PostgresArgs, context: &Context<Settings>) -> Result<Exit, Failure> {
    if args.roles.len() > 2 {
        return Err(Failure::new(Exit::Usage, "at most two roles take turns"));
    }
    let server = server(&context.settings.secrets.postgres, &context.trace.trace_id.to_string())?;
    let target = Postgres::new(server);
    let plan = plan(&target, &args.folder, &args.roles).await.map_err(|error| failure(&error))?;
    let (account, in_use) = (plan.account().to_owned(), plan.in_use().map(str::to_owned));
    let mut rotation = Rotation {
        schema: "ops-secrets/rotate/v1",
        target: target.name(),
        folder: args.folder.display().to_string(),
        account: &account,
        in_use: in_use.as_deref(),
        resumes: plan.resumes(),
        interrupts: plan.interrupts(),
        applied: false,
        record: None,
    };
    if args.apply {
        if context.format == Format::Text {
            output::text(&text(&rotation, &args)).map_err(stdout)?;
        }
        rotation.record = Some(work(&target, plan, &account, context).await?);
        rotation.applied = true;
    }
    let written = match context.format {
        Format::Json => output::json(&rotation),
        Format::Text if rotation.applied => {
            output::text(&format!("done     {account} is in use, and a login with its new password works"))
        }
        Format::Text => output::text(&format!(
            "{}\nnothing was changed; --apply does it",
            text(&rotation, &args).trim_end()
        )),
    };
    written.map_err(stdout)?;
    Ok(Exit::Done)
}

async fn work(
    target: &Postgres,
    plan: Plan,
    account: &str,
    context: &Context<Settings>,
) -> Result<Record, Failure> {
    let (name, new) = (target.name(), generate()?);
    let told = |step| told(&name, account, step, context);
    let end = apply(target, plan, &context.masker, SystemTime::now(), || new, told).await;
    end.map_err(|error| failure(&error).hint(AGAIN))
}

/// Writes a step to the audit stream, and ends the rotation there where a signal came.
pub(crate) fn told(
    server: &str,
    account: &str,
    step: Step,
    context: &Context<Settings>,
) -> Result<(), Error> {
    ops_telemetry::audit!(action = "rotate", server, account, step = step.code(), "a step of a rotation");
    if context.stop.exit().is_some() {
        return Err(Error::new(ErrorKind::Ended, "stopped between two steps"));
    }
    Ok(())
}

fn text(rotation: &Rotation<'_>, args: &PostgresArgs) -> String {
    let mut text = format!("target   {}\nfolder   {}\n", rotation.target, rotation.folder);
    let account = rotation.account;
    let fate = match rotation.in_use {
        None => "nothing is in use yet".to_owned(),
        Some(_) if rotation.interrupts => {
            "it is in use: logins with the old one fail until its users have read the new one".to_owned()
        }
        Some(used) => format!("{used} is in use and keeps its own until the next rotation"),
    };
    let _ = writeln!(text, "account  {account} gets a new password; {fate}");
    if rotation.resumes {
        text.push_str("resumes  an earlier rotation was cut off, and its password is used\n");
    }
    if args.roles.len() == 1 {
        text.push_str("hint     with a second --role no login fails\n");
    }
    text
}

/// The server of the settings.
fn server(settings: &PostgresSettings, trace_id: &str) -> Result<ConnectionSettings, Failure> {
    if settings.url.is_empty() {
        return Err(Failure::new(Exit::Config, "no server is named").hint(
            "give --url postgresql://admin@db.example/app, or set OPS_SECRETS_POSTGRES_URL, or `url` under [secrets.postgres]",
        ));
    }
    let parsed = ConnectionSettings::parse(settings.url.expose_secret())
        .map_err(|error| Failure::from_error(Exit::Config, &error))?
        .with_application("ops-secrets", Some(trace_id));
    if settings.password.is_empty() {
        return Ok(parsed);
    }
    Ok(parsed.with_password(settings.password.expose_secret().as_str().into()))
}

/// A password of random characters, each as likely as any other.
pub(crate) fn generate() -> Result<Secret, Failure> {
    let failed =
        |error: std::io::Error| Failure::new(Exit::Io, format!("/dev/urandom cannot be read: {error}"));
    let mut random = std::fs::File::open("/dev/urandom").map_err(failed)?;
    let mut password = String::with_capacity(LENGTH);
    while password.len() < LENGTH {
        let mut byte = [0];
        random.read_exact(&mut byte).map_err(failed)?;
        // Beyond the last whole multiple the first characters would come more often.
        if usize::from(byte[0]) < 256 / ALPHABET.len() * ALPHABET.len() {
            password.push(char::from(ALPHABET[usize::from(byte[0]) % ALPHABET.len()]));
        }
    }
    Ok(Secret::from(password))
}

pub(crate) fn failure(error: &Error) -> Failure {
    let exit = match error.kind() {
        ErrorKind::Unavailable => Exit::Unavailable,
        ErrorKind::Refused => Exit::No,
        ErrorKind::Missing | ErrorKind::Invalid => Exit::Input,
        ErrorKind::Busy => Exit::Busy,
        ErrorKind::Io => Exit::Io,
        _ => Exit::Unjudged,
    };
    Failure::from_error(exit, error)
}

/// The answer of `due`: its shape is a promise.
#[derive(Serialize)]
struct Document {
    schema: &'static str,
    secrets: Vec<Due>,
}

pub(crate) fn due(args: &DueArgs, context: &Context<Settings>) -> Result<Exit, Failure> {
    let schedule = load(&args.schedule)?;
    let secrets = schedule.due(SystemTime::now());
    let any = |state| secrets.iter().any(|due| due.state == state);
    let exit = match secrets.is_empty() {
        true => Exit::Nothing,
        false if any(State::Overdue) => Exit::No,
        // A state that this program does not know is no judgement.
        false if secrets.iter().any(|due| due.state != State::Fine) => Exit::Unjudged,
        false => Exit::Done,
    };
    let written = match context.format {
        Format::Text => output::text(&table(&secrets)),
        Format::Json => output::json(&Document { schema: "ops-secrets/due/v1", secrets }),
    };
    written.map_err(stdout)?;
    Ok(exit)
}

fn load(path: &Path) -> Result<Schedule, Failure> {
    Schedule::load(path).map_err(|error| {
        Failure::from_error(Exit::Input, &error).hint("`ops-secrets due --help` shows a schedule")
    })
}

fn table(secrets: &[Due]) -> String {
    let mut text = String::new();
    let width = secrets.iter().map(|due| due.name.chars().count()).max().unwrap_or(0);
    for due in secrets {
        let what = match (due.state, due.days_left) {
            (State::Fine, Some(days)) => format!("fine     in {days} days"),
            (State::Overdue, Some(days)) => format!("overdue  since {} days", -days),
            (State::Overdue, None) => "overdue  never rotated".to_owned(),
            _ => format!("unknown  {}", due.problem.as_deref().unwrap_or("nobody knows")),
        };
        let _ = writeln!(text, "{:width$}  {:10}  {what}", due.name, due.owner);
    }
    if secrets.is_empty() {
        text.push_str("the schedule names no secret");
    }
    text
}

pub(crate) fn stdout(error: std::io::Error) -> Failure {
    Failure::new(Exit::Io, format!("cannot write to stdout: {error}"))
}
