//! Approvals that were presented to a session: used up in the audit log before what they permit is sent.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::run::Guard;
use super::statement::sealed::Source;
use crate::approval::{Approval, Approvers, Granted};
use crate::audit::{AuditLog, Entry, Event, Head, Outcome};
use crate::error::{Error, ErrorKind};
use crate::guard::{Context, Decision, Limits, Observation, StatementVerdict, Verdict};

/// Who may approve what a session does, and where it is written down.
#[derive(Clone, Debug)]
pub struct Oversight {
    /// The people whose signatures count.
    pub approvers: Approvers,
    /// The log that gets every use of an approval before the statement is sent, and its end after.
    pub log: Arc<AuditLog>,
}

/// The approvals that a session holds.
#[derive(Debug, Default)]
pub(super) struct Wallet(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    oversight: Option<Oversight>,
    granted: Vec<Arc<Granted>>,
    /// The break-glass approvals that are in use: claimed once for the session.
    broken: Vec<Arc<Granted>>,
}

/// A use of an approval: what it permits may be sent, and its end must be written down.
#[derive(Debug)]
pub(super) struct Warrant {
    granted: Arc<Granted>,
    log: Arc<AuditLog>,
    session: Whose,
    started: Head,
}

/// Whose session it is, as the log says it.
#[derive(Clone, Debug)]
pub(super) struct Whose {
    pub(super) principal: String,
    pub(super) database: String,
    pub(super) trace_id: String,
}

impl Wallet {
    pub(super) fn oversee(&self, oversight: Oversight) {
        self.lock().oversight = Some(oversight);
    }

    /// Verifies an approval and keeps it for the statement that it covers.
    pub(super) fn present(&self, approval: &Approval, whose: &Whose) -> Result<(), Error> {
        let mut state = self.lock();
        let Some(oversight) = &state.oversight else {
            let message = "approval cannot be used: the session has no approvers and no audit log";
            return Err(Error::new(ErrorKind::InvalidApproval, message));
        };
        let now = Timestamp::now();
        let granted = approval.verify(&oversight.approvers, &whose.principal, &whose.database, now)?;
        state.granted.push(Arc::new(granted));
        Ok(())
    }

    /// Finds what covers a statement and uses it up, durably, before anything is sent. None where nothing covers it.
    pub(super) async fn claim(
        &self,
        guard: &Guard,
        source: Source<'_>,
        verdict: &Verdict,
        whose: impl FnOnce() -> Whose,
    ) -> Result<Option<Warrant>, Error> {
        let Some(statement) = verdict.statements.first().filter(|_| verdict.statements.len() == 1) else {
            return Ok(None);
        };
        if statement.decision == Decision::Allow {
            return Ok(None);
        }
        let sql = source.text();
        let now = Timestamp::now();
        let Some((granted, log, is_in_use)) = self.take(sql, statement, guard, &guard.judge.context(now))
        else {
            return Ok(None);
        };
        let session = whose();
        let entry = Entry::new(Event::Started, now)
            .in_session(&session.principal, &session.database, &session.trace_id)
            .about(sql, verdict, statement);
        let started =
            {
                let (log, granted) = (Arc::clone(&log), Arc::clone(&granted));
                blocking(move || {
                    if is_in_use { log.append(entry.under(&granted)) } else { log.claim(&granted, entry) }
                })
                .await?
            };
        if granted.is_break_glass() && !is_in_use {
            self.lock().broken.push(Arc::clone(&granted));
        }
        tracing::warn!(
            approval = %granted.id(),
            approver = granted.terms().approver,
            policy_hash = verdict.policy_hash,
            sequence = started.sequence,
            digest = started.digest,
            "approval used"
        );
        Ok(Some(Warrant { granted, log, session, started }))
    }

    /// Uses a break-glass approval for the whole session.
    pub(super) async fn break_glass(&self, whose: Whose) -> Result<(), Error> {
        let now = Timestamp::now();
        let found = {
            let mut state = self.lock();
            let oversight = state.oversight.clone();
            if state.broken.iter().any(|granted| !granted.is_expired(now)) {
                return Ok(());
            }
            let position = state.granted.iter().position(|granted| granted.is_break_glass());
            position.map(|at| state.granted.remove(at)).zip(oversight)
        };
        let Some((granted, oversight)) = found else {
            let message = "raw session needs a break-glass approval, and none was presented";
            return Err(Error::new(ErrorKind::InvalidApproval, message));
        };
        let entry =
            Entry::new(Event::Started, now).in_session(&whose.principal, &whose.database, &whose.trace_id);
        let claimed = Arc::clone(&granted);
        blocking(move || oversight.log.claim(&claimed, entry)).await?;
        self.lock().broken.push(granted);
        Ok(())
    }

    /// Takes what covers a statement: the narrowest, so that break-glass is the last. Tells also whether it is in use.
    fn take(
        &self,
        sql: &str,
        statement: &StatementVerdict,
        guard: &Guard,
        context: &Context,
    ) -> Option<(Arc<Granted>, Arc<AuditLog>, bool)> {
        let mut state = self.lock();
        let log = Arc::clone(&state.oversight.as_ref()?.log);
        let covers = |granted: &Arc<Granted>| {
            !context.at.is_some_and(|now| granted.is_expired(now))
                && granted.covers(statement, sql, guard.judge.policy(), context)
        };
        let narrow = state.granted.iter().position(|granted| !granted.is_break_glass() && covers(granted));
        if let Some(at) = narrow {
            return Some((state.granted.remove(at), log, false));
        }
        if let Some(granted) = state.broken.iter().find(|granted| covers(granted)) {
            return Some((Arc::clone(granted), log, true));
        }
        let wide = state.granted.iter().position(covers)?;
        Some((state.granted.remove(wide), log, false))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Warrant {
    /// Returns how much may be changed under it: its own limits count before those of the policy.
    pub(super) fn limits(&self) -> Limits {
        self.granted.limits()
    }

    /// Writes down how it ended. What was done stays done where that fails: the log then has a beginning without an end.
    pub(super) async fn end<T>(
        self,
        result: &Result<T, Error>,
        observation: Option<&Observation>,
        kept: Outcome,
    ) {
        let outcome = match result {
            Ok(_) => kept,
            Err(error) => match error.kind() {
                ErrorKind::Denied => Outcome::RolledBack,
                ErrorKind::Unavailable => Outcome::Unknown,
                _ => Outcome::Failed,
            },
        };
        let error = result.as_ref().err();
        let observation = observation.or(error.and_then(Error::observed));
        let mut entry = Entry::new(Event::Finished, Timestamp::now())
            .in_session(&self.session.principal, &self.session.database, &self.session.trace_id)
            .under(&self.granted)
            .ended(outcome, error.and_then(Error::sqlstate))
            .finishing(&self.started);
        if let Some(observation) = observation {
            entry = entry.observed(observation);
        }
        let log = self.log;
        if let Err(error) = blocking(move || log.append(entry)).await {
            let sequence = self.started.sequence;
            tracing::error!(
                sequence,
                code = error.code(),
                "end of an approved statement is not in the audit log: {error}"
            );
        }
    }
}

/// Runs what waits for the disk where it keeps no other task waiting.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(Error::new(ErrorKind::Io, "audit log was not written: the program is ending")),
    }
}
