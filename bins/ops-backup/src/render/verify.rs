//! What a verification found, in words.

use super::words;
use ops_backup::VerifyReport;

/// The report; damage first.
pub(super) fn text(report: &VerifyReport) -> String {
    if report.backups.is_empty() && report.problems.is_empty() {
        return "There is no backup to verify.".into();
    }
    let counted = counted(report);
    if report.problems.is_empty() {
        let backups = words::things(report.backups.len() as u64, "backup");
        return match report.complete {
            true => format!("Proven: {backups}. {counted}"),
            false => format!(
                "Nothing wrong was found with {backups}, and none is proven whole: a part was left out. {counted}"
            ),
        };
    }
    let count = words::things(report.problems.len() as u64, "problem").to_uppercase();
    let mut lines = vec![format!("{count}. {counted}")];
    for problem in &report.problems {
        // Most errors name their object themselves.
        let what = problem.what.strip_prefix(&problem.object).unwrap_or(&problem.what);
        lines.push(format!("  {}: {}", problem.object, what.trim_start_matches([':', ' '])));
        if !problem.backups.is_empty() {
            lines.push(format!("      costs {}", problem.backups.join(", ")));
        }
        if !problem.cut_short.is_empty() {
            lines.push(format!("      ends recovery of {}", problem.cut_short.join(", ")));
        }
    }
    lines.join("\n")
}

fn counted(report: &VerifyReport) -> String {
    let mut text = format!(
        "Read: {} with {} of data, {}, {}.",
        words::things(report.packs, "pack"),
        words::bytes(report.raw_bytes),
        words::things(report.wal_files, "WAL file"),
        words::things(report.other_objects, "other object")
    );
    if report.packs_proven_before + report.wal_files_proven_before > 0 {
        text.push_str(&format!(
            " Proven before: {}, {}.",
            words::things(report.packs_proven_before, "pack"),
            words::things(report.wal_files_proven_before, "WAL file")
        ));
    }
    if report.packs_left_out + report.wal_files_left_out > 0 {
        text.push_str(&format!(
            " Not read: {}, {}.",
            words::things(report.packs_left_out, "pack"),
            words::things(report.wal_files_left_out, "WAL file")
        ));
    }
    text
}
