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
