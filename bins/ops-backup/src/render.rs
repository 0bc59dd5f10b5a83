//! The answers, worded for people and for machines; each JSON document names its schema.

use ops_backup::restore::{PlanSummary, Restored};
use ops_backup::{Backup, Inventory, VerifyReport};
use ops_cli::{Format, output};
use ops_core::evidence::{Outcome, Record};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::PathBuf;

/// What an action found out.
#[derive(Debug)]
pub(crate) enum Answer {
    Created(String),
    Backup(Box<Backup>),
    Inventory(Inventory),
    Verified(VerifyReport),
    Plan(Box<PlanSummary>),
    Restored(Restored),
    Rehearsed { record: Box<Record>, evidence: Option<PathBuf> },
    Key { private: PathBuf, public: PathBuf, id: String },
}

impl Answer {
    /// Writes the answer to stdout.
    pub(crate) fn write(&self, format: Format) -> std::io::Result<()> {
        match format {
            Format::Text => output::text(&self.text()),
            Format::Json => output::json(&self.json()),
        }
    }

    fn json(&self) -> Value {
        match self {
            Answer::Created(place) => json!({ "schema": "ops-backup/init/v1", "repository": place }),
            Answer::Backup(backup) => json!({ "schema": "ops-backup/backup/v1", "backup": backup }),
            Answer::Inventory(inventory) => {
                json!({ "schema": "ops-backup/list/v1", "clusters": inventory.clusters })
            }
            Answer::Verified(report) => {
                json!({ "schema": "ops-backup/verify/v1", "proven": report.is_proven(), "report": report })
            }
            Answer::Plan(plan) => json!({ "schema": "ops-backup/restore-plan/v1", "plan": plan }),
            Answer::Restored(done) => {
                json!({ "schema": "ops-backup/restore/v1", "backup": done.backup, "data_directory": done.data_directory, "files": done.files, "bytes": done.bytes })
            }
            Answer::Rehearsed { record, evidence } => {
                json!({ "schema": "ops-backup/rehearsal/v1", "record": record, "evidence": evidence })
            }
            Answer::Key { private, public, id } => {
                json!({ "schema": "ops-backup/key/v1", "private": private, "public": public, "id": id })
            }
        }
    }

    fn text(&self) -> String {
        match self {
            Answer::Created(place) => format!("The repository is {place}."),
            Answer::Backup(backup) => backup_text(backup),
            Answer::Inventory(inventory) => inventory_text(inventory),
            Answer::Verified(report) => verified_text(report),
            Answer::Plan(plan) => plan_text(plan),
            Answer::Restored(done) => format!(
                "Backup {} is restored: {} files, {} in {}.\nStart the server; it fetches its WAL and opens at the target.",
                done.backup,
                done.files,
                bytes(done.bytes),
                done.data_directory.display()
            ),
            Answer::Rehearsed { record, evidence } => record_text(record, evidence.as_ref()),
            Answer::Key { private, public, id } => format!(
                "private  {}  (keep it; mode 0600)\npublic   {}\nid       {id}",
                private.display(),
                public.display()
            ),
        }
    }
}

fn backup_text(backup: &Backup) -> String {
    let facts = backup.postgres();
    let mut text = format!(
        "Backup {} of cluster {} (PostgreSQL {}) is complete.\n{} files, {} read, {} stored, WAL {} to {}.",
        backup.id,
        facts.cluster.system_identifier,
        facts.cluster.major,
        backup.files,
        bytes(backup.raw_bytes),
        bytes(backup.stored_bytes),
        facts.start_lsn,
        facts.stop_lsn
    );
    if backup.bad_pages > 0 {
        let _ = write!(text, "\n{} data pages have a wrong checksum:", backup.bad_pages);
        for page in &backup.bad_page_examples {
            let _ = write!(text, "\n  {} block {}", page.file, page.block);
        }
    }
    text
}

