//! What a restore will do, and has done, in words.

use super::words;
use jiff::Timestamp;
use ops_backup::catalog::{BackupSource, Database};
use ops_backup::restore::{PlanSummary, Removal, Replay, Restored, SavedWal};
use ops_backup::{RecoveryTarget, TargetAction};

/// Everything that will happen.
pub(super) fn plan(plan: &PlanSummary, now: Timestamp) -> String {
    let backup = &plan.backup;
    let mut rows: Vec<(&str, String)> = vec![(
        "backup",
        format!(
            "{}, finished {} ({} ago)",
            backup.id,
            words::moment(backup.finished_at),
            words::age(backup.finished_at, now)
        ),
    )];
    rows.extend(plan.reason.split("; backup ").enumerate().map(|(at, part)| match at {
        0 => ("because", part.to_owned()),
        _ => ("", format!("not {part}")),
    }));
    rows.extend([("of", source(&backup.source)), ("to", plan.data_directory.display().to_string())]);
    rows.extend(
        plan.tablespaces.iter().map(|(oid, place)| ("tablespace", format!("{oid} to {}", place.display()))),
    );
    let amount = format!("{}, {}", words::things(plan.files, "file"), words::bytes(plan.bytes));
    match &plan.removal {
        None => rows.push(("writes", amount)),
        Some(removal) => delta(amount, removal, plan.saved_wal.as_ref(), &mut rows),
    }
    if let Some(selection) = &plan.databases {
        rows.push(("databases", names(&selection.restored)));
        rows.push(("left empty", format!("{}: drop them once the server runs", names(&selection.to_drop))));
    }
    rows.extend(plan.space.iter().map(|space| {
        let (needed, free) = (words::bytes(space.needed), words::bytes(space.free));
        ("space", format!("{needed} needed, {free} free at {}", space.path.display()))
    }));
    if let Some(replay) = &plan.replay {
        let then = match (&plan.target, plan.action) {
            (RecoveryTarget::Latest, _) => "the end of the WAL; then it opens for writing",
            (_, TargetAction::Promote) => "then it opens for writing, on a new timeline",
            (_, TargetAction::Pause) => "then it stays read-only, until pg_wal_replay_resume()",
            (_, TargetAction::Shutdown) => "then it stops",
        };
        rows.push(("target", format!("{}: {then}", plan.target)));
        wal(replay, &mut rows);
        rows.push(("WAL by", plan.restore_command.clone()));
    }
    rows.extend(plan.warnings.iter().map(|warning| ("WARNING", warning.clone())));
    rows.push(("now", "nothing was changed: run it again without --plan".into()));
    let lines: Vec<String> = rows.iter().map(|(name, value)| format!("{name:11}  {value}")).collect();
    lines.join("\n")
}

fn delta(amount: String, removal: &Removal, saved: Option<&SavedWal>, rows: &mut Vec<(&str, String)>) {
    rows.push(("compares", format!("{amount}, block by block, and writes what differs")));
    let mut examples = removal.examples.join(", ");
    if removal.files + removal.directories > removal.examples.len() as u64 {
        examples.push_str(", …");
    }
    rows.push((
        "removes",
        match removal.files + removal.directories {
            0 => "nothing".into(),
            _ => format!(
                "{}, {}, {}: {examples}",
                words::things(removal.files, "file"),
                words::folders(removal.directories),
                words::bytes(removal.bytes)
            ),
        },
    ));
    if let Some(saved) = saved {
        rows.push((
            "saves first",
            format!(
                "{} of WAL, {}, that the archive lacks, to {}",
                words::things(saved.files.len() as u64, "file"),
                words::bytes(saved.bytes),
                saved.directory.display()
            ),
        ));
    }
}

fn names(databases: &[Database]) -> String {
    if databases.is_empty() {
        return "none".into();
    }
    databases.iter().map(|database| database.name.as_str()).collect::<Vec<_>>().join(", ")
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
    if let Some(from) = replay.tail_from {
        rows.push((
            "",
            format!("the last segment, from {from} on, is not complete: what was received of it is replayed"),
        ));
    }
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
pub(super) fn done(done: &Restored, next: Option<TargetAction>, to_drop: &[Database]) -> String {
    let mut lines = vec![format!(
        "Backup {} is restored: {}, {} in {}.",
        done.backup,
        words::things(done.files, "file"),
        words::bytes(done.bytes),
        done.data_directory.display()
    )];
    let written = words::bytes(done.written_bytes);
    if done.kept_bytes > 0 {
        lines.push(format!("Written: {written}; {} were right in place.", words::bytes(done.kept_bytes)));
    } else if done.written_bytes < done.bytes {
        lines.push(format!("Written: {written}."));
    }
    if let Some(saved) = &done.saved_wal {
        lines.push(format!("WAL that is nowhere else was saved to {}.", saved.display()));
    }
    let then = next.map(|action| match action {
        TargetAction::Promote => "opens at the target",
        TargetAction::Pause => "stays read-only at the target; SELECT pg_wal_replay_resume() opens it",
        TargetAction::Shutdown => "stops at the target",
    });
    if let Some(then) = then {
        lines.push(format!("Start the server: it fetches its WAL by itself and {then}."));
        lines.push(
            "It will archive as the original did: where that still runs, start this one with -c archive_mode=off."
                .into(),
        );
    }
    if !to_drop.is_empty() {
        lines.push("These databases are empty shells; drop them once the server has opened:".into());
        let drop =
            |database: &Database| format!("  DROP DATABASE \"{}\";", database.name.replace('"', "\"\""));
        lines.extend(to_drop.iter().map(drop));
    }
    lines.join("\n")
}
