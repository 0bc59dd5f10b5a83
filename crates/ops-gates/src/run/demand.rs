//! What a deployer demands of a run that verifies: that it is about these bytes, and not too old.

use crate::error::{Error, ErrorKind};
use crate::record::{RunRecord, State};
use jiff::Timestamp;
use std::time::Duration;

/// How far the clock of the machine that ran the gates may be ahead of ours.
const SKEW: Duration = Duration::from_secs(60);

/// What must hold for a run beside its signature. Nothing is demanded by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Demands {
    /// The digest of what is deployed, as `algorithm:hex`: the subject of the run, or one of its artifacts.
    pub subject: Option<String>,
    /// How long ago the run may have ended.
    pub max_age: Option<Duration>,
    /// The digest of the plan that must have been run.
    pub plan_sha256: Option<String>,
    /// The digest of a policy that must have counted in the run.
    pub policy_sha256: Option<String>,
}

impl Demands {
    /// Checks a record that [`verify`](super::verify) returned.
    ///
    /// # Errors
    /// [`ErrorKind::NotVerified`] where a demand is not met, or a subject is not a whole digest.
    pub fn check(&self, record: &RunRecord, now: Timestamp) -> Result<(), Error> {
        if let Some(wanted) = &self.subject {
            about(wanted, record)?;
        }
        if let Some(limit) = self.max_age {
            fresh(limit, record, now)?;
        }
        if let Some(wanted) = &self.plan_sha256
            && !record.plan.sha256.eq_ignore_ascii_case(wanted)
        {
            return Err(refuse(record, format!("it ran the plan {}, not {wanted}", record.plan.sha256)));
        }
        match &self.policy_sha256 {
            Some(wanted) if !record.policies.iter().any(|it| it.sha256.eq_ignore_ascii_case(wanted)) => {
                Err(refuse(record, format!("the policy {wanted} did not count in it")))
            }
            _ => Ok(()),
        }
    }
}

fn refuse(record: &RunRecord, what: String) -> Error {
    Error::new(ErrorKind::NotVerified, format!("run {} does not verify: {what}", record.run_id))
}

fn about(wanted: &str, record: &RunRecord) -> Result<(), Error> {
    let (algorithm, hex) = wanted.split_once(':').unwrap_or(("sha256", wanted));
    // The beginning of a digest is not a digest: it fits more than one thing.
    let lengths: &[usize] = match algorithm {
        "gitCommit" | "sha1" => &[40, 64],
        "sha512" => &[128],
        _ => &[64],
    };
    if !lengths.contains(&hex.len()) || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(refuse(record, format!("the demanded subject `{wanted}` is not a whole digest")));
    }
    let Some(subject) = &record.subject else {
        return Err(refuse(record, format!("it names no subject, so that it says nothing about {wanted}")));
    };
    let is_it = |digest: &String| digest.eq_ignore_ascii_case(hex);
    // Who deploys an artifact knows its digest, and not always the commit.
    if record.artifacts.iter().chain([subject]).filter_map(|it| it.digest.get(algorithm)).any(is_it) {
        return Ok(());
    }
    match subject.digest.get(algorithm) {
        Some(digest) => Err(refuse(record, format!("it is about {algorithm}:{digest}, not {wanted}"))),
        None => Err(refuse(record, format!("its subject `{}` has no {algorithm} digest", subject.name))),
    }
}

fn fresh(limit: Duration, record: &RunRecord, now: Timestamp) -> Result<(), Error> {
    let (State::Finished, Some(ended)) = (record.state, record.finished_at) else {
        return Err(refuse(record, "it did not come to its end".to_owned()));
    };
    let age = now.duration_since(ended);
    if age > jiff::SignedDuration::try_from(limit).unwrap_or(jiff::SignedDuration::MAX) {
        let limit = limit.as_secs();
        return Err(refuse(record, format!("it ended at {ended}, more than {limit} seconds ago")));
    }
    if age < -jiff::SignedDuration::try_from(SKEW).unwrap_or_default() {
        return Err(refuse(record, format!("it ended at {ended}, which is in the future")));
    }
    Ok(())
}
