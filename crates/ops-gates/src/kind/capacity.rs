//! `kind = "capacity"`: whether a server still does what it must, measured by the tool that everybody measures it with.
//!
//! Several runs, one after the other: PASS where every run reaches the limit, FAIL where none does, and in between nothing is
//! shown. The gate loads the server: run nothing beside it, and not on a production server.
//!
//! It writes only when asked. With `scale`, pgbench makes tables in a schema of its own, `ops_gates_…`, which is dropped at
//! the end; a gate that is stopped before leaves it, and its log has the name. With `write`, one Redis key of such a name is
//! set many times, and deleted.

use super::argv;
use crate::gate::{Context, Facts, Gate, Program, Wrong};
use crate::outcome::{Fault, Finding};
use crate::value::{Span, Text, Threshold, VariableName, holds_a_password};
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::time::Duration;

/// A server that must do so much work a second.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Capacity {
    /// The tool that measures.
    pub tool: CapacityTool,
    /// The address of the server, without a password: `postgresql://app@db/app`, `redis://cache:6379`.
    pub url: Text,
    /// For pgbench: the variable that holds the password. (redis-benchmark takes passwords only as an argument, which everyone
    /// on the machine can see, so that a server with one cannot be measured.)
    pub password_env: Option<VariableName>,
    /// The least work in every second: transactions of pgbench, requests of redis-benchmark.
    pub min_per_second: Threshold,
    /// How many clients there are at once.
    #[serde(default = "four")]
    pub clients: u32,
    /// How many times it is measured.
    #[serde(default = "three")]
    pub runs: u32,
    /// For pgbench: how long each run takes.
    #[serde(default = "ten_seconds")]
    pub duration: Span,
    /// For pgbench: a script of its own kind. Either this or `scale`.
    pub script: Option<Text>,
    /// For pgbench: make tables of this scale, 100,000 rows each, in a schema of their own, and run the standard transaction.
    pub scale: Option<u32>,
    /// For redis-benchmark: how many requests each run sends.
    #[serde(default = "hundred_thousand")]
    pub requests: u64,
    /// For redis-benchmark: set a key of our own instead of reading one that is not there.
    #[serde(default)]
    pub write: bool,
}

/// A tool that measures capacity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CapacityTool {
    /// PostgreSQL's.
    Pgbench,
    /// Redis'.
    RedisBenchmark,
}

fn four() -> u32 {
    4
}

fn three() -> u32 {
    3
}

fn ten_seconds() -> Span {
    Span::from_secs(10)
}

fn hundred_thousand() -> u64 {
    100_000
}

impl Gate for Capacity {
    fn wrong(&self, _: &Facts) -> Vec<Wrong> {
        let mut wrong = argv::secrets_in(&self.url);
        if holds_a_password(self.url.template()) {
            wrong.push(Wrong::text(&self.url, "the address holds a password, which a plan must not"));
        }
        if self.clients == 0 || self.runs == 0 || self.requests == 0 {
            wrong.push(Wrong::gate("`clients`, `runs` and `requests` are at least 1"));
        }
        match self.tool {
            CapacityTool::Pgbench => {
                if self.script.is_some() == self.scale.is_some() || self.scale == Some(0) {
                    wrong.push(Wrong::gate(
                        "give either `script`, or a `scale` to make tables in a schema of their own",
                    ));
                }
                if self.duration.get() < Duration::from_secs(1) {
                    wrong.push(Wrong::gate("`duration` is at least 1s"));
                }
                if self.write {
                    wrong.push(Wrong::gate("`write` is for redis-benchmark"));
                }
            }
            CapacityTool::RedisBenchmark => {
                if self.script.is_some() || self.scale.is_some() || self.password_env.is_some() {
                    wrong.push(Wrong::gate("`script`, `scale` and `password_env` are for pgbench"));
                }
            }
        }
        wrong
    }

    fn summary(&self) -> String {
        format!("{} does >= {} a second", self.url, self.min_per_second)
    }

    fn check<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Finding> {
        Box::pin(async {
            let measured = match self.tool {
                CapacityTool::Pgbench => self.pgbench(context).await,
                CapacityTool::RedisBenchmark => self.redis(context).await,
            };
            measured.map_or_else(|finding| finding, |rates| self.judge(&rates))
        })
    }
}

