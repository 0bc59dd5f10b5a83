//! What really happens decides: cascades, triggers, deferred triggers, hidden code, limits, budgets, approvals.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use ops_core::approval::{Approval, ApprovalId, ApprovalRequest, Approvers, Scope};
use ops_core::audit::{self, AuditLog, AuditLogOptions, Entry, Event};
use ops_core::connection::ConnectionSettings;
use ops_core::evidence::SigningKey;
use ops_core::guard::{Decision, Policy};
use ops_core::postgres::{AuditTable, GuardedClient, Manager, Oversight, SessionLimits};
use ops_core::{Error, ErrorKind};
use ops_testkit::Postgres;

const SCHEMA: &str = "
    CREATE TABLE parent (id int PRIMARY KEY, v int DEFAULT 0);
    CREATE TABLE child (id int PRIMARY KEY, parent_id int REFERENCES parent ON DELETE CASCADE);
    CREATE TABLE log (at timestamptz DEFAULT now(), what text);
    INSERT INTO parent SELECT i FROM generate_series(1, 20) AS i;
    -- 100 children of the first, 2 of each other.
    INSERT INTO child SELECT i, 1 FROM generate_series(1, 100) AS i;
    INSERT INTO child SELECT 100 + i * 2 + j, i FROM generate_series(2, 20) AS i, generate_series(0, 1) AS j;";

fn server(more: &str) -> Postgres {
    let postgres = Postgres::start().unwrap();
    postgres.psql(SCHEMA).unwrap();
    postgres.psql(more).unwrap();
    postgres
}

async fn connect(postgres: &Postgres, policy: Policy) -> GuardedClient {
    let settings = ConnectionSettings::parse(&postgres.url()).unwrap();
    GuardedClient::connect(&settings, policy).await.unwrap()
}

fn policy(rules: &str) -> Policy {
    Policy::from_toml(&format!("version = 1\nname = \"test\"\nbase = \"app\"\n{rules}")).unwrap()
}

/// The rule that refused, and whether the statement had run by then.
fn refusal(error: &Error) -> (&str, bool) {
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    let denied = error.denial().unwrap().denied().next().unwrap();
    (denied.rule.as_deref().unwrap(), error.observed().is_some())
}

const ROWS: &str =
    "SELECT (SELECT count(*) FROM parent), (SELECT count(*) FROM child), (SELECT count(*) FROM log)";

#[tokio::test]
async fn limits_count_the_rows_of_cascades() {
    let postgres = server("");
    let limits =
        policy("[[rule]]\neffect = [\"delete\"]\ndecision = \"limit\"\nrows = 50\nrows_per_table = 40");
    let mut client = connect(&postgres, limits).await;
    assert_eq!(client.execute("DELETE FROM parent WHERE id = 2", &[]).await.unwrap(), 1);
    assert_eq!(postgres.psql(ROWS).unwrap(), "19|136|0");

    let error = client.execute("DELETE FROM parent WHERE id = 1", &[]).await.unwrap_err();
    assert_eq!(refusal(&error), ("row-limit", true));
    assert_eq!(
        error.to_string(),
        "statement rolled back by policy test, rule row-limit: \
         would change 101 rows (100 of public.child, 1 of public.parent), and 50 are allowed"
    );
    let transaction = client.transaction().await.unwrap();
    assert_eq!(transaction.execute("DELETE FROM parent WHERE id = $1", &[&3]).await.unwrap(), 1);
    let error = transaction.execute("DELETE FROM parent WHERE id = $1", &[&1]).await.unwrap_err();
    assert_eq!(refusal(&error), ("row-limit", true));
    // What was refused was undone alone.
    transaction.commit().await.unwrap();
    assert_eq!(postgres.psql(ROWS).unwrap(), "18|134|0");

    let error = client.execute("DELETE FROM child WHERE id BETWEEN 1 AND 41", &[]).await.unwrap_err();
    assert_eq!(refusal(&error), ("row-limit", true));
    assert!(error.to_string().contains("41 rows of public.child, and 40 of one table"), "{error}");
    assert_eq!(client.execute("DELETE FROM child WHERE id BETWEEN 1 AND 40", &[]).await.unwrap(), 40);
}

