//! `examples/plans/release.toml` as a whole, run by `ops-gate` itself on a stage that is all there: it passes; and of every
//! gate one thing is broken, and it blocks.
//!
//! Real: PostgreSQL, Redis, SeaweedFS, Prometheus, Alertmanager, tansu for Kafka, RabbitMQ, TLS, git, the tests in Python,
//! pgbench and redis-benchmark, and all that our own commands do (backup, rehearsal, drill, scan, approvals). Stand-ins:
//! Grafana, Loki, a store of traces, a language model, MongoDB, Odoo, a vector and a time series database, the shop itself,
//! terraform. The reports of cargo-audit and trivy, the builder's summary and the samples of the benchmark are made here.

mod archive;
mod breaks;
pub(crate) mod kafka;
mod repository;
mod series;
mod servers;
mod stand_ins;

use crate::mongodb_stand_in;
use crate::server::{Authority, free_port};
use crate::support::run_gate;
use archive::Archive;
use breaks::BREAKS;
use ops_gates::{Outcome, RunRecord};
use repository::Released;
use servers::Servers;
use stand_ins::Faults;
use std::collections::BTreeMap;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;
use toml::{Table, Value};

const PLAN: &str = include_str!("../../../../../examples/plans/release.toml");

/// What of the plan this machine cannot be asked for, and why.
const OTHERWISE: [(&str, &str, &str); 12] = [
    // SeaweedFS answers 500 to each write into a bucket that is to be encrypted, where it has no store of keys.
    ("object-store", "encryption", "NONE"),
    // tansu is one broker, and lets in whom nobody knows.
    ("kafka", "user", "NONE"),
    ("kafka", "password", "NONE"),
    ("kafka", "sasl", "NONE"),
    ("kafka", "min_brokers", "1"),
    ("kafka", "min_in_sync", "1"),
    // The numbers are those of the shop's machines, and what is measured for half a minute is measured for seconds.
    ("capacity-postgres", "min_per_second", "1"),
    ("capacity-postgres", "scale", "1"),
    ("capacity-postgres", "duration", "\"1s\""),
    ("capacity-redis", "min_per_second", "1"),
    ("capacity-redis", "requests", "10000"),
    // A test writes nothing below /etc.
    ("window", "emergency_approvers", "\"HOME/approvers.toml\""),
];

/// A stage, a repository and all that was made before the gates run.
pub(crate) struct World {
    home: TempDir,
    authority: Authority,
    faults: Faults,
    servers: Servers,
    released: Released,
    variables: BTreeMap<String, String>,
    plan: Table,
    /// Somebody who takes what is in the queue.
    consumer: Option<TcpStream>,
    runs: u32,
}

/// How a run ended.
struct Ran {
    code: Option<i32>,
    stdout: String,
    record: RunRecord,
}

