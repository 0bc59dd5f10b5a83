//! `exec`: runs SQL through the guarded client, with approvals, a preview, or copies of what is removed.

mod show;

use crate::args::{ExecArgs, Settings};
use crate::{check, connect, policy, words};
use ops_cli::{Context, Exit, Failure};
use ops_core::approval::{Approval, Approvers};
use ops_core::audit::AuditLog;
use ops_core::guard::undo::Naming;
use ops_core::guard::{Policy, StatementVerdict};
use ops_core::postgres::{GuardedClient, Oversight};
use ops_core::{Error, ErrorKind};
use std::sync::Arc;

/// Runs the text: one statement by itself, several in one transaction unless each is to stand alone.
pub(crate) async fn run(args: &ExecArgs, context: &Context<Settings>) -> Result<Exit, Failure> {
    let policy = policy::load(context.settings.guard.policy.as_str())?;
    let (name, sql) = check::text(&args.text)?;
    let statements = split(&policy, &sql);
    if statements.is_empty() {
        return Err(Failure::new(Exit::Nothing, "there is no statement to run"));
    }
    let server = connect::server(&context.settings.guard, &context.trace.trace_id.to_string())?;
    let client = GuardedClient::connect(&server, policy).await.map_err(|error| connect::failed(&error))?;
    present(args, &client)?;
    let show = show::Show { name: &name, sql: &sql, format: context.format };
    if args.preview {
        return preview(&client, &statements, &show).await;
    }
    if let Some(suffix) = &args.undo {
        return with_undo(&client, &statements, suffix, &show).await;
    }
    let is_alone = args.each || statements.len() == 1;
    if is_alone {
        each(&client, &statements, &show).await
    } else {
        together(client, &statements, &show).await
    }
}

/// One statement of the text, as it is sent.
struct Statement<'a> {
    index: usize,
    line: usize,
    start: usize,
    sql: &'a str,
}

fn split<'a>(policy: &Policy, sql: &'a str) -> Vec<Statement<'a>> {
    let verdict = policy.judge(sql);
    let part = |(index, statement): (usize, &StatementVerdict)| {
        let text = sql.get(statement.start..statement.end)?;
        Some(Statement { index, line: statement.line, start: statement.start, sql: text })
    };
    let mut statements: Vec<Statement<'a>> = verdict.statements.iter().enumerate().filter_map(part).collect();
    // A single one goes as it was given: an approval is of exact bytes.
    if let [only] = statements.as_mut_slice() {
        (only.sql, only.start) = (sql, 0);
    }
    statements
}

async fn each(
    client: &GuardedClient,
    statements: &[Statement<'_>],
    show: &show::Show<'_>,
) -> Result<Exit, Failure> {
    for statement in statements {
        match client.query_text(statement.sql).await {
            Ok(answer) => show.answer(statement, &answer)?,
            Err(error) => return show.refused(statement, &error),
        }
    }
    Ok(Exit::Done)
}

async fn together(
    mut client: GuardedClient,
    statements: &[Statement<'_>],
    show: &show::Show<'_>,
) -> Result<Exit, Failure> {
    let transaction = client.transaction().await.map_err(|error| connect::failed(&error))?;
    let mut answers = Vec::new();
    for statement in statements {
        match transaction.query_text(statement.sql).await {
            Ok(answer) => answers.push((statement, answer)),
            Err(error) => {
                drop(transaction);
                show.nothing_lasts()?;
                return show.refused(statement, &error);
            }
        }
    }
    if let Err(error) = transaction.commit().await {
        show.nothing_lasts()?;
        return show.refused(&statements[statements.len() - 1], &error);
    }
    for (statement, answer) in answers {
        show.answer(statement, &answer)?;
    }
    Ok(Exit::Done)
}

async fn preview(
    client: &GuardedClient,
    statements: &[Statement<'_>],
    show: &show::Show<'_>,
) -> Result<Exit, Failure> {
    let mut exit = Exit::Done;
    for statement in statements {
        match client.preview(statement.sql, &[]).await {
            Ok(preview) => {
                if !preview.verdict.is_allowed() || preview.refusal.is_some() {
                    exit = Exit::No;
                }
                show.preview(statement, &preview)?;
            }
            Err(error) => return show.refused(statement, &error),
        }
    }
    Ok(exit)
}

async fn with_undo(
    client: &GuardedClient,
    statements: &[Statement<'_>],
    suffix: &str,
    show: &show::Show<'_>,
) -> Result<Exit, Failure> {
    let [statement] = statements else {
        return Err(Failure::new(Exit::Usage, "--undo takes one statement"));
    };
    let (schema, suffix) =
        suffix.rsplit_once('.').map_or((None, suffix), |(schema, rest)| (Some(schema), rest));
    let naming = Naming { schema: schema.map(str::to_owned), ..Naming::new(suffix) };
    match client.execute_with_undo(statement.sql, &[], &naming).await {
        Ok(undo) => show.undo(statement, &undo).map(|()| Exit::Done),
        Err(error) => show.refused(statement, &error),
    }
}

/// Hands the approvals over, with those whose signature counts and the log of their use.
fn present(args: &ExecArgs, client: &GuardedClient) -> Result<(), Failure> {
    let (Some(approvers), Some(log)) = (&args.approvers, &args.audit) else { return Ok(()) };
    let approvers = Approvers::from_file(approvers).map_err(|error| words::failed(&error))?;
    let log = Arc::new(AuditLog::open(log).map_err(|error| words::failed(&error))?);
    client.oversee(Oversight { approvers, log });
    for path in &args.approval {
        let unread = |error: std::io::Error| {
            Failure::new(Exit::Input, format!("approval {} cannot be read: {error}", path.display()))
        };
        let bytes = std::fs::read(path).map_err(unread)?;
        let presented = Approval::from_json(&bytes).and_then(|approval| client.present(&approval));
        presented.map_err(|error| {
            words::failed(&error)
                .hint(format!("`ops-guard approve --show {}` tells what it says", path.display()))
        })?;
    }
    Ok(())
}

/// The exit of a statement that did not end well.
fn exit_of(error: &Error) -> Exit {
    match error.kind() {
        ErrorKind::Denied | ErrorKind::ApprovalUsed | ErrorKind::ApprovalExpired => Exit::No,
        ErrorKind::Unavailable => Exit::Unavailable,
        ErrorKind::Io | ErrorKind::BrokenChain | ErrorKind::TornLog | ErrorKind::LogBusy => Exit::Io,
        _ => Exit::Input,
    }
}
