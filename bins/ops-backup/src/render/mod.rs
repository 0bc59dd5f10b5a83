//! The answers, worded for people and for machines; each JSON document names its schema.

mod backup;
mod expire;
mod list;
mod receive;
mod record;
mod restore;
mod verify;
mod words;

use jiff::Timestamp;
use ops_backup::catalog::Database;
use ops_backup::expire::{ExpireSummary, Expired};
use ops_backup::restore::{PlanSummary, Restored};
use ops_backup::wal::receive::Status;
use ops_backup::{Backup, Inventory, KeyInfo, KeyKind, TargetAction, VerifyReport};
use ops_cli::{Format, output};
use ops_core::evidence::Record;
use serde_json::{Value, json};
use std::path::PathBuf;

/// What an action found out.
#[derive(Debug)]
pub(crate) enum Answer {
    Created { place: String, id: String, encrypted: bool, existed: bool },
    NewKey(PathBuf),
    Keys(Vec<KeyInfo>),
    KeyAdded(String),
    KeyRemoved(String),
    Backup(Box<Backup>),
    Inventory(Box<Inventory>),
    Metrics { text: String, written: Option<PathBuf> },
    Verified(VerifyReport),
    Plan(Box<PlanSummary>),
    Restored { done: Restored, next: Option<TargetAction>, to_drop: Vec<Database> },
    ExpirePlan { plan: Box<ExpireSummary>, grace: String },
    Expired { done: Expired, grace: String },
    Received(Box<Status>),
    Rehearsed { record: Box<Record>, evidence: Option<PathBuf> },
    SigningKey { private: PathBuf, public: PathBuf, id: String },
}

impl Answer {
    /// Writes the answer to stdout.
    pub(crate) fn write(&self, format: Format) -> std::io::Result<()> {
        match format {
            Format::Text => output::text(&self.text(Timestamp::now())),
            Format::Json => output::json(&self.json()),
        }
    }

    fn json(&self) -> Value {
        match self {
            Answer::Created { place, id, encrypted, existed } => json!({
                "schema": "ops-backup/init/v2",
                "repository": place,
                "id": id,
                "encrypted": encrypted,
                "created": !existed,
            }),
            Answer::NewKey(file) => json!({ "schema": "ops-backup/key-new/v1", "file": file }),
            Answer::Keys(keys) => json!({ "schema": "ops-backup/key-list/v1", "keys": keys }),
            Answer::KeyAdded(id) => json!({ "schema": "ops-backup/key-add/v1", "id": id }),
            Answer::KeyRemoved(id) => json!({ "schema": "ops-backup/key-remove/v1", "id": id }),
            Answer::Backup(backup) => json!({ "schema": "ops-backup/backup/v2", "backup": backup }),
            Answer::Inventory(inventory) => with_schema("ops-backup/list/v2", inventory),
            Answer::Metrics { text, written } => {
                json!({ "schema": "ops-backup/metrics/v1", "written": written, "text": text })
            }
            Answer::Verified(report) => {
                let proven = report.is_proven() && report.complete;
                json!({ "schema": "ops-backup/verify/v2", "proven": proven, "report": report })
            }
            Answer::Plan(plan) => json!({ "schema": "ops-backup/restore-plan/v2", "plan": plan }),
            Answer::Restored { done, .. } => with_schema("ops-backup/restore/v2", done),
            Answer::ExpirePlan { plan, .. } => json!({ "schema": "ops-backup/expire-plan/v1", "plan": plan }),
            Answer::Expired { done, .. } => with_schema("ops-backup/expire/v1", done),
            Answer::Received(status) => with_schema("ops-backup/wal-receive/v1", status),
            Answer::Rehearsed { record, evidence } => {
                json!({ "schema": "ops-backup/rehearsal/v1", "record": record, "evidence": evidence })
            }
            Answer::SigningKey { private, public, id } => {
                json!({ "schema": "ops-backup/key/v1", "private": private, "public": public, "id": id })
            }
        }
    }

    fn text(&self, now: Timestamp) -> String {
        match self {
            Answer::Created { place, id, encrypted, existed } => created(place, id, *encrypted, *existed),
            Answer::NewKey(file) => format!(
                "A new key is in {} (mode 0600).\n\
                 Keep a copy somewhere else, on paper for example: it is 64 hexadecimal digits.\n\
                 Whoever loses it loses every backup that it encrypts. `ops-backup --key-file FILE init` uses it.",
                file.display()
            ),
            Answer::Keys(keys) => key_table(keys),
            Answer::KeyAdded(id) => format!("Key {id} opens the repository now, beside the others."),
            Answer::KeyRemoved(id) => format!(
                "Key {id} opens the repository no more. Whoever held it may have kept the data key:\n\
                 against that only a new repository helps."
            ),
            Answer::Backup(backup) => backup::text(backup),
            Answer::Inventory(inventory) => list::text(inventory, now),
            Answer::Metrics { text, written: None } => text.clone(),
            Answer::Metrics { written: Some(file), .. } => format!("The metrics are in {}.", file.display()),
            Answer::Verified(report) => verify::text(report),
            Answer::Plan(plan) => restore::plan(plan, now),
            Answer::Restored { done, next, to_drop } => restore::done(done, *next, to_drop),
            Answer::ExpirePlan { plan, grace } => expire::plan(plan, grace),
            Answer::Expired { done, grace } => expire::done(done, grace),
            Answer::Received(status) => receive::text(status, now),
            Answer::Rehearsed { record, evidence } => record::text(record, evidence.as_ref()),
            Answer::SigningKey { private, public, id } => format!(
                "private  {}  (keep it; mode 0600)\npublic   {}\nid       {id}",
                private.display(),
                public.display()
            ),
        }
    }
}

/// The fields of `value` behind the name of the schema.
fn with_schema(schema: &str, value: &impl serde::Serialize) -> Value {
    let mut document = json!({ "schema": schema });
    if let (Value::Object(document), Ok(Value::Object(fields))) = (&mut document, serde_json::to_value(value))
    {
        document.extend(fields);
    }
    document
}

fn created(place: &str, id: &str, encrypted: bool, existed: bool) -> String {
    let made = if existed { "was there already, and was not changed" } else { "is ready" };
    let key = if encrypted {
        "It is encrypted. Without its key nobody can read it, you included:\n\
         keep a copy of the key somewhere else than on this machine and in this repository."
    } else {
        "It is NOT encrypted: whoever reads it has your data. `ops-backup key new FILE` and --key-file FILE\n\
         create an encrypted one; that cannot be changed later."
    };
    format!("The repository {place} ({id}) {made}.\n{key}")
}

fn key_table(keys: &[KeyInfo]) -> String {
    if keys.is_empty() {
        return "The repository is not encrypted: it has no key.".into();
    }
    let row = |key: &KeyInfo| {
        let kind = match key.kind {
            KeyKind::Passphrase => "passphrase",
            KeyKind::Raw => "key file",
        };
        let used = if key.in_use { "this one opened it now" } else { "" };
        vec![key.id.clone(), kind.to_owned(), words::moment(key.created_at), used.to_owned()]
    };
    let rows: Vec<Vec<String>> = keys.iter().map(row).collect();
    words::table(&["key", "kind", "created", ""], &rows, &[]).join("\n")
}
