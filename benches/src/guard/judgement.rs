//! The time of one judgement: of a text that was never seen, and of one that was.

use super::pairs::{percentile, timed};
use super::statements::STATEMENTS;
use crate::report::Row;
use jiff::Timestamp;
use ops_core::guard::{Context, Judge, Policy};
use std::hint::black_box;
use std::time::Instant;

/// Turns of the whole list in one round.
const TURNS: usize = 200;

/// Judgements of one timed batch from the cache: one alone takes about as long as a look at the clock.
const BATCH: usize = 1_000;

pub(crate) fn rows(rounds: usize) -> Vec<Row> {
    let bytes = STATEMENTS.iter().map(|sql| sql.len()).sum::<usize>() / STATEMENTS.len();
    let list = format!("{} statements of {bytes} bytes on average", STATEMENTS.len());
    let policy = Policy::app();
    let (p50, p99) = one_by_one(rounds, |sql| drop(black_box(policy.judge(black_box(sql)))));
    let (parse50, parse99) = one_by_one(rounds, |sql| drop(black_box(pg_query::parse(black_box(sql), 0))));
    let (cached50, cached99) = cached(rounds);
    vec![
        Row::new("judgement, not cached, p50", "µs", p50 * 1e6)
            .beside("pg_query::parse alone", parse50 * 1e6, None)
            .at_most(10.0)
            .note(list),
        Row::new("judgement, not cached, p99", "µs", p99 * 1e6).beside(
            "pg_query::parse alone",
            parse99 * 1e6,
            None,
        ),
        Row::new("judgement, cached, p50", "ns", cached50 * 1e9)
            .at_most(150.0)
            .note("with a look at the clock, as the client asks"),
        Row::new("judgement, cached, p99", "ns", cached99 * 1e9)
            .note(format!("of the means of {BATCH} judgements")),
    ]
}

/// The median of the rounds' percentiles, each call timed on its own.
fn one_by_one(rounds: usize, mut call: impl FnMut(&str)) -> (f64, f64) {
    let (mut p50s, mut p99s) = (Vec::new(), Vec::new());
    for sql in STATEMENTS {
        call(sql);
    }
    for _ in 0..rounds {
        let mut times = Vec::with_capacity(TURNS * STATEMENTS.len());
        for _ in 0..TURNS {
            for sql in STATEMENTS {
                let began = Instant::now();
                call(sql);
                times.push(began.elapsed().as_secs_f64());
            }
        }
        p50s.push(percentile(&mut times, 0.5));
        p99s.push(percentile(&mut times, 0.99));
    }
    (percentile(&mut p50s, 0.5), percentile(&mut p99s, 0.5))
}

fn cached(rounds: usize) -> (f64, f64) {
    let judge = Judge::new(Policy::app(), Context::default());
    let mut times = Vec::new();
    for sql in STATEMENTS {
        judge.judge(sql, Timestamp::now());
    }
    for _ in 0..rounds * TURNS {
        times.push(timed(BATCH, || {
            for sql in STATEMENTS.iter().cycle().take(BATCH) {
                black_box(judge.judge(black_box(sql), Timestamp::now()));
            }
        }));
    }
    (percentile(&mut times, 0.5), percentile(&mut times, 0.99))
}