#[tokio::test]
#[ignore = "it takes all of the machine for a minute: by hand, with the four commands built"]
async fn the_whole_plan_passes_and_blocks_by_each_of_its_gates() {
    for name in ["ops-gate", "ops-backup", "ops-secrets", "ops-guard"] {
        if let Err(error) = ops_testkit::bin_exe(name) {
            ops_testkit::skip!("{error}");
        }
    }
    let mut world = match World::start() {
        Ok(world) => world,
        Err(missing) => ops_testkit::skip!("{missing}"),
    };
    world.settle().await;

    let ran = world.run(&world.plan.clone(), &[]);
    let not_passed: Vec<String> = ran
        .record
        .gates
        .iter()
        .filter(|gate| gate.outcome != Some(Outcome::Pass))
        .map(|gate| format!("{} {:?} {:?}", gate.id, gate.outcome, gate.reason))
        .collect();
    let expected = if world.servers.queue.is_some() { 1 } else { 2 };
    assert!(
        ran.code == Some(0)
            && not_passed.len() == expected
            && not_passed[0].starts_with("poc-ai-readonly Some(Skip"),
        "{:?} {not_passed:#?}\n{}",
        ran.code,
        ran.stdout
    );
    println!("{}", ran.stdout);
    // What a deployment asks.
    let (run, home) = (world.path(&format!("run-{}", world.runs)), world.path("keys/gate.pub.pem"));
    let verify =
        ["verify", &run, "--key", &home, "--commit", &world.released.commit, "--policy", "policy.toml"];
    succeed(&mut world.command(&verify, &[]));

    let broken: Vec<String> = BREAKS.iter().filter_map(|it| world.try_break(it)).collect();
    assert!(broken.is_empty(), "{broken:#?}");
    let gates = world.plan["gate"].as_array().expect("gates");
    let untried: Vec<&str> = gates
        .iter()
        .filter_map(|gate| gate["id"].as_str())
        .filter(|id| !BREAKS.iter().any(|it| it.gate == *id))
        .collect();
    assert_eq!(untried, Vec::<&str>::new(), "gates of which nothing was broken");

    // All of it again, with two things broken: the root causes stand first, and what needs them is blocked by them.
    world.faults.put("llm-silent");
    world.released.repository.write("broken/junit", "");
    let quick = world.without(&["capacity-postgres", "capacity-redis", "response-time"]);
    let ran = world.run(&quick, &[]);
    println!("{}", ran.stdout);
    assert_eq!(ran.code, Some(20));
    let of = |id: &str| ran.record.gates.iter().find(|gate| gate.id == id).expect("a gate");
    assert_eq!(of("unit").code.as_deref(), Some("tests-failed"));
    assert_eq!(of("smoke").outcome, Some(Outcome::Blocked { by: "unit".to_owned() }));
    let first = ran.stdout.lines().find(|line| line.starts_with("blocked by:")).expect("a verdict");
    assert!(first.contains("unit") && first.contains("llm"), "{first}");
}

impl World {
    /// Starts everything; the first that is not installed is told.
    fn start() -> Result<Self, String> {
        let home = tempfile::tempdir().expect("a temporary directory");
        servers::mode(home.path(), 0o755);
        let authority = Authority::new(400, 400);
        authority.issue("DNS:localhost,IP:127.0.0.1");
        let archive = Archive::new(home.path())?;
        let faults = Faults::default();
        let stand_ins = stand_ins::start(&faults);
        let servers = Servers::start(home.path(), &authority, &stand_ins, &archive.push())?;
        let settings = archive.fill(&servers.postgres);
        let keys = home.path().join("keys");
        let made =
            ["genpkey -algorithm ed25519 -out gate.pem", "pkey -in gate.pem -pubout -out gate.pub.pem"];
        std::fs::create_dir(&keys).expect("a folder");
        for words in made {
            succeed(Command::new("openssl").args(words.split(' ')).current_dir(&keys));
        }
        servers.kafka.drill(home.path(), &authority);
        let backup_key = PathBuf::from(archive.path("keys/signing.pub.pem"));
        let released = Released::new(home.path(), &settings, &backup_key, &keys.join("gate.pub.pem"));
        for (from, to) in [
            (archive.path("evidence"), "rehearsals"),
            (home.path().join("drill").display().to_string(), "drills"),
        ] {
            let (from, to) = (PathBuf::from(from), released.repository.path(&format!("evidence/{to}")));
            std::fs::create_dir_all(&to).expect("a folder");
            for entry in std::fs::read_dir(from).expect("a folder").flatten() {
                let path = entry.path();
                if path.extension().is_some_and(|end| end == "json") && !path.ends_with("drill.json") {
                    std::fs::copy(&path, to.join(entry.file_name())).expect("a record");
                }
            }
        }
        programs(&home.path().join("bin"));
        let mut world = Self {
            home,
            authority,
            faults,
            servers,
            released,
            variables: BTreeMap::new(),
            plan: PLAN.parse().expect("TOML"),
            consumer: None,
            runs: 0,
        };
        world.fill(&stand_ins);
        world.consume();
        Ok(world)
    }