impl Capacity {
    async fn pgbench(&self, context: &Context<'_>) -> Result<Vec<f64>, Finding> {
        let Some(scale) = self.scale else { return self.transactions(context, None).await };
        let schema = own_name(context);
        context.log(&format!("the tables are made in schema {schema}"));
        self.psql(context, &format!("CREATE SCHEMA {schema}")).await?;
        let filled = self.fill(context, &schema, scale).await;
        let rates = match filled {
            Ok(()) => self.transactions(context, Some(&schema)).await,
            Err(finding) => Err(finding),
        };
        let dropped = self.psql(context, &format!("DROP SCHEMA {schema} CASCADE")).await;
        // What was found first says more.
        rates.and_then(|rates| dropped.map(|()| rates))
    }

    async fn fill(&self, context: &Context<'_>, schema: &str, scale: u32) -> Result<(), Finding> {
        let words = ["-i".to_owned(), "-q".to_owned(), "-s".to_owned(), scale.to_string()];
        self.postgres(context, "pgbench", &words, Some(schema)).await.map(|_| ())
    }

    async fn transactions(&self, context: &Context<'_>, schema: Option<&str>) -> Result<Vec<f64>, Finding> {
        let seconds = self.duration.get().as_secs().max(1).to_string();
        let clients = self.clients.to_string();
        let mut words: Vec<String> =
            ["-n", "-T", &seconds, "-c", &clients, "-j", "2"].map(str::to_owned).to_vec();
        if let Some(script) = &self.script {
            words.extend(["-f".to_owned(), context.path(script)?.display().to_string()]);
        }
        let mut rates = Vec::new();
        for _ in 0..self.runs {
            let output = self.postgres(context, "pgbench", &words, schema).await?;
            rates.push(
                tps(&output)
                    .map_err(|why| Finding::error(Fault::NoData, "no-work", format!("pgbench: {why}")))?,
            );
        }
        Ok(rates)
    }

    async fn psql(&self, context: &Context<'_>, statement: &str) -> Result<(), Finding> {
        let words = ["-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", statement].map(str::to_owned);
        self.postgres(context, "psql", &words, None).await.map(|_| ())
    }

    /// Runs a client of PostgreSQL on the database, which is its last argument.
    async fn postgres(
        &self,
        context: &Context<'_>,
        name: &str,
        words: &[String],
        schema: Option<&str>,
    ) -> Result<String, Finding> {
        let mut program = Program::new(name).args(words).args([context.resolve(&self.url)?]);
        let mut give =
            |name: &str, value: &str| program.environment.push((OsString::from(name), OsString::from(value)));
        if let Some(password) = self.password_env.as_ref().and_then(|name| context.variable(name)) {
            give("PGPASSWORD", password.expose_secret());
        }
        if let Some(schema) = schema {
            give("PGOPTIONS", &format!("-c search_path={schema}"));
        }
        give("PGAPPNAME", "ops-gates");
        give("PGCONNECT_TIMEOUT", "10");
        program.keep = 1024 * 1024;
        let ran = context.run(program).await?;
        match ran.code() {
            Some(0) => Ok(String::from_utf8_lossy(&ran.stdout).into_owned()),
            // Its log, masked, says why.
            _ => Err(Finding::error(
                Fault::Tool,
                "tool-failed",
                format!("{name} failed on {}; see the log of the gate", self.url),
            )),
        }
    }

    async fn redis(&self, context: &Context<'_>) -> Result<Vec<f64>, Finding> {
        let url = super::web::url(context, &self.url)?;
        let (Some(host), port) = (url.host_str(), url.port().unwrap_or(6379)) else {
            return Err(Finding::error(Fault::Unresolved, "url", format!("{} names no host", self.url)));
        };
        // Where nobody listens, the tool tries for ever.
        let connected = tokio::net::TcpStream::connect((host.trim_matches(['[', ']']), port)).await;
        connected
            .map_err(|error| Finding::error(Fault::Connect, "connect", format!("{}: {error}", self.url)))?;
        let key = own_name(context);
        let words: &[&str] = if self.write { &["SET", &key, "xxxxxxxxxxxxxxxx"] } else { &["GET", &key] };
        let mut rates: Result<Vec<f64>, Finding> = Ok(Vec::new());
        for _ in 0..self.runs {
            let rate = self.redis_benchmark(context, host, port, self.requests, words).await;
            rates = rates.and_then(|rates| Ok([rates, vec![rate?]].concat()));
        }
        if self.write {
            let deleted = self.redis_benchmark(context, host, port, 1, &["DEL", &key]).await;
            // What was found first says more.
            return rates.and_then(|rates| deleted.map(|_| rates));
        }
        rates
    }

