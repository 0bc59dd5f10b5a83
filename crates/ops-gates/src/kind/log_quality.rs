//! `kind = "log-quality"`: looks whether logs can be used when something is wrong: every line structured, with its trace.

use super::argv;
use crate::gate::{Context, Facts, Gate, Wrong};
use crate::outcome::{Fault, Finding};
use crate::value::{Text, Threshold, VariableName};
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::io::Read as _;

/// Logs of which every line must be a JSON object, and enough of them carry a valid trace id.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogQuality {
    /// A file of logs, of which the last 64 MiB are read. Either this or `run`.
    pub file: Option<Text>,
    /// A program whose standard output is the log, such as `["journalctl", "-u", "app", "-o", "cat", "-n", "1000"]`.
    #[serde(default)]
    pub run: Vec<Text>,
    /// Variables that the program gets from our environment.
    #[serde(default)]
    pub env: Vec<VariableName>,
    /// The fewest lines that are enough to judge by.
    #[serde(default = "one")]
    pub min_lines: u64,
    /// The largest share of lines, in per cent, that may be no JSON object.
    pub max_unstructured_percent: Option<Threshold>,
    /// The field of the trace id; a dot leads into an object within.
    #[serde(default = "trace_id")]
    pub trace_id_field: String,
    /// The smallest share of lines, in per cent, that carry a valid trace id: 32 hexadecimal digits, not all zero. 100
    /// where it is absent.
    pub min_trace_percent: Option<Threshold>,
    /// A trace id that must stand on some line: of a request that the plan sent before, for instance.
    pub expect_trace_id: Option<Text>,
    /// The field of the level.
    #[serde(default = "level")]
    pub level_field: String,
    /// The levels that lines may have, without regard to case. Without this they are not looked at.
    #[serde(default)]
    pub levels: Vec<String>,
    /// Fields that every line must have.
    #[serde(default)]
    pub required_fields: Vec<String>,
}

fn one() -> u64 {
    1
}

fn trace_id() -> String {
    "trace_id".to_owned()
}

fn level() -> String {
    "level".to_owned()
}

/// How much is read of a log.
const LIMIT: usize = 64 * 1024 * 1024;

/// How many bad lines are quoted in the gate's log.
const QUOTED: u64 = 20;

impl Gate for LogQuality {
    fn wrong(&self, _: &Facts) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        match (&self.file, self.run.is_empty()) {
            (Some(_), true) => {}
            (None, false) => wrong.extend(argv::wrong("run", &self.run)),
            _ => wrong.push(Wrong::gate("give either `file` or `run`")),
        }
        if self.min_lines == 0 {
            wrong.push(Wrong::gate("`min_lines = 0` would pass a log that is empty"));
        }
        wrong
    }

    fn summary(&self) -> String {
        let what = self.file.as_ref().map_or_else(|| argv::shown(&self.run), ToString::to_string);
        format!("{what} is structured, with `{}`", self.trace_id_field)
    }

    fn check<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Finding> {
        Box::pin(async { self.look(context).await.unwrap_or_else(|finding| finding) })
    }
}

/// What the lines have.
#[derive(Default)]
struct Seen {
    lines: u64,
    unstructured: u64,
    traced: u64,
    wrong_level: u64,
    incomplete: u64,
    expected_trace: bool,
    first_bad: Option<(u64, &'static str)>,
    bad: u64,
}

impl LogQuality {
    async fn look(&self, context: &Context<'_>) -> Result<Finding, Finding> {
        let text = self.read(context).await?;
        let expected = self.expect_trace_id.as_ref().map(|text| context.resolve(text)).transpose()?;
        let mut seen = Seen::default();
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
            seen.lines += 1;
            if let Some(why) = self.judge_line(line, expected.as_deref(), &mut seen) {
                seen.bad += 1;
                seen.first_bad.get_or_insert((seen.lines, why));
                if seen.bad <= QUOTED {
                    let start = String::from_utf8_lossy(&line[..line.len().min(400)]);
                    context.log(&format!("line {}, {why}: {start}", seen.lines));
                }
            }
        }
        Ok(self.judge(&seen))
    }

    async fn read(&self, context: &Context<'_>) -> Result<Vec<u8>, Finding> {
        let Some(file) = &self.file else {
            let mut program = argv::program(context, &self.run, &self.env, None)?;
            program.keep = LIMIT;
            let ran = context.run(program).await?;
            return match ran.code() {
                Some(0) if ran.stdout.len() < LIMIT => Ok(ran.stdout),
                Some(0) => {
                    Err(Finding::error(Fault::Tool, "too-long", "the program wrote more than 64 MiB of logs"))
                }
                _ => Err(Finding::error(Fault::Tool, "program", "the program that gives the logs failed")),
            };
        };
        let path = context.path(file)?;
        let unreadable = |error: std::io::Error| {
            Finding::error(Fault::Unresolved, "file", format!("{file} cannot be read: {error}"))
        };
        tail(&path).map_err(unreadable)
    }

