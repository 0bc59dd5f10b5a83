//! Finds secrets that were committed, or are about to be.
//!
//! A scan has four steps. (1) Its objects are listed: files of a working tree, what is staged, what is new since a
//! revision, or every object that git has. (2) Workers search them, archives and texts inside texts included; what is found
//! is kept by value, with its places. (3) Places in the history are looked up: which commit, which path. (4) Findings are
//! compared with what the team has decided, and the verdict is given.
//!
//! It fails closed: a clone without its history, a file that cannot be read, or a git that ends early is never *clean*.
//! It writes nothing, changes nothing and asks nobody over a network, so a crash leaves nothing. No value leaves it: a
//! report holds a rule, a public prefix and a keyed fingerprint.
//!
//! ```
//! use ops_secrets::scan::{Options, Target, Verdict, scan};
//!
//! let text = format!("url = postgres://app:{}@db.internal/app", "k7Gx0q2vPz");
//! let report = scan(Target::Stream(Box::new(std::io::Cursor::new(text))), Options::default())?;
//! assert_eq!(report.verdict, Verdict::Found);
//! assert_eq!((report.findings[0].rule, report.findings[0].preview.as_str()), ("connection-string", "********"));
//! # Ok::<(), ops_secrets::scan::Error>(())
//! ```

mod accepted;
mod collect;
mod detect;
mod error;
mod fingerprint;
mod place;
mod report;
mod rules;
mod source;
mod unpack;

pub use accepted::{Baseline, Suppression, Suppressions};
pub use collect::Scanned;
pub use error::{Error, ErrorKind};
pub use place::{Gap, Place, PlaceKind};
pub use report::{Finding, Report, State, Verdict};
pub use rules::{Rule, Tier, all as rules};

use self::collect::{Collected, Collector, WINDOW};
use self::detect::Detector;
use self::fingerprint::Fingerprints;
use self::report::Judge;
use self::source::git::Git;
use self::source::history::{self, Wanted};
use self::source::{locate, tree};
use crate::Secret;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// What is searched.
#[non_exhaustive]
pub enum Target {
    /// A folder or file. In a git repository: what is tracked, and what is new and not ignored.
    Tree(PathBuf),
    /// A working tree, and every object of its repository.
    History(PathBuf),
    /// What is staged for the next commit of the repository that a folder is in.
    Staged(PathBuf),
    /// What `HEAD` has and a revision has not.
    Since(PathBuf, String),
    /// A stream, to its end.
    Stream(Box<dyn Read + Send>),
}

impl Target {
    fn path(&self) -> Option<&Path> {
        match self {
            Self::Tree(path) | Self::History(path) | Self::Staged(path) | Self::Since(path, _) => Some(path),
            Self::Stream(_) => None,
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tree(path) => f.debug_tuple("Tree").field(path).finish(),
            Self::History(path) => f.debug_tuple("History").field(path).finish(),
            Self::Staged(path) => f.debug_tuple("Staged").field(path).finish(),
            Self::Since(path, revision) => f.debug_tuple("Since").field(path).field(revision).finish(),
            Self::Stream(_) => f.write_str("Stream"),
        }
    }
}

/// How it is searched.
#[derive(Debug)]
pub struct Options {
    /// Secrets that are in use, by name: each of them may stand nowhere, in none of its forms.
    pub known: Vec<(String, Secret)>,
    /// Findings that somebody answers for.
    pub suppressions: Suppressions,
    /// Findings that were there before; they are reported and do not block.
    pub baseline: Baseline,
    /// A key for the fingerprints, so that nobody without it can test a guess against one.
    pub fingerprint_key: Option<Secret>,
    /// Also files that git ignores.
    pub ignored: bool,
    /// Patterns of paths that are left out, and counted. They do not hold for the history, where a path is a matter of commits.
    pub exclude: Vec<glob::Pattern>,
    /// Likely findings block too.
    pub strict: bool,
    /// Bytes of an object or of an archive's content that are held in memory; an archive above it is a gap.
    pub largest: usize,
    /// How many threads search.
    pub threads: usize,
    /// The time by which suppressions and tokens expire.
    pub now: SystemTime,
    /// Ends the scan when it becomes true.
    pub stop: Option<Arc<AtomicBool>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            known: Vec::new(),
            suppressions: Suppressions::default(),
            baseline: Baseline::default(),
            fingerprint_key: None,
            ignored: false,
            exclude: Vec::new(),
            strict: false,
            largest: 32 << 20,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            now: SystemTime::now(),
            stop: None,
        }
    }
}

impl Options {
    pub(crate) fn is_excluded(&self, path: &Path) -> bool {
        self.exclude.iter().any(|pattern| pattern.matches_path(path))
    }

    fn seconds(&self) -> u64 {
        self.now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }
}

/// Searches one target.
///
/// # Errors
/// Those of [`Scanner::new`] and [`Scanner::scan`].
pub fn scan(target: Target, options: Options) -> Result<Report, Error> {
    Scanner::new(options)?.scan(target)
}

/// The rules, made ready once for any number of targets.
pub struct Scanner {
    detector: Detector,
    options: Options,
}

