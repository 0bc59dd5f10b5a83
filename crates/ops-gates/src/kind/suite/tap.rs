//! The Test Anything Protocol, versions 12 to 14: one line a test, and a plan that says how many there are.

use super::Counts;

/// Counts the tests at the top level; subtests are summed up by the line of their parent.
pub(super) fn read(text: &str) -> Result<Counts, String> {
    let mut counts = Counts::default();
    let mut planned: Option<u64> = None;
    for line in text.lines() {
        if let Some(why) = line.strip_prefix("Bail out!") {
            return Err(format!("the suite bailed out:{why}"));
        }
        if let Some(plan) = plan(line) {
            if planned.replace(plan).is_some() {
                return Err("it has two plans".to_owned());
            }
            continue;
        }
        let (is_ok, rest) = match (words(line, "not ok"), words(line, "ok")) {
            (Some(rest), _) => (false, rest),
            (None, Some(rest)) => (true, rest),
            (None, None) => continue,
        };
        let directive =
            rest.rsplit_once('#').map(|(_, directive)| directive.trim().to_lowercase()).unwrap_or_default();
        if directive.starts_with("skip") {
            counts.skipped += 1;
        } else if directive.starts_with("todo") {
            // Expected not to work yet: it shows nothing, whichever way it ended.
            counts.skipped += 1;
        } else if is_ok {
            counts.passed += 1;
        } else {
            counts.failed += 1;
            counts.note(rest.trim());
        }
    }
    let seen = counts.passed + counts.failed + counts.skipped;
    match planned {
        None if seen == 0 => Err("it is no TAP".to_owned()),
        None => Err("it has no plan, so nobody knows whether it is whole".to_owned()),
        Some(planned) if planned != seen => Err(format!("{planned} tests were planned, and {seen} ran")),
        Some(_) => Ok(counts),
    }
}

fn words<'a>(line: &'a str, start: &str) -> Option<&'a str> {
    let rest = line.strip_prefix(start)?;
    (rest.is_empty() || rest.starts_with(' ')).then_some(rest)
}

fn plan(line: &str) -> Option<u64> {
    line.strip_prefix("1..")?.split([' ', '#']).next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_report_is_counted_and_no_other() {
        for (text, expected) in [
            ("1..2\nok 1 - a\nok 2\n", Ok([2, 0, 0])),
            ("TAP version 14\nok 1\nnot ok 2 - b\n  ---\n  message: x\n  ...\n1..2\n", Ok([1, 1, 0])),
            ("1..3\nok 1 # SKIP no db\nnot ok 2 # TODO later\nok 3\n", Ok([1, 0, 2])),
            ("1..1\n    ok 1 - sub\n    not ok 2 - sub\n    1..2\nok 1 - parent\n", Ok([1, 0, 0])),
            ("1..0 # SKIP nothing\n", Ok([0, 0, 0])),
            ("1..3\nok 1\nok 2\n", Err("3 tests were planned")),
            ("ok 1\nok 2\n", Err("no plan")),
            ("1..1\nBail out! no database\n", Err("bailed out")),
            ("okay\n", Err("no TAP")),
            ("", Err("no TAP")),
            ("1..1\nok 1\n1..1\n", Err("two plans")),
        ] {
            match (read(text).map(|it| [it.passed, it.failed, it.skipped]), expected) {
                (Ok(got), Ok(expected)) => assert_eq!(got, expected, "{text}"),
                (Err(got), Err(part)) => assert!(got.contains(part), "{text}: {got}"),
                (got, _) => panic!("{text}: {got:?}"),
            }
        }
    }
}
