//! x
use std::time::Instant;
fn main() {
    let cases: Vec<(&str, String)> = vec![
        ("inline minus", format!("SELECT {}1", "- ".repeat(120))),
        ("inline not", format!("SELECT {}true", "NOT ".repeat(120))),
        ("inline case", format!("SELECT {}1{}", "CASE WHEN a THEN ".repeat(25), " END".repeat(25))),
        ("inline sub", format!("{}SELECT 1{}", "SELECT(".repeat(40), ")".repeat(40))),
        ("inline arr", format!("SELECT {}1{}", "ARRAY[".repeat(42), "]".repeat(42))),
        ("inline idx", format!("SELECT a{}", "[1]".repeat(330))),
        ("inline fn", format!("SELECT {}1{}", "abs(".repeat(42), ")".repeat(42))),
        ("inline cast", format!("SELECT 1{}", "::int".repeat(42))),
        ("parens 100k", format!("SELECT {}1{}", "(".repeat(100_000), ")".repeat(100_000))),
        (
            "joins 200",
            format!(
                "SELECT * FROM t0 {}",
                (1..201).map(|i| format!("JOIN t{i} ON t{i}.a = t0.a ")).collect::<String>()
            ),
        ),
        (
            "joins 1000",
            format!(
                "SELECT * FROM t0 {}",
                (1..1001).map(|i| format!("JOIN t{i} ON t{i}.a = t0.a ")).collect::<String>()
            ),
        ),
        ("concat 1000", format!("SELECT a{}", " || b".repeat(1000))),
        ("concat 4900", format!("SELECT a{}", " || b".repeat(4900))),
        ("concat 5000", format!("SELECT a{}", " || b".repeat(5000))),
        ("concat 100k", format!("SELECT a{}", " || b".repeat(100000))),
        ("not 100k", format!("SELECT {}true", "NOT ".repeat(100000))),
        ("minus 4000", format!("SELECT {}1", "- ".repeat(4000))),
        ("sub 2000", format!("{}SELECT 1{}", "SELECT(".repeat(2000), ")".repeat(2000))),
        ("sub 1000", format!("{}SELECT 1{}", "SELECT(".repeat(1000), ")".repeat(1000))),
        ("sub 100", format!("{}SELECT 1{}", "SELECT(".repeat(100), ")".repeat(100))),
        ("union 1000", format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(1000))),
        ("in 10000", format!("SELECT 1 FROM t WHERE a IN (1{})", ",2".repeat(10000))),
        ("comment 1MB", format!("SELECT 1 /*{}*/", "x".repeat(1 << 20))),
        ("comments 1MB", format!("{}SELECT 1", "-- x\n".repeat(200_000))),
        ("or 10000", format!("DELETE FROM t WHERE a=1{}", " OR a=1".repeat(10000))),
        ("stmts 10000", "SELECT 1;".repeat(10000)),
        (
            "cte 1000",
            format!(
                "WITH a0 AS (SELECT 1){} SELECT 1",
                (1..1000).map(|i| format!(", a{i} AS (SELECT * FROM a{})", i - 1)).collect::<String>()
            ),
        ),
        ("nul", "SELECT 1\0; DROP TABLE x".into()),
        ("3.9MB in", format!("SELECT 1 FROM t WHERE a IN (1{})", ",2".repeat(1_900_000))),
    ];
    let only = std::env::args().nth(1);
    for (name, sql) in cases {
        if only.as_deref().is_some_and(|o| o != name) {
            continue;
        }
        let kb: usize = std::env::var("KB").ok().map_or(2048, |k| k.parse().unwrap());
        std::thread::Builder::new()
            .stack_size(kb << 10)
            .spawn(move || {
                let t = Instant::now();
                let v = ops_core::guard::Policy::app().judge(&sql);
                println!(
                    "{name:14} {:8} B {:?} n={} {:?} {:?}",
                    sql.len(),
                    t.elapsed(),
                    v.statements.len(),
                    v.statements[0].decision,
                    v.statements[0].reason.as_ref().map(|r| r.chars().take(90).collect::<String>())
                );
            })
            .unwrap()
            .join()
            .unwrap();
    }
}
