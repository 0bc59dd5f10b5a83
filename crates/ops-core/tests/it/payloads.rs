//! Attempts to destroy rows through the guarded client, as roles that the server itself would let do so.
//!
//! The attempts stand in `tests/corpus/payloads.txt`. It does not matter what stops one (the text, what is observed, the
//! server); it matters that afterwards nothing is gone or changed: rows, objects, code, privileges, roles, large objects.

use std::time::Duration;

use ops_core::connection::ConnectionSettings;
use ops_core::guard::Policy;
use ops_core::postgres::{GuardedClient, Manager, SessionLimits};
use ops_testkit::Postgres;
use tokio_postgres::{Client, NoTls};

use crate::differential::corpus;

/// The least number of attempts, each of them different.
const LEAST: usize = 150;

/// How an attempt is made.
#[derive(Clone, Copy, Debug)]
enum Mode {
    /// One statement after the other.
    Plain,
    /// Inside one transaction of the client, which is committed.
    Transaction,
    /// Each prepared first.
    Prepared,
}

/// Some statements that belong together.
struct Attempt {
    family: String,
    line: usize,
    steps: Vec<String>,
}

fn attempts() -> Vec<Attempt> {
    let mut family = String::new();
    let mut attempts = Vec::new();
    for (index, line) in corpus::text("payloads.txt").lines().enumerate() {
        if let Some(name) = line.strip_prefix("-- family:") {
            family = name.trim().to_owned();
        } else if !line.starts_with("-- Bypasses") {
            let steps = corpus::steps(line);
            attempts.push(Attempt { family: family.clone(), line: index + 1, steps });
        }
    }
    attempts
}

fn start() -> Postgres {
    let postgres =
        Postgres::builder().setting("autovacuum", "off").setting("max_prepared_transactions", "4");
    let postgres = postgres.start().unwrap();
    for file in ["schema.sql", "payloads_schema.sql", "fingerprint.sql"] {
        postgres.psql(&corpus::text(file)).unwrap();
    }
    postgres
}

fn settings(postgres: &Postgres, role: &str) -> ConnectionSettings {
    let password = role.trim_start_matches("corpus_");
    let url = format!("postgres://{role}:{password}@127.0.0.1:{}/postgres", postgres.port());
    ConnectionSettings::parse(&url).unwrap()
}

/// Makes one attempt. What each statement answers does not matter, and neither does how far it comes.
async fn make(client: &mut GuardedClient, mode: Mode, steps: &[String]) {
    match mode {
        Mode::Plain => {
            for sql in steps {
                let _ = client.execute(sql, &[]).await;
            }
        }
        Mode::Transaction => {
            let Ok(transaction) = client.transaction().await else { return };
            for sql in steps {
                let _ = transaction.query(sql, &[]).await;
            }
            let _ = transaction.commit().await;
        }
        Mode::Prepared => {
            for sql in steps {
                if let Ok(statement) = client.prepare(sql).await {
                    let _ = client.query(&statement, &[]).await;
                }
            }
        }
    }
}

/// A plain session as superuser that looks whether everything is there.
struct Witness {
    client: Client,
    before: Vec<(String, String)>,
}

impl Witness {
    async fn open(postgres: &Postgres) -> Self {
        let (client, connection) = tokio_postgres::connect(&postgres.url(), NoTls).await.unwrap();
        tokio::spawn(connection);
        let mut witness = Self { client, before: Vec::new() };
        witness.before = witness.look().await;
        let full = witness.before.iter().find(|(object, _)| object == "rows of victim").unwrap();
        assert!(full.1.starts_with("10500 "), "{}", full.1);
        assert!(witness.before.len() > 50, "{:?}", witness.before);
        witness
    }

    async fn look(&self) -> Vec<(String, String)> {
        let rows = self.client.query("SELECT object, digest FROM public.fingerprint()", &[]).await.unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }

    /// Returns what has changed since the last look.
    async fn damage(&mut self) -> Vec<String> {
        let after = self.look().await;
        let differs = |one: &[(String, String)], other: &[(String, String)]| -> Vec<String> {
            one.iter().filter(|fact| !other.contains(fact)).map(|fact| fact.0.clone()).collect()
        };
        let mut damage = differs(&self.before, &after);
        damage.extend(differs(&after, &self.before).into_iter().filter(|object| !damage.contains(object)).collect::<Vec<_>>());
        self.before = after;
        damage
    }
}

#[tokio::test]
async fn no_payload_leaves_damage() {
    let postgres = start();
    let mut witness = Witness::open(&postgres).await;
    let pool = |role: &str, policy: Policy| {
        Manager::new(settings(&postgres, role), policy, &SessionLimits::default()).pool(1)
    };
    let owner = pool("corpus_owner", Policy::app());
    let app = pool("corpus_app", Policy::app());
    let reader = pool("corpus_owner", Policy::read_only());
    let runs = [
        ("owner", &owner, Mode::Plain),
        ("owner", &owner, Mode::Transaction),
        ("owner", &owner, Mode::Prepared),
        ("app", &app, Mode::Plain),
        ("reader", &reader, Mode::Plain),
        ("reader", &reader, Mode::Transaction),
    ];
    let attempts = attempts();
    assert!(attempts.len() >= LEAST, "only {} attempts", attempts.len());
    let mut through = Vec::new();
    for attempt in &attempts {
        for (who, pool, mode) in runs {
            let mut client = pool.get().await.unwrap();
            let made = make(&mut client, mode, &attempt.steps);
            if tokio::time::timeout(Duration::from_secs(20), made).await.is_err() {
                drop(deadpool::managed::Object::take(client));
            }
        }
        let damage = witness.damage().await;
        if !damage.is_empty() {
            let Attempt { family, line, steps } = attempt;
            through.push(format!("{line} ({family}): {}: {}", steps.join(" then "), damage.join(", ")));
        }
    }
    println!("{} attempts in {} ways, {} left damage", attempts.len(), runs.len(), through.len());
    assert!(through.is_empty(), "{} left damage:\n{}", through.len(), through.join("\n"));
}