#[tokio::test]
async fn a_table_that_is_reached_through_a_trigger_has_its_own_rule() {
    let postgres = server(
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN DELETE FROM log WHERE what = OLD.id::text; \
         RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER late AFTER DELETE ON parent DEFERRABLE INITIALLY DEFERRED \
         FOR EACH ROW EXECUTE FUNCTION note();
         INSERT INTO log (what) SELECT i::text FROM generate_series(1, 20) AS i",
    );
    let mut free = connect(&postgres, Policy::app()).await;
    assert_eq!(free.execute("DELETE FROM parent WHERE id = 20", &[]).await.unwrap(), 1);
    assert_eq!(postgres.psql(ROWS).unwrap(), "19|136|19");

    let rule = "[[rule]]\nname = \"keep-the-log\"\ntable = [\"public.log\"]\neffect = [\"delete\"]\ndecision = \"deny\"";
    let strict = connect(&postgres, policy(rule)).await;
    let error = strict.execute("DELETE FROM parent WHERE id = 19", &[]).await.unwrap_err();
    assert_eq!(refusal(&error), ("keep-the-log", false), "the catalog shows it before it runs");

    // A trigger that is younger than the catalog: by itself the catalog is read again and the statement decided anew.
    postgres
        .psql(
            "CREATE FUNCTION quiet() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN DELETE FROM log WHERE what = NEW.id::text; RETURN NEW; END $$; \
             CREATE TRIGGER young BEFORE UPDATE ON parent FOR EACH ROW EXECUTE FUNCTION quiet()",
        )
        .unwrap();
    let error = strict.execute("UPDATE parent SET v = 1 WHERE id = 18", &[]).await.unwrap_err();
    assert_eq!(refusal(&error), ("keep-the-log", false));
    assert_eq!(free.execute("UPDATE parent SET v = 1 WHERE id = 18", &[]).await.unwrap(), 1);
    assert_eq!(postgres.psql(ROWS).unwrap(), "19|136|18");

    // Inside a transaction the catalog cannot be read again: this one is refused, the next one knows.
    postgres
        .psql("CREATE TRIGGER younger BEFORE UPDATE ON child FOR EACH ROW EXECUTE FUNCTION quiet()")
        .unwrap();
    for expected in ["18|refused", "17|done"] {
        let transaction = free.transaction().await.unwrap();
        let ended = transaction.execute("UPDATE child SET id = 17 WHERE id = 17", &[]).await;
        if let Err(error) = &ended {
            assert_eq!(refusal(error), ("unpredicted-effect", true));
        }
        transaction.commit().await.unwrap();
        let found = postgres.psql("SELECT count(*) FROM log").unwrap();
        assert_eq!(format!("{found}|{}", if ended.is_ok() { "done" } else { "refused" }), expected);
    }
}

#[tokio::test]
async fn a_deferred_trigger_is_found_before_the_commit() {
    let postgres = server(
        "CREATE FUNCTION wipe() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN EXECUTE 'DELETE FROM ' || 'child'; RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER late AFTER UPDATE ON parent DEFERRABLE INITIALLY DEFERRED \
         FOR EACH ROW EXECUTE FUNCTION wipe()",
    );
    // The body builds its text, so only what happens tells.
    let rule = "[[rule]]\nname = \"keep-children\"\ntable = [\"public.child\"]\neffect = [\"delete\"]\ndecision = \"deny\"";
    let mut client = connect(&postgres, policy(rule)).await;
    let error = client.execute("UPDATE parent SET v = 1 WHERE id = 1", &[]).await.unwrap_err();
    assert_eq!(refusal(&error), ("keep-children", true));
    let transaction = client.transaction().await.unwrap();
    assert_eq!(transaction.execute("UPDATE parent SET v = 1 WHERE id = 1", &[]).await.unwrap(), 1);
    let error = transaction.commit().await.unwrap_err();
    assert_eq!(refusal(&error), ("keep-children", true));
    assert_eq!(postgres.psql("SELECT count(*), (SELECT sum(v) FROM parent) FROM child").unwrap(), "138|0");
}

