//! A session's statements outside a transaction of the caller's own, each on the course that its effects ask for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{OnceCell, RwLock};
use tokio_postgres::{Client, GenericClient, Row};

use super::admission::Admitted;
use super::block::Block;
use super::budget::{Account, Spent};
use super::driver::Line;
use super::observe::{Baseline, FLUSH, Observer};
use super::run::{Guard, Params, Rows};
use super::session::Pins;
use super::statement::sealed::Source;
use super::warrant::{Wallet, Warrant};
use crate::audit::Outcome;
use crate::error::{Error, ErrorKind};
use crate::guard::{Course, Limits, Observation, Verdict, Violation};

/// What a client has beside its connection.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) guard: Guard,
    pub(super) pins: Pins,
    pub(super) line: Arc<Line>,
    pub(super) wallet: Wallet,
    pub(super) trace_id: Option<String>,
    /// Reads share the session and may be pipelined; a block of commands has it alone.
    pub(super) gate: RwLock<()>,
    observer: OnceCell<Observer>,
    account: Mutex<Account>,
    pub(super) renewed: Mutex<Option<Instant>>,
    /// Something ran that was not observed, so the server's counters of the next transaction do not begin at zero.
    is_unflushed: AtomicBool,
    /// Something happened in a transaction that the catalog does not explain: it is read again before the next one.
    pub(super) is_outdated: AtomicBool,
    is_unguarded: AtomicBool,
}

/// A statement that did more than it may, and was rolled back.
struct Overstep {
    violation: Violation,
    observation: Observation,
}

/// How an observed statement ended.
enum Observed<T> {
    Kept(T, Observation),
    RolledBack(Overstep),
}

impl Session {
    pub(super) fn new(guard: Guard, pins: Pins, line: Arc<Line>, trace_id: Option<&str>) -> Self {
        Self {
            guard,
            pins,
            line,
            wallet: Wallet::default(),
            trace_id: trace_id.map(str::to_owned),
            gate: RwLock::new(()),
            observer: OnceCell::new(),
            account: Mutex::default(),
            renewed: Mutex::new(None),
            is_unflushed: AtomicBool::new(true),
            is_outdated: AtomicBool::new(false),
            is_unguarded: AtomicBool::new(false),
        }
    }

    /// Judges and runs a statement.
    pub(super) async fn run<T: Rows>(
        &self,
        client: &Client,
        source: Source<'_>,
        params: Params<'_>,
    ) -> Result<T, Error> {
        self.run_observed(client, source, params).await.map(|(answer, _)| answer)
    }

    /// Judges and runs a statement, and tells what was observed, where something was.
    pub(super) async fn run_observed<T: Rows>(
        &self,
        client: &Client,
        source: Source<'_>,
        params: Params<'_>,
    ) -> Result<(T, Option<Observation>), Error> {
        let Admitted { verdict, warrant } = self.admit(client, source).await?;
        let limits = warrant.as_ref().map(Warrant::limits);
        let work = self.send(client, source, params, &verdict, limits);
        let ended = self.guard.traced(T::OPERATION, &verdict, work).await;
        if let Some(warrant) = warrant {
            let observation = ended.as_ref().ok().and_then(|(_, observation)| observation.as_ref());
            warrant.end(&ended, observation, Outcome::Committed).await;
        }
        ended
    }

    async fn send<T: Rows>(
        &self,
        client: &Client,
        source: Source<'_>,
        params: Params<'_>,
        verdict: &Arc<Verdict>,
        granted: Option<Limits>,
    ) -> Result<(T, Option<Observation>), Error> {
        let answer = match self.guard.course(verdict) {
            Course::Nothing => T::default(),
            Course::Read => {
                let _shared = self.gate.read().await;
                let statement = self.guard.prepare_source(client, source, verdict).await?;
                let answer = T::send(client, &statement, source.text(), params).await;
                answer.map_err(|error| self.guard.failure(T::WORDS, error))?
            }
            Course::StrictRead => self.read_strictly(client, source, params, verdict).await?,
            Course::Alone => self.run_alone(client, source, params, verdict).await?,
            Course::Write => {
                let (answer, observation) = self.write(client, source, params, verdict, granted).await?;
                return Ok((answer, Some(observation)));
            }
        };
        Ok((answer, None))
    }

