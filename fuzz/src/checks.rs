//! What must hold for any text, whatever the policies say of it. A check that fails panics with the text.

use super::grammar::{self, Built};
use super::mutate::Dice;
use super::rewrite;
use ops_core::guard::{Decision, Policy, StatementVerdict, Verdict, redact};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::LazyLock;

/// Longer texts are not looked at: the time of a run is bounded by the size of its texts, and never by a clock.
pub const MOST_BYTES: usize = 16 << 10;

/// From the strictest to the mildest: what one of them allows, the next one allows too.
static POLICIES: LazyLock<[Policy; 4]> =
    LazyLock::new(|| [Policy::read_only(), Policy::app(), Policy::migration(), Policy::break_glass()]);

/// Statements around a statement, none of which makes anything of it harmless.
const WRAPPERS: &[(&str, &str)] = &[
    ("EXPLAIN ANALYZE ", ""),
    ("EXPLAIN (ANALYZE, BUFFERS, FORMAT json) ", ""),
    ("PREPARE guard_statement AS ", ""),
    ("WITH guard_query AS (", ") SELECT * FROM guard_query"),
    ("WITH guard_query AS MATERIALIZED (", ") INSERT INTO guard_table SELECT 1"),
    ("SELECT 1 FROM guard_table WHERE EXISTS (WITH guard_query AS (", ") SELECT 1)"),
    ("SELECT * FROM (", ") AS guard_query"),
    ("SELECT 1 LIMIT ALL OFFSET (WITH guard_query AS (", ") SELECT 1)"),
    ("SELECT ARRAY (", ")"),
    ("INSERT INTO guard_table ", ""),
    ("COPY (", ") TO STDOUT"),
    ("CREATE TEMPORARY TABLE guard_table AS ", ""),
    ("DECLARE guard_cursor CURSOR FOR ", ""),
    ("EXPLAIN ANALYZE WITH guard_query AS (", ") SELECT 1"),
];

/// Checks a text of any bytes. Returns a number that tells apart what the guard found in it: none where it is no SQL.
pub fn any_text(bytes: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() <= MOST_BYTES)?;
    let verdicts = POLICIES.each_ref().map(|policy| policy.judge(text));
    for verdict in &verdicts {
        holds_together(text, verdict);
    }
    for (strict, mild) in verdicts.iter().zip(&verdicts[1..]) {
        for (strict, mild) in strict.statements.iter().zip(&mild.statements) {
            assert!(!strict.is_allowed() || mild.is_allowed(), "a milder policy refuses more: {text:?}");
            assert_eq!(strict.effects, mild.effects, "the effects depend on the policy: {text:?}");
        }
    }
    let app = &verdicts[1];
    if !is_read(app) {
        return None;
    }
    let mut dice = Dice::of(text);
    looks_do_not_matter(text, app, &mut dice);
    for statement in &app.statements {
        let alone = &text[statement.start..statement.end];
        assert_same_statement(alone, statement);
        no_wrapper_helps(alone, &mut dice);
    }
    let mut hasher = DefaultHasher::new();
    for statement in &app.statements {
        // Names are left out: two tables are no news.
        let effects: Vec<_> = statement.effects.iter().map(|predicted| predicted.effect.name()).collect();
        (effects, &statement.rule, statement.transactional).hash(&mut hasher);
    }
    Some(hasher.finish())
}

/// Checks a statement built from bytes: a planted effect is found wherever it stands, and nothing else is refused.
pub fn built(bytes: &[u8]) -> Option<u64> {
    let Built { sql, planted } = grammar::build(bytes);
    if sql.len() > MOST_BYTES {
        return None;
    }
    let verdict = POLICIES[1].judge(&sql);
    assert!(is_read(&verdict), "the builder writes no SQL: {:?}: {sql:?}", verdict.statements[0].reason);
    match planted {
        Some(planted) => assert!(!verdict.is_allowed(), "{planted} passes in {sql:?}"),
        None => assert!(verdict.is_allowed(), "{:?} refuses {sql:?}", verdict.statements[0].rule),
    }
    any_text(sql.as_bytes())
}

/// Checks that two texts one after the other are judged as each of them alone.
pub fn one_after_the_other(first: &str, second: &str) {
    let joined = format!("{first}\n;\n{second}");
    if joined.len() > MOST_BYTES {
        return;
    }
    let app = &POLICIES[1];
    let (one, other) = (app.judge(first), app.judge(second));
    if !is_read(&one) || !is_read(&other) {
        return;
    }
    let together = app.judge(&joined);
    assert_eq!(
        one.statements.iter().chain(&other.statements).map(essence).collect::<Vec<_>>(),
        together.statements.iter().map(essence).collect::<Vec<_>>(),
        "{joined:?}"
    );
    assert!(!together.is_allowed() || one.is_allowed() && other.is_allowed(), "{joined:?}");
}

