//! Throughput over a corpus, beside three parsers; and which of its statements each of them cannot read.

use super::pairs::{Pairs, timed};
use super::statements::STATEMENTS;
use crate::report::Row;
use anyhow::{Context as _, Result};
use ops_core::guard::Policy;
use sqlparser::dialect::PostgreSqlDialect;
use squawk_syntax::SourceFile;
use std::hint::black_box;
use std::path::Path;

/// Statements that one timed batch works through, at least.
const BATCH: usize = 4_000;

/// Something that reads a statement, and tells whether it could.
type Reader = fn(&str) -> bool;

const PEERS: [(&str, Reader); 3] = [
    ("pg_query::parse", |sql| pg_query::parse(sql, 0).is_ok()),
    ("sqlparser 0.63", |sql| sqlparser::parser::Parser::parse_sql(&PostgreSqlDialect {}, sql).is_ok()),
    ("squawk-syntax 2.40", |sql| SourceFile::parse(sql).errors().is_empty()),
];

/// Reads the corpus, or takes our own list where there is none, and measures all readers in turns.
pub(crate) fn rows(corpus: Option<&Path>, rounds: usize) -> Result<Vec<Row>> {
    let (statements, source) = match corpus {
        Some(file) => (read(file)?, "the corpus"),
        None => (STATEMENTS.iter().map(|sql| (*sql).to_owned()).collect(), "the list of judgements"),
    };
    let policy = Policy::app();
    let judged = |sql: &str| {
        let verdict = policy.judge(sql);
        !verdict.statements.iter().any(|one| {
            one.rule.as_deref().is_some_and(|rule| ["unparsable", "too-complex", "too-long"].contains(&rule))
        })
    };
    let unread = |reads: &dyn Fn(&str) -> bool| statements.iter().filter(|sql| !reads(sql)).count();
    let mut rows = Vec::new();
    for (name, reads) in PEERS {
        let mut pairs = Pairs::default();
        for _ in 0..rounds {
            let ours = pass(&statements, |sql| drop(black_box(policy.judge(black_box(sql)))));
            pairs.push(
                ours,
                pass(&statements, |sql| {
                    black_box(reads(black_box(sql)));
                }),
            );
        }
        let pair = pairs.sum_up();
        rows.push(
            Row::new("corpus, statements a second", "1/s", 1.0 / pair.ours)
                .beside(name, 1.0 / pair.theirs, Some(1.0 / pair.ratio))
                .note(format!("{} of {source}; more is better", statements.len())),
        );
    }
    for (name, reads) in PEERS {
        rows.push(
            Row::new("corpus, statements that cannot be read", "statements", unread(&judged) as f64).beside(
                name,
                unread(&reads) as f64,
                None,
            ),
        );
    }
    Ok(rows)
}

/// Seconds a statement, over as many passes as make a batch.
fn pass(statements: &[String], mut call: impl FnMut(&str)) -> f64 {
    let turns = BATCH.div_ceil(statements.len().max(1));
    timed(turns * statements.len(), || {
        for _ in 0..turns {
            statements.iter().for_each(|sql| call(sql));
        }
    })
}

/// Splits the file with PostgreSQL's own scanner, which needs no statement to be right.
fn read(file: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let pieces = pg_query::split_with_scanner(&text).context("the corpus cannot be split into statements")?;
    Ok(pieces.into_iter().map(|piece| piece.trim().to_owned()).filter(|piece| !piece.is_empty()).collect())
}
