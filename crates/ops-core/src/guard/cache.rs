//! A small cache of verdicts, keyed on the exact text: a fingerprint would merge `WHERE id = 1` and `WHERE 1 = 1`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::catalog::Catalog;
use super::context::Context;
use super::policy::Policy;
use super::verdict::Verdict;

/// Longer texts are judged each time.
const MAX_TEXT_BYTES: usize = 16 << 10;

/// How many bytes one generation holds. There are two.
const GENERATION_BYTES: usize = 8 << 20;

/// What an ordinary verdict takes beside its text.
const VERDICT_BYTES: usize = 1 << 10;

/// A policy in its circumstances, together with the verdicts that it has given.
///
/// Texts are judged as a client sends them: one statement at a time, and no transaction commands. A verdict is kept as
/// long as the catalog and the open windows of the policy are those that it was given under. When the young generation
/// is full it becomes the old one, and the old one goes; a text that is used comes back.
#[derive(Debug)]
pub struct Judge {
    policy: Policy,
    /// Changes whenever a verdict may change; no two judges ever have the same.
    epoch: AtomicU64,
    state: Mutex<State>,
}

fn next_epoch() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

#[derive(Debug)]
struct State {
    context: Arc<Context>,
    /// The windows of the policy that were open when the verdicts were given.
    slot: u64,
    young: HashMap<Box<str>, Arc<Verdict>>,
    old: HashMap<Box<str>, Arc<Verdict>>,
    young_bytes: usize,
}

impl Judge {
    /// Makes a judge without any verdict yet.
    pub fn new(policy: Policy, context: Context) -> Self {
        let context = Arc::new(context);
        let state = State { context, slot: 0, young: HashMap::new(), old: HashMap::new(), young_bytes: 0 };
        Self { policy, epoch: AtomicU64::new(next_epoch()), state: Mutex::new(state) }
    }

    /// Returns the policy.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Judges a text at this time.
    pub fn judge(&self, sql: &str, at: Timestamp) -> Arc<Verdict> {
        if sql.len() > MAX_TEXT_BYTES {
            return Arc::new(self.policy.judge_one(sql, &self.context(at)));
        }
        let slot = self.policy.slot(at);
        let before = {
            let mut state = self.lock();
            if state.slot != slot {
                self.forget(&mut state);
                state.slot = slot;
            }
            if let Some(verdict) = state.find(sql) {
                return verdict;
            }
            Arc::clone(&state.context)
        };
        // Not under the lock: two sessions may judge one text twice, and agree.
        let context = Context { at: Some(at), ..Context::clone(&before) };
        let verdict = Arc::new(self.policy.judge_one(sql, &context));
        let mut state = self.lock();
        if state.slot == slot && Arc::ptr_eq(&state.context, &before) {
            state.insert(sql, Arc::clone(&verdict));
        }
        verdict
    }

    /// Returns the circumstances at this time.
    pub fn context(&self, at: Timestamp) -> Context {
        let context = Arc::clone(&self.lock().context);
        Context { at: Some(at), ..Context::clone(&context) }
    }

    /// Takes new circumstances, and forgets the verdicts that were given under the old ones.
    pub fn set_context(&self, context: Context) {
        let mut state = self.lock();
        state.context = Arc::new(context);
        self.forget(&mut state);
    }

    /// Returns a number that stays the same as long as every verdict does.
    pub(crate) fn epoch(&self, at: Timestamp) -> u64 {
        if self.policy.depends_on_time() {
            let slot = self.policy.slot(at);
            let mut state = self.lock();
            if state.slot != slot {
                self.forget(&mut state);
                state.slot = slot;
            }
        }
        self.epoch.load(Ordering::Acquire)
    }

    fn forget(&self, state: &mut State) {
        state.forget();
        self.epoch.store(next_epoch(), Ordering::Release);
    }

    /// Returns the catalog, where one is known.
    pub(crate) fn catalog(&self) -> Option<Arc<Catalog>> {
        self.lock().context.catalog.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held, and each entry is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn find(&mut self, sql: &str) -> Option<Arc<Verdict>> {
        if let Some(verdict) = self.young.get(sql) {
            return Some(Arc::clone(verdict));
        }
        let (_, verdict) = self.old.remove_entry(sql)?;
        self.insert(sql, Arc::clone(&verdict));
        Some(verdict)
    }

    fn insert(&mut self, sql: &str, verdict: Arc<Verdict>) {
        let bytes = sql.len() + VERDICT_BYTES;
        if self.young_bytes + bytes > GENERATION_BYTES {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        if self.young.insert(sql.into(), verdict).is_none() {
            self.young_bytes += bytes;
        }
    }

    fn forget(&mut self) {
        self.young.clear();
        self.old.clear();
        self.young_bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge() -> Judge {
        Judge::new(Policy::app(), Context::default())
    }

    #[test]
    fn texts_that_differ_in_a_constant_have_their_own_verdicts() {
        let judge = judge();
        for _ in 0..2 {
            assert!(judge.judge("DELETE FROM t WHERE id = 1", Timestamp::UNIX_EPOCH).is_allowed());
            assert!(!judge.judge("DELETE FROM t WHERE 1 = 1", Timestamp::UNIX_EPOCH).is_allowed());
        }
    }

    #[test]
    fn new_circumstances_bring_new_verdicts() {
        let judge = judge();
        let before = judge.judge("SELECT 1", Timestamp::UNIX_EPOCH);
        assert!(Arc::ptr_eq(&before, &judge.judge("SELECT 1", Timestamp::UNIX_EPOCH)));
        judge.set_context(Context { principal: Some("app".into()), ..Context::default() });
        assert!(!Arc::ptr_eq(&before, &judge.judge("SELECT 1", Timestamp::UNIX_EPOCH)));
    }

    #[test]
    fn the_cache_stays_within_its_bytes_and_keeps_what_is_used() {
        let judge = judge();
        let hot = judge.judge("SELECT 1", Timestamp::UNIX_EPOCH);
        for number in 0..2_000 {
            judge.judge(&format!("SELECT {number} -- {}", "x".repeat(10_000)), Timestamp::UNIX_EPOCH);
            assert!(Arc::ptr_eq(&hot, &judge.judge("SELECT 1", Timestamp::UNIX_EPOCH)), "after {number}");
        }
        let state = judge.lock();
        let bytes = |map: &HashMap<Box<str>, _>| map.keys().map(|text| text.len()).sum::<usize>();
        assert!(bytes(&state.young) <= GENERATION_BYTES && bytes(&state.old) <= GENERATION_BYTES);
        assert!(state.young.len() + state.old.len() < 1_600);
    }
}
