//! `mitigate`: something reversible that is done to a running system, only as a policy allows.

use crate::settings::Settings;
use ops_cli::{Context, Exit, Failure, Format, output};
use ops_gates::mitigate::{self, Mitigations, Phase, Record, Request};
use ops_gates::{Error, ErrorKind, Options, Plan, ReadOptions, Span};
use serde::Serialize;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is done with mitigations.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum MitigateAction {
    /// Show what a file of mitigations allows
    Plan {
        /// The file of mitigations
        file: PathBuf,
    },
    /// Say what would be done, and with `--apply` do it
    Run {
        /// The mitigation
        name: String,
        /// The file of mitigations, which alone says what may be done
        #[arg(long, value_name = "FILE")]
        policy: PathBuf,
        /// The digest (SHA-256) that this file must have
        #[arg(long, value_name = "HEX")]
        policy_sha256: Option<String>,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// How long it may stay, such as `30m` [default: as long as the policy allows]
        #[arg(long = "for", value_name = "TIME")]
        time: Option<Span>,
        /// Do it
        #[arg(long)]
        apply: bool,
        /// Where each mitigation gets a directory of its own
        #[arg(long, value_name = "DIR", default_value = "ops-gate-mitigations")]
        dir: PathBuf,
    },
    /// Take a mitigation back, from its directory alone
    Undo {
        /// The directory of the mitigation
        dir: PathBuf,
    },
    /// List what was done; exit 20 where something is in place for longer than it may
    List {
        /// Where the mitigations are
        #[arg(default_value = "ops-gate-mitigations")]
        dir: PathBuf,
    },
}

#[derive(Serialize)]
struct PlanAnswer<'a> {
    schema: &'static str,
    policy: &'a str,
    policy_sha256: &'a str,
    mitigations: Vec<Allowed<'a>>,
}

#[derive(Serialize)]
struct Allowed<'a> {
    name: &'a str,
    summary: String,
}

#[derive(Serialize)]
struct Answer<'a> {
    schema: &'static str,
    /// Whether something was changed, or would be.
    changed: bool,
    summary: &'a str,
    undo_by_hand: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    directory: Option<&'a Path>,
    #[serde(skip_serializing_if = "Option::is_none")]
    phase: Option<Phase>,
    #[serde(skip_serializing_if = "Option::is_none")]
    taken_back: Option<&'a str>,
}

#[derive(Serialize)]
struct ListAnswer<'a> {
    schema: &'static str,
    mitigations: Vec<Listed<'a>>,
    problems: Vec<String>,
}

#[derive(Serialize)]
struct Listed<'a> {
    directory: &'a Path,
    name: &'a str,
    phase: Phase,
    overdue: bool,
    actor: &'a str,
    reason: &'a str,
    started_at: jiff::Timestamp,
    expires_at: jiff::Timestamp,
}

/// Does it; `prepare` makes the secrets of a plan of checks known, and says how it is run.
pub(crate) async fn run(
    action: MitigateAction,
    context: &Context<Settings>,
    read: ReadOptions,
    prepare: &(dyn Fn(&Plan) -> Result<Options, Failure> + Sync),
) -> Result<Exit, Failure> {
    match action {
        MitigateAction::Plan { file } => {
            plan(&Mitigations::load(&file, None).map_err(|error| failure(&error))?, context.format)
        }
        MitigateAction::Run { name, policy, policy_sha256, reason, time, apply, dir } => {
            let mitigations = Mitigations::load(&policy, policy_sha256.as_deref());
            let mitigations = mitigations.map_err(|error| failure(&error))?;
            let mut request = Request { reason, time, read, ..request(context) };
            let planned = mitigate::plan(&mitigations, &name, &request).map_err(|error| failure(&error))?;
            if !apply {
                let (summary, undo_by_hand) = (planned.to_string(), planned.undo_by_hand());
                let text = format!(
                    "would do: {summary}\nby hand it is taken back by: {undo_by_hand}\nnothing was done; `--apply` does it"
                );
                let answer = Answer { summary: &summary, undo_by_hand: &undo_by_hand, ..Answer::EMPTY };
                return tell(context.format, &answer, &text).map(|()| Exit::Done);
            }
            if let Some(checks) = planned.checks() {
                request.options = prepare(checks)?;
            }
            let applied = mitigate::apply(planned, &dir, &request, context.stop.token()).await;
            let applied = applied.map_err(|error| failure(&error))?;
            let (record, shown) = (&applied.record, applied.directory.display());
            let (text, exit) = match &applied.taken_back {
                Some(why) => (format!("{}: taken back at once: {why}", record.name), Exit::No),
                None => (
                    format!(
                        "{}: in place until {}; take it back by: ops-gate mitigate undo {shown}",
                        record.name, record.expires_at
                    ),
                    Exit::Done,
                ),
            };
            let answer = Answer {
                taken_back: applied.taken_back.as_deref(),
                changed: applied.taken_back.is_none(),
                ..Answer::of(record, &applied.directory)
            };
            tell(context.format, &answer, &text).map(|()| exit)
        }
        MitigateAction::Undo { dir } => {
            let (record, changed) =
                mitigate::undo(&dir, &request(context)).await.map_err(|error| failure(&error))?;
            let what = if changed { "taken back" } else { "there was nothing left to take back" };
            let answer = Answer { changed, ..Answer::of(&record, &dir) };
            tell(context.format, &answer, &format!("{}: {what}", record.name)).map(|()| Exit::Done)
        }
        MitigateAction::List { dir } => list(&dir, context.format),
    }
}

