//! Any text ends in a verdict: deep, long, broken, random.

use ops_core::guard::Policy;
use proptest::prelude::*;

/// Judges on a thread with a stack like that of an async worker, and gives the rule of the first refusal.
fn rule(sql: String) -> Option<String> {
    let worker = std::thread::Builder::new().stack_size(2 << 20);
    let judged = worker
        .spawn(move || Policy::app().judge(&sql).denied().next().and_then(|denied| denied.rule.clone()));
    judged.unwrap().join().unwrap()
}

#[test]
fn a_long_run_keeps_its_places() {
    let terms = " || b".repeat(20_000);
    let sql = format!("SELECT 1;\n\nSELECT 'ä'{terms} || lo_unlink(1){terms}\n  ;\nSELECT 2");
    let verdict = Policy::app().judge(&sql);
    let places: Vec<(usize, usize)> =
        verdict.statements.iter().map(|statement| (statement.line, statement.start)).collect();
    assert_eq!(places, [(1, 0), (3, 11), (5, sql.len() - 8)]);
    let refused = verdict.denied().next().unwrap();
    assert!(sql[refused.position..].starts_with("lo_unlink(1)"));
    assert!(sql[..refused.end].ends_with("|| b"));
}

fn nested(open: &str, inner: &str, close: &str, depth: usize) -> String {
    format!("SELECT {}{inner}{}", open.repeat(depth), close.repeat(depth))
}

#[test]
fn large_but_ordinary_statements_are_allowed() {
    let joins: String = (1..=200).map(|table| format!(" JOIN t{table} ON t{table}.id = t0.id")).collect();
    let tables: String = (1..300).map(|i| format!(", c{i} AS (SELECT * FROM c{})", i - 1)).collect();
    let statements = [
        format!("SELECT * FROM t0{joins}"),
        format!("SELECT a{} FROM t", " || b".repeat(4_000)),
        format!("SELECT a{} FROM t", " || b".repeat(5_000)),
        format!("SELECT 'x' || (a{} || coalesce(c, 'd')) FROM t", " || 'b'".repeat(20_000)),
        format!("SELECT x * 2{} = 1", " + f.a::int".repeat(20_000)),
        format!("SELECT 1{}", " + 1".repeat(4_000)),
        format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(1_000)),
        format!("SELECT * FROM t WHERE id IN (1{})", ", 2".repeat(10_000)),
        format!("SELECT * FROM t WHERE id = 1{}", " OR id = 2".repeat(5_000)),
        format!("INSERT INTO t VALUES (1){}", ", (2)".repeat(10_000)),
        format!("WITH c0 AS (SELECT 1){tables} SELECT * FROM c299"),
        format!("SELECT 1 /*{}*/", "x".repeat(1 << 20)),
        format!("{}SELECT 1", "-- comment\n".repeat(90_000)),
        format!("SELECT '{}'", "x".repeat(1 << 20)),
        "SELECT 1;".repeat(5_000),
        nested("(", "1", ")", 2_000),
        nested("(SELECT ", "1", ")", 300),
        nested("NOT ", "true", "", 127),
        nested("NOT ", "true", "", 2_000),
        nested("CASE WHEN a THEN ", "1", " END", 300),
        nested("abs(", "1", ")", 500),
    ];
    for sql in statements {
        let shown: String = sql.chars().take(40).collect();
        assert_eq!(rule(sql), None, "{shown}");
    }
}

