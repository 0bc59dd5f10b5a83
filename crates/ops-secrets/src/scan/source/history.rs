//! The objects of git: every one once, in the order of the packs, as `git cat-file` writes them.
//!
//! A walk over commits sees what a diff shows, and a diff does not show what a merge brought in, what an attribute hides,
//! what a stash or an unreachable commit keeps, or the text of a message. The object database has all of it, each thing
//! once however many commits share it, and reading it is several times faster than making the diffs.

use super::git::{Git, failed};
use crate::scan::collect::{Collected, Collector, WINDOW};
use crate::scan::detect::Detector;
use crate::scan::error::{Error, ErrorKind};
use crate::scan::place::{Place, PlaceKind};
use crate::scan::{Options, Stop};
use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

/// Objects are handed to the workers in heaps of about this many bytes.
const HEAP: usize = 1 << 20;
/// Heaps that wait.
const WAITING: usize = 8;

/// Some objects, in one buffer.
#[derive(Default)]
struct Heap {
    bytes: Vec<u8>,
    objects: Vec<(String, Kind, std::ops::Range<usize>)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Blob,
    Tree,
    Commit,
    Tag,
}

/// Which objects, and what is known of them.
pub(crate) struct Wanted {
    /// The objects by their ids; None means all.
    ids: Option<Vec<String>>,
    /// Paths that are known beforehand.
    paths: BTreeMap<String, String>,
    kind: PlaceKind,
}

impl Wanted {
    /// Every object of the database, reachable or not.
    pub(crate) fn all() -> Self {
        Self { ids: None, paths: BTreeMap::new(), kind: PlaceKind::Blob }
    }

    /// What `HEAD` has and a revision has not.
    pub(crate) fn since(git: &Git, revision: &str) -> Result<Self, Error> {
        let from = git.commit(revision)?;
        let head = git.commit("HEAD")?;
        let text = git.text(["rev-list", "--objects", &head, "--not", &from])?;
        let (mut ids, mut paths) = (Vec::new(), BTreeMap::new());
        for line in text.lines() {
            let (id, path) = line.split_once(' ').unwrap_or((line, ""));
            ids.push(id.to_owned());
            if !path.is_empty() {
                paths.insert(id.to_owned(), path.to_owned());
            }
        }
        Ok(Self { ids: Some(ids), paths, kind: PlaceKind::Blob })
    }

    /// What the index has and `HEAD` has not; also how many changes there are, which deletions count in.
    pub(crate) fn staged(git: &Git, options: &Options) -> Result<(Self, u64, u64), Error> {
        let args = [
            "diff",
            "--cached",
            "--raw",
            "-z",
            "--no-renames",
            "--no-ext-diff",
            "--abbrev=64",
            "--ignore-submodules",
        ];
        let text = git.bytes(args)?;
        let mut fields = text.split(|byte| *byte == 0).map(String::from_utf8_lossy);
        let (mut ids, mut paths, mut changes, mut excluded) = (Vec::new(), BTreeMap::new(), 0, 0);
        while let (Some(meta), Some(path)) = (fields.next().filter(|meta| !meta.is_empty()), fields.next()) {
            changes += 1;
            // `:100644 100644 <old> <new> M`
            let words: Vec<&str> = meta.split(' ').collect();
            let [_, mode, _, id, ..] = words[..] else { continue };
            if id.bytes().all(|byte| byte == b'0') || mode == "160000" {
                continue;
            }
            if options.is_excluded(std::path::Path::new(&*path)) {
                excluded += 1;
                continue;
            }
            ids.push(id.to_owned());
            paths.insert(id.to_owned(), path.into_owned());
        }
        Ok((Self { ids: Some(ids), paths, kind: PlaceKind::Staged }, changes, excluded))
    }

    /// The paths, for the search of names.
    fn names(&self) -> impl Iterator<Item = (Place, &str)> {
        self.paths
            .iter()
            .map(|(id, path)| (Place::of_object(PlaceKind::Name, id, Some(path.clone())), path.as_str()))
    }
}