    /// The variables of the plan, and what of the plan is otherwise here.
    fn fill(&mut self, stand_ins: &str) {
        let servers = &self.servers;
        let mongodb = {
            let faults = self.faults.clone();
            mongodb_stand_in::start("butler", "mongo-passw0rd-of-the-test", move || !faults.has("mongodb"))
        };
        let local = |port: u16| format!("127.0.0.1:{port}");
        let identifier =
            servers.postgres.psql("SELECT system_identifier FROM pg_control_system()").expect("a number");
        let queue = servers.queue.as_ref();
        let on = |is: bool| if is { "on" } else { "off" }.to_owned();
        let given = [
            ("COMMIT", self.released.commit.clone()),
            ("DEPLOYED_COMMIT", self.released.deployed.clone()),
            ("IMAGE_DIGEST", repository::DIGEST.to_owned()),
            ("VERSION", "1.2.0".to_owned()),
            ("APPROVALS", self.path("approvals")),
            ("CHANGE_REQUEST", self.path("change-request.md")),
            ("DEPLOYMENT_LOG", self.path("deployments.jsonl")),
            ("COST_LAST_WEEK", "100".to_owned()),
            ("COST_THIS_WEEK", "104".to_owned()),
            ("SMOKE_URL", format!("{stand_ins}/shop")),
            ("SMOKE_TOKEN", "smoke-t0ken-of-the-test".to_owned()),
            ("MONGODB_URL", "mongodb://unused".to_owned()),
            ("TEST_MONGODB_URL", "mongodb://unused".to_owned()),
            ("USE_MODULAR_REVIEWER", "1".to_owned()),
            ("LLM_URL", format!("{stand_ins}/llm")),
            ("LLM_MODEL", "qwen".to_owned()),
            ("MCP_URL", format!("{stand_ins}/mcp")),
            ("GRAFANA_URL", format!("{stand_ins}/grafana")),
            ("GRAFANA_TOKEN", "grafana-t0ken-of-the-test".to_owned()),
            ("LOKI_URL", format!("{stand_ins}/loki")),
            ("OTLP_URL", format!("{stand_ins}/otlp")),
            ("TEMPO_URL", format!("{stand_ins}/tempo")),
            ("ODOO_URL", format!("{stand_ins}/odoo")),
            ("VECTOR_DATABASE_URL", format!("{stand_ins}/vector")),
            ("TIME_SERIES_URL", format!("{stand_ins}/series")),
            ("FEATURE_VECTOR_DATABASE", on(true)),
            ("FEATURE_TIME_SERIES", on(true)),
            ("FEATURE_MESSAGE_QUEUE", on(queue.is_some())),
            ("QUEUE_ADDRESS", local(queue.map_or(9, |it| it.tls))),
            ("QUEUE_PASSWORD", "s3cret word".to_owned()),
            ("MONGO_USER", "butler".to_owned()),
            ("MONGO_ADDRESS", local(mongodb)),
            ("MONGO_PASSWORD", "mongo-passw0rd-of-the-test".to_owned()),
            ("PROMETHEUS_URL", format!("http://{}", local(servers.prometheus.port))),
            ("ALERTMANAGER_URL", format!("http://{}", local(servers.alertmanager.port))),
            ("STAGE_REDIS", local(servers.cache_tls)),
            ("REDIS_PASSWORD", servers.cache.password().to_owned()),
            ("BENCH_REDIS", local(servers.bench.port())),
            ("S3_URL", servers.s3.endpoint()),
            ("S3_BUCKET", servers.s3.bucket().to_owned()),
            ("S3_ACCESS_KEY", servers.s3.access_key().to_owned()),
            ("S3_SECRET_KEY", servers.s3.secret_key().to_owned()),
            ("KAFKA_BROKER", local(servers.kafka.port())),
            ("KAFKA_PASSWORD", "not asked for here".to_owned()),
            ("STAGE_DATABASE_HOST", local(servers.postgres.port())),
            ("STAGE_DATABASE_ADDRESS", local(servers.postgres.port())),
            ("STAGE_DATABASE_PASSWORD", "shop-passw0rd-of-the-test".to_owned()),
            ("BENCH_DATABASE_PASSWORD", "bench-passw0rd-of-the-test".to_owned()),
            ("MIGRATION_VERSION", "42".to_owned()),
            ("SYSTEM_IDENTIFIER", identifier),
            ("PUBLIC_ADDRESS", local(servers.public.port)),
        ];
        self.variables = given.map(|(name, value)| (name.to_owned(), value)).into();
        self.deployments();
        for (gate, key, value) in OTHERWISE {
            if value == "NONE" {
                unset(&mut self.plan, gate, key);
                continue;
            }
            let value = value.replace("HOME", &self.home.path().display().to_string());
            set(&mut self.plan, gate, key, &value);
        }
    }

