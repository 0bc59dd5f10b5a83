//! A small cache of verdicts, keyed on the exact text: a fingerprint would merge `WHERE id = 1` and `WHERE 1 = 1`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::context::Context;
use super::policy::Policy;
use super::verdict::Verdict;

/// Longer texts are judged each time.
const MAX_TEXT_BYTES: usize = 16 << 10;

/// How many bytes of text one generation holds. There are two.
const GENERATION_BYTES: usize = 2 << 20;

/// A policy together with the verdicts that it has given.
///
/// When the young generation is full it becomes the old one, and the old one goes; a text that is used comes back.
#[derive(Debug)]
pub(crate) struct Judge {
    policy: Policy,
    context: Context,
    generations: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Box<str>, Arc<Verdict>>,
    old: HashMap<Box<str>, Arc<Verdict>>,
    young_bytes: usize,
}

impl Judge {
    pub(crate) fn new(policy: Policy) -> Self {
        Self { policy, context: Context::default(), generations: Mutex::default() }
    }

    pub(crate) fn policy(&self) -> &Policy {
        &self.policy
    }

    pub(crate) fn judge(&self, sql: &str) -> Arc<Verdict> {
        if sql.len() > MAX_TEXT_BYTES {
            return Arc::new(self.policy.judge_one(sql, &self.context));
        }
        if let Some(verdict) = self.lock().find(sql) {
            return verdict;
        }
        // Not under the lock: two sessions may judge one text twice, and agree.
        let verdict = Arc::new(self.policy.judge_one(sql, &self.context));
        self.lock().insert(sql, Arc::clone(&verdict));
        verdict
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Generations> {
        // Nothing panics while it is held, and each entry is whole.
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    fn find(&mut self, sql: &str) -> Option<Arc<Verdict>> {
        if let Some(verdict) = self.young.get(sql) {
            return Some(Arc::clone(verdict));
        }
        let (_, verdict) = self.old.remove_entry(sql)?;
        self.insert(sql, Arc::clone(&verdict));
        Some(verdict)
    }

    fn insert(&mut self, sql: &str, verdict: Arc<Verdict>) {
        if self.young_bytes + sql.len() > GENERATION_BYTES {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        if self.young.insert(sql.into(), verdict).is_none() {
            self.young_bytes += sql.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_differ_in_a_constant_have_their_own_verdicts() {
        let judge = Judge::new(Policy::app());
        for _ in 0..2 {
            assert!(judge.judge("DELETE FROM t WHERE id = 1").is_allowed());
            assert!(!judge.judge("DELETE FROM t WHERE 1 = 1").is_allowed());
        }
    }

    #[test]
    fn the_cache_stays_within_its_bytes_and_keeps_what_is_used() {
        let judge = Judge::new(Policy::app());
        let hot = judge.judge("SELECT 1");
        for number in 0..600 {
            judge.judge(&format!("SELECT {number} -- {}", "x".repeat(10_000)));
            assert!(Arc::ptr_eq(&hot, &judge.judge("SELECT 1")), "after {number}");
        }
        let generations = judge.lock();
        let bytes = |map: &HashMap<Box<str>, _>| map.keys().map(|text| text.len()).sum::<usize>();
        assert!(bytes(&generations.young) <= GENERATION_BYTES && bytes(&generations.old) <= GENERATION_BYTES);
        assert!(generations.young.len() + generations.old.len() < 500);
    }
}
