//! `scan` as people, pipelines and code hosts see it.

use super::text;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A folder with one certain and one likely secret; both are put together here, so that this file has none.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write(".ops-secrets.toml", "version = 1\nsalt = \"fixed\"\n");
        folder
    }

    fn with_secrets() -> Self {
        let folder = Self::new();
        folder.write("deploy/app.env", &format!("PORT=80\nAWS_ID={}\n", aws()));
        folder.write("src/db, new.py", &format!("connect(password = \"{}\")\n", "k7Gx0q2v+PzQ"));
        folder
    }

    fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    fn scan(&self, args: &[&str]) -> Output {
        scan(self.0.path(), args)
    }
}

fn aws() -> String {
    format!("AKIA{}", "Q3ZX7MNB2KLP5VTD")
}

fn scan(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ops-secrets"))
        .args(["--log-format", "human", "scan"])
        .args(args)
        .current_dir(folder)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("COLUMNS", "100")
        .env("GIT_CEILING_DIRECTORIES", folder.parent().unwrap())
        .env("IN_USE", "k7Gx0q2v+PzQ")
        .env("SHORT", "12345")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[test]
fn help() {
    insta::assert_snapshot!("scan_help", text(&scan(Path::new(env!("CARGO_MANIFEST_DIR")), &["--help"])));
}

#[test]
fn findings_are_told_without_their_values() {
    let folder = Folder::with_secrets();
    let outputs = [
        ("scan_text", folder.scan(&[])),
        ("scan_strict", folder.scan(&["--strict"])),
        ("scan_json", folder.scan(&["--format", "json"])),
        ("scan_github", folder.scan(&["--github"])),
        ("scan_known", folder.scan(&["src", "--known-env", "IN_USE", "--suppressions", ".ops-secrets.toml"])),
    ];
    for (name, done) in outputs {
        let text = text(&done);
        assert!(!text.contains("Q3ZX7MNB") && !text.contains("k7Gx0q2v"), "{name}: {text}");
        insta::assert_snapshot!(name, text);
    }
}

#[test]
fn exits_are_those_of_the_table() {
    let folder = Folder::with_secrets();
    let empty = tempfile::tempdir().unwrap();
    let clean = Folder::new();
    clean.write("bad.toml", "version = 1\n[[suppress]]\nowner = \"hunter2hunter2\"\n");
    let cases: [(&str, &Path, &[&str], i32); 13] = [
        ("a secret", folder.0.path(), &[], 20),
        ("only a likely one", folder.0.path(), &["src"], 0),
        ("a likely one, strictly", folder.0.path(), &["src", "--strict"], 20),
        ("left out", folder.0.path(), &["--exclude", "deploy/*"], 0),
        ("clean", clean.0.path(), &[], 0),
        ("nothing there", empty.path(), &[], 22),
        ("an empty stream", clean.0.path(), &["-"], 22),
        ("no such path", clean.0.path(), &["absent"], 65),
        ("no repository", clean.0.path(), &["--history"], 65),
        ("a bad file", clean.0.path(), &["--suppressions", "bad.toml"], 65),
        ("a bad pattern", clean.0.path(), &["--exclude", "a[", "."], 64),
        ("two targets", clean.0.path(), &["--history", "--staged"], 64),
        ("a value too short", clean.0.path(), &["--known-env", "SHORT"], 65),
    ];
    for (name, path, args, expected) in cases {
        let done = scan(path, args);
        assert_eq!(done.status.code(), Some(expected), "{name}: {}", text(&done));
        assert!(!text(&done).contains("hunter2"), "{name}");
    }
}

#[test]
fn a_baseline_covers_what_was_there() {
    let folder = Folder::with_secrets();
    assert_eq!(folder.scan(&["--write-baseline", "base.json"]).status.code(), Some(0));
    let written = std::fs::read(folder.0.path().join("base.json")).unwrap();
    assert_eq!(folder.scan(&["--baseline", "base.json", "--strict"]).status.code(), Some(0));
    assert_eq!(folder.scan(&["--write-baseline", "base.json"]).status.code(), Some(0));
    assert_eq!(std::fs::read(folder.0.path().join("base.json")).unwrap(), written, "two runs, one baseline");
    folder.write("more.env", &format!("AWS_ID={}\n", aws().replace('Q', "R")));
    assert_eq!(folder.scan(&["--baseline", "base.json"]).status.code(), Some(20));
}

#[test]
fn sarif_has_the_structure_of_the_standard() {
    let folder = Folder::with_secrets();
    assert_eq!(folder.scan(&["--sarif", "out.sarif"]).status.code(), Some(20));
    let text = std::fs::read_to_string(folder.0.path().join("out.sarif")).unwrap();
    assert!(!text.contains("Q3ZX7MNB") && !text.contains("k7Gx0q2v"));
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["version"], "2.1.0");
    let run = &document["runs"][0];
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    let ids: std::collections::BTreeSet<&str> =
        rules.iter().map(|rule| rule["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), rules.len(), "3.19.23: ids are unique");
    let results = run["results"].as_array().unwrap();
    assert_eq!(results.len(), 2);
    for result in results {
        // 3.27.6: the index points to the rule of that id.
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(rules[index]["id"], result["ruleId"]);
        assert!(["error", "warning"].contains(&result["level"].as_str().unwrap()));
        assert!(!result["message"]["text"].as_str().unwrap().is_empty());
        let location = &result["locations"][0]["physicalLocation"];
        // 3.4.3: a URI reference, in which a blank or a comma may not stand as it is.
        let uri = location["artifactLocation"]["uri"].as_str().unwrap();
        assert!(["deploy/app.env", "src/db%2C%20new.py"].contains(&uri), "{uri}");
        assert!(location["region"]["startLine"].as_u64().unwrap() >= 1);
    }
    assert_eq!(run["invocations"][0]["executionSuccessful"], true);
}

/// As GitHub's runner reads them: `::name key=value,key=value::message`; `%`, CR and LF are escaped, in a value also `:` and `,`.
#[test]
fn annotations_are_read_back_as_they_were_meant() {
    let folder = Folder::new();
    let name = "odd %2C,:=\n::error::x.env";
    folder.write(name, &format!("AWS_ID={}\n", aws()));
    let done = folder.scan(&["--github"]);
    let text = String::from_utf8(done.stdout).unwrap();
    let unescaped = |text: &str| {
        let text = text.replace("%0D", "\r").replace("%0A", "\n").replace("%3A", ":").replace("%2C", ",");
        text.replace("%25", "%")
    };
    let read: Vec<(&str, Vec<(&str, String)>)> = text
        .lines()
        .map(|line| {
            let (head, message) = line.strip_prefix("::").and_then(|line| line.split_once("::")).unwrap();
            assert!(!message.is_empty(), "{line}");
            let (command, properties) = head.split_once(' ').unwrap_or((head, ""));
            let pairs = properties.split(',').filter_map(|pair| pair.split_once('='));
            (command, pairs.map(|(key, value)| (key, unescaped(value))).collect())
        })
        .collect();
    assert_eq!(read.iter().map(|(command, _)| *command).collect::<Vec<_>>(), ["error", "notice"], "{text}");
    let value = |key: &str| read[0].1.iter().find(|(name, _)| *name == key).map(|(_, value)| value.as_str());
    assert_eq!((value("file"), value("line")), (Some(name), Some("1")), "{text}");
}

#[test]
fn our_own_repository_is_clean() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let done = scan(root, &["--exclude", "target/**", "--exclude", "fuzz/target/**"]);
    assert_eq!(done.status.code(), Some(0), "{}", text(&done));
}
