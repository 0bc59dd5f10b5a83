//! Whether an audit chain is whole.

use std::io::{BufRead, Read};

use super::chain::{Link, claim};
use crate::error::{Error, ErrorKind};
use crate::line::MAX_LINE_LEN;

/// A chain that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// How many audit lines there are.
    pub lines: u64,
    /// How many lines there are that belong to no chain: other logs, or a line that a crash has torn.
    pub others: u64,
    /// What the chain begins after. A start with `seq` 0 is a whole chain; anything else is the rest of one, whose
    /// earlier files are elsewhere.
    pub start: Link,
    /// Where the chain ends; hand it to the check of the next file.
    pub end: Link,
}

/// Checks the audit lines that `reader` has: each follows the one before it. Lines of other streams are skipped.
///
/// With `after`, the end of an earlier file, the chain must go on exactly there; turned-over files are checked from the
/// oldest to the newest.
///
/// # Errors
/// [`ErrorKind::AuditBroken`] with the number of the line that does not follow, [`ErrorKind::AuditUnavailable`] where
/// `reader` fails.
pub fn verify(mut reader: impl BufRead, after: Option<&Link>) -> Result<Verified, Error> {
    let mut report: Option<Verified> = None;
    let (mut others, mut number) = (0, 0_u64);
    let mut line = Vec::new();
    loop {
        number += 1;
        line.clear();
        let limit = 2 * MAX_LINE_LEN as u64;
        let read = reader.by_ref().take(limit).read_until(b'\n', &mut line);
        if read.map_err(|error| unreadable(number, &error))? == 0 {
            break;
        }
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        let Some(claim) = claim(text) else {
            others += 1;
            continue;
        };
        let claimed_start = || Link { seq: claim.seq.saturating_sub(1), hash: claim.prev.clone() };
        let before = match (&report, after) {
            (Some(report), _) => report.end.clone(),
            (None, Some(after)) => after.clone(),
            (None, None) if claim.seq == 1 => Link::start(),
            (None, None) => claimed_start(),
        };
        if claim.seq != before.seq + 1 {
            return Err(broken(number, &format!("its number is {}, expected {}", claim.seq, before.seq + 1)));
        }
        if claim.prev != before.hash {
            return Err(broken(number, "the line before it is not the one that it was written after"));
        }
        let end = before.follow(text);
        let start = report.as_ref().map_or(before, |report| report.start.clone());
        let lines = report.map_or(0, |report| report.lines) + 1;
        report = Some(Verified { lines, others: 0, start, end });
    }
    let nothing = || {
        let end = after.cloned().unwrap_or_else(Link::start);
        Verified { lines: 0, others: 0, start: end.clone(), end }
    };
    Ok(Verified { others, ..report.unwrap_or_else(nothing) })
}

fn broken(number: u64, what: &str) -> Error {
    Error::new(ErrorKind::AuditBroken, format!("audit chain is broken at line {number}: {what}"))
}

fn unreadable(number: u64, error: &std::io::Error) -> Error {
    Error::new(ErrorKind::AuditUnavailable, format!("cannot read audit line {number}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(count: u64) -> Vec<String> {
        let mut link = Link::start();
        (0..count)
            .map(|n| {
                let line = format!("{{\"n\":{n}{}}}", link.next_members());
                link = link.follow(line.as_bytes());
                line
            })
            .collect()
    }

    fn check(lines: &[String]) -> Result<Verified, Error> {
        verify(lines.join("\n").as_bytes(), None)
    }

    #[test]
    fn a_whole_chain_is_whole_in_parts_too() {
        let lines = chain(5);
        let all = check(&lines).expect("whole");
        assert_eq!((all.lines, all.start.seq, all.end.seq), (5, 0, 5));
        let first = check(&lines[..2]).expect("whole");
        let rest = verify(lines[2..].join("\n").as_bytes(), Some(&first.end)).expect("goes on");
        assert_eq!((rest.lines, &rest.start, &rest.end), (3, &first.end, &all.end));
        assert_eq!(check(&lines[2..]).expect("the rest").start.seq, 2);
        assert_eq!(check(&[]).expect("nothing").lines, 0);
    }

    #[test]
    fn every_change_is_found() {
        let lines = chain(6);
        for index in 0..5 {
            let mut changed = lines.clone();
            changed[index] = changed[index].replace("\"n\":", "\"n\":1");
            let error = check(&changed).expect_err("changed");
            assert_eq!(error.kind(), ErrorKind::AuditBroken);
            assert!(error.to_string().contains(&format!("line {}", index + 2)), "{error}");
            if index > 0 {
                let mut removed = lines.clone();
                removed.remove(index);
                check(&removed).expect_err("removed");
            }
            let mut doubled = lines.clone();
            doubled.insert(index, lines[index].clone());
            check(&doubled).expect_err("doubled");
            let mut swapped = lines.clone();
            swapped.swap(index, index + 1);
            check(&swapped).expect_err("swapped");
        }
        let first = check(&lines[..2]).expect("whole");
        verify(lines[3..].join("\n").as_bytes(), Some(&first.end))
            .expect_err("one is missing between the files");
    }

    #[test]
    fn lines_of_others_are_counted_and_skipped() {
        let mut lines = chain(2);
        lines.insert(1, "{\"level\":\"INFO\"}".into());
        lines.insert(1, lines[0][..20].to_owned());
        let report = check(&lines).expect("whole");
        assert_eq!((report.lines, report.others), (2, 2));
    }
}
