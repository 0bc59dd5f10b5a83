//! An inventory as Prometheus text: for a textfile collector, or for a caller's own endpoint. Pure.
//!
//! Source: the text exposition format, version 0.0.4, of the Prometheus manual.
//!
//! Times are Unix seconds, so that an alert is an expression such as
//! `time() - ops_backup_last_success_timestamp_seconds > 86400`.

use std::fmt::Write as _;

use jiff::Timestamp;

use crate::job::list::{BackupInventory, ClusterInventory, Inventory, JobInventory};

/// Renders `inventory` as of `now`.
pub fn render(inventory: &Inventory, now: Timestamp) -> String {
    let mut text = Text::default();
    text.metric("ops_backup_up", "Whether the repository could be read.", &[(String::new(), 1.0)]);
    text.metric(
        "ops_backup_repository_encrypted",
        "Whether the repository is encrypted.",
        &[(String::new(), f64::from(u8::from(inventory.encrypted)))],
    );
    text.metric(
        "ops_backup_log_damaged_records",
        "Records of the log that cannot be read.",
        &[(String::new(), count(inventory.damaged_records.len() as u64))],
    );
    text.metric(
        "ops_backup_condemned_bytes",
        "Bytes of packs that nothing needs, waiting for their removal.",
        &[(String::new(), count(inventory.condemned_bytes))],
    );
    sources(&mut text, inventory);
    clusters(&mut text, inventory);
    jobs(&mut text, inventory, now);
    text.0
}

fn sources(text: &mut Text, inventory: &Inventory) {
    let clusters = inventory.clusters.iter().map(|cluster| (source(cluster), &cluster.backups));
    let trees =
        inventory.trees.iter().map(|tree| (label("source", &format!("tree/{}", tree.name)), &tree.backups));
    let sources: Vec<(String, &Vec<BackupInventory>)> = clusters.chain(trees).collect();
    let mut each = |name: &str, help: &str, value: &dyn Fn(&[BackupInventory]) -> Option<f64>| {
        let samples: Vec<(String, f64)> =
            sources.iter().filter_map(|(labels, backups)| Some((labels.clone(), value(backups)?))).collect();
        text.metric(name, help, &samples);
    };
    let newest = |time: fn(&BackupInventory) -> Option<Timestamp>| {
        move |backups: &[BackupInventory]| backups.iter().filter_map(time).max().map(seconds)
    };
    each("ops_backup_backups", "Backups that exist.", &|backups| Some(count(backups.len() as u64)));
    each("ops_backup_backups_unrecoverable", "Backups that are damaged or lack WAL.", &|backups| {
        Some(count(backups.iter().filter(|backup| !backup.recoverable).count() as u64))
    });
    each(
        "ops_backup_last_success_timestamp_seconds",
        "When the newest backup was finished.",
        &newest(|backup| Some(backup.backup.finished_at)),
    );
    each(
        "ops_backup_last_verified_timestamp_seconds",
        "When a backup was last read whole and found right.",
        &newest(|backup| backup.verified),
    );
    each(
        "ops_backup_last_rehearsed_timestamp_seconds",
        "When a backup was last restored, started and asked with success.",
        &newest(|backup| backup.rehearsed),
    );
    let last =
        |value: fn(&BackupInventory) -> f64| move |backups: &[BackupInventory]| backups.last().map(value);
    each(
        "ops_backup_last_duration_seconds",
        "How long the newest backup took.",
        &last(|backup| backup.seconds),
    );
    each(
        "ops_backup_last_size_bytes",
        "Bytes of the files of the newest backup.",
        &last(|backup| count(backup.backup.raw_bytes)),
    );
    each(
        "ops_backup_last_added_bytes",
        "Bytes that the newest backup added to the repository.",
        &last(|backup| count(backup.backup.added_bytes)),
    );
    each(
        "ops_backup_last_stored_bytes",
        "Bytes of all packs that the newest backup needs.",
        &last(|backup| count(backup.backup.stored_bytes)),
    );
    each(
        "ops_backup_last_bad_pages",
        "Data pages of the newest backup whose checksum was wrong at the source.",
        &last(|backup| count(backup.backup.bad_pages)),
    );
    let stale = |backup: &BackupInventory| {
        let audit = backup.backup.postgres().and_then(|facts| facts.audit.as_ref());
        audit.map(|audit| count(audit.stale_pages))
    };
    each(
        "ops_backup_last_audit_stale_pages",
        "Pages that backups made of changes had lost, as the newest backup found that was read whole after them.",
        &|backups: &[BackupInventory]| backups.iter().rev().find_map(stale),
    );
}

