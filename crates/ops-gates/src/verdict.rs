//! From outcomes to a verdict: pure functions, and the only place that can say PASSED.

use crate::outcome::Outcome;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fmt;

/// Whether the release may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// Every required gate was proven.
    Passed,
    /// At least one required gate was not.
    Blocked,
}

/// What a verdict rests on; it decides the exit code of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    /// Passed: exit 0.
    Passed,
    /// A gate was shown not to be as it should be: exit 20.
    Blocked,
    /// No gate failed, but a required one could not be judged: exit 21.
    CouldNotJudge,
    /// No gate was looked at: exit 22.
    NothingRan,
}

/// One gate as the verdict sees it.
#[derive(Debug, Clone, Copy)]
pub struct Judged<'a> {
    /// The gate's id.
    pub id: &'a str,
    /// Whether it must pass.
    pub required: bool,
    /// How it ended; none where it did not end.
    pub outcome: Option<&'a Outcome>,
    /// Whether it need not pass: it was waived, or shown not to apply.
    pub excused: bool,
}

/// A verdict with its reasons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// Whether the release may go on.
    pub verdict: Verdict,
    /// What the verdict rests on.
    pub standing: Standing,
    /// The gates that block, root causes first.
    pub blocked_by: Vec<String>,
    /// The advisory gates that did not pass.
    pub warnings: Vec<String>,
}

impl Judged<'_> {
    fn is_pass(&self) -> bool {
        self.outcome.is_some_and(Outcome::is_pass)
    }

    /// Whether it opens the release and what needs it.
    fn is_settled(&self) -> bool {
        self.is_pass() || (self.excused && self.outcome.is_some())
    }
}

/// Judges a run. PASSED takes a pass of at least one required gate, and a pass or an excuse of every one.
pub fn judge<'a>(gates: impl IntoIterator<Item = Judged<'a>>) -> Judgement {
    let gates: Vec<Judged<'a>> = gates.into_iter().collect();
    let (required, advisory): (Vec<Judged<'_>>, Vec<Judged<'_>>) =
        gates.iter().copied().partition(|gate| gate.required);
    let blocking: Vec<&Judged<'_>> = required.iter().filter(|gate| !gate.is_settled()).collect();
    let proven = blocking.is_empty() && required.iter().any(Judged::is_pass);
    let verdict = if proven { Verdict::Passed } else { Verdict::Blocked };
    // A required gate may be blocked by an advisory one, which is then the root.
    let named: HashSet<&str> = blocking
        .iter()
        .filter_map(|gate| match gate.outcome {
            Some(Outcome::Blocked { by }) => Some(by.as_str()),
            _ => None,
        })
        .collect();
    let is_root = |gate: &&Judged<'_>| {
        !gate.is_settled()
            && !matches!(gate.outcome, Some(Outcome::Blocked { .. }))
            && (gate.required || named.contains(gate.id))
    };
    let mut roots: Vec<&Judged<'_>> = gates.iter().filter(is_root).collect();
    roots.sort_by_key(|gate| weight(gate.outcome));
    let mut blocked_by: Vec<String> = roots.iter().map(|gate| gate.id.to_owned()).collect();
    let known: HashSet<&str> = roots.iter().map(|gate| gate.id).collect();
    blocked_by.extend(blocking.iter().filter(|gate| !known.contains(gate.id)).map(|gate| gate.id.to_owned()));
    let standing = match verdict {
        Verdict::Passed => Standing::Passed,
        Verdict::Blocked if !gates.iter().any(|gate| gate.outcome.is_some_and(was_looked_at)) => {
            Standing::NothingRan
        }
        Verdict::Blocked if roots.iter().any(|gate| shows_a_defect(gate.outcome)) => Standing::Blocked,
        Verdict::Blocked => Standing::CouldNotJudge,
    };
    let warnings = advisory.iter().filter(|gate| !gate.is_settled()).map(|gate| gate.id.to_owned()).collect();
    Judgement { verdict, standing, blocked_by, warnings }
}

fn was_looked_at(outcome: &Outcome) -> bool {
    !matches!(outcome, Outcome::Skip | Outcome::Blocked { .. } | Outcome::Cancelled)
}

fn shows_a_defect(outcome: Option<&Outcome>) -> bool {
    matches!(outcome, Some(Outcome::Fail | Outcome::Warn))
}

