//! What a platform shows of a run: annotations and groups in its log, and a summary on its page.
#![expect(
    clippy::print_stderr,
    reason = "platforms read commands from the log, and stdout carries the answer"
)]

use clap::ValueEnum;
use ops_gates::{RunRecord, report};
use std::fs::File;
use std::hash::{BuildHasher as _, Hasher as _};
use std::io::Write as _;

/// The platform that a run is shown on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Ci {
    /// As the environment says
    #[default]
    Auto,
    /// GitHub Actions: annotations, groups, step summary
    Github,
    /// GitLab: sections that fold
    Gitlab,
    /// None
    None,
}

/// GitHub refuses a summary of more than this.
const SUMMARY: usize = 1024 * 1024;

impl Ci {
    fn found(self) -> Self {
        let is_true = |name: &str| std::env::var(name).is_ok_and(|value| value == "true");
        match self {
            Ci::Auto if is_true("GITHUB_ACTIONS") => Ci::Github,
            Ci::Auto if is_true("GITLAB_CI") => Ci::Gitlab,
            Ci::Auto => Ci::None,
            chosen => chosen,
        }
    }

    /// Shows a run. What cannot be shown is told and changes nothing else.
    pub(crate) fn show(self, record: &RunRecord) {
        match self.found() {
            Ci::Github => {
                eprint!("{}", report::github(record, &token()));
                summary(record);
            }
            Ci::Gitlab => eprint!("{}", report::gitlab(record)),
            Ci::Auto | Ci::None => {}
        }
    }
}

fn summary(record: &RunRecord) {
    let Some(path) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()) else { return };
    // Other steps may have written to the same file, and the limit is for the whole.
    let used = std::fs::metadata(&path).map_or(0, |file| usize::try_from(file.len()).unwrap_or(SUMMARY));
    let text = report::markdown_within(record, SUMMARY.saturating_sub(used + 1));
    let file = File::options().create(true).append(true).open(&path);
    if let Err(error) = file.and_then(|mut file| file.write_all(text.as_bytes())) {
        tracing::warn!("the step summary cannot be written: {error}");
    }
}

/// Digits that no program of the run can have known, because they are drawn after it.
fn token() -> String {
    // The standard library seeds each of these from the system's randomness.
    let draw = || std::collections::hash_map::RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", draw(), draw())
}
