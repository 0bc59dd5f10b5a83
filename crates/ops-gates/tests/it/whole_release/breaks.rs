//! What is broken of each gate, one thing at a time, and what the gate then says.

use super::servers::in_shop;
use super::{World, closed_port, set};
use ops_gates::Outcome;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

pub(crate) struct Break {
    pub(crate) gate: &'static str,
    how: &'static [How],
    outcome: &'static str,
    code: &'static str,
}

/// One thing that is done; it is taken back when the gate has judged.
enum How {
    /// A stand-in breaks.
    Fault(&'static str),
    /// A variable has another value. `CLOSED` stands for an address where nobody listens, `BAD` for the bad commit.
    Variable(&'static str, &'static str),
    /// A key of the gate has another value.
    Key(&'static str, &'static str),
    /// A file is there, or is not.
    Mark(&'static str),
    Away(&'static str),
    /// A file says something else.
    Replace(&'static str, &'static str, &'static str),
    /// The commit that is released has one more file.
    Commit(&'static str, &'static str),
    /// Statements, and what takes them back.
    Sql(&'static str, &'static str),
    Cache(&'static [&'static str], &'static [&'static str]),
    /// An alert fires that somebody has to wake up for.
    Alert,
    /// Nobody consumes the queue.
    NoConsumer,
}

use How::{Alert, Away, Cache, Commit, Fault, Key, Mark, NoConsumer, Replace, Sql, Variable};

const fn of(gate: &'static str, how: &'static [How], outcome: &'static str, code: &'static str) -> Break {
    Break { gate, how, outcome, code }
}

pub(crate) const BREAKS: &[Break] = &[
    of("lint", &[Mark("broken/lint")], "FAIL", "exit-code"),
    of("unit", &[Mark("broken/junit")], "FAIL", "tests-failed"),
    of("integration", &[Mark("broken/junit-integration")], "FAIL", "tests-failed"),
    of("smoke", &[Variable("SMOKE_URL", "http://CLOSED")], "FAIL", "exit-code"),
    of("poc-inventory", &[Mark("broken/poc-inventory")], "FAIL", "stdout"),
    of("poc-payment", &[Mark("broken/poc-payment")], "FAIL", "stdout"),
    of("poc-ai-readonly", &[Mark("services/ai/readme.md"), Mark("broken/poc-ai_readonly")], "FAIL", "stdout"),
    of("provenance", &[Away("evidence/vsa/image.json")], "FAIL", "attestation-missing"),
    of("release-notes", &[Variable("COMMIT", "BAD")], "FAIL", "notes-rewritten"),
    of(
        "rollback-plan",
        &[Replace("release/rollback.md", "Took:", "Took: 6m\nOf which:")],
        "FAIL",
        "too-slow",
    ),
    of("llm", &[Fault("llm-silent")], "ERROR", "no-token"),
    of("prometheus", &[Fault("worker")], "FAIL", "targets"),
    of("alertmanager", &[Alert], "FAIL", "alerts"),
    of("grafana", &[Fault("grafana-database")], "FAIL", "database"),
    of("loki", &[Fault("loki-loses"), Key("timeout", "\"1s\"")], "FAIL", "round-trip"),
    of("audit-stream", &[Fault("audit")], "FAIL", "lines"),
    of("loki-retention", &[Fault("loki-period")], "FAIL", "body"),
    of("loki-deletes", &[Fault("loki-deletes")], "FAIL", "body"),
    of("tracing", &[Fault("spans"), Key("timeout", "\"1s\"")], "FAIL", "round-trip"),
    of("mongodb", &[Fault("mongodb")], "FAIL", "not-primary"),
    of("mongodb", &[Variable("MONGO_PASSWORD", "another-passw0rd")], "ERROR", "refused"),
    of(
        "cache",
        &[Cache(&["CONFIG", "SET", "maxmemory", "1100kb"], &["CONFIG", "SET", "maxmemory", "1gb"])],
        "FAIL",
        "memory",
    ),
    of("cache", &[Variable("REDIS_PASSWORD", "another-passw0rd")], "ERROR", "refused"),
    of("object-store", &[Variable("S3_URL", "http://CLOSED")], "ERROR", "connect"),
    of("odoo", &[Fault("odoo")], "FAIL", "json"),
    of("kafka", &[Variable("KAFKA_BROKER", "CLOSED")], "ERROR", "connect"),
    of("kafka", &[Key("topics", "{ \"slm.requests\" = 4 }")], "FAIL", "partitions"),
    of("kafka", &[Key("topics", "{ \"slm.forgotten\" = 1 }")], "FAIL", "topic-missing"),
    of("message-queue", &[NoConsumer], "FAIL", "consumers"),
    of("message-queue", &[Variable("QUEUE_PASSWORD", "another-passw0rd")], "ERROR", "refused"),
    of("vector-database", &[Fault("vector")], "FAIL", "status"),
    of("time-series", &[Fault("series")], "FAIL", "json"),
    of(
        "database",
        &[Sql("ALTER TABLE orders OWNER TO shop", "ALTER TABLE orders OWNER TO postgres")],
        "FAIL",
        "role-can-destroy",
    ),
    of(
        "database",
        &[Sql(
            "DELETE FROM _sqlx_migrations WHERE version = 42",
            "INSERT INTO _sqlx_migrations VALUES (42, true)",
        )],
        "FAIL",
        "migration",
    ),
    of("documents", &[Replace("release/infra/monitoring.md", "# ", "# TODO ")], "FAIL", "placeholder"),
    of(
        "runbook",
        &[Replace("release/infra/runbook.md", "Without Kafka", "Without")],
        "FAIL",
        "heading-missing",
    ),
    of("env-outside", &[Variable("COMMIT", "BAD")], "FAIL", "changed"),
    of("env-example", &[Mark("broken/env-example")], "FAIL", "exit-code"),
    of("migrations", &[Variable("COMMIT", "BAD")], "ERROR", "other-commit"),
    of("backup", &[Variable("SYSTEM_IDENTIFIER", "7400000000000000001")], "FAIL", "no-backup"),
    of("backup", &[Key("max_backup_age", "\"1ms\"")], "FAIL", "backup-too-old"),
    of("rehearsal", &[Away("evidence/rehearsals")], "FAIL", "evidence-missing"),
    of("rehearsal", &[Variable("SYSTEM_IDENTIFIER", "7400000000000000001")], "FAIL", "evidence-unrelated"),
    of("chaos-drill", &[Key("max_age", "\"1ms\"")], "FAIL", "evidence-too-old"),
    of(
        "disaster-recovery",
        &[Replace("release/disaster_recovery.md", "Last drill", "Drill")],
        "FAIL",
        "heading-missing",
    ),
    of(
        "secrets",
        &[Commit("config.env", concat!("AWS_ACCESS_KEY_ID=AKIA", "Q3ZX7MNB2KLP5VTD\n"))],
        "FAIL",
        "secret-found",
    ),
    of("secrets", &[Replace("api/orders.rs", "changed", "changed since")], "ERROR", "other-commit"),
    of(
        "advisories",
        &[Replace(
            "evidence/audit.json",
            "\"list\":[]",
            "\"list\":[{\"advisory\":{\"id\":\"RUSTSEC-2026-0001\"},\"package\":{\"name\":\"time\"}}]",
        )],
        "FAIL",
        "vulnerable",
    ),
    of(
        "advisories",
        &[Replace("evidence/audit.json", "\"last-updated\":\"20", "\"last-updated\":\"19")],
        "ERROR",
        "database-too-old",
    ),
    of(
        "image",
        &[Replace(
            "evidence/trivy.json",
            "\"Packages\"",
            "\"Vulnerabilities\":[{\"VulnerabilityID\":\"CVE-2026-1\",\"PkgName\":\"libc6\",\"Severity\":\"CRITICAL\"}],\"Packages\"",
        )],
        "FAIL",
        "vulnerable",
    ),
    of("tls", &[Key("min_days", "500")], "FAIL", "expires-soon"),
    of(
        "database-tls",
        &[
            Sql("ALTER SYSTEM SET ssl = off", "ALTER SYSTEM RESET ssl"),
            Sql("SELECT pg_reload_conf()", "SELECT pg_reload_conf()"),
        ],
        "FAIL",
        "no-tls",
    ),
    of("security-documents", &[Replace("release/rotation.md", "# ", "# TBD ")], "FAIL", "placeholder"),
    of("logs", &[Mark("broken/logs")], "FAIL", "unstructured"),
    of("mcp-metrics", &[Fault("mcp")], "FAIL", "status"),
    of("dashboards", &[Away("release/grafana/slo-mcp.json")], "FAIL", "document-missing"),
    of("alerts", &[Away("release/prometheus/alertmanager.yml")], "FAIL", "document-missing"),
    of(
        "alerting-runbook",
        &[Replace("release/alerting_runbook.md", "Rollback authority", "Rollback")],
        "FAIL",
        "heading-missing",
    ),
    of("metrics", &[Variable("PROMETHEUS_URL", "http://CLOSED")], "ERROR", "connect"),
    of("metrics", &[Key("min_series", "3")], "ERROR", "series"),
    of("database-time", &[Key("max", "0.001")], "FAIL", "above"),
    of("cache-hits", &[Key("min", "95")], "FAIL", "below"),
    of("processors", &[Key("max", "10")], "FAIL", "above"),
    of("memory", &[Key("max", "10")], "FAIL", "above"),
    of("disks", &[Key("max", "10")], "FAIL", "above"),
    of("restarts", &[Key("max", "0.01")], "FAIL", "above"),
    of("mcp-discovery", &[Fault("mcp")], "ERROR", "no-success"),
    of("mcp-calculator", &[Fault("mcp")], "ERROR", "no-success"),
    of("mcp-token-small", &[Fault("mcp")], "ERROR", "no-success"),
    of("mcp-token-medium", &[Fault("mcp")], "ERROR", "no-success"),
    of("mcp-token-large", &[Fault("mcp")], "ERROR", "no-success"),
    of("mcp-models", &[Fault("llm-models")], "ERROR", "no-success"),
    of("response-time", &[Fault("orders")], "ERROR", "no-success"),
    of("error-budget", &[Key("max_spent_percent", "1")], "FAIL", "budget-spent"),
    of("pipeline-green", &[Variable("CI_GREEN_PERCENT", "99")], "FAIL", "below"),
    of("deployments-succeed", &[Variable("DEPLOYMENT_SUCCESS_PERCENT", "99.9")], "FAIL", "below"),
    of("time-to-deploy", &[Variable("TIME_TO_DEPLOY_SEC", "60")], "FAIL", "above"),
    of("time-to-recover", &[Variable("TIME_TO_RECOVER_SEC", "10")], "FAIL", "above"),
    of("cost", &[Variable("COST_THIS_WEEK", "121")], "FAIL", "increase"),
    of("benchmark", &[Key("max_slowdown_percent", "0.1")], "FAIL", "slower"),
    of(
        "capacity-postgres",
        &[Variable("BENCH_DATABASE_PASSWORD", "another-passw0rd")],
        "ERROR",
        "tool-failed",
    ),
    of("capacity-redis", &[Variable("BENCH_REDIS", "CLOSED")], "ERROR", "connect"),
    of("approval", &[Variable("APPROVALS", "nobody")], "FAIL", "approval-missing"),
    of("approval", &[Key("roles", "[\"security-officer\"]")], "FAIL", "role-missing"),
    of("infrastructure-as-code", &[Variable("COMMIT", "BAD")], "FAIL", "changed-alone"),
    of("terraform", &[Mark("broken/terraform")], "FAIL", "stdout"),
    of("change-request", &[Variable("COMMIT", "BAD")], "FAIL", "other-commit"),
    of("deployment-log", &[Variable("DEPLOYED_COMMIT", "BAD")], "FAIL", "not-logged"),
    of("deployment-log", &[Variable("DEPLOYMENT_LOG", "none.jsonl")], "ERROR", "file-missing"),
    of(
        "maintenance-checklist",
        &[Replace("release/maintenance.md", "Communication", "Talk")],
        "FAIL",
        "heading-missing",
    ),
    of("window", &[Key("allow", "OTHER DAY"), Variable("APPROVALS", "nobody")], "FAIL", "closed"),
];

impl World {
    /// Breaks one thing, lets its gate judge, and takes it back. Returns what was not as it should be.
    pub(crate) fn try_break(&mut self, it: &Break) -> Option<String> {
        if it.gate == "message-queue" && self.servers.queue.is_none() {
            return None;
        }
        let mut plan = self.only(it.gate);
        let mut instead = Vec::new();
        let mut undo: Vec<Undo> = Vec::new();
        for how in it.how {
            match how {
                Key(key, "OTHER DAY") => set(&mut plan, it.gate, key, &other_day()),
                Key(key, value) => set(&mut plan, it.gate, key, value),
                Variable(name, value) => {
                    let value = value.replace("CLOSED", &format!("127.0.0.1:{}", closed_port()));
                    let value =
                        value.replace("BAD", &self.released.bad).replace("nobody", &self.path("nobody"));
                    instead.push(((*name).to_owned(), value));
                }
                Commit(path, text) => {
                    self.released.repository.write(path, text);
                    let commit = self.released.repository.commit("linus@shop.example", "one more");
                    instead.push(("COMMIT".to_owned(), commit));
                    undo.push(Undo::Reset);
                }
                how => undo.push(self.make(how)),
            }
        }
        // Some things take a moment until they are seen: a scrape, an alert, a reload.
        let deadline = Instant::now() + Duration::from_secs(20);
        let said = loop {
            let ran = self.run(&plan, &instead);
            let gate = &ran.record.gates[0];
            let outcome = gate.outcome.as_ref().map_or("none", Outcome::word);
            let code = gate.code.as_deref().unwrap_or("");
            let as_expected = (outcome, code) == (it.outcome, it.code)
                && [Some(20), Some(21)].contains(&ran.code)
                && ran.record.blocked_by == [it.gate];
            if as_expected {
                break None;
            }
            if Instant::now() > deadline || (outcome != "PASS" && code != "not-scraped") {
                let reason = gate.reason.as_deref().unwrap_or("");
                break Some(format!(
                    "{}: {outcome} {code} instead of {} {}, exit {:?}: {reason}",
                    it.gate, it.outcome, it.code, ran.code
                ));
            }
            std::thread::sleep(Duration::from_millis(200));
        };
        for step in undo.into_iter().rev() {
            self.take_back(step);
        }
        self.faults.clear();
        said
    }

    fn make(&mut self, how: &How) -> Undo {
        let repository = &self.released.repository;
        match *how {
            Fault(name) => {
                self.faults.put(name);
                Undo::Nothing
            }
            Mark(path) => {
                repository.write(path, "");
                Undo::Remove(path)
            }
            Away(path) => {
                std::fs::rename(repository.path(path), self.home.path().join("away")).expect(path);
                Undo::Back(path)
            }
            Replace(path, from, to) => {
                let text = std::fs::read_to_string(repository.path(path)).expect(path);
                assert!(text.contains(from), "{path}: {from}");
                repository.write(path, &text.replacen(from, to, 1));
                Undo::Write(path, text)
            }
            Sql(statement, back) => {
                in_shop(&self.servers.postgres, statement);
                Undo::Sql(back)
            }
            Cache(words, back) => {
                self.servers.cache.command(words).expect("a command");
                Undo::Cache(back)
            }
            Alert => {
                alert(self.servers.alertmanager.port);
                Undo::Nothing
            }
            NoConsumer => {
                self.consumer = None;
                Undo::Consume
            }
            Key(..) | Variable(..) | Commit(..) => unreachable!("done by whoever calls"),
        }
    }

    fn take_back(&mut self, step: Undo) {
        let repository = &self.released.repository;
        match step {
            Undo::Nothing => {}
            Undo::Remove(path) => {
                std::fs::remove_file(repository.path(path)).expect(path);
                // A folder of its own was evidence too.
                if path.starts_with("services/") {
                    std::fs::remove_dir(repository.path(path).parent().expect("a folder")).expect(path);
                }
            }
            Undo::Back(path) => {
                std::fs::rename(self.home.path().join("away"), repository.path(path)).expect(path)
            }
            Undo::Write(path, text) => repository.write(path, &text),
            Undo::Sql(statement) => drop(in_shop(&self.servers.postgres, statement)),
            Undo::Cache(words) => drop(self.servers.cache.command(words).expect("a command")),
            Undo::Reset => drop(repository.git(&["reset", "--quiet", "--hard", &self.released.commit])),
            Undo::Consume => self.consume(),
        }
    }
}

/// How something is taken back.
enum Undo {
    Nothing,
    Remove(&'static str),
    Back(&'static str),
    Write(&'static str, String),
    Sql(&'static str),
    Cache(&'static [&'static str]),
    Reset,
    Consume,
}

/// Tells Alertmanager of an alert, as Prometheus would.
fn alert(port: u16) {
    let body = r#"[{"labels":{"alertname":"Down","severity":"critical"}}]"#;
    let request = format!(
        "POST /api/v2/alerts HTTP/1.0\r\nhost: it\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut answer = String::new();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("Alertmanager");
    stream.write_all(request.as_bytes()).expect("a request");
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.contains(" 200 "), "{answer}");
}

/// A window of the day in three days.
fn other_day() -> String {
    let day = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).weekday();
    let name = day.wrapping_add(3);
    let name = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
        [usize::from(name.to_monday_zero_offset().unsigned_abs())];
    format!("[{{ days = [\"{name}\"], from = \"02:00\", to = \"06:00\", zone = \"UTC\" }}]")
}