impl<'a> Answer<'a> {
    const EMPTY: Self = Self {
        schema: "ops-gate/mitigate/v1",
        changed: false,
        summary: "",
        undo_by_hand: "",
        directory: None,
        phase: None,
        taken_back: None,
    };

    fn of(record: &'a Record, directory: &'a Path) -> Self {
        let (summary, undo_by_hand) = (record.summary.as_str(), record.undo_by_hand.as_str());
        Self { summary, undo_by_hand, directory: Some(directory), phase: Some(record.phase), ..Self::EMPTY }
    }
}

fn plan(mitigations: &Mitigations, format: Format) -> Result<Exit, Failure> {
    let allowed: Vec<Allowed<'_>> =
        mitigations.iter().map(|one| Allowed { name: &one.name, summary: one.to_string() }).collect();
    let mut text = format!("policy {} allows:", mitigations.name());
    for one in &allowed {
        let _ = write!(text, "\n  {}: {}", one.name, one.summary);
    }
    let (policy, policy_sha256) = (mitigations.name(), mitigations.sha256());
    let schema = "ops-gate/mitigate-plan/v1";
    let answer = PlanAnswer { schema, policy, policy_sha256, mitigations: allowed };
    tell(format, &answer, &text).map(|()| Exit::Done)
}

/// What was done and is in place. Where nothing was ever done, nothing was checked.
fn list(root: &Path, format: Format) -> Result<Exit, Failure> {
    if !root.is_dir() {
        return Err(Failure::new(Exit::Nothing, format!("there are no mitigations in {}", root.display())));
    }
    let listing = mitigate::list(root).map_err(|error| failure(&error))?;
    let now = jiff::Timestamp::now();
    let listed = listing.mitigations.iter().map(|(directory, record)| Listed {
        directory,
        name: &record.name,
        phase: record.phase,
        overdue: record.is_overdue(now),
        actor: &record.actor,
        reason: &record.reason,
        started_at: record.started_at,
        expires_at: record.expires_at,
    });
    let listed: Vec<Listed<'_>> = listed.collect();
    let problems: Vec<String> = listing.problems.iter().map(ToString::to_string).collect();
    let mut text = String::new();
    for one in &listed {
        let phase = match one.phase {
            Phase::Applying => "MAY BE IN PLACE",
            Phase::Applied => "in place",
            Phase::Undone => "undone",
        };
        let until = if one.overdue { "OVERDUE since" } else { "until" };
        let until =
            if one.phase == Phase::Undone { String::new() } else { format!(" {until} {}", one.expires_at) };
        let _ = writeln!(
            text,
            "{phase}{until}  {}  {} ({})  {}",
            one.name,
            one.reason,
            one.actor,
            one.directory.display()
        );
    }
    problems.iter().for_each(|problem| text.push_str(&format!("not readable: {problem}\n")));
    let exit = if listed.iter().any(|one| one.overdue) {
        Exit::No
    } else if !problems.is_empty() {
        Exit::Unjudged
    } else if listed.is_empty() {
        text.push_str("no mitigation was ever done here\n");
        Exit::Nothing
    } else {
        Exit::Done
    };
    let answer = ListAnswer { schema: "ops-gate/mitigate-list/v1", mitigations: listed, problems };
    tell(format, &answer, text.trim_end()).map(|()| exit)
}

fn request(context: &Context<Settings>) -> Request {
    let masker = context.masker.clone();
    let user = ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    Request {
        actor: user.unwrap_or_else(|| "unknown".to_owned()),
        masker: Some(Arc::new(move |bytes: &mut Vec<u8>| masker.mask(bytes))),
        ..Request::default()
    }
}

fn tell(format: Format, answer: &impl Serialize, text: &str) -> Result<(), Failure> {
    let written = match format {
        Format::Json => output::json(answer),
        Format::Text => output::text(text),
    };
    written.map_err(|error| Failure::new(Exit::Io, format!("cannot write to stdout: {error}")))
}

fn failure(error: &Error) -> Failure {
    let exit = match error.kind() {
        ErrorKind::MitigationRefused => Exit::No,
        ErrorKind::MitigationFailed => Exit::Unjudged,
        ErrorKind::Busy => Exit::Busy,
        ErrorKind::PolicyInvalid
        | ErrorKind::RunUnreadable
        | ErrorKind::PlanInvalid
        | ErrorKind::PlanUnreadable => Exit::Input,
        ErrorKind::RunDirectory => Exit::CannotCreate,
        _ => Exit::Io,
    };
    Failure::from_error(exit, error)
}
