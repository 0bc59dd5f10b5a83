//! What holds for all policies: a further refusal never opens anything, and neither does knowing less.

use ops_core::guard::{Context, Decision, Policy};
use proptest::prelude::*;

use super::{HEAD, context, policy};

/// Statements of many kinds, for the properties.
const STATEMENTS: [&str; 14] = [
    "SELECT * FROM public.ledger",
    "INSERT INTO ledger VALUES (1)",
    "UPDATE public.ledger SET a = 1 WHERE id = 1",
    "UPDATE app.t SET a = 1",
    "DELETE FROM ledger WHERE id = 1",
    "DELETE FROM public.t",
    "WITH d AS (DELETE FROM t WHERE id = 1 RETURNING 1) UPDATE public.ledger SET a = 1 WHERE id = 2",
    "TRUNCATE public.ledger",
    "DROP TABLE public.t",
    "CREATE TABLE app.t (id int)",
    "ALTER TABLE public.ledger ALTER COLUMN a TYPE bigint",
    "SELECT wipe()",
    "DO $$ BEGIN END $$",
    "nonsense",
];

fn any_rule(decisions: &'static [&'static str]) -> impl Strategy<Value = String> {
    let maybe = |key: &'static str, values: &'static [&'static str]| {
        prop_oneof![
            Just(String::new()),
            proptest::sample::select(values).prop_map(move |value| format!("{key} = {value}\n")),
        ]
    };
    let effects: &[&str] = &[
        "[\"delete\"]",
        "[\"write\"]",
        "[\"update\", \"insert\"]",
        "[\"any\"]",
        "[\"insert\", \"delete-all\"]",
    ];
    let windows: &[&str] = &["{ days = [\"mon-fri\"] }", "{ from = \"22:00\", to = \"06:00\" }"];
    (
        maybe("principal", &["[\"a\"]", "[\"a*\", \"b\"]", "[\"*\"]"]),
        maybe("database", &["[\"x\"]", "[\"y\"]"]),
        maybe("table", &["[\"public.ledger\"]", "[\"*.t\"]", "[\"app.*\", \"public.led*\"]"]),
        maybe("effect", effects),
        maybe("window", windows),
        proptest::sample::select(decisions),
        1..4_u32,
    )
        .prop_map(|(principal, database, table, effect, window, decision, rows)| {
            let rows = if decision == "limit" { format!("rows = {rows}\n") } else { String::new() };
            format!("[[rule]]\n{principal}{database}{table}{effect}{window}decision = \"{decision}\"\n{rows}")
        })
}

fn any_context() -> impl Strategy<Value = Context> {
    let some = |values: &'static [&'static str]| proptest::option::of(proptest::sample::select(values));
    let times =
        &["2026-11-20T12:00:00Z", "2026-11-20T23:00:00Z", "2026-11-22T12:00:00Z", "2026-11-22T23:00:00Z"];
    (some(&["a", "ab", "b", "c"]), some(&["x", "y", "z"]), some(times)).prop_map(
        |(principal, database, at)| {
            context(&format!(
                "{}@{} {}",
                principal.unwrap_or("?"),
                database.unwrap_or("?"),
                at.unwrap_or("?")
            ))
        },
    )
}

/// A base and some rules.
fn any_policy() -> impl Strategy<Value = (&'static str, Vec<String>)> {
    (
        proptest::sample::select(&["read_only", "app", "migration", "break_glass"][..]),
        proptest::collection::vec(any_rule(&["allow", "limit", "approve", "deny"]), 0..6),
    )
}

fn of(base: &str, rules: &[String]) -> Policy {
    policy(&format!("base = \"{base}\"\n{}", rules.concat()))
}

/// How much a verdict lets pass: the greater, the stricter. Fewer rows are stricter than more, and than no limit.
fn strictness(policy: &Policy, sql: &str, context: &Context) -> (Decision, std::cmp::Reverse<u64>) {
    let statement = &policy.judge_in(sql, context).statements[0];
    let rows =
        statement.limits.and_then(|limits| limits.rows).filter(|_| statement.decision == Decision::Limit);
    (statement.decision, std::cmp::Reverse(rows.unwrap_or(u64::MAX)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_further_deny_never_allows_more(
        (base, rules) in any_policy(), deny in any_rule(&["deny"]), at in 0..6_usize, context in any_context(),
    ) {
        let before = of(base, &rules);
        let mut more = rules.clone();
        more.insert(at.min(rules.len()), deny);
        let after = of(base, &more);
        for sql in STATEMENTS {
            prop_assert!(strictness(&after, sql, &context) >= strictness(&before, sql, &context), "{sql}");
        }
    }

    #[test]
    fn to_know_less_never_allows_more(
        (base, rules) in any_policy(), known in any_context(), forget in 0..8_u8,
    ) {
        let policy = of(base, &rules);
        let mut less = known.clone();
        if forget & 1 != 0 { less.principal = None; }
        if forget & 2 != 0 { less.database = None; }
        if forget & 4 != 0 { less.at = None; }
        for sql in STATEMENTS {
            prop_assert!(strictness(&policy, sql, &less) >= strictness(&policy, sql, &known), "{sql}");
            // A name without schema is one more thing that is not known.
            let bare = sql.replace("public.", "").replace("app.", "");
            prop_assert!(strictness(&policy, &bare, &known) >= strictness(&policy, sql, &known), "{sql}");
        }
    }

    #[test]
    fn nothing_that_is_written_makes_it_panic(text in "\\PC{0,40}", key in 0..12_usize) {
        let keys = ["version", "name", "base", "functions", "rule", "rule.effect", "test", "budget", "shadow", "[rule]", "[[rule]]\neffect", "[[rule]]\nwindow"];
        let _ = Policy::from_toml(&text);
        let _ = Policy::from_toml(&format!("{HEAD}{} = {text}", keys[key]));
        let _ = Policy::from_toml(&format!("{HEAD}[[rule]]\ndecision = \"deny\"\ntable = [{text:?}]\n"));
    }
}