#[test]
fn what_is_too_deep_or_too_long_is_refused_in_time() {
    let cases = [
        ("too-complex", nested("(", "1", ")", 100_000)),
        ("too-complex", nested("NOT ", "true", "", 100_000)),
        ("too-complex", nested("(SELECT ", "1", ")", 50_000)),
        ("too-complex", nested("ARRAY[", "1", "]", 100_000)),
        ("too-complex", nested("abs(", "1", ")", 100_000)),
        ("too-complex", format!("SELECT 1{}", "||1".repeat(100_000))),
        ("large-object", format!("SELECT a{} || lo_unlink(1) || b", " || b".repeat(20_000))),
        ("delete-all", format!("SELECT a{}; DELETE FROM t", " || b".repeat(20_000))),
        ("delete-all", format!("DELETE FROM t WHERE 'a'{} = $1", " || 'b'".repeat(20_000))),
        ("too-complex", format!("SELECT 1{}", "::int".repeat(100_000))),
        ("too-complex", nested("CASE WHEN true THEN ", "1", " END", 50_000)),
        ("too-long", "x".repeat((2 << 20) + 1)),
        ("unparsable", "(".repeat(5_000)),
        ("too-complex", format!("SELECT 1 /*{}", "/*".repeat(500_000))),
        ("too-complex", format!("SELECT 1 {}{}", "/*".repeat(500_000), "*/".repeat(500_000))),
        ("unparsable", format!("SELECT 1 {}", "/* ".repeat(100_000))),
        ("unparsable", "SELECT 1\0".to_owned()),
        ("unparsable", "\0".to_owned()),
        // Padding does not hide what follows.
        ("delete-all", format!("/*{}*/ DELETE FROM t", "x".repeat(1 << 20))),
        ("delete-all", format!("SELECT {}; DELETE FROM t", "1,".repeat(5_000) + "1")),
        ("data-drop", format!("SELECT a{}; DROP TABLE t", " || b".repeat(1_000))),
        ("large-object", format!("SELECT lo_unlink(1){}", " + 1".repeat(3_000))),
        ("delete-all", format!("DELETE FROM t WHERE {}true", "NOT NOT ".repeat(60))),
        // A condition whose levels double the work must not take time that doubles too.
        (
            "delete-all",
            format!("DELETE FROM t WHERE {}1 = 1{}", "(false OR (true AND ".repeat(60), "))".repeat(60)),
        ),
    ];
    for (expected, sql) in cases {
        let shown: String = sql.chars().take(40).collect();
        assert_eq!(rule(sql).as_deref(), Some(expected), "{shown}");
    }
}

/// A way to make a statement large: `parts` is how often, `leaf` is the expression at its bottom.
type Shape = fn(parts: usize, leaf: &str) -> String;

