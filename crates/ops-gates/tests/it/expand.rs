//! Plans of several files, matrices, YAML, secrets, and the published schema.

use crate::support::{options, run_with};
use ops_gates::{CancellationToken, Kinds, Plan, ReadOptions, Verdict, schema};
use std::path::Path;

const GATE: &str = "[[gate]]\nid = \"a\"\nkind = \"command\"\nrun = [\"true\"]\n";

fn parse(toml: &str, origin: &str) -> Result<Plan, Vec<String>> {
    Plan::parse_with(toml, origin, &|name| (name == "SET").then(|| "value".to_owned()))
        .map_err(|error| error.problems().iter().map(ToString::to_string).collect())
}

fn ids(plan: &Plan) -> Vec<&str> {
    plan.gates().iter().map(|gate| gate.id.as_str()).collect()
}

#[tokio::test]
async fn a_matrix_makes_a_gate_of_each_combination() {
    let toml = "name = \"x\"\n[[gate]]\nid = \"m\"\nkind = \"command\"\nmatrix = { os = [\"a\", \"b\"], size = [\"1\", \"2\"] }\nrun = [\"echo\", \"${matrix:os}/${matrix:size}\"]\nexpect_stdout = \"${matrix:os}/${matrix:size}\"\n[[gate]]\nid = \"all\"\nkind = \"command\"\nrun = [\"true\"]\nneeds = [\"m\"]\n";
    let plan = parse(toml, "x.toml").expect("a sound plan");
    assert_eq!(ids(&plan), ["m-a-1", "m-a-2", "m-b-1", "m-b-2", "all"]);
    assert_eq!(plan.gates()[4].needs, ["m-a-1", "m-a-2", "m-b-1", "m-b-2"]);
    let ran = run_with(&plan, options(), CancellationToken::new()).await;
    assert_eq!(ran.record.verdict, Verdict::Passed, "{}", ran.record.reason);
    let wrong = |matrix: &str| {
        parse(&toml.replace("{ os = [\"a\", \"b\"], size = [\"1\", \"2\"] }", matrix), "x.toml")
    };
    for matrix in [
        "{}",
        "{ os = [] }",
        "{ os = \"a\" }",
        "{ os = [\"../x\"] }",
        "{ os = [\"a\", \"a\"], size = [\"1\"] }",
    ] {
        assert!(wrong(matrix).is_err(), "{matrix}");
    }
    // A name that the matrix does not have is not quietly nothing.
    assert!(
        wrong("{ os = [\"a\"] }").expect_err("no size")[0].contains("`${matrix:size}` is not understood")
    );
}

#[test]
fn files_are_included_once_and_problems_name_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect(name);
    std::fs::create_dir(folder.path().join("sub")).expect("a folder");
    write("plan.toml", &format!("name = \"x\"\ninclude = [\"sub/b.toml\", \"c.yaml\"]\n{GATE}"));
    write(
        "sub/b.toml",
        &GATE
            .replace("\"a\"", "\"b\"")
            .replace("[[gate]]", "include = [\"../plan.toml\", \"../c.yaml\"]\n[[gate]]"),
    );
    write("c.yaml", "gate:\n  - id: c\n    kind: command\n    run: [\"true\"]\n    needs: [a, b]\n");
    let load = || Plan::load(&folder.path().join("plan.toml"), &ReadOptions::default());
    let error = load().expect_err("the plan includes itself");
    assert!(
        error.to_string().contains("key `name` is not known here")
            || error.to_string().contains("already used"),
        "{error}"
    );
    write(
        "sub/b.toml",
        &GATE.replace("\"a\"", "\"b\"").replace("[[gate]]", "include = [\"../c.yaml\"]\n[[gate]]"),
    );
    let plan = load().expect("a sound plan");
    assert_eq!(ids(&plan), ["a", "b", "c"]);
    let before = plan.sha256().to_owned();
    write("c.yaml", "gate:\n  - id: c\n    kind: command\n    run: [\"true\"]\n    needs: [a]\n");
    assert_ne!(load().expect("a sound plan").sha256(), before);
    write("c.yaml", "gate:\n  - id: c\n    kind: command\n    rnu: [\"true\"]\n");
    let error = load().expect_err("a key that is not known");
    let problem = &error.problems()[0];
    assert!(problem.file.as_deref().is_some_and(|file| file.ends_with("c.yaml")), "{problem:?}");
    assert_eq!((problem.line, problem.hint.as_deref()), (4, Some("did you mean `run`?")));
    write("c.yaml", "gate:\n  - id: a\n    kind: command\n    run: [\"true\"]\n");
    let error = load().expect_err("an id twice").to_string();
    assert!(error.contains("plan.toml:4"), "{error}");
    std::fs::remove_file(folder.path().join("c.yaml")).expect("a file");
    assert!(load().expect_err("no file").problems()[0].message.contains("cannot include"));
}

