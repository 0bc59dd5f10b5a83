//! The structure of the workspace, held by tests: what a library may depend on, and which way its modules point.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies below the root").to_path_buf()
}

/// Every package that a library pulls in when it is linked alone.
fn packages(library: &str, flags: &[&str]) -> BTreeSet<String> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["tree", "-p", library, "-e", "normal", "--prefix", "none", "--format", "{p}"]).args(flags);
    let done = cargo.current_dir(root()).output().expect("cargo tree starts");
    assert!(done.status.success(), "cargo tree -p {library}: {}", String::from_utf8_lossy(&done.stderr));
    let text = String::from_utf8(done.stdout).expect("cargo prints UTF-8");
    let names: BTreeSet<String> = text
        .lines()
        .filter_map(|line| line.split(' ').next())
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    assert!(names.contains(library), "cargo tree did not print {library}");
    names
}

#[test]
fn libraries_do_not_pull_in_what_they_must_not_know() {
    const POSTGRES: [&str; 3] = ["tokio-postgres", "postgres-protocol", "pg_query"];
    const OTHERS: [&str; 5] = ["ops-telemetry", "ops-secrets", "ops-core", "ops-backup", "ops-gates"];
    const NOWHERE: [&str; 4] = ["clap", "ops-cli", "ops-testkit", "opentelemetry"];
    let siblings =
        |allowed: &'static [&'static str]| OTHERS.into_iter().filter(move |name| !allowed.contains(name));
    let table: [(&str, &[&str], Vec<&str>); 7] = [
        (
            "ops-telemetry",
            &[],
            siblings(&["ops-telemetry"])
                .chain(POSTGRES)
                .chain(["tokio", "hyper", "reqwest", "rustls", "redis"])
                .collect(),
        ),
        (
            "ops-secrets",
            &[],
            siblings(&["ops-secrets"])
                .chain(POSTGRES)
                .chain(["tokio", "hyper", "reqwest", "rustls", "tracing-subscriber"])
                // What the scanner alone needs.
                .chain(["blake3", "glob", "miniz_oxide"])
                .collect(),
        ),
        (
            "ops-secrets",
            &["--features", "rotate,scan,tokio"],
            siblings(&["ops-secrets"]).chain(POSTGRES).chain(["hyper", "reqwest", "rustls"]).collect(),
        ),
        (
            "ops-core",
            &[],
            siblings(&["ops-core"])
                .chain(["object_store", "hyper", "reqwest", "tracing-subscriber"])
                .collect(),
        ),
        ("ops-core", &["--no-default-features"], vec!["pg_query", "deadpool"]),
        (
            "ops-backup",
            &["--all-features"],
            siblings(&["ops-backup", "ops-core"])
                .chain(["pg_query", "bindgen", "tracing-subscriber"])
                .collect(),
        ),
        (
            "ops-gates",
            &["--all-features"],
            siblings(&["ops-gates", "ops-core"])
                .chain(["pg_query", "bindgen", "object_store", "tracing-subscriber"])
                .collect(),
        ),
    ];
    for (library, flags, forbidden) in table {
        let found = packages(library, flags);
        for name in forbidden.into_iter().chain(NOWHERE) {
            assert!(!found.contains(name), "{library} {flags:?} pulls in {name}");
        }
    }
}

#[test]
fn libraries_have_typed_errors_of_their_own() {
    for library in ["ops-telemetry", "ops-secrets", "ops-core", "ops-backup", "ops-gates"] {
        assert!(!packages(library, &["--depth", "1"]).contains("anyhow"), "{library} depends on anyhow");
    }
}

#[test]
fn telemetry_stays_small() {
    let found = packages("ops-telemetry", &["--no-default-features"]);
    assert!(found.len() <= 30, "{} packages: {found:?}", found.len());
}

/// The top-level modules of a crate, and the files that make up each.
fn modules(source: &Path) -> BTreeMap<String, Vec<PathBuf>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(source).expect("a crate has a src folder") {
        let path = entry.expect("src can be listed").path();
        let name = path.file_stem().expect("entries have names").to_string_lossy().into_owned();
        let files: &mut Vec<PathBuf> = found.entry(name).or_default();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    found.remove("lib");
    found.remove("main");
    found
}

