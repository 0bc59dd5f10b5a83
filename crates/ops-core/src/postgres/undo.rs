//! A write that keeps what it removes or changes: copies first, then the statement, all in one transaction.

use std::sync::Arc;

use tokio_postgres::Client;

use super::admission::Admitted;
use super::autocommit::{IMMEDIATE, Session};
use super::budget::Spent;
use super::observe::Baseline;
use super::run::{Params, Rows};
use super::shapes::load_shapes;
use super::statement::sealed::Source;
use super::warrant::Warrant;
use crate::audit::Outcome;
use crate::error::{Error, ErrorKind};
use crate::guard::undo::{self, Copied, Naming, Step, UndoPlan};
use crate::guard::{Limits, Observation, Operation, Verdict};

/// What was done, and how to take it back.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Undo {
    /// The number of rows that the server reports for the statement.
    pub rows: u64,
    /// What the statement changed.
    pub observation: Observation,
    /// The tables that keep the rows.
    pub copies: Vec<Copied>,
    /// What puts the rows back, in order; to be run in one transaction.
    pub restore: Vec<String>,
    /// What removes the copies when they are no longer wanted.
    pub forget: Vec<String>,
}

impl Session {
    pub(super) async fn execute_with_undo(
        &self,
        client: &Client,
        sql: &str,
        params: Params<'_>,
        naming: &Naming,
    ) -> Result<Undo, Error> {
        let not_possible = |reason: undo::NotPossible| {
            Error::new(ErrorKind::InvalidParameter, "rows of the statement cannot be kept").caused_by(reason)
        };
        let target = undo::target(sql).map_err(not_possible)?;
        let Admitted { verdict, warrant } = self.admit(client, Source::Text(sql)).await?;
        let shapes = load_shapes(client, &target).await?;
        let plan = undo::plan(sql, naming, &shapes).map_err(not_possible)?;
        let limits = warrant.as_ref().map(Warrant::limits);
        let work = self.write_with_undo(client, sql, params, &verdict, limits, &plan);
        let ended = self.guard.traced("execute_with_undo", &verdict, work).await;
        if let Some(warrant) = warrant {
            let observation = ended.as_ref().ok().and_then(|(_, observation)| observation.as_ref());
            warrant.end(&ended, observation, Outcome::Committed).await;
        }
        let (rows, observation) = ended?;
        let UndoPlan { copies, restore, forget, .. } = plan;
        Ok(Undo { rows, observation: observation.unwrap_or_default(), copies, restore, forget })
    }

    async fn write_with_undo(
        &self,
        client: &Client,
        sql: &str,
        params: Params<'_>,
        verdict: &Arc<Verdict>,
        granted: Option<Limits>,
        plan: &UndoPlan,
    ) -> Result<(u64, Option<Observation>), Error> {
        let fail = |error| self.guard.failure("keep rows", error);
        let _alone = self.gate.write().await;
        let statement = self.guard.prepare_source(client, Source::Text(sql), verdict).await?;
        let observer = self.observer(client).await?;
        let block = self.begin_as(client, "BEGIN ISOLATION LEVEL REPEATABLE READ READ WRITE").await?;
        for step in &plan.before {
            match step {
                Step::Once { sql, takes_parameters: true } => {
                    let copy = client.prepare_typed(sql, statement.params()).await.map_err(fail)?;
                    client.execute(&copy, params).await.map_err(fail)?;
                }
                Step::Once { sql, takes_parameters: false } => {
                    client.batch_execute(sql).await.map_err(fail)?
                }
                Step::UntilNothingIsAdded { sql } => repeat(client, sql).await.map_err(fail)?,
            }
        }
        // The copies are ours, not the statement's: what counts begins here.
        let catalog = self.guard.judge.catalog();
        let mut baseline = Baseline::default();
        drop(baseline.read(&observer.look(client).await.map_err(fail)?, catalog.as_deref()));
        let rows = u64::send(client, &statement, sql, params).await;
        let rows = rows.map_err(|error| self.guard.failure(u64::WORDS, error))?;
        let (immediate, seen) = futures_util::join!(client.batch_execute(IMMEDIATE), observer.look(client));
        immediate.map_err(|error| self.guard.failure(u64::WORDS, error))?;
        let observation = baseline.read(&seen.map_err(fail)?, catalog.as_deref());
        let spent = match self.enforce(verdict, &[verdict], &observation, Spent::default(), granted) {
            Ok(spent) => spent,
            Err(violation) => {
                self.roll_back(client, block).await?;
                return Err(self.guard.refusal(verdict, violation, observation));
            }
        };
        self.compare(client, plan, &observation).await?;
        self.commit(client, block, spent).await?;
        Ok((rows, Some(observation)))
    }

    /// A condition may give other rows the second time, and a trigger may change more than was kept.
    async fn compare(
        &self,
        client: &Client,
        plan: &UndoPlan,
        observation: &Observation,
    ) -> Result<(), Error> {
        let (mut removed, mut changed) = (0, 0);
        for copy in &plan.copies {
            let count = client.query_one(&format!("SELECT count(*) FROM {}", copy.name), &[]).await;
            let count: i64 = count.map_err(|error| self.guard.failure("count the kept rows", error))?.get(0);
            *if copy.removed { &mut removed } else { &mut changed } += count.unsigned_abs();
        }
        let found = (observation.rows_of(Operation::Delete), observation.rows_of(Operation::Update));
        // A row that is first changed and then removed was kept whole.
        if removed == found.0 && changed >= found.1 {
            return Ok(());
        }
        let message = format!(
            "rows of the statement were not all kept, so it was rolled back: {removed} kept and {} removed, {changed} kept and {} changed",
            found.0, found.1
        );
        Err(Error::new(ErrorKind::InvalidParameter, message))
    }
}

/// Runs statements in rounds until a round adds no row.
async fn repeat(client: &Client, statements: &[String]) -> Result<(), tokio_postgres::Error> {
    loop {
        let mut added = 0;
        for statement in statements {
            added += client.execute(statement, &[]).await?;
        }
        if added == 0 {
            return Ok(());
        }
    }
}
