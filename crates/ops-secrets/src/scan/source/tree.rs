//! A working tree: which files it has, and the work on them.

use super::git::Git;
use crate::scan::collect::{Collected, Collector, WINDOW};
use crate::scan::detect::Detector;
use crate::scan::error::{Error, ErrorKind};
use crate::scan::place::{Place, PlaceKind};
use crate::scan::{Options, Stop};
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The files of a tree, relative to its root, and how many were left out by pattern.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    files: Vec<PathBuf>,
    excluded: u64,
    /// Folders that cannot be listed.
    unreadable: Vec<(PathBuf, String)>,
}

/// Searches all files of a tree.
pub(crate) fn scan(
    root: &Path,
    detector: &Detector,
    options: &Options,
    stop: &Stop,
) -> Result<(Collected, u64), Error> {
    let span = tracing::info_span!("scan_tree", root = %root.display());
    let _entered = span.enter();
    let meta = fs::metadata(root).map_err(|source| {
        Error::new(ErrorKind::Unreadable, format!("{} cannot be read", root.display())).caused_by(source)
    })?;
    if !meta.is_dir() {
        let (folder, name) = (root.parent().unwrap_or(Path::new("")), root.file_name().unwrap_or_default());
        let listing = Listing { files: vec![name.into()], ..Listing::default() };
        return examine(folder, listing, detector, options, stop);
    }
    let listing = list(root, options)?;
    tracing::debug!(files = listing.files.len(), "listed");
    examine(root, listing, detector, options, stop)
}

fn examine(
    root: &Path,
    listing: Listing,
    detector: &Detector,
    options: &Options,
    stop: &Stop,
) -> Result<(Collected, u64), Error> {
    let next = AtomicUsize::new(0);
    let files = &listing.files;
    let mut all = Collected::default();
    std::thread::scope(|scope| {
        let work = || {
            let mut collector = Collector::new(detector, options.largest);
            let mut buffer = Vec::new();
            while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                if stop.is_asked() {
                    break;
                }
                one(root, file, &mut collector, &mut buffer, options.largest);
            }
            collector.done()
        };
        let workers: Vec<_> = (0..options.threads.max(1)).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            // A worker has no reason to panic; if one does, its files are not judged.
            match worker.join() {
                Ok(found) => all.join(found),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    stop.check()?;
    let mut collector = Collector::new(detector, options.largest);
    let places: Vec<(Place, String)> = files
        .iter()
        .map(|file| {
            let path = file.display().to_string();
            (Place::new(PlaceKind::Name, Some(path.clone())), path)
        })
        .collect();
    collector.names(places.iter().map(|(place, name)| (place, name.as_str())));
    for (folder, reason) in listing.unreadable {
        collector.gap(&Place::new(PlaceKind::File, Some(folder.display().to_string())), reason);
    }
    all.join(collector.done());
    Ok((all, listing.excluded))
}

/// Examines one file; what vanished since it was listed is no gap, and what cannot be read is one.
fn one(root: &Path, file: &Path, collector: &mut Collector<'_>, buffer: &mut Vec<u8>, largest: usize) {
    let path = root.join(file);
    let place = Place::new(PlaceKind::File, Some(file.display().to_string()));
    let meta = match fs::symlink_metadata(&path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
        Err(error) => return collector.gap(&place, format!("cannot be read: {error}")),
    };
    if meta.is_symlink() {
        if let Ok(target) = fs::read_link(&path) {
            collector.scanned.files += 1;
            let target = String::from_utf8_lossy(target.as_os_str().as_bytes()).into_owned();
            let place = Place { kind: PlaceKind::Link, ..place };
            collector.examine(&place, target.as_bytes());
        }
        return;
    }
    // A pipe or a device would never end.
    if !meta.is_file() {
        return;
    }
    let read = File::open(&path).and_then(|mut opened| {
        if meta.len() > largest as u64 {
            if starts_like_archive(&path) {
                collector.gap(&place, format!("an archive of more than {} MiB", largest >> 20));
            }
            return collector.examine_stream(&place, opened, WINDOW);
        }
        buffer.clear();
        opened.read_to_end(buffer)?;
        collector.examine(&place, buffer);
        Ok(())
    });
    match read {
        Ok(()) => collector.scanned.files += 1,
        Err(error) => collector.gap(&place, format!("cannot be read: {error}")),
    }
}

fn starts_like_archive(path: &Path) -> bool {
    let mut head = vec![0; 1024];
    let read = File::open(path).and_then(|mut file| file.read(&mut head)).unwrap_or(0);
    crate::scan::unpack::is_archive(&head[..read])
}

/// The files to search: those that git would track where there is git, else all.
fn list(root: &Path, options: &Options) -> Result<Listing, Error> {
    let mut listing = Listing::default();
    let git = Git::discover(root)?;
    match git {
        Some(git) if !options.ignored && git.has_work_tree()? => {
            let names = git.bytes(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])?;
            let mut last: &[u8] = b"";
            for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
                // A path in conflict stands there once a side.
                if name == last {
                    continue;
                }
                last = name;
                let path = PathBuf::from(std::ffi::OsString::from_vec(name.to_vec()));
                // A repository inside this one is a folder to git.
                if root.join(&path).is_dir() && !root.join(&path).is_symlink() {
                    walk(root, &path, options, &mut listing);
                } else {
                    listing.add(path, options);
                }
            }
            if root.join(".git").is_dir() {
                listing.add(PathBuf::from(".git/config"), options);
            }
        }
        _ => walk(root, Path::new(""), options, &mut listing),
    }
    listing.files.sort();
    Ok(listing)
}

impl Listing {
    fn add(&mut self, path: PathBuf, options: &Options) {
        if options.is_excluded(&path) {
            self.excluded += 1;
        } else {
            self.files.push(path);
        }
    }
}

/// All files below a folder, without following links; of `.git` the settings, which may hold a token in a URL.
fn walk(root: &Path, folder: &Path, options: &Options, listing: &mut Listing) {
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(root.join(&folder)) {
            Ok(entries) => entries,
            Err(error) => {
                listing.unreadable.push((folder, format!("cannot be listed: {error}")));
                continue;
            }
        };
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    listing.unreadable.push((folder.clone(), format!("cannot be listed: {error}")));
                    break;
                }
            };
            let path = folder.join(entry.file_name());
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_folder && entry.file_name() == ".git" {
                listing.add(path.join("config"), options);
            } else if is_folder {
                folders.push(path);
            } else {
                listing.add(path, options);
            }
        }
    }
}