/// What nests or repeats in SQL, with a size that an ordinary program may well send: up to there it is allowed.
const SHAPES: &[(&str, usize, Shape)] = &[
    ("parentheses", 2_000, |parts, leaf| nested("(", leaf, ")", parts)),
    ("NOT", 2_000, |parts, leaf| nested("NOT ", leaf, "", parts)),
    ("minus", 1_000, |parts, leaf| nested("- ", leaf, "", parts)),
    ("subselects", 300, |parts, leaf| nested("(SELECT ", leaf, ")", parts)),
    ("subselects in FROM", 200, |parts, leaf| nested("* FROM (SELECT ", leaf, ") AS s", parts)),
    ("EXISTS", 150, |parts, leaf| nested("EXISTS (SELECT 1 WHERE ", leaf, ")", parts)),
    ("IN", 150, |parts, leaf| nested("1 IN (SELECT ", leaf, ")", parts)),
    ("CTEs in CTEs", 150, |parts, leaf| nested("(WITH c AS (SELECT ", leaf, ") SELECT 1 FROM c)", parts)),
    ("CASE in THEN", 300, |parts, leaf| nested("CASE WHEN a THEN ", leaf, " END", parts)),
    ("CASE in WHEN", 300, |parts, leaf| nested("CASE WHEN ", leaf, " THEN 1 END", parts)),
    ("WHEN after WHEN", 2_000, |parts, leaf| {
        format!("SELECT CASE {} ELSE {leaf} END", "WHEN a = 1 THEN 2 ".repeat(parts))
    }),
    ("calls", 500, |parts, leaf| nested("abs(", leaf, ")", parts)),
    ("coalesce", 500, |parts, leaf| nested("coalesce(a, ", leaf, ")", parts)),
    ("arrays", 500, |parts, leaf| nested("ARRAY[", leaf, "]", parts)),
    ("rows", 500, |parts, leaf| nested("ROW(", leaf, ", 1)", parts)),
    ("CAST", 500, |parts, leaf| nested("CAST(", leaf, " AS int)", parts)),
    ("casts", 1_000, |parts, leaf| format!("SELECT {leaf}{}", "::int".repeat(parts))),
    ("subscripts", 1_000, |parts, leaf| format!("SELECT ({leaf}){}", "[1]".repeat(parts))),
    ("fields", 1_000, |parts, leaf| format!("SELECT ({leaf}){}", ".a".repeat(parts))),
    ("collations", 1_000, |parts, leaf| format!("SELECT {leaf}{}", " COLLATE \"C\"".repeat(parts))),
    ("time zones", 500, |parts, leaf| format!("SELECT {leaf}{}", " AT TIME ZONE 'UTC'".repeat(parts))),
    ("items of a list", 10_000, |parts, leaf| {
        format!("SELECT 1 FROM t WHERE a IN (1{}, {leaf})", ", 2".repeat(parts))
    }),
    ("columns", 10_000, |parts, leaf| format!("SELECT 1{}, {leaf}", ", 2".repeat(parts))),
    ("arguments", 10_000, |parts, leaf| format!("SELECT concat(1{}, {leaf})", ", 2".repeat(parts))),
    ("rows of VALUES", 10_000, |parts, leaf| {
        format!("INSERT INTO t VALUES (1){}, ({leaf})", ", (2)".repeat(parts))
    }),
    ("assignments", 1_000, |parts, leaf| {
        format!("UPDATE t SET a = 1{}, b = {leaf} WHERE id = 1", ", a = 2".repeat(parts))
    }),
    ("tables", 500, |parts, leaf| format!("SELECT {leaf} FROM t{}", ", t".repeat(parts))),
    ("48 joins", 48, |parts, leaf| format!("SELECT {leaf} FROM t0{}", joins(parts))),
    ("200 joins", 200, |parts, leaf| format!("SELECT {leaf} FROM t0{}", joins(parts))),
    ("joins in parentheses", 150, |parts, leaf| {
        format!("SELECT {leaf} FROM {}t{}", "(".repeat(parts), " CROSS JOIN u)".repeat(parts))
    }),
    ("CTEs", 300, |parts, leaf| {
        let ctes: String = (1..parts).map(|i| format!(", c{i} AS (SELECT * FROM c{})", i - 1)).collect();
        format!("WITH c0 AS (SELECT {leaf}){ctes} SELECT * FROM c{}", parts - 1)
    }),
    ("UNION ALL", 1_000, |parts, leaf| {
        format!("SELECT 1{} UNION ALL SELECT {leaf}", " UNION ALL SELECT 1".repeat(parts))
    }),
    ("UNION in parentheses", 300, |parts, leaf| {
        format!("{}SELECT {leaf}{}", "(SELECT 1 EXCEPT ".repeat(parts), ")".repeat(parts))
    }),
    ("WHERE with OR", 4_000, |parts, leaf| {
        format!("SELECT * FROM t WHERE id = 1{} OR a = {leaf}", " OR id = 2".repeat(parts))
    }),
    ("ORDER BY", 5_000, |parts, leaf| format!("SELECT 1 FROM t ORDER BY a{}, {leaf}", ", a".repeat(parts))),
    ("windows", 1_000, |parts, leaf| {
        format!("SELECT 1{}, {leaf}", ", sum(a) OVER (PARTITION BY b ORDER BY c)".repeat(parts))
    }),
    ("string parts", 20_000, |parts, leaf| format!("SELECT 'a'{}, {leaf}", "\n'b'".repeat(parts))),
    ("comments", 20_000, |parts, leaf| format!("SELECT {}{leaf}", "/* c */ -- d\n".repeat(parts))),
    ("comments in comments", 20_000, |parts, leaf| {
        format!("SELECT {}{}{leaf}", "/* ".repeat(parts), " */".repeat(parts))
    }),
    ("statements", 5_000, |parts, leaf| format!("{}SELECT {leaf}", "SELECT 1;".repeat(parts))),
    ("empty statements", 50_000, |parts, leaf| format!("{}SELECT {leaf}", "; ".repeat(parts))),
];

