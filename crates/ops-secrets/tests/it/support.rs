//! A settings type with every shape, and short ways to load it.

use ops_secrets::{Error, Loaded, Loader, Secret};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

pub(crate) const DEFAULTS: &str = r#"
repo = "/var/backups"
password = ""
port = 5432
ratio = 0.5
on = false
mode = "fast"
address = "127.0.0.1"
names = ["a"]
numbers = []
wait = "10s"

[limits]

[s3]
region = "us-east-1"
secret_access_key = ""
"#;

#[derive(Debug, Deserialize)]
pub(crate) struct Settings {
    pub(crate) repo: String,
    pub(crate) password: Secret,
    pub(crate) port: u16,
    pub(crate) ratio: f64,
    pub(crate) on: bool,
    pub(crate) mode: Mode,
    pub(crate) address: std::net::IpAddr,
    pub(crate) names: Vec<String>,
    pub(crate) numbers: Vec<u8>,
    pub(crate) wait: Wait,
    pub(crate) limits: BTreeMap<String, u32>,
    pub(crate) s3: S3,
    pub(crate) pin: Option<Secret<u64>>,
    #[serde(default)]
    pub(crate) tokens: Vec<Secret>,
    pub(crate) login: Option<Login>,
    #[serde(default)]
    pub(crate) servers: Vec<Server>,
    pub(crate) tls: Option<Tls>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    Fast,
    Slow,
}

/// Refuses what it does not understand, and quotes it, as careless types do.
#[derive(Debug)]
pub(crate) struct Wait(pub(crate) u64);

impl<'de> Deserialize<'de> for Wait {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let seconds = text.strip_suffix('s').and_then(|seconds| seconds.parse().ok());
        seconds.map(Wait).ok_or_else(|| serde::de::Error::custom(format!("{text:?} is not a time")))
    }
}

#[derive(Debug, Deserialize)]
pub(crate) struct S3 {
    pub(crate) region: String,
    pub(crate) secret_access_key: Secret,
}

#[derive(Debug, Deserialize)]
pub(crate) enum Login {
    Trust,
    Password(Secret),
}

#[derive(Debug, Deserialize)]
pub(crate) struct Server {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) password: Secret,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Tls {
    #[serde(default)]
    pub(crate) key_file: String,
    #[serde(default)]
    pub(crate) root_cert: String,
}

/// A loader with the defaults.
pub(crate) fn loader() -> Loader<Settings> {
    Loader::new().defaults_toml(DEFAULTS)
}

pub(crate) fn vars<const N: usize>(vars: [(&str, &str); N]) -> Vec<(OsString, OsString)> {
    vars.map(|(name, value)| (name.into(), value.into())).to_vec()
}

/// Writes a file that only its owner can read.
pub(crate) fn file(dir: &Path, name: &str, content: &[u8]) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, content).unwrap();
    chmod(&path, 0o600);
    path
}

#[cfg(unix)]
pub(crate) fn chmod(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Everything that can be printed of a load.
pub(crate) fn everything_printable<T: std::fmt::Debug>(result: &Result<Loaded<T>, Error>) -> String {
    let mut out = String::new();
    match result {
        Ok(loaded) => {
            write!(out, "{loaded:?} {loaded:#?} {:?}", loaded.report).unwrap();
            out.push_str(&serde_json::to_string(loaded.report.entries()).unwrap());
            for warning in loaded.report.warnings() {
                write!(out, "{warning} {warning:?}").unwrap();
            }
        }
        Err(error) => {
            write!(out, "{error} {error:#} {error:?} {error:#?} {}", error.code()).unwrap();
            for problem in error.problems() {
                write!(out, "{problem} {problem:?}").unwrap();
            }
            let mut source = std::error::Error::source(error);
            while let Some(cause) = source {
                write!(out, "{cause} {cause:?}").unwrap();
                source = cause.source();
            }
        }
    }
    out
}

/// All that is logged below it, at every level, fields and spans too.
#[derive(Clone, Default)]
pub(crate) struct Logged(Arc<Mutex<String>>);

impl Logged {
    /// Does the work, and returns what was logged meanwhile by this thread.
    pub(crate) fn during(work: impl FnOnce()) -> String {
        let logged = Self::default();
        tracing::dispatcher::with_default(&tracing::Dispatch::new(logged.clone()), work);
        std::mem::take(&mut *logged.0.lock().unwrap())
    }
}

impl tracing::field::Visit for Logged {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        writeln!(self.0.lock().unwrap(), "{field}={value:?}").unwrap();
    }
}

impl tracing::Subscriber for Logged {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        span.record(&mut self.clone());
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, values: &tracing::span::Record<'_>) {
        values.record(&mut self.clone());
    }
    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut self.clone());
    }
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}
