//! Policy files: what their rules mean together.

use ops_core::guard::{Budget, Context, Decision, Limits, Operation, Policy};
use std::time::Duration;

mod properties;
mod text;

const HEAD: &str = "version = 1\nname = \"test\"\n";

fn policy(body: &str) -> Policy {
    Policy::from_toml(&format!("{HEAD}{body}")).unwrap_or_else(|error| panic!("{error}\n{body}"))
}

/// A context from `principal@database at`, each part perhaps `?`.
fn context(text: &str) -> Context {
    let (session, at) = text.split_once(' ').unwrap_or((text, "?"));
    let (principal, database) = session.split_once('@').unwrap();
    let known = |text: &str| (text != "?").then(|| text.to_owned());
    let mut context = Context::default();
    context.principal = known(principal);
    context.database = known(database);
    context.at = known(at).map(|at| at.parse().unwrap());
    context
}

/// The decision over a text, with the rule that refuses: `deny by ledger-is-append-only`.
fn decide(policy: &Policy, sql: &str, context: &Context) -> String {
    let verdict = policy.judge_in(sql, context);
    let strictest = verdict.statements.iter().max_by_key(|statement| statement.decision).unwrap();
    let decision = format!("{:?}", strictest.decision).to_lowercase();
    match (&strictest.rule, strictest.limits) {
        (Some(rule), _) => format!("{decision} by {rule}"),
        (None, Some(Limits { rows, rows_per_table, tables })) => {
            let number = |limit: Option<u64>| limit.map_or("-".to_owned(), |limit| limit.to_string());
            format!("{decision} {}/{}/{}", number(rows), number(rows_per_table), number(tables))
        }
        (None, None) => decision,
    }
}

