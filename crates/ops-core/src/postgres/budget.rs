//! What one session has changed so far, against the budgets of its policy: many small changes are one large one.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::guard::{Budget, Observation, Operation, Violation};

/// The rows that were added, changed and removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Spent([u64; 3]);

const OPERATIONS: [Operation; 3] = [Operation::Insert, Operation::Update, Operation::Delete];

impl Spent {
    pub(super) fn of(observation: &Observation) -> Self {
        Self(OPERATIONS.map(|operation| observation.rows_of(operation)))
    }

    #[must_use]
    pub(super) fn and(self, other: Self) -> Self {
        Self(std::array::from_fn(|index| self.0[index] + other.0[index]))
    }

    fn under(self, budget: &Budget) -> u64 {
        let counts = |operation: &Operation| budget.effects.contains(operation);
        OPERATIONS.iter().zip(self.0).filter(|(operation, _)| counts(operation)).map(|(_, rows)| rows).sum()
    }
}

/// Changes closer together than this share of a budget's time count as one.
const STEPS: u32 = 256;

/// What a session has spent.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// The oldest first; changes of one moment stand together.
    changes: VecDeque<(Instant, Spent)>,
}

impl Account {
    /// Tells whether a session may spend this much more.
    pub(super) fn check(&self, budgets: &[Budget], more: Spent, now: Instant) -> Result<(), Violation> {
        for budget in budgets {
            let wanted = more.under(budget);
            let counts = |at: &Instant| budget.per.is_none_or(|per| now.duration_since(*at) < per);
            let spent: u64 =
                self.changes.iter().filter(|(at, _)| counts(at)).map(|(_, spent)| spent.under(budget)).sum();
            if wanted > 0 && spent + wanted > budget.rows {
                return Err(violation(budget, spent, wanted));
            }
        }
        Ok(())
    }

    /// Notes what was spent.
    pub(super) fn note(&mut self, budgets: &[Budget], spent: Spent, now: Instant) {
        if budgets.is_empty() || spent == Spent::default() {
            return;
        }
        // The longest time decides what can be forgotten, the shortest how coarsely time is kept.
        if let Some(longest) =
            budgets.iter().map(|budget| budget.per).max_by_key(|per| per.unwrap_or(Duration::MAX))
            && let Some(longest) = longest
        {
            while self.changes.front().is_some_and(|(at, _)| now.duration_since(*at) >= longest) {
                self.changes.pop_front();
            }
        }
        let step = budgets.iter().filter_map(|budget| budget.per).min().unwrap_or(Duration::MAX) / STEPS;
        match self.changes.back_mut() {
            Some((at, last)) if now.duration_since(*at) < step => *last = last.and(spent),
            _ => self.changes.push_back((now, spent)),
        }
    }
}

fn violation(budget: &Budget, spent: u64, wanted: u64) -> Violation {
    let names: Vec<&str> = budget
        .effects
        .iter()
        .map(|operation| match operation {
            Operation::Insert => "inserted",
            Operation::Update => "updated",
            Operation::Delete => "deleted",
        })
        .collect();
    let span = match budget.per {
        Some(per) => format!("in {} seconds", per.as_secs()),
        None => "in its life".to_owned(),
    };
    Violation {
        rule: "budget".into(),
        reason: format!(
            "would change {wanted} rows after {spent}, and this session may have {} {} {span}",
            budget.rows,
            names.join(" or ")
        ),
        hint: "wait, or let somebody raise the budget of the policy".into(),
        is_unpredicted: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deletes(rows: u64) -> Spent {
        Spent([0, 0, rows])
    }

    fn budget(rows: u64, per: Option<u64>) -> Budget {
        Budget { effects: vec![Operation::Delete], rows, per: per.map(Duration::from_secs) }
    }

    #[test]
    fn small_changes_add_up_and_old_ones_are_forgotten() {
        let start = Instant::now();
        let after = |seconds: u64| start + Duration::from_secs(seconds);
        let budgets = [budget(100, Some(60)), budget(1000, None)];
        let mut account = Account::default();
        // (seconds, rows, whether they may be deleted)
        let table = [
            (0, 101, false),
            (0, 60, true),
            (10, 41, false),
            (10, 40, true),
            (59, 1, false),
            (60, 60, true),
            (61, 1, false),
            (70, 40, true),
            (900, 100, true),
            (1800, 100, true),
        ];
        for (seconds, rows, expected) in table {
            let now = after(seconds);
            let allowed = account.check(&budgets, deletes(rows), now).is_ok();
            assert_eq!(allowed, expected, "{rows} rows at {seconds}");
            if allowed {
                account.note(&budgets, deletes(rows), now);
            }
        }
        assert!(account.check(&budgets, Spent([5000, 5000, 0]), after(1800)).is_ok());
        // 400 of 1000 are spent for life; what is forgotten by the minute is not forgotten by life.
        assert!(account.check(&[budget(500, None)], deletes(101), after(9000)).is_err());
        assert!(account.check(&[budget(500, None)], deletes(100), after(9000)).is_ok());
    }

    #[test]
    fn an_account_stays_small() {
        let start = Instant::now();
        let budgets = [budget(u64::MAX, Some(60))];
        let mut account = Account::default();
        for millisecond in 0..200_000 {
            account.note(&budgets, deletes(1), start + Duration::from_millis(millisecond));
        }
        assert!(account.changes.len() <= 2 * STEPS as usize, "{}", account.changes.len());
    }
}