/// Left- and right-associative operators of every precedence; those that do not associate cannot make a chain.
const OPERATORS: &[&str] = &[
    "+",
    "-",
    "*",
    "/",
    "%",
    "^",
    "||",
    "->",
    "->>",
    "#>",
    "@>",
    "<@",
    "&&",
    "|",
    "#",
    "<<",
    ">>",
    "~",
    "AND",
    "OR",
    "OPERATOR(pg_catalog.+)",
];

fn joins(parts: usize) -> String {
    (1..=parts).map(|table| format!(" JOIN t{table} ON t{table}.id = t0.id")).collect()
}

/// A leaf that does nothing, and one that the policy must find.
const HARMLESS: &str = "1";
const HARMFUL: &str = "lo_unlink(1)";

/// The size of a text that no program sends by intent.
const LARGE_BYTES: usize = 256 << 10;

/// A refusal that means: not read, and so not run.
fn is_unread(rule: &Option<String>) -> bool {
    matches!(rule.as_deref(), Some("too-complex" | "too-long" | "unparsable"))
}

#[test]
fn every_shape_is_allowed_where_it_is_ordinary_and_judged_where_it_is_not() {
    for (name, ordinary, shape) in SHAPES {
        assert_eq!(rule(shape(*ordinary, HARMLESS)), None, "{ordinary} {name}");
        assert_eq!(rule(shape(*ordinary, HARMFUL)).as_deref(), Some("large-object"), "{ordinary} {name}");
        // Far beyond any program: whatever is read of it, nothing harmful in it is missed.
        let part = shape(2, HARMLESS).len() - shape(1, HARMLESS).len();
        let parts = (ordinary * 100).min(LARGE_BYTES / part);
        for (expected, sql) in [
            ("large-object", shape(parts, HARMFUL)),
            ("delete-all", shape(parts, HARMLESS) + "; DELETE FROM t"),
        ] {
            let found = rule(sql);
            assert!(found.as_deref() == Some(expected) || is_unread(&found), "{parts} {name}: {found:?}");
        }
    }
}

#[test]
fn chains_of_every_operator_are_judged() {
    for operator in OPERATORS {
        let chain = |parts: usize, leaf: &str| {
            format!("SELECT a{} {operator} {leaf}", format!(" {operator} b").repeat(parts))
        };
        assert_eq!(rule(chain(2_000, "c")), None, "{operator}");
        assert_eq!(rule(chain(2_000, HARMFUL)).as_deref(), Some("large-object"), "{operator}");
        let found = rule(chain(20_000, HARMFUL));
        assert!(found.as_deref() == Some("large-object") || is_unread(&found), "{operator}: {found:?}");
    }
}

#[test]
fn a_text_may_be_as_long_as_the_limit_and_no_longer() {
    let most = 2 << 20;
    let string = |length: usize| format!("SELECT '{}'", "x".repeat(length - "SELECT ''".len()));
    let dotted = |parts: usize| format!("SELECT a{} FROM t", ".a".repeat(parts));
    let cases: Vec<(Option<&str>, String)> = vec![
        (None, string(most)),
        (Some("too-long"), string(most + 1)),
        (None, format!("SELECT $tag${}$tag$", "$tag'".repeat(most / 8))),
        (None, format!("SELECT \"{}\" FROM t", "x".repeat(most / 2))),
        (None, format!("SELECT {}", "9".repeat(most / 2))),
        (None, dotted(3)),
        (None, dotted(1_000)),
        (Some("unparsable"), format!("SELECT 1 FROM t{}", ".a".repeat(1_000))),
        (Some("unparsable"), "SELECT '".to_owned() + &"x".repeat(most / 2)),
        (Some("unparsable"), "SELECT $$".to_owned() + &"$".repeat(most / 2)),
        (Some("unparsable"), "\u{feff}SELECT 1\0".to_owned()),
        (Some("unparsable"), "SELECT '\0'".to_owned()),
        (Some("unparsable"), "SELECT 1; \0 -- ".to_owned()),
    ];
    for (expected, sql) in cases {
        let shown: String = sql.chars().take(40).collect();
        assert_eq!(rule(sql).as_deref(), expected, "{shown}");
    }
}

