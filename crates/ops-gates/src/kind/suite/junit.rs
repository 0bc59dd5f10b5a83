//! JUnit XML, which has no one schema: test cases are counted, in whatever suites they stand.
//!
//! The files come from tools, and may be hostile: nothing is expanded (a document type is refused), nothing but counts and a
//! few names is kept, and the depth is bounded. What a suite declares must not be more than what it holds, or the file was cut.

use super::Counts;
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use std::io::BufRead;

/// Deeper than any suite within suites.
const DEPTH: usize = 64;

/// How a test case ended, the last word first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Passed,
    Skipped,
    Failed,
    Error,
}

/// A test case that is being read.
struct Case {
    depth: usize,
    name: String,
    end: End,
    flaky: bool,
}

/// Counts the test cases of a document.
pub(super) fn read(input: impl BufRead) -> Result<Counts, String> {
    let mut reader = Reader::from_reader(input);
    let mut buffer = Vec::new();
    let mut counts = Counts::default();
    // What is open, with the number of tests that each suite declares and that were counted before it.
    let mut open: Vec<Option<(u64, u64)>> = Vec::new();
    let mut case: Option<Case> = None;
    let mut is_report = false;
    loop {
        buffer.clear();
        match reader.read_event_into(&mut buffer).map_err(|error| error.to_string())? {
            Event::DocType(_) => return Err("it has a document type, which no report needs".to_owned()),
            Event::Start(element) => {
                is_report |= open.is_empty() && is_root(&element)?;
                open.push(declared(&element)?.map(|tests| (tests, all(&counts))));
                if open.len() > DEPTH {
                    return Err(format!("it is deeper than {DEPTH} elements"));
                }
                begin(&element, open.len(), &mut case)?;
            }
            Event::Empty(element) => {
                is_report |= open.is_empty() && is_root(&element)?;
                if declared(&element)?.is_some_and(|tests| tests > 0) {
                    return Err("a suite declares tests and has none".to_owned());
                }
                begin(&element, open.len() + 1, &mut case)?;
                finish(open.len() + 1, &mut case, &mut counts);
            }
            Event::End(_) => {
                finish(open.len(), &mut case, &mut counts);
                if let Some(Some((declared, before))) = open.pop()
                    && declared > all(&counts) - before
                {
                    return Err(format!(
                        "a suite declares {declared} tests, and holds {}",
                        all(&counts) - before
                    ));
                }
            }
            Event::Eof => break,
            _ => {}
        }
    }
    match (is_report, open.is_empty()) {
        (false, _) => Err("it is no JUnit report".to_owned()),
        (true, false) => Err("it ends in the middle".to_owned()),
        (true, true) => Ok(counts),
    }
}

fn is_root(element: &BytesStart<'_>) -> Result<bool, String> {
    match element.local_name().as_ref() {
        b"testsuites" | b"testsuite" => Ok(true),
        _ => Err("it is no JUnit report".to_owned()),
    }
}

/// The number of tests that a suite says it has.
fn declared(element: &BytesStart<'_>) -> Result<Option<u64>, String> {
    if element.local_name().as_ref() != b"testsuite" {
        return Ok(None);
    }
    let tests = attribute(element, "tests")?;
    tests.map(|text| text.trim().parse().map_err(|_| format!("{text:?} is no number of tests"))).transpose()
}

fn begin(element: &BytesStart<'_>, depth: usize, case: &mut Option<Case>) -> Result<(), String> {
    let name = element.local_name();
    if let Some(case) = case {
        // Only a child of the case itself: output may quote anything.
        if depth == case.depth + 1 {
            match name.as_ref() {
                b"failure" => case.end = case.end.max(End::Failed),
                b"error" => case.end = case.end.max(End::Error),
                b"skipped" => case.end = case.end.max(End::Skipped),
                // Surefire's words: what was repeated and passed, and what was repeated and never did.
                b"flakyFailure" | b"flakyError" => case.flaky = true,
                b"rerunFailure" => case.end = case.end.max(End::Failed),
                b"rerunError" => case.end = case.end.max(End::Error),
                _ => {}
            }
        }
    } else if name.as_ref() == b"testcase" {
        // Some write the outcome as an attribute only.
        let end = match attribute(element, "status")?.as_deref() {
            Some("skipped" | "disabled" | "notrun") => End::Skipped,
            _ => End::Passed,
        };
        let name = attribute(element, "name")?.unwrap_or_default();
        *case = Some(Case { depth, name, end, flaky: false });
    }
    Ok(())
}

fn finish(depth: usize, case: &mut Option<Case>, counts: &mut Counts) {
    let Some(done) = case.take_if(|case| case.depth == depth) else { return };
    match done.end {
        End::Passed => counts.passed += 1,
        End::Skipped => counts.skipped += 1,
        End::Failed => counts.failed += 1,
        End::Error => counts.errors += 1,
    }
    counts.flaky += u64::from(done.flaky && done.end == End::Passed);
    if matches!(done.end, End::Failed | End::Error) {
        counts.note(&done.name);
    }
}

