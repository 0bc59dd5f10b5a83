//! What the repository holds, in words.

use super::words;
use jiff::Timestamp;
use ops_backup::Inventory;
use ops_backup::list::{
    BackupInventory, ClusterInventory, JobInventory, TimelineInventory, TreeInventory, Window,
};

/// The whole inventory as of `now`.
pub(super) fn text(inventory: &Inventory, now: Timestamp) -> String {
    let mut lines = Vec::new();
    for (number, damage) in &inventory.damaged_records {
        lines.push(format!(
            "Record {number} of the log cannot be read ({damage}): what it said is missing here."
        ));
    }
    if inventory.clusters.is_empty() && inventory.trees.is_empty() {
        lines.push("The repository holds no backup yet.".into());
    }
    for listed in &inventory.clusters {
        cluster(listed, now, &mut lines);
    }
    for listed in &inventory.trees {
        tree(listed, now, &mut lines);
    }
    jobs(inventory, now, &mut lines);
    if inventory.condemned_packs > 0 {
        lines.push(format!(
            "{} ({}) that nothing needs will be removed by `expire` after the grace time.",
            words::things(inventory.condemned_packs, "pack"),
            words::bytes(inventory.condemned_bytes)
        ));
    }
    if !inventory.encrypted {
        lines.push("The repository is not encrypted.".into());
    }
    lines.join("\n")
}

fn cluster(listed: &ClusterInventory, now: Timestamp, lines: &mut Vec<String>) {
    let ClusterInventory { cluster, backups, wal, windows } = listed;
    lines.push(format!("Cluster {} (PostgreSQL {})", cluster.system_identifier, cluster.major));
    table(backups, now, lines);
    for wal in wal {
        lines.push(format!("  {}", timeline(wal)));
    }
    if windows.is_empty() {
        lines.push("  NOTHING CAN BE RESTORED: see the problems above.".into());
    }
    lines.extend(windows.iter().map(|shown| format!("  {}", window(shown))));
    lines.push(String::new());
}

fn tree(listed: &TreeInventory, now: Timestamp, lines: &mut Vec<String>) {
    lines.push(format!("Tree {}", listed.name));
    table(&listed.backups, now, lines);
    lines.push(String::new());
}

fn table(backups: &[BackupInventory], now: Timestamp, lines: &mut Vec<String>) {
    let when = |time: Option<Timestamp>| {
        time.map_or("never".to_owned(), |time| format!("{} ago", words::age(time, now)))
    };
    let rows: Vec<Vec<String>> = backups
        .iter()
        .map(|item| {
            let backup = &item.backup;
            let wal = backup
                .postgres()
                .map_or_else(|| "-".into(), |facts| format!("{} - {}", facts.start_lsn, facts.stop_lsn));
            vec![
                format!("  {}", backup.id),
                words::age(backup.finished_at, now),
                words::took(item.seconds),
                words::bytes(backup.raw_bytes),
                words::bytes(backup.added_bytes),
                wal,
                when(item.verified),
                when(item.rehearsed),
            ]
        })
        .collect();
    let head = ["  backup", "age", "took", "size", "added", "WAL", "verified", "rehearsed"];
    let mut table = words::table(&head, &rows, &[1, 2, 3, 4]).into_iter();
    lines.extend(table.next());
    for (line, item) in table.zip(backups) {
        lines.push(line);
        lines.extend(problems(item).into_iter().map(|problem| format!("      ! {problem}")));
    }
}

fn problems(item: &BackupInventory) -> Vec<String> {
    let mut problems = Vec::new();
    if let Some(at) = item.damaged {
        problems.push(format!("found damaged by the verification of {}", words::moment(at)));
    }
    if item.backup.bad_pages > 0 {
        let pages = words::things(item.backup.bad_pages, "page");
        problems.push(format!("{pages} had a wrong checksum when the backup was taken"));
    }
    let audit = item.backup.postgres().and_then(|facts| facts.audit.as_ref());
    if let Some(audit) = audit.filter(|audit| audit.stale_pages > 0) {
        let pages = words::things(audit.stale_pages, "page");
        problems.push(format!(
            "it found that {} had lost a change of {pages}: do not trust the line of changes before it",
            audit.backup
        ));
    }
    match &item.replay {
        Some(_) if !item.recoverable && item.damaged.is_none() => {
            problems.push("the WAL that makes it consistent is missing: it cannot be restored".into());
        }
        Some(replay) => {
            if let Some(gap) = &replay.gap {
                problems.push(format!(
                    "WAL segment {gap} is missing: it cannot be recovered past {}",
                    replay.recoverable_until
                ));
            }
        }
        None => {}
    }
    problems
}

fn timeline(wal: &TimelineInventory) -> String {
    let (Some(first), Some(last)) = (&wal.first, &wal.last) else {
        return format!("WAL of timeline {}: none", wal.timeline);
    };
    let missing = match wal.missing {
        0 => "none missing".to_owned(),
        count => format!("{} MISSING", words::things(count, "segment").to_uppercase()),
    };
    let received = wal.received_until.map(|lsn| format!("; received until {lsn}")).unwrap_or_default();
    format!(
        "WAL of timeline {}: {}, {first} to {last}, {missing}{received}",
        wal.timeline,
        words::things(wal.segments, "segment")
    )
}

pub(super) fn window(window: &Window) -> String {
    let from = words::moment(window.from);
    let until = match window.until {
        Some(until) => format!("about {} ({})", words::moment(until), window.until_lsn),
        None => window.until_lsn.to_string(),
    };
    format!(
        "Can be restored to any moment from {from} ({}) until {until}, timeline {}.",
        window.from_lsn, window.timeline
    )
}

fn jobs(inventory: &Inventory, now: Timestamp, lines: &mut Vec<String>) {
    let line = |job: &JobInventory, what: &str| {
        let reason = job.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        format!(
            "{what} backup {} of {}, begun {} ago on {}{reason}",
            job.id,
            job.source,
            words::age(job.since, now),
            job.host
        )
    };
    lines.extend(inventory.running.iter().map(|job| line(job, "Running:")));
    lines.extend(inventory.abandoned.iter().map(|job| line(job, "Aborted:")));
}
