//! A time-boxed run of the fuzz targets' bodies, without a fuzzer.
//!
//! `OPS_FUZZ_SECONDS` makes it a run of that length from a fresh seed; `OPS_FUZZ_SEED` repeats one.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a run says how it can be repeated")]

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ops_core::guard::Policy;

use self::bodies::mutate::{Dice, mutate};
use self::bodies::{checks, grammar, seeds};

#[expect(unreachable_pub, reason = "the fuzz crate has these files as its library")]
#[path = "../../../../fuzz/src/lib.rs"]
mod bodies;

/// Texts of one run where no length is asked for: a few seconds in a debug build.
const MUTATED: usize = 4_000;
const BUILT: usize = 800;
const POLICIES: usize = 4_000;

/// Texts that a run keeps because they had effects that no earlier one had.
const MOST_KEPT: usize = 4_000;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} takes a number, not {text}")))
}

/// Calls `once` with the run's dice until the run is over; says how to repeat the text on which it panics.
fn run(name: &str, most: usize, mut once: impl FnMut(&mut Dice)) {
    let seconds = number("OPS_FUZZ_SECONDS");
    let fresh = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |time| time.as_nanos() as u64);
    let seed = number("OPS_FUZZ_SEED").unwrap_or_else(|| seconds.map_or(1, |_| fresh()));
    let end = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut dice = Dice::new(seed);
    let mut texts = 0;
    while end.map_or(texts < most, |end| Instant::now() < end) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| once(&mut dice))) {
            eprintln!("{name}: text {texts} of OPS_FUZZ_SEED={seed} fails");
            resume_unwind(panic);
        }
        texts += 1;
    }
    println!("{name}: {texts} texts, OPS_FUZZ_SEED={seed}");
}

#[test]
fn mutated_statements_are_judged_alike_however_they_are_written() {
    let mut texts: Vec<String> = seeds::seeds().into_iter().map(str::to_owned).collect();
    let mut known = HashSet::new();
    for text in &texts {
        known.insert(checks::any_text(text.as_bytes()));
    }
    assert!(!known.contains(&None), "a seed is no SQL");
    run("mutated", MUTATED, |dice| {
        let text = mutate(dice.of_list::<String>(&texts), &texts, checks::MOST_BYTES, dice);
        let found = checks::any_text(text.as_bytes());
        checks::redacted(&text);
        checks::one_after_the_other(&text, dice.of_list::<String>(&texts));
        if found.is_some() && texts.len() < MOST_KEPT && known.insert(found) {
            texts.push(text);
        }
    });
}

#[test]
fn built_statements_are_refused_for_what_was_planted_and_for_nothing_else() {
    let mut planted = [0_usize; 2];
    run("built", BUILT, |dice| {
        let length = dice.below(300);
        let bytes = dice.bytes(length);
        planted[usize::from(grammar::build(&bytes).planted.is_some())] += 1;
        checks::built(&bytes);
    });
    assert!(planted.iter().all(|count| *count > BUILT / 4), "{planted:?}");
}

#[test]
fn mutated_policies_are_refused_in_words_or_mean_the_same_each_time() {
    let policies: Vec<String> = seeds::policies().into_iter().map(str::to_owned).collect();
    run("policies", POLICIES, |dice| {
        let text = mutate(dice.of_list::<String>(&policies), &policies, checks::MOST_BYTES, dice);
        checks::policy_document(&text);
    });
    for policy in &policies {
        checks::policy_document(policy);
    }
    assert!(Policy::from_toml(&policies[1]).is_ok_and(|policy| !policy.run_tests().is_empty()));
}

#[test]
fn every_seed_and_every_plant_is_what_it_is_taken_for() {
    let rule = |sql: &str| {
        let verdict = Policy::app().judge(sql);
        let denied = verdict.denied().next().map(|denied| (denied.rule.clone(), denied.reason.clone()));
        denied.map_or((None, None), |(rule, reason)| (rule, reason))
    };
    for seed in seeds::seeds() {
        let (rule, reason) = rule(seed);
        assert_ne!(rule.as_deref(), Some("unparsable"), "{reason:?}: {seed}");
    }
    let plants = grammar::EXPRESSIONS.iter().map(|plant| format!("SELECT {plant}"));
    for plant in plants.chain(grammar::STATEMENTS.iter().map(|plant| (*plant).to_owned())) {
        let (rule, _) = rule(&plant);
        assert!(rule.is_some_and(|rule| rule != "unparsable"), "{plant}");
    }
}
