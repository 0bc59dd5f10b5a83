//! `.env` files, read strictly: no expansion, no shell, no line that two tools would read differently.
//!
//! A line is blank, a comment that begins with `#`, or `NAME=value`, with `export ` before it where a shell reads it too.
//! The value is bare, or in single quotes and taken as it is, or in double quotes with `\n`, `\r`, `\t`, `\"` and `\\`.
//! What other readers expand, cut or guess at, a `$`, a `#` after a space, an open quote, a name given twice, is refused with
//! its line, and nothing of the line is shown.

use std::collections::BTreeMap;

/// One assignment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Assignment {
    pub(crate) name: String,
    pub(crate) value: String,
    pub(crate) line: usize,
    /// The value stands in quotes: an empty one is meant.
    pub(crate) quoted: bool,
}

/// What is wrong with a line; the line itself is not told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadLine {
    pub(crate) line: usize,
    pub(crate) why: &'static str,
}

/// Reads all assignments, and all lines that cannot be read.
pub(crate) fn parse(text: &str) -> (Vec<Assignment>, Vec<BadLine>) {
    let (mut found, mut bad): (Vec<Assignment>, _) = (Vec::new(), Vec::new());
    let mut seen = BTreeMap::new();
    for (index, line) in text.split('\n').enumerate() {
        let number = index + 1;
        let line = line.strip_suffix('\r').unwrap_or(line);
        match assignment(line, number) {
            Ok(None) => {}
            Ok(Some(assignment)) => {
                if seen.insert(assignment.name.clone(), number).is_some() {
                    bad.push(BadLine { line: number, why: "the name was given before" });
                }
                found.push(assignment);
            }
            Err(why) => bad.push(BadLine { line: number, why }),
        }
    }
    (found, bad)
}

fn assignment(line: &str, number: usize) -> Result<Option<Assignment>, &'static str> {
    if line.contains('\u{feff}') {
        return Err("it has a byte-order mark");
    }
    if line.contains(|c: char| c.is_control() && c != '\t') {
        return Err("it has a control character");
    }
    if line.trim().is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let rest = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = rest.split_once('=').ok_or("it is no `NAME=value`")?;
    let mut letters = name.bytes();
    let begins = letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_');
    if !begins || !letters.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Err("what stands before `=` is no name: letters, digits and `_`, without spaces");
    }
    let (value, quoted) = match value.as_bytes().first() {
        Some(b'\'') => (single(value)?, true),
        Some(b'"') => (double(value)?, true),
        _ => (bare(value)?, false),
    };
    Ok(Some(Assignment { name: name.to_owned(), value, line: number, quoted }))
}

fn single(value: &str) -> Result<String, &'static str> {
    let inner = &value[1..];
    let end = inner.find('\'').ok_or("a quote is not closed on its line")?;
    if end + 1 < inner.len() {
        Err("something follows the closing quote")
    } else {
        Ok(inner[..end].to_owned())
    }
}

fn double(value: &str) -> Result<String, &'static str> {
    let mut out = String::new();
    let mut letters = value[1..].chars();
    while let Some(c) = letters.next() {
        match c {
            '"' if letters.as_str().is_empty() => return Ok(out),
            '"' => return Err("something follows the closing quote"),
            '\\' => out.push(match letters.next() {
                Some('n') => '\n',
                Some('r') => '\r',
                Some('t') => '\t',
                Some(c @ ('"' | '\\')) => c,
                _ => return Err("a backslash stands before something else than `n`, `r`, `t`, `\"` or `\\`"),
            }),
            '$' | '`' => return Err("other tools expand `$` and backticks; use single quotes"),
            c => out.push(c),
        }
    }
    Err("a quote is not closed on its line")
}

fn bare(value: &str) -> Result<String, &'static str> {
    if value.contains(char::is_whitespace) {
        return Err("an unquoted value has a space in it or around it; use single quotes");
    }
    if value.contains(['$', '`']) {
        return Err("other tools expand `$` and backticks; use single quotes");
    }
    if value.contains(['\'', '"', '\\']) {
        return Err("an unquoted value has a quote or a backslash in it; use single quotes");
    }
    if value.starts_with('#') {
        return Err("an unquoted value begins with `#`; use single quotes");
    }
    Ok(value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_taken_as_they_are_written() {
        for (line, expected) in [
            ("A=hunter2", Some("hunter2")),
            ("export A=hunter2", Some("hunter2")),
            ("A=hunter2\r", Some("hunter2")),
            ("A=", Some("")),
            ("A=''", Some("")),
            ("A=a#b=c", Some("a#b=c")),
            ("A='hun$ter2 #2 \"x\" \\n `y`'", Some("hun$ter2 #2 \"x\" \\n `y`")),
            (r#"A="a \"b\" \\ c\nd # 'e'""#, Some("a \"b\" \\ c\nd # 'e'")),
            ("A=pässwörd€", Some("pässwörd€")),
            ("# A=x", None),
            ("", None),
            ("  \t", None),
        ] {
            let (found, bad) = parse(line);
            assert_eq!(bad, [], "{line}");
            assert_eq!(found.first().map(|one| one.value.as_str()), expected, "{line}");
        }
    }

    #[test]
    fn what_tools_read_differently_is_refused_with_its_line() {
        for line in [
            "A=hun$ter2",
            "A=\"hun$ter2\"",
            "A=\"hun\\$ter2\"",
            "A=`id`",
            "A=hunter #2",
            "A=hunter 2",
            "A= hunter2",
            "A=hunter2 ",
            "A =hunter2",
            " A=hunter2",
            "A: hunter2",
            "A",
            "=hunter2",
            "1A=hunter2",
            "A-B=hunter2",
            "A.B=hunter2",
            "export  A=hunter2",
            "A='hunter2",
            "A=\"hunter2",
            "A='hun'ter2'",
            "A=\"hunter2\" # comment",
            "A='hunter2' ",
            "A=hun'ter2",
            "A=hun\"ter2",
            "A=hun\\ter2",
            "A=\"hun\\ter2\\",
            "A=\"hun\\qter2\"",
            "A=#hunter2",
            "A=hun\u{0}ter2",
            "A=hun\rter2",
            "\u{feff}A=hunter2",
            "A=hunter2\nA=hunter3",
        ] {
            let (_, bad) = parse(&format!("B=1\n{line}\nC=2"));
            assert_eq!(bad.len(), 1, "{line:?}");
            assert_eq!(bad[0].line, 2 + line.matches('\n').count(), "{line:?}");
            assert!(!bad[0].why.contains("hun") && !bad[0].why.contains("ter2"), "{}", bad[0].why);
        }
    }

    #[test]
    fn every_bad_line_is_told() {
        let (found, bad) = parse("A\nB=1\nC='x\nD=2\n");
        assert_eq!(bad.iter().map(|bad| bad.line).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(found.iter().map(|one| one.line).collect::<Vec<_>>(), [2, 4]);
    }
}