/// Pieces of statements, put together at random, give more trees than random letters do.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "SELECT",
        "DELETE FROM",
        "UPDATE",
        "INSERT INTO",
        "SET",
        "WHERE",
        "VALUES",
        "(",
        ")",
        ",",
        ";",
        "t",
        "a",
        "1",
        "'x'",
        "=",
        "AND",
        "OR",
        "NOT",
        "true",
        "WITH",
        "x AS",
        "RETURNING",
        "*",
        "JOIN",
        "ON",
        "UNION",
        "ALL",
        "ORDER BY",
        "LIMIT",
        "NULL",
        "IS",
        "$1",
        "EXPLAIN",
        "ANALYZE",
        "DROP TABLE",
        "TRUNCATE",
        "lo_unlink(1)",
        "--",
        "/*",
        "*/",
        "$$",
        "E'",
        "\"",
        "\0",
        "ä",
        "CASE WHEN",
        "THEN",
        "END",
        "MERGE INTO",
        "USING",
        "WHEN MATCHED",
        "CREATE TABLE",
        "ALTER TABLE",
        "GRANT",
        "COPY",
        "FROM",
        "IN",
        "::int",
        "COALESCE(",
        "EXISTS (",
        "BETWEEN",
        "LIKE '%'",
        "\n",
        "\\",
        "DO",
        "FOR UPDATE",
        "[1]",
        ".",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.join(" "))
}

fn holds_together(sql: &str) -> Result<(), TestCaseError> {
    for policy in [Policy::app(), Policy::break_glass()] {
        let verdict = policy.judge(sql);
        let mut last = 0;
        for statement in &verdict.statements {
            prop_assert!(
                last <= statement.start && statement.start <= statement.end && statement.end <= sql.len()
            );
            prop_assert!(sql.is_char_boundary(statement.start) && sql.is_char_boundary(statement.end));
            prop_assert!(statement.line >= 1);
            prop_assert!((statement.start..=statement.end).contains(&statement.position));
            prop_assert_eq!(statement.rule.is_none(), statement.reason.is_none());
            last = statement.end;
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_ends_in_a_verdict(sql in ".{0,200}") {
        holds_together(&sql)?;
    }

    #[test]
    fn any_pieces_of_sql_end_in_a_verdict(sql in pieces()) {
        holds_together(&sql)?;
    }

    #[test]
    fn a_refused_statement_stays_refused_behind_any_comment(comment in "[^*/\0]{0,200}") {
        let sql = format!("/*{comment}*/ DELETE FROM t /*{comment}*/");
        let verdict = Policy::app().judge(&sql);
        prop_assert_eq!(verdict.statements[0].rule.as_deref(), Some("delete-all"));
    }

    #[test]
    fn names_do_not_matter(table in "[a-z]{1,12}", column in "[a-z]{1,12}") {
        let sql = format!("DELETE FROM \"{table}\" WHERE \"{column}\" = \"{column}\"");
        let verdict = Policy::app().judge(&sql);
        prop_assert_eq!(verdict.statements[0].rule.as_deref(), Some("delete-all"));
        let sql = format!("DELETE FROM \"{table}\" WHERE \"{column}\" = $1");
        prop_assert!(Policy::app().judge(&sql).is_allowed());
    }
}
