//! A trace that stands for many: the latest one that a number was counted in.

use std::sync::{Mutex, TryLockError};
use std::time::SystemTime;

use crate::context::TraceContext;

/// One observation with the span that it was made in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exemplar {
    pub(crate) context: TraceContext,
    pub(crate) value: f64,
    pub(crate) time: SystemTime,
}

/// Keeps the latest exemplar. Who comes while another writes lets it be: nobody waits here.
#[derive(Debug, Default)]
pub(super) struct Slot(Mutex<Option<Exemplar>>);

impl Slot {
    /// Keeps the observation if its trace is sampled: a link that leads nowhere helps nobody.
    pub(super) fn keep(&self, value: f64, context: Option<TraceContext>) {
        let Some(context) = context.filter(|context| context.flags.is_sampled()) else { return };
        let mut slot = match self.0.try_lock() {
            Ok(slot) => slot,
            Err(TryLockError::Poisoned(slot)) => slot.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        *slot = Some(Exemplar { context, value, time: SystemTime::now() });
    }

    pub(super) fn get(&self) -> Option<Exemplar> {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
