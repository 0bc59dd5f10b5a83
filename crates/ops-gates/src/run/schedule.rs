//! In which order gates start: pure bookkeeping around futures, without any idea of what a gate does.

use crate::outcome::{Finding, Outcome};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use std::cmp::Reverse;
use std::collections::{BTreeSet, VecDeque};
use std::future::Future;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A gate as the scheduler sees it.
pub(crate) struct Node<'a> {
    pub(crate) id: &'a str,
    /// The positions of the gates that must pass before.
    pub(crate) needs: &'a [usize],
    /// How long the longest chain takes that begins with it; what is more urgent starts first.
    pub(crate) urgency: Duration,
    /// The group that it shares a limit with.
    pub(crate) group: Option<usize>,
    /// Whether nothing else may run beside it.
    pub(crate) exclusive: bool,
}

/// How much may run at once.
pub(crate) struct Limits {
    /// Gates in all.
    pub(crate) jobs: usize,
    /// Gates of each group.
    pub(crate) groups: Vec<usize>,
}

/// What runs now.
struct Slots<'a> {
    nodes: &'a [Node<'a>],
    limits: &'a Limits,
    running: usize,
    groups: Vec<usize>,
    /// Whether an exclusive gate runs.
    alone: bool,
}

impl<'a> Slots<'a> {
    /// The most urgent ready gate that may start now. An exclusive one that is the most urgent of all holds the others
    /// back until it is alone; else it would wait for ever behind many small ones.
    fn next(&self, ready: &BTreeSet<(Reverse<Duration>, usize)>) -> Option<(Reverse<Duration>, usize)> {
        if self.alone || self.running >= self.limits.jobs.max(1) {
            return None;
        }
        let first = *ready.first()?;
        if self.nodes[first.1].exclusive {
            return (self.running == 0).then_some(first);
        }
        let fits = |position: usize| {
            let node = &self.nodes[position];
            let has_room = node.group.is_none_or(|group| self.groups[group] < self.limits.groups[group]);
            has_room && (!node.exclusive || self.running == 0)
        };
        ready.iter().copied().find(|(_, position)| fits(*position))
    }

    fn start(&mut self, position: usize) {
        self.running += 1;
        self.alone = self.nodes[position].exclusive;
        if let Some(group) = self.nodes[position].group {
            self.groups[group] += 1;
        }
    }

    fn end(&mut self, position: usize) {
        self.running -= 1;
        self.alone = false;
        if let Some(group) = self.nodes[position].group {
            self.groups[group] -= 1;
        }
    }
}

