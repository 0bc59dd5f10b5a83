//! `kind = "attestation"`: signed in-toto statements about exactly what is released: a VSA, an SVR, a test result,
//! a provenance.
//!
//! Statements are matched by digest only, as in-toto demands; names of subjects prove nothing. Every matching
//! statement must hold, so that nobody can pick the one that suits; with `time` the newest decides instead.

use super::super::chain;
use super::records::{CLOCK_SKEW, envelope, files, finding_of};
use crate::gate::{Context, Facts, Gate, Wrong};
use crate::outcome::{Fault, Finding};
use crate::value::{Span, Text};
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use ops_core::evidence::{Envelope, STATEMENT_TYPE, VerifyingKey};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Predicates whose meaning is known: what must hold in them whatever the plan asks for.
const ALWAYS: [(&str, &str, &str); 2] = [
    ("https://slsa.dev/verification_summary/", "/verificationResult", "PASSED"),
    ("https://in-toto.io/attestation/test-result/", "/result", "PASSED"),
];

/// Predicates that list only what passed, so that nothing is shown unless an entry is asked for.
const LISTS: [&str; 1] = ["https://in-toto.io/attestation/svr/"];

/// In-toto statements in DSSE envelopes, signed with ed25519.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Attestation {
    /// The envelopes, a file or a pattern.
    pub path: Text,
    /// The public keys that may have signed.
    pub keys: Vec<Text>,
    /// How many of the keys must have signed; at least one.
    #[serde(default = "one")]
    pub min_signatures: usize,
    /// The type of the predicate, in full.
    pub predicate_type: String,
    /// The digest that the statement must be about, as `sha256:…`; the subject of the plan where it is absent.
    pub digest: Option<Text>,
    /// Fields of the predicate, as JSON pointers such as `/verifier/id`, and the text that each must be.
    #[serde(default)]
    pub fields: BTreeMap<String, Text>,
    /// Lists in the predicate, as JSON pointers such as `/properties`, and what each must hold.
    #[serde(default)]
    pub contains: BTreeMap<String, Vec<Text>>,
    /// The field of the predicate that says when it was made, such as `/timeVerified`.
    pub time: Option<String>,
    /// How long ago that may be; needs `time`.
    pub max_age: Option<Span>,
}

fn one() -> usize {
    1
}

/// A statement, as far as it is read.
#[derive(Deserialize)]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<StatementSubject>,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    predicate: Value,
}

#[derive(Deserialize)]
struct StatementSubject {
    #[serde(default)]
    digest: BTreeMap<String, String>,
}

/// What is asked for, with every reference replaced.
struct Wanted {
    pattern: PathBuf,
    place: String,
    keys: Vec<PathBuf>,
    min_signatures: usize,
    predicate_type: String,
    digests: BTreeMap<String, String>,
    fields: Vec<(String, String)>,
    contains: Vec<(String, String)>,
    time: Option<String>,
    max_age: Option<Span>,
    now: Timestamp,
}

impl Gate for Attestation {
    fn wrong(&self, facts: &Facts) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        if self.keys.is_empty() {
            wrong.push(Wrong::gate("`keys` is empty, so that nobody could have signed"));
        }
        if self.min_signatures == 0 || self.min_signatures > self.keys.len().max(1) {
            wrong
                .push(Wrong::gate("`min_signatures` must be at least one, and at most the number of `keys`"));
        }
        if self.digest.is_none() && !facts.has_subject {
            let message = "an attestation is about a digest: give `digest`, or the plan a `[subject]`";
            wrong.push(Wrong::gate(message));
        }
        if self.max_age.is_some() != self.time.is_some() {
            wrong.push(Wrong::gate("`time` and `max_age` belong together"));
        }
        let pointers = self.fields.keys().chain(self.contains.keys()).chain(&self.time);
        for pointer in pointers.filter(|pointer| !pointer.starts_with('/')) {
            wrong.push(Wrong::gate(format!("`{pointer}` is not a JSON pointer such as `/verifier/id`")));
        }
        let named = |starts: &str| self.predicate_type.starts_with(starts);
        let asks = !self.fields.is_empty() || self.contains.values().any(|list| !list.is_empty());
        if LISTS.into_iter().any(named) && !asks {
            let message =
                "this predicate lists only what passed, so that `contains` must name what has to be there";
            wrong.push(Wrong::gate(message));
        } else if !asks && !ALWAYS.iter().any(|(starts, ..)| named(starts)) {
            let message =
                "give `fields` or `contains`: that a statement exists says nothing about what it states";
            wrong.push(Wrong::gate(message));
        }
        wrong
    }

    fn summary(&self) -> String {
        format!("{} signed, at {}", self.predicate_type, self.path)
    }

    fn check<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Finding> {
        Box::pin(async {
            match self.wanted(context) {
                Ok(wanted) => finding_of(move || search(&wanted)).await,
                Err(finding) => finding,
            }
        })
    }
}

