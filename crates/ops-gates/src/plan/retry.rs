//! When a gate is tried again: only for the classes of outcome that the plan lists, and never quietly.

use crate::outcome::{Fault, Outcome};
use crate::value::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// When a gate is tried again. A gate that passes after another outcome is reported as flaky.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// How many attempts there are at most, the first included.
    pub attempts: u32,
    /// The outcomes after which it is tried again. `fail` has to be asked for: an assertion that fails is an answer.
    pub on: Vec<Class>,
    /// The pause before the second attempt.
    #[serde(default = "base")]
    pub base: Span,
    /// The longest pause.
    #[serde(default = "max")]
    pub max: Span,
    /// How the pauses grow.
    #[serde(default)]
    pub backoff: Backoff,
    /// Whether each pause is a random part of its length, so that many gates do not come back at once.
    #[serde(default = "yes")]
    pub jitter: bool,
}

/// How pauses between attempts grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Backoff {
    /// Each is twice as long as the one before.
    #[default]
    Exponential,
    /// All are as long as the first.
    Constant,
}

/// A class of outcomes after which a gate may be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// The other side could not be reached.
    Connect,
    /// The time of the attempt was over.
    Timeout,
    /// The other side is there, and not ready yet.
    NotReady,
    /// There was an answer, and nothing in it.
    NoData,
    /// There was too little to judge by.
    InsufficientSamples,
    /// The answer could not be understood.
    Parse,
    /// The tool or the server could not do its work.
    Tool,
    /// What was seen proves neither.
    Inconclusive,
    /// The check failed.
    Fail,
}

fn base() -> Span {
    Span::of(Duration::from_millis(250))
}

fn max() -> Span {
    Span::from_secs(10)
}

fn yes() -> bool {
    true
}

impl Class {
    /// The class of an outcome; none where another attempt could not end otherwise, or must not be made.
    fn of(outcome: &Outcome) -> Option<Self> {
        match outcome {
            Outcome::Fail => Some(Self::Fail),
            Outcome::Inconclusive => Some(Self::Inconclusive),
            Outcome::Error { error } => match error {
                Fault::Connect => Some(Self::Connect),
                Fault::Timeout => Some(Self::Timeout),
                Fault::NotReady => Some(Self::NotReady),
                Fault::NoData => Some(Self::NoData),
                Fault::InsufficientSamples => Some(Self::InsufficientSamples),
                Fault::Parse => Some(Self::Parse),
                Fault::Tool => Some(Self::Tool),
                Fault::Unresolved | Fault::Leak | Fault::Internal => None,
            },
            Outcome::Pass | Outcome::Warn | Outcome::Skip | Outcome::Blocked { .. } | Outcome::Cancelled => {
                None
            }
        }
    }
}

impl Retry {
    /// What is wrong with it.
    pub(super) fn wrong(&self) -> Option<String> {
        if !(2..=100).contains(&self.attempts) {
            return Some(format!("`retry.attempts` is {}; there are between 2 and 100", self.attempts));
        }
        self.on.is_empty().then(|| {
            "`retry.on` is empty; list what is tried again, such as [\"connect\", \"timeout\"]".to_owned()
        })
    }

    /// Whether an outcome is one after which the gate is tried again.
    pub(crate) fn is_for(&self, outcome: &Outcome) -> bool {
        Class::of(outcome).is_some_and(|class| self.on.contains(&class))
    }

    /// The pause after so many attempts; `random` is between 0 and 1.
    pub(crate) fn pause(&self, attempts: u32, random: f64) -> Duration {
        let whole = self.longest_pause(attempts);
        if self.jitter { whole.mul_f64(random.clamp(0.0, 1.0)) } else { whole }
    }

    fn longest_pause(&self, attempts: u32) -> Duration {
        let factor = match self.backoff {
            Backoff::Exponential => 2_u32.saturating_pow(attempts.saturating_sub(1)),
            Backoff::Constant => 1,
        };
        self.base.get().saturating_mul(factor).min(self.max.get())
    }

    /// All pauses together, at their longest.
    pub(super) fn longest_pauses(&self) -> Duration {
        (1..self.attempts.min(100)).map(|attempts| self.longest_pause(attempts)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_limit_and_only_listed_classes_are_tried_again() {
        let retry = Retry {
            attempts: 5,
            on: vec![Class::Connect, Class::Fail],
            base: Span::from_secs(1),
            max: Span::from_secs(5),
            backoff: Backoff::Exponential,
            jitter: true,
        };
        let pauses: Vec<f64> = (1..5).map(|attempts| retry.pause(attempts, 1.0).as_secs_f64()).collect();
        assert_eq!(pauses, [1.0, 2.0, 4.0, 5.0]);
        assert_eq!(retry.pause(3, 0.25), Duration::from_secs(1));
        assert_eq!(retry.longest_pauses(), Duration::from_secs(12));
        for (outcome, expected) in [
            (Outcome::Error { error: Fault::Connect }, true),
            (Outcome::Fail, true),
            (Outcome::Error { error: Fault::Timeout }, false),
            (Outcome::Error { error: Fault::Leak }, false),
            (Outcome::Pass, false),
            (Outcome::Cancelled, false),
        ] {
            assert_eq!(retry.is_for(&outcome), expected, "{outcome:?}");
        }
    }
}
