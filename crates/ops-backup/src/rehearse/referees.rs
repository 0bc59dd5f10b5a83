//! Who judges a restored cluster: PostgreSQL's own tools, and the caller's questions. Each gives checks for the record.

use ops_core::evidence::{Check, Outcome};
use tokio_postgres::SimpleQueryMessage;

use super::options::Assertion;
use super::process::{self, Launcher};
use super::server::Server;
use crate::error::{Error, ErrorKind, Result};

/// The most that is quoted of a tool's output or of a value in a check's detail.
const QUOTE_LIMIT: usize = 300;

/// Returns the major version of the programs that a launcher runs.
///
/// # Errors
/// `Configuration` where there is no such program.
pub(super) async fn installed_major(launcher: &Launcher<'_>) -> Result<u32> {
    let unusable = || {
        let message =
            format!("{} is not a PostgreSQL server that can run", launcher.program("postgres").display());
        Error::new(ErrorKind::Configuration, message)
    };
    let outcome = launcher.run("postgres", &["--version"]).await?;
    // For example "postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)" or "postgres (PostgreSQL) 19beta1".
    let version =
        outcome.output.split("(PostgreSQL) ").nth(1).filter(|_| outcome.status == 0).ok_or_else(unusable)?;
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().map_err(|_| unusable())
}

/// Compares every restored file with the backup manifest. WAL comes from the archive during replay, so it is not
/// in the directory and not looked at here.
pub(super) async fn verify_backup(launcher: &Launcher<'_>) -> Result<Check> {
    let data = launcher.scratch.data();
    let outcome = launcher.run("pg_verifybackup", &["--no-parse-wal".as_ref(), data.as_os_str()]).await?;
    let judged = match outcome.status {
        0 => Outcome::Passed,
        1 => Outcome::Failed,
        _ => Outcome::Error,
    };
    const PASSED: &str =
        "every file is as the backup manifest says; WAL comes from the archive later (--no-parse-wal)";
    Ok(check("pg_verifybackup", judged, PASSED, &outcome))
}

/// Looks for corruption in all tables and B-tree indexes of all databases.
///
/// The extension that it needs is installed where it is missing, so the server must take writes.
pub(super) async fn amcheck(launcher: &Launcher<'_>) -> Result<Check> {
    let options = launcher.options;
    let sockets = launcher.scratch.sockets();
    let jobs = std::thread::available_parallelism().map_or(1, |cpus| cpus.get().min(8)).to_string();
    let outcome = launcher
        .run(
            "pg_amcheck",
            &[
                "--all".as_ref(),
                "--install-missing".as_ref(),
                "--no-password".as_ref(),
                "--host".as_ref(),
                sockets.as_os_str(),
                "--port=5432".as_ref(),
                "--username".as_ref(),
                options.user.as_ref(),
                "--maintenance-db".as_ref(),
                options.database.as_ref(),
                "--jobs".as_ref(),
                jobs.as_ref(),
            ],
        )
        .await?;
    let judged = match outcome.status {
        0 => Outcome::Passed,
        2 => Outcome::Failed,
        _ => Outcome::Error,
    };
    Ok(check("pg_amcheck", judged, "no table or B-tree index of any database is corrupt", &outcome))
}

/// Asks one question.
pub(super) async fn assertion(server: &Server, assertion: &Assertion) -> Check {
    let (outcome, detail) = match answer(server, assertion).await {
        Ok(Some(found)) if found == assertion.expect => {
            (Outcome::Passed, format!("the answer is {}", quote(&found)))
        }
        Ok(found) => {
            let found = found.map_or_else(|| "null".to_owned(), |found| quote(&found));
            (Outcome::Failed, format!("the answer is {found}, expected {}", quote(&assertion.expect)))
        }
        // A table that is not there is an answer as well: it is the recovered cluster that lacks it.
        Err(error) if error.kind() == ErrorKind::Postgres => (Outcome::Failed, super::record::chain(&error)),
        Err(error) => (Outcome::Error, super::record::chain(&error)),
    };
    Check { name: format!("assertion:{}", assertion.name), outcome, detail }
}

/// Returns the one value, `None` for null.
async fn answer(server: &Server, assertion: &Assertion) -> Result<Option<String>> {
    let client = server.connect(&assertion.database).await?;
    let messages = client
        .simple_query(&assertion.query)
        .await
        .map_err(|error| Error::postgres(format_args!("ask {:?}", assertion.name), error))?;
    let mut rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    match (rows.next(), rows.next()) {
        (Some(row), None) if row.len() == 1 => Ok(row.get(0).map(str::to_owned)),
        _ => Err(Error::new(ErrorKind::Postgres, format!("{:?} gave no single value", assertion.name))),
    }
}

fn check(name: &str, outcome: Outcome, passed: &str, process: &process::Outcome) -> Check {
    let status = process.status;
    let detail = match outcome {
        Outcome::Passed => passed.to_owned(),
        _ => format!("the tool ended with status {status}: {}", quote(process.output.trim())),
    };
    Check { name: name.to_owned(), outcome, detail }
}

/// One line, not too long: what is quoted comes from files and databases.
fn quote(text: &str) -> String {
    let mut quoted: String = text.chars().take(QUOTE_LIMIT).collect();
    if quoted.len() < text.len() {
        quoted.push('…');
    }
    format!("{quoted:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quote_is_one_short_line() {
        assert_eq!(quote("a\nb"), r#""a\nb""#);
        assert_eq!(quote(&"ä".repeat(QUOTE_LIMIT)).chars().count(), QUOTE_LIMIT + 2);
        assert_eq!(quote(&"ä".repeat(QUOTE_LIMIT + 1)).chars().count(), QUOTE_LIMIT + 3);
    }
}
