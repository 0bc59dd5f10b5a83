//! The guard's predictions against a real server: what a statement did must be among what was predicted.
//!
//! The corpus stands in `tests/corpus`: its schema, the questions to the server, and the statements. The server is asked
//! directly, without any of the guard's own code.

#![expect(clippy::print_stdout, reason = "a run says how much of the corpus it has seen")]

mod containment;
pub(crate) mod corpus;
mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use ops_core::connection::ConnectionSettings;
use ops_core::guard::{Context, Policy};
use ops_core::postgres::GuardedClient;
use ops_testkit::Postgres;

use self::containment::Prediction;
use self::server::{Outcome, Session};

/// Statements that must run on every major, each with its own text.
const LEAST: usize = 1500;

/// How many of a hundred predictions may say "anything" of a statement that did nothing.
const MOST_OPAQUE: usize = 20;

/// What is predicted wrongly today, and why. Each excuses the statements that it occurs in; when it excuses none any
/// more, the test fails until it is removed from here.
const GAPS: [(&str, &str); 1] =
    [("REINDEX TABLE measurements", "no transaction block takes a partitioned table")];

/// These run what an earlier statement has left to be run: a cursor's query, bit by bit, and deferred triggers.
const LATE: [&str; 3] = ["FETCH", "MOVE", "SET CONSTRAINTS"];

/// These take a transaction id and change nothing with it.
const HARMLESS_XID: [&str; 3] = ["txid_current()", "pg_current_xact_id()", "pg_export_snapshot()"];

/// The majors that have a test here; it does nothing where its major is not installed.
const MAJORS: [u32; 4] = [15, 16, 17, 18];

#[test]
fn a_major_is_installed() {
    let installed = ops_testkit::installed_majors();
    assert!(installed.iter().any(|major| MAJORS.contains(major)), "{installed:?}");
}

#[tokio::test]
async fn on_15() {
    check(15).await;
}

#[tokio::test]
async fn on_16() {
    check(16).await;
}

#[tokio::test]
async fn on_17() {
    check(17).await;
}

#[tokio::test]
async fn on_18() {
    check(18).await;
}

fn start(major: u32) -> Postgres {
    let builder = Postgres::builder().major(major).unwrap();
    let settings = [
        ("autovacuum", "off"),
        ("jit", "off"),
        ("max_prepared_transactions", "4"),
        ("wal_level", "logical"),
        ("max_parallel_workers_per_gather", "0"),
    ];
    let builder = settings.iter().fold(builder, |builder, (name, value)| builder.setting(*name, *value));
    let postgres = builder.start().unwrap();
    postgres.psql(&corpus::text("schema.sql")).unwrap();
    postgres.psql(&corpus::text("observe.sql")).unwrap();
    postgres
}

