//! `approve`: shows what is asked for, signs it once somebody has said yes, or shows what was signed.

use crate::args::{ApproveArgs, Settings};
use crate::words::{failed, unwritten, visible};
use crate::{check, policy};
use jiff::{SignedDuration, Timestamp};
use ops_cli::{Context, Exit, Failure, Format, output};
use ops_core::approval::{Approval, ApprovalId, ApprovalRequest, Approvers, EffectClass, Scope, Terms};
use ops_core::evidence::SigningKey;
use ops_core::guard::{Decision, Limits, Policy};
use serde_json::json;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::time::Duration;

/// Shows an approval where one is named, else signs one.
pub(crate) fn run(args: &ApproveArgs, context: &Context<Settings>) -> Result<Exit, Failure> {
    match &args.show {
        Some(path) => show(path, args, context.format),
        None => sign(args, context),
    }
}

fn sign(args: &ApproveArgs, context: &Context<Settings>) -> Result<Exit, Failure> {
    let (scope, text) = scope(args)?;
    let given = |value: &Option<String>| value.clone().unwrap_or_default();
    let mut request = ApprovalRequest::new(scope, given(&args.principal));
    request.database.clone_from(&args.database);
    request.reason = given(&args.reason);
    request.ticket = given(&args.ticket);
    request.expires_in = lifetime(&given(&args.expires_in))?;
    request.limits = Limits { rows: args.rows, rows_per_table: args.rows_per_table, tables: args.tables };
    let (Some(key), Some(out)) = (&args.key, &args.out) else {
        return Err(Failure::new(Exit::Usage, "a private key and a file for the approval are needed"));
    };
    let key = SigningKey::from_file(key).map_err(|error| failed(&error))?;
    let approver = given(&args.approver);
    let id = ApprovalId::generate().map_err(|error| failed(&error))?;
    // Signed before it is asked for, and thrown away after a no: what cannot be signed needs no question.
    let now = Timestamp::from_second(Timestamp::now().as_second())
        .map_err(|error| Failure::new(Exit::Bug, format!("the clock shows no time: {error}")))?;
    let approval = Approval::sign(&request, &approver, &key, now, id).map_err(|error| failed(&error))?;
    let terms = approval.unverified_terms().map_err(|error| failed(&error))?;
    let policy = policy::load(&context.settings.guard.policy)?;
    let preview = preview(&terms, text.as_deref(), &policy)?;
    std::io::stderr().lock().write_all(preview.as_bytes()).map_err(unwritten)?;
    if !args.yes && !is_confirmed()? {
        return Err(Failure::new(Exit::No, "nothing was signed: the answer was not yes"));
    }
    write_new(out, &approval.to_json())?;
    answer(&terms, Some(out), &key.verifying_key().id(), "signed", None, context.format)?;
    Ok(Exit::Done)
}

/// What is approved, and the statement where it is about one.
fn scope(args: &ApproveArgs) -> Result<(Scope, Option<String>), Failure> {
    let bad = |message: String| Failure::new(Exit::Usage, message);
    if let (Some(table), Some(effect)) = (&args.table, &args.effect) {
        let class = EffectClass::by_name(effect).ok_or_else(|| {
            let names: Vec<&str> = EffectClass::ALL.iter().map(|class| class.name()).collect();
            bad(format!("there is no effect `{effect}`"))
                .hint(format!("the effects are {}", names.join(", ")))
        })?;
        let scope = Scope::table(table, class).map_err(|error| {
            bad(error.to_string()).hint("name the schema too, as in public.ledger; quote what SQL quotes")
        })?;
        return Ok((scope, None));
    }
    if args.break_glass {
        return Ok((Scope::session(), None));
    }
    let text = match (&args.command, &args.file) {
        (Some(text), _) => text.clone(),
        (None, Some(path)) => check::read(path)?.1,
        (None, None) => return Err(bad("nothing is named that could be approved".to_owned())),
    };
    Ok((Scope::statement(&text), Some(text)))
}

fn lifetime(text: &str) -> Result<Duration, Failure> {
    let bad = || {
        Failure::new(Exit::Usage, format!("`{text}` is no time until the approval ends"))
            .hint("write 30m, 2h or 1h 30m; at most 24 hours")
    };
    let span: SignedDuration = text.parse().map_err(|_| bad())?;
    Duration::try_from(span).ok().filter(|span| *span > Duration::ZERO).ok_or_else(bad)
}

