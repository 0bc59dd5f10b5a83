//! A finished backup in words.

use super::words;
use ops_backup::Backup;
use ops_backup::catalog::{BackupSource, PostgresBackup, TreeBackup};

/// What a person wants to know right after a backup.
pub(super) fn text(backup: &Backup) -> String {
    let seconds = backup.finished_at.duration_since(backup.started_at).as_secs_f64();
    let speed = (backup.raw_bytes as f64 / seconds.max(0.001)) as u64;
    let base = match &backup.base {
        Some(base) => format!("{base}; what has not changed since is referred to, not stored again"),
        None => "none; everything is stored".into(),
    };
    let mut lines = vec![
        head(backup),
        format!("  files   {}, {}", words::things(backup.files, "file"), words::bytes(backup.raw_bytes)),
        format!(
            "  added   {} to the repository, for {} that were new ({} of all)",
            words::bytes(backup.added_bytes),
            words::bytes(backup.new_bytes),
            words::percent(backup.new_bytes, backup.raw_bytes)
        ),
        format!("  base    {base}"),
        format!("  took    {}, {}/s", words::took(seconds), words::bytes(speed)),
    ];
    match &backup.source {
        BackupSource::Postgres(facts) => postgres(backup, facts, &mut lines),
        BackupSource::Tree(tree) => changed(tree, &mut lines),
        _ => {}
    }
    lines.join("\n")
}

fn head(backup: &Backup) -> String {
    match &backup.source {
        BackupSource::Postgres(facts) => format!(
            "Backup {} of cluster {} (PostgreSQL {}) is complete.",
            backup.id,
            facts.cluster.system_identifier,
            words::version(facts.server_version)
        ),
        BackupSource::Tree(tree) => {
            format!("Backup {} of tree {} ({}) is complete.", backup.id, tree.name, tree.root.display())
        }
        _ => format!("Backup {} is complete.", backup.id),
    }
}

fn postgres(backup: &Backup, facts: &PostgresBackup, lines: &mut Vec<String>) {
    lines.push(format!("  WAL     {} to {}, timeline {}", facts.start_lsn, facts.stop_lsn, facts.timeline));
    for tablespace in &facts.tablespaces {
        lines.push(format!("  with    tablespace {} at {}", tablespace.oid, tablespace.location.display()));
    }
    if let Some(line) = &facts.incremental {
        lines.push(format!(
            "  read    the pages that changed since the base; everything was read for {}, {} before",
            line.whole,
            words::things(line.step.into(), "backup")
        ));
    }
    audited(facts, lines);
    match backup.bad_pages {
        0 if facts.page_checksums => {
            lines.push("  pages   the checksum of each page that was read is right".into())
        }
        0 => lines.push("  pages   not checked: this cluster has no page checksums".into()),
        count => {
            lines.push(format!(
                "  pages   {} WITH A WRONG CHECKSUM:",
                words::things(count, "page").to_uppercase()
            ));
            for page in &backup.bad_page_examples {
                lines.push(format!("          {} block {}", page.file, page.block));
            }
            if count > backup.bad_page_examples.len() as u64 {
                lines.push("          …".into());
            }
            lines.push(
                "The source is damaged. This backup is kept, and used only where no sound one leads to the target."
                    .into(),
            );
        }
    }
}

fn audited(facts: &PostgresBackup, lines: &mut Vec<String>) {
    let Some(audit) = &facts.audit else { return };
    let compared = words::things(audit.compared_pages, "page");
    if audit.stale_pages == 0 {
        lines.push(format!(
            "  read    everything; {compared} compared with {}: none had lost a change",
            audit.backup
        ));
        return;
    }
    let stale = words::things(audit.stale_pages, "page").to_uppercase();
    lines.push(format!("  read    everything; {stale} OF {} HAD LOST A CHANGE:", audit.backup));
    for page in &audit.examples {
        lines.push(format!("          {} block {}", page.file, page.block));
    }
    lines.push(
        "This backup is right. Do not trust those that were made of changes before it; --incremental never makes no more of them."
            .into(),
    );
}

fn changed(tree: &TreeBackup, lines: &mut Vec<String>) {
    if tree.changed_files == 0 {
        return;
    }
    lines.push(format!("  note    {} changed while being read:", words::things(tree.changed_files, "file")));
    for file in &tree.changed_examples {
        lines.push(format!("          {file}"));
    }
}