impl Attestation {
    fn wanted(&self, context: &Context<'_>) -> Result<Wanted, Finding> {
        let digests = match (&self.digest, context.subject()) {
            (Some(text), _) => {
                let resolved = context.resolve(text)?;
                let (algorithm, hex) = crate::value::digest(&resolved).ok_or_else(|| {
                    Finding::error(
                        Fault::Unresolved,
                        "digest",
                        format!("{text} is not a digest such as `sha256:…`"),
                    )
                })?;
                [(algorithm.to_owned(), hex.to_owned())].into()
            }
            (None, Some(subject)) => subject.digest.clone(),
            (None, None) => {
                return Err(Finding::error(Fault::Unresolved, "digest", "the plan has no subject"));
            }
        };
        let always = ALWAYS.iter().filter(|(starts, pointer, _)| {
            self.predicate_type.starts_with(starts) && !self.fields.contains_key(*pointer)
        });
        let mut fields: Vec<(String, String)> =
            always.map(|(_, pointer, value)| ((*pointer).to_owned(), (*value).to_owned())).collect();
        for (pointer, text) in &self.fields {
            fields.push((pointer.clone(), context.resolve(text)?));
        }
        let mut contains = Vec::new();
        for (pointer, texts) in &self.contains {
            for text in texts {
                contains.push((pointer.clone(), context.resolve(text)?));
            }
        }
        Ok(Wanted {
            pattern: context.path(&self.path)?,
            place: self.path.to_string(),
            keys: self.keys.iter().map(|key| context.path(key)).collect::<Result<_, _>>()?,
            min_signatures: self.min_signatures,
            predicate_type: self.predicate_type.clone(),
            digests,
            fields,
            contains,
            time: self.time.clone(),
            max_age: self.max_age,
            now: context.now(),
        })
    }
}

fn search(wanted: &Wanted) -> Result<Finding, Finding> {
    let unresolved = |code, error: String| Finding::error(Fault::Unresolved, code, error);
    let keys: Result<Vec<VerifyingKey>, _> =
        wanted.keys.iter().map(|key| VerifyingKey::from_file(key)).collect();
    let mut keys = keys.map_err(|error| unresolved("key", chain(&error)))?;
    // A key that is listed twice would sign twice.
    keys.sort_by_key(VerifyingKey::id);
    keys.dedup();
    let files = files(&wanted.pattern).map_err(|error| unresolved("path", error))?;
    let place = &wanted.place;
    if files.is_empty() {
        return Err(Finding::fail("attestation-missing", format!("no attestation found at {place}")));
    }
    let count = files.len();
    let mut problem = None;
    let mut verified = Vec::new();
    for file in files {
        // One that cannot be read could be the one that does not hold.
        let envelope = envelope(&file).map_err(|error| unresolved("file-unreadable", error))?;
        match envelope.and_then(|envelope| read(&envelope, &keys, wanted.min_signatures)) {
            Ok(statement) => verified.push(statement),
            Err(error) => problem = Some(format!("{}: {error}", file.display())),
        }
    }
    if let Some(problem) = problem.filter(|_| verified.is_empty()) {
        let reason = format!("none of {count} at {place} verifies; {problem}");
        return Err(Finding::fail("attestation-unverified", reason));
    }
    let known = verified.len();
    let is_about = |statement: &Statement| {
        let ours = |subject: &StatementSubject| {
            wanted.digests.iter().any(|(algorithm, hex)| subject.digest.get(algorithm) == Some(hex))
        };
        statement.predicate_type == wanted.predicate_type && statement.subject.iter().any(ours)
    };
    let mut matching: Vec<Statement> = verified.into_iter().filter(is_about).collect();
    if matching.is_empty() {
        let reason = format!(
            "none of {known} verified statements at {place} is a {} about this digest",
            wanted.predicate_type
        );
        return Err(Finding::fail("attestation-unrelated", reason));
    }
    if let Some(pointer) = &wanted.time {
        matching = vec![newest(matching, pointer, wanted)?];
    }
    for statement in &matching {
        holds(&statement.predicate, wanted)?;
    }
    let statements =
        if matching.len() == 1 { "a statement".to_owned() } else { format!("{} statements", matching.len()) };
    Ok(Finding::pass(format!("{statements} of type {} about this digest", wanted.predicate_type)))
}

