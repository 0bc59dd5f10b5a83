//! What each scanner finds of the corpus, and what it says of files that have nothing.

use crate::corpus::{Sample, generate};
use crate::measure;
use crate::peers::{Scanner, command};
use anyhow::Result;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// One scanner's marks.
#[derive(Debug, Serialize)]
pub(crate) struct Marks {
    scanner: &'static str,
    absent: bool,
    recall: f64,
    precision: f64,
    found: usize,
    missed: usize,
    wrong: usize,
    /// Found of how many, by family; of files without a secret, how many were named.
    families: BTreeMap<&'static str, (usize, usize)>,
}

/// Runs all scanners over the corpus.
pub(crate) fn table(scanners: &[Scanner], home: &Path) -> Result<Vec<Marks>> {
    let corpus = generate(1);
    let folder = home.join("corpus");
    for sample in &corpus {
        let path = folder.join(&sample.path);
        fs::create_dir_all(path.parent().unwrap_or(&folder))?;
        fs::write(path, &sample.bytes)?;
    }
    scanners.iter().map(|scanner| marks(scanner, &corpus, &folder, home)).collect()
}

fn marks(scanner: &Scanner, corpus: &[Sample], folder: &Path, home: &Path) -> Result<Marks> {
    let report = home.join(format!("{}.report", scanner.name));
    let mut named = BTreeSet::new();
    if let Some(program) = &scanner.program {
        measure::run(&command(program, scanner.tree, folder, &report))?;
        named = numbers(&fs::read(&report).unwrap_or_default());
    }
    let mut families: BTreeMap<&'static str, (usize, usize)> = BTreeMap::new();
    let (mut found, mut missed, mut wrong) = (0, 0, 0);
    for (index, sample) in corpus.iter().enumerate() {
        let is_named = named.contains(&(sample.secret, index));
        let family = families.entry(sample.family).or_default();
        family.0 += usize::from(is_named);
        family.1 += 1;
        match (sample.secret, is_named) {
            (true, true) => found += 1,
            (true, false) => missed += 1,
            (false, true) => wrong += 1,
            (false, false) => {}
        }
    }
    let share = |part: usize, whole: usize| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
    Ok(Marks {
        scanner: scanner.name,
        absent: scanner.program.is_none(),
        recall: share(found, found + missed),
        precision: share(found, found + wrong),
        found,
        missed,
        wrong,
        families,
    })
}

/// The files that a report names, in whatever format: each stands below `yes/0000/` or `no/0000/`.
fn numbers(report: &[u8]) -> BTreeSet<(bool, usize)> {
    let mut found = BTreeSet::new();
    for (at, _) in report.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
        let digits =
            report.get(at + 1..at + 5).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        let is_end = report.get(at + 5) == Some(&b'/');
        match digits {
            Some(number) if is_end && report[..at].ends_with(b"yes") => found.insert((true, number)),
            Some(number) if is_end && report[..at].ends_with(b"no") => found.insert((false, number)),
            _ => continue,
        };
    }
    found
}

/// The table for people.
pub(crate) fn text(all: &[Marks]) -> String {
    let mut text = String::from("scanner          recall  precision  found missed  wrong\n");
    for marks in all {
        if marks.absent {
            let _ = writeln!(text, "{:16} absent", marks.scanner);
            continue;
        }
        let _ = writeln!(
            text,
            "{:16} {:>6.3}  {:>9.3}  {:>5}  {:>5}  {:>5}",
            marks.scanner, marks.recall, marks.precision, marks.found, marks.missed, marks.wrong
        );
    }
    let present: Vec<&Marks> = all.iter().filter(|marks| !marks.absent).collect();
    let _ = writeln!(text, "\nfamily: named of all");
    for family in present.first().into_iter().flat_map(|marks| marks.families.keys()) {
        let cells: Vec<String> = present
            .iter()
            .map(|marks| {
                let (named, all) = marks.families.get(family).copied().unwrap_or_default();
                format!("{} {named}/{all}", marks.scanner)
            })
            .collect();
        let _ = writeln!(text, "  {family:12} {}", cells.join("  "));
    }
    text
}