/// What the approver reads before they say yes: all of it, with nothing hidden.
fn preview(terms: &Terms, text: Option<&str>, policy: &Policy) -> Result<String, Failure> {
    let mut shown = String::from("You are asked to approve:\n");
    if let Some(text) = text {
        let verdict = policy.judge(text);
        let [statement] = verdict.statements.as_slice() else {
            let message =
                format!("the text has {} statements, and an approval is of one", verdict.statements.len());
            return Err(Failure::new(Exit::Input, message).hint("approve each statement on its own"));
        };
        let rule = statement.rule.as_deref().unwrap_or_default();
        if ["unparsable", "too-complex", "too-long", "transaction-control"].contains(&rule) {
            let message = format!("no approval covers this text: the rule {rule} always holds");
            return Err(Failure::new(Exit::Input, message));
        }
        let effects: Vec<String> =
            statement.effects.iter().map(|predicted| predicted.effect.to_string()).collect();
        let _ = writeln!(shown, "\n{}\n", indented(&visible(text)));
        let _ = writeln!(shown, "  bytes      {}", text.len());
        let _ = writeln!(shown, "  effects    {}", visible(&effects.join(", ")));
        let by = statement.rule.as_deref().map(|rule| format!(" by {rule}")).unwrap_or_default();
        let decision = json!(statement.decision);
        let decision = decision.as_str().unwrap_or_default();
        let _ = writeln!(shown, "  policy     {}: {decision}{by}", policy.name());
        match statement.decision {
            Decision::Deny => shown.push_str("  note       what a policy denies, only break-glass lifts\n"),
            Decision::Allow => shown.push_str("  note       under this policy it needs no approval\n"),
            _ => {}
        }
        if text.ends_with(char::is_whitespace) {
            shown.push_str("  note       it ends with blanks or a line end, which must be sent too\n");
        }
    }
    shown.push_str(&table(terms));
    Ok(shown)
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

/// The terms, a line each.
fn table(terms: &Terms) -> String {
    let limits = &terms.limits;
    let limit = |name: &str, limit: Option<u64>| limit.map(|limit| format!("{name} {limit}"));
    let limits: Vec<String> = [
        limit("rows", limits.rows),
        limit("rows per table", limits.rows_per_table),
        limit("tables", limits.tables),
    ]
    .into_iter()
    .flatten()
    .collect();
    let database =
        terms.database.as_deref().map_or("any database".to_owned(), |name| format!("database {name}"));
    let lines = [
        ("scope", terms.scope.to_string()),
        ("for", format!("role {} in {database}", terms.principal)),
        ("reason", terms.reason.clone()),
        ("ticket", terms.ticket.clone()),
        ("approver", terms.approver.clone()),
        ("holds", format!("from {} until {}, once", terms.not_before, terms.expires_at)),
        ("limits", if limits.is_empty() { "only those of the policy".to_owned() } else { limits.join(", ") }),
        ("id", terms.id.to_string()),
    ];
    lines.iter().map(|(name, value)| format!("  {name:<10} {}\n", visible(value))).collect()
}

fn is_confirmed() -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(Failure::new(Exit::Usage, "there is no terminal on which to ask")
            .hint("--yes signs without asking, for whoever has read it elsewhere"));
    }
    std::io::stderr().lock().write_all(b"Sign this? Type yes: ").map_err(unwritten)?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(unwritten)?;
    Ok(answer.trim() == "yes")
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let created = OpenOptions::new().write(true).create_new(true).open(path);
    let written = created.and_then(|mut file| {
        file.write_all(bytes)?;
        file.write_all(b"\n")?;
        file.sync_all()
    });
    written.map_err(|error| {
        Failure::new(Exit::CannotCreate, format!("approval {} cannot be written: {error}", path.display()))
    })
}

fn show(path: &Path, args: &ApproveArgs, format: Format) -> Result<Exit, Failure> {
    let bytes = std::fs::read(path).map_err(|error| {
        Failure::new(Exit::Input, format!("file {} cannot be read: {error}", path.display()))
    })?;
    let approval = Approval::from_json(&bytes).map_err(|error| failed(&error))?;
    let terms = approval.unverified_terms().map_err(|error| failed(&error))?;
    let Some(approvers) = &args.approvers else {
        answer(&terms, Some(path), "", "not verified", None, format)?;
        return Ok(Exit::Unjudged);
    };
    let approvers = Approvers::from_file(approvers).map_err(|error| failed(&error))?;
    // Where nobody says for whom, the approval is checked for whom it names.
    let principal = args.principal.as_deref().unwrap_or(&terms.principal);
    let database = args.database.as_deref().or(terms.database.as_deref()).unwrap_or_default();
    match approval.verify(&approvers, principal, database, Timestamp::now()) {
        Ok(granted) => {
            answer(&terms, Some(path), granted.key_id(), "verified", None, format)?;
            Ok(Exit::Done)
        }
        Err(error) => {
            answer(&terms, Some(path), "", "refused", Some(&error), format)?;
            Ok(Exit::No)
        }
    }
}

fn answer(
    terms: &Terms,
    path: Option<&Path>,
    key: &str,
    state: &str,
    refusal: Option<&ops_core::Error>,
    format: Format,
) -> Result<(), Failure> {
    let file = path.map(|path| path.display().to_string()).unwrap_or_default();
    let told = match format {
        Format::Json => output::json(&json!({
            "schema": "ops-guard/approve/v1",
            "file": file,
            "state": state.replace(' ', "_"),
            "refusal": refusal.map(ops_core::Error::code),
            "id": terms.id,
            "scope": terms.scope.to_string(),
            "statement_sha256": terms.scope.statement_sha256(),
            "break_glass": terms.scope.is_session(),
            "approver": terms.approver,
            "key": Some(key).filter(|key| !key.is_empty()),
            "principal": terms.principal,
            "database": terms.database,
            "reason": terms.reason,
            "ticket": terms.ticket,
            "issued_at": terms.issued_at,
            "not_before": terms.not_before,
            "expires_at": terms.expires_at,
            "limits": terms.limits,
        })),
        Format::Text => {
            let sentence = match (state, refusal) {
                ("signed", _) => format!("The approval is signed, in {file}."),
                ("verified", _) => format!("The approval is good; the key {key} signed it."),
                (_, Some(error)) => format!("The approval is refused: {}.", chain(error)),
                _ => "The approval was not verified: no approvers were given.".to_owned(),
            };
            // What was signed was shown a moment ago.
            let terms = if state == "signed" { String::new() } else { table(terms) };
            output::text(&format!("{terms}{}", visible(&sentence)))
        }
    };
    told.map_err(unwritten)
}

fn chain(error: &ops_core::Error) -> String {
    Failure::from_error(Exit::No, error).to_string()
}