impl fmt::Debug for Scanner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scanner").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Scanner {
    /// Makes the rules ready.
    ///
    /// # Errors
    /// Fails where a known value is so short that it would be found everywhere.
    pub fn new(options: Options) -> Result<Self, Error> {
        let shortest = detect::SHORTEST_KNOWN;
        for (name, value) in &options.known {
            if value.expose_secret().trim().len() < shortest {
                let text = format!(
                    "the value of {name} has fewer than {shortest} characters: it would be found everywhere"
                );
                return Err(Error::new(ErrorKind::InvalidOption, text));
            }
        }
        let known = options.known.iter().map(|(name, value)| (name.as_str(), value.expose_secret().as_str()));
        Ok(Self { detector: Detector::new(known, options.seconds()), options })
    }

    /// Searches a target.
    ///
    /// # Errors
    /// Fails where the target cannot be searched at all: no repository where one is needed, a clone without its history,
    /// an unknown revision, a path that cannot be read. Parts that cannot be searched are gaps of the report.
    pub fn scan(&self, target: Target) -> Result<Report, Error> {
        let (detector, options) = (&self.detector, &self.options);
        let stop = Stop(options.stop.clone());
        let mut may_be_nothing = false;
        let complete = matches!(target, Target::History(_));
        let path = target.path().map(Path::to_path_buf);
        let (collected, excluded) = match target {
            Target::Tree(path) => tree::scan(&path, detector, options, &stop)?,
            Target::History(path) => {
                let git = Git::open(&path)?;
                git.require_history()?;
                // Of a bare repository the settings are all that is no object, and they may be missing.
                let files = if git.has_work_tree()? { path } else { git.config()? };
                let (mut collected, excluded) = match files.exists() {
                    true => tree::scan(&files, detector, options, &stop)?,
                    false => (Collected::default(), 0),
                };
                collected.join(history::scan(&git, &Wanted::all(), detector, options, &stop)?);
                locate::fill(&git, &mut collected)?;
                (collected, excluded)
            }
            Target::Since(path, revision) => {
                let git = Git::open(&path)?;
                git.require_history()?;
                let wanted = Wanted::since(&git, &revision)?;
                let mut collected = history::scan(&git, &wanted, detector, options, &stop)?;
                locate::fill(&git, &mut collected)?;
                (collected, 0)
            }
            Target::Staged(path) => {
                let git = Git::open(&path)?;
                let (wanted, changes, excluded) = Wanted::staged(&git, options)?;
                // A commit that only deletes has nothing to search, and nothing to hide.
                may_be_nothing = changes > 0;
                (history::scan(&git, &wanted, detector, options, &stop)?, excluded)
            }
            Target::Stream(stream) => (self::stream(stream, detector, options)?, 0),
        };
        let key = options.fingerprint_key.as_ref().map(|key| key.expose_secret().as_str());
        // Two calls of git, which a hook with nothing to say need not wait for.
        let salt = if collected.is_empty() { String::new() } else { salt(path.as_deref(), options) };
        let judge = Judge {
            fingerprints: Fingerprints::new(&salt, key),
            suppressions: &options.suppressions,
            baseline: &options.baseline,
            now: options.seconds(),
            strict: options.strict,
            complete,
        };
        Ok(judge.report(collected, excluded, may_be_nothing))
    }
}

fn stream(
    mut stream: Box<dyn Read + Send>,
    detector: &Detector,
    options: &Options,
) -> Result<Collected, Error> {
    let unreadable =
        |source| Error::new(ErrorKind::Unreadable, "the stream cannot be read").caused_by(source);
    let mut collector = Collector::new(detector, options.largest);
    let place = Place::new(PlaceKind::Stream, None);
    let mut head = Vec::new();
    stream.by_ref().take(options.largest as u64).read_to_end(&mut head).map_err(unreadable)?;
    if head.len() < options.largest {
        if !head.is_empty() {
            collector.examine(&place, &head);
            collector.scanned.files = 1;
        }
        return Ok(collector.done());
    }
    if unpack::is_archive(&head) {
        collector.gap(&place, format!("an archive of more than {} MiB", options.largest >> 20));
    }
    collector.examine_stream(&place, head.chain(stream), WINDOW).map_err(unreadable)?;
    collector.scanned.files = 1;
    Ok(collector.done())
}

/// What makes the fingerprints of one repository differ from those of another: the file's own salt, else where the
/// repository came from, else the name of the folder.
fn salt(path: Option<&Path>, options: &Options) -> String {
    if let Some(salt) = &options.suppressions.salt {
        return salt.clone();
    }
    let Some(path) = path else { return String::new() };
    let origin = Git::discover(path)
        .ok()
        .flatten()
        .and_then(|git| git.text(["config", "--get", "remote.origin.url"]).ok());
    let folder =
        || std::fs::canonicalize(path).ok()?.file_name().map(|name| name.to_string_lossy().into_owned());
    // The user part of a URL is who cloned it, and may be a token; owner and name are the same by any protocol.
    let origin = origin.map(|url| {
        let path = url.trim().trim_end_matches('/').trim_end_matches(".git").to_owned();
        path.rsplit(['@', '/', ':']).take(2).collect::<Vec<_>>().join("/")
    });
    origin.or_else(folder).unwrap_or_default()
}

/// The wish to stop.
pub(crate) struct Stop(Option<Arc<AtomicBool>>);

impl Stop {
    pub(crate) fn is_asked(&self) -> bool {
        self.0.as_ref().is_some_and(|stop| stop.load(Ordering::Relaxed))
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.is_asked() {
            Err(Error::new(ErrorKind::Stopped, "the scan was stopped before its end"))
        } else {
            Ok(())
        }
    }
}