/// Runs every gate after all that it needs, within the limits, and gives each exactly one finding through `ended`, which
/// says whether those that need the gate may go on.
///
/// Where a needed gate does not pass, those behind it are blocked by it. After a cancellation nothing starts; what
/// runs is expected to end by itself.
pub(crate) async fn execute<F>(
    nodes: &[Node<'_>],
    limits: &Limits,
    cancel: &CancellationToken,
    mut start: impl FnMut(usize) -> F,
    mut ended: impl FnMut(usize, Finding) -> bool,
) where
    F: Future<Output = Finding>,
{
    let mut dependents = vec![Vec::new(); nodes.len()];
    for (position, node) in nodes.iter().enumerate() {
        for &need in node.needs {
            dependents[need].push(position);
        }
    }
    let mut missing: Vec<usize> = nodes.iter().map(|node| node.needs.len()).collect();
    let mut roots: Vec<Option<String>> = vec![None; nodes.len()];
    let mut open: BTreeSet<usize> = (0..nodes.len()).collect();
    let place = |position: usize| (Reverse(nodes[position].urgency), position);
    let mut ready: BTreeSet<_> =
        (0..nodes.len()).filter(|&position| missing[position] == 0).map(place).collect();
    let mut slots = Slots { nodes, limits, running: 0, groups: vec![0; limits.groups.len()], alone: false };
    let mut running = FuturesUnordered::new();
    loop {
        while !cancel.is_cancelled()
            && let Some(next) = slots.next(&ready)
        {
            ready.remove(&next);
            let position = next.1;
            slots.start(position);
            let check = start(position);
            running.push(async move { (position, check.await) });
        }
        let Some((position, finding)) = running.next().await else { break };
        slots.end(position);
        let mut settled = VecDeque::from([(position, finding)]);
        while let Some((position, finding)) = settled.pop_front() {
            open.remove(&position);
            let root = match &finding.outcome {
                Outcome::Blocked { by } => by.clone(),
                _ => nodes[position].id.to_owned(),
            };
            let cancelled = finding.outcome == Outcome::Cancelled;
            let opens = ended(position, finding);
            if cancelled {
                // What needs it stays open, and is cancelled with the run.
                continue;
            }
            for &dependent in &dependents[position] {
                missing[dependent] -= 1;
                if !opens {
                    roots[dependent].get_or_insert_with(|| root.clone());
                }
                if missing[dependent] > 0 {
                    continue;
                }
                match roots[dependent].take() {
                    Some(root) => settled.push_back((dependent, blocked(root))),
                    None => drop(ready.insert(place(dependent))),
                }
            }
        }
    }
    for position in open {
        ended(position, Finding::cancelled());
    }
}

fn blocked(by: String) -> Finding {
    let reason = format!("needs `{by}`, which did not pass");
    Finding::new(Outcome::Blocked { by }, "blocked", reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Fault;
    use crate::verdict::{Judged, Verdict, judge};
    use proptest::prelude::*;
    use std::cell::RefCell;

    /// A gate of a random plan: whether it must pass, what it needs among the gates before it, how it would end, whether it
    /// is excused, what limits it, and how often it has to be polled until then.
    #[derive(Debug, Clone)]
    struct Random {
        required: bool,
        needs: Vec<usize>,
        outcome: Outcome,
        excused: bool,
        group: Option<usize>,
        exclusive: bool,
        polls: usize,
    }

    fn outcomes() -> impl Strategy<Value = Outcome> {
        prop_oneof![
            8 => Just(Outcome::Pass),
            1 => Just(Outcome::Warn),
            1 => Just(Outcome::Fail),
            1 => Just(Outcome::Error { error: Fault::Timeout }),
            1 => Just(Outcome::Inconclusive),
            1 => Just(Outcome::Skip),
            1 => Just(Outcome::Cancelled),
        ]
    }

    fn plans() -> impl Strategy<Value = Vec<Random>> {
        let gate = (
            any::<bool>(),
            prop::collection::vec(any::<prop::sample::Index>(), 0..4),
            outcomes(),
            prop::bool::weighted(0.1),
            prop::option::weighted(0.4, 0_usize..2),
            prop::bool::weighted(0.1),
            0_usize..4,
        );
        prop::collection::vec(gate, 1..24).prop_map(|gates| {
            let needs = |position: usize, chosen: Vec<prop::sample::Index>| {
                let set: BTreeSet<usize> =
                    chosen.iter().filter(|_| position > 0).map(|index| index.index(position)).collect();
                set.into_iter().collect()
            };
            let random = |(position, (required, chosen, outcome, excused, group, exclusive, polls))| Random {
                required,
                needs: needs(position, chosen),
                outcome,
                excused,
                group,
                exclusive,
                polls,
            };
            gates.into_iter().enumerate().map(random).collect()
        })
    }

    /// What a random run looks like from outside.
    #[derive(Default)]
    struct Seen {
        ended: Vec<Option<Outcome>>,
        running: BTreeSet<usize>,
        started: usize,
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// No plan and no order of events gives PASSED while a required gate did not pass and is not excused.
        #[test]
        fn never_passed_while_a_required_gate_is_not(
            plan in plans(), jobs in 1_usize..6, limit in 1_usize..3, cancel_at in 0_usize..40,
        ) {
            let ids: Vec<String> = (0..plan.len()).map(|position| format!("g{position}")).collect();
            let nodes: Vec<Node<'_>> = plan
                .iter()
                .zip(&ids)
                .map(|(gate, id)| Node {
                    id,
                    needs: &gate.needs,
                    urgency: Duration::from_millis(gate.polls as u64),
                    group: gate.group,
                    exclusive: gate.exclusive,
                })
                .collect();
            let limits = Limits { jobs, groups: vec![limit, 1] };
            let cancel = CancellationToken::new();
            let state = RefCell::new(Seen { ended: vec![None; plan.len()], ..Seen::default() });
            let opens = |position: usize, outcome: &Outcome| {
                outcome.is_pass() || (plan[position].excused && *outcome != Outcome::Cancelled)
            };
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(execute(
                &nodes,
                &limits,
                &cancel,
                |position| {
                    let mut now = state.borrow_mut();
                    now.running.insert(position);
                    now.started += 1;
                    assert!(now.running.len() <= jobs, "more than {jobs} at once");
                    assert!(now.running.len() == 1 || !now.running.iter().any(|one| plan[*one].exclusive), "not alone");
                    for (group, limit) in [limit, 1].into_iter().enumerate() {
                        let of_group = now.running.iter().filter(|one| plan[**one].group == Some(group)).count();
                        assert!(of_group <= limit, "more than {limit} of a group");
                    }
                    if now.started > cancel_at {
                        cancel.cancel();
                    }
                    for need in &plan[position].needs {
                        let outcome = now.ended[*need].as_ref().expect("started before its need");
                        assert!(opens(*need, outcome), "started behind a gate that did not pass");
                    }
                    let gate = &plan[position];
                    async move {
                        for _ in 0..gate.polls {
                            tokio::task::yield_now().await;
                        }
                        Finding::new(gate.outcome.clone(), "random", "")
                    }
                },
                |position, finding| {
                    let mut now = state.borrow_mut();
                    if finding.code == "random" {
                        now.running.remove(&position);
                    }
                    assert_eq!(now.ended[position], None, "ended twice");
                    let opens = opens(position, &finding.outcome);
                    now.ended[position] = Some(finding.outcome);
                    opens
                },
            ));
            let Seen { ended, running, started } = state.into_inner();
            prop_assert!(running.is_empty());
            prop_assert!(ended.iter().all(Option::is_some), "a gate has no finding");
            let excused = |position: usize| plan[position].excused && ended[position] != Some(Outcome::Cancelled);
            let judged = |position: usize| Judged {
                id: &ids[position],
                required: plan[position].required,
                outcome: ended[position].as_ref(),
                excused: excused(position),
            };
            let judgement = judge((0..plan.len()).map(judged));
            let required = || (0..plan.len()).filter(|position| plan[*position].required);
            let passed = |position: usize| ended[position] == Some(Outcome::Pass);
            let proven = required().any(passed) && required().all(|position| passed(position) || excused(position));
            prop_assert_eq!(judgement.verdict == Verdict::Passed, proven);
            // Without a cancellation, a gate that was not started has a root that ran and did not pass.
            if started <= cancel_at && !ended.contains(&Some(Outcome::Cancelled)) {
                for outcome in ended.iter().flatten() {
                    if let Outcome::Blocked { by } = outcome {
                        let root = ids.iter().position(|id| id == by).expect("a gate of the plan");
                        let ran = !matches!(ended[root], Some(Outcome::Pass | Outcome::Blocked { .. }));
                        prop_assert!(ran, "the root is not one");
                    }
                }
            }
        }
    }
}
