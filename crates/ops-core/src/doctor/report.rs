//! What an examination gives: findings with their fixes, and what could not be judged.

use std::fmt::Write as _;

use serde::Serialize;

use super::checks::Check;

/// How bad a finding is; the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The role can get round the guard; an application should not use it.
    Refuse,
    /// It makes an accident likelier or worse.
    Warn,
}

/// Something that should not be as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The stable name of the check, in kebab case.
    pub id: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What was found, in a few words.
    pub title: &'static str,
    /// One sentence: why it matters.
    pub why: &'static str,
    /// The objects concerned, as SQL writes their names.
    pub objects: Vec<String>,
    /// Statements for a superuser, in order, without their semicolons; one that begins with `--` is for a person to decide.
    pub fix: Vec<String>,
}

/// A check that gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unjudged {
    /// The stable name of the check.
    pub id: &'static str,
    /// What would have been looked for.
    pub title: &'static str,
    /// Whether the check could have refused the role: then the role is not known to be safe.
    pub essential: bool,
    /// Why there is no answer.
    pub reason: String,
}

/// The result of one examination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The role that was examined.
    pub role: String,
    /// The database.
    pub database: String,
    /// The server's version as a number: 150004, 180001.
    pub server_version: i32,
    /// What was found, the worst first.
    pub findings: Vec<Finding>,
    /// What could not be judged.
    pub unjudged: Vec<Unjudged>,
}

impl Finding {
    pub(super) fn new(check: &Check) -> Self {
        Self {
            id: check.id,
            severity: check.severity,
            title: check.title,
            why: check.why,
            objects: Vec::new(),
            fix: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, object: Option<String>, fix: Vec<String>) {
        self.objects.extend(object);
        for statement in fix {
            if !self.fix.contains(&statement) {
                self.fix.push(statement);
            }
        }
    }

    /// Tells whether its script leaves something for a person to decide.
    pub fn needs_a_person(&self) -> bool {
        self.fix.iter().any(|statement| statement.starts_with("--"))
    }
}

impl Unjudged {
    pub(super) fn new(check: &Check, reason: String) -> Self {
        Self { id: check.id, title: check.title, essential: check.severity == Severity::Refuse, reason }
    }
}

impl Report {
    /// Tells whether an application should not use the role.
    pub fn refuses(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Refuse)
    }

    /// Tells whether something that could refuse the role was not judged.
    pub fn is_incomplete(&self) -> bool {
        self.unjudged.iter().any(|unjudged| unjudged.essential)
    }

    /// Returns the SQL that ends every finding, for a superuser to run with `psql` in the database that was examined.
    ///
    /// It may run again without harm. It must not run in one transaction: some of its statements refuse that.
    pub fn script(&self) -> String {
        let mut script = format!(
            "-- Makes the role {} safe in the database {}.\n\
             -- Run it as a superuser in that database: psql -X -v ON_ERROR_STOP=1 -f FILE\n",
            one_line(&self.role),
            one_line(&self.database)
        );
        let mut known: Vec<&str> = Vec::new();
        for finding in &self.findings {
            let _ = write!(script, "\n-- {} ({})\n", finding.title, finding.id);
            for statement in &finding.fix {
                if known.contains(&statement.as_str()) {
                    continue;
                }
                known.push(statement);
                let end = if statement.starts_with("--") { "\n" } else { ";\n" };
                script.push_str(statement);
                script.push_str(end);
            }
        }
        script
    }
}

/// A name in a comment must not end the comment.
fn one_line(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(fix: &[&str]) -> Finding {
        Finding {
            id: "superuser",
            severity: Severity::Refuse,
            title: "the role is a superuser",
            why: "",
            objects: Vec::new(),
            fix: fix.iter().map(|&statement| statement.to_owned()).collect(),
        }
    }

    #[test]
    fn a_script_says_everything_once() {
        let report = Report {
            role: "app\nDROP TABLE t; --".to_owned(),
            database: "shop".to_owned(),
            server_version: 150_000,
            findings: vec![finding(&["A", "-- b"]), finding(&["A", "C"])],
            unjudged: Vec::new(),
        };
        let script = report.script();
        let lines: Vec<&str> = script.lines().filter(|line| !line.is_empty()).collect();
        assert_eq!(
            lines,
            [
                "-- Makes the role app DROP TABLE t; -- safe in the database shop.",
                "-- Run it as a superuser in that database: psql -X -v ON_ERROR_STOP=1 -f FILE",
                "-- the role is a superuser (superuser)",
                "A;",
                "-- b",
                "-- the role is a superuser (superuser)",
                "C;",
            ]
        );
        assert!(
            report.refuses() && report.findings[0].needs_a_person() && !report.findings[1].needs_a_person()
        );
    }
}
