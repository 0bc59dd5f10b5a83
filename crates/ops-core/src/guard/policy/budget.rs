//! Budgets: how many rows one session may change over all its statements.

use std::time::Duration;

use serde::Serialize;

use super::super::effect::Operation;

/// A number of rows that the statements of one session share.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Budget {
    /// The changes that count, without repetition. Rows count however they come to change, cascades included.
    pub effects: Vec<Operation>,
    /// The rows that may be changed.
    pub rows: u64,
    /// The time after which a change no longer counts. None: it counts as long as the session lives.
    pub per: Option<Duration>,
}

/// Joins the budgets of a policy file with those of its base, which hold for what the file gives no budget for.
pub(super) fn joined(own: Vec<Budget>, base: Vec<Budget>) -> Vec<Budget> {
    let is_own = |effect: &Operation| own.iter().any(|budget| budget.effects.contains(effect));
    let inherited: Vec<Budget> = base
        .into_iter()
        .map(|mut budget| {
            budget.effects.retain(|effect| !is_own(effect));
            budget
        })
        .filter(|budget| !budget.effects.is_empty())
        .collect();
    let mut budgets = own;
    budgets.extend(inherited);
    // Their order means nothing, so it must not change the hash.
    for budget in &mut budgets {
        budget.effects.sort_unstable_by_key(|effect| *effect as u8);
        budget.effects.dedup();
    }
    budgets.sort_by_key(|budget| {
        (budget.effects.iter().map(|effect| *effect as u8).collect::<Vec<_>>(), budget.per, budget.rows)
    });
    budgets.dedup();
    budgets
}

/// Reads a span of time: a whole number and `s`, `m`, `h` or `d`. Zero is none.
pub(super) fn span(text: &str) -> Option<Duration> {
    let unit = match text.bytes().last()? {
        b's' => 1,
        b'm' => 60,
        b'h' => 3_600,
        b'd' => 86_400,
        _ => return None,
    };
    let number = &text[..text.len() - 1];
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds = number.parse::<u64>().ok()?.checked_mul(unit)?;
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_a_number_and_a_unit() {
        let cases = [
            ("30s", Some(30)),
            ("15m", Some(900)),
            ("1h", Some(3_600)),
            ("7d", Some(604_800)),
            ("0h", None),
            ("", None),
            ("h", None),
            ("1", None),
            ("+1h", None),
            ("1.5h", None),
            ("1 h", None),
            ("1h30m", None),
            ("99999999999999999999d", None),
            ("9999999999999999999d", None),
            ("1é", None),
        ];
        for (text, expected) in cases {
            assert_eq!(span(text), expected.map(Duration::from_secs), "{text}");
        }
    }
}