    /// The log of deployments, to which each was appended when it began and when it ended.
    fn deployments(&self) {
        let entry = |id: &str, hour: u32, outcome: Option<&str>| {
            let mut entry = serde_json::json!({
                "schema": "ops-gates/deployment/v1", "id": id, "service": "shop", "environment": "production",
                "version": "1.1.0", "commit": self.released.deployed, "by": "linus", "started_at": format!("2026-11-01T0{hour}:00:00Z"),
            });
            if let Some(outcome) = outcome {
                entry["outcome"] = outcome.into();
                entry["finished_at"] = format!("2026-11-01T0{hour}:05:00Z").into();
            }
            format!("{entry}\n")
        };
        let lines = [
            entry("1", 2, None),
            entry("1", 2, Some("failed")),
            entry("2", 3, None),
            entry("2", 3, Some("succeeded")),
        ];
        std::fs::write(self.home.path().join("deployments.jsonl"), lines.concat()).expect("a file");
    }

    /// Waits until Prometheus has seen all of it.
    async fn settle(&self) {
        let jobs: Vec<String> = series::JOBS.iter().map(|(job, count)| format!("{job} = {count}")).collect();
        let keys = format!(
            "kind = \"prometheus\"\nurl = \"{}\"\nrules = [\"InstanceDown\"]\nmin_alertmanagers = 1\njobs = {{ {} }}",
            self.variables["PROMETHEUS_URL"],
            jobs.join(", ")
        );
        for _ in 0..600 {
            if run_gate(&keys).await.record.gates[0].code.as_deref() == Some("ok") {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        run_gate(&keys).await.expect("PASS", "ok");
    }

    /// Becomes the consumer of the queue, as soon as the server lets users in.
    fn consume(&mut self) {
        let Some(queue) = &self.servers.queue else { return };
        self.consumer = (0..600).find_map(|_| {
            let consumer = queue.consume("orders").ok();
            if consumer.is_none() {
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
            consumer
        });
        assert!(self.consumer.is_some(), "nobody can consume");
    }

    fn path(&self, name: &str) -> String {
        self.home.path().join(name).display().to_string()
    }

    /// The command in the repository, with the variables of the plan, and others instead of some.
    fn command(&self, words: &[&str], instead: &[(String, String)]) -> Command {
        let mut command = Command::new(program("ops-gate"));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let major = ops_testkit::default_major().expect("a server");
        let first = [self.home.path().join("bin"), ops_testkit::bin_dir(major).expect("a server")];
        let path =
            std::env::join_paths(first.into_iter().chain(std::env::split_paths(&path))).expect("a path");
        command.args(words).current_dir(self.released.repository.path("")).env_clear().env("PATH", path);
        command.env("HOME", self.home.path()).env("SSL_CERT_FILE", self.authority.path("ca.pem"));
        command.envs(&self.variables).envs(instead.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a plan as a pipeline does.
    fn run(&mut self, plan: &Table, instead: &[(String, String)]) -> Ran {
        self.runs += 1;
        let directory = self.path(&format!("run-{}", self.runs));
        self.released.repository.write(".plan.toml", &toml::to_string(plan).expect("TOML"));
        let key = self.path("keys/gate.pem");
        let whole = plan["gate"].as_array().expect("gates").len() > 1;
        let mut words =
            vec!["run", ".plan.toml", "--run-dir", &directory, "--signing-key", &key, "--jobs", "6"];
        if whole {
            words.extend(["--policy", "policy.toml"]);
        }
        let done = self.command(&words, instead).output().expect("the command runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let verdict = std::fs::read(Path::new(&directory).join("verdict.json"))
            .unwrap_or_else(|error| panic!("{error}: {}", text(&done.stderr)));
        let record = serde_json::from_slice(&verdict).expect("a record");
        Ran { code: done.status.code(), stdout: text(&done.stdout), record }
    }

    /// The plan without some of its gates, and without what needs them.
    fn without(&self, ids: &[&str]) -> Table {
        let mut plan = self.plan.clone();
        let gates = plan["gate"].as_array_mut().expect("gates");
        gates.retain(|gate| !ids.contains(&gate["id"].as_str().expect("an id")));
        for gate in gates {
            if let Some(needs) = gate.get_mut("needs").and_then(Value::as_array_mut) {
                needs.retain(|need| !ids.contains(&need.as_str().expect("an id")));
            }
        }
        plan
    }

    /// The plan of one gate alone.
    fn only(&self, id: &str) -> Table {
        let mut plan = self.plan.clone();
        let gates = plan["gate"].as_array_mut().expect("gates");
        gates.retain(|gate| gate["id"].as_str() == Some(id));
        assert_eq!(gates.len(), 1, "{id}");
        gates[0].as_table_mut().expect("a gate").remove("needs");
        plan
    }
}

/// Sets a key of a gate to a value, written as TOML.
fn set(plan: &mut Table, gate: &str, key: &str, value: &str) {
    let parsed: Table = format!("it = {value}").parse().expect(value);
    let gates = plan["gate"].as_array_mut().expect("gates");
    let gate = gates.iter_mut().find(|it| it["id"].as_str() == Some(gate)).expect(gate);
    gate.as_table_mut().expect("a gate").insert(key.to_owned(), parsed["it"].clone());
}

/// Takes a key of a gate away.
fn unset(plan: &mut Table, gate: &str, key: &str) {
    let gates = plan["gate"].as_array_mut().expect("gates");
    let gate = gates.iter_mut().find(|it| it["id"].as_str() == Some(gate)).expect(gate);
    gate.as_table_mut().expect("a gate").remove(key).expect(key);
}

/// Our programs by their names, and a stand-in for terraform.
fn programs(folder: &Path) {
    std::fs::create_dir(folder).expect("a folder");
    for name in ["ops-backup", "ops-secrets", "ops-guard"] {
        std::os::unix::fs::symlink(program(name), folder.join(name)).expect("a link");
    }
    let terraform =
        "#!/bin/sh\ntest -e broken/terraform && exec echo '{\"valid\": false}'\necho '{\"valid\": true}'\n";
    repository::program(&folder.join("terraform"), terraform);
}

fn program(name: &str) -> PathBuf {
    ops_testkit::bin_exe(name).expect("it is built")
}

/// Runs a program that must succeed; returns what it printed.
#[track_caller]
fn succeed(command: &mut Command) -> String {
    let done = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(done.status.success(), "{command:?}: {} {}", text(&done.stdout), text(&done.stderr));
    text(&done.stdout).trim().to_owned()
}

fn closed_port() -> u16 {
    free_port()
}

pub(crate) fn examples() -> PathBuf {
    crate::release_plan::examples()
}

pub(crate) fn copy(from: &Path, to: &Path) {
    crate::release_plan::copy(from, to);
}
