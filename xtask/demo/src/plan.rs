//! The files that the commands read: settings, and the plan of the release gate.

use crate::ledger;
use anyhow::Result;
use std::path::{Path, PathBuf};

/// `ops.toml`, as a team would write it.
pub(crate) fn settings(home: &Path, postgres_bin: &Path, source_url: &str) -> String {
    format!(
        "# Written by the demo.\n\
         [backup]\n\
         repo = {repo}\n\
         key_file = {backup_key}\n\
         postgres = {url}\n\
         postgres_bin = {bin}\n\
         signing_key = {key}\n\
         evidence_dir = {evidence}\n\n\
         [gate]\n\
         signing_key = {key}\n",
        repo = quoted(&home.join("repo").display().to_string()),
        backup_key = quoted(&backup_key(home).display().to_string()),
        url = quoted(source_url),
        bin = quoted(&postgres_bin.display().to_string()),
        key = quoted(&home.join("keys/signing.pem").display().to_string()),
        evidence = quoted(&home.join("evidence").display().to_string()),
    )
}

/// The key that encrypts the repository.
pub(crate) fn backup_key(home: &Path) -> PathBuf {
    home.join("keys/backup.key")
}

/// The release plan: a restore that was rehearsed, the restored server's own answer, and a migration that was read.
pub(crate) fn release(home: &Path, restored_url: &str) -> String {
    format!(
        "name = \"release\"\n\n\
         [[gate]]\n\
         id = \"restore-rehearsal\"\n\
         kind = \"evidence\"\n\
         path = {evidence}\n\
         key = {key}\n\
         record_kind = \"restore-rehearsal\"\n\
         max_age = \"1h\"\n\
         require_checks = [\"pg_verifybackup\", \"pg_amcheck\", \"assertion:ledger\"]\n\
         [gate.measurements]\n\
         recovery_time_seconds = {{ max = 120 }}\n\n\
         [[gate]]\n\
         id = \"restored-ledger\"\n\
         kind = \"postgres\"\n\
         url = {url}\n\
         query = {query}\n\
         expect = {expect}\n\
         timeout = \"10s\"\n\n\
         [[gate]]\n\
         id = \"migration\"\n\
         kind = \"command\"\n\
         run = [{guard}, \"check\", {migration}]\n\
         timeout = \"10s\"\n",
        evidence = quoted(&home.join("evidence/*.json").display().to_string()),
        key = quoted(&home.join("keys/signing.pub.pem").display().to_string()),
        url = quoted(restored_url),
        query = quoted(ledger::QUESTION),
        expect = quoted(&ledger::answer()),
        guard = quoted(&home.join("bin/ops-guard").display().to_string()),
        migration = quoted(&home.join("release.sql").display().to_string()),
    )
}

/// What the release would run; read by `ops-guard check`.
pub(crate) const RELEASE_SQL: &str = "UPDATE ledger SET note = 'released' WHERE id = 7;\n";

/// Writes a file of the run.
pub(crate) fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text)
        .map_err(|error| anyhow::anyhow!("{} cannot be written: {error}", path.display()))
}

/// A TOML basic string; JSON's escapes are a subset of TOML's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