fn check(policy: &Policy, table: &[(&str, &str, &str)]) {
    let wrong: Vec<String> = table
        .iter()
        .filter_map(|(session, sql, expected)| {
            let found = decide(policy, sql, &context(session));
            (found != *expected).then(|| format!("expected {expected}, found {found}: {session}: {sql}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_deny_wins_then_an_approve_then_the_first_of_the_others() {
    let rule = |written: &str| {
        let (decision, name) = written.split_once(' ').unwrap_or((written, ""));
        let name = if name.is_empty() { String::new() } else { format!("name = \"{name}\"\n") };
        // Rows of a TRUNCATE are not counted, so that it cannot be limited.
        let (effects, rows) = match decision {
            "limit" => ("\"delete\", \"delete-all\"", "rows = 5\n"),
            _ => ("\"delete\", \"delete-all\", \"truncate\"", ""),
        };
        format!("[[rule]]\n{name}effect = [{effects}]\ndecision = \"{decision}\"\n{rows}")
    };
    let delete = "DELETE FROM t WHERE id = 1";
    let cases: [(&[&str], &str, &str); 14] = [
        (&[], delete, "limit 10000/-/-"),
        (&["allow"], delete, "allow"),
        (&["limit"], delete, "limit 5/-/-"),
        (&["allow", "limit"], delete, "allow"),
        (&["limit", "allow"], delete, "limit 5/-/-"),
        (&["allow", "approve ask", "limit"], delete, "approve by ask"),
        (&["approve ask", "allow", "deny no"], delete, "deny by no"),
        (&["deny one", "deny two"], delete, "deny by one"),
        (&["deny"], delete, "deny by delete"),
        // A rule opens what the base closes, also to an approval.
        (&["allow"], "TRUNCATE t", "allow"),
        (&["approve ask"], "TRUNCATE t", "approve by ask"),
        (&["limit"], "DELETE FROM t", "limit 5/-/-"),
        (&["limit"], "TRUNCATE t", "deny by truncate"),
        (&["allow"], "DROP TABLE t", "deny by data-drop"),
    ];
    for (rules, sql, expected) in cases {
        let policy = policy(&rules.iter().map(|decision| rule(decision)).collect::<String>());
        assert_eq!(decide(&policy, sql, &Context::default()), expected, "{rules:?} over {sql}");
    }
}

#[test]
fn the_unknown_is_taken_for_the_worst() {
    let policy = policy(
        r#"
        [[rule]]
        name = "no-updates"
        principal = ["shop_*"]
        database = ["shop"]
        effect = ["update"]
        decision = "deny"
        [[rule]]
        principal = ["janitor"]
        effect = ["delete-all"]
        decision = "allow"
        [[rule]]
        name = "ask-first"
        principal = ["dba"]
        effect = ["truncate", "insert"]
        decision = "approve"
        [[rule]]
        principal = ["agent_*"]
        effect = ["delete"]
        decision = "limit"
        rows = 3
        [[rule]]
        name = "ledger-stays"
        table = ["public.ledger"]
        effect = ["delete", "rewrite", "data-drop"]
        decision = "deny"
        [[rule]]
        table = ["public.scratch"]
        effect = ["delete-all", "data-drop"]
        decision = "allow"
        "#,
    );
    check(
        &policy,
        &[
            ("shop_app@shop", "UPDATE t SET a = 1 WHERE id = 1", "deny by no-updates"),
            ("shop_app@other", "UPDATE t SET a = 1 WHERE id = 1", "limit 10000/-/-"),
            ("other@?", "UPDATE t SET a = 1 WHERE id = 1", "limit 10000/-/-"),
            ("shop_app@?", "UPDATE t SET a = 1 WHERE id = 1", "deny by no-updates"),
            ("?@shop", "UPDATE t SET a = 1 WHERE id = 1", "deny by no-updates"),
            ("?@?", "UPDATE t SET a = 1 WHERE id = 1", "deny by no-updates"),
            ("janitor@x", "DELETE FROM t", "allow"),
            ("janitor2@x", "DELETE FROM t", "deny by delete-all"),
            ("?@x", "DELETE FROM t", "deny by delete-all"),
            // An approval that perhaps applies does not open what is closed, but closes what is open.
            ("dba@x", "TRUNCATE t", "approve by ask-first"),
            ("?@x", "TRUNCATE t", "deny by truncate"),
            ("?@x", "INSERT INTO t VALUES (1)", "approve by ask-first"),
            ("other@x", "INSERT INTO t VALUES (1)", "allow"),
            // A limit that perhaps applies is added to those that certainly do.
            ("agent_1@x", "DELETE FROM t WHERE id = 1", "limit 3/-/-"),
            ("human@x", "DELETE FROM t WHERE id = 1", "limit 10000/-/-"),
            ("?@x", "DELETE FROM t WHERE id = 1", "limit 3/-/-"),
            // A name without its schema may be that of the table.
            ("human@x", "DELETE FROM public.ledger WHERE id = 1", "deny by ledger-stays"),
            ("human@x", "DELETE FROM ledger WHERE id = 1", "deny by ledger-stays"),
            ("human@x", "DELETE FROM app.ledger WHERE id = 1", "limit 10000/-/-"),
            ("human@x", "DELETE FROM \"Ledger\" WHERE id = 1", "limit 10000/-/-"),
            ("human@x", "DELETE FROM LEDGER WHERE id = 1", "deny by ledger-stays"),
            ("human@x", "DELETE FROM U&\"\\006cedger\" WHERE id = 1", "deny by ledger-stays"),
            (
                "human@x",
                "WITH d AS (DELETE FROM public.ledger WHERE id = 1 RETURNING 1) SELECT 1",
                "deny by ledger-stays",
            ),
            ("human@x", "DELETE FROM public.scratch", "allow"),
            ("human@x", "DELETE FROM scratch", "deny by delete-all"),
            ("human@x", "DROP TABLE public.scratch", "allow"),
            ("human@x", "DROP TABLE public.scratch, public.ledger", "deny by ledger-stays"),
            ("human@x", "ALTER TABLE public.scratch DROP COLUMN a", "deny by schema-change"),
            ("human@x", "ALTER TABLE public.ledger DROP COLUMN a", "deny by ledger-stays"),
            ("human@x", "ALTER TABLE ledger ALTER COLUMN a TYPE bigint", "deny by ledger-stays"),
            ("human@x", "ALTER TABLE other ALTER COLUMN a TYPE bigint", "deny by rewrite"),
        ],
    );
}

#[test]
fn a_window_holds_by_the_clock_of_its_zone() {
    let policy = policy(
        r#"
        [[rule]]
        name = "not-at-night"
        effect = ["insert"]
        window = { days = ["mon-fri"], from = "22:00", to = "06:00", zone = "Europe/Berlin" }
        decision = "deny"
        [[rule]]
        effect = ["schema"]
        window = { days = ["sat", "sun"] }
        decision = "allow"
        "#,
    );
    let (insert, create) = ("INSERT INTO t VALUES (1)", "CREATE TABLE t (id int)");
    check(
        &policy,
        &[
            ("?@? 2026-11-20T22:00:00+01:00", insert, "deny by not-at-night"),
            ("?@? 2026-11-21T05:59:59+01:00", insert, "deny by not-at-night"),
            ("?@? 2026-11-21T06:00:00+01:00", insert, "allow"),
            ("?@? 2026-11-21T23:00:00+01:00", insert, "allow"),
            ("?@?", insert, "deny by not-at-night"),
            ("?@? 2026-11-21T12:00:00Z", create, "allow"),
            ("?@? 2026-11-20T12:00:00Z", create, "deny by schema-add"),
            ("?@?", create, "deny by schema-add"),
        ],
    );
    assert!(policy.depends_on_time() && !Policy::app().depends_on_time());
    let slot = |at: &str| policy.slot(at.parse().unwrap());
    assert_eq!(slot("2026-11-20T22:00:00+01:00"), slot("2026-11-20T23:59:00+01:00"));
    let slots =
        ["2026-11-20T12:00:00Z", "2026-11-20T22:00:00Z", "2026-11-21T02:00:00Z", "2026-11-21T12:00:00Z"];
    assert_eq!(slots.map(slot).into_iter().collect::<std::collections::HashSet<_>>().len(), 4);
    assert_eq!(Policy::app().slot("2026-11-20T12:00:00Z".parse().unwrap()), 0);
}

#[test]
fn limits_of_several_effects_are_joined() {
    let policy = policy(
        r#"
        [[rule]]
        effect = ["delete"]
        decision = "limit"
        rows_per_table = 7
        [[rule]]
        effect = ["update"]
        decision = "limit"
        rows = 20
        tables = 2
        [[rule]]
        name = "ask"
        effect = ["notification"]
        decision = "approve"
        [[rule]]
        principal = ["runner"]
        effect = ["unknown-function"]
        decision = "limit"
        rows = 1
        "#,
    );
    check(
        &policy,
        &[
            ("x@x", "DELETE FROM t WHERE id = 1", "limit -/7/-"),
            (
                "x@x",
                "WITH d AS (DELETE FROM t WHERE id = 1 RETURNING 1) UPDATE u SET a = 1 WHERE id = 1",
                "limit 20/7/2",
            ),
            (
                "x@x",
                "WITH d AS (DELETE FROM t WHERE id = 1 RETURNING 1) SELECT pg_notify('a', 'b')",
                "approve by ask",
            ),
            ("x@x", "INSERT INTO t (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET a = 2", "limit 20/-/2"),
            ("runner@x", "SELECT tidy()", "limit 1/-/-"),
            ("x@x", "SELECT tidy()", "deny by unknown-function"),
        ],
    );
    let verdict = policy.judge("WITH d AS (DELETE FROM t WHERE id = 1 RETURNING 1) SELECT wipe()");
    assert_eq!(verdict.statements[0].limits, None, "what is refused needs no limit");
    assert!(policy.judge("DELETE FROM t WHERE id = 1").is_allowed(), "a limited statement may run");
    assert!(!policy.judge("NOTIFY x").is_allowed(), "one that needs an approval may not");
}

#[test]
fn what_cannot_be_judged_cannot_be_opened() {
    let open = policy(
        "base = \"break_glass\"\n[[rule]]\ndecision = \"allow\"\n[[rule]]\neffect = [\"any\"]\ndecision = \"approve\"\n",
    );
    for sql in ["SELCT", "SELECT '\0'"] {
        assert_eq!(decide(&open, sql, &Context::default()), "deny by unparsable");
    }
    assert_eq!(
        decide(&open, &format!("SELECT {}1", "- ".repeat(50_000)), &Context::default()),
        "deny by too-complex"
    );
    assert_eq!(decide(&open, &" ".repeat(3 << 20), &Context::default()), "deny by too-long");
}

#[test]
fn words_come_from_the_rule_or_from_its_effects() {
    let policy = policy(
        r#"
        [[rule]]
        name = "in-words"
        effect = ["delete"]
        decision = "deny"
        reason = "ledgers are never deleted from"
        hint = "book a reversal"
        [[rule]]
        name = "without-words"
        effect = ["update"]
        decision = "deny"
        [[rule]]
        name = "closed-anyway"
        effect = ["delete-all"]
        decision = "deny"
        [[rule]]
        name = "ask"
        effect = ["truncate"]
        decision = "approve"
        "#,
    );
    let words = |sql: &str| {
        let verdict = policy.judge(sql);
        let refused = verdict.denied().next().unwrap().clone();
        (refused.rule.unwrap(), refused.reason.unwrap(), refused.hint.unwrap())
    };
    let cases = [
        ("DELETE FROM t WHERE id = 1", ("in-words", "ledgers are never deleted from", "book a reversal")),
        (
            "UPDATE t SET a = 1 WHERE id = 1",
            (
                "without-words",
                "changes rows of t",
                "ask those who keep the policy test; the rule holds whatever the condition says",
            ),
        ),
        (
            "DELETE FROM t",
            (
                "closed-anyway",
                "would delete every row of t: it has no condition",
                "add a WHERE clause that tells rows apart by the table's own columns",
            ),
        ),
        (
            "TRUNCATE t",
            (
                "ask",
                "removes every row of t at once",
                "have somebody else sign an approval with `ops-guard approve`",
            ),
        ),
    ];
    for (sql, (rule, reason, hint)) in cases {
        assert_eq!(words(sql), (rule.to_owned(), reason.to_owned(), hint.to_owned()), "{sql}");
    }
    assert_eq!(policy.judge("SELECT 1").policy, "test");
}

#[test]
fn named_functions_are_part_of_the_base() {
    let named = policy("functions = [\"similarity\", \"app.*\", \"operator ===\"]\n");
    check(
        &named,
        &[
            ("x@x", "SELECT similarity(a, b), app.invoice(1), a === b FROM t", "allow"),
            ("x@x", "SELECT other()", "deny by unknown-function"),
        ],
    );
    let closed = policy(
        "functions = [\"app.*\"]\n[[rule]]\nname = \"no-code\"\nprincipal = [\"agent\"]\neffect = [\"unknown-function\"]\ndecision = \"deny\"\n",
    );
    check(
        &closed,
        &[
            ("agent@x", "SELECT app.invoice(1)", "deny by no-code"),
            ("human@x", "SELECT app.invoice(1)", "allow"),
        ],
    );
    assert_eq!(named.hash(), {
        let app = Policy::app().allow_function("operator ===").allow_function("app.*");
        app.allow_function("similarity").hash().to_owned()
    });
}

#[test]
fn budgets_of_the_base_hold_where_the_file_has_none() {
    let budget = |effects: &[Operation], rows, per: Option<u64>| Budget {
        effects: effects.to_vec(),
        rows,
        per: per.map(Duration::from_secs),
    };
    let deleted = budget(&[Operation::Delete], 100_000, Some(3600));
    let cases = [
        ("", vec![deleted.clone()]),
        ("base = \"migration\"\n", vec![]),
        (
            "[[budget]]\neffect = [\"insert\"]\nrows = 5\n",
            vec![budget(&[Operation::Insert], 5, None), deleted],
        ),
        (
            "[[budget]]\neffect = [\"delete\", \"update\", \"delete\"]\nrows = 5\nper = \"30s\"\n",
            vec![budget(&[Operation::Update, Operation::Delete], 5, Some(30))],
        ),
    ];
    for (body, expected) in cases {
        assert_eq!(policy(body).budgets(), expected, "{body}");
    }
}

#[test]
fn shadow_only_reports_and_read_only_stays_read_only() {
    let shadow = policy("base = \"read_only\"\nshadow = true\n");
    let verdict = shadow.judge("DROP TABLE t");
    assert!(verdict.is_allowed() && verdict.denied().count() == 1 && shadow.is_shadow());
    let cases = [
        ("base = \"read_only\"\n", true),
        ("base = \"read-only\"\n", true),
        ("base = \"read_only\"\nshadow = true\n", false),
        ("base = \"read_only\"\nfunctions = [\"f\"]\n", true),
        (
            "base = \"read_only\"\n[[rule]]\neffect = [\"read\"]\ntable = [\"a.b\"]\ndecision = \"deny\"\n",
            true,
        ),
        (
            "base = \"read_only\"\n[[rule]]\neffect = [\"read\"]\ntable = [\"a.b\"]\ndecision = \"approve\"\n",
            true,
        ),
        ("base = \"read_only\"\n[[rule]]\neffect = [\"insert\"]\ndecision = \"approve\"\n", false),
        ("base = \"read_only\"\n[[rule]]\ndecision = \"allow\"\n", false),
        ("base = \"app\"\n[[rule]]\neffect = [\"write\"]\ndecision = \"deny\"\n", false),
    ];
    for (body, expected) in cases {
        assert_eq!(policy(body).is_read_only(), expected, "{body}");
    }
}

#[test]
fn presets_are_found_by_either_spelling() {
    for (name, canonical) in [
        ("read_only", Some("read_only")),
        ("read-only", Some("read_only")),
        ("break-glass", Some("break_glass")),
        ("app", Some("app")),
        ("migration", Some("migration")),
        ("Read-Only", None),
        ("read only", None),
        ("readonly", None),
        ("", None),
    ] {
        let found = Policy::by_name(name);
        assert_eq!(found.as_ref().map(|policy| policy.name()), canonical, "{name}");
    }
    check(
        &Policy::migration(),
        &[("?@?", "UPDATE t SET a = 1", "allow"), ("?@?", "DELETE FROM t WHERE id = 1", "allow")],
    );
}

#[test]
fn the_tests_of_a_policy_say_what_was_found() {
    let policy = policy(
        r#"
        [[rule]]
        name = "no-updates"
        principal = ["shop_*"]
        effect = ["update"]
        decision = "deny"
        [[test]]
        sql = "UPDATE t SET a = 1 WHERE id = 1"
        principal = "shop_app"
        expect = "deny"
        rule = "no-updates"
        [[test]]
        sql = "UPDATE t SET a = 1 WHERE id = 1"
        principal = "other"
        at = "2026-11-21T23:00:00+01:00"
        expect = "limit"
        [[test]]
        sql = "SELECT 1; DELETE FROM t; SELECT 2"
        expect = "deny"
        rule = "no-updates"
        [[test]]
        sql = "SELECT 1"
        expect = "approve"
        [[test]]
        sql = ""
        expect = "allow"
        "#,
    );
    let outcomes = policy.run_tests();
    let found: Vec<_> = outcomes
        .iter()
        .map(|outcome| (outcome.line, outcome.holds(), outcome.found, outcome.found_rule.as_deref()))
        .collect();
    assert_eq!(
        found,
        [
            (9, true, Decision::Deny, Some("no-updates")),
            (14, true, Decision::Limit, None),
            (19, false, Decision::Deny, Some("delete-all")),
            (23, false, Decision::Allow, None),
            (26, true, Decision::Allow, None),
        ]
    );
    assert!(Policy::app().run_tests().is_empty());
}
