//! What a restore will do, and has done, in words.

use super::words;
use jiff::Timestamp;
use ops_backup::catalog::BackupSource;
use ops_backup::restore::{PlanSummary, Replay, Restored};

/// Everything that will happen.
pub(super) fn plan(plan: &PlanSummary, now: Timestamp) -> String {
    let backup = &plan.backup;
    let mut rows: Vec<(&str, String)> = vec![
        (
            "backup",
            format!(
                "{}, finished {} ({} ago)",
                backup.id,
                words::moment(backup.finished_at),
                words::age(backup.finished_at, now)
            ),
        ),
        ("because", plan.reason.clone()),
        ("of", source(&backup.source)),
        ("to", plan.data_directory.display().to_string()),
    ];
    rows.extend(
        plan.tablespaces.iter().map(|(oid, place)| ("tablespace", format!("{oid} to {}", place.display()))),
    );
    rows.push(("writes", format!("{}, {}", words::things(plan.files, "file"), words::bytes(plan.bytes))));
    rows.extend(plan.space.iter().map(|space| {
        let (needed, free) = (words::bytes(space.needed), words::bytes(space.free));
        ("space", format!("{needed} needed, {free} free at {}", space.path.display()))
    }));
    if let Some(replay) = &plan.replay {
        rows.push(("target", plan.target.to_string()));
        wal(replay, &mut rows);
    }
    rows.extend(plan.warnings.iter().map(|warning| ("WARNING", warning.clone())));
    rows.push(("now", "nothing was changed: run it again without --plan".into()));
    let lines: Vec<String> = rows.iter().map(|(name, value)| format!("{name:10}  {value}")).collect();
    lines.join("\n")
}

fn source(source: &BackupSource) -> String {
    match source {
        BackupSource::Postgres(facts) => format!(
            "cluster {} (PostgreSQL {})",
            facts.cluster.system_identifier,
            words::version(facts.server_version)
        ),
        BackupSource::Tree(tree) => format!("tree {} ({})", tree.name, tree.root.display()),
        _ => "another source".into(),
    }
}

fn wal(replay: &Replay, rows: &mut Vec<(&str, String)>) {
    rows.push((
        "replay",
        format!(
            "{} of WAL from {}; consistent at {}; the archive ends at {}",
            words::bytes(replay.wal_bytes),
            replay.from,
            replay.consistent_at,
            replay.wal_end
        ),
    ));
    let way: Vec<String> = replay
        .timelines
        .iter()
        .map(|(timeline, left)| match left {
            Some(lsn) => format!("{timeline} until {lsn}"),
            None => timeline.to_string(),
        })
        .collect();
    rows.push(("timeline", way.join(", then ")));
}

/// What was done, and what comes next.
pub(super) fn done(done: &Restored, is_cluster: bool) -> String {
    let next = match is_cluster {
        true => "\nStart the server: it fetches its WAL by itself and opens at the target.",
        false => "",
    };
    format!(
        "Backup {} is restored: {}, {} in {}.{next}",
        done.backup,
        words::things(done.files, "file"),
        words::bytes(done.bytes),
        done.data_directory.display()
    )
}