#[test]
fn yaml_reads_as_toml_does() {
    let toml = include_str!("../fixtures/every-kind.toml");
    let value: toml::Value = toml::from_str(toml).expect("TOML");
    // JSON is YAML.
    let yaml = serde_json::to_string_pretty(&value).expect("JSON");
    let read = |text: &str, origin: &str| {
        let variable = |name: &str| Some(if name == "COMMIT" { "a".repeat(40) } else { "v".to_owned() });
        let plan = Plan::parse_with(text, origin, &variable)
            .unwrap_or_else(|error| panic!("{:?}", error.problems()));
        serde_json::to_value(plan.gates()).expect("JSON")
    };
    assert_eq!(read(toml, "p.toml"), read(&yaml, "p.yaml"));
}

#[test]
fn a_secret_is_declared_and_never_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("s");
    std::fs::write(&file, "hunter2\n").expect("a file");
    let secrets = format!(
        "[secrets]\nFROM_ENV = {{ env = \"SET\" }}\nFROM_FILE = {{ file = \"{}\" }}\n",
        file.display()
    );
    let gate = "[[gate]]\nid = \"a\"\nkind = \"http\"\nurl = \"http://x/?k=${secret:FROM_FILE}\"\n";
    let plan = parse(&format!("name = \"x\"\n{secrets}{gate}"), "x.toml").expect("a sound plan");
    assert_eq!(plan.secrets().map(|(name, _)| name).collect::<Vec<_>>(), ["FROM_ENV", "FROM_FILE"]);
    assert!(!format!("{plan:?}").contains("hunter2"));
    for (secrets, gate, part) in [
        ("", gate, "the plan has no secret `FROM_FILE`"),
        ("[secrets]\nX = { env = \"UNSET\" }\n", GATE, "variable `UNSET` of secret `X` is not set"),
        ("[secrets]\nX = { file = \"/no/such\" }\n", GATE, "cannot read /no/such"),
        ("[secrets]\nX = { file = \"/dev/null\" }\n", GATE, "secret `X` is empty"),
        ("[secrets]\nX = {}\n", GATE, "needs either `env` or `file`"),
        (
            "[secrets]\nX = { env = \"SET\" }\n",
            "[[gate]]\nid = \"a\"\nkind = \"command\"\nrun = [\"echo\", \"${secret:X}\"]\n",
            "everyone can see a program's arguments",
        ),
    ] {
        let problems = parse(&format!("name = \"x\"\n{secrets}{gate}"), "x.toml").expect_err(part);
        assert!(problems.iter().any(|problem| problem.contains(part)), "{problems:?}");
    }
}

#[test]
fn references_to_gates_need_the_gate() {
    let toml = format!(
        "name = \"x\"\n{GATE}[[gate]]\nid = \"b\"\nkind = \"command\"\nrun = [\"echo\", \"${{gate:a.x}}\"]\n"
    );
    let problems = parse(&toml, "x.toml").expect_err("no need");
    assert!(problems[0].contains("which this gate does not need"), "{problems:?}");
    // Through another one is enough.
    let through = format!(
        "{toml}needs = [\"m\"]\n[[gate]]\nid = \"m\"\nkind = \"command\"\nrun = [\"true\"]\nneeds = [\"a\"]\n"
    );
    assert!(parse(&through, "x.toml").is_ok());
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (keys, part) in [
        ("group = \"db\"", "the plan has no group `db`"),
        ("retry = { attempts = 1, on = [\"fail\"] }", "between 2 and 100"),
        ("retry = { attempts = 2, on = [] }", "`retry.on` is empty"),
        ("retry = { attempts = 2, on = [\"leak\"] }", "leak"),
        ("timeout = { attempt = \"5s\", total = \"1s\" }", "shorter than"),
        ("timeout = 5", "a duration"),
        ("when = {}", "exactly one of"),
        ("when = { path_exists = \"a\", command = [\"b\"] }", "exactly one of"),
        ("when = { variable = \"SET\" }", "belong together"),
        ("when = { paths_changed = [\"a\"] }", "belong together"),
    ] {
        let problems = parse(&format!("name = \"x\"\n{GATE}{keys}\n"), "x.toml").expect_err(keys);
        assert!(problems.iter().any(|problem| problem.contains(part)), "{keys}: {problems:?}");
    }
    for (top, part) in [
        ("environment = \"moon\"", "environment `moon` is not known"),
        ("[objectives]\nslo = 100", "not between 0 and 100"),
        ("jobs = 0", "nonzero"),
        ("[groups]\na = { max = 0 }", "nonzero"),
    ] {
        let problems = parse(&format!("name = \"x\"\n{top}\n{GATE}"), "x.toml").expect_err(top);
        assert!(problems.iter().any(|problem| problem.contains(part)), "{top}: {problems:?}");
    }
}

#[test]
fn the_published_schema_is_the_one_of_the_types() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("plan.schema.json");
    let current = format!("{:#}\n", schema(&Kinds::standard()));
    if std::env::var_os("OPS_UPDATE_SCHEMA").is_some() {
        std::fs::write(&path, &current).expect("the schema");
    }
    let published = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(published == current, "run this test with OPS_UPDATE_SCHEMA=1 to publish the schema again");
}