    /// Reads in a transaction that cannot be turned read-write: the snapshot is taken and a savepoint set first.
    async fn read_strictly<T: Rows>(
        &self,
        client: &Client,
        source: Source<'_>,
        params: Params<'_>,
        verdict: &Verdict,
    ) -> Result<T, Error> {
        let _alone = self.gate.write().await;
        let statement = self.guard.prepare_source(client, source, verdict).await?;
        let block = Block::open(client, "ROLLBACK");
        let (begun, answer, ended) = futures_util::join!(
            client.batch_execute(STRICTLY_READ_ONLY),
            T::send(client, &statement, source.text(), params),
            client.batch_execute("ROLLBACK"),
        );
        block.close();
        begun.map_err(|error| self.guard.failure("begin a transaction", error))?;
        let answer = answer.map_err(|error| self.guard.failure(T::WORDS, error))?;
        ended.map_err(|error| self.guard.failure("end a transaction", error))?;
        Ok(answer)
    }

    /// Runs a statement that may write, and keeps what it did only where it may.
    async fn write<T: Rows>(
        &self,
        client: &Client,
        source: Source<'_>,
        params: Params<'_>,
        verdict: &Arc<Verdict>,
        granted: Option<Limits>,
    ) -> Result<(T, Observation), Error> {
        let _alone = self.gate.write().await;
        let Overstep { violation, observation } =
            match self.write_once(client, source, params, verdict, granted).await? {
                Observed::Kept(answer, observation) => return Ok((answer, observation)),
                Observed::RolledBack(overstep) => overstep,
            };
        if !violation.is_unpredicted {
            return Err(self.guard.refusal(verdict, violation, observation));
        }
        // Perhaps the catalog is old: a trigger that it does not have, a table that was partitioned since.
        self.renew(client).await?;
        let verdict = self.guard.judge(source);
        if granted.is_none() {
            self.guard.deny(&verdict)?;
        }
        match self.write_once(client, source, params, &verdict, granted).await? {
            Observed::Kept(answer, observation) => Ok((answer, observation)),
            Observed::RolledBack(Overstep { violation, observation }) => {
                Err(self.guard.refusal(&verdict, violation, observation))
            }
        }
    }

    async fn write_once<T: Rows>(
        &self,
        client: &Client,
        source: Source<'_>,
        params: Params<'_>,
        verdict: &Arc<Verdict>,
        granted: Option<Limits>,
    ) -> Result<Observed<T>, Error> {
        let statement = self.guard.prepare_source(client, source, verdict).await?;
        let observer = self.observer(client).await?;
        let before = self.flush_if_needed();
        let block = Block::open(client, "ROLLBACK");
        let (flushed, begun, answer, immediate, rows) = futures_util::join!(
            batch_unless_empty(client, before),
            client.batch_execute(BEGIN),
            T::send(client, &statement, source.text(), params),
            client.batch_execute(IMMEDIATE),
            observer.look(client),
        );
        flushed.and(begun).map_err(|error| self.guard.failure("begin a transaction", error))?;
        let answer = answer.map_err(|error| self.guard.failure(T::WORDS, error))?;
        immediate.map_err(|error| self.guard.failure(T::WORDS, error))?;
        let rows = rows.map_err(|error| self.guard.failure("observe a statement", error))?;
        let observation = self.read(&rows);
        let spent = match self.enforce(verdict, &[verdict], &observation, Spent::default(), granted) {
            Ok(spent) => spent,
            Err(violation) => {
                self.roll_back(client, block).await?;
                return Ok(Observed::RolledBack(Overstep { violation, observation }));
            }
        };
        self.commit(client, block, spent).await?;
        Ok(Observed::Kept(answer, observation))
    }