/// Reads a statement that enough of the keys signed.
fn read(envelope: &Envelope, keys: &[VerifyingKey], min_signatures: usize) -> Result<Statement, String> {
    let payload = envelope.verified_statement(keys).map_err(|error| chain(&error))?;
    let signed = |key: &&VerifyingKey| envelope.verified_statement(std::slice::from_ref(*key)).is_ok();
    let signatures = keys.iter().filter(signed).count();
    if signatures < min_signatures {
        return Err(format!("{signatures} of the keys signed, and {min_signatures} must have"));
    }
    let statement: Statement = serde_json::from_slice(&payload).map_err(|error| error.to_string())?;
    if statement.kind != STATEMENT_TYPE {
        return Err(format!("the statement has the type {:?}", statement.kind));
    }
    Ok(statement)
}

/// The statement that was made last, which must not be too old.
fn newest(statements: Vec<Statement>, pointer: &str, wanted: &Wanted) -> Result<Statement, Finding> {
    let mut timed = Vec::new();
    for statement in statements {
        let text = statement.predicate.pointer(pointer).and_then(Value::as_str);
        let time: Option<Timestamp> = text.and_then(|text| text.parse().ok());
        let time = time.ok_or_else(|| {
            Finding::fail("attestation-without-time", format!("a statement has no time in `{pointer}`"))
        })?;
        timed.push((time, statement));
    }
    let newest = timed.into_iter().max_by_key(|(time, _)| *time);
    let (time, statement) =
        newest.ok_or_else(|| Finding::fail("attestation-missing", "no statement is left"))?;
    let age = wanted.now.duration_since(time);
    if age.is_negative() && age.unsigned_abs() > CLOCK_SKEW {
        let reason = format!("the statement of {time} is in the future; one of the clocks is wrong");
        return Err(Finding::error(Fault::Unresolved, "attestation-from-the-future", reason));
    }
    if let Some(max_age) = wanted.max_age.filter(|max| !age.is_negative() && age.unsigned_abs() > max.get()) {
        let reason = format!("the newest statement, of {time}, is older than {max_age}");
        return Err(Finding::fail("attestation-too-old", reason));
    }
    Ok(statement)
}

/// Whether a predicate states what is asked for; what is absent does not.
fn holds(predicate: &Value, wanted: &Wanted) -> Result<(), Finding> {
    for (pointer, text) in &wanted.fields {
        let found = predicate.pointer(pointer).map(|value| match value {
            Value::String(found) => found.clone(),
            other => other.to_string(),
        });
        if found.as_ref() != Some(text) {
            let found = found.map_or_else(|| "absent".to_owned(), |found| format!("{found:?}"));
            let reason = format!("`{pointer}` of the statement is {found}, expected {text:?}");
            return Err(Finding::fail("attestation-field", reason));
        }
    }
    for (pointer, text) in &wanted.contains {
        let list = predicate.pointer(pointer).and_then(Value::as_array);
        if !list.is_some_and(|list| list.iter().any(|value| value.as_str() == Some(text))) {
            let reason = format!("`{pointer}` of the statement does not hold {text:?}");
            return Err(Finding::fail("attestation-property", reason));
        }
    }
    Ok(())
}
