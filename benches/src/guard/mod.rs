//! The guard against its peers: other parsers for the judgement, plain `tokio_postgres` for the client.

mod corpus;
mod growth;
mod judgement;
mod memory;
mod pairs;
mod pool;
mod statements;
mod turns;
mod wire;

use crate::report::Report;
use crate::{Args, Outcome};
use anyhow::Result;

pub(crate) use memory::{REMEMBER, remember};

/// Rounds of every measurement, where nobody says how many.
const ROUNDS: usize = 7;

/// Fewer rounds give no median that is worth its name.
const FEWEST_ROUNDS: usize = 5;

/// Runs the whole comparison: the judgement first, then the client against a fresh server.
pub(crate) fn compare(args: &Args) -> Result<Outcome> {
    let rounds = args.runs.unwrap_or(ROUNDS).max(FEWEST_ROUNDS);
    let mut rows = judgement::rows(rounds);
    rows.extend(corpus::rows(args.corpus.as_deref(), rounds)?);
    rows.extend(growth::rows(rounds));
    rows.push(memory::row()?);
    let (data, more) = wire::rows(rounds)?;
    rows.extend(more);
    let report = Report { schema: "ops-benches/guard/v1", data, rows };
    Ok(Outcome { text: report.text(), json: report.json() })
}