    /// Begins the block of a statement that is not sent in one go.
    pub(super) async fn begin<'a>(&self, client: &'a Client) -> Result<Block<'a, Client>, Error> {
        self.begin_as(client, BEGIN).await
    }

    pub(super) async fn begin_as<'a>(
        &self,
        client: &'a Client,
        command: &str,
    ) -> Result<Block<'a, Client>, Error> {
        let before = self.flush_if_needed();
        let block = Block::open(client, "ROLLBACK");
        let (flushed, begun) =
            futures_util::join!(batch_unless_empty(client, before), client.batch_execute(command));
        flushed.and(begun).map_err(|error| self.guard.failure("begin a transaction", error))?;
        Ok(block)
    }

    /// Keeps what was done in a block, where it may be.
    pub(super) async fn keep(
        &self,
        client: &Client,
        block: Block<'_, Client>,
        verdict: &Verdict,
        granted: Option<Limits>,
    ) -> Result<Observation, Error> {
        let observation = self.observe(client).await?;
        let spent = match self.enforce(verdict, &[verdict], &observation, Spent::default(), granted) {
            Ok(spent) => spent,
            Err(violation) => {
                self.roll_back(client, block).await?;
                self.note_unpredicted(&violation);
                return Err(self.guard.refusal(verdict, violation, observation));
            }
        };
        self.commit(client, block, spent).await?;
        Ok(observation)
    }

    /// Makes a block's changes last.
    pub(super) async fn commit(
        &self,
        client: &Client,
        block: Block<'_, Client>,
        spent: Spent,
    ) -> Result<(), Error> {
        let kept = client.batch_execute("COMMIT").await;
        kept.map_err(|error| self.guard.failure("commit a statement", error))?;
        block.close();
        self.note_spent(spent);
        Ok(())
    }

    /// Undoes what was done in a block, and returns once its locks are gone.
    pub(super) async fn roll_back(&self, client: &Client, block: Block<'_, Client>) -> Result<(), Error> {
        let undone = client.batch_execute("ROLLBACK").await;
        undone.map_err(|error| self.guard.failure("roll back a statement", error))?;
        block.close();
        Ok(())
    }

    /// Tells whether what happened may last, and what it takes from the budgets on top of what its transaction has spent
    /// before. A policy that only reports finds nothing wrong.
    pub(super) fn enforce(
        &self,
        verdict: &Verdict,
        verdicts: &[&Verdict],
        observation: &Observation,
        before: Spent,
        granted: Option<Limits>,
    ) -> Result<Spent, Violation> {
        let spent = before.and(Spent::of(observation));
        // What somebody approved does not count against the budgets that hold without an approval.
        let budgets = if granted.is_some() { &[] } else { self.guard.judge.policy().budgets() };
        let checked = self
            .guard
            .check(verdicts, observation, granted)
            .and_then(|()| self.account().check(budgets, spent, Instant::now()));
        match checked {
            Err(violation) if verdict.shadow => {
                self.guard.report(verdict, &violation, observation);
                Ok(spent)
            }
            checked => checked.map(|()| spent),
        }
    }

    pub(super) fn note_spent(&self, spent: Spent) {
        self.account().note(self.guard.judge.policy().budgets(), spent, Instant::now());
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at what was done in the block at hand, deferred triggers and constraints included.
    pub(super) async fn observe(&self, client: &Client) -> Result<Observation, Error> {
        let observer = self.observer(client).await?;
        let (immediate, rows) = futures_util::join!(client.batch_execute(IMMEDIATE), observer.look(client));
        immediate.map_err(|error| self.guard.failure("run a statement", error))?;
        let rows = rows.map_err(|error| self.guard.failure("observe a statement", error))?;
        Ok(self.read(&rows))
    }

    /// Reads what a block of its own did.
    fn read(&self, rows: &[Row]) -> Observation {
        self.is_unflushed.store(false, Ordering::Relaxed);
        Baseline::default().read(rows, self.guard.judge.catalog().as_deref())
    }

    /// Runs a statement that cannot stand in a transaction block.
    async fn run_alone<T: Rows>(
        &self,
        client: &Client,
        source: Source<'_>,
        params: Params<'_>,
        verdict: &Verdict,
    ) -> Result<T, Error> {
        let _alone = self.gate.write().await;
        let statement = self.guard.prepare_source(client, source, verdict).await?;
        self.line.watch(false);
        self.note_unobserved();
        let block = Block::open(client, READ_ONLY);
        let (opened, answer, closed) = futures_util::join!(
            client.batch_execute(READ_WRITE),
            T::send(client, &statement, source.text(), params),
            client.batch_execute(READ_ONLY),
        );
        block.close();
        let told = opened.and(closed).map_err(|error| self.guard.failure("change the session", error));
        if told.is_err() {
            self.line.spoil();
        }
        self.line.watch(self.pins.is_watched());
        let answer = answer.map_err(|error| self.guard.failure(T::WORDS, error))?;
        told.map(|()| answer)
    }

    /// Something ran, or runs now, without a look at it afterwards.
    pub(super) fn note_unobserved(&self) {
        self.is_unflushed.store(true, Ordering::Relaxed);
    }

    /// Returns what must be sent before a block is observed. Until it was, what it does counts as not observed, also where
    /// its future is cancelled.
    fn flush_if_needed(&self) -> &'static str {
        let is_needed = self.take_unflushed();
        self.note_unobserved();
        if is_needed { FLUSH } else { "" }
    }

    pub(super) fn take_unflushed(&self) -> bool {
        self.is_unflushed.swap(false, Ordering::Relaxed)
    }

    /// Returns the session's own prepared look at a transaction.
    pub(super) async fn observer<C: GenericClient + Sync>(&self, client: &C) -> Result<&Observer, Error> {
        let prepared = self.observer.get_or_try_init(|| Observer::prepare(client)).await;
        prepared.map_err(|error| self.guard.failure("prepare to observe", error))
    }

    pub(super) fn usable(&self) -> Result<(), Error> {
        if !self.line.has_drifted() {
            return Ok(());
        }
        let message =
            format!("session on {} no longer has the settings that the guard relies on", self.guard.target);
        Err(Error::new(ErrorKind::SessionChanged, message))
    }

    /// The raw client was given away: what the session is now, nobody knows.
    pub(super) fn note_unguarded(&self) {
        self.note_unobserved();
        self.is_unguarded.store(true, Ordering::Relaxed);
    }

    /// Tells whether a pool may take the session back.
    pub(super) fn reusable(&self) -> Result<(), Error> {
        if !self.is_unguarded.load(Ordering::Relaxed) {
            return Ok(());
        }
        let message = format!("session on {} was used without the guard", self.guard.target);
        Err(Error::new(ErrorKind::SessionChanged, message))
    }
}

/// After these nothing can make the transaction writable: PostgreSQL refuses it in a subtransaction, and once a snapshot
/// was taken.
pub(super) const STRICTLY_READ_ONLY: &str = "BEGIN READ ONLY; SAVEPOINT ops_guard; SELECT 1";

/// The session's transactions are read-only otherwise.
const BEGIN: &str = "BEGIN READ WRITE";

/// Runs deferred triggers and constraints now, so that what they do is seen.
pub(super) const IMMEDIATE: &str = "SET CONSTRAINTS ALL IMMEDIATE";

const READ_WRITE: &str = "SET default_transaction_read_only = off";
const READ_ONLY: &str = "SET default_transaction_read_only = on";

async fn batch_unless_empty(client: &Client, commands: &str) -> Result<(), tokio_postgres::Error> {
    if commands.is_empty() { Ok(()) } else { client.batch_execute(commands).await }
}