async fn check(major: u32) {
    if !ops_testkit::installed_majors().contains(&major) {
        return;
    }
    let postgres = start(major);
    let began = Instant::now();
    let policy = Policy::app();
    let contexts = contexts(&postgres).await;
    let mut session = Session::open(&postgres).await;
    let parents = session.parents().await;
    let mut tally = Tally::default();
    let entries = corpus::read();
    for entry in &entries {
        let mut ran = false;
        for role in &entry.roles {
            let outcome = session.run(entry, role).await;
            let verdict = policy.judge_in(&entry.sql, &contexts[role]);
            let mut effects: Vec<_> = verdict.statements.iter().flat_map(|one| &one.effects).collect();
            let earlier: Vec<_> =
                entry.setup.iter().map(|sql| policy.judge_in(sql, &contexts[role])).collect();
            if LATE.iter().any(|word| entry.sql.starts_with(word)) {
                effects.extend(earlier.iter().flat_map(|one| &one.statements).flat_map(|one| &one.effects));
            }
            let effects = effects.into_iter().map(|predicted| predicted.effect.clone()).collect();
            let prediction = Prediction { effects, parents: &parents };
            let transactional = verdict.statements.iter().all(|statement| statement.transactional);
            let wrong = match outcome {
                Outcome::Broken(message) if entry.since <= major => vec![format!("an error: {message}")],
                Outcome::Unknown if entry.since <= major && !entry.made && entry.setup.is_empty() => {
                    vec!["the server does not know it".to_owned()]
                }
                Outcome::Unknown | Outcome::Broken(_) => {
                    tally.unknown += 1;
                    continue;
                }
                Outcome::Refused => {
                    tally.refused += 1;
                    continue;
                }
                Outcome::Alone => {
                    tally.alone += 1;
                    if transactional { vec!["no transaction block takes it".to_owned()] } else { Vec::new() }
                }
                Outcome::Ran(facts) => {
                    ran = true;
                    tally.count(entry, &prediction, &facts);
                    let opaque = prediction.is_opaque();
                    let mut wrong: Vec<_> = facts
                        .into_iter()
                        .filter(|fact| !opaque && !is_explained(fact, &prediction, &entry.sql))
                        .collect();
                    // Some need a block of their own only now and then; those are judged without being observed.
                    if !transactional && !opaque && !entry.sql.starts_with("DISCARD") {
                        wrong.push("a transaction block takes it".to_owned());
                    }
                    wrong
                }
            };
            if !wrong.is_empty() {
                let text = format!("{} {}", entry.setup.join(" "), entry.sql);
                if let Some((gap, _)) = GAPS.iter().find(|(gap, _)| text.contains(gap)) {
                    tally.gaps.insert(gap);
                    continue;
                }
                let predicted: Vec<String> = prediction.effects.iter().map(ToString::to_string).collect();
                tally.wrong.push(format!(
                    "{} as {role}: {}\n    observed {}\n    predicted {}",
                    entry.place,
                    entry.sql,
                    wrong.join(", "),
                    predicted.join(" ")
                ));
            }
        }
        tally.ran += usize::from(ran);
    }
    println!(
        "PostgreSQL {major}: {} in {:.1} s",
        tally.summary(entries.len()),
        began.elapsed().as_secs_f64()
    );
    assert!(tally.wrong.is_empty(), "{} are wrong:\n{}", tally.wrong.len(), tally.wrong.join("\n"));
    let closed: Vec<_> = GAPS.iter().filter(|(gap, _)| !tally.gaps.contains(gap)).collect();
    assert!(closed.is_empty(), "these are predicted rightly now, remove them from GAPS: {closed:?}");
    assert!(tally.ran >= LEAST, "only {} statements ran", tally.ran);
    assert!(
        tally.opaque_for_nothing.len() * 100 <= tally.runs * MOST_OPAQUE,
        "too much is opaque:\n{}",
        tally.opaque_for_nothing.join("\n")
    );
}

async fn contexts(postgres: &Postgres) -> BTreeMap<String, Context> {
    let mut contexts = BTreeMap::new();
    for (role, url) in [
        ("super", postgres.url()),
        ("corpus_owner", format!("postgres://corpus_owner:owner@127.0.0.1:{}/postgres", postgres.port())),
        ("corpus_app", format!("postgres://corpus_app:app@127.0.0.1:{}/postgres", postgres.port())),
    ] {
        let settings = ConnectionSettings::parse(&url).unwrap();
        let client = GuardedClient::connect(&settings, Policy::app()).await.unwrap();
        contexts.insert(role.to_owned(), client.context().await.unwrap());
    }
    contexts
}

fn is_explained(fact: &str, prediction: &Prediction<'_>, sql: &str) -> bool {
    fact == "xid" && HARMLESS_XID.iter().any(|call| sql.contains(call)) || prediction.explains(fact)
}

/// The counts of one run.
#[derive(Default)]
struct Tally {
    /// Different statements that ran as at least one role.
    ran: usize,
    /// Statements and roles that ran.
    runs: usize,
    changed: usize,
    unknown: usize,
    refused: usize,
    alone: usize,
    /// Predicted to do anything, and did something.
    opaque: usize,
    /// Predicted to do anything, and did nothing.
    opaque_for_nothing: Vec<String>,
    wrong: Vec<String>,
    /// The known gaps that were met.
    gaps: BTreeSet<&'static str>,
}

impl Tally {
    fn count(&mut self, entry: &corpus::Entry, prediction: &Prediction<'_>, facts: &[String]) {
        self.runs += 1;
        self.changed += usize::from(!facts.is_empty());
        if prediction.is_opaque() && facts.is_empty() {
            self.opaque_for_nothing.push(format!("{}: {}", entry.place, entry.sql));
        } else if prediction.is_opaque() {
            self.opaque += 1;
        }
    }

    fn summary(&self, entries: usize) -> String {
        format!(
            "{entries} statements, {} ran ({} runs, {} changed something), {} not known here, {} refused by the server, \
             {} only outside transactions; opaque: {} that did something, {} that did nothing ({:.1} %); wrong: {}, and {} known gaps",
            self.ran,
            self.runs,
            self.changed,
            self.unknown,
            self.refused,
            self.alone,
            self.opaque,
            self.opaque_for_nothing.len(),
            100.0 * self.opaque_for_nothing.len() as f64 / self.runs.max(1) as f64,
            self.wrong.len(),
            self.gaps.len()
        )
    }
}
