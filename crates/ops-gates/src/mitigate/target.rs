//! What a mitigation changes: reading its state, and moving it between the two that are known beforehand.

use super::policy::{Commands, Mitigation};
use crate::error::{Error, ErrorKind};
use crate::process::{Capture, End, Job, Masker, run};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What every command gets of our environment.
const HARMLESS: [&str; 8] = ["PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR"];
/// How long a command may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long processes have between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(2);
/// The largest file that is a flag, and the longest state.
const LIMIT: usize = 64 * 1024;

/// What is changed, with everything that taking it back needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Target {
    /// A file, by its real path, and its whole text without and with the mitigation.
    File { path: PathBuf, off: String, on: String },
    /// Commands.
    Command(Commands),
}

/// In which of the states it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    Off,
    On,
    /// Neither, and what was seen.
    Other(String),
}

/// Where commands run, and where their output goes.
pub(super) struct Place {
    pub(super) directory: PathBuf,
    pub(super) capture: Option<Arc<Capture>>,
    pub(super) cancel: CancellationToken,
}

impl Place {
    /// A place whose commands log to a new file of a directory.
    pub(super) fn logging(
        directory: &Path,
        log: &Path,
        masker: Option<&Masker>,
        cancel: CancellationToken,
    ) -> Result<Self, Error> {
        let cannot = |error| Error::io(ErrorKind::EvidenceNotWritten, "write", log, error);
        let capture = Capture::create(log, masker.cloned()).map_err(cannot)?;
        Ok(Self { directory: directory.to_path_buf(), capture: Some(Arc::new(capture)), cancel })
    }
}

impl Target {
    /// Finds what a mitigation would change. Changes nothing.
    pub(super) fn aim(mitigation: &Mitigation, directory: &Path) -> Result<Self, String> {
        if let Some(command) = &mitigation.command {
            return Ok(Self::Command(command.clone()));
        }
        let (file, on) = match (&mitigation.flag, &mitigation.throttle) {
            (Some(flag), _) => (&flag.file, flag.on.trim().to_owned()),
            (_, Some(throttle)) => (&throttle.file, throttle.on.to_string()),
            _ => return Err("it changes nothing".to_owned()),
        };
        // The real one: a link must not be replaced by a file.
        let path = directory.join(file);
        let path = path.canonicalize().map_err(|error| format!("cannot find {}: {error}", path.display()))?;
        let text = read(&path)?;
        let value = text.trim();
        match &mitigation.flag {
            Some(flag) if value == flag.on.trim() => {
                return Err(format!("{} is `{value}` already; nobody knows who did that", path.display()));
            }
            Some(flag) if value != flag.off.trim() => {
                return Err(format!(
                    "{} is `{}`, neither `{}` nor `{}`",
                    path.display(),
                    brief(value),
                    flag.off.trim(),
                    flag.on.trim()
                ));
            }
            Some(_) => {}
            None => {
                let number: Result<f64, _> = value.parse();
                if !number.is_ok_and(f64::is_finite) {
                    return Err(format!("{} is `{}`, not a number", path.display(), brief(value)));
                }
                if value == on {
                    return Err(format!("{} is {value} already", path.display()));
                }
            }
        }
        let on = if text.ends_with('\n') { format!("{on}\n") } else { on };
        Ok(Self::File { path, off: text, on })
    }

    /// In which state it is.
    pub(super) async fn seen(&self, place: &Place) -> Result<Seen, String> {
        let (seen, off, on) = match self {
            Self::File { path, off, on } => (read(path)?, off.as_str(), on.as_str()),
            Self::Command(command) => {
                let printed = place.run(&command.state).await?;
                let printed = String::from_utf8_lossy(&printed).trim().to_owned();
                (printed, command.off.trim(), command.on.trim())
            }
        };
        Ok(match seen {
            seen if seen == off => Seen::Off,
            seen if seen == on => Seen::On,
            other => Seen::Other(brief(other.trim())),
        })
    }

    /// Brings the mitigation about, or takes it back. Of a file, one or the other is there at any time, also after a power failure.
    pub(super) async fn put(&self, is_on: bool, place: &Place) -> Result<(), String> {
        match self {
            Self::File { path, off, on } => {
                let text = if is_on { on } else { off };
                replace(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
            }
            Self::Command(command) => {
                let argv = if is_on { &command.apply } else { &command.undo };
                place.run(argv).await.map(drop)
            }
        }
    }

    /// Whether it may be found half-way between its states.
    pub(super) fn can_be_half_way(&self) -> bool {
        matches!(self, Self::Command(_))
    }

    /// What a person would type.
    pub(super) fn undo_by_hand(&self) -> String {
        match self {
            Self::File { path, off, .. } => {
                let text = off.replace('\'', "'\\''");
                format!("printf %s '{text}' > {}", path.display())
            }
            Self::Command(command) => command.undo.join(" "),
        }
    }
}

impl Place {
    /// Runs a command to its end, which must be a success, and returns what it printed.
    pub(super) async fn run(&self, argv: &[String]) -> Result<Vec<u8>, String> {
        let Some((program, arguments)) = argv.split_first() else {
            return Err("it names no program".to_owned());
        };
        let Some(capture) = &self.capture else { return Err("commands are not run to look".to_owned()) };
        capture.note(&format!("$ {}", argv.join(" ")));
        let environment = HARMLESS.iter().filter_map(|name| Some(((*name).into(), std::env::var_os(name)?)));
        let job = Job {
            program: program.into(),
            arguments: arguments.iter().map(Into::into).collect(),
            directory: self.directory.clone(),
            environment: environment.collect(),
            marker: format!("mitigate-{}-{:016x}", std::process::id(), rand::random::<u64>()),
            roots: None,
            timeout: PATIENCE,
            grace: GRACE,
        };
        let ended = run(job, None, LIMIT, capture, &self.cancel).await;
        let ended = ended.map_err(|error| format!("cannot run `{program}`: {error}"))?;
        match ended.end {
            End::Exited(status) if status.success() => Ok(ended.stdout),
            End::Exited(status) => Err(format!("`{program}` ended with {status}; its output is in the log")),
            End::TimedOut => Err(format!("`{program}` did not end within {} s", PATIENCE.as_secs())),
            End::Cancelled => Err(format!("`{program}` was interrupted")),
        }
    }
}

fn read(path: &Path) -> Result<String, String> {
    let wrong = |what: &dyn std::fmt::Display| format!("cannot read {}: {what}", path.display());
    let metadata = fs::metadata(path).map_err(|error| wrong(&error))?;
    if !metadata.is_file() || metadata.len() > LIMIT as u64 {
        return Err(wrong(&"it is no file, or too long to be a flag"));
    }
    fs::read_to_string(path).map_err(|error| wrong(&error))
}

/// Replaces the text of a file whole; its owner and mode stay.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let metadata = fs::metadata(path)?;
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(std::io::ErrorKind::InvalidInput.into());
    };
    let part = folder.join(format!(".{}.ops-gate.part", name.to_string_lossy()));
    let mut file = File::create(&part)?;
    file.write_all(text.as_bytes())?;
    let own = file.metadata()?;
    if (own.uid(), own.gid()) != (metadata.uid(), metadata.gid()) {
        chown(&part, Some(metadata.uid()), Some(metadata.gid()))?;
    }
    file.set_permissions(metadata.permissions())?;
    file.sync_all()?;
    fs::rename(&part, path)?;
    File::open(folder)?.sync_all()
}

fn brief(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() > 80 {
        format!("{} …", line.chars().take(80).collect::<String>())
    } else {
        line.to_owned()
    }
}
