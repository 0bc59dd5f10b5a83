//! The tools, one row each.

use super::proof::{self, Proof};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The tools whose exit codes and proofs of work are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ToolName {
    /// `cargo nextest run`: tests that ran.
    CargoNextest,
    /// `cargo test`: tests that ran.
    CargoTest,
    /// `gitleaks git …` or `dir …`: bytes that were scanned.
    Gitleaks,
    /// `hurl --test`: requests that were sent.
    Hurl,
    /// `k6 run`: checks, or requests where there are no checks.
    K6,
    /// `ops-backup verify`: backups that were read whole.
    OpsBackupVerify,
    /// `ops-guard check`: statements that were judged.
    OpsGuardCheck,
    /// `ops-secrets scan`: bytes that were scanned.
    OpsSecretsScan,
    /// `squawk`: files with statements.
    Squawk,
    /// `trivy fs …`, `config …`, `image …`: targets that were looked at.
    Trivy,
}

/// What an exit code means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It looked, and found nothing.
    Clean,
    /// It found something.
    Found,
    /// There was nothing to look at.
    Nothing,
    /// It could not do its work.
    Failed(&'static str),
}

/// A tool.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) program: &'static str,
    /// What it is always given, before the arguments of the plan.
    pub(super) arguments: &'static [&'static str],
    pub(super) environment: &'static [(&'static str, &'static str)],
    /// Whether what it did stands on its standard error.
    pub(super) reads_stderr: bool,
    pub(super) exits: &'static [(i32, Meaning)],
    pub(super) proof: Proof,
}

use Meaning::{Clean, Failed, Found, Nothing};

/// The codes of this project's own programs.
const OURS: &[(i32, Meaning)] = &[
    (0, Clean),
    (20, Found),
    (21, Failed("it could not judge everything")),
    (22, Nothing),
    (64, Failed("wrong usage")),
    (65, Failed("bad input")),
    (69, Failed("a service does not answer")),
    (75, Failed("busy; try again")),
    (78, Failed("wrong configuration")),
];

impl ToolName {
    pub(super) const fn row(self) -> Row {
        match self {
            Self::CargoNextest => NEXTEST,
            Self::CargoTest => CARGO_TEST,
            Self::Gitleaks => GITLEAKS,
            Self::Hurl => HURL,
            Self::K6 => K6,
            Self::OpsBackupVerify => BACKUP,
            Self::OpsGuardCheck => GUARD,
            Self::OpsSecretsScan => SECRETS,
            Self::Squawk => SQUAWK,
            Self::Trivy => TRIVY,
        }
    }
}

/// What most tools share.
const PLAIN: Row = Row {
    name: "",
    program: "",
    arguments: &[],
    environment: &[],
    reads_stderr: false,
    exits: OURS,
    proof: proof::guard,
};

/// nextest's `NextestExitCode`.
const NEXTEST: Row = Row {
    name: "cargo nextest",
    program: "cargo",
    arguments: &["nextest", "run", "--color", "never"],
    reads_stderr: true,
    exits: &[
        (0, Clean),
        (4, Nothing),
        (94, Failed("the filter is wrong")),
        (95, Failed("a setup script failed")),
        (96, Failed("nextest is not set up")),
        (100, Found),
        (101, Failed("the build failed")),
        (102, Failed("the list of tests could not be made")),
        (104, Failed("a setup script failed")),
        (105, Failed("a setup script failed")),
        (110, Failed("the output could not be written")),
    ],
    proof: proof::nextest,
    ..PLAIN
};

/// 101 is also a build that failed; then there is no result, and so no proof.
const CARGO_TEST: Row = Row {
    name: "cargo test",
    program: "cargo",
    arguments: &["test"],
    exits: &[(0, Clean), (101, Found)],
    proof: proof::cargo_test,
    ..PLAIN
};

/// Seen with 8.30.1: 1 is also an error, so that findings get a code of their own; 126 is wrong usage.
const GITLEAKS: Row = Row {
    name: "gitleaks",
    program: "gitleaks",
    arguments: &["--exit-code", "42", "--no-banner", "--no-color", "--redact", "--log-level", "info"],
    reads_stderr: true,
    exits: &[(0, Clean), (42, Found), (1, Failed("it could not scan")), (126, Failed("wrong usage"))],
    proof: proof::gitleaks,
    ..PLAIN
};

/// From its manual; no real one was at hand.
const HURL: Row = Row {
    name: "hurl",
    program: "hurl",
    arguments: &["--test", "--no-color"],
    reads_stderr: true,
    exits: &[
        (0, Clean),
        (1, Failed("wrong usage")),
        (2, Failed("a file cannot be read")),
        (3, Failed("a request could not be sent")),
        (4, Found),
    ],
    proof: proof::hurl,
    ..PLAIN
};

/// Seen with 1.1.0; the other codes from its source.
const K6: Row = Row {
    name: "k6",
    program: "k6",
    arguments: &["run", "--quiet", "--no-color", "--summary-export=/dev/stdout"],
    exits: &[
        (0, Clean),
        (99, Found),
        (100, Failed("the set-up took too long")),
        (101, Failed("the tear-down took too long")),
        (102, Failed("it took too long")),
        (103, Failed("the engine failed")),
        (104, Failed("the configuration is wrong")),
        (105, Failed("it was stopped")),
        (106, Failed("its API could not start")),
        (107, Failed("the script failed")),
        (108, Failed("the script stopped itself")),
        (255, Failed("it could not start")),
    ],
    proof: proof::k6,
    ..PLAIN
};

const BACKUP: Row = Row {
    name: "ops-backup verify",
    program: "ops-backup",
    arguments: &["verify", "--format", "json"],
    proof: proof::backup,
    ..PLAIN
};

const GUARD: Row =
    Row { name: "ops-guard check", program: "ops-guard", arguments: &["check", "--format", "json"], ..PLAIN };

const SECRETS: Row = Row {
    name: "ops-secrets scan",
    program: "ops-secrets",
    arguments: &["scan", "--format", "json"],
    proof: proof::secrets,
    ..PLAIN
};

/// Seen with 2.70.0: 1 for findings, for syntax errors and for no files; 2 is wrong usage.
const SQUAWK: Row = Row {
    name: "squawk",
    program: "squawk",
    arguments: &["--reporter", "json"],
    exits: &[(0, Clean), (1, Found), (2, Failed("wrong usage"))],
    proof: proof::squawk,
    ..PLAIN
};

/// Seen with 0.76.0: 0 with findings and 1 for every error, unless told otherwise. The subcommand is the plan's,
/// and not all flags go before it, so that these are variables.
const TRIVY: Row = Row {
    name: "trivy",
    program: "trivy",
    environment: &[
        ("TRIVY_EXIT_CODE", "42"),
        ("TRIVY_FORMAT", "json"),
        ("TRIVY_SKIP_VERSION_CHECK", "true"),
        ("TRIVY_QUIET", "true"),
    ],
    exits: &[(0, Clean), (42, Found), (1, Failed("it could not scan"))],
    proof: proof::trivy,
    ..PLAIN
};