#[tokio::test]
async fn hidden_code_may_do_what_the_policy_allows_and_no_more() {
    let postgres = server(
        "CREATE FUNCTION hidden(what text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN EXECUTE what; RETURN 1; END $$",
    );
    let allowed = Policy::app().allow_function("hidden").allow_function("public.hidden");
    let rules =
        "functions = [\"public.hidden\"]\n[[rule]]\neffect = [\"dynamic-code\"]\ndecision = \"allow\"";
    let by_file =
        Policy::from_toml(&format!("version = 1\nname = \"test\"\nbase = \"app\"\n{rules}")).unwrap();
    drop(allowed);
    let client = connect(&postgres, by_file).await;
    let table = [
        ("DELETE FROM child WHERE id = 1", None),
        ("INSERT INTO log (what) VALUES (1)", None),
        ("CREATE TEMP TABLE mine (id int)", None),
        ("TRUNCATE child", Some("lock-table")),
        ("DROP TABLE child", Some("data-drop")),
        ("ALTER TABLE child ADD COLUMN x int", Some("lock-table")),
        ("LOCK TABLE child IN EXCLUSIVE MODE", Some("lock-table")),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", Some("code-definition")),
        ("CREATE ROLE mighty SUPERUSER", Some("role")),
        ("GRANT ALL ON child TO PUBLIC", Some("schema-change")),
        ("SELECT lo_from_bytea(0, 'x')", Some("large-object")),
    ];
    for (sql, expected) in table {
        let ended = client.query("SELECT hidden($1)", &[&sql]).await;
        assert_eq!(ended.as_ref().err().map(|error| refusal(error).0), expected, "{sql}: {ended:?}");
    }
    let found = "SELECT (SELECT count(*) FROM child), (SELECT count(*) FROM pg_roles WHERE rolname = 'mighty'), \
                 (SELECT count(*) FROM pg_largeobject_metadata), (SELECT relacl IS NULL FROM pg_class WHERE relname = 'child')";
    assert_eq!(postgres.psql(found).unwrap(), "137|0|0|t");
}

#[tokio::test]
async fn small_deletes_add_up() {
    let postgres = server("");
    let mut client =
        connect(&postgres, policy("[[budget]]\neffect = [\"delete\"]\nrows = 10\nper = \"1h\"")).await;
    for id in 1..=6 {
        assert_eq!(client.execute("DELETE FROM child WHERE id = $1", &[&id]).await.unwrap(), 1);
    }
    let transaction = client.transaction().await.unwrap();
    assert_eq!(transaction.execute("DELETE FROM child WHERE id IN (7, 8, 9)", &[]).await.unwrap(), 3);
    let error = transaction.execute("DELETE FROM child WHERE id IN (10, 11)", &[]).await.unwrap_err();
    assert_eq!(refusal(&error), ("budget", true));
    transaction.rollback().await.unwrap();
    // What was rolled back is not spent.
    assert_eq!(client.execute("DELETE FROM child WHERE id IN (7, 8, 9, 10)", &[]).await.unwrap(), 4);
    let error = client.execute("DELETE FROM child WHERE id = 11", &[]).await.unwrap_err();
    assert_eq!(refusal(&error), ("budget", true));
    assert_eq!(client.execute("UPDATE child SET id = id WHERE id = 11", &[]).await.unwrap(), 1);
    assert_eq!(postgres.psql("SELECT min(id) FROM child").unwrap(), "11");
}

#[tokio::test]
async fn a_policy_that_only_reports_lets_everything_happen() {
    let postgres = server("");
    let shadow = policy("shadow = true\n[[rule]]\neffect = [\"delete\"]\ndecision = \"limit\"\nrows = 1");
    let client = connect(&postgres, shadow).await;
    assert_eq!(client.execute("DELETE FROM parent WHERE id = 1", &[]).await.unwrap(), 1);
    assert_eq!(client.execute("DELETE FROM child", &[]).await.unwrap(), 38);
    client.execute("DROP TABLE log", &[]).await.unwrap();
    assert_eq!(postgres.psql("SELECT count(*) FROM parent").unwrap(), "19");
}

