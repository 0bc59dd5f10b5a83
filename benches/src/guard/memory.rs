//! What a judge keeps of many distinct texts. Measured in a process of its own, where nothing else has grown.

use crate::report::Row;
use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use ops_core::guard::{Context, Judge, Policy};
use serde::{Deserialize, Serialize};
use std::process::{Command, Stdio};

/// The first word that turns this program into the process that is measured.
pub(crate) const REMEMBER: &str = "--remember";

const JUDGEMENTS: usize = 100_000;

/// Megabytes of resident memory.
#[derive(Debug, Serialize, Deserialize)]
struct Growth {
    /// After the first hundred thousand texts, less what the process had before.
    first: f64,
    /// What the second hundred thousand added.
    second: f64,
}

/// The measured process: judges and prints what it grew by.
pub(crate) fn remember() -> Result<String> {
    let (judge, at) = (Judge::new(Policy::app(), Context::default()), Timestamp::now());
    let judge_all = |offset: usize| {
        for number in offset..offset + JUDGEMENTS {
            let sql = format!(
                "SELECT id, email, created_at FROM accounts WHERE tenant_id = {number} AND email = $1 LIMIT 1"
            );
            judge.judge(&sql, at);
        }
    };
    let before = resident()?;
    judge_all(0);
    let middle = resident()?;
    judge_all(JUDGEMENTS);
    let growth = Growth { first: middle - before, second: resident()? - middle };
    Ok(serde_json::to_string(&growth)?)
}

pub(crate) fn row() -> Result<Row> {
    let ourselves = std::env::current_exe().context("this program cannot find itself")?;
    let done = Command::new(ourselves).arg(REMEMBER).stdin(Stdio::null()).output()?;
    ensure!(done.status.success(), "the judge ended: {}", String::from_utf8_lossy(&done.stderr).trim());
    let growth: Growth =
        serde_json::from_slice(&done.stdout).context("the judging process printed no figures")?;
    Ok(Row::new(format!("memory of {JUDGEMENTS} distinct judgements"), "MB", growth.first)
        .note(format!("as many again add {:.1} MB", growth.second)))
}

fn resident() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status").context("the kernel tells no memory")?;
    let line =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("the kernel tells no memory")?;
    let kilobytes: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kilobytes * 1024.0 / 1e6)
}
