//! The guard beside applications that know nothing of it: test suites of object-relational mappers, and pgbench, run on
//! a server that logs every statement; then the `app` policy judges what they sent.
//!
//! Needs Python with `venv` and `pip`. A suite that cannot be had is reported absent; nothing that is fetched stays.

mod judge;
mod log;
mod suites;

use crate::{Args, Outcome};
use anyhow::{Result, anyhow};
use judge::Findings;
use ops_core::connection::ConnectionSettings;
use ops_core::guard::{Context, Policy};
use ops_core::postgres::GuardedClient;
use ops_testkit::{Postgres, bin_dir, default_major, installed_majors};
use serde::Serialize;
use std::fmt::Write as _;
use suites::{Python, SUITES};

/// The whole comparison, as its JSON.
#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    postgresql: u32,
    suites: Vec<Row>,
}

/// One suite: what was found, or why it is absent.
#[derive(Debug, Serialize)]
struct Row {
    suite: &'static str,
    absent: Option<String>,
    findings: Option<Findings>,
}

/// Runs every suite that can be had, and judges its statements.
pub(crate) fn compare(args: &Args) -> Result<Outcome> {
    // pgbench does not come with every package of the server.
    let mut majors = default_major().into_iter().chain(installed_majors().into_iter().rev());
    let has_pgbench = |major: &u32| bin_dir(*major).is_ok_and(|bin| bin.join("pgbench").is_file());
    let major = majors.find(has_pgbench);
    let mut server = Postgres::builder();
    if let Some(major) = major {
        server = server.major(major).map_err(|error| anyhow!("{error:?}"))?;
    }
    for (name, value) in log::SETTINGS {
        server = server.setting(name, value);
    }
    let server = server.start().map_err(|error| anyhow!("PostgreSQL does not start: {error:?}"))?;
    let python = Python::prepare(&args.home.join("python"));
    let mut rows = Vec::new();
    for suite in SUITES {
        let before = server.log().len();
        let absent = (suite.run)(&server, &python).err();
        let text = server.log();
        let findings = absent
            .is_none()
            .then(|| anyhow::Ok(judge::judge(&log::read(&text[before..]), &context(&server)?)))
            .transpose()?;
        rows.push(Row { suite: suite.name, absent: absent.map(|error| format!("{error:#}")), findings });
    }
    let report = Report { schema: "ops-benches/orm/v1", postgresql: server.major(), suites: rows };
    Ok(Outcome { text: report.text(), json: serde_json::to_string(&report)? })
}

/// The extensions whose functions the suites call. One that is not installed is not there for them either.
const EXTENSIONS: [&str; 6] = ["btree_gist", "citext", "hstore", "pg_trgm", "pgcrypto", "unaccent"];

/// Returns what a guarded client would know beside the text: of the suites' own tables nothing, since they are gone, but
/// of their extensions all.
fn context(server: &Postgres) -> Result<Context> {
    for extension in EXTENSIONS {
        let _ = server.psql(&format!("CREATE EXTENSION IF NOT EXISTS {extension}"));
    }
    let settings = ConnectionSettings::parse(&server.socket_url())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = GuardedClient::connect(&settings, Policy::app()).await?;
        Ok(client.context().await?)
    })
}

impl Report {
    fn text(&self) -> String {
        let mut text = format!(
            "PostgreSQL {}, policy app, judged with the catalog of a database that has the extensions alone\n",
            self.postgresql
        );
        for row in &self.suites {
            if let Some(reason) = &row.absent {
                let _ = writeln!(text, "\n{}: absent: {reason}", row.suite);
            }
            if let Some(findings) = &row.findings {
                let _ = writeln!(text, "\n{}: {}", row.suite, findings.text());
            }
        }
        text
    }
}
