//! JUnit XML in the older form of Ant, which some servers validate strictly (the schema of Windy Road): no attributes on
//! the root, whole seconds without a zone, a host and a package, and output beside the cases instead of in them.

use super::junit::{Kind, kind};
use crate::record::{GateRecord, RunRecord};
use std::fmt::Write as _;

/// The run as JUnit XML of Ant's form.
pub(super) fn ant(record: &RunRecord) -> String {
    let mut text = String::new();
    write(record, &mut text).expect("writing to a string cannot fail");
    text
}

fn write(record: &RunRecord, out: &mut String) -> std::fmt::Result {
    let count = |wanted: Kind| record.gates.iter().filter(|gate| kind(gate).0 == wanted).count();
    let time = record.duration_seconds().unwrap_or(0.0);
    let name = token(&record.plan.name);
    writeln!(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>")?;
    writeln!(
        out,
        "  <testsuite package=\"{name}\" id=\"0\" name=\"{name}\" timestamp=\"{}\" hostname=\"localhost\" tests=\"{}\" failures=\"{}\" errors=\"{}\" time=\"{time:.3}\">",
        record.started_at.strftime("%Y-%m-%dT%H:%M:%S"),
        record.gates.len(),
        count(Kind::Failure),
        count(Kind::Error),
    )?;
    writeln!(out, "    <properties>")?;
    for (name, value) in [
        ("verdict", record.verdict.to_string()),
        ("run_id", record.run_id.clone()),
        ("trace_id", record.trace_id.clone().unwrap_or_default()),
    ] {
        writeln!(out, "      <property name=\"{name}\" value=\"{}\"/>", escape(&value))?;
    }
    writeln!(out, "    </properties>")?;
    record.gates.iter().try_for_each(|gate| case(record, gate, out))?;
    writeln!(out, "    <system-out>{}</system-out>\n    <system-err/>", escape(&output(record)))?;
    writeln!(out, "  </testsuite>\n</testsuites>")
}

fn case(record: &RunRecord, gate: &GateRecord, out: &mut String) -> std::fmt::Result {
    let class = token(&format!("{}.{}", record.plan.name, gate.kind));
    let (kind, type_name, message) = kind(gate);
    let time = gate.duration_seconds.unwrap_or(0.0);
    write!(out, "    <testcase name=\"{}\" classname=\"{class}\" time=\"{time:.3}\"", token(&gate.id))?;
    let element = match kind {
        Kind::Success => return writeln!(out, "/>"),
        Kind::Failure => "failure",
        Kind::Error => "error",
    };
    let (type_name, message) = (escape(&type_name), escape(&message));
    writeln!(out, ">\n      <{element} type=\"{type_name}\" message=\"{message}\"/>\n    </testcase>")
}

fn output(record: &RunRecord) -> String {
    let mut text = String::new();
    for gate in &record.gates {
        if let Some(log) = &gate.log {
            text.push_str(&format!("[{}: full log: {}, sha256 {}]\n", gate.id, log.path, log.sha256));
        }
        text.push_str(gate.output.as_deref().unwrap_or(""));
    }
    text
}

/// A text of the schema's type `token`: at least one character, no line ends, no double blanks.
fn token(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    escape(&if words.is_empty() { "-".to_owned() } else { words.join(" ") })
}

/// A text that is legal in XML 1.0, in content and in attributes. Terminal escapes go as a whole.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '\u{1b}' if characters.peek() == Some(&'[') => {
                characters.by_ref().skip(1).find(|c| ('@'..='~').contains(c));
            }
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'.. => safe.push(c),
            _ => {}
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn nothing_that_xml_forbids_is_left() {
        for (given, expected) in [
            ("a<b>&\"c", "a&lt;b&gt;&amp;&quot;c"),
            ("\u{1b}[1;31mred\u{1b}[0m", "red"),
            ("nul\0, bell\u{7}, \u{fffe}end", "nul, bell, end"),
            ("tab\tline\n", "tab\tline\n"),
            ("]]>", "]]&gt;"),
            ("\u{1b}[", ""),
        ] {
            assert_eq!(escape(given), expected);
        }
    }
}