/// Searches objects.
pub(crate) fn scan(
    git: &Git,
    wanted: &Wanted,
    detector: &Detector,
    options: &Options,
    stop: &Stop,
) -> Result<Collected, Error> {
    let span = tracing::info_span!("scan_objects");
    let _entered = span.enter();
    let mut child = match wanted.ids {
        None => git.start(
            ["cat-file", "--batch-all-objects", "--unordered", "--buffer", "--batch"],
            Stdio::null(),
        )?,
        Some(_) => git.start(["cat-file", "--buffer", "--batch"], Stdio::piped())?,
    };
    let (sender, receiver) = sync_channel(WAITING);
    let shared = Shared {
        receiver: Mutex::new(receiver),
        seen: Mutex::new(HashSet::new()),
        hasher: RandomState::new(),
        wanted,
    };
    let mut all = Collected::default();
    let mut reader = Collector::new(detector, options.largest);
    let ended = std::thread::scope(|scope| {
        let (input, errors) = (child.stdin.take(), child.stderr.take());
        let feed = scope.spawn(move || feed(input, wanted.ids.as_deref().unwrap_or_default()));
        // Whoever fills a pipe that nobody reads waits for ever.
        let complaints = scope.spawn(move || {
            let mut said = String::new();
            errors.map(|mut errors| errors.read_to_string(&mut said));
            said
        });
        let work = || shared.work(Collector::new(detector, options.largest));
        let workers: Vec<_> = (0..options.threads.max(1)).map(|_| scope.spawn(work)).collect();
        let ended = read(&mut child, &sender, &mut reader, wanted, options, stop);
        drop(sender);
        for worker in workers {
            match worker.join() {
                Ok(found) => all.join(found),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        if ended.is_err() {
            let _ = child.kill();
        }
        let _ = feed.join();
        let status = child.wait();
        let said = complaints.join().unwrap_or_default();
        ended?;
        match status {
            Ok(status) if status.success() => Ok(()),
            _ => Err(failed("cat-file", &said)),
        }
    });
    stop.check()?;
    let names: Vec<(Place, &str)> = wanted.names().collect();
    reader.names(names.iter().map(|(place, name)| (place, *name)));
    all.join(reader.done());
    ended.map(|()| all)
}

fn feed(input: Option<std::process::ChildStdin>, ids: &[String]) {
    let Some(mut input) = input else { return };
    let text: String = ids.iter().flat_map(|id| [id.as_str(), "\n"]).collect();
    // A reader that went away says why by its exit code.
    let _ = input.write_all(text.as_bytes());
}

/// Reads git's answer, and hands it on in heaps.
fn read(
    child: &mut Child,
    sender: &SyncSender<Heap>,
    reader: &mut Collector<'_>,
    wanted: &Wanted,
    options: &Options,
    stop: &Stop,
) -> Result<(), Error> {
    let broken = |source| Error::new(ErrorKind::GitFailed, "git cat-file cannot be read").caused_by(source);
    let Some(stdout) = child.stdout.take() else { return Ok(()) };
    let mut stdout = BufReader::with_capacity(HEAP, stdout);
    let (mut heap, mut line) = (Heap::default(), String::new());
    loop {
        line.clear();
        if stop.is_asked() || stdout.read_line(&mut line).map_err(broken)? == 0 {
            break;
        }
        let mut words = line.split_whitespace();
        let (Some(id), Some(kind), size) = (words.next(), words.next(), words.next()) else {
            return Err(failed("cat-file", "an answer without an object"));
        };
        let place = Place::of_object(PlaceKind::Blob, id, wanted.paths.get(id).cloned());
        let Some(size) = size.and_then(|size| size.parse::<usize>().ok()) else {
            // `<id> missing`: the database does not have what it says it has.
            reader.gap(&place, format!("the object is {kind}"));
            continue;
        };
        let kind = match kind {
            "blob" => Kind::Blob,
            "tree" => Kind::Tree,
            "commit" => Kind::Commit,
            _ => Kind::Tag,
        };
        if size > options.largest {
            large(&mut stdout, size, &place, reader).map_err(broken)?;
        } else {
            let start = heap.bytes.len();
            heap.bytes.resize(start + size, 0);
            stdout.read_exact(&mut heap.bytes[start..]).map_err(broken)?;
            heap.objects.push((id.to_owned(), kind, start..start + size));
            if heap.bytes.len() >= HEAP {
                // Only a worker that panicked closes the channel, and its panic is passed on.
                let _ = sender.send(std::mem::take(&mut heap));
            }
        }
        stdout.read_exact(&mut [0]).map_err(broken)?;
    }
    let _ = sender.send(heap);
    Ok(())
}

/// An object that is not held in memory; if it is an archive, it is not judged.
fn large(
    stdout: &mut impl std::io::BufRead,
    size: usize,
    place: &Place,
    reader: &mut Collector<'_>,
) -> std::io::Result<()> {
    let head = stdout.fill_buf()?;
    if crate::scan::unpack::is_archive(head) {
        reader.gap(place, format!("an archive of {} MiB", size >> 20));
    }
    reader.scanned.objects += 1;
    reader.examine_stream(place, stdout.take(size as u64), WINDOW)
}

/// What the workers share.
struct Shared<'a> {
    receiver: Mutex<Receiver<Heap>>,
    /// Names of files that were searched: a name stands in every version of its folder.
    seen: Mutex<HashSet<u64>>,
    hasher: RandomState,
    wanted: &'a Wanted,
}

impl Shared<'_> {
    fn work(&self, mut collector: Collector<'_>) -> Collected {
        loop {
            // The lock is held while it waits: the others would wait for the same heap.
            let heap = self.receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(heap) = heap else { return collector.done() };
            let mut names = Vec::new();
            for (id, kind, span) in &heap.objects {
                let bytes = &heap.bytes[span.clone()];
                collector.scanned.objects += 1;
                let (kind, path) = match kind {
                    Kind::Tree => {
                        self.new_names(id, bytes, &mut names);
                        continue;
                    }
                    Kind::Blob => (self.wanted.kind, self.wanted.paths.get(id).cloned()),
                    Kind::Commit => (PlaceKind::Commit, None),
                    Kind::Tag => (PlaceKind::Tag, None),
                };
                collector.examine(&Place::of_object(kind, id, path), bytes);
            }
            collector.names(names.iter().map(|(place, name): &(Place, String)| (place, name.as_str())));
        }
    }

    /// The names in a tree object that were not searched yet: `<mode> <name>\0<id>`, one after the other.
    fn new_names(&self, tree: &str, mut bytes: &[u8], names: &mut Vec<(Place, String)>) {
        let id_length = tree.len() / 2;
        let mut fresh = Vec::new();
        while let Some(end) = bytes.iter().position(|byte| *byte == 0) {
            let entry = &bytes[..end];
            if let Some(space) = entry.iter().position(|byte| *byte == b' ') {
                fresh.push(&entry[space + 1..]);
            }
            bytes = bytes.get(end + 1 + id_length..).unwrap_or_default();
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        fresh.retain(|name| seen.insert(self.hasher.hash_one(name)));
        drop(seen);
        names.extend(fresh.into_iter().map(|name| {
            let name = String::from_utf8_lossy(name).into_owned();
            (Place::of_object(PlaceKind::Name, tree, Some(name.clone())), name)
        }));
    }
}
