//! From TOML to a sound [`Plan`], collecting every problem with its place instead of stopping at the first.

use super::{DEFAULT_TIMEOUT, Plan, PlannedGate, ReadOptions, graph};
use crate::error::{Error, Problem};
use crate::gate::{Facts, Objectives, Subject};
use crate::value::{
    Reference, Seen, Span, Text, Variables, digest, is_hex, is_variable_name, names_in, nearest, seeing,
};
use secrecy::SecretString;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::PathBuf;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

/// The keys that every gate has; the others belong to its kind.
const COMMON: [&str; 5] = ["id", "kind", "required", "needs", "timeout"];

const SCHEMA: &str = "ops-gates/plan/v1";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Top {
    #[serde(default)]
    schema: Option<Spanned<String>>,
    name: Spanned<String>,
    #[serde(default)]
    subject: Option<Spanned<RawSubject>>,
    #[serde(default)]
    objectives: Objectives,
    #[serde(default)]
    secrets: BTreeMap<String, Spanned<RawSecret>>,
    /// Read one by one afterwards, each by its kind.
    #[serde(default, rename = "gate")]
    _gate: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSubject {
    name: Text,
    digest: Option<Text>,
    commit: Option<Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Common {
    id: Spanned<String>,
    kind: Spanned<String>,
    #[serde(default = "yes")]
    required: bool,
    #[serde(default)]
    needs: Vec<Spanned<String>>,
    timeout: Option<Span>,
}

/// Where the value of a secret comes from.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSecret {
    env: Option<String>,
    file: Option<PathBuf>,
}

fn yes() -> bool {
    true
}

/// The problems found so far, with their places.
struct Reader<'a> {
    toml: &'a str,
    variable: &'a dyn Fn(&str) -> Option<String>,
    options: &'a ReadOptions,
    problems: Vec<(Range<usize>, String, Option<String>)>,
}

/// A gate, and where its parts stand.
struct Placed {
    gate: PlannedGate,
    seen: Seen,
    span: Range<usize>,
    id: Range<usize>,
    needs: Vec<Range<usize>>,
}

pub(super) fn plan(
    toml: &str,
    origin: &str,
    variable: &dyn Fn(&str) -> Option<String>,
    options: &ReadOptions,
) -> Result<Plan, Error> {
    let mut reader = Reader { toml, variable, options, problems: Vec::new() };
    let plan = reader.plan(origin);
    match plan {
        Some(plan) if reader.problems.is_empty() => Ok(plan),
        _ => Err(reader.into_error(origin)),
    }
}

