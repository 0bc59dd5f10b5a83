//! What an expiry will do, and has done, in words.

use super::words;
use ops_backup::expire::{ExpireSummary, Expired, PlannedWal};

/// Every backup with its reason, and what is freed.
pub(super) fn plan(plan: &ExpireSummary, grace: &str) -> String {
    let mut lines = Vec::new();
    let rows: Vec<Vec<String>> = plan
        .backups
        .iter()
        .map(|backup| {
            let decision = &backup.decision;
            vec![
                if decision.keep { "keep" } else { "EXPIRE" }.to_owned(),
                decision.id.clone(),
                words::moment(backup.finished_at),
                words::bytes(backup.raw_bytes),
                backup.source.clone(),
                decision.reasons.join(", "),
            ]
        })
        .collect();
    lines.extend(words::table(&["", "backup", "ended", "size", "of", "because"], &rows, &[3]));
    lines.extend(plan.dead_jobs.iter().map(|job| format!("GIVE UP job {}: {}", job.id, job.reason)));
    lines.extend(plan.wal.iter().map(wal));
    lines.push(format!(
        "Given up now: {}, {}; an `expire` in {grace} or later removes them.",
        words::things(plan.packs, "pack"),
        words::bytes(plan.bytes)
    ));
    lines.push(format!(
        "Removed now, given up before: {}, {}.",
        words::things(plan.due_packs, "pack"),
        words::bytes(plan.due_bytes)
    ));
    lines.push("Nothing was changed: run it again without --plan.".into());
    lines.join("\n")
}

fn wal(wal: &PlannedWal) -> String {
    let mut text = format!("WAL of {}: kept from {} on", wal.source, wal.first_kept);
    if let Some(reason) = &wal.waits {
        text.push_str(&format!("; nothing happens yet: {reason}"));
        return text;
    }
    if wal.files > 0 {
        text.push_str(&format!(
            "; {}, {} given up now",
            words::things(wal.files, "file"),
            words::bytes(wal.bytes)
        ));
    }
    if wal.due_files > 0 {
        text.push_str(&format!(
            "; {}, {} removed now",
            words::things(wal.due_files, "file"),
            words::bytes(wal.due_bytes)
        ));
    }
    text
}

/// What was done.
pub(super) fn done(done: &Expired, grace: &str) -> String {
    let mut lines = Vec::new();
    match done.backups.as_slice() {
        [] => lines.push("No backup expired.".to_owned()),
        expired => lines.push(format!(
            "{} expired: {}.",
            words::things(expired.len() as u64, "backup"),
            expired.join(", ")
        )),
    }
    if !done.abandoned.is_empty() {
        lines.push(format!("Dead jobs given up: {}.", done.abandoned.join(", ")));
    }
    if done.condemned_packs > 0 {
        lines.push(format!(
            "Given up: {}, {}; an `expire` in {grace} or later removes them.",
            words::things(done.condemned_packs, "pack"),
            words::bytes(done.condemned_bytes)
        ));
    }
    lines.push(format!(
        "Removed: {}, {}, and {}, {}.",
        words::things(done.removed_packs, "pack"),
        words::bytes(done.removed_bytes),
        words::things(done.wal_files, "WAL file"),
        words::bytes(done.wal_bytes)
    ));
    lines.join("\n")
}