/// What people should look at first.
fn weight(outcome: Option<&Outcome>) -> u8 {
    match outcome {
        Some(Outcome::Fail) => 0,
        Some(Outcome::Error { .. }) => 1,
        Some(Outcome::Inconclusive) => 2,
        Some(Outcome::Warn) => 3,
        Some(Outcome::Skip) => 4,
        Some(Outcome::Cancelled) | None => 5,
        Some(Outcome::Blocked { .. } | Outcome::Pass) => 6,
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Passed => "PASSED",
            Verdict::Blocked => "BLOCKED",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Fault;

    fn check(gates: &[(&str, bool, Outcome)], verdict: Verdict, standing: Standing, blocked_by: &[&str]) {
        let judged = gates.iter().map(|(id, required, outcome)| Judged {
            id,
            required: *required,
            outcome: Some(outcome),
            excused: false,
        });
        let judgement = judge(judged);
        assert_eq!(judgement.verdict, verdict, "{gates:?}");
        assert_eq!(judgement.standing, standing, "{gates:?}");
        assert_eq!(judgement.blocked_by, blocked_by, "{gates:?}");
    }

    const ERROR: Outcome = Outcome::Error { error: Fault::Connect };

    fn by(id: &str) -> Outcome {
        Outcome::Blocked { by: id.to_owned() }
    }

    #[test]
    fn passed_takes_a_pass_of_every_required_gate() {
        use Outcome::{Cancelled, Fail, Inconclusive, Pass, Skip, Warn};
        check(&[("a", true, Pass), ("b", false, Fail)], Verdict::Passed, Standing::Passed, &[]);
        check(&[("a", true, Pass), ("b", true, Fail)], Verdict::Blocked, Standing::Blocked, &["b"]);
        check(&[("a", true, Warn)], Verdict::Blocked, Standing::Blocked, &["a"]);
        check(&[("a", true, ERROR)], Verdict::Blocked, Standing::CouldNotJudge, &["a"]);
        check(
            &[("a", true, Inconclusive), ("b", true, Pass)],
            Verdict::Blocked,
            Standing::CouldNotJudge,
            &["a"],
        );
        check(&[("a", true, Skip)], Verdict::Blocked, Standing::NothingRan, &["a"]);
        check(&[("a", true, Cancelled)], Verdict::Blocked, Standing::NothingRan, &["a"]);
        check(&[("a", false, Pass)], Verdict::Blocked, Standing::CouldNotJudge, &[]);
        check(&[], Verdict::Blocked, Standing::NothingRan, &[]);
    }

    #[test]
    fn the_root_cause_comes_first_also_where_it_is_advisory() {
        use Outcome::{Fail, Pass};
        let gates = [("c", true, by("a")), ("e", true, ERROR), ("a", true, Fail), ("p", true, Pass)];
        check(&gates, Verdict::Blocked, Standing::Blocked, &["a", "e", "c"]);
        check(&[("b", true, by("a")), ("a", false, Fail)], Verdict::Blocked, Standing::Blocked, &["a", "b"]);
        check(
            &[("b", true, by("a")), ("a", false, ERROR)],
            Verdict::Blocked,
            Standing::CouldNotJudge,
            &["a", "b"],
        );
    }

    #[test]
    fn an_excuse_opens_a_gate_and_is_no_proof() {
        let (pass, fail, skip) = (Outcome::Pass, Outcome::Fail, Outcome::Skip);
        let gate = |id, outcome, excused| Judged { id, required: true, outcome: Some(outcome), excused };
        let verdict = |gates: &[Judged<'_>]| judge(gates.iter().copied()).verdict;
        assert_eq!(verdict(&[gate("a", &pass, false), gate("b", &fail, true)]), Verdict::Passed);
        assert_eq!(verdict(&[gate("a", &pass, false), gate("b", &skip, true)]), Verdict::Passed);
        assert_eq!(verdict(&[gate("a", &pass, false), gate("b", &skip, false)]), Verdict::Blocked);
        // Where everything is excused, nothing is proven.
        assert_eq!(verdict(&[gate("a", &skip, true), gate("b", &fail, true)]), Verdict::Blocked);
    }

    #[test]
    fn a_gate_without_an_outcome_is_not_proven() {
        let judgement = judge([Judged { id: "a", required: true, outcome: None, excused: true }]);
        assert_eq!((judgement.verdict, judgement.standing), (Verdict::Blocked, Standing::NothingRan));
    }
}
