//! `--watch`: runs again when a file changed, or after a while.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};
use tokio_util::sync::CancellationToken;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_millis(300);
/// Deeper folders than this are not looked at.
const DEEPEST: usize = 8;

/// What is known of the files: when each was changed, and how long it is.
type Seen = BTreeMap<PathBuf, (Option<SystemTime>, u64)>;

/// Waits for a change below the paths, or for the time to be over; false where it is to stop.
pub(crate) async fn wait(
    paths: &[PathBuf],
    without: &Path,
    every: Option<Duration>,
    stop: &CancellationToken,
) -> bool {
    let before = look(paths, without);
    let began = Instant::now();
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = stop.cancelled() => return false,
        }
        if every.is_some_and(|every| began.elapsed() >= every) || look(paths, without) != before {
            return true;
        }
    }
}

/// All files below the paths but those of the runs, which change with every run.
fn look(paths: &[PathBuf], without: &Path) -> Seen {
    let mut seen = Seen::new();
    paths.iter().for_each(|path| visit(path, without, 0, &mut seen));
    seen
}

fn visit(path: &Path, without: &Path, depth: usize, seen: &mut Seen) {
    let hidden = |path: &Path| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    if path == without || depth > DEEPEST || (depth > 0 && hidden(path)) {
        return;
    }
    let Ok(metadata) = path.symlink_metadata() else { return };
    if !metadata.is_dir() {
        seen.insert(path.to_path_buf(), (metadata.modified().ok(), metadata.len()));
        return;
    }
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        visit(&entry.path(), without, depth + 1, seen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_is_a_change_and_a_run_is_none() {
        let folder = tempfile::tempdir().expect("a directory");
        let (paths, runs) = ([folder.path().to_path_buf()], folder.path().join("runs"));
        std::fs::create_dir_all(folder.path().join("src")).expect("a directory");
        let before = look(&paths, &runs);
        std::fs::create_dir_all(&runs).expect("a directory");
        std::fs::write(runs.join("verdict.json"), "{}").expect("a file");
        assert_eq!(look(&paths, &runs), before);
        std::fs::write(folder.path().join("src/main.rs"), "fn main() {}").expect("a file");
        assert_ne!(look(&paths, &runs), before);
    }
}