fn attribute(element: &BytesStart<'_>, name: &str) -> Result<Option<String>, String> {
    let found = element.try_get_attribute(name).map_err(|error| error.to_string())?;
    Ok(found.map(|attribute| String::from_utf8_lossy(&attribute.value).into_owned()))
}

fn all(counts: &Counts) -> u64 {
    counts.passed + counts.failed + counts.errors + counts.skipped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(text: &str) -> Result<[u64; 5], String> {
        let counts = read(text.as_bytes())?;
        Ok([counts.passed, counts.failed, counts.errors, counts.skipped, counts.flaky])
    }

    #[test]
    fn cases_are_counted_in_every_flavour() {
        for (text, expected) in [
            // Jenkins, pytest, mocha, nextest.
            (
                r#"<?xml version="1.0"?><testsuites tests="2"><testsuite name="a" tests="2" failures="0"><testcase name="x"/><testcase name="y"><system-out>&lt;failure/></system-out></testcase></testsuite></testsuites>"#,
                [2, 0, 0, 0, 0],
            ),
            // Ant and Maven, with one suite as the root.
            (
                r#"<testsuite tests="4"><properties/><testcase name="a"><failure message="m">t</failure></testcase><testcase name="b"><error/></testcase><testcase name="c"><skipped/></testcase><testcase name="d"/></testsuite>"#,
                [1, 1, 1, 1, 0],
            ),
            (
                r#"<testsuite><testcase name="a"><flakyFailure/></testcase><testcase name="b"><failure/><rerunFailure/></testcase></testsuite>"#,
                [1, 1, 0, 0, 1],
            ),
            // Surefire, as its schema 3.0.2 has it: the first failure by its own name, the others as reruns.
            (
                r#"<testsuite xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" version="3.0.2" name="OrdersTest" time="0.4" tests="4" errors="1" skipped="0" failures="1" flakes="2"><properties/>
                <testcase name="a" classname="OrdersTest" time="0.1"><flakyFailure message="m" type="t"><stackTrace>s</stackTrace><system-out>o</system-out></flakyFailure></testcase>
                <testcase name="b" classname="OrdersTest" time="0.1"><flakyError message="m" type="t"><stackTrace>s</stackTrace></flakyError><flakyFailure type="t"/></testcase>
                <testcase name="c" classname="OrdersTest" time="0.1"><failure message="m" type="t">s</failure><rerunFailure message="m" type="t"><stackTrace>s</stackTrace></rerunFailure></testcase>
                <testcase name="d" classname="OrdersTest" time="0.1"><error type="t"/><rerunError type="t"/></testcase></testsuite>"#,
                [2, 1, 1, 0, 2],
            ),
            // It was repeated, and nothing says that it passed.
            (
                r#"<testsuite><testcase name="a"><rerunFailure/></testcase><testcase name="b"><flakyFailure/><rerunError/></testcase></testsuite>"#,
                [0, 1, 1, 0, 0],
            ),
            (r#"<testsuite><testcase name="a" status="notrun"/></testsuite>"#, [0, 0, 0, 1, 0]),
            (
                r#"<testsuites><testsuite tests="1"><testsuite tests="1"><testcase/></testsuite></testsuite></testsuites>"#,
                [1, 0, 0, 0, 0],
            ),
            // Quoted output is not a result.
            (
                r#"<testsuite><testcase name="a"><system-out><failure/></system-out></testcase></testsuite>"#,
                [1, 0, 0, 0, 0],
            ),
            ("<testsuites/>", [0; 5]),
            (r#"<testsuites tests="0"></testsuites>"#, [0; 5]),
        ] {
            assert_eq!(counted(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_cut_or_hostile_is_refused() {
        let deep = format!("<testsuites>{}", "<testsuite>".repeat(100));
        for (text, part) in [
            (r#"<testsuite tests="3"><testcase/><testcase/></testsuite>"#, "declares 3"),
            (r#"<testsuite tests="3"/>"#, "has none"),
            (r#"<testsuite tests="x"/>"#, "no number"),
            ("<testsuite><testcase/>", "in the middle"),
            ("<testsuite><testcase></testsuite>", "testcase"),
            ("<html/>", "no JUnit"),
            ("", "no JUnit"),
            ("tests passed", "no JUnit"),
            (r#"<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><testsuite/>"#, "document type"),
            (deep.as_str(), "deeper"),
        ] {
            let got = counted(text);
            assert!(got.as_ref().is_err_and(|why| why.contains(part)), "{text}: {got:?}");
        }
    }
}