fn rust_files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a module folder can be listed") {
        let path = entry.expect("a module folder can be listed").path();
        if path.is_dir() {
            rust_files(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// The modules that a text names by `crate::…`, also inside a `use crate::{a, b}` list. Comments do not count.
fn named(text: &str, all: &BTreeSet<String>) -> BTreeSet<String> {
    let code: String =
        text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut found = BTreeSet::new();
    for (at, token) in code.match_indices("crate::") {
        // `ops_testkit_crate::` is another word.
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &code[at + token.len()..];
        let heads: Vec<String> = match rest.strip_prefix('{') {
            Some(list) => heads_of_list(list),
            None => vec![rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()],
        };
        found.extend(heads.into_iter().filter(|head| all.contains(head)));
    }
    found
}

fn heads_of_list(list: &str) -> Vec<String> {
    let (mut depth, mut heads, mut word) = (0_i32, Vec::new(), String::new());
    for c in list.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => heads.push(std::mem::take(&mut word)),
            _ if depth == 0 && !c.is_whitespace() => word.push(c),
            _ => {}
        }
    }
    heads.push(word);
    heads.into_iter().map(|head| head.split("::").next().unwrap_or_default().to_owned()).collect()
}

/// One cycle in the graph, as the list of its modules; None where there is none.
fn cycle(graph: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    fn visit(
        node: &str,
        graph: &BTreeMap<String, BTreeSet<String>>,
        path: &mut Vec<String>,
        done: &mut BTreeSet<String>,
    ) -> bool {
        if let Some(start) = path.iter().position(|seen| seen == node) {
            path.drain(..start);
            return true;
        }
        if !done.insert(node.to_owned()) {
            return false;
        }
        path.push(node.to_owned());
        for next in graph.get(node).into_iter().flatten() {
            if visit(next, graph, path, done) {
                return true;
            }
        }
        path.pop();
        false
    }
    let mut done = BTreeSet::new();
    graph.keys().find_map(|node| {
        let mut path = Vec::new();
        visit(node, graph, &mut path, &mut done).then_some(path)
    })
}

#[test]
fn modules_point_one_way() {
    for group in ["crates", "bins", "xtask"] {
        let mut folders: Vec<PathBuf> = std::fs::read_dir(root().join(group))
            .expect("the group exists")
            .map(|entry| entry.expect("it can be listed").path())
            .collect();
        folders.push(root().join(group));
        for folder in folders.into_iter().filter(|folder| folder.join("Cargo.toml").is_file()) {
            let modules = modules(&folder.join("src"));
            let names: BTreeSet<String> = modules.keys().cloned().collect();
            let mut graph = BTreeMap::new();
            for (name, files) in &modules {
                let mut targets = BTreeSet::new();
                for file in files {
                    targets.extend(named(
                        &std::fs::read_to_string(file).expect("a source file is UTF-8"),
                        &names,
                    ));
                }
                targets.remove(name);
                graph.insert(name.clone(), targets);
            }
            assert_eq!(cycle(&graph), None, "a cycle of modules in {}", folder.display());
        }
    }
}

#[test]
fn the_cycle_finder_finds_one() {
    let graph = |edges: &[(&str, &[&str])]| {
        edges
            .iter()
            .map(|(from, to)| ((*from).to_owned(), to.iter().map(|name| (*name).to_owned()).collect()))
            .collect()
    };
    assert_eq!(cycle(&graph(&[("a", &["b"]), ("b", &["c"]), ("c", &[])])), None);
    assert!(cycle(&graph(&[("a", &["b"]), ("b", &["c"]), ("c", &["b"])])).is_some());
    let all = ["a", "b", "c"].map(str::to_owned).into();
    assert_eq!(
        named("use crate::{a::{X, Y}, b};\n// crate::c\nfn f() { crate::a::z() }", &all),
        ["a", "b"].map(str::to_owned).into()
    );
}

#[test]
fn files_and_their_doc_comments_keep_the_trip_wires() {
    for group in ["crates", "bins", "xtask"] {
        let mut files = Vec::new();
        rust_files(&root().join(group), &mut files);
        for file in files {
            let text = std::fs::read_to_string(&file).expect("a source file is UTF-8");
            let lines = text.lines().count();
            assert!(lines <= 800, "{} has {lines} lines: one room or two?", file.display());
            let is_source = !file.components().any(|part| part.as_os_str() == "tests");
            assert!(
                !is_source || text.starts_with("//!"),
                "{} does not say what may stand in it",
                file.display()
            );
        }
    }
}
