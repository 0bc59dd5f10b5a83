//! A preview: the statement runs, is observed, and is undone.

use tokio_postgres::Client;

use super::autocommit::Session;
use super::run::{Params, Rows};
use super::statement::sealed::Source;
use crate::error::{Error, ErrorKind};
use crate::guard::{Effect, Observation, Verdict};

/// What a statement would do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Preview {
    /// What the policy says to the text. A refused statement can be previewed: nothing of it lasts.
    pub verdict: Verdict,
    /// What it did before it was undone: triggers, rules, cascades and deferred constraints included.
    pub observation: Observation,
    /// The number of rows that the server reports for it.
    pub rows: u64,
    /// Why the policy would roll back what was observed, in one sentence; none where it would not.
    pub refusal: Option<String>,
}

impl Session {
    pub(super) async fn preview(
        &self,
        client: &Client,
        source: Source<'_>,
        params: Params<'_>,
    ) -> Result<Preview, Error> {
        self.usable()?;
        let verdict = self.guard.judge(source);
        if let Some(effect) = lasting(&verdict) {
            let message = format!("statement cannot be previewed: a rollback does not undo {effect}");
            return Err(Error::denied(message, Verdict::clone(&verdict), None));
        }
        if verdict.statements.len() != 1 {
            return Err(Error::new(ErrorKind::InvalidParameter, "a preview takes exactly one statement"));
        }
        let _alone = self.gate.write().await;
        let statement = self.guard.prepare_source(client, source, &verdict).await?;
        // Dropped where something fails: that undoes it too.
        let block = self.begin(client).await?;
        let rows = u64::send(client, &statement, params).await;
        let rows = rows.map_err(|error| self.guard.failure("preview a statement", error))?;
        let observation = self.observe(client).await?;
        self.roll_back(client, block).await?;
        let refusal =
            self.guard.check(&[&verdict], &observation, None).err().map(|violation| violation.reason);
        Ok(Preview { verdict: Verdict::clone(&verdict), observation, rows, refusal })
    }
}

/// Returns the first effect that would outlast a rollback, or might.
fn lasting(verdict: &Verdict) -> Option<&Effect> {
    let mut statements = verdict.statements.iter();
    statements.find_map(|statement| {
        let mut effects = statement.effects.iter().map(|predicted| &predicted.effect);
        effects.find(|effect| {
            !statement.transactional
                || matches!(
                    effect,
                    Effect::External { .. }
                        | Effect::Cluster { .. }
                        | Effect::Call { .. }
                        | Effect::DynamicCode { .. }
                        | Effect::SequenceReset
                        | Effect::TransactionControl { .. }
                        | Effect::Opaque { .. }
                )
        })
    })
}
