//! From TOML to a sound [`Plan`], collecting every problem with its place instead of stopping at the first.

use super::text::{Text, Variables, is_variable_name};
use super::{
    Command, DEFAULT_TIMEOUT, Evidence, Gate, Http, Kind, Plan, Postgres, Span, Subject, check, graph,
    suggest,
};
use crate::error::{Error, Problem};
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

fn yes() -> bool {
    true
}

/// The problems found so far, with their places.
struct Reader<'a> {
    toml: &'a str,
    problems: Vec<(Range<usize>, String, Option<String>)>,
}

/// A gate, and where its parts stand.
struct Placed {
    gate: Gate,
    span: Range<usize>,
    id: Range<usize>,
    needs: Vec<Range<usize>>,
}

pub(super) fn plan(
    toml: &str,
    origin: &str,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Plan, Error> {
    let mut reader = Reader { toml, problems: Vec::new() };
    let plan = reader.plan(origin, variable);
    match plan {
        Some(plan) if reader.problems.is_empty() => Ok(plan),
        _ => Err(reader.into_error(origin)),
    }
}

impl Reader<'_> {
    fn plan(&mut self, origin: &str, variable: &dyn Fn(&str) -> Option<String>) -> Option<Plan> {
        let toml = self.toml;
        let mut table = DeTable::parse(toml).map_err(|error| self.toml_error(&error, &(0..0), &[])).ok()?;
        let gates = table.get_mut().remove("gate");
        let top = self.deserialize::<Top>(Spanned::new(0..0, DeValue::Table(table.into_inner())), &["gate"]);
        let placed = self.gates(gates);
        let top = top?;
        if let Some(schema) = top.schema.filter(|schema| schema.get_ref() != SCHEMA) {
            let message = format!("schema `{}` is not known", schema.get_ref());
            self.problem(schema.span(), message, Some(format!("this version reads `{SCHEMA}`")));
        }
        if top.name.get_ref().trim().is_empty() {
            self.problem(top.name.span(), "the plan's name is empty", None);
        }
        self.ids_and_needs(&placed);
        let variables = self.variables(&placed, top.subject.as_ref().map(Spanned::get_ref), variable);
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
        let kind = match common.kind.get_ref().as_str() {
            "command" => Kind::Command(self.deserialize::<Command>(own, &COMMON)?),
            "http" => Kind::Http(self.deserialize::<Http>(own, &COMMON)?),
            "postgres" => Kind::Postgres(self.deserialize::<Postgres>(own, &COMMON)?),
            "evidence" => Kind::Evidence(self.deserialize::<Evidence>(own, &COMMON)?),
            other => {
                let known = Kind::NAMES.join("`, `");
                let hint = suggest::nearest(other, Kind::NAMES).map_or_else(
                    || format!("known kinds: `{known}`"),
                    |name| format!("did you mean `{name}`?"),
                );
                self.problem(common.kind.span(), format!("kind `{other}` is not known"), Some(hint));
                return None;
            }
        };
        for (place, message) in check::kind(&kind) {
            self.problem(place.unwrap_or_else(|| span.clone()), message, None);
        }
        Some(Placed {
            span,
            id: common.id.span(),
            needs: common.needs.iter().map(Spanned::span).collect(),
            gate: Gate {
                id: common.id.into_inner(),
                required: common.required,
                needs: common.needs.into_iter().map(Spanned::into_inner).collect(),
                timeout: common.timeout.unwrap_or(DEFAULT_TIMEOUT),
                kind,
            },
        })
    }

    fn ids_and_needs(&mut self, placed: &[Placed]) {
        let mut seen: HashMap<&str, usize> = HashMap::new();
        for Placed { gate, id: span, .. } in placed {
            if !check::is_id(&gate.id) {
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
                let hint = suggest::nearest(need, seen.keys().copied())
                    .map(|name| format!("did you mean `{name}`?"));
                self.problem(
                    span.clone(),
                    format!("gate `{}` needs `{need}`, which does not exist", gate.id),
                    hint,
                );
                sound = false;
            }
        }
        let gates: Vec<Gate> = placed.iter().map(|placed| placed.gate.clone()).collect();
        if let Some(cycle) = graph::cycle(&graph::edges(&gates)).filter(|_| sound) {
            let mut names: Vec<&str> = cycle.iter().map(|&gate| gates[gate].id.as_str()).collect();
            names.push(names[0]);
            let message = format!("gates wait for each other: `{}`", names.join("` needs `"));
            self.problem(placed[cycle[0]].id.clone(), message, None);
        }
    }

    /// Reads every variable that the plan names; one that is unset or empty is a problem now, not at run time.
    fn variables(
        &mut self,
        placed: &[Placed],
        subject: Option<&RawSubject>,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Variables {
        let mut variables = Variables::default();
        let mut need = |reader: &mut Self, name: &str, span: &Range<usize>| {
            if !is_variable_name(name) {
                reader.problem(
                    span.clone(),
                    format!("`{}` cannot name a variable", name.escape_debug()),
                    None,
                );
            } else if variables.get(name).is_none() {
                match variable(name).filter(|value| !value.is_empty()) {
                    Some(value) => variables.insert(name, value),
                    None => reader.problem(
                        span.clone(),
                        format!("variable `{name}` is not set, or is empty"),
                        None,
                    ),
                }
            }
        };
        let subject_texts =
            subject.into_iter().flat_map(|it| std::iter::once(&it.name).chain(&it.digest).chain(&it.commit));
        let gate_texts = placed.iter().flat_map(|placed| placed.gate.kind.texts());
        for text in subject_texts.chain(gate_texts) {
            match text.names() {
                Ok(names) => names.into_iter().for_each(|name| need(self, name, &text.span)),
                Err(message) => self.problem(text.span.clone(), message, None),
            }
        }
        for placed in placed {
            placed.gate.kind.named_variables().iter().for_each(|name| need(self, name, &placed.span));
        }
        variables
    }

    fn subject(&mut self, raw: &Spanned<RawSubject>, variables: &Variables) -> Option<Subject> {
        let subject = raw.get_ref();
        let mut digest = BTreeMap::new();
        if let Some(text) = &subject.digest {
            match check::digest(&text.resolve(variables)) {
                Some((algorithm, hex)) => digest.insert(algorithm.to_owned(), hex.to_owned()),
                None => {
                    let hint = "write `sha256:` or `sha512:` and the digest in hexadecimal digits".to_owned();
                    self.problem(text.span.clone(), "the subject's digest is not a digest", Some(hint));
                    return None;
                }
            };
        }
        if let Some(text) = &subject.commit {
            let commit = text.resolve(variables);
            if !(check::is_hex(&commit, 40) || check::is_hex(&commit, 64)) {
                let hint = "write the full object name, 40 or 64 hexadecimal digits".to_owned();
                self.problem(text.span.clone(), "the subject's commit is not a commit", Some(hint));
                return None;
            }
            digest.insert("gitCommit".to_owned(), commit);
        }
        if digest.is_empty() {
            let hint = "give `digest` or `commit`; a name alone binds the verdict to nothing".to_owned();
            self.problem(raw.span(), "the subject has neither a digest nor a commit", Some(hint));
            return None;
        }
        Some(Subject { name: subject.name.resolve(variables), digest })
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
        let Some((given, known)) = suggest::names_in(message) else {
            return self.problem(span, message.replace('\n', "; "), None);
        };
        let mut known: Vec<&str> =
            known.into_iter().chain(more.iter().copied()).filter(|name| *name != "_gate").collect();
        known.dedup();
        let hint = suggest::nearest(given, known.iter().copied()).map_or_else(
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

fn line_and_column(toml: &str, offset: usize) -> (usize, usize) {
    let before = toml.get(..offset).unwrap_or(toml);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
