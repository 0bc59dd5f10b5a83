//! Undo: what is planned, and that it puts every byte back on a real server.

use ops_core::guard::undo::{
    self, Action, ForeignKey, Naming, NotPossible, Shapes, Step, TableName, TableShape, UndoPlan,
};
use ops_testkit::Postgres;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, IsolationLevel, NoTls};

fn name(table: &str) -> TableName {
    TableName::new("public", table)
}

fn key(child: &str, parent: &str, on_delete: Action, on_update: Action) -> ForeignKey {
    ForeignKey {
        name: format!("{child}_{parent}"),
        parent: name(parent),
        parent_columns: vec!["id".to_owned()],
        child: name(child),
        child_columns: vec!["parent".to_owned()],
        on_delete,
        on_update,
    }
}

fn shapes(primary_key: &[&str], foreign_keys: Vec<ForeignKey>) -> Shapes {
    let table =
        |table: &str, primary_key: &[&str]| TableShape::new(name(table), &["id", "parent", "v"], primary_key);
    Shapes { tables: vec![table("t", primary_key), table("u", &["id"]), table("keyless", &[])], foreign_keys }
}

#[test]
fn the_copy_takes_the_statements_own_condition() {
    let columns = "id, parent, v";
    let cases = [
        ("DELETE FROM t", "SELECT public.t.id, public.t.parent, public.t.v FROM public.t"),
        (
            "DELETE FROM ONLY t AS x WHERE x.id = $2 /* ; */ AND v <> $1 -- no",
            "SELECT x.id, x.parent, x.v FROM ONLY public.t x WHERE x.id = $2 AND v <> $1",
        ),
        (
            "WITH old AS (SELECT 1 AS id) DELETE FROM t USING old, u WHERE t.id = old.id RETURNING *",
            "WITH old AS (SELECT 1 AS id) SELECT public.t.id, public.t.parent, public.t.v FROM public.t \
             WHERE EXISTS (SELECT 1 FROM old, u WHERE t.id = old.id)",
        ),
        (
            "UPDATE t SET v = 'x; WHERE', parent = 2 FROM u WHERE u.id = t.id AND u.v = $3",
            "SELECT public.t.id, public.t.parent, public.t.v FROM public.t WHERE EXISTS (SELECT 1 FROM u WHERE u.id = t.id AND u.v = $3)",
        ),
    ];
    for (sql, select) in cases {
        let plan = undo::plan(sql, &Naming::new("a"), &shapes(&["id"], Vec::new())).unwrap();
        assert_eq!(plan.copies.len(), 1, "{sql}");
        let expected = Step::Once {
            sql: format!("INSERT INTO guard_undo_a_1 ({columns}) {select}"),
            takes_parameters: true,
        };
        assert_eq!(plan.before[1], expected, "{sql}");
        let create = Step::Once {
            sql: r#"CREATE TABLE "guard_undo_a_1" AS SELECT * FROM ONLY "public"."t" WITH NO DATA"#
                .to_owned(),
            takes_parameters: false,
        };
        assert_eq!(plan.before[0], create, "{sql}");
    }
}

