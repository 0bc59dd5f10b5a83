//! Which commit brought an object in, and under which path: asked only where something was found.

use super::git::{Git, failed};
use crate::scan::collect::Collected;
use crate::scan::error::{Error, ErrorKind};
use crate::scan::place::PlaceKind;
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

/// Fills in the oldest commit and its path for every blob that holds a secret.
///
/// One walk over all commits serves all findings. What it does not meet is reachable from no reference and no reflog.
pub(crate) fn fill(git: &Git, collected: &mut Collected) -> Result<(), Error> {
    let places = || collected.secrets.values().flat_map(|secret| &secret.places);
    let mut wanted: BTreeMap<String, Option<(String, String)>> = places()
        .filter(|place| place.kind == PlaceKind::Blob)
        .filter_map(|place| Some((place.object.clone()?, None)))
        .collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let span = tracing::info_span!("locate", objects = wanted.len());
    let _entered = span.enter();
    let args = [
        "log",
        "--all",
        "--reflog",
        // No commit before its children, whatever their clocks said.
        "--topo-order",
        "-m",
        "--raw",
        "--no-abbrev",
        "--no-renames",
        "--no-show-signature",
        "--format=%x01%H",
    ];
    let mut child = git.start(args, Stdio::null())?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    // Whoever fills a pipe that nobody reads waits for ever.
    let complaints = std::thread::spawn(move || {
        stderr.map(std::io::read_to_string).and_then(Result::ok).unwrap_or_default()
    });
    let mut commit = String::new();
    let broken = |source| Error::new(ErrorKind::GitFailed, "git log cannot be read").caused_by(source);
    for line in BufReader::new(stdout.ok_or_else(|| failed("log", ""))?).split(b'\n') {
        let line = line.map_err(broken)?;
        if let Some(id) = line.strip_prefix(b"\x01") {
            commit = String::from_utf8_lossy(id).into_owned();
            continue;
        }
        let line = String::from_utf8_lossy(&line);
        let Some((meta, path)) = line.strip_prefix(':').and_then(|line| line.split_once('\t')) else {
            continue;
        };
        let id = meta.split(' ').nth(3).unwrap_or_default();
        if let Some(found) = wanted.get_mut(id) {
            // The walk goes back in time: the last one that is met is the oldest.
            *found = Some((commit.clone(), path.to_owned()));
        }
    }
    let status = child.wait().map_err(broken)?;
    let said = complaints.join().unwrap_or_default();
    if !status.success() {
        return Err(failed("log", &said));
    }
    for secret in collected.secrets.values_mut() {
        for place in secret.places.iter_mut().filter(|place| place.kind == PlaceKind::Blob) {
            let found = place.object.as_ref().and_then(|id| wanted.get(id)).and_then(Option::as_ref);
            if let Some((commit, path)) = found {
                place.commit = Some(commit.clone());
                place.path = Some(path.clone());
            }
        }
        secret.places.sort();
    }
    Ok(())
}
