//! The course that a statement takes through a session, by what it may do.

use super::effect::Effect;
use super::verdict::Verdict;

/// How a statement is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Course {
    /// There is nothing to run.
    Nothing,
    /// It reads, and nothing in it is unknown. It runs by itself in a session whose transactions are read-only; a single
    /// statement cannot change that for itself, because its snapshot is taken before any of its functions run.
    Read,
    /// It may run unknown code, and must not write: it runs in a transaction that cannot be turned read-write.
    StrictRead,
    /// It may write: it runs in a transaction and is observed.
    Write,
    /// It cannot run in a transaction block, so nothing can be observed: the text alone decided.
    Alone,
}

impl Course {
    pub(crate) fn of(verdict: &Verdict, is_read_only: bool) -> Self {
        let Some(statement) = verdict.statements.first() else { return Self::Nothing };
        if !statement.transactional {
            return Self::Alone;
        }
        let only_reads = statement.effects.iter().all(|predicted| {
            matches!(
                predicted.effect,
                Effect::Read { .. }
                    | Effect::Setting { .. }
                    | Effect::AdvisoryLock { .. }
                    | Effect::Notification
            )
        });
        match (only_reads, is_read_only) {
            (true, _) => Self::Read,
            (false, true) => Self::StrictRead,
            (false, false) => Self::Write,
        }
    }
}
