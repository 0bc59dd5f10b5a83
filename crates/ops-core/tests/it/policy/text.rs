//! The text of policy files: what they refuse to mean, and that policies of equal meaning are equal.

use ops_core::guard::Policy;

use super::{HEAD, policy};

#[test]
fn equal_policies_have_equal_hashes_and_others_do_not() {
    let original = r#"
        functions = ["a", "b"]
        [[rule]]
        name = "x"
        principal = ["p", "q"]
        table = ["public.t", "public.u"]
        effect = ["update", "delete"]
        window = { days = ["mon", "tue", "wed"], from = "22:00", to = "06:00", zone = "Europe/Berlin" }
        decision = "deny"
        [[rule]]
        effect = ["insert"]
        decision = "limit"
        rows = 10
        [[budget]]
        effect = ["insert", "update"]
        rows = 100
        per = "1h"
    "#;
    let hash = policy(original).hash().to_owned();
    let same = [
        format!("# a comment\n{original}"),
        original.replace('\n', "\n\n"),
        original.replace("[\"a\", \"b\"]", "[\"b\", \"a\", \"b\"]"),
        original.replace("[\"p\", \"q\"]", "[\n\"q\",\n'p',\n]"),
        original.replace("[\"update\", \"delete\"]", "[\"delete\", \"update\", \"delete\"]"),
        original.replace("[\"public.t\", \"public.u\"]", "[\"public.u\", \"public.\\\"t\\\"\"]"),
        original.replace("[\"mon\", \"tue\", \"wed\"]", "[\"mon-wed\"]"),
        original.replace("Europe/Berlin", "europe/berlin"),
        original.replace("\"1h\"", "\"60m\""),
        original
            .replace("decision = \"limit\"\n        rows = 10", "rows = 10\n        decision = \"limit\""),
        format!("base = \"app\"\nshadow = false\n{original}"),
        format!("{original}\n[[test]]\nsql = \"SELECT 1\"\nexpect = \"deny\"\n"),
    ];
    for text in same {
        assert_eq!(policy(&text).hash(), hash, "{text}");
    }
    let renamed = Policy::from_toml(&format!("version = 1\nname = \"other\"\n{original}")).unwrap();
    assert_eq!(renamed.hash(), hash, "a name means nothing");
    let other = [
        format!("shadow = true\n{original}"),
        format!("base = \"migration\"\n{original}"),
        original.replace("[\"a\", \"b\"]", "[\"a\"]"),
        original.replace("name = \"x\"", "name = \"y\""),
        original.replace("name = \"x\"", "name = \"x\"\nreason = \"because\""),
        original.replace("name = \"x\"", "name = \"x\"\nhint = \"ask\""),
        original.replace("name = \"x\"", "name = \"x\"\ndatabase = [\"d\"]"),
        original.replace("[\"p\", \"q\"]", "[\"p\"]"),
        original.replace("public.u", "public.\\\"U\\\""),
        original.replace("[\"update\", \"delete\"]", "[\"update\"]"),
        original.replace("[\"mon\", \"tue\", \"wed\"]", "[\"mon-thu\"]"),
        original.replace("22:00", "22:01"),
        original.replace("06:00", "06:01"),
        original.replace("Europe/Berlin", "Europe/Paris"),
        original.replace("\"deny\"", "\"approve\""),
        original.replace("rows = 10\n", "rows = 11\n"),
        original.replace("rows = 10\n", "rows_per_table = 10\n"),
        original.replace("rows = 100\n", "rows = 101\n"),
        original.replace("per = \"1h\"", "per = \"2h\""),
        original.replace("per = \"1h\"", ""),
    ];
    let mut hashes: Vec<String> = other.iter().map(|text| policy(text).hash().to_owned()).collect();
    hashes.push(hash);
    hashes.sort();
    hashes.dedup();
    assert_eq!(hashes.len(), other.len() + 1, "each change of meaning changes the hash");
    assert_eq!(policy("base = \"app\"\n").hash(), Policy::app().hash(), "a preset by another name");
    let any = policy(
        "[[rule]]\nprincipal = [\"*\"]\nwindow = { days = [\"mon-sun\"] }\neffect = [\"any\"]\ndecision = \"deny\"\n",
    );
    assert_eq!(any.hash(), policy("[[rule]]\ndecision = \"deny\"\n").hash(), "all, said in two ways");
    assert!(!any.depends_on_time());
}

