//! What each kind of gate can be told: one struct a kind, its keys as the plan writes them.

use super::duration::Span;
use super::text::Text;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a gate checks.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Kind {
    /// A program that must end with an expected exit code.
    Command(Command),
    /// An HTTP request whose answer must be as expected.
    Http(Http),
    /// A PostgreSQL server that must answer a query as expected.
    Postgres(Postgres),
    /// A signed record of work done elsewhere, such as a restore rehearsal.
    Evidence(Evidence),
}

/// The keys of `kind = "command"`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// The program and its arguments; no shell reads them. With `shell`, one script for `sh -c`.
    pub run: Vec<Text>,
    /// Whether `run` is a shell script. It is given to the shell as it stands, without `${env:…}`.
    #[serde(default)]
    pub shell: bool,
    /// The working directory; the plan's own directory where it is absent.
    pub cwd: Option<Text>,
    /// Variables that the program gets from our environment. All others but a few harmless ones are withheld.
    #[serde(default)]
    pub env: Vec<String>,
    /// The exit codes that pass.
    #[serde(default = "zero")]
    pub exit_codes: Vec<i32>,
    /// A text that must stand in the program's standard output.
    pub expect_stdout: Option<Text>,
}

/// The keys of `kind = "http"`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// The address, `http` or `https`. Proxies of the environment are not used.
    pub url: Text,
    /// The status that passes.
    #[serde(default = "ok")]
    pub status: u16,
    /// A text that must stand in the body, within its first 8 MiB.
    pub body_contains: Option<Text>,
    /// Headers to send.
    #[serde(default)]
    pub headers: BTreeMap<String, Text>,
    /// Headers that must come back, each with a text that its value must contain.
    #[serde(default)]
    pub expect_headers: BTreeMap<String, Text>,
    /// How many redirects are followed; by default none, so that a redirect to a login page does not pass.
    #[serde(default)]
    pub redirects: u8,
    /// A PEM file with the only certificate authorities to trust, instead of the system's.
    pub ca_file: Option<Text>,
}

/// The keys of `kind = "postgres"`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Postgres {
    /// The connection string, as a URL or as `key=value` pairs.
    pub url: Text,
    /// The variable that holds the password.
    pub password_env: Option<String>,
    /// One statement, run in a read-only transaction.
    pub query: Option<String>,
    /// The text of the one value that the query must return.
    pub expect: Option<Text>,
    /// The fewest rows that the query must return.
    pub min_rows: Option<u64>,
    /// Accepts a server that only lets us in. Says nothing about its data, so it has to be asked for.
    #[serde(default)]
    pub connect_only: bool,
}

/// The keys of `kind = "evidence"`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// A signed envelope, or a pattern with `*`, `?`, `[…]` or `**` that finds several.
    pub path: Text,
    /// The public key that must have signed.
    pub key: Text,
    /// The kind of the record, for example `restore-rehearsal`.
    pub record_kind: String,
    /// How long ago the recorded work may have ended; older evidence proves nothing.
    pub max_age: Span,
    /// The name of a subject that the record must be about.
    pub subject: Option<Text>,
    /// The digest of a subject that the record must be about, as `sha256:…`.
    pub digest: Option<Text>,
    /// Checks that the record must hold, each passed.
    #[serde(default)]
    pub require_checks: Vec<String>,
    /// Limits on what the record measured; a measurement that is missing does not pass.
    #[serde(default)]
    pub measurements: BTreeMap<String, Limits>,
}

/// The range that a measurement must lie in; at least one end is given.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// The greatest value that passes.
    pub max: Option<f64>,
    /// The least value that passes.
    pub min: Option<f64>,
}

impl Kind {
    /// The names that `kind` can have.
    pub const NAMES: [&'static str; 4] = ["command", "http", "postgres", "evidence"];

    /// The name of this kind.
    pub fn name(&self) -> &'static str {
        match self {
            Kind::Command(_) => "command",
            Kind::Http(_) => "http",
            Kind::Postgres(_) => "postgres",
            Kind::Evidence(_) => "evidence",
        }
    }

    /// Every text in which variables are replaced.
    pub(crate) fn texts(&self) -> Vec<&Text> {
        match self {
            Kind::Command(it) => {
                let run = if it.shell { [].iter() } else { it.run.iter() };
                run.chain(&it.cwd).chain(&it.expect_stdout).collect()
            }
            Kind::Http(it) => {
                let headers = it.headers.values().chain(it.expect_headers.values());
                std::iter::once(&it.url).chain(&it.body_contains).chain(headers).chain(&it.ca_file).collect()
            }
            Kind::Postgres(it) => std::iter::once(&it.url).chain(&it.expect).collect(),
            Kind::Evidence(it) => {
                [&it.path, &it.key].into_iter().chain(&it.subject).chain(&it.digest).collect()
            }
        }
    }

    /// Every variable that is named outside a text.
    pub(crate) fn named_variables(&self) -> &[String] {
        match self {
            Kind::Command(it) => &it.env,
            Kind::Postgres(it) => it.password_env.as_slice(),
            Kind::Http(_) | Kind::Evidence(_) => &[],
        }
    }
}

fn zero() -> Vec<i32> {
    vec![0]
}

fn ok() -> u16 {
    200
}
