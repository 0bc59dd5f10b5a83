//! The drill file: which checks, which fault, and which times. The times that are promises have no default.

use super::fault::Fault;
use crate::error::{Error, ErrorKind, Problem};
use crate::plan::{Plan, ReadOptions};
use crate::value::Span;
use ops_core::evidence::sha256_hex;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A drill that was read and found sound.
#[derive(Debug, Clone)]
pub struct Drill {
    /// What it is called.
    pub name: String,
    /// The gates that must pass before, must see the fault, and must pass again.
    pub checks: Plan,
    /// What is done to the system.
    pub fault: Fault,
    /// How long the recovery may take.
    pub rto: Span,
    /// Within which time the checks must see the fault.
    pub impact_within: Span,
    /// How long the fault stays after it was seen.
    pub hold: Option<Span>,
    /// How often the checks must pass in a row.
    pub good_checks: u32,
    /// The pause between two runs of the checks.
    pub interval: Span,
    pub(super) origin: String,
    pub(super) sha256: String,
    give_up_after: Option<Span>,
    directory: PathBuf,
}

/// The keys of the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    checks: PathBuf,
    fault: Fault,
    rto: Span,
    impact_within: Span,
    hold: Option<Span>,
    #[serde(default = "three")]
    good_checks: u32,
    #[serde(default = "half_a_second")]
    interval: Span,
    give_up_after: Option<Span>,
}

fn three() -> u32 {
    3
}

fn half_a_second() -> Span {
    Span::of(Duration::from_millis(500))
}

impl Drill {
    /// Reads a drill and its plan of checks, the latter with these options. Paths in it start at its directory.
    ///
    /// # Errors
    /// [`ErrorKind::PlanUnreadable`] where a file cannot be read, [`ErrorKind::PlanInvalid`] where one is wrong.
    pub fn load(path: &Path, options: &ReadOptions) -> Result<Self, Error> {
        let unreadable = |error| Error::io(ErrorKind::PlanUnreadable, "read drill", path, error);
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        let directory = std::path::absolute(path).map_err(unreadable)?;
        let directory = directory.parent().map(Path::to_path_buf).unwrap_or_default();
        let origin = path.display().to_string();
        let wrong = |at: usize, message: String| {
            let before = text.get(..at).unwrap_or(&text);
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            let line = before.matches('\n').count() + 1;
            Error::plan(&origin, vec![Problem { line, column, message, hint: None, file: None }])
        };
        let file: File = toml::from_str(&text).map_err(|error| {
            wrong(error.span().map_or(0, |span| span.start), error.message().replace('\n', "; "))
        })?;
        let drill = Self {
            name: file.name,
            checks: Plan::load(&directory.join(&file.checks), options)?,
            fault: file.fault,
            rto: file.rto,
            impact_within: file.impact_within,
            hold: file.hold,
            good_checks: file.good_checks,
            interval: file.interval,
            sha256: sha256_hex(text.as_bytes()),
            origin: origin.clone(),
            give_up_after: file.give_up_after,
            directory,
        };
        match drill.wrong() {
            Some(message) => Err(wrong(0, message)),
            None => Ok(drill),
        }
    }

    fn wrong(&self) -> Option<String> {
        let slow = self.checks.gates().iter().find(|gate| gate.timeout > self.impact_within);
        if let Some(gate) = slow {
            return Some(format!(
                "check `{}` may take {}, but the fault must be seen within {}; give it a shorter timeout",
                gate.id, gate.timeout, self.impact_within
            ));
        }
        if self.good_checks == 0 {
            return Some("good_checks = 0 would prove nothing".to_owned());
        }
        if self.give_up_after() <= self.rto.get() {
            return Some(format!("give_up_after must be longer than the rto of {}", self.rto));
        }
        self.fault.wrong()
    }

    /// How long the recovery is waited for; longer than it may take, so that a late one is measured.
    pub fn give_up_after(&self) -> Duration {
        self.give_up_after.map_or(self.rto.get() * 3, Span::get)
    }

    /// The drill in lines for people: what would be done.
    pub fn summary(&self) -> String {
        format!(
            "drill {}: the checks of {} must pass; then {}; the checks must see it within {}; taken back by {}; all must pass {} times in a row, the first within {}",
            self.name,
            self.checks.name(),
            self.fault,
            self.impact_within,
            self.fault.undo_summary(),
            self.good_checks,
            self.rto
        )
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }
}
