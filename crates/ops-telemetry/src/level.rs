//! Which events and spans are kept now: a filter that can be replaced while the process runs, for good or for a while.
//!
//! A change is cached by the callsites themselves, as interest: `always`, `never`, or, while a filter for a while holds,
//! `sometimes` for those on which it and the lasting one differ. Only these ask again at each event, and so the first of
//! them after the time is up finds out and ends it. No thread watches a clock, and nothing else pays.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Level, Metadata, callsite};

use crate::error::Error;
use crate::filter::Filter;

/// The target of audit events, which no filter concerns.
pub(crate) const AUDIT_TARGET: &str = "audit";

/// What holds now, as [`Telemetry::level`](crate::Telemetry::level) tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurrentLevel {
    /// The filter that holds now.
    pub filter: String,
    /// For how long it still holds, where it was set for a while.
    pub remaining: Option<Duration>,
    /// The filter that holds then.
    pub lasting: String,
}

#[derive(Debug)]
pub(crate) struct Levels {
    state: RwLock<State>,
    /// Whether the process itself is filtered, and not one test of many.
    is_global: AtomicBool,
}

#[derive(Debug)]
struct State {
    lasting: Filter,
    temporary: Option<(Filter, Instant)>,
}

impl Levels {
    pub(crate) fn parse(filter: &str) -> Result<Self, Error> {
        let state = State { lasting: Filter::parse(filter)?, temporary: None };
        Ok(Self { state: RwLock::new(state), is_global: AtomicBool::new(false) })
    }

    /// Makes this the filter of the process, also for records of the `log` crate.
    pub(crate) fn make_global(&self) {
        self.is_global.store(true, Ordering::Relaxed);
        self.announce();
    }

    /// Returns what a callsite may cache.
    pub(crate) fn interest(&self, metadata: &Metadata<'_>) -> Interest {
        if is_audit(metadata) {
            return Interest::always();
        }
        let state = self.read();
        let lasting = state.lasting.is_enabled(metadata.target(), *metadata.level());
        let now = match &state.temporary {
            Some((filter, _)) => filter.is_enabled(metadata.target(), *metadata.level()),
            None => lasting,
        };
        match (lasting, now) {
            (true, true) => Interest::always(),
            (false, false) => Interest::never(),
            _ => Interest::sometimes(),
        }
    }

    pub(crate) fn is_enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_audit(metadata) || self.is_enabled_for(metadata.target(), *metadata.level())
    }

    /// Decides without what is cached; ends a filter whose time is up.
    pub(crate) fn is_enabled_for(&self, target: &str, level: Level) -> bool {
        let state = self.read();
        let Some((filter, until)) = &state.temporary else { return state.lasting.is_enabled(target, level) };
        if Instant::now() < *until {
            return filter.is_enabled(target, level);
        }
        let enabled = state.lasting.is_enabled(target, level);
        drop(state);
        self.end();
        enabled
    }

    /// The most verbose level that anything is kept at. Never below `info`: audit events must pass.
    pub(crate) fn max_level(&self) -> LevelFilter {
        self.max_filtered().max(LevelFilter::INFO)
    }

    /// Replaces the filter, for good or for a while.
    pub(crate) fn set(&self, filter: &str, ttl: Option<Duration>) -> Result<(), Error> {
        let filter = Filter::parse(filter)?;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        match ttl.map(|ttl| Instant::now().checked_add(ttl)) {
            // A time beyond what the clock can tell is for good.
            None | Some(None) => *state = State { lasting: filter, temporary: None },
            Some(Some(until)) => state.temporary = Some((filter, until)),
        }
        drop(state);
        self.announce();
        Ok(())
    }

    pub(crate) fn current(&self) -> CurrentLevel {
        let state = self.read();
        let now = Instant::now();
        let temporary = state.temporary.as_ref().filter(|(_, until)| now < *until);
        let lasting = state.lasting.to_string();
        CurrentLevel {
            filter: temporary.map_or_else(|| lasting.clone(), |(filter, _)| filter.to_string()),
            remaining: temporary.map(|(_, until)| *until - now),
            lasting,
        }
    }

    /// Ends a filter whose time is up, where there is one.
    pub(crate) fn end(&self) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let is_over = |(_, until): &mut (Filter, Instant)| Instant::now() >= *until;
        if state.temporary.take_if(is_over).is_some() {
            drop(state);
            self.announce();
        }
    }

    fn max_filtered(&self) -> LevelFilter {
        let state = self.read();
        let temporary = state.temporary.as_ref().map_or(LevelFilter::OFF, |(filter, _)| filter.max_level());
        state.lasting.max_level().max(temporary)
    }

    /// Lets every callsite ask again. A layer that holds for one test alone must not: within an event, `tracing` would ask
    /// nobody and forget them all.
    fn announce(&self) {
        if self.is_global.load(Ordering::Relaxed) {
            callsite::rebuild_interest_cache();
            log::set_max_level(as_log(self.max_filtered()));
        }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_audit(metadata: &Metadata<'_>) -> bool {
    metadata.target() == AUDIT_TARGET
}

fn as_log(level: LevelFilter) -> log::LevelFilter {
    match level.into_level() {
        None => log::LevelFilter::Off,
        Some(Level::ERROR) => log::LevelFilter::Error,
        Some(Level::WARN) => log::LevelFilter::Warn,
        Some(Level::INFO) => log::LevelFilter::Info,
        Some(Level::DEBUG) => log::LevelFilter::Debug,
        Some(Level::TRACE) => log::LevelFilter::Trace,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_for_a_while_ends_by_itself() {
        let levels = Levels::parse("info,loud=off").expect("valid");
        levels.set("debug", Some(Duration::from_secs(600))).expect("valid");
        assert!(levels.is_enabled_for("a", Level::DEBUG));
        assert_eq!(levels.max_level(), LevelFilter::DEBUG);
        let now = levels.current();
        assert_eq!((now.filter.as_str(), now.lasting.as_str()), ("debug", "info,loud=off"));
        assert!(now.remaining.is_some_and(|left| left > Duration::from_secs(500)));
        levels.set("trace", Some(Duration::ZERO)).expect("valid");
        assert!(!levels.is_enabled_for("a", Level::DEBUG), "the time was up at once");
        assert!(!levels.is_enabled_for("loud", Level::ERROR));
        assert!(levels.read().temporary.is_none());
        assert_eq!(levels.max_level(), LevelFilter::INFO);
    }

    #[test]
    fn a_filter_for_good_replaces_both() {
        let levels = Levels::parse("info").expect("valid");
        levels.set("trace", Some(Duration::MAX)).expect("beyond the clock is for good");
        levels.set("warn", None).expect("valid");
        assert!(!levels.is_enabled_for("a", Level::INFO));
        assert_eq!(levels.current().remaining, None);
        assert!(levels.set("loud", None).is_err());
        assert_eq!(levels.current().filter, "warn");
        assert_eq!(levels.max_level(), LevelFilter::INFO, "audit events must pass");
    }
}
