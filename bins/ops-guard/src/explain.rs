//! `explain`: what each statement would do, through what, what the policy says to each effect, and how far it would reach.

mod tree;

use crate::args::{ExplainArgs, Settings};
use crate::check;
use crate::connect;
use crate::policy;
use crate::render::unwritten;
use ops_cli::{Context, Exit, Failure, Format, output};
use ops_core::blast::{self, BlastRadius};
use ops_core::connection::ConnectionSettings;
use ops_core::guard::{self, Policy, Verdict};
use ops_core::postgres::GuardedClient;

/// Judges the text, with the catalog where a server is named, and shows why.
pub(crate) async fn run(args: &ExplainArgs, context: &Context<Settings>) -> Result<Exit, Failure> {
    let policy = policy::load(context.settings.guard.policy.as_str())?;
    let (name, sql) = check::text(&args.text)?;
    let server = match args.url {
        Some(_) => Some(connect::server(&context.settings.guard, &context.trace.trace_id.to_string())?),
        None => None,
    };
    let circumstances = match &server {
        Some(server) => look_up(server).await?,
        None => guard::Context::default(),
    };
    let verdict = policy.judge_in(&sql, &circumstances);
    let radii = match &server {
        Some(server) => radii(server, &sql, &verdict).await?,
        None => vec![None; verdict.statements.len()],
    };
    show(
        &Explanation {
            name: &name,
            sql: &sql,
            verdict: &verdict,
            policy: &policy,
            circumstances: &circumstances,
        },
        &radii,
        context.format,
    )
    .map_err(unwritten)?;
    Ok(if verdict.statements.is_empty() {
        Exit::Nothing
    } else if verdict.is_allowed() {
        Exit::Done
    } else {
        Exit::No
    })
}

/// What is shown of one text.
struct Explanation<'a> {
    name: &'a str,
    sql: &'a str,
    verdict: &'a Verdict,
    policy: &'a Policy,
    circumstances: &'a guard::Context,
}

fn show(explanation: &Explanation<'_>, radii: &[Option<BlastRadius>], format: Format) -> std::io::Result<()> {
    if explanation.verdict.statements.is_empty() && format == Format::Text {
        return output::text("There is no statement to explain.");
    }
    for (index, (statement, radius)) in explanation.verdict.statements.iter().zip(radii).enumerate() {
        match format {
            Format::Json => output::json(&tree::object(explanation, index, statement, radius.as_ref()))?,
            Format::Text => output::text(&tree::text(explanation, statement, radius.as_ref()))?,
        }
    }
    Ok(())
}

/// Reads what the names mean there, over a session that may only read.
async fn look_up(server: &ConnectionSettings) -> Result<guard::Context, Failure> {
    let client = GuardedClient::connect(server, Policy::read_only()).await;
    let client = client.map_err(|error| connect::failed(&error))?;
    client.context().await.map_err(|error| connect::failed(&error))
}

/// Estimates each statement that deletes or updates.
async fn radii(
    server: &ConnectionSettings,
    sql: &str,
    verdict: &Verdict,
) -> Result<Vec<Option<BlastRadius>>, Failure> {
    let statements: Vec<&str> = verdict
        .statements
        .iter()
        .map(|statement| sql.get(statement.start..statement.end).unwrap_or_default())
        .collect();
    blast::radius(server, &statements).await.map_err(|error| connect::failed(&error))
}
