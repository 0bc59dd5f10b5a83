//! Everything that is neither a pack nor WAL: the marker, keys, the log, and all other sealed objects.

use futures_util::TryStreamExt as _;
use object_store::path::Path;

use super::Run;
use super::report::Findings;
use crate::error::{Error, ErrorKind, Result};
use crate::repo::log::LogAudit;
use crate::repo::seal::Kind;
use crate::repo::{MARKER, object_path};

/// How many objects are read at once.
const AHEAD: usize = 16;

pub(super) async fn check(run: &Run<'_>, findings: &mut Findings) -> Result<()> {
    let marker = run.repository.check_marker().await;
    findings.keep(marker, MARKER, [])?;
    keys(run, findings).await?;
    log(run, findings).await?;
    for prefix in ["backups", "condemned", "leases", "pg"] {
        sealed(run, prefix, findings).await?;
    }
    Ok(())
}

async fn keys(run: &Run<'_>, findings: &mut Findings) -> Result<()> {
    let (keys, damaged) = run.repository.check_keys().await?;
    findings.counts.other_objects += keys;
    for (path, error) in damaged {
        findings.add(path.as_ref(), error.to_string(), []);
    }
    Ok(())
}

async fn log(run: &Run<'_>, findings: &mut Findings) -> Result<()> {
    let LogAudit { records, damaged, snapshots } = run.repository.audit_log().await?;
    findings.counts.other_objects += records + snapshots.len() as u64;
    for (sequence, what) in damaged {
        findings.add(&format!("log/{sequence:020}"), what, []);
    }
    for (sequence, what) in snapshots {
        findings.add(&format!("log/snapshots/{sequence:020}"), what, []);
    }
    Ok(())
}

/// Opens everything below `prefix`.
async fn sealed(run: &Run<'_>, prefix: &str, findings: &mut Findings) -> Result<()> {
    let prefix = object_path(prefix);
    let listed = run
        .repository
        .store()
        .list(Some(&prefix))
        .map_err(|error| Error::storage(format!("list {prefix}"), error));
    let mut read = listed
        .map_ok(|object| async move {
            let path = object.location;
            let Some(kind) = kind(&path) else { return Ok(None) };
            match run.repository.read_if_present(&path).await {
                // Heartbeats and lists are removed while their jobs go on.
                Ok(None) => Ok(None),
                Ok(Some(bytes)) => Ok(Some((path, kind, bytes))),
                Err(error) => Err(error),
            }
        })
        .try_buffer_unordered(AHEAD);
    while let Some(object) = read.try_next().await? {
        let Some((path, kind, bytes)) = object else { continue };
        let content = match run.repository.secrets().unseal(kind, path.as_ref(), &bytes) {
            Err(error) if error.kind() == ErrorKind::Unsupported => return Err(error),
            result => result.map(drop),
        };
        let id = path.parts().nth(1).map(|part| part.as_ref().to_owned());
        let concerned = id.filter(|id| kind == Kind::Manifest && run.state.backups.contains_key(id));
        findings.keep(content, path.as_ref(), &concerned)?;
    }
    Ok(())
}

/// What an object is by its place; `None` for what is checked elsewhere.
fn kind(path: &Path) -> Option<Kind> {
    let parts: Vec<_> = path.parts().collect();
    let parts: Vec<&str> = parts.iter().map(|part| part.as_ref()).collect();
    match parts[..] {
        ["backups", _, "manifest"] => Some(Kind::Manifest),
        ["backups", _, part] if part.starts_with("part-") => Some(Kind::Part),
        ["condemned", ..] => Some(Kind::Condemned),
        ["leases", _, _] => Some(Kind::Lease),
        ["pg", _, "cluster"] => Some(Kind::Cluster),
        ["pg", _, "tail", _, _, _] => Some(Kind::Tail),
        _ => None,
    }
}