    async fn redis_benchmark(
        &self,
        context: &Context<'_>,
        host: &str,
        port: u16,
        requests: u64,
        words: &[&str],
    ) -> Result<f64, Finding> {
        let clients = if requests == 1 { 1 } else { self.clients };
        let given = [
            "-h",
            host,
            "-p",
            &port.to_string(),
            "-n",
            &requests.to_string(),
            "-c",
            &clients.to_string(),
            "--csv",
        ]
        .map(str::to_owned);
        let mut program = Program::new("redis-benchmark").args(given).args(words.iter().copied());
        program.keep = 1024 * 1024;
        let ran = context.run(program).await?;
        let rate = requests_per_second(&String::from_utf8_lossy(&ran.stdout));
        match (ran.code(), rate) {
            (Some(0), Some(rate)) => Ok(rate),
            _ => Err(Finding::error(
                Fault::Tool,
                "tool-failed",
                format!("redis-benchmark failed on {}; see the log of the gate", self.url),
            )),
        }
    }

    fn judge(&self, rates: &[f64]) -> Finding {
        let limit = self.min_per_second.get();
        let lowest = rates.iter().copied().fold(f64::INFINITY, f64::min);
        let highest = rates.iter().copied().fold(0.0, f64::max);
        let known = format!("{} runs did between {lowest:.0} and {highest:.0} a second", rates.len());
        let finding = if rates.is_empty() || !lowest.is_finite() {
            return Finding::error(Fault::NoData, "no-work", "nothing was measured");
        } else if lowest >= limit {
            Finding::pass(known)
        } else if highest < limit {
            Finding::fail("too-little", format!("{known}, below {limit}"))
        } else {
            Finding::inconclusive("not-shown", format!("{known}, some below {limit}"))
        };
        finding
            .measured("lowest_per_second", lowest)
            .measured("highest_per_second", highest)
            .judged_by(format!("per_second >= {limit} ({})", self.min_per_second.origin()))
    }
}

/// A name that nothing else on the server has.
fn own_name(context: &Context<'_>) -> String {
    let time = context.now().as_nanosecond();
    format!("ops_gates_{}_{}", std::process::id(), time.unsigned_abs())
}

/// `number of transactions actually processed: 1234`, `tps = 123.4 (without initial connection time)`
fn tps(output: &str) -> Result<f64, &'static str> {
    let after = |start: &str| output.lines().find_map(|line| line.strip_prefix(start));
    let number = |text: &str| text.trim_start().split([' ', '/']).next()?.parse::<f64>().ok();
    let processed = after("number of transactions actually processed:").and_then(number);
    if !processed.is_some_and(|processed| processed > 0.0) {
        return Err("no transaction was processed");
    }
    if after("number of failed transactions:").and_then(number).is_some_and(|failed| failed > 0.0) {
        return Err("transactions failed");
    }
    after("tps =").and_then(number).ok_or("its rate cannot be read")
}

/// The second field of the last line: `"GET key","123456.78",…`
fn requests_per_second(output: &str) -> Option<f64> {
    let line = output.lines().rev().find(|line| line.starts_with('"') && !line.starts_with("\"test\""))?;
    let rate = line.split("\",\"").nth(1)?;
    rate.trim_matches('"').parse().ok().filter(|rate: &f64| *rate > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_where_work_was_done() {
        let of = |done: &str, failed: &str| {
            format!(
                "pgbench (15.18)\nnumber of transactions actually processed: {done}\nnumber of failed transactions: {failed} (0.000%)\nlatency average = 1.0 ms\ntps = 1234.5 (without initial connection time)\n"
            )
        };
        assert_eq!(tps(&of("100", "0")), Ok(1234.5));
        assert_eq!(tps(&of("100/100", "0")), Ok(1234.5));
        assert!(tps(&of("0", "0")).is_err() && tps(&of("100", "3")).is_err() && tps("").is_err());
        let csv = "\"test\",\"rps\",\"avg_latency_ms\"\n\"GET a\",\"50000.00\",\"0.1\"\n";
        assert_eq!(requests_per_second(csv), Some(50000.0));
        assert_eq!(requests_per_second("\"test\",\"rps\"\n"), None);
        assert_eq!(requests_per_second("NOAUTH"), None);
    }
}
