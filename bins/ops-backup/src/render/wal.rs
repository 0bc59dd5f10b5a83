//! The audit of the WAL archive, in words.

use super::list::window;
use super::words;
use jiff::Timestamp;
use ops_backup::WalAudit;
use ops_backup::audit::{BackupReach, ClusterAudit, Gap, TimelineAudit};

/// The whole audit as of `now`; `late` says which archives are behind.
pub(super) fn text(audit: &WalAudit, late: &[String], now: Timestamp) -> String {
    if audit.clusters.is_empty() {
        return "The archive holds no WAL.".into();
    }
    let mut lines: Vec<String> = Vec::new();
    for checked in &audit.clusters {
        cluster(checked, now, &mut lines);
    }
    lines.extend(late.iter().cloned());
    lines.join("\n")
}

fn cluster(checked: &ClusterAudit, now: Timestamp, lines: &mut Vec<String>) {
    let ClusterAudit { cluster, timelines, backups, windows, given_up_before } = checked;
    lines.push(format!(
        "Cluster {} (PostgreSQL {}, segments of {})",
        cluster.system_identifier,
        cluster.major,
        words::bytes(cluster.segment_size.bytes())
    ));
    for checked in timelines {
        timeline(checked, now, lines);
    }
    if let Some(segment) = given_up_before {
        lines.push(format!("  What lies before segment {segment} was given up by `expire`."));
    }
    lines.extend(backups.iter().filter_map(reach));
    if backups.is_empty() {
        lines.push("  There is no backup: this WAL cannot restore anything.".into());
    }
    lines.extend(windows.iter().map(|shown| format!("  {}", window(shown))));
    lines.push(if checked.is_whole() {
        "  No gap cuts any backup.".into()
    } else {
        "  NOT EVERYTHING CAN BE RESTORED.".into()
    });
}

fn timeline(checked: &TimelineAudit, now: Timestamp, lines: &mut Vec<String>) {
    let TimelineAudit { timeline, fork, segments, first, last, last_stored_at, gaps, .. } = checked;
    let origin =
        fork.map(|fork| format!(", left timeline {} at {}", fork.parent, fork.at)).unwrap_or_default();
    let held = match (first, last) {
        (Some(first), Some(last)) => {
            let stored = last_stored_at.map(|at| format!(", the last one {} ago", words::age(at, now)));
            format!(
                "{first} to {last}, {}{}",
                words::things(*segments, "segment"),
                stored.unwrap_or_default()
            )
        }
        _ => "no segments".into(),
    };
    lines.push(format!("  Timeline {timeline}{origin}: {held}"));
    if checked.history_missing {
        lines.push(format!("    {timeline:08X}.history IS MISSING: recovery cannot come to this timeline"));
    }
    lines.extend(gaps.iter().map(gap));
}

fn gap(gap: &Gap) -> String {
    let Gap { first, last, segments, cuts } = gap;
    let which = if segments == &1 { first.clone() } else { format!("{first} to {last}") };
    let cost = match cuts.as_slice() {
        [] => "no backup needs it".to_owned(),
        cut => format!("nothing behind it can be restored from {}", cut.join(", ")),
    };
    format!("    MISSING {which} ({}): {cost}", words::things(*segments, "segment"))
}

fn reach(backup: &BackupReach) -> Option<String> {
    let BackupReach { id, restorable, until, timeline, gap } = backup;
    match (restorable, gap) {
        (false, _) => Some(format!(
            "  Backup {id} CANNOT BE RESTORED: it is damaged, or WAL from its own time is missing"
        )),
        (true, Some(gap)) => {
            Some(format!("  Backup {id} leads to {until} on timeline {timeline} only: {gap} is missing"))
        }
        (true, None) => None,
    }
}
