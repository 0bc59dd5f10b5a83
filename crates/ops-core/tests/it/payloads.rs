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
    let postgres = Postgres::builder().setting("autovacuum", "off").setting("max_prepared_transactions", "4");
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
        damage.extend(
            differs(&after, &self.before)
                .into_iter()
                .filter(|object| !damage.contains(object))
                .collect::<Vec<_>>(),
        );
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
        (&owner, Mode::Plain),
        (&owner, Mode::Transaction),
        (&owner, Mode::Prepared),
        (&app, Mode::Plain),
        (&reader, Mode::Plain),
        (&reader, Mode::Transaction),
    ];
    let attempts = attempts();
    assert!(attempts.len() >= LEAST, "only {} attempts", attempts.len());
    let mut through = Vec::new();
    for attempt in &attempts {
        for (pool, mode) in runs {
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
    // What may be done is done, and seen: the harness is not blind.
    let mut client = owner.get().await.unwrap();
    make(&mut client, Mode::Plain, &["UPDATE app.counters SET value = 77 WHERE name = 'calls'".to_owned()])
        .await;
    assert_eq!(witness.damage().await, ["rows of counters"]);
    println!("{} attempts in {} ways, {} left damage", attempts.len(), runs.len(), through.len());
    assert!(through.is_empty(), "{} left damage:\n{}", through.len(), through.join("\n"));
}

/// Texts that are too large to write down: what they do stands at their bottom or behind them.
fn large() -> Vec<(&'static str, String)> {
    let times = |text: &str, number: usize| text.repeat(number);
    let list: Vec<String> = (1..=20_000).map(|number| number.to_string()).collect();
    let joins: String = (0..60).map(|index| format!(" JOIN app.counters AS c{index} ON true")).collect();
    vec![
        ("nested parentheses", format!("SELECT {}app.wipe(){}", times("(", 200), times(")", 200))),
        ("too many parentheses", format!("SELECT {}app.wipe(){}", times("(", 100_000), times(")", 100_000))),
        ("a long sum", format!("SELECT 0{} + app.wipe()", times(" + 1", 3_000))),
        ("many terms", format!("SELECT ''{} || app.wipe()::text", times(" || 'a'", 100))),
        ("nested selects", format!("SELECT {}app.wipe(){}", times("(SELECT ", 60), times(")", 60))),
        ("many unions", format!("SELECT 1{} UNION ALL SELECT app.wipe()", times(" UNION ALL SELECT 1", 150))),
        ("many joins", format!("SELECT app.wipe() FROM app.counters{joins} LIMIT 1")),
        ("nested conditions", format!("DELETE FROM app.victim WHERE {} true", times("NOT NOT ", 500))),
        ("a long list", format!("DELETE FROM app.victim WHERE id IN ({})", list.join(", "))),
        ("a megabyte of comment", format!("/*{}*/ DELETE FROM app.victim", times("x", 1 << 20))),
        ("nested comments", format!("{}{} DELETE FROM app.victim", times("/*", 1_000), times("*/", 1_000))),
        ("three megabytes", format!("SELECT '{}'; DELETE FROM app.victim", times("x", 3 << 20))),
        ("many statements", format!("{}DELETE FROM app.victim", times("SELECT 1; ", 5_000))),
        ("a zero byte", "SELECT 1\0; DELETE FROM app.victim".to_owned()),
        ("a byte order mark", "\u{feff}DELETE FROM app.victim".to_owned()),
        ("blanks that are none", "DELETE\u{a0}FROM\u{2003}app.victim".to_owned()),
        ("a comment that ends at a carriage return", "SELECT 1 -- x\rDELETE FROM app.victim".to_owned()),
        ("a name that is cut", format!("SELECT app.{}()", times("w", 70))),
        ("a table's name that is cut", format!("DELETE FROM app.{}", times("v", 70))),
    ]
}

#[tokio::test]
async fn no_large_text_leaves_damage() {
    let postgres = start();
    let cut = format!(
        "CREATE FUNCTION app.{}() RETURNS int LANGUAGE sql AS 'SELECT app.wipe()'; \
         CREATE VIEW app.{} AS SELECT * FROM app.victim",
        "w".repeat(63),
        "v".repeat(63)
    );
    postgres.psql(&cut).unwrap();
    let mut witness = Witness::open(&postgres).await;
    let mut client =
        GuardedClient::connect(&settings(&postgres, "corpus_owner"), Policy::app()).await.unwrap();
    for (name, sql) in large() {
        let steps = [sql];
        for mode in [Mode::Plain, Mode::Transaction, Mode::Prepared] {
            make(&mut client, mode, &steps).await;
        }
        assert_eq!(witness.damage().await, Vec::<String>::new(), "{name}");
    }
    // The session still works, and the same text does its damage where the policy lets it.
    let row = client.query_one("SELECT 1", &[]).await.unwrap();
    assert_eq!(row.get::<_, i32>(0), 1);
    let mut free =
        GuardedClient::connect(&settings(&postgres, "corpus_owner"), Policy::break_glass()).await.unwrap();
    let (_, first) = large().swap_remove(0);
    make(&mut free, Mode::Plain, &[first]).await;
    assert_eq!(witness.damage().await, ["rows of victim"]);
}

#[tokio::test]
async fn copied_rows_set_off_no_damage() {
    let postgres = start();
    let mut witness = Witness::open(&postgres).await;
    let client = GuardedClient::connect(&settings(&postgres, "corpus_owner"), Policy::app()).await.unwrap();
    for (sql, data) in [
        ("COPY bell FROM STDIN", "70\t1\n71\t1\n"),
        ("COPY t_deferred FROM STDIN", "70\t1\n"),
        ("COPY t_chain FROM STDIN", "70\t1\n"),
        ("COPY domains (id, c) FROM STDIN", "70\t1\n"),
        ("COPY checked_rows FROM STDIN", "70\t1\n"),
        ("COPY emptier FROM STDIN", "70\n"),
        ("COPY hider FROM STDIN", "70\n"),
        ("COPY dropper FROM STDIN", "70\n"),
        ("COPY granter FROM STDIN", "70\n"),
        ("COPY dynamic_bell FROM STDIN", "70\n"),
        ("COPY journal (what) FROM STDIN WHERE app.wipe() = 1", "x\n"),
        ("COPY victim FROM STDIN (FORMAT no_such_format)", "70\t1\n"),
        ("COPY victim FROM PROGRAM 'cat'", ""),
    ] {
        if let Ok(mut copy) = client.copy_in(sql).await {
            let _ = copy.send(bytes::Bytes::from_static(data.as_bytes())).await;
            let _ = copy.finish().await;
        }
        assert_eq!(witness.damage().await, Vec::<String>::new(), "{sql}");
    }
}

#[tokio::test]
async fn many_small_writes_end_at_the_budget() {
    let postgres = start();
    let policy = "version = 1\nname = \"few\"\nbase = \"app\"\n[[budget]]\neffect = [\"delete\", \"update\"]\nrows = 100\n";
    let policy = Policy::from_toml(policy).unwrap();
    let mut witness = Witness::open(&postgres).await;
    let count = || -> i64 {
        let left = postgres.psql("SELECT count(*) FROM app.victim WHERE n = id").unwrap();
        left.parse().unwrap()
    };
    let ways: [(&str, Mode); 5] = [
        ("DELETE FROM victim WHERE id IN (SELECT id FROM victim ORDER BY id LIMIT 9)", Mode::Plain),
        ("DELETE FROM victim WHERE id IN (SELECT id FROM victim ORDER BY id LIMIT 9)", Mode::Transaction),
        ("DELETE FROM v_ruled WHERE id IN (SELECT id FROM victim ORDER BY id LIMIT 9)", Mode::Prepared),
        ("WITH d AS (DELETE FROM victim WHERE id IN (SELECT id FROM victim LIMIT 9)) SELECT 1", Mode::Plain),
        ("UPDATE victim SET n = 0 WHERE id IN (SELECT id FROM victim WHERE n = id LIMIT 9)", Mode::Plain),
    ];
    for (sql, mode) in ways {
        let before = count();
        let mut client =
            GuardedClient::connect(&settings(&postgres, "corpus_owner"), policy.clone()).await.unwrap();
        for _ in 0..30 {
            make(&mut client, mode, &[sql.to_owned()]).await;
        }
        let gone = before - count();
        assert!((1..=100).contains(&gone), "{gone} rows: {sql}");
        assert_eq!(witness.damage().await, ["rows of victim"], "{sql}");
    }
}