/// Checks that a redacted text keeps no constant of the text.
pub fn redacted(text: &str) {
    // With debug assertions the library's scanner ends the process over a text of blanks alone.
    const BLANKS: [char; 6] = [' ', '\t', '\n', '\r', '\x0b', '\x0c'];
    if text.len() > MOST_BYTES || text.trim_matches(BLANKS).is_empty() {
        return;
    }
    let redacted = redact(text);
    let (constants, elsewhere) = rewrite::constants(text).unwrap_or_default();
    for constant in constants {
        // A short one, or one that is also a name, may stand there by itself; and only a single word cannot come about
        // where tokens meet.
        let inner = constant.trim_matches(|sign: char| !sign.is_alphanumeric());
        if inner.len() >= 6 && inner.chars().all(char::is_alphanumeric) && !elsewhere.contains(inner) {
            assert!(!redacted.contains(inner), "{inner:?} of {text:?} is still in {redacted:?}");
        }
    }
}

/// Checks a policy file's text: it is refused in words, or it is a policy that means the same each time and that a
/// rule which refuses everything closes.
pub fn policy_document(text: &str) {
    let policy = match Policy::from_toml(text) {
        Ok(policy) => policy,
        Err(error) => {
            assert!(!error.problems().is_empty() && !error.to_string().is_empty(), "{text:?}");
            return;
        }
    };
    let again = Policy::from_toml(&format!("{text}\n# the same"));
    assert_eq!(again.as_ref().map(Policy::hash).ok(), Some(policy.hash()), "{text:?}");
    for outcome in policy.run_tests() {
        let _ = format!("{outcome:?}");
    }
    const WORK: &str = "SELECT 1 FROM t; DELETE FROM t WHERE id = 1; DROP TABLE t; SELECT f(); SET ROLE a";
    holds_together(WORK, &policy.judge(WORK));
    let closed =
        format!("{text}\n[[rule]]\nname = \"closed-for-all\"\neffect = [\"any\"]\ndecision = \"deny\"\n");
    if let Ok(closed) = Policy::from_toml(&closed) {
        let verdict = closed.judge(WORK);
        assert!(verdict.statements.iter().all(|one| one.decision == Decision::Deny), "{text:?}: {verdict:?}");
        assert_ne!(closed.hash(), policy.hash(), "{text:?}");
    }
}

/// What of a statement's verdict does not depend on where it stands.
fn essence(statement: &StatementVerdict) -> impl PartialEq + std::fmt::Debug {
    (statement.decision, statement.rule.clone(), statement.transactional, statement.effects.clone())
}

/// Tells whether a text was parsed: no rule over the text as a whole applies.
fn is_read(verdict: &Verdict) -> bool {
    const OVER_TEXTS: [&str; 3] = ["unparsable", "too-complex", "too-long"];
    !verdict.statements.iter().any(|one| one.rule.as_deref().is_some_and(|rule| OVER_TEXTS.contains(&rule)))
}

fn holds_together(text: &str, verdict: &Verdict) {
    let mut last = 0;
    for one in &verdict.statements {
        assert!(last <= one.start && one.start <= one.end && one.end <= text.len(), "{one:?} of {text:?}");
        assert!(text.is_char_boundary(one.start) && text.is_char_boundary(one.end), "{one:?} of {text:?}");
        assert!((one.start..=one.end).contains(&one.position), "{one:?} of {text:?}");
        assert!(text.is_char_boundary(one.position), "{one:?} of {text:?}");
        let lines = text[..one.start].bytes().filter(|byte| *byte == b'\n').count();
        assert_eq!(one.line, lines + 1, "{one:?} of {text:?}");
        assert_eq!(one.rule.is_none(), one.is_allowed(), "{one:?} of {text:?}");
        assert_eq!(one.rule.is_none(), one.reason.is_none(), "{one:?} of {text:?}");
        last = one.end;
    }
}

fn looks_do_not_matter(text: &str, verdict: &Verdict, dice: &mut Dice) {
    for rewritten in [rewrite::respace(text, dice), rewrite::recase(text, dice)].into_iter().flatten() {
        let other = POLICIES[1].judge(&rewritten);
        let (found, expected) = (&other.statements, &verdict.statements);
        assert!(
            found.iter().map(essence).eq(expected.iter().map(essence)),
            "{text:?} is judged {expected:?}, but {rewritten:?} {found:?}"
        );
    }
}

/// A statement cut out of its text means the same.
fn assert_same_statement(alone: &str, statement: &StatementVerdict) {
    let verdict = POLICIES[1].judge(alone);
    assert_eq!(verdict.statements.len(), 1, "{alone:?}");
    assert!(
        essence(&verdict.statements[0]) == essence(statement),
        "{alone:?}: {verdict:?} is not {statement:?}"
    );
}

fn no_wrapper_helps(statement: &str, dice: &mut Dice) {
    let (before, after) = dice.of_list(WRAPPERS);
    // The newline ends a comment that the statement may end with.
    let wrapped = format!("{before}{statement}\n{after}");
    for policy in POLICIES.iter() {
        let (bare, verdict) = (policy.judge(statement), policy.judge(&wrapped));
        if !is_read(&verdict) {
            return;
        }
        let (bare, around) = (&bare.statements[0], &verdict.statements[0]);
        assert!(
            bare.decision <= around.decision,
            "{before}…{after} turns {bare:?} into {around:?}: {statement:?}"
        );
        for effect in &bare.effects {
            assert!(around.effects.contains(effect), "{before}…{after} hides {effect:?} of {statement:?}");
        }
    }
}
