//! What a tool did, read from what it wrote. Each reader knows one tool; what it does not find is no proof.

use jiff::Timestamp;
use serde_json::Value;
use std::path::Path;

/// What a proof is read from.
pub(super) struct Given<'a> {
    pub(super) output: &'a str,
    pub(super) arguments: &'a [String],
    pub(super) directory: &'a Path,
}

/// What a tool did.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Work {
    pub(super) done: u64,
    pub(super) unit: &'static str,
    /// How much it found.
    pub(super) bad: u64,
}

impl Work {
    pub(super) fn shown_bad(&self) -> String {
        format!("found {} in {} {}", self.bad, self.done, self.unit)
    }
}

pub(super) type Proof = fn(&Given<'_>) -> Result<Work, String>;

/// `     Summary [   0.039s] 2 tests run: 1 passed, 1 failed, 1 skipped`
pub(super) fn nextest(given: &Given<'_>) -> Result<Work, String> {
    let line = given.output.lines().rev().find(|line| line.trim_start().starts_with("Summary ["));
    let line = line.and_then(|line| line.split_once(']')).ok_or("there is no summary")?.1;
    let done = number_before(line, "tests run").or_else(|| number_before(line, "test run"));
    // `2/10 tests run` where it stopped early.
    let done = done.ok_or("the summary has no number of tests")?;
    let bad =
        ["failed", "timed out", "exec failed"].iter().filter_map(|word| number_before(line, word)).sum();
    Ok(Work { done, unit: "tests", bad })
}

/// `test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s`, once a binary
pub(super) fn cargo_test(given: &Given<'_>) -> Result<Work, String> {
    let results: Vec<&str> = given.output.lines().filter(|line| line.starts_with("test result: ")).collect();
    if results.is_empty() {
        return Err("there is no result of a test".to_owned());
    }
    let sum = |word: &str| results.iter().filter_map(|line| number_before(line, word)).sum::<u64>();
    let bad = sum("failed;");
    Ok(Work { done: sum("passed;") + bad, unit: "tests", bad })
}

/// `INF 1 commits scanned.`, `INF scanned ~43 bytes (43 bytes) in 200ms`, `WRN leaks found: 1`
pub(super) fn gitleaks(given: &Given<'_>) -> Result<Work, String> {
    if let Some(error) = given.output.lines().find(|line| line.contains(" ERR ")) {
        return Err(format!("it says: {}", short(error)));
    }
    if given.output.lines().any(|line| line.contains(" INF 0 commits scanned")) {
        return Ok(Work { done: 0, unit: "bytes", bad: 0 });
    }
    let scanned = given.output.lines().find_map(|line| line.split_once("scanned ~")).map(|(_, rest)| rest);
    let done = scanned.and_then(first_number).ok_or("it does not say how much it scanned")?;
    let leaks = given.output.lines().find_map(|line| line.split_once("leaks found: ")).map(|(_, rest)| rest);
    Ok(Work { done, unit: "bytes", bad: leaks.and_then(first_number).unwrap_or(0) })
}

/// `Executed requests: 3 (120.0/s)`, `Failed files:      1 (50.0%)`
pub(super) fn hurl(given: &Given<'_>) -> Result<Work, String> {
    let after = |name: &str| {
        given.output.lines().rev().find_map(|line| line.trim().strip_prefix(name)).and_then(first_number)
    };
    let done = after("Executed requests:").ok_or("there is no summary")?;
    Ok(Work { done, unit: "requests", bad: after("Failed files:").unwrap_or(0) })
}

/// The exported summary. A threshold without samples holds, whatever it says, so every metric that has one must have some.
pub(super) fn k6(given: &Given<'_>) -> Result<Work, String> {
    let start = given.output.lines().position(|line| line == "{").ok_or("there is no summary")?;
    let json = given.output.lines().skip(start).collect::<Vec<_>>().join("\n");
    // Whatever the script writes at its end comes after it.
    let summary = serde_json::Deserializer::from_str(&json).into_iter::<Value>().next();
    let summary = summary.and_then(Result::ok).ok_or("the summary cannot be read")?;
    let metrics = summary["metrics"].as_object().ok_or("the summary has no metrics")?;
    let count = |name: &str, field: &str| {
        metrics.get(name).and_then(|metric| metric[field].as_f64()).map_or(0, whole)
    };
    let requests = count("http_reqs", "count");
    let checks = count("checks", "passes") + count("checks", "fails");
    let mut crossed = 0;
    for (name, metric) in metrics {
        let Some(thresholds) = metric["thresholds"].as_object() else { continue };
        let base = name.split('{').next().unwrap_or(name);
        let samples = match base {
            name if name.starts_with("http_req_") => requests,
            name if metric["passes"].is_number() => count(name, "passes") + count(name, "fails"),
            _ if metric["count"].is_number() => metric["count"].as_f64().map_or(0, whole),
            // A trend has no number of samples; one without any is zero in all its figures.
            _ => u64::from(
                metric
                    .as_object()
                    .is_some_and(|it| it.values().any(|value| value.as_f64().is_some_and(|it| it > 0.0))),
            ),
        };
        if samples == 0 {
            return Err(format!("the threshold on {name} has no samples, and holds for nothing"));
        }
        // In this file `true` means crossed.
        crossed += thresholds.values().filter(|crossed| **crossed == Value::Bool(true)).count() as u64;
    }
    // In `http_req_failed`, what passes is what failed.
    let refused = count("http_req_failed", "passes");
    if requests > 0 && refused == requests && crossed == 0 {
        return Err(format!("all {requests} requests failed"));
    }
    let (done, unit) = if checks > 0 { (checks, "checks") } else { (requests, "requests") };
    Ok(Work { done, unit, bad: crossed })
}

pub(super) fn backup(given: &Given<'_>) -> Result<Work, String> {
    let document = json(given.output)?;
    let report = &document["report"];
    let backups = report["backups"].as_array().ok_or("there is no report")?;
    if report["complete"].as_bool() != Some(true) {
        return Err("not every object was read".to_owned());
    }
    let problems = report["problems"].as_array().map_or(0, |problems| problems.len() as u64);
    let bad = if document["proven"].as_bool() == Some(true) { problems } else { problems.max(1) };
    Ok(Work { done: backups.len() as u64, unit: "backups", bad })
}

pub(super) fn guard(given: &Given<'_>) -> Result<Work, String> {
    let (mut done, mut bad) = (0, 0);
    for line in given.output.lines().filter(|line| !line.trim().is_empty()) {
        let statement = json(line)?;
        let verdict = statement["verdict"].as_str().ok_or("a statement has no verdict")?;
        done += 1;
        bad += u64::from(!matches!(verdict, "allow" | "limit"));
    }
    Ok(Work { done, unit: "statements", bad })
}

pub(super) fn secrets(given: &Given<'_>) -> Result<Work, String> {
    let document = json(given.output)?;
    let done = document["scanned"]["bytes"].as_u64().ok_or("it does not say how much it scanned")?;
    // Likely findings warn; only those that block are in the verdict.
    let bad =
        if document["verdict"].as_str() == Some("found") { list(&document["findings"]).max(1) } else { 0 };
    Ok(Work { done, unit: "bytes", bad })
}

/// Squawk does not say what it looked at, so the files are looked at here: those that hold more than comments.
pub(super) fn squawk(given: &Given<'_>) -> Result<Work, String> {
    let findings = json(given.output).map_err(|_| "it wrote no list of findings")?;
    let findings = findings.as_array().ok_or("it wrote no list of findings")?;
    if findings.iter().any(|finding| finding["rule_name"].as_str() == Some("syntax-error")) {
        return Err("a file is not SQL that it can read".to_owned());
    }
    let mut done = 0;
    for argument in given.arguments.iter().filter(|argument| !argument.starts_with('-')) {
        let pattern = given.directory.join(argument);
        let files = glob::glob(&pattern.to_string_lossy()).map_err(|error| error.to_string())?;
        let texts = files.flatten().filter_map(|file| std::fs::read_to_string(file).ok());
        done += texts.filter(|text| has_statement(text)).count() as u64;
    }
    Ok(Work { done, unit: "files", bad: findings.len() as u64 })
}

/// Whether anything stands beside comments and semicolons.
fn has_statement(sql: &str) -> bool {
    let mut rest = sql;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ';' || c == '\u{feff}');
        if let Some(comment) = rest.strip_prefix("--") {
            rest = comment.split_once('\n').map_or("", |(_, rest)| rest);
        } else if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment.split_once("*/").map_or("", |(_, rest)| rest);
        } else {
            return !rest.is_empty();
        }
    }
}