#[test]
fn names_are_quoted_and_copies_may_live_elsewhere() {
    let naming = Naming { schema: Some("my \"undo\"".to_owned()), suffix: "x".to_owned() };
    let table = TableShape::new(TableName::new("S", "order"), &["select", "Ä\"b"], &["select"]);
    let plan = undo::plan(
        "UPDATE \"S\".\"order\" SET \"Ä\"\"b\" = 1",
        &naming,
        &Shapes { tables: vec![table], foreign_keys: Vec::new() },
    )
    .unwrap();
    assert_eq!(plan.copies[0].name, r#""my ""undo"""."guard_undo_x_1""#);
    assert_eq!(
        plan.restore,
        [
            r#"UPDATE ONLY "S"."order" AS lost SET "Ä""b" = saved."Ä""b" FROM "my ""undo"""."guard_undo_x_1" AS saved WHERE lost."select" = saved."select""#
        ]
    );
    assert_eq!(plan.forget, [r#"DROP TABLE IF EXISTS "my ""undo"""."guard_undo_x_1""#]);
    assert_eq!(undo::target("DELETE FROM \"S\".\"order\"").unwrap(), "\"S\".order");
}

#[test]
fn what_cannot_be_undone_is_refused_with_the_reason() {
    let cases: Vec<(&str, Shapes, NotPossible)> = vec![
        ("DELETE FORM t", shapes(&["id"], vec![]), NotPossible::Unreadable),
        ("DELETE FROM t; DELETE FROM t", shapes(&["id"], vec![]), NotPossible::NotOneStatement),
        ("", shapes(&["id"], vec![]), NotPossible::NotOneStatement),
        ("TRUNCATE t", shapes(&["id"], vec![]), NotPossible::NotDeleteOrUpdate),
        ("EXPLAIN ANALYZE DELETE FROM t", shapes(&["id"], vec![]), NotPossible::ChangesDataInside),
        (
            "WITH x AS (DELETE FROM u RETURNING id) DELETE FROM t USING x",
            shapes(&["id"], vec![]),
            NotPossible::ChangesDataInside,
        ),
        ("DELETE FROM t WHERE CURRENT OF c", shapes(&["id"], vec![]), NotPossible::Cursor),
        ("DELETE FROM t", Shapes::default(), NotPossible::UnknownTable),
        ("UPDATE t SET v = 1", shapes(&[], vec![]), NotPossible::NoPrimaryKey(name("t"))),
        ("UPDATE t SET id = 1", shapes(&["id"], vec![]), NotPossible::PrimaryKeyChanged(name("t"))),
        ("UPDATE t SET (v, id) = (1, 2)", shapes(&["id"], vec![]), NotPossible::PrimaryKeyChanged(name("t"))),
        (
            "UPDATE t SET id = 1",
            shapes(&["v"], vec![key("u", "t", Action::Refuse, Action::Cascade)]),
            NotPossible::KeyPassesOn("u_t".to_owned()),
        ),
        (
            "DELETE FROM t",
            shapes(&["id"], vec![key("keyless", "t", Action::Set, Action::Refuse)]),
            NotPossible::NoPrimaryKey(name("keyless")),
        ),
        (
            "DELETE FROM t",
            shapes(
                &["id"],
                vec![
                    key("keyless", "t", Action::Cascade, Action::Refuse),
                    key("keyless", "keyless", Action::Cascade, Action::Refuse),
                ],
            ),
            NotPossible::NoPrimaryKey(name("keyless")),
        ),
        (
            "DELETE FROM t",
            shapes(&[], vec![key("t", "t", Action::Cascade, Action::Refuse)]),
            NotPossible::NoPrimaryKey(name("t")),
        ),
    ];
    for (sql, shapes, expected) in cases {
        assert_eq!(undo::plan(sql, &Naming::new("a"), &shapes).unwrap_err(), expected, "{sql}");
    }
    for suffix in ["", "A", "a\"", "a-b", &"a".repeat(33)] {
        let refused = undo::plan("DELETE FROM t", &Naming::new(suffix), &shapes(&["id"], vec![]));
        assert_eq!(refused.unwrap_err(), NotPossible::Suffix, "{suffix}");
    }
    type Change = fn(&mut TableShape);
    let flags: [(Change, NotPossible); 3] = [
        (|table| table.holds_rows = false, NotPossible::NotATable(name("t"))),
        (|table| table.inherited = true, NotPossible::Inherited(name("t"))),
        (|table| table.has_rules = true, NotPossible::Rules(name("t"))),
    ];
    for (change, expected) in flags {
        let mut shapes = shapes(&["id"], vec![]);
        change(&mut shapes.tables[0]);
        assert_eq!(undo::plan("DELETE FROM t", &Naming::new("a"), &shapes).unwrap_err(), expected);
    }
}

#[test]
fn a_condition_of_any_size_ends_in_a_plan_or_a_reason() {
    let deep = format!("DELETE FROM t WHERE {}id = 1{}", "(".repeat(50_000), ")".repeat(50_000));
    let wide = format!("DELETE FROM t WHERE id IN ({})", vec!["1"; 10_000].join(", "));
    let _ = undo::plan(&deep, &Naming::new("a"), &shapes(&["id"], vec![]));
    assert!(undo::plan(&wide, &Naming::new("a"), &shapes(&["id"], vec![])).is_ok());
}

const SCHEMA: &str = r#"
    CREATE SCHEMA "My Shop"; SET search_path = "My Shop";
    CREATE TABLE customer (id int PRIMARY KEY, name text, doc json, born timestamptz DEFAULT now());
    CREATE TABLE "Order" (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer int REFERENCES customer ON DELETE CASCADE,
        amount numeric, twice numeric GENERATED ALWAYS AS (amount * 2) STORED, gone int);
    ALTER TABLE "Order" DROP COLUMN gone;
    CREATE TABLE line (order_id bigint REFERENCES "Order" ON DELETE CASCADE, n int, tags text[], PRIMARY KEY (order_id, n));
    CREATE TABLE remark (line_order bigint, line_n int, body bytea, FOREIGN KEY (line_order, line_n) REFERENCES line ON DELETE CASCADE);
    CREATE TABLE visit (id int PRIMARY KEY, customer int REFERENCES customer ON DELETE SET NULL, other int REFERENCES customer ON DELETE SET NULL);
    CREATE TABLE staff (id int PRIMARY KEY, boss int REFERENCES staff ON DELETE CASCADE, name text);
    CREATE TABLE ring_a (id int PRIMARY KEY, b int);
    CREATE TABLE ring_b (id int PRIMARY KEY, a int REFERENCES ring_a ON DELETE CASCADE);
    ALTER TABLE ring_a ADD FOREIGN KEY (b) REFERENCES ring_b ON DELETE CASCADE;
    CREATE TABLE part (id int, v text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
    CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (10);
    CREATE TABLE part_2 PARTITION OF part FOR VALUES FROM (10) TO (100);
    CREATE TABLE part_note (id int PRIMARY KEY, part int REFERENCES part ON DELETE CASCADE);
    CREATE TABLE bag (a int, b text);
    INSERT INTO customer (id, name, doc) SELECT i, 'c''' || i, '{"a":  1}' FROM generate_series(1, 20) AS i;
    INSERT INTO "Order" (customer, amount) SELECT i % 20 + 1, i FROM generate_series(1, 100) AS i;
    INSERT INTO line SELECT o.id, n, ARRAY['x', NULL, '"'] FROM "Order" AS o, generate_series(1, 3) AS n;
    INSERT INTO remark SELECT order_id, n, '\x00ff' FROM line, generate_series(1, 2);
    INSERT INTO visit SELECT i, i % 20 + 1, (i + 1) % 20 + 1 FROM generate_series(1, 60) AS i;
    INSERT INTO staff SELECT i, nullif(i / 2, 0), 's' || i FROM generate_series(1, 200) AS i;
    INSERT INTO ring_a SELECT i, NULL FROM generate_series(1, 30) AS i; INSERT INTO ring_b SELECT i, i FROM generate_series(1, 30) AS i;
    UPDATE ring_a SET b = id % 30 + 1;
    INSERT INTO part SELECT i, 'p' || i FROM generate_series(1, 50) AS i; INSERT INTO part_note SELECT i, i FROM generate_series(1, 50) AS i;
    INSERT INTO bag SELECT i % 3, 'b' FROM generate_series(1, 9) AS i;
"#;

const TABLES: &[&str] = &[
    "customer",
    "\"Order\"",
    "line",
    "remark",
    "visit",
    "staff",
    "ring_a",
    "ring_b",
    "part",
    "part_note",
    "bag",
];

async fn connect(postgres: &Postgres) -> Client {
    let config: Config = postgres.url().parse().unwrap();
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute("SET search_path = \"My Shop\"").await.unwrap();
    client
}

/// Every row of every table, as text.
async fn dump(client: &Client) -> Vec<String> {
    let mut lines = Vec::new();
    for table in TABLES {
        let rows = client.query(&format!("SELECT t::text FROM {table} AS t ORDER BY 1"), &[]).await.unwrap();
        lines.extend(rows.iter().map(|row| format!("{table} {}", row.get::<_, &str>(0))));
    }
    lines
}

/// Keeps the rows, runs the statement, and returns how many rows each copy has.
async fn run(client: &mut Client, plan: &UndoPlan, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Vec<i64> {
    let transaction =
        client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).start().await.unwrap();
    let statement = transaction.prepare(sql).await.unwrap();
    for step in &plan.before {
        match step {
            Step::Once { sql, takes_parameters: false } => transaction.batch_execute(sql).await.unwrap(),
            Step::Once { sql, takes_parameters: true } => {
                let copy = transaction.prepare_typed(sql, statement.params()).await.unwrap();
                transaction.execute(&copy, params).await.unwrap();
            }
            Step::UntilNothingIsAdded { sql } => loop {
                let mut added = 0;
                for sql in sql {
                    added += transaction.execute(sql.as_str(), &[]).await.unwrap();
                }
                if added == 0 {
                    break;
                }
            },
        }
    }
    let mut counts = Vec::new();
    for copy in &plan.copies {
        let row = transaction.query_one(&format!("SELECT count(*) FROM {}", copy.name), &[]).await.unwrap();
        counts.push(row.get(0));
    }
    let affected = transaction.execute(&statement, params).await.unwrap();
    if plan.before.iter().all(|step| matches!(step, Step::Once { .. })) {
        assert_eq!(affected, u64::try_from(counts[0]).unwrap(), "{sql}");
    }
    transaction.commit().await.unwrap();
    counts
}

#[tokio::test]
async fn what_was_deleted_or_changed_comes_back_byte_for_byte() {
    let postgres = Postgres::start().unwrap();
    postgres.psql(SCHEMA).unwrap();
    let mut client = connect(&postgres).await;
    let before = dump(&client).await;
    let seven: i32 = 7;
    let text = "it's";
    // The rows in each copy: three levels of cascades and a SET NULL under a customer, and rows that go round in circles.
    type Case<'a> = (&'a str, &'a [&'a (dyn ToSql + Sync)], &'a [i64]);
    let cases: &[Case<'_>] = &[
        ("DELETE FROM customer WHERE id <= $1", &[&seven], &[7, 35, 24, 105, 210]),
        (
            "DELETE FROM customer AS c USING \"Order\" AS o WHERE o.customer = c.id AND o.amount < 5",
            &[],
            &[4, 20, 15, 60, 120],
        ),
        (
            "WITH big AS (SELECT id FROM \"Order\" WHERE twice > 150) DELETE FROM \"Order\" WHERE id IN (SELECT id FROM big)",
            &[],
            &[25, 75, 150],
        ),
        ("DELETE FROM staff WHERE id = 1", &[], &[200]),
        ("DELETE FROM staff WHERE name = 's7'", &[], &[31]),
        ("DELETE FROM ring_a WHERE id = 3", &[], &[30, 30]),
        ("DELETE FROM part WHERE id BETWEEN 5 AND 14", &[], &[10, 10]),
        ("DELETE FROM part_1", &[], &[9, 9]),
        ("DELETE FROM bag WHERE a = 1", &[], &[3]),
        ("UPDATE customer SET name = $2, doc = NULL WHERE id > $1", &[&seven, &text], &[13]),
        (
            "UPDATE \"Order\" AS o SET amount = c.id FROM customer AS c, line AS l WHERE c.id = o.customer AND l.order_id = o.id AND l.n > 1",
            &[],
            &[100],
        ),
        ("UPDATE part SET v = upper(v)", &[], &[50]),
    ];
    for (number, (sql, params, counts)) in cases.iter().enumerate() {
        let shapes = ops_core::undo::load(&client, &undo::target(sql).unwrap()).await.unwrap();
        let plan = undo::plan(sql, &Naming::new(format!("case_{number}")), &shapes).unwrap();
        assert_eq!(run(&mut client, &plan, sql, params).await, *counts, "{sql} {:?}", plan.copies);
        assert_ne!(dump(&client).await, before, "{sql}");
        let transaction = client.transaction().await.unwrap();
        for statement in &plan.restore {
            transaction
                .batch_execute(statement)
                .await
                .unwrap_or_else(|error| panic!("{statement}: {error:?}"));
        }
        transaction.commit().await.unwrap();
        assert_eq!(dump(&client).await, before, "{sql}");
        client.batch_execute(&plan.forget.join("; ")).await.unwrap();
    }
    assert_eq!(postgres.psql("SELECT count(*) FROM pg_class WHERE relname LIKE 'guard_undo%'").unwrap(), "0");
}

#[tokio::test]
async fn the_shapes_are_those_of_the_server() {
    let postgres = Postgres::start().unwrap();
    postgres.psql(SCHEMA).unwrap();
    postgres
        .psql(
            "SET search_path = \"My Shop\"; CREATE VIEW v AS SELECT * FROM customer; CREATE TABLE base (id int PRIMARY KEY); \
             CREATE TABLE heir (more int) INHERITS (base); CREATE TABLE ruled (id int); \
             CREATE RULE r AS ON DELETE TO ruled DO ALSO NOTIFY x",
        )
        .unwrap();
    let client = connect(&postgres).await;
    let load = async |sql: &str| ops_core::undo::load(&client, &undo::target(sql).unwrap()).await.unwrap();
    let order = load("DELETE FROM \"Order\"").await;
    let names: Vec<&str> = order.tables.iter().map(|table| table.name.name.as_str()).collect();
    assert_eq!(names, ["Order", "line", "remark"]);
    let columns: Vec<_> = order.tables[0]
        .columns
        .iter()
        .map(|column| (column.name.as_str(), column.computed, column.always_identity))
        .collect();
    assert_eq!(
        columns,
        [("id", false, true), ("customer", false, false), ("amount", false, false), ("twice", true, false)]
    );
    assert_eq!(order.tables[1].primary_key, ["order_id", "n"]);
    let cases = [
        ("DELETE FROM nothing", "unknown_table"),
        ("DELETE FROM v", "not_a_table"),
        ("DELETE FROM base", "inherited"),
        ("DELETE FROM ruled", "rules"),
        ("UPDATE bag SET a = 1", "no_primary_key"),
        ("UPDATE \"Order\" SET id = DEFAULT", "primary_key_changed"),
    ];
    for (sql, code) in cases {
        let refused = undo::plan(sql, &Naming::new("a"), &load(sql).await).unwrap_err();
        assert_eq!(refused.code(), code, "{sql}: {refused}");
    }
    assert!(
        undo::plan("DELETE FROM ONLY base", &Naming::new("a"), &load("DELETE FROM ONLY base").await).is_ok()
    );
}
