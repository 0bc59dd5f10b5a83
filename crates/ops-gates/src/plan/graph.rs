//! The graph of `needs`: pure functions on positions.

use super::PlannedGate;
use std::time::Duration;

/// For each gate, the positions of the gates that it needs. Names that do not exist are left out; the reader refuses them.
pub(super) fn edges(gates: &[&PlannedGate]) -> Vec<Vec<usize>> {
    let position: std::collections::HashMap<&str, usize> =
        gates.iter().enumerate().map(|(position, gate)| (gate.id.as_str(), position)).collect();
    gates
        .iter()
        .map(|gate| gate.needs.iter().filter_map(|id| position.get(id.as_str()).copied()).collect())
        .collect()
}

/// For each gate, the time of the longest chain that begins with it: what is on the critical path starts first.
pub(super) fn urgencies(needs: &[Vec<usize>], time: impl Fn(usize) -> Duration) -> Vec<Duration> {
    let depths = depths(needs);
    let mut order: Vec<usize> = (0..needs.len()).collect();
    order.sort_by_key(|&gate| std::cmp::Reverse(depths[gate]));
    let mut behind = vec![Duration::ZERO; needs.len()];
    let mut urgencies = vec![Duration::ZERO; needs.len()];
    for gate in order {
        urgencies[gate] = behind[gate].saturating_add(time(gate));
        for &need in &needs[gate] {
            behind[need] = behind[need].max(urgencies[gate]);
        }
    }
    urgencies
}

/// For each gate, the length of the longest chain of needs before it. Gates on a cycle, and those behind one, are
/// reported as one deeper than any gate can be.
pub(super) fn depths(needs: &[Vec<usize>]) -> Vec<usize> {
    let mut waiting: Vec<usize> = needs.iter().map(Vec::len).collect();
    let mut dependents = vec![Vec::new(); needs.len()];
    for (gate, needed) in needs.iter().enumerate() {
        for &needed in needed {
            dependents[needed].push(gate);
        }
    }
    let mut depths = vec![needs.len(); needs.len()];
    let mut ready: Vec<usize> = (0..needs.len()).filter(|&gate| waiting[gate] == 0).collect();
    ready.iter().for_each(|&gate| depths[gate] = 0);
    let mut reached = vec![0; needs.len()];
    while let Some(gate) = ready.pop() {
        for &dependent in &dependents[gate] {
            reached[dependent] = reached[dependent].max(depths[gate] + 1);
            waiting[dependent] -= 1;
            if waiting[dependent] == 0 {
                depths[dependent] = reached[dependent];
                ready.push(dependent);
            }
        }
    }
    depths
}

/// One cycle, in the order in which each gate needs the next.
pub(super) fn cycle(needs: &[Vec<usize>]) -> Option<Vec<usize>> {
    let stuck: Vec<bool> = depths(needs).into_iter().map(|depth| depth == needs.len()).collect();
    // Every stuck gate needs a stuck gate, so that walking on from any of them must come back to where it was.
    let mut path = vec![stuck.iter().position(|&stuck| stuck)?];
    loop {
        let last = *path.last()?;
        let next = needs[last].iter().copied().find(|&gate| stuck[gate])?;
        if let Some(start) = path.iter().position(|&gate| gate == next) {
            return Some(path.split_off(start));
        }
        path.push(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depths_follow_the_longest_chain() {
        // 0 ← 1 ← 2, and 3 needs both ends.
        assert_eq!(depths(&[vec![], vec![0], vec![1], vec![0, 2]]), [0, 1, 2, 3]);
        assert_eq!(depths(&[]), Vec::<usize>::new());
    }

    #[test]
    fn what_most_waits_for_is_most_urgent() {
        // 0 ← 1 ← 2, and 3 alone.
        let seconds = [1, 2, 4, 6];
        let urgencies =
            urgencies(&[vec![], vec![0], vec![1], vec![]], |gate| Duration::from_secs(seconds[gate]));
        assert_eq!(urgencies.iter().map(Duration::as_secs).collect::<Vec<_>>(), [7, 6, 4, 6]);
    }

    #[test]
    fn a_cycle_is_named_without_the_gates_that_lead_to_it() {
        for (needs, expected) in [
            (vec![vec![], vec![0]], None),
            (vec![vec![0]], Some(vec![0])),
            (vec![vec![1], vec![2], vec![1]], Some(vec![1, 2])),
            (vec![vec![], vec![0, 2], vec![3], vec![1]], Some(vec![1, 2, 3])),
        ] {
            assert_eq!(cycle(&needs), expected, "{needs:?}");
        }
    }
}
