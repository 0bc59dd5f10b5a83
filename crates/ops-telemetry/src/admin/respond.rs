//! Questions and answers, without a network.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::check::{Check, Checks};
use crate::error::Error;
use crate::metrics::{Exposition, Registry};

/// How long a changed level holds where nobody says: nobody remembers to turn it back.
const DEFAULT_TTL: Duration = Duration::from_secs(600);

/// The longest body that is read.
pub(super) const MAX_BODY: usize = 4096;

/// Answers operators. Clones answer alike.
#[derive(Clone)]
pub struct Admin {
    metrics: Registry,
    checks: Checks,
    set_level: Option<SetLevel>,
}

type SetLevel = Arc<dyn Fn(&str, Option<Duration>) -> Result<(), Error> + Send + Sync>;

/// A request, as far as it matters here.
#[derive(Clone, Copy, Debug, Default)]
pub struct Question<'a> {
    /// The method, in capitals.
    pub method: &'a str,
    /// The path with what follows a question mark.
    pub target: &'a str,
    /// The `Accept` header.
    pub accept: Option<&'a str>,
    /// Whether there is an `Origin` header: a page in somebody's browser asks, and must not change anything.
    pub has_origin: bool,
    /// The body.
    pub body: &'a [u8],
}

/// A response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The `Content-Type` header.
    pub content_type: &'static str,
    /// The methods that the path knows, where another one was tried.
    pub allow: Option<&'static str>,
    /// The body; of an answer to `HEAD` only its length counts.
    pub body: String,
}

impl Admin {
    /// Answers with these metrics, without checks, and refuses to change the level.
    pub fn new(metrics: &Registry) -> Self {
        Self { metrics: metrics.clone(), checks: Checks::default(), set_level: None }
    }

    /// Lets operators change the level: `set` is given the filter and how long it holds, `None` for good.
    #[must_use]
    pub fn with_level(
        self,
        set: impl Fn(&str, Option<Duration>) -> Result<(), Error> + Send + Sync + 'static,
    ) -> Self {
        Self { set_level: Some(Arc::new(set)), ..self }
    }

    /// Returns the check of this name, a new one at first. As long as one fails the process is not ready.
    pub fn check(&self, name: &str) -> Check {
        self.checks.told(name)
    }

    /// Adds a check that is asked with each probe. It must answer at once: look at what is known, call nobody.
    pub fn check_with(&self, name: &str, ask: impl Fn() -> Result<(), String> + Send + Sync + 'static) {
        self.checks.asked(name, Arc::new(ask));
    }

    /// Answers one question.
    pub fn answer(&self, question: &Question<'_>) -> Answer {
        let (path, query) = question.target.split_once('?').unwrap_or((question.target, ""));
        let is_read = matches!(question.method, "GET" | "HEAD");
        match path {
            "/metrics" | "/live" | "/ready" if !is_read => not_allowed("GET, HEAD"),
            "/metrics" => {
                let exposition = Exposition::negotiate(question.accept);
                Answer::new(200, exposition.content_type(), self.metrics.render(exposition))
            }
            "/live" => text(200, "live"),
            "/ready" => {
                let (is_ready, body) = self.checks.ask();
                Answer::new(if is_ready { 200 } else { 503 }, "application/json", body)
            }
            "/admin/level" if question.method != "PUT" => not_allowed("PUT"),
            "/admin/level" => self.level(question, query),
            _ => text(404, "not found: there are /metrics, /live, /ready and /admin/level"),
        }
    }

