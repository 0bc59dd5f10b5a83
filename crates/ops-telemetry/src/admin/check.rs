//! What must hold for a process to be ready.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::json;

/// The state of one thing that the process needs. The service reports it whenever it learns of it, so that a probe is
/// answered at once and never waits for a neighbour. It fails until it passes for the first time.
#[derive(Clone)]
pub struct Check {
    state: Arc<Mutex<Option<Cow<'static, str>>>>,
}

/// The named checks of a process.
#[derive(Clone, Default)]
pub(super) struct Checks {
    named: Arc<Mutex<Vec<(String, Source)>>>,
}

type Ask = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

#[derive(Clone)]
enum Source {
    Told(Check),
    Asked(Ask),
}

impl Check {
    /// Says that it is there.
    pub fn pass(&self) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Says that it is not, and why, for the people who read the answer: no secrets.
    pub fn fail(&self, why: impl Into<Cow<'static, str>>) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.into());
    }

    fn new() -> Self {
        Self { state: Arc::new(Mutex::new(Some("nothing was reported yet".into()))) }
    }

    fn result(&self) -> Result<(), String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.as_ref().map_or(Ok(()), |why| Err(why.clone().into_owned()))
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Check").field(&self.result()).finish()
    }
}

impl Checks {
    /// Returns the check of that name; a new one where there is none or where it is asked.
    pub(super) fn told(&self, name: &str) -> Check {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Source::Told(check)) =
            named.iter().find(|(known, _)| known == name).map(|(_, source)| source)
        {
            return check.clone();
        }
        let check = Check::new();
        set(&mut named, name, Source::Told(check.clone()));
        check
    }

    pub(super) fn asked(&self, name: &str, ask: Ask) {
        set(&mut self.named.lock().unwrap_or_else(PoisonError::into_inner), name, Source::Asked(ask));
    }

    /// Returns whether all pass, and the JSON that says so. Without a check nothing is known, so nothing is ready.
    pub(super) fn ask(&self) -> (bool, String) {
        let named = self.named.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut is_ready = !named.is_empty();
        let mut checks = Vec::new();
        for (name, source) in &named {
            let result = match source {
                Source::Told(check) => check.result(),
                Source::Asked(ask) => ask(),
            };
            if !checks.is_empty() {
                checks.push(b',');
            }
            string(&mut checks, name);
            checks.extend_from_slice(b":{\"status\":");
            string(&mut checks, if result.is_ok() { "pass" } else { "fail" });
            if let Err(why) = result {
                is_ready = false;
                checks.extend_from_slice(b",\"output\":");
                string(&mut checks, &why);
            }
            checks.push(b'}');
        }
        let status = match (is_ready, named.is_empty()) {
            (true, _) => "ready",
            (false, true) => "nothing is checked",
            (false, false) => "not ready",
        };
        let checks = String::from_utf8_lossy(&checks);
        (is_ready, format!("{{\"status\":\"{status}\",\"checks\":{{{checks}}}}}\n"))
    }
}

fn set(named: &mut Vec<(String, Source)>, name: &str, source: Source) {
    named.retain(|(known, _)| known != name);
    named.push((name.to_owned(), source));
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    json::escape(out, text);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_what_was_reported_and_nothing_less() {
        let checks = Checks::default();
        assert_eq!(checks.ask(), (false, "{\"status\":\"nothing is checked\",\"checks\":{}}\n".into()));
        let database = checks.told("data\"base");
        let failed = r#"{"status":"not ready","checks":{"data\"base":{"status":"fail","output":"nothing was reported yet"}}}"#;
        assert_eq!(checks.ask(), (false, format!("{failed}\n")));
        database.pass();
        let passed = r#"{"status":"ready","checks":{"data\"base":{"status":"pass"}}}"#;
        assert_eq!(checks.ask(), (true, format!("{passed}\n")));
        checks.told("data\"base").fail("gone");
        assert!(!checks.ask().0);
        checks.asked("data\"base", Arc::new(|| Ok(())));
        assert!(checks.ask().0, "one name is one check");
        checks.asked("disk", Arc::new(|| Err("full".into())));
        assert!(checks.ask().1.contains(r#""disk":{"status":"fail","output":"full"}"#));
    }
}