impl Reader<'_> {
    fn plan(&mut self, origin: &str) -> Option<Plan> {
        let toml = self.toml;
        let mut table = DeTable::parse(toml).map_err(|error| self.toml_error(&error, &(0..0), &[])).ok()?;
        let gates = table.get_mut().remove("gate");
        let top = self.deserialize::<Top>(Spanned::new(0..0, DeValue::Table(table.into_inner())), &["gate"]);
        let placed = self.gates(gates);
        let top = top?;
        let facts = Facts { objectives: top.objectives.clone(), has_subject: top.subject.is_some() };
        self.objectives(&top.objectives);
        for Placed { gate, span, .. } in &placed {
            for wrong in gate.gate.wrong(&facts) {
                self.problem(wrong.span.unwrap_or_else(|| span.clone()), wrong.message, None);
            }
        }
        if let Some(schema) = top.schema.filter(|schema| schema.get_ref() != SCHEMA) {
            let message = format!("schema `{}` is not known", schema.get_ref());
            self.problem(schema.span(), message, Some(format!("this version reads `{SCHEMA}`")));
        }
        if top.name.get_ref().trim().is_empty() {
            self.problem(top.name.span(), "the plan's name is empty", None);
        }
        self.ids_and_needs(&placed);
        let variables = self.variables(&placed, top.subject.as_ref().map(Spanned::get_ref), &top.secrets);
        let subject = match top.subject.filter(|_| self.problems.is_empty()) {
            Some(raw) => Some(self.subject(&raw, &variables)?),
            None => None,
        };
        Some(Plan {
            name: top.name.into_inner(),
            origin: origin.to_owned(),
            directory: PathBuf::from("."),
            sha256: hex(&Sha256::digest(toml.as_bytes())),
            subject,
            objectives: top.objectives,
            gates: placed.into_iter().map(|placed| placed.gate).collect(),
            variables,
        })
    }

    fn gates(&mut self, gates: Option<Spanned<DeValue<'_>>>) -> Vec<Placed> {
        let problems_before = self.problems.len();
        let placed: Vec<Placed> = match gates.map(|gates| (gates.span(), gates.into_inner())) {
            None => Vec::new(),
            Some((_, DeValue::Array(gates))) => {
                gates.into_iter().filter_map(|gate| self.gate(gate)).collect()
            }
            Some((span, _)) => {
                self.problem(span, "`gate` is not an array of tables", Some("write `[[gate]]`".to_owned()));
                Vec::new()
            }
        };
        let whole = 0..0;
        if placed.is_empty() && self.problems.len() == problems_before {
            let hint = "add a `[[gate]]`; a plan that checks nothing would prove nothing".to_owned();
            self.problem(whole, "the plan has no gate", Some(hint));
        } else if !placed.is_empty() && placed.iter().all(|placed| !placed.gate.required) {
            let hint = "leave `required = false` out of at least one gate".to_owned();
            self.problem(
                whole,
                "the plan has no required gate, so nothing could block the release",
                Some(hint),
            );
        }
        placed
    }

    fn gate(&mut self, value: Spanned<DeValue<'_>>) -> Option<Placed> {
        let span = value.span();
        let DeValue::Table(table) = value.into_inner() else {
            self.problem(span, "a gate is not a table", Some("write `[[gate]]`".to_owned()));
            return None;
        };
        let (common, own): (DeTable<'_>, DeTable<'_>) =
            table.into_iter().partition(|(key, _)| COMMON.contains(&key.get_ref().as_ref()));
        let common: Common = self.deserialize(Spanned::new(span.clone(), DeValue::Table(common)), &[])?;
        let own = Spanned::new(span.clone(), DeValue::Table(own));
        let (read, seen) = seeing(|| self.options.kinds.read(common.kind.get_ref(), own));
        let (gate, keys) = match read {
            Some(Ok(read)) => read,
            Some(Err(error)) => {
                self.toml_error(&error, &span, &COMMON);
                return None;
            }
            None => {
                let known: Vec<&str> = self.options.kinds.names().collect();
                let hint = nearest(common.kind.get_ref(), known.iter().copied()).map_or_else(
                    || format!("known kinds: `{}`", known.join("`, `")),
                    |name| format!("did you mean `{name}`?"),
                );
                let message = format!("kind `{}` is not known", common.kind.get_ref());
                self.problem(common.kind.span(), message, Some(hint));
                return None;
            }
        };
        for threshold in &seen.thresholds {
            if let Err(message) = threshold.settle(self.variable) {
                self.problem(span.clone(), message, None);
            }
        }
        Some(Placed {
            span,
            id: common.id.span(),
            needs: common.needs.iter().map(Spanned::span).collect(),
            seen,
            gate: PlannedGate {
                id: common.id.into_inner(),
                kind: common.kind.into_inner(),
                required: common.required,
                needs: common.needs.into_iter().map(Spanned::into_inner).collect(),
                timeout: common.timeout.unwrap_or(DEFAULT_TIMEOUT),
                gate,
                keys,
            },
        })
    }

    fn ids_and_needs(&mut self, placed: &[Placed]) {
        let mut seen: HashMap<&str, usize> = HashMap::new();
        for Placed { gate, id: span, .. } in placed {
            if !is_id(&gate.id) {
                let hint = "use letters, digits, `-`, `_` and `.`, at most 64, the first a letter or digit"
                    .to_owned();
                self.problem(
                    span.clone(),
                    format!("id `{}` cannot name a gate", gate.id.escape_debug()),
                    Some(hint),
                );
            }
            if let Some(first) = seen.insert(&gate.id, span.start) {
                let line = line_and_column(self.toml, first).0;
                self.problem(span.clone(), format!("id `{}` is already used in line {line}", gate.id), None);
            }
        }
        let mut sound = true;
        for Placed { gate, needs, .. } in placed {
            for (need, span) in
                gate.needs.iter().zip(needs).filter(|(need, _)| !seen.contains_key(need.as_str()))
            {
                let hint = nearest(need, seen.keys().copied()).map(|name| format!("did you mean `{name}`?"));
                self.problem(
                    span.clone(),
                    format!("gate `{}` needs `{need}`, which does not exist", gate.id),
                    hint,
                );
                sound = false;
            }
        }
        let gates: Vec<PlannedGate> = placed.iter().map(|placed| placed.gate.clone()).collect();
        if let Some(cycle) = graph::cycle(&graph::edges(&gates)).filter(|_| sound) {
            let mut names: Vec<&str> = cycle.iter().map(|&gate| gates[gate].id.as_str()).collect();
            names.push(names[0]);
            let message = format!("gates wait for each other: `{}`", names.join("` needs `"));
            self.problem(placed[cycle[0]].id.clone(), message, None);
        }
    }

    fn objectives(&mut self, objectives: &Objectives) {
        if objectives.slo.is_some_and(|slo| !(slo > 0.0 && slo < 100.0)) {
            let hint = "write a share in per cent that leaves something to lose, such as 99.5".to_owned();
            self.problem(0..0, "`objectives.slo` is not between 0 and 100", Some(hint));
        }
    }

    /// Reads every variable and secret that the plan names; one that is unset or empty is a problem now, not at run time.
    fn variables(
        &mut self,
        placed: &[Placed],
        subject: Option<&RawSubject>,
        secrets: &BTreeMap<String, Spanned<RawSecret>>,
    ) -> Variables {
        let mut variables = Variables::default();
        for (name, secret) in secrets {
            if let Some(value) = self.secret(name, secret) {
                variables.insert_secret(name, value);
            }
        }
        let subject_texts =
            subject.into_iter().flat_map(|it| std::iter::once(&it.name).chain(&it.digest).chain(&it.commit));
        for text in subject_texts {
            self.text(text, None, placed, secrets, &mut variables);
        }
        for (position, one) in placed.iter().enumerate() {
            let verbatim = one.gate.gate.verbatim();
            for text in one.seen.texts.iter().filter(|text| !verbatim.contains(text)) {
                self.text(text, Some(position), placed, secrets, &mut variables);
            }
            for name in &one.seen.names {
                self.variable(name.as_str(), &name.span, &mut variables);
            }
        }
        variables
    }

    fn secret(&mut self, name: &str, raw: &Spanned<RawSecret>) -> Option<SecretString> {
        let span = raw.span();
        let value = match (&raw.get_ref().env, &raw.get_ref().file) {
            _ if !is_variable_name(name) => Err(format!("`{}` cannot name a secret", name.escape_debug())),
            (Some(variable), None) => (self.variable)(variable)
                .ok_or_else(|| format!("variable `{variable}` of secret `{name}` is not set")),
            (None, Some(path)) => std::fs::read_to_string(path)
                .map(|text| text.strip_suffix('\n').map(str::to_owned).unwrap_or(text))
                .map_err(|error| format!("secret `{name}`: cannot read {}: {error}", path.display())),
            _ => Err(format!("secret `{name}` needs either `env` or `file`")),
        };
        match value {
            Ok(value) if !value.is_empty() => Some(SecretString::from(value)),
            Ok(_) => {
                self.problem(span, format!("secret `{name}` is empty"), None);
                None
            }
            Err(message) => {
                self.problem(span, message, None);
                None
            }
        }
    }

    fn text(
        &mut self,
        text: &Text,
        gate: Option<usize>,
        placed: &[Placed],
        secrets: &BTreeMap<String, Spanned<RawSecret>>,
        variables: &mut Variables,
    ) {
        let references = match text.references() {
            Ok(references) => references,
            Err(message) => return self.problem(text.span.clone(), message, None),
        };
        for reference in references {
            match reference {
                Reference::Env(name) => self.variable(name, &text.span, variables),
                Reference::Secret(name) if secrets.contains_key(name) => {}
                Reference::Secret(name) => {
                    let hint = nearest(name, secrets.keys().map(String::as_str)).map_or_else(
                        || {
                            format!(
                                "write `[secrets]` and `{name} = {{ env = \"…\" }}` or `{{ file = \"…\" }}`"
                            )
                        },
                        |name| format!("did you mean `{name}`?"),
                    );
                    self.problem(text.span.clone(), format!("the plan has no secret `{name}`"), Some(hint));
                }
                Reference::Gate { id, .. } => {
                    if !gate.is_some_and(|gate| needs(placed, gate, id)) {
                        let message = format!("`{text}` refers to `{id}`, which this gate does not need");
                        let hint = format!("write `needs = [\"{id}\"]`, so that its result is there");
                        self.problem(text.span.clone(), message, Some(hint));
                    }
                }
            }
        }
    }

    fn variable(&mut self, name: &str, span: &Range<usize>, variables: &mut Variables) {
        if !is_variable_name(name) {
            let message = format!("`{}` cannot name a variable", name.escape_debug());
            self.problem(span.clone(), message, None);
        } else if variables.get(name).is_none() {
            match (self.variable)(name).filter(|value| !value.is_empty()) {
                Some(value) => variables.insert(name, value),
                None => {
                    let message = format!("variable `{name}` is not set, or is empty");
                    self.problem(span.clone(), message, None);
                }
            }
        }
    }

    fn subject(&mut self, raw: &Spanned<RawSubject>, variables: &Variables) -> Option<Subject> {
        let subject = raw.get_ref();
        let mut digests = BTreeMap::new();
        if let Some(text) = &subject.digest {
            let resolved = resolved(text, variables);
            match digest(&resolved) {
                Some((algorithm, hex)) => digests.insert(algorithm.to_owned(), hex.to_owned()),
                None => {
                    let hint = "write `sha256:` or `sha512:` and the digest in hexadecimal digits".to_owned();
                    self.problem(text.span.clone(), "the subject's digest is not a digest", Some(hint));
                    return None;
                }
            };
        }
        if let Some(text) = &subject.commit {
            let commit = resolved(text, variables);
            if !(is_hex(&commit, 40) || is_hex(&commit, 64)) {
                let hint = "write the full object name, 40 or 64 hexadecimal digits".to_owned();
                self.problem(text.span.clone(), "the subject's commit is not a commit", Some(hint));
                return None;
            }
            digests.insert("gitCommit".to_owned(), commit);
        }
        if digests.is_empty() {
            let hint = "give `digest` or `commit`; a name alone binds the verdict to nothing".to_owned();
            self.problem(raw.span(), "the subject has neither a digest nor a commit", Some(hint));
            return None;
        }
        Some(Subject { name: resolved(&subject.name, variables), digest: digests })
    }

    /// Deserialises a table; `more` are keys that were taken out of it before, for the suggestion.
    fn deserialize<T: DeserializeOwned>(&mut self, value: Spanned<DeValue<'_>>, more: &[&str]) -> Option<T> {
        let span = value.span();
        T::deserialize(ValueDeserializer::from(value))
            .map_err(|error| self.toml_error(&error, &span, more))
            .ok()
    }

    fn toml_error(&mut self, error: &toml::de::Error, fallback: &Range<usize>, more: &[&str]) {
        let message = error.message();
        let span = error.span().unwrap_or_else(|| fallback.clone());
        let Some((given, known)) = names_in(message) else {
            return self.problem(span, message.replace('\n', "; "), None);
        };
        let mut known: Vec<&str> =
            known.into_iter().chain(more.iter().copied()).filter(|name| *name != "_gate").collect();
        known.dedup();
        let hint = nearest(given, known.iter().copied()).map_or_else(
            || format!("known keys: `{}`", known.join("`, `")),
            |name| format!("did you mean `{name}`?"),
        );
        self.problem(span, format!("key `{given}` is not known here"), Some(hint));
    }

    fn problem(&mut self, span: Range<usize>, message: impl Into<String>, hint: Option<String>) {
        self.problems.push((span, message.into(), hint));
    }

    fn into_error(self, origin: &str) -> Error {
        let mut problems = self.problems;
        problems.sort_by_key(|(span, ..)| span.start);
        let place = |(span, message, hint): (Range<usize>, String, Option<String>)| {
            let (line, column) = line_and_column(self.toml, span.start);
            Problem { line, column, message, hint }
        };
        Error::plan(origin, problems.into_iter().map(place).collect())
    }
}

/// A text of the plan itself, whose references were checked.
fn resolved(text: &Text, variables: &Variables) -> String {
    text.resolve(&|reference| variables.value(reference)).unwrap_or_default()
}

/// Whether a gate needs another one, directly or through others.
fn needs(placed: &[Placed], gate: usize, id: &str) -> bool {
    let mut seen = vec![false; placed.len()];
    let mut open = vec![gate];
    while let Some(position) = open.pop() {
        for need in &placed[position].gate.needs {
            if need == id {
                return true;
            }
            if let Some(next) =
                placed.iter().position(|placed| placed.gate.id == *need).filter(|next| !seen[*next])
            {
                seen[next] = true;
                open.push(next);
            }
        }
    }
    false
}

/// Whether the text can name a gate: it becomes a file name and an XML attribute.
fn is_id(id: &str) -> bool {
    let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=64).contains(&id.len())
        && id.starts_with(|c: char| c.is_ascii_alphanumeric())
        && id.chars().all(part)
}

fn line_and_column(toml: &str, offset: usize) -> (usize, usize) {
    let before = toml.get(..offset).unwrap_or(toml);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
