//! Plans that are read, and plans that are refused with a place and a hint.

use ops_gates::{ErrorKind, Plan};

fn variable(name: &str) -> Option<String> {
    match name {
        "SET" => Some("value".to_owned()),
        "EMPTY" => Some(String::new()),
        "DB_PASSWORD" => Some("hunter2".to_owned()),
        "COMMIT" => Some("0123456789abcdef0123456789abcdef01234567".to_owned()),
        _ => None,
    }
}

const GATE: &str = "[[gate]]\nid = \"a\"\nkind = \"command\"\nrun = [\"true\"]\n";

/// Reads a plan that must be refused, and compares `line:column: message` and the hint of every problem.
#[track_caller]
fn refused(toml: &str, expected: &[(&str, &str)]) {
    let error = Plan::parse_with(toml, "p.toml", &variable).expect_err(toml);
    assert_eq!(error.kind(), ErrorKind::PlanInvalid);
    let got: Vec<(String, &str)> =
        error.problems().iter().map(|it| (it.to_string(), it.hint.as_deref().unwrap_or(""))).collect();
    let got: Vec<(&str, &str)> = got.iter().map(|(message, hint)| (message.as_str(), *hint)).collect();
    assert_eq!(got, expected, "{toml}");
    assert!(!error.to_string().contains('\n'), "{error}");
}

#[test]
fn a_plan_of_every_kind_is_read() {
    let toml = include_str!("../fixtures/every-kind.toml");
    let plan =
        Plan::parse_with(toml, "p.toml", &variable).unwrap_or_else(|error| panic!("{:?}", error.problems()));
    let kinds: Vec<&str> = plan.gates().iter().map(|gate| gate.kind.as_str()).collect();
    assert_eq!(kinds, ["command", "command", "http", "postgres", "evidence"]);
    let depths: Vec<(usize, &str)> =
        plan.order().into_iter().map(|(depth, gate)| (depth, gate.id.as_str())).collect();
    assert_eq!(depths, [(0, "build"), (0, "lint"), (1, "web"), (1, "schema"), (2, "rehearsed")]);
    assert_eq!(plan.variable_names().collect::<Vec<_>>(), ["COMMIT", "DB_PASSWORD", "SET"]);
    assert_eq!(plan.secrets().count(), 1);
    assert_eq!(
        plan.subject().and_then(|it| it.commit.as_ref()).map(|it| it.template()),
        Some("${env:COMMIT}")
    );
    // What can be printed never shows a value.
    assert!(!format!("{plan:?}").contains("hunter2") && !format!("{:?}", plan.gates()).contains("value"));
}

#[test]
fn an_unknown_key_is_named_with_its_place_and_the_key_that_was_meant() {
    refused(
        &format!("nmae = \"x\"\n{GATE}"),
        &[("1:1: key `nmae` is not known here", "did you mean `name`?")],
    );
    refused(
        "name = \"x\"\n[[gate]]\nid = \"a\"\nkind = \"http\"\nurl = \"http://x\"\n  statsu = 200\n",
        &[("6:3: key `statsu` is not known here", "did you mean `status`?")],
    );
    refused(
        &format!("name = \"x\"\n{GATE}requird = false\n"),
        &[("6:1: key `requird` is not known here", "did you mean `required`?")],
    );
    refused(
        "name = \"x\"\n[[gate]]\nid = \"a\"\nkind = \"evidence\"\npath = \"e\"\nkey = \"k\"\nrecord_kind = \"r\"\nmax_age = \"1d\"\n[gate.measurements]\ntime = { mxa = 3 }\n",
        &[("10:10: key `mxa` is not known here", "did you mean `max`?")],
    );
    refused(
        "name = \"x\"\n[[gate]]\nid = \"a\"\nkind = \"comand\"\n",
        &[("4:8: kind `comand` is not known", "did you mean `command`?")],
    );
}

#[test]
fn a_plan_that_could_not_block_is_refused() {
    let hint = "add a `[[gate]]`; a plan that checks nothing would prove nothing";
    refused("name = \"x\"", &[("1:1: the plan has no gate", hint)]);
    refused("name = \"x\"\ngate = []", &[("1:1: the plan has no gate", hint)]);
    refused(
        &format!("name = \"x\"\n{GATE}required = false\n"),
        &[(
            "1:1: the plan has no required gate, so nothing could block the release",
            "leave `required = false` out of at least one gate",
        )],
    );
}

#[test]
fn ids_and_needs_must_make_sense() {
    refused(&format!("name = \"x\"\n{GATE}{GATE}"), &[("7:6: id `a` is already used in line 3", "")]);
    refused(
        &format!(
            "name = \"x\"\n{GATE}needs = [\"bb\"]\n[[gate]]\nid = \"b\"\nkind = \"command\"\nrun = [\"true\"]"
        ),
        &[("6:10: gate `a` needs `bb`, which does not exist", "did you mean `b`?")],
    );
    refused(
        &format!(
            "name = \"x\"\n{GATE}needs = [\"b\"]\n[[gate]]\nid = \"b\"\nkind = \"command\"\nrun = [\"true\"]\nneeds = [\"a\"]"
        ),
        &[("3:6: gates wait for each other: `a` needs `b` needs `a`", "")],
    );
    let hint = "use letters, digits, `-`, `_` and `.`, at most 64, the first a letter or digit";
    refused(
        "name = \"x\"\n[[gate]]\nid = \"../../etc\"\nkind = \"command\"\nrun = [\"true\"]\n",
        &[("3:6: id `../../etc` cannot name a gate", hint)],
    );
}