pub(super) fn trivy(given: &Given<'_>) -> Result<Work, String> {
    let document = json(given.output)?;
    if !document["SchemaVersion"].is_number() {
        return Err("it wrote no report".to_owned());
    }
    let results = document["Results"].as_array().map(Vec::as_slice).unwrap_or_default();
    let misconfigured = |result: &Value| {
        let all = result["Misconfigurations"].as_array().map(Vec::as_slice).unwrap_or_default();
        all.iter().filter(|one| one["Status"].as_str() != Some("PASS")).count() as u64
    };
    let found = |result: &Value| {
        ["Vulnerabilities", "Secrets", "Licenses"].iter().map(|kind| list(&result[*kind])).sum::<u64>()
            + misconfigured(result)
    };
    Ok(Work { done: results.len() as u64, unit: "targets", bad: results.iter().map(found).sum() })
}

/// Whether trivy is to look for vulnerabilities, for which it needs its database.
pub(super) fn looks_for_vulnerabilities(arguments: &[String]) -> bool {
    if arguments.first().is_some_and(|subcommand| subcommand == "config") {
        return false;
    }
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let scanners = match argument.strip_prefix("--scanners") {
            Some("") => arguments.next().map(String::as_str),
            Some(value) => value.strip_prefix('='),
            None => None,
        };
        if let Some(scanners) = scanners {
            return scanners.split(',').any(|scanner| scanner == "vuln");
        }
    }
    true
}

