//! `history` and `report`: what the runs of the past say together.

use crate::settings::Settings;
use ops_cli::{Context, Exit, Failure, Format, output};
use ops_gates::history::{GateHistory, Health, History, Period, PlanHistory, health, html, statistics};
use ops_gates::{Error, Span};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// What the history is asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct HistoryArgs {
    /// Directories of runs, at any depth [default: ./ops-gate-runs]
    runs: Vec<PathBuf>,
    /// Only this plan
    #[arg(long, value_name = "NAME")]
    plan: Option<String>,
    /// Only runs of this time until now, such as `30d`
    #[arg(long, value_name = "TIME")]
    since: Option<Span>,
}

/// Which report is made.
#[derive(Debug, clap::Args)]
pub(crate) struct ReportArgs {
    /// Directories of runs, at any depth [default: ./ops-gate-runs]
    runs: Vec<PathBuf>,
    /// How far back it goes
    #[arg(long, value_name = "TIME", default_value = "7d")]
    period: Span,
    /// Write it as a page that needs nothing else, with charts
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write it as Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

#[derive(Serialize)]
struct HistoryAnswer<'a> {
    schema: &'static str,
    unreadable: Vec<&'a Path>,
    plans: Vec<PlanHistory>,
}

#[derive(Serialize)]
struct ReportAnswer<'a> {
    schema: &'static str,
    #[serde(flatten)]
    health: &'a Health,
}

/// The numbers of each plan. Nothing to tell from is no success.
pub(crate) fn history(args: HistoryArgs, context: &Context<Settings>) -> Result<Exit, Failure> {
    let mut history = read(args.runs, context)?;
    let from = args.since.map(|since| start_of(since, jiff::Timestamp::now()));
    history.runs.retain(|run| {
        args.plan.as_ref().is_none_or(|plan| run.record.plan.name == *plan)
            && from.is_none_or(|from| run.record.started_at >= from)
    });
    let plans = statistics(&history.runs);
    let exit = if plans.is_empty() { Exit::Nothing } else { Exit::Done };
    let unreadable: Vec<&Path> = history.unreadable.iter().map(|(path, _)| path.as_path()).collect();
    match context.format {
        Format::Json => {
            output::json(&HistoryAnswer { schema: "ops-gate/history/v1", unreadable, plans })
                .map_err(stdout)?;
        }
        Format::Text => {
            let mut text: String = plans.iter().map(plan).collect::<Vec<_>>().join("\n");
            if plans.is_empty() {
                text.push_str("no runs");
            }
            output::text(&text).map_err(stdout)?;
        }
    }
    Ok(exit)
}

/// The health of a period, on stdout or in files.
pub(crate) fn report(args: ReportArgs, context: &Context<Settings>) -> Result<Exit, Failure> {
    let history = read(args.runs, context)?;
    let until = jiff::Timestamp::now();
    let period = Period { from: start_of(args.period, until), until };
    let health = health(&history, period, &context.settings.gate.report.lines);
    let write = |path: &Path, text: String| {
        std::fs::write(path, text).map_err(|error| {
            Failure::new(Exit::CannotCreate, format!("cannot write {}: {error}", path.display()))
        })
    };
    if let Some(path) = &args.html {
        write(path, html(&health))?;
    }
    if let Some(path) = &args.markdown {
        write(path, health.markdown())?;
    }
    let written = match context.format {
        Format::Json => output::json(&ReportAnswer { schema: "ops-gate/report/v1", health: &health }),
        Format::Text if args.html.is_some() || args.markdown.is_some() => {
            let counts: Vec<String> =
                health.counts().iter().map(|(word, count)| format!("{count} {word}")).collect();
            output::text(&counts.join(", "))
        }
        Format::Text => output::text(&health.markdown()),
    };
    written.map_err(stdout)?;
    Ok(if health.runs.is_empty() { Exit::Nothing } else { Exit::Done })
}

fn read(runs: Vec<PathBuf>, context: &Context<Settings>) -> Result<History, Failure> {
    let roots = if runs.is_empty() { vec![context.settings.gate.runs.clone()] } else { runs };
    let failed = |error: Error| {
        Failure::from_error(Exit::Input, &error)
            .hint("name the directories in which `ops-gate run` left its runs")
    };
    let history = History::read(&roots).map_err(failed)?;
    for (path, reason) in &history.unreadable {
        tracing::warn!("{} cannot be read and is not counted: {reason}", path.display());
    }
    Ok(history)
}

fn start_of(time: Span, until: jiff::Timestamp) -> jiff::Timestamp {
    until.checked_sub(time.get()).unwrap_or(jiff::Timestamp::MIN)
}

fn plan(plan: &PlanHistory) -> String {
    let width = plan.gates.iter().map(|gate| gate.id.len()).max().unwrap_or(0);
    let mut text = format!("{}: {}\n", plan.plan, plan.sentence());
    if plan.blocked_in_a_row > 0 {
        text.push_str(&format!("blocked {} times in a row\n", plan.blocked_in_a_row));
    }
    for gate in &plan.gates {
        text.push_str(&format!("  {:width$}  {}\n", gate.id, numbers(gate)));
    }
    text
}

fn numbers(gate: &GateHistory) -> String {
    let mut text = format!("passed {} of {}", gate.passed, gate.runs);
    if let Some(share) = gate.flaky_rate.filter(|share| *share > 0.0) {
        text.push_str(&format!(", flaky on {:.1} % of {} subjects", share * 100.0, gate.judged_twice));
    }
    if gate.passed_late > 0 {
        text.push_str(&format!(", {} only after another attempt", gate.passed_late));
    }
    if let Some(seconds) = gate.median_seconds {
        text.push_str(&format!(", median {seconds:.2} s"));
    }
    if let Some(ratio) = gate.duration_trend {
        text.push_str(&format!(" (×{ratio:.2})"));
    }
    if let Some(code) = &gate.last_code {
        text.push_str(&format!(", last problem {code}"));
    }
    text
}

fn stdout(error: std::io::Error) -> Failure {
    Failure::new(Exit::Io, format!("cannot write to stdout: {error}"))
}