#[test]
fn a_variable_must_be_set_before_anything_runs() {
    let plan = |text: &str| {
        format!("name = \"x\"\n[[gate]]\nid = \"a\"\nkind = \"command\"\nrun = [\"true\", \"{text}\"]\n")
    };
    assert!(Plan::parse_with(&plan("${env:SET} $SET $$"), "p", &variable).is_ok());
    refused(&plan("${env:UNSET}"), &[("5:16: variable `UNSET` is not set, or is empty", "")]);
    refused(&plan("${env:EMPTY}"), &[("5:16: variable `EMPTY` is not set, or is empty", "")]);
    refused(
        &plan("${SET}"),
        &[(
            "5:16: `${SET}` is not understood; only `${env:NAME}`, `${secret:NAME}` and `${gate:id.field}` are",
            "",
        )],
    );
    refused(
        &plan("${env:DB_PASSWORD}"),
        &[(
            "5:16: `DB_PASSWORD` looks like a secret, and everyone can see a program's arguments; pass it with `env = [\"DB_PASSWORD\"]`",
            "",
        )],
    );
    refused(
        &format!("name = \"x\"\n{GATE}env = [\"UNSET\"]\n"),
        &[("6:8: variable `UNSET` is not set, or is empty", "")],
    );
}

#[test]
fn keys_that_prove_nothing_are_refused() {
    let postgres = |keys: &str| {
        format!("name = \"x\"\n[[gate]]\nid = \"a\"\nkind = \"postgres\"\nurl = \"host=x\"\n{keys}\n")
    };
    for keys in [
        "",
        "query = \"SELECT 1\"",
        "expect = \"1\"",
        "query = \"SELECT 1\"\nmin_rows = 0",
        "connect_only = true\nexpect = \"1\"",
        "connect_only = true\nquery = \"SELECT 1\"\nexpect = \"1\"",
    ] {
        assert!(Plan::parse_with(&postgres(keys), "p", &variable).is_err(), "{keys}");
    }
    let evidence = |keys: &str| {
        format!(
            "name = \"x\"\n[[gate]]\nid = \"a\"\nkind = \"evidence\"\npath = \"p\"\nkey = \"k\"\nrecord_kind = \"r\"\n{keys}\n"
        )
    };
    assert!(Plan::parse_with(&evidence("max_age = \"1d\""), "p", &variable).is_ok());
    for keys in [
        "",
        "max_age = \"0d\"",
        "max_age = 3",
        "max_age = \"1d\"\ndigest = \"md5:x\"",
        "max_age = \"1d\"\n[gate.measurements]\nt = {}",
    ] {
        assert!(Plan::parse_with(&evidence(keys), "p", &variable).is_err(), "{keys}");
    }
    for keys in [
        "exit_codes = []",
        "exit_codes = [256]",
        "shell = true\nenv = [\"A-B\"]",
        "timeout = \"1x\"",
        "timeout = 5",
    ] {
        assert!(
            Plan::parse_with(&format!("name = \"x\"\n{GATE}{keys}\n"), "p", &variable).is_err(),
            "{keys}"
        );
    }
}

#[test]
fn a_subject_needs_a_digest_that_is_one() {
    let plan = |keys: &str| format!("name = \"x\"\n[subject]\n{keys}\n{GATE}");
    let digest = "a".repeat(64);
    for (keys, sound) in [
        (format!("name = \"app\"\ndigest = \"sha256:{digest}\""), true),
        ("name = \"app\"\ncommit = \"${env:COMMIT}\"".to_owned(), true),
        ("name = \"app\"".to_owned(), false),
        (format!("name = \"app\"\ndigest = \"{digest}\""), false),
        ("name = \"app\"\ncommit = \"main\"".to_owned(), false),
        (format!("digest = \"sha256:{digest}\""), false),
    ] {
        assert_eq!(Plan::parse_with(&plan(&keys), "p", &variable).is_ok(), sound, "{keys}");
    }
}

#[test]
fn every_problem_is_told_at_once() {
    let toml = "name = \"\"\n[[gate]]\nid = \"a\"\nkind = \"http\"\nurl = \"ftp://x\"\nstatus = 99\n[[gate]]\nid = \"b\"\nkind = \"nope\"\n";
    let error = Plan::parse_with(toml, "p.toml", &variable).expect_err("a bad plan");
    assert_eq!(error.problems().len(), 4, "{:?}", error.problems());
    assert_eq!(error.to_string(), "plan p.toml:1:8: the plan's name is empty (and 3 more)");
}

#[test]
fn what_is_not_toml_is_refused_with_a_place() {
    for toml in
        ["", "name = ", "name = \"x\"\nname = \"y\"", "[[gate]", "gate = 1\nname=\"x\"", "\u{0}", "name = 3"]
    {
        let error = Plan::parse_with(toml, "p.toml", &variable).expect_err(toml);
        assert!(!error.problems().is_empty() && !error.to_string().contains('\n'), "{toml}: {error}");
    }
}