/// When the database was made, as `trivy version --format json` says.
pub(super) fn database_time(output: &str) -> Option<Timestamp> {
    json(output).ok()?["VulnerabilityDB"]["UpdatedAt"].as_str()?.parse().ok()
}

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("its output cannot be read: {error}"))
}

fn list(value: &Value) -> u64 {
    value.as_array().map_or(0, |list| list.len() as u64)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count, which JSON has as a float"
)]
fn whole(count: f64) -> u64 {
    count as u64
}

fn first_number(text: &str) -> Option<u64> {
    let digits: String = text.trim_start().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// The number right before a word: 2 of `2 passed; 0 failed` and `passed`; the first of `2/10`.
fn number_before(line: &str, word: &str) -> Option<u64> {
    let (before, _) = line.split_once(&format!(" {word}"))?;
    let number = before.rsplit(|c: char| !(c.is_ascii_digit() || c == '/')).next()?;
    number.split('/').next()?.parse().ok()
}

fn short(line: &str) -> String {
    line.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(proof: Proof, output: &str) -> Result<(u64, u64), String> {
        let given = Given { output, arguments: &[], directory: Path::new("/") };
        proof(&given).map(|work| (work.done, work.bad))
    }

    #[track_caller]
    fn check(proof: Proof, output: &str, expected: Result<(u64, u64), &str>) {
        match (of(proof, output), expected) {
            (Ok(got), Ok(expected)) => assert_eq!(got, expected, "{output}"),
            (Err(got), Err(part)) => assert!(got.contains(part), "{output}: {got}"),
            (got, _) => panic!("{output}: {got:?}"),
        }
    }

    #[test]
    fn the_work_is_read_from_what_the_tools_write() {
        let k6 = |metrics: &str| format!("\n    checks: 100%\n\n{{\n\"metrics\": {{{metrics}}}\n}}\n");
        let passed = k6(
            r#""checks":{"passes":5,"fails":0,"thresholds":{"rate>=0.9":false}},"http_reqs":{"count":5},"http_req_duration":{"p(95)":2,"thresholds":{"p(95)<500":false}},"http_req_failed":{"passes":0,"fails":5}"#,
        );
        let crossed = passed.replace("\"rate>=0.9\":false", "\"rate>=0.9\":true");
        let throws = k6(
            r#""checks":{"passes":0,"fails":0,"thresholds":{"rate>=0.9":false}},"http_req_duration":{"p(95)":0,"thresholds":{"p(95)<500":false}},"iterations":{"count":5}"#,
        );
        let refused = k6(
            r#""http_reqs":{"count":5},"http_req_duration":{"p(95)":0,"thresholds":{"p(95)<500":false}},"http_req_failed":{"passes":5,"fails":0}"#,
        );
        let idle = k6(r#""iterations":{"count":1}"#);
        for (proof, output, expected) in [
            (
                nextest as Proof,
                "────\n     Summary [   0.039s] 2 tests run: 2 passed, 1 skipped\n",
                Ok((2, 0)),
            ),
            (nextest, "     Summary [   0.1s] 3/9 tests run: 1 passed, 2 failed, 0 skipped\n", Ok((3, 2))),
            (
                nextest,
                "     Summary [   0.000s] 0 tests run: 0 passed, 3 skipped\nerror: no tests to run\n",
                Ok((0, 0)),
            ),
            (nextest, "error: could not compile\n", Err("no summary")),
            (
                cargo_test,
                "test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured\n\ntest result: FAILED. 3 passed; 1 failed; 0 ignored\n",
                Ok((6, 1)),
            ),
            (
                cargo_test,
                "test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 9 filtered out\n",
                Ok((0, 0)),
            ),
            (cargo_test, "error[E0425]\n", Err("no result")),
            (
                gitleaks,
                "10:02PM INF 1 commits scanned.\n10:02PM INF scanned ~6 bytes (6 bytes) in 192ms\n10:02PM INF no leaks found\n",
                Ok((6, 0)),
            ),
            (
                gitleaks,
                "10:02PM INF 1 commits scanned.\n10:02PM INF scanned ~43 bytes (43 bytes) in 200ms\n10:02PM WRN leaks found: 1\n",
                Ok((43, 1)),
            ),
            (
                gitleaks,
                "10:02PM ERR [git] fatal: not a git repository\n10:02PM INF 0 commits scanned.\n10:02PM INF scanned ~0 bytes (0) in 262ms\n10:02PM INF no leaks found\n",
                Err("not a git repository"),
            ),
            (gitleaks, "10:02PM INF 0 commits scanned.\n10:02PM INF no leaks found\n", Ok((0, 0))),
            (
                gitleaks,
                "10:02PM INF scanned ~0 bytes (0) in 1.98ms\n10:02PM INF no leaks found\n",
                Ok((0, 0)),
            ),
            (gitleaks, "", Err("how much")),
            (
                hurl,
                "Executed files:    1\nExecuted requests: 3 (120.0/s)\nSucceeded files:   1 (100.0%)\nFailed files:      0 (0.0%)\n",
                Ok((3, 0)),
            ),
            (hurl, "error: no file\n", Err("no summary")),
            (self::k6, &passed, Ok((5, 0))),
            (self::k6, &crossed, Ok((5, 1))),
            (self::k6, &throws, Err("no samples")),
            (self::k6, &refused, Err("all 5 requests failed")),
            (self::k6, &idle, Ok((0, 0))),
            (self::k6, "", Err("no summary")),
        ] {
            check(proof, output, expected);
        }
    }

    #[test]
    fn the_work_is_read_from_documents() {
        for (proof, output, expected) in [
            (
                backup as Proof,
                r#"{"schema":"ops-backup/verify/v2","proven":true,"report":{"backups":["a"],"complete":true,"problems":[]}}"#,
                Ok((1, 0)),
            ),
            (
                backup,
                r#"{"proven":false,"report":{"backups":["a"],"complete":true,"problems":[{}]}}"#,
                Ok((1, 1)),
            ),
            (
                backup,
                r#"{"proven":true,"report":{"backups":["a"],"complete":false,"problems":[]}}"#,
                Err("not every object"),
            ),
            (guard, "{\"verdict\":\"allow\"}\n{\"verdict\":\"deny\"}\n", Ok((2, 1))),
            (guard, "", Ok((0, 0))),
            (guard, "fine\n", Err("cannot be read")),
            (
                secrets,
                r#"{"verdict":"clean","scanned":{"files":2,"objects":5,"bytes":392},"findings":[]}"#,
                Ok((392, 0)),
            ),
            (secrets, r#"{"verdict":"found","scanned":{"bytes":98},"findings":[{},{}]}"#, Ok((98, 2))),
            (squawk, "[]\n", Ok((0, 0))),
            (squawk, r#"[{"file":"bad.sql","level":"Error","rule_name":"syntax-error"}]"#, Err("can read")),
            (squawk, "", Err("no list")),
            (
                trivy,
                r#"{"SchemaVersion":2,"Results":[{"Target":"s.py","Secrets":[{}]},{"Misconfigurations":[{"Status":"PASS"},{"Status":"FAIL"}]}]}"#,
                Ok((2, 2)),
            ),
            (trivy, r#"{"SchemaVersion":2,"ArtifactName":"tr"}"#, Ok((0, 0))),
            (trivy, "FATAL Fatal error", Err("cannot be read")),
        ] {
            check(proof, output, expected);
        }
    }

    #[test]
    fn comments_are_no_statements() {
        for (sql, expected) in [
            ("select 1;", true),
            ("", false),
            (";\n ;", false),
            ("-- only a comment", false),
            ("-- a\nselect 1", true),
            ("/* select 1 */ ", false),
            ("/* a */ select 1", true),
            ("/* open", false),
        ] {
            assert_eq!(has_statement(sql), expected, "{sql}");
        }
    }

    #[test]
    fn the_database_matters_where_vulnerabilities_do() {
        for (arguments, expected) in [
            ("fs .", true),
            ("fs --scanners secret .", false),
            ("fs --scanners=secret,misconfig .", false),
            ("fs --scanners vuln,secret .", true),
            ("config .", false),
            ("image x", true),
        ] {
            let words: Vec<String> = arguments.split(' ').map(str::to_owned).collect();
            assert_eq!(looks_for_vulnerabilities(&words), expected, "{arguments}");
        }
        assert!(database_time(r#"{"Version":"0.76.0"}"#).is_none());
        assert!(
            database_time(r#"{"VulnerabilityDB":{"Version":2,"UpdatedAt":"2026-08-01T00:00:00Z"}}"#)
                .is_some()
        );
    }
}
