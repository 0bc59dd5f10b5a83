//! In which order gates start: pure bookkeeping around futures, without any idea of what a gate does.

use crate::outcome::{Finding, Outcome};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use std::collections::{BTreeSet, VecDeque};
use std::future::Future;
use tokio_util::sync::CancellationToken;

/// A gate as the scheduler sees it.
pub(crate) struct Node<'a> {
    pub(crate) id: &'a str,
    /// The positions of the gates that must pass before.
    pub(crate) needs: &'a [usize],
}

/// Runs every gate after all that it needs, at most so many at once, and gives each exactly one finding through `ended`.
///
/// Where a needed gate does not pass, those behind it are blocked by it. After a cancellation nothing starts; what
/// runs is expected to end by itself.
pub(crate) async fn execute<F>(
    nodes: &[Node<'_>],
    jobs: usize,
    cancel: &CancellationToken,
    mut start: impl FnMut(usize) -> F,
    mut ended: impl FnMut(usize, Finding),
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
    let mut ready: BTreeSet<usize> = (0..nodes.len()).filter(|&position| missing[position] == 0).collect();
    let mut running = FuturesUnordered::new();
    loop {
        while running.len() < jobs.max(1) && !cancel.is_cancelled() {
            let Some(position) = ready.pop_first() else { break };
            let probe = start(position);
            running.push(async move { (position, probe.await) });
        }
        let Some((position, finding)) = running.next().await else { break };
        let mut settled = VecDeque::from([(position, finding)]);
        while let Some((position, finding)) = settled.pop_front() {
            open.remove(&position);
            let root = match &finding.outcome {
                Outcome::Pass => None,
                Outcome::Blocked { by } => Some(by.clone()),
                _ => Some(nodes[position].id.to_owned()),
            };
            let cancelled = finding.outcome == Outcome::Cancelled;
            ended(position, finding);
            if cancelled {
                // What needs it stays open, and is cancelled with the run.
                continue;
            }
            for &dependent in &dependents[position] {
                missing[dependent] -= 1;
                if let Some(root) = &root {
                    roots[dependent].get_or_insert_with(|| root.clone());
                }
                if missing[dependent] > 0 {
                    continue;
                }
                match roots[dependent].take() {
                    Some(root) => settled.push_back((dependent, blocked(root))),
                    None => drop(ready.insert(dependent)),
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

    /// A gate of a random plan: whether it must pass, what it needs among the gates before it, how it would end, and how
    /// often it has to be polled until then.
    #[derive(Debug, Clone)]
    struct Random {
        required: bool,
        needs: Vec<usize>,
        outcome: Outcome,
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
            0_usize..4,
        );
        prop::collection::vec(gate, 1..24).prop_map(|gates| {
            let needs = |position: usize, chosen: Vec<prop::sample::Index>| {
                let set: BTreeSet<usize> =
                    chosen.iter().filter(|_| position > 0).map(|index| index.index(position)).collect();
                set.into_iter().collect()
            };
            let random = |(position, (required, chosen, outcome, polls))| Random {
                required,
                needs: needs(position, chosen),
                outcome,
                polls,
            };
            gates.into_iter().enumerate().map(random).collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// No plan and no order of events gives PASSED while a required gate did not pass.
        #[test]
        fn never_passed_while_a_required_gate_is_not(plan in plans(), jobs in 1_usize..6, cancel_at in 0_usize..40) {
            let ids: Vec<String> = (0..plan.len()).map(|position| format!("g{position}")).collect();
            let nodes: Vec<Node<'_>> =
                plan.iter().zip(&ids).map(|(gate, id)| Node { id, needs: &gate.needs }).collect();
            let cancel = CancellationToken::new();
            let state = RefCell::new((vec![None; plan.len()], 0_usize, 0_usize));
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(execute(
                &nodes,
                jobs,
                &cancel,
                |position| {
                    let mut now = state.borrow_mut();
                    now.1 += 1;
                    now.2 += 1;
                    assert!(now.1 <= jobs, "more than {jobs} at once");
                    if now.2 > cancel_at {
                        cancel.cancel();
                    }
                    for need in &plan[position].needs {
                        assert_eq!(now.0[*need], Some(Outcome::Pass), "started before its need");
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
                        now.1 -= 1;
                    }
                    assert_eq!(now.0[position], None, "ended twice");
                    now.0[position] = Some(finding.outcome);
                },
            ));
            let (ended, running, started) = state.into_inner();
            prop_assert_eq!(running, 0);
            prop_assert!(ended.iter().all(Option::is_some), "a gate has no finding");
            let judged = |position: usize| Judged {
                id: &ids[position],
                required: plan[position].required,
                outcome: ended[position].as_ref(),
            };
            let judgement = judge((0..plan.len()).map(judged));
            let proven = plan.iter().any(|gate| gate.required)
                && plan.iter().zip(&ended).all(|(gate, outcome)| !gate.required || *outcome == Some(Outcome::Pass));
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
