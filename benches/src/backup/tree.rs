//! A directory tree of a million small files: the memory of every job.

use super::programs::Ours;
use crate::measure::{self, Cost};
use anyhow::Result;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// Files in the tree, 1,000 in a directory.
const FILES: u32 = 1_000_000;

/// What each job of ours cost. It runs once: memory hardly differs from run to run.
pub(crate) fn run(home: &Path) -> Result<Vec<(&'static str, Cost)>> {
    let tree = home.join("tree");
    make(&tree)?;
    let ours = Ours::new(home, "ours-tree");
    ours.fresh()?;
    let root = tree.display().to_string();
    let to = home.join("restored-tree").display().to_string();
    let backup: &[&str] = &["backup", "--tree", &root, "--name", "tree"];
    let jobs: [(&str, Vec<&str>); 8] = [
        ("backup", backup.to_vec()),
        ("backup, unchanged", backup.to_vec()),
        ("backup, every file read and compared", [backup, &["--check-all"]].concat()),
        ("list", vec!["list"]),
        ("restore --plan", vec!["restore", "--tree", "tree", "--to", &to, "--plan"]),
        ("restore", vec!["restore", "--tree", "tree", "--to", &to]),
        ("verify", vec!["verify"]),
        ("expire", vec!["expire", "--keep-last", "1", "--grace", "0s"]),
    ];
    let mut costs = Vec::new();
    for (job, command) in jobs {
        let cost = measure::run(&ours.words(&command))?;
        eprintln!("a million files: {job} in {:.1} s, {:.0} MB", cost.wall, cost.memory as f64 / 1e6);
        costs.push((job, cost));
    }
    Ok(costs)
}

/// Files of 20 to 1,000 bytes that all differ.
fn make(tree: &Path) -> Result<()> {
    eprintln!("making a tree of {FILES} files");
    let mut text = String::new();
    for number in 0..FILES {
        let folder = tree.join(format!("department-{:02}/project-{:04}", number / 100_000, number / 1_000));
        if number % 1_000 == 0 {
            fs::create_dir_all(&folder)?;
        }
        text.clear();
        let mut state = u64::from(number) | 1 << 40;
        for _ in 0..1 + number % 50 {
            state = state.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
            write!(text, "{state:020}")?;
        }
        fs::write(folder.join(format!("document-{number:07}.txt")), &text)?;
    }
    Ok(())
}