fn inventory_text(inventory: &Inventory) -> String {
    if inventory.clusters.is_empty() {
        return "The repository holds no backup yet.".into();
    }
    let mut text = String::new();
    for cluster in &inventory.clusters {
        let _ = writeln!(
            text,
            "cluster {} (PostgreSQL {})",
            cluster.cluster.system_identifier, cluster.cluster.major
        );
        let _ = writeln!(
            text,
            "  {:26}  {:20}  {:>9}  {:>9}  recoverable until",
            "backup", "finished", "read", "stored"
        );
        for item in &cluster.backups {
            let backup = &item.backup;
            let reach = if item.recoverable {
                item.recoverable_until.to_string()
            } else {
                "WAL is missing: not restorable".into()
            };
            let finished = backup.finished_at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            let _ = writeln!(
                text,
                "  {:26}  {finished:20}  {:>9}  {:>9}  {reach}",
                backup.id,
                bytes(backup.raw_bytes),
                bytes(backup.stored_bytes)
            );
        }
        for wal in &cluster.wal {
            let _ = writeln!(
                text,
                "  WAL timeline {}: {} segments, {} to {}, {} missing",
                wal.timeline,
                wal.segments,
                wal.first.as_deref().unwrap_or("-"),
                wal.last.as_deref().unwrap_or("-"),
                wal.missing
            );
        }
    }
    text
}

fn verified_text(report: &VerifyReport) -> String {
    let counted = format!(
        "{} backups, {} packs, {} of data, {} WAL files",
        report.backups.len(),
        report.packs,
        bytes(report.raw_bytes),
        report.wal_files
    );
    if report.is_proven() {
        return format!("Everything that is stored is right: {counted} read back and hashed.");
    }
    if report.problems.is_empty() {
        return "There is no backup to verify.".into();
    }
    let mut text = format!("{} problems in {counted}:", report.problems.len());
    for problem in &report.problems {
        let _ = write!(text, "\n  {}: {}", problem.object, problem.what);
        if !problem.backups.is_empty() {
            let _ = write!(text, " (breaks {})", problem.backups.join(", "));
        }
    }
    text
}

fn plan_text(plan: &PlanSummary) -> String {
    let mut text = format!(
        "backup     {} (finished {})\nto         {}\ntarget     {}\nWAL        can be replayed up to {}\nwrites     {} files, {}",
        plan.backup.id,
        plan.backup.finished_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        plan.data_directory.display(),
        plan.target,
        plan.wal_end,
        plan.files,
        bytes(plan.bytes)
    );
    for (oid, place) in &plan.tablespaces {
        let _ = write!(text, "\ntablespace {oid} to {}", place.display());
    }
    for warning in &plan.warnings {
        let _ = write!(text, "\nwarning    {warning}");
    }
    text
}

fn record_text(record: &Record, evidence: Option<&PathBuf>) -> String {
    let word = |outcome: Outcome| match outcome {
        Outcome::Passed => "passed",
        Outcome::Failed => "FAILED",
        Outcome::Error => "ERROR",
    };
    let mut text = format!("{}: {}", record.kind, word(record.outcome));
    for check in &record.checks {
        let _ = write!(text, "\n  {:6}  {}: {}", word(check.outcome), check.name, check.detail);
    }
    for (name, value) in &record.measurements {
        let _ = write!(text, "\n  {name} = {value:.3}");
    }
    for (name, value) in &record.attributes {
        let _ = write!(text, "\n  {name} = {value}");
    }
    match evidence {
        Some(path) => {
            let _ = write!(text, "\nevidence: {}", path.display());
        }
        None => text.push_str("\nnot signed: set `signing_key` and `evidence_dir` to keep this as evidence"),
    }
    text
}

/// A size for people, in binary units.
fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut divided = count as f64;
    while divided >= 1024.0 && unit + 1 < UNITS.len() {
        divided /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{divided:.1} {}", UNITS[unit]) }
}