    fn level(&self, question: &Question<'_>, query: &str) -> Answer {
        if question.has_origin {
            return text(403, "a page in a browser may not change the level");
        }
        let Some(set) = &self.set_level else { return text(403, "the level of this process is fixed") };
        if question.body.len() > MAX_BODY {
            return text(413, "the filter is longer than 4096 bytes");
        }
        let Ok(filter) = std::str::from_utf8(question.body).map(str::trim) else {
            return text(400, "the filter is no UTF-8");
        };
        let ttl = match query.split('&').find_map(|pair| pair.strip_prefix("ttl=")) {
            None if query.is_empty() => Some(DEFAULT_TTL),
            Some("none") => None,
            Some(seconds) => match seconds.parse() {
                Ok(seconds @ 1..=86_400) => Some(Duration::from_secs(seconds)),
                _ => return text(400, "ttl is a number of seconds from 1 to 86400, or none"),
            },
            None => return text(400, "the only parameter is ttl"),
        };
        match set(filter, ttl) {
            Ok(()) => {
                let until =
                    ttl.map_or("until it is changed".into(), |ttl| format!("for {} s", ttl.as_secs()));
                text(200, &format!("level is {filter} {until}"))
            }
            Err(error) => text(400, &error.to_string()),
        }
    }
}

impl Answer {
    fn new(status: u16, content_type: &'static str, body: String) -> Self {
        Self { status, content_type, allow: None, body }
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("metrics", &self.metrics).finish_non_exhaustive()
    }
}

pub(super) fn text(status: u16, body: &str) -> Answer {
    Answer::new(status, "text/plain; charset=utf-8", format!("{body}\n"))
}

fn not_allowed(methods: &'static str) -> Answer {
    Answer { allow: Some(methods), ..text(405, &format!("only {methods}")) }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn each_path_has_its_answer() {
        let admin = Admin::new(&Registry::new());
        let check = |method: &str, target: &str, status: u16| {
            let answer = admin.answer(&Question { method, target, ..Question::default() });
            assert_eq!(answer.status, status, "{method} {target}");
            assert_eq!(answer.allow.is_some(), status == 405);
        };
        check("GET", "/live", 200);
        check("HEAD", "/live", 200);
        check("GET", "/metrics?x=y", 200);
        check("GET", "/ready", 503);
        check("POST", "/live", 405);
        check("DELETE", "/metrics", 405);
        check("GET", "/admin/level", 405);
        check("PUT", "/admin/level", 403);
        check("GET", "/", 404);
        check("GET", "/metrics/", 404);
        admin.check("database").pass();
        check("GET", "/ready", 200);
        admin.check_with("disk", || Err("full".into()));
        check("GET", "/ready", 503);
    }

    #[test]
    fn the_level_is_changed_for_a_while_and_never_by_a_browser() {
        type Changes = Mutex<Vec<(String, Option<Duration>)>>;
        let changes: Arc<Changes> = Arc::default();
        let seen = Arc::clone(&changes);
        let admin = Admin::new(&Registry::new()).with_level(move |filter, ttl| {
            if filter == "loud" {
                return Err(Error::new(ErrorKind::InvalidFilter, "cannot read it"));
            }
            seen.lock().expect("not poisoned").push((filter.to_owned(), ttl));
            Ok(())
        });
        let check = |target: &str, body: &[u8], has_origin: bool, status: u16| {
            let question = Question { method: "PUT", target, body, has_origin, ..Question::default() };
            assert_eq!(admin.answer(&question).status, status, "{target}");
        };
        check("/admin/level", b"debug", true, 403);
        check("/admin/level", b"loud", false, 400);
        check("/admin/level", b"\xff", false, 400);
        check("/admin/level", &[b'x'; 4097], false, 413);
        check("/admin/level?ttl=0", b"debug", false, 400);
        check("/admin/level?ttl=-1", b"debug", false, 400);
        check("/admin/level?ttl=86401", b"debug", false, 400);
        check("/admin/level?time=5", b"debug", false, 400);
        assert!(changes.lock().expect("not poisoned").is_empty());
        check("/admin/level", b" debug\n", false, 200);
        check("/admin/level?ttl=5", b"a=trace", false, 200);
        check("/admin/level?ttl=none", b"info", false, 200);
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let expected =
            [("debug".to_owned(), seconds(600)), ("a=trace".into(), seconds(5)), ("info".into(), None)];
        assert_eq!(*changes.lock().expect("not poisoned"), expected);
    }
}