#[test]
fn a_problem_names_its_line_its_key_and_what_would_do() {
    let rule = |text: &str| format!("{HEAD}[[rule]]\n{text}\n");
    let window = |text: &str| rule(&format!("decision = \"deny\"\nwindow = {{ {text} }}"));
    let windows: String = (0..65)
        .map(|minute| {
            format!(
                "[[rule]]\ndecision = \"deny\"\nwindow = {{ from = \"{:02}:{:02}\", to = \"23:00\" }}\n",
                minute / 60,
                minute % 60
            )
        })
        .collect();
    let texts = [
        String::new(),
        "version = ".into(),
        "version = 2\nname = \"x\"".into(),
        "version = \"1\"\nname = \"x\"".into(),
        "version = 1\nname = \"app\"".into(),
        "version = 1\nname = \"\"".into(),
        "version = 1\nname = \"a\\nb\"".into(),
        format!("{HEAD}base = \"readonly\""),
        format!("{HEAD}shadow = \"yes\""),
        format!("{HEAD}rules = []"),
        format!("{HEAD}functions = [\"app.*x\", \"\", \"Sim\", \"*\"]"),
        rule("effect = [\"delete\"]"),
        rule("decision = \"refuse\""),
        rule("decision = \"deny\"\nefect = [\"delete\"]"),
        rule("decision = \"deny\"\neffect = \"delete\""),
        rule("decision = \"deny\"\neffect = [\"updte\", 3]"),
        rule("decision = \"deny\"\neffect = [\"updte\", \"unparsable\", \"frobnicate\"]"),
        rule("decision = \"deny\"\neffect = []"),
        rule("decision = \"allow\"\neffect = [\"opaque\"]"),
        rule("decision = \"approve\"\neffect = [\"opaque\"]"),
        rule("decision = \"allow\"\neffect = [\"too-long\"]"),
        rule("decision = \"limit\"\neffect = [\"delete\"]"),
        rule("decision = \"limit\"\nrows = 1\neffect = [\"truncate\", \"schema\"]"),
        rule("decision = \"limit\"\nrows = -1"),
        rule("decision = \"limit\"\nrows = 1.5"),
        rule("decision = \"deny\"\nrows = 1"),
        rule("decision = \"allow\"\nreason = \"because\"\nhint = \"do\""),
        rule("decision = \"deny\"\nreason = \"\""),
        rule("decision = \"deny\"\nname = \"Ledger\""),
        rule("decision = \"deny\"\nname = \"delete-all\""),
        format!(
            "{}{}",
            rule("decision = \"deny\"\nname = \"x\""),
            "[[rule]]\ndecision = \"deny\"\nname = \"x\""
        ),
        rule("decision = \"deny\"\nprincipal = [\"\"]"),
        rule("decision = \"deny\"\ntable = [\"ledger\", \"a.b.c\", \"public.Ledger\", \"public.\\\"x\"]"),
        rule("decision = \"deny\"\ntable = [\"public.t\"]\neffect = [\"external\"]"),
        rule("decision = \"allow\"\ntable = [\"public.t\"]\neffect = [\"rewrite\"]"),
        rule(&format!("decision = \"deny\"\nprincipal = [\"{}\"]", "x".repeat(64))),
        window(""),
        window("zone = \"UTC\""),
        window("days = [\"monday\", \"fri-\"]"),
        window("days = []"),
        window("from = \"22:00\""),
        window("from = \"22:00\", to = \"25:00\""),
        window("from = \"22:00\", to = \"22:00\""),
        window("days = [\"mon\"], zone = \"Europe/Berln\""),
        window("at = \"mon\""),
        format!("{HEAD}{windows}"),
        format!("{HEAD}[[budget]]\neffect = [\"truncate\"]\nrows = 1"),
        format!("{HEAD}[[budget]]\neffect = [\"delete\"]\nrows = 1\nper = \"1 hour\""),
        format!("{HEAD}[[test]]\nsql = \"SELECT 1\"\nexpect = \"ok\""),
        format!("{HEAD}[[test]]\nsql = \"SELECT 1\"\nexpect = \"deny\"\nrule = \"delete-al\""),
        format!("{HEAD}[[test]]\nsql = \"SELECT 1\"\nexpect = \"allow\"\nrule = \"delete-all\""),
        format!("{HEAD}[[test]]\nsql = \"SELECT 1\"\nexpect = \"deny\"\nat = \"tomorrow\""),
    ];
    let mut told = String::new();
    for text in texts {
        let error = Policy::from_toml(&text).map(|policy| policy.name().to_owned()).unwrap_err();
        let shown: Vec<&str> = text.lines().filter(|line| !HEAD.contains(line)).take(4).collect();
        told.push_str(&format!("{}\n", shown.join(" | ")));
        assert!(!error.to_string().contains('\n') && !error.problems().is_empty());
        for problem in error.problems() {
            told.push_str(&format!("    {problem}\n"));
        }
    }
    insta::assert_snapshot!(told);
}

#[test]
fn a_file_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let good = path("good.toml", format!("{HEAD}[[rule]]\ndecision = \"deny\"\n").as_bytes());
    assert_eq!(Policy::from_file(good).unwrap().name(), "test");
    let cases = [
        (
            path("two.toml", b"version = 3\nname = \"app\"\n"),
            "two.toml, line 1, key version: version 3 is not known; this version of the guard reads version 1, and one more problem",
        ),
        (path("latin.toml", b"name = \"\xe4\""), "latin.toml cannot be read"),
        (folder.path().join("absent.toml"), "absent.toml cannot be read"),
    ];
    for (path, expected) in cases {
        let error = Policy::from_file(&path).unwrap_err();
        assert!(error.to_string().ends_with(expected), "{error}");
        assert_eq!(std::error::Error::source(&error).is_some(), error.problems().is_empty());
        let outer = ops_core::Error::from(error);
        assert_eq!((outer.kind(), outer.code()), (ops_core::ErrorKind::InvalidPolicy, "invalid_policy"));
        assert!(outer.to_string().ends_with(expected), "{outer}");
    }
}

#[test]
fn the_manual_is_true() {
    let manual = include_str!("../../../../../docs/policies.md");
    let example = manual.split("```").find_map(|block| block.strip_prefix("toml\n")).unwrap();
    let policy = Policy::from_toml(example).unwrap();
    assert!(policy.run_tests().iter().all(|outcome| outcome.holds()) && policy.run_tests().len() == 1);
    let error =
        Policy::from_toml(&format!("{HEAD}[[rule]]\neffect = [\"?\"]\ndecision = \"deny\"\n")).unwrap_err();
    let known = error.problems()[0].hint.clone().unwrap();
    let classes: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
    assert!(classes.len() > 30);
    for class in classes {
        assert!(manual.contains(&format!("`{class}`")), "{class}");
    }
}