fn clusters(text: &mut Text, inventory: &Inventory) {
    let mut missing = Vec::new();
    let mut archived = Vec::new();
    let mut oldest = Vec::new();
    let mut newest = Vec::new();
    for cluster in &inventory.clusters {
        for timeline in &cluster.wal {
            let labels = format!("{},{}", source(cluster), label("timeline", &timeline.timeline.to_string()));
            missing.push((labels.clone(), count(timeline.missing)));
            archived.extend(timeline.last_stored_at.map(|at| (labels, seconds(at))));
        }
        let windows = || cluster.windows.iter();
        oldest.extend(windows().map(|window| window.from).min().map(|at| (source(cluster), seconds(at))));
        let end = windows().filter_map(|window| window.until).max();
        newest.extend(end.map(|at| (source(cluster), seconds(at))));
    }
    text.metric("ops_backup_wal_missing_segments", "WAL segments that are missing between others.", &missing);
    text.metric(
        "ops_backup_wal_last_archived_timestamp_seconds",
        "When the newest WAL segment was archived, by the clock of the store.",
        &archived,
    );
    text.metric(
        "ops_backup_recoverable_from_timestamp_seconds",
        "The oldest moment that can be recovered.",
        &oldest,
    );
    text.metric(
        "ops_backup_recoverable_until_timestamp_seconds",
        "When the newest WAL segment that can be replayed was archived.",
        &newest,
    );
}

fn jobs(text: &mut Text, inventory: &Inventory, now: Timestamp) {
    let age = |job: &JobInventory| {
        let labels = format!("{},{}", label("source", &job.source), label("backup", &job.id));
        (labels, now.duration_since(job.since).as_secs_f64().max(0.0))
    };
    let running: Vec<_> = inventory.running.iter().map(age).collect();
    text.metric(
        "ops_backup_running_job_age_seconds",
        "How long ago a job began that has not ended.",
        &running,
    );
    text.metric(
        "ops_backup_abandoned_jobs",
        "Jobs that failed, whose data a later backup can use.",
        &[(String::new(), count(inventory.abandoned.len() as u64))],
    );
}

fn source(cluster: &ClusterInventory) -> String {
    label("source", &format!("postgres/{}", cluster.cluster.system_identifier))
}

fn label(name: &str, value: &str) -> String {
    let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("{name}=\"{value}\"")
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53, and Prometheus knows no other numbers")]
fn count(value: u64) -> f64 {
    value as f64
}

fn seconds(at: Timestamp) -> f64 {
    at.as_duration().as_secs_f64()
}

#[derive(Default)]
struct Text(String);

impl Text {
    /// Writes a gauge with its samples, labels and value; one without samples says nothing.
    fn metric(&mut self, name: &str, help: &str, samples: &[(String, f64)]) {
        if samples.is_empty() {
            return;
        }
        let mut write = |text: std::fmt::Arguments<'_>| {
            self.0.write_fmt(text).expect("writing to a string cannot fail");
        };
        write(format_args!("# HELP {name} {help}\n# TYPE {name} gauge\n"));
        for (labels, value) in samples {
            match labels.as_str() {
                "" => write(format_args!("{name} {value}\n")),
                labels => write(format_args!("{name}{{{labels}}} {value}\n")),
            }
        }
    }
}