    /// Why a line is bad, if it is.
    fn judge_line(&self, line: &[u8], expected: Option<&str>, seen: &mut Seen) -> Option<&'static str> {
        let Ok(Value::Object(object)) = serde_json::from_slice::<Value>(line) else {
            seen.unstructured += 1;
            return Some("no JSON object");
        };
        let mut why = None;
        match field(&object, &self.trace_id_field).and_then(Value::as_str) {
            Some(id) if is_trace_id(id) => {
                seen.traced += 1;
                seen.expected_trace |= expected.is_some_and(|expected| expected.eq_ignore_ascii_case(id));
            }
            Some(_) => why = Some("its trace id is not valid"),
            None => why = Some("no trace id"),
        }
        if !self.levels.is_empty() {
            let level = field(&object, &self.level_field).and_then(Value::as_str);
            if !level.is_some_and(|level| self.levels.iter().any(|known| known.eq_ignore_ascii_case(level))) {
                seen.wrong_level += 1;
                why = why.or(Some("its level is not one of those"));
            }
        }
        if self.required_fields.iter().any(|name| field(&object, name).is_none_or(Value::is_null)) {
            seen.incomplete += 1;
            why = why.or(Some("a field is missing"));
        }
        why
    }

    fn judge(&self, seen: &Seen) -> Finding {
        let percent = |part: u64| if seen.lines == 0 { 0.0 } else { 100.0 * float(part) / float(seen.lines) };
        let max_unstructured = self.max_unstructured_percent.clone().unwrap_or_else(|| 0.0.into());
        let min_trace = self.min_trace_percent.clone().unwrap_or_else(|| 100.0.into());
        let (unstructured, traced) = (percent(seen.unstructured), percent(seen.traced));
        let first = seen.first_bad.map_or_else(String::new, |(line, why)| format!("; line {line}: {why}"));
        let finding = if seen.lines == 0 {
            Finding::error(Fault::NoData, "no-lines", "there is no line")
        } else if seen.lines < self.min_lines {
            let reason =
                format!("{} lines are too few to judge by, {} are needed", seen.lines, self.min_lines);
            Finding::error(Fault::InsufficientSamples, "few-lines", reason)
        } else if unstructured > max_unstructured.get() {
            let reason = format!("{} of {} lines are no JSON object{first}", seen.unstructured, seen.lines);
            Finding::fail("unstructured", reason)
        } else if traced < min_trace.get() {
            let reason = format!(
                "{} of {} lines have a valid `{}`, {traced:.2} %{first}",
                seen.traced, seen.lines, self.trace_id_field
            );
            Finding::fail("trace-id", reason)
        } else if seen.wrong_level > 0 {
            Finding::fail(
                "level",
                format!("{} of {} lines have another level{first}", seen.wrong_level, seen.lines),
            )
        } else if seen.incomplete > 0 {
            Finding::fail(
                "fields",
                format!("{} of {} lines lack a field{first}", seen.incomplete, seen.lines),
            )
        } else if self.expect_trace_id.is_some() && !seen.expected_trace {
            Finding::fail(
                "trace-not-found",
                format!("the expected trace id stands on none of {} lines", seen.lines),
            )
        } else {
            Finding::pass(format!(
                "{} lines, {traced:.2} % of them with a valid `{}`",
                seen.lines, self.trace_id_field
            ))
        };
        finding
            .measured("lines", float(seen.lines))
            .measured("unstructured_percent", unstructured)
            .measured("traced_percent", traced)
            .judged_by(format!(
                "unstructured_percent <= {} ({})",
                max_unstructured.get(),
                max_unstructured.origin()
            ))
            .judged_by(format!("traced_percent >= {} ({})", min_trace.get(), min_trace.origin()))
    }
}

/// The end of a file, from the start of a line.
fn tail(path: &std::path::Path) -> std::io::Result<Vec<u8>> {
    use std::io::Seek as _;
    // A pipe could have no end, and opening it no other side.
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::other("it is no regular file"));
    }
    let mut file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    let skipped = length.saturating_sub(LIMIT as u64);
    file.seek(std::io::SeekFrom::Start(skipped))?;
    let mut text = Vec::new();
    file.take(LIMIT as u64).read_to_end(&mut text)?;
    if skipped > 0 {
        let first = text.iter().position(|byte| *byte == b'\n').map_or(text.len(), |newline| newline + 1);
        text.drain(..first);
    }
    Ok(text)
}

/// A field by its whole name, or by a path of names.
fn field<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    if let Some(value) = object.get(name) {
        return Some(value);
    }
    let (first, rest) = name.split_once('.')?;
    field(object.get(first)?.as_object()?, rest)
}

fn is_trace_id(text: &str) -> bool {
    text.len() == 32
        && text.bytes().all(|byte| byte.is_ascii_hexdigit())
        && text.bytes().any(|byte| byte != b'0')
}

#[expect(clippy::cast_precision_loss, reason = "a number of lines is far below 2^53")]
fn float(count: u64) -> f64 {
    count as f64
}
