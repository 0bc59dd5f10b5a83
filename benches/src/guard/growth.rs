//! How the time of a judgement grows with the size of its text: 1 is linear, 2 is quadratic.

use super::pairs::timed;
use crate::report::Row;
use ops_core::guard::Policy;
use std::hint::black_box;

/// By how much the larger text is longer.
const FACTOR: usize = 4;

/// A shape of large statements: its name, how many parts the smaller one has, and the text of so many parts.
type Shape = (&'static str, usize, fn(usize) -> String);

const SHAPES: &[Shape] = &[
    ("terms of ||", 1_000, |size| format!("SELECT a{} FROM t", " || b".repeat(size))),
    ("OR conditions", 1_000, |size| format!("SELECT 1 FROM t WHERE a = 1{}", " OR a = 2".repeat(size))),
    ("items of an IN list", 2_500, |size| format!("SELECT 1 FROM t WHERE a IN (1{})", ", 2".repeat(size))),
    ("rows of VALUES", 2_500, |size| format!("INSERT INTO t VALUES (1){}", ", (2)".repeat(size))),
    ("joins", 50, |size| {
        let joins: String =
            (1..=size).map(|table| format!(" JOIN t{table} ON t{table}.id = t0.id")).collect();
        format!("SELECT * FROM t0{joins}")
    }),
    ("CTEs that each read the one before", 75, |size| {
        let ctes: String = (1..size).map(|i| format!(", c{i} AS (SELECT * FROM c{})", i - 1)).collect();
        format!("WITH c0 AS (SELECT 1){ctes} SELECT * FROM c{}", size - 1)
    }),
    ("branches of UNION ALL", 250, |size| format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(size))),
    ("parentheses", 500, |size| format!("SELECT {}1{}", "(".repeat(size), ")".repeat(size))),
    ("nested subselects", 75, |size| format!("SELECT {}1{}", "(SELECT ".repeat(size), ")".repeat(size))),
    ("statements of a script", 1_250, |size| "SELECT a FROM t WHERE id = 1;\n".repeat(size)),
    ("bytes of a comment", 250_000, |size| format!("SELECT 1 /*{}*/", "x".repeat(size))),
    ("bytes of a string", 250_000, |size| format!("SELECT '{}'", "x".repeat(size))),
];

/// One row a shape: the exponent of the growth, beside that of the parser alone.
pub(crate) fn rows(rounds: usize) -> Vec<Row> {
    let policy = Policy::app();
    let mut rows = Vec::new();
    for (name, size, text) in SHAPES {
        let (small, large) = (text(*size), text(size * FACTOR));
        let exponent = |call: &dyn Fn(&str)| {
            let time = |sql: &str| {
                call(sql);
                // The fastest one: what disturbs a single call only adds to it.
                (0..rounds).map(|_| timed(1, || call(sql))).fold(f64::INFINITY, f64::min)
            };
            let last = time(&large);
            ((last / time(&small)).ln() / (FACTOR as f64).ln(), last)
        };
        let (ours, last) = exponent(&|sql| drop(black_box(policy.judge(black_box(sql)))));
        let (theirs, _) = exponent(&|sql| {
            black_box(parse_deep(sql));
        });
        rows.push(
            Row::new(format!("growth with {name}"), "exponent", ours)
                .beside("pg_query::parse alone", theirs, None)
                .without_ratio()
                .note(format!("{size} to {}: {:.1} ms", size * FACTOR, last * 1e3)),
        );
    }
    rows
}

/// The parser alone, on a stack that holds what these texts need.
fn parse_deep(sql: &str) -> bool {
    std::thread::scope(|scope| {
        let worker = std::thread::Builder::new()
            .stack_size(128 << 20)
            .spawn_scoped(scope, || pg_query::parse(sql, 0).is_ok());
        worker.is_ok_and(|worker| worker.join().unwrap_or(false))
    })
}
