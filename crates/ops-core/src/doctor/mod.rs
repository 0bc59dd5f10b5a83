//! The doctor: examines the role and the database that an application uses, and says how to make them safe.
//!
//! The guard judges statements; what the server lets a role do is the other half of the protection. An owner can always
//! drop, a superuser can do anything, a `SECURITY DEFINER` function runs with its owner's rights. The doctor looks for all
//! of that over a session of the very role, without changing anything, and gives the SQL for an administrator to run.
//!
//! ```no_run
//! use ops_core::connection::ConnectionSettings;
//!
//! # async fn example() -> Result<(), ops_core::Error> {
//! let settings = ConnectionSettings::parse("postgresql://app@127.0.0.1/shop")?;
//! let report = ops_core::doctor::examine(&settings).await?;
//! for finding in &report.findings {
//!     println!("{} {}: {}", finding.id, finding.title, finding.objects.join(", "));
//! }
//! println!("{}", report.script());
//! # Ok(())
//! # }
//! ```
//!
//! A superuser runs the script; the next examination is then clean, except for what only a person can decide, which
//! stands in the script as a comment.

mod checks;
mod report;
mod sequences;
mod session;

pub use report::{Finding, Report, Severity, Unjudged};

use crate::connection::ConnectionSettings;
use crate::error::Error;
use checks::Check;
use session::{Failed, Session};

/// Examines the role and the database that the settings name, over a session of its own that only reads.
///
/// A check that fails, for example because a catalog is closed to the role, is reported as unjudged and does not end the
/// examination.
///
/// # Errors
/// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) where the server does not answer or the line breaks,
/// [`ErrorKind::Server`](crate::ErrorKind::Server) where it refuses the session.
pub async fn examine(settings: &ConnectionSettings) -> Result<Report, Error> {
    let session = Session::open(settings).await?;
    let subject = session.subject();
    let mut report = Report {
        role: subject.role.clone(),
        database: subject.database.clone(),
        server_version: subject.version,
        findings: Vec::new(),
        unjudged: Vec::new(),
    };
    for check in checks::ALL.iter().filter(|check| check.concerns(subject)) {
        match session.run(check.query).await {
            Ok(rows) => report.findings.extend(finding(check, rows)),
            Err(failed) => report.unjudged.push(unjudged(check, failed)?),
        }
        let Some(blind) = check.blind else { continue };
        match session.run(blind).await {
            Ok(rows) if rows.is_empty() => {}
            Ok(rows) => {
                let objects: Vec<String> = rows.into_iter().filter_map(|row| row.object).collect();
                report.unjudged.push(Unjudged::new(check, format!("not readable: {}", objects.join(", "))));
            }
            Err(failed) => report.unjudged.push(unjudged(check, failed)?),
        }
    }
    if !subject.is_bootstrap {
        sequences::examine(&session, &mut report).await?;
    }
    report.findings.sort_by_key(|finding| finding.severity);
    Ok(report)
}

/// Lists the checks, in the order in which their fixes have to run: the stable identifier, the severity, the title.
pub fn checks() -> impl Iterator<Item = (&'static str, Severity, &'static str)> {
    checks::ALL.iter().chain([&sequences::BEHIND]).map(|check| (check.id, check.severity, check.title))
}

fn finding(check: &Check, rows: Vec<session::Row>) -> Option<Finding> {
    if rows.is_empty() {
        return None;
    }
    let mut finding = Finding::new(check);
    for row in rows {
        finding.add(row.object, row.fix);
    }
    Some(finding)
}

/// What the server refused to answer is a result; a line that broke is an error.
fn unjudged(check: &Check, failed: Failed) -> Result<Unjudged, Error> {
    match failed {
        Failed::Refused(reason) => Ok(Unjudged::new(check, reason)),
        Failed::Lost(error) => Err(error),
    }
}