#[tokio::test]
async fn a_preview_shows_everything_and_leaves_nothing() {
    let postgres = server("");
    let client = connect(&postgres, Policy::app()).await;
    let preview = client.preview("DELETE FROM parent", &[]).await.unwrap();
    assert_eq!((preview.rows, preview.observation.rows()), (20, 158));
    assert_eq!(preview.verdict.statements[0].decision, Decision::Deny);
    let touched: Vec<_> =
        preview.observation.relations.iter().map(|one| (one.relation.as_str(), one.deleted)).collect();
    assert_eq!(touched, [("public.child", 138), ("public.parent", 20)]);
    let preview = client.preview("DROP TABLE child", &[]).await.unwrap();
    let gone = preview.observation.relations.iter().find(|one| one.relation == "public.child").unwrap();
    assert!(gone.dropped && gone.lock == Some("ACCESS EXCLUSIVE"), "{gone:?}");
    for sql in ["COPY child TO '/tmp/x'", "VACUUM child", "SELECT setval('s', 1)", "SELECT unknown()"] {
        assert_eq!(client.preview(sql, &[]).await.unwrap_err().kind(), ErrorKind::Denied, "{sql}");
    }
    assert_eq!(postgres.psql(ROWS).unwrap(), "20|138|0");
}

struct Office {
    key: SigningKey,
    oversight: Oversight,
}

fn office(folder: &Path) -> Office {
    let key = SigningKey::generate().unwrap();
    let mut approvers = Approvers::new();
    approvers.insert("alice", key.verifying_key()).unwrap();
    let log = Arc::new(AuditLog::open(&folder.join("audit.jsonl")).unwrap());
    Office { key, oversight: Oversight { approvers, log } }
}

impl Office {
    fn approve(&self, scope: Scope, rows: Option<u64>) -> Approval {
        let mut request = ApprovalRequest {
            reason: "a test".into(),
            ticket: "T-1".into(),
            ..ApprovalRequest::new(scope, "postgres")
        };
        request.limits.rows = rows;
        let id = ApprovalId::generate().unwrap();
        Approval::sign(&request, "alice", &self.key, Timestamp::now(), id).unwrap()
    }
}

#[tokio::test]
async fn an_approval_lets_one_statement_run_once_and_is_written_down_before() {
    let postgres = server("");
    let folder = tempfile::tempdir().unwrap();
    let office = office(folder.path());
    let rule = "[[rule]]\nname = \"ask\"\ntable = [\"public.child\"]\neffect = [\"delete-all\"]\ndecision = \"approve\"";
    let mut client = connect(&postgres, policy(rule)).await;
    let sql = "DELETE FROM child";
    let approval = office.approve(Scope::statement(sql), Some(200));

    assert_eq!(client.present(&approval).unwrap_err().kind(), ErrorKind::InvalidApproval);
    client.oversee(office.oversight.clone());
    let error = client.execute(sql, &[]).await.unwrap_err();
    assert_eq!(refusal(&error), ("ask", false));
    assert!(error.to_string().starts_with("statement needs an approval by policy test, rule ask"), "{error}");

    client.present(&approval).unwrap();
    assert_eq!(refusal(&client.execute("DELETE FROM child ", &[]).await.unwrap_err()), ("ask", false));
    let transaction = client.transaction().await.unwrap();
    assert_eq!(transaction.execute(sql, &[]).await.unwrap(), 138);
    transaction.rollback().await.unwrap();
    assert_eq!(refusal(&client.execute(sql, &[]).await.unwrap_err()), ("ask", false), "it was used");
    client.present(&approval).unwrap();
    assert_eq!(client.execute(sql, &[]).await.unwrap_err().kind(), ErrorKind::ApprovalUsed);

    // Its limits hold, and raise those of the policy.
    client.present(&office.approve(Scope::statement(sql), Some(137))).unwrap();
    assert_eq!(refusal(&client.execute(sql, &[]).await.unwrap_err()), ("row-limit", true));
    client.present(&office.approve(Scope::statement(sql), Some(138))).unwrap();
    assert_eq!(client.execute(sql, &[]).await.unwrap(), 138);
    // What a policy denies, no ordinary approval lifts.
    client.present(&office.approve(Scope::statement("DROP TABLE log"), None)).unwrap();
    assert_eq!(refusal(&client.execute("DROP TABLE log", &[]).await.unwrap_err()), ("data-drop", false));

    let path = folder.path().join("audit.jsonl");
    let head = office.oversight.log.head();
    assert!(audit::verify(&path, Some(&head), &[]).unwrap().is_intact());
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let said: Vec<String> = lines
        .iter()
        .map(|line| format!("{} {} {}", line["event"], line["outcome"], line["observed"]["rows"]))
        .collect();
    assert_eq!(
        said,
        [
            "\"claimed\" null null",
            "\"finished\" \"pending\" 138",
            "\"claimed\" null null",
            "\"finished\" \"rolled_back\" 138",
            "\"claimed\" null null",
            "\"finished\" \"committed\" 138",
        ]
    );
    assert_eq!(postgres.psql(ROWS).unwrap(), "20|0|0");
}

