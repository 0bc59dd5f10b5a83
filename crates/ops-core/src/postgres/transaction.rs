//! A guarded transaction: the client's methods between BEGIN and COMMIT.

use std::sync::{Arc, Mutex, PoisonError};

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Transaction};

use super::admission::Admitted;
use super::autocommit::{IMMEDIATE, Session};
use super::block::send_and_forget;
use super::budget::Spent;
use super::observe::{Baseline, FLUSH};
use super::run::{Params, Rows};
use super::statement::sealed::Source;
use super::statement::{GuardedStatement, ToStatement};
use super::text::TextAnswer;
use super::warrant::Warrant;
use crate::audit::Outcome;
use crate::error::Error;
use crate::guard::{Course, Limits, Observation, Verdict};

/// A transaction whose every statement is judged before it is sent and observed after. Dropping it rolls back.
///
/// A statement that does more than it may is undone by itself: the transaction goes on without it. What only shows at the
/// end, as with deferred triggers, undoes the whole transaction.
pub struct GuardedTransaction<'a> {
    transaction: Transaction<'a>,
    session: &'a Session,
    state: Arc<Mutex<State>>,
}

/// What is known of a transaction, shared with the savepoints in it.
#[derive(Debug, Default)]
struct State {
    baseline: Baseline,
    /// What was sent since the last look.
    pending: Vec<Arc<Verdict>>,
    /// Everything that was sent, each verdict once.
    sent: Vec<Arc<Verdict>>,
    savepoints: u64,
    spent: Spent,
}

impl<'a> GuardedTransaction<'a> {
    pub(super) async fn begin(client: &'a mut Client, session: &'a Session) -> Result<Self, Error> {
        session.usable()?;
        let is_read_only = session.guard.judge.policy().is_read_only();
        let fail = |error| session.guard.failure("begin a transaction", error);
        if session.take_unflushed() {
            client.batch_execute(FLUSH).await.map_err(fail)?;
        }
        // A look at its end makes it a transaction that was observed.
        session.note_unobserved();
        let transaction = client.build_transaction().read_only(is_read_only).start().await.map_err(fail)?;
        if is_read_only {
            transaction.batch_execute("SAVEPOINT ops_guard; SELECT 1").await.map_err(fail)?;
        }
        Ok(Self { transaction, session, state: Arc::default() })
    }

    /// Runs a query and returns its rows.
    ///
    /// # Errors
    /// As [`GuardedClient::query`](super::GuardedClient::query).
    pub async fn query(
        &self,
        statement: &(impl ToStatement + ?Sized),
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        self.run(statement.source(), params).await
    }

    /// Runs a query that returns exactly one row.
    ///
    /// # Errors
    /// As [`GuardedClient::query_one`](super::GuardedClient::query_one).
    pub async fn query_one(
        &self,
        statement: &(impl ToStatement + ?Sized),
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Row, Error> {
        self.session.guard.exactly_one(self.query(statement, params).await?)
    }

    /// Runs a query that returns one row or none.
    ///
    /// # Errors
    /// As [`GuardedClient::query_opt`](super::GuardedClient::query_opt).
    pub async fn query_opt(
        &self,
        statement: &(impl ToStatement + ?Sized),
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, Error> {
        self.session.guard.one_at_most(self.query(statement, params).await?)
    }

    /// Runs a statement and returns how many rows it concerned.
    ///
    /// # Errors
    /// As [`GuardedClient::query`](super::GuardedClient::query).
    pub async fn execute(
        &self,
        statement: &(impl ToStatement + ?Sized),
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, Error> {
        self.run(statement.source(), params).await
    }

    /// Runs a statement without parameters and returns its answer as text.
    ///
    /// # Errors
    /// As [`GuardedClient::query_text`](super::GuardedClient::query_text).
    pub async fn query_text(&self, sql: &str) -> Result<TextAnswer, Error> {
        let (answer, observation) = self.run_observed::<TextAnswer>(Source::Text(sql), &[]).await?;
        Ok(TextAnswer { observation, ..answer })
    }

    /// Judges and prepares a statement for repeated use on this session.
    ///
    /// # Errors
    /// As [`GuardedClient::prepare`](super::GuardedClient::prepare).
    pub async fn prepare(&self, sql: &str) -> Result<GuardedStatement, Error> {
        self.session.usable()?;
        self.session.guard.prepare(&self.transaction, sql).await
    }

    /// Sets a savepoint: a transaction in this one. Dropping it rolls back to the savepoint.
    ///
    /// # Errors
    /// What the server or the line reports.
    pub async fn transaction(&mut self) -> Result<GuardedTransaction<'_>, Error> {
        let session = self.session;
        let transaction = self
            .transaction
            .transaction()
            .await
            .map_err(|error| session.guard.failure("set a savepoint", error))?;
        Ok(GuardedTransaction { transaction, session, state: Arc::clone(&self.state) })
    }

    /// Makes the transaction's changes last; those of a savepoint become the outer transaction's.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`](crate::ErrorKind::Denied) where deferred constraints and triggers, which run now, do what the
    /// policy does not allow: then nothing of the transaction lasts. Else what the server or the line reports.
    pub async fn commit(self) -> Result<(), Error> {
        let Self { transaction, session, state } = self;
        let guard = &session.guard;
        if Arc::strong_count(&state) == 1 && !guard.judge.policy().is_read_only() {
            let spent = Self::look_at_the_end(&transaction, session, &state).await?;
            let committed = transaction.commit().await;
            committed.map_err(|error| guard.failure("commit a transaction", error))?;
            session.note_spent(spent);
            return Ok(());
        }
        transaction.commit().await.map_err(|error| guard.failure("commit a transaction", error))
    }

    /// Runs what was deferred, and tells whether all that was done may be.
    async fn look_at_the_end(
        transaction: &Transaction<'_>,
        session: &Session,
        state: &Mutex<State>,
    ) -> Result<Spent, Error> {
        let guard = &session.guard;
        let (sent, before) = {
            let state = lock(state);
            (state.sent.clone(), state.spent)
        };
        let Some(last) = sent.last() else { return Ok(before) };
        let observer = session.observer(transaction).await?;
        let (immediate, rows) =
            futures_util::join!(transaction.batch_execute(IMMEDIATE), observer.look(transaction));
        immediate.map_err(|error| guard.failure("commit a transaction", error))?;
        let rows = rows.map_err(|error| guard.failure("observe a transaction", error))?;
        session.take_unflushed();
        let observation = lock(state).baseline.read(&rows, guard.judge.catalog().as_deref());
        let verdicts: Vec<&Verdict> = sent.iter().map(AsRef::as_ref).collect();
        session.enforce(last, &verdicts, &observation, before, None).map_err(|violation| {
            session.note_unpredicted(&violation);
            guard.refusal(last, violation, observation)
        })
    }

    /// Undoes the transaction's changes.
    ///
    /// # Errors
    /// What the line reports.
    pub async fn rollback(self) -> Result<(), Error> {
        let Self { transaction, session, .. } = self;
        transaction.rollback().await.map_err(|error| session.guard.failure("roll back a transaction", error))
    }

    async fn run<T: Rows>(&self, source: Source<'_>, params: Params<'_>) -> Result<T, Error> {
        self.run_observed(source, params).await.map(|(answer, _)| answer)
    }

    async fn run_observed<T: Rows>(
        &self,
        source: Source<'_>,
        params: Params<'_>,
    ) -> Result<(T, Option<Observation>), Error> {
        let guard = &self.session.guard;
        let Admitted { verdict, warrant } = self.session.admit_in_transaction(source).await?;
        let limits = warrant.as_ref().map(Warrant::limits);
        let work = async {
            match guard.course(&verdict) {
                Course::Nothing => Ok((T::default(), None)),
                // Inside a transaction that cannot write there is nothing to observe; VACUUM and its kin the server
                // refuses.
                Course::Read | Course::StrictRead | Course::Alone => {
                    let _shared = self.session.gate.read().await;
                    let statement = guard.prepare_source(&self.transaction, source, &verdict).await?;
                    self.note(&verdict);
                    let answer = T::send(&self.transaction, &statement, source.text(), params).await;
                    answer.map(|answer| (answer, None)).map_err(|error| guard.failure(T::WORDS, error))
                }
                Course::Write => {
                    let (answer, seen) = self.write(source, params, &verdict, limits).await?;
                    Ok((answer, Some(seen)))
                }
            }
        };
        let ended: Result<(T, Option<Observation>), Error> = guard.traced(T::OPERATION, &verdict, work).await;
        if let Some(warrant) = warrant {
            let observation = ended.as_ref().ok().and_then(|(_, observation)| observation.as_ref());
            warrant.end(&ended, observation, Outcome::Pending).await;
        }
        ended
    }

    /// Runs a statement behind a savepoint, and goes back to it where the statement does more than it may.
    async fn write<T: Rows>(
        &self,
        source: Source<'_>,
        params: Params<'_>,
        verdict: &Arc<Verdict>,
        granted: Option<Limits>,
    ) -> Result<(T, Observation), Error> {
        let _alone = self.session.gate.write().await;
        let guard = &self.session.guard;
        let statement = guard.prepare_source(&self.transaction, source, verdict).await?;
        let observer = self.session.observer(&self.transaction).await?;
        let savepoint = self.note(verdict);
        let set = format!("SAVEPOINT {savepoint}");
        let (begun, answer, rows) = futures_util::join!(
            self.transaction.batch_execute(&set),
            T::send(&self.transaction, &statement, source.text(), params),
            observer.look(&self.transaction),
        );
        begun.map_err(|error| guard.failure("set a savepoint", error))?;
        // As without the guard, an error leaves the transaction to be rolled back.
        let answer = answer.map_err(|error| guard.failure(T::WORDS, error))?;
        let rows = rows.map_err(|error| guard.failure("observe a statement", error))?;
        let (pending, observation) = self.look(&rows);
        let pending: Vec<&Verdict> = pending.iter().map(AsRef::as_ref).collect();
        let before = lock(&self.state).spent;
        let checked = self.session.enforce(verdict, &pending, &observation, before, granted);
        if let Err(violation) = checked {
            let undo = format!("ROLLBACK TO SAVEPOINT {savepoint}; RELEASE SAVEPOINT {savepoint}");
            let undone = self.transaction.batch_execute(&undo).await;
            undone.map_err(|error| guard.failure("roll back to a savepoint", error))?;
            self.session.note_unpredicted(&violation);
            return Err(guard.refusal(verdict, violation, observation));
        }
        if granted.is_none() {
            lock(&self.state).spent = before.and(Spent::of(&observation));
        }
        send_and_forget(self.transaction.client(), &format!("RELEASE SAVEPOINT {savepoint}"));
        Ok((answer, observation))
    }

    /// Notes a statement that is about to be sent, and names a savepoint for it.
    fn note(&self, verdict: &Arc<Verdict>) -> String {
        let mut state = lock(&self.state);
        if !state.sent.iter().any(|known| Arc::ptr_eq(known, verdict)) {
            state.sent.push(Arc::clone(verdict));
        }
        state.pending.push(Arc::clone(verdict));
        state.savepoints += 1;
        format!("ops_guard_{}", state.savepoints)
    }

    /// Reads what happened since the last look, and what was sent since then.
    fn look(&self, rows: &[Row]) -> (Vec<Arc<Verdict>>, Observation) {
        let mut state = lock(&self.state);
        let observation = state.baseline.read(rows, self.session.guard.judge.catalog().as_deref());
        (std::mem::take(&mut state.pending), observation)
    }
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for GuardedTransaction<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GuardedTransaction").field("guard", &self.session.guard).finish_non_exhaustive()
    }
}