#[tokio::test]
async fn break_glass_opens_a_session_and_a_pool_does_not_take_it_back() {
    let postgres = server("");
    let folder = tempfile::tempdir().unwrap();
    let office = office(folder.path());
    let settings = ConnectionSettings::parse(&postgres.url()).unwrap();
    let pool = Manager::new(settings, Policy::app(), &SessionLimits::default()).pool(1);
    {
        let client = pool.get().await.unwrap();
        client.oversee(office.oversight.clone());
        assert_eq!(client.unguarded().await.unwrap_err().kind(), ErrorKind::InvalidApproval);
        client.present(&office.approve(Scope::session(), None)).unwrap();
        client.execute("DROP TABLE log", &[]).await.unwrap();
        client.execute("TRUNCATE child", &[]).await.unwrap();
        for sql in ["COMMIT", "SELECT 1; SELECT 2", "no SQL"] {
            assert_eq!(client.execute(sql, &[]).await.unwrap_err().kind(), ErrorKind::Denied, "{sql}");
        }
        let raw = client.unguarded().await.unwrap();
        raw.batch_execute("SET default_transaction_read_only = off").await.unwrap();
        raw.batch_execute("DELETE FROM parent WHERE id = 1; SET session_replication_role = replica")
            .await
            .unwrap();
    }
    let client = pool.get().await.unwrap();
    assert_eq!(client.execute("DELETE FROM parent", &[]).await.unwrap_err().kind(), ErrorKind::Denied);
    let role = client.query_one("SHOW session_replication_role", &[]).await.unwrap();
    assert_eq!(role.get::<_, &str>(0), "origin");
    assert_eq!(postgres.psql("SELECT count(*) FROM parent").unwrap(), "19");
    let path = folder.path().join("audit.jsonl");
    let report = audit::verify(&path, Some(&office.oversight.log.head()), &[]).unwrap();
    assert!(report.is_intact() && report.entries == 4, "{report:?}");
}

#[test]
fn audit_lines_stand_in_a_table_too() {
    let postgres = server(
        "CREATE TABLE audit_lines (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, line text NOT NULL); \
         CREATE ROLE auditor LOGIN PASSWORD 'x'; GRANT INSERT ON audit_lines TO auditor",
    );
    let dsn = format!("host=127.0.0.1 port={} user=auditor password=x dbname=postgres", postgres.port());
    let settings = ConnectionSettings::parse(&dsn).unwrap();
    let nobody = AuditTable::connect(&settings, "public", "parent").map(|_| ()).unwrap_err();
    assert_eq!(nobody.kind(), ErrorKind::Server);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let table = AuditTable::connect(&settings, "public", "audit_lines").unwrap();
    let options = AuditLogOptions { sink: Some(Arc::new(table)), ..AuditLogOptions::default() };
    let log = AuditLog::open_with(&path, options).unwrap();
    for _ in 0..3 {
        log.append(Entry::new(Event::Refused, Timestamp::now())).unwrap();
    }
    let file = std::fs::read_to_string(&path).unwrap();
    let stored = postgres.psql("SELECT string_agg(line, E'\\n' ORDER BY id) FROM audit_lines").unwrap();
    assert_eq!(stored.trim_end(), file.trim_end());
    // A line that the table does not take fails, though the file has it.
    postgres.psql("REVOKE INSERT ON audit_lines FROM auditor").unwrap();
    assert!(log.append(Entry::new(Event::Refused, Timestamp::now())).is_err());
}
