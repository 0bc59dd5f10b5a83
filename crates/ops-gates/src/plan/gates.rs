//! The gates of a plan: their common keys, their kinds, the matrix that makes several of one, and how they refer to each
//! other.

use super::source::Reader;
use super::{DEFAULT_TIMEOUT, Groups, PlannedGate, Retry, graph};
use crate::condition::When;
use crate::gate::{Context, Gate};
use crate::outcome::Finding;
use crate::value::{Seen, Span, nearest, seeing};
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The keys that every gate has; the others belong to its kind.
const COMMON: [&str; 11] = [
    "id",
    "kind",
    "description",
    "required",
    "needs",
    "timeout",
    "retry",
    "group",
    "exclusive",
    "when",
    "matrix",
];

/// How many gates one matrix may make.
const MATRIX_LIMIT: usize = 1_000;

/// The keys that every gate has.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Common {
    /// Unique in the plan.
    #[schemars(with = "String")]
    id: Spanned<String>,
    /// What is checked; it decides which other keys there are.
    #[schemars(with = "String")]
    kind: Spanned<String>,
    /// What the gate is for, in words.
    description: Option<String>,
    /// Whether the release is blocked unless this gate passes.
    #[serde(default = "yes")]
    required: bool,
    /// The gates that must pass before this one starts. A gate with a matrix is named without its values, and means all.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    needs: Vec<Spanned<String>>,
    /// How long it may take.
    timeout: Option<Timeout>,
    /// When it is tried again.
    retry: Option<Retry>,
    /// The group of gates that share a limit.
    #[schemars(with = "Option<String>")]
    group: Option<Spanned<String>>,
    /// Whether nothing else may run beside it: for what measures.
    #[serde(default)]
    exclusive: bool,
    /// Runs the gate only where this is shown; where the contrary is shown it is skipped, with that as evidence.
    when: Option<When>,
}

/// `"30s"`, or `{ attempt = "3s", total = "30s" }`.
#[derive(Debug, Clone, Copy)]
struct Timeout {
    attempt: Option<Span>,
    total: Option<Span>,
}

impl<'de> Deserialize<'de> for Timeout {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            attempt: Option<Span>,
            total: Option<Span>,
        }
        struct Either;
        impl<'de> serde::de::Visitor<'de> for Either {
            type Value = Timeout;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a duration, or a table with `attempt` and `total`")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Timeout, E> {
                let attempt = text.parse().map_err(E::custom)?;
                Ok(Timeout { attempt: Some(attempt), total: None })
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Timeout, A::Error> {
                let it = Table::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
                Ok(Timeout { attempt: it.attempt, total: it.total })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for Timeout {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Timeout".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let span = generator.subschema_for::<Span>();
        schemars::json_schema!({
            "description": "How long an attempt may take; as a table, also how long all attempts together",
            "oneOf": [
                span.clone(),
                {
                    "type": "object",
                    "additionalProperties": false,
                    "properties": { "attempt": span.clone(), "total": span },
                },
            ],
        })
    }
}

fn yes() -> bool {
    true
}

/// A gate, and where its parts stand.
pub(super) struct Placed {
    pub(super) gate: PlannedGate,
    pub(super) seen: Seen,
    pub(super) source: usize,
    pub(super) span: Range<usize>,
    /// The id before the matrix.
    family: String,
    id: Range<usize>,
    needs: Vec<Range<usize>>,
    group: Option<Range<usize>>,
}

impl Placed {
    /// A gate that a policy requires and the plan does not have: it can only fail.
    pub(super) fn missing(id: String, reason: String) -> Self {
        let gate = PlannedGate {
            id: id.clone(),
            kind: "missing".to_owned(),
            description: None,
            required: true,
            needs: Vec::new(),
            timeout: DEFAULT_TIMEOUT,
            total: DEFAULT_TIMEOUT,
            retry: None,
            group: None,
            exclusive: false,
            when: None,
            may_be_skipped: false,
            may_be_waived: false,
            gate: Arc::new(Missing { reason }),
            keys: serde_json::Value::Object(serde_json::Map::new()),
        };
        let (seen, none) = (Seen::default(), 0..0);
        Self {
            gate,
            seen,
            source: 0,
            span: none.clone(),
            family: id,
            id: none,
            needs: Vec::new(),
            group: None,
        }
    }
}

/// Stands where a gate is missing.
#[derive(Debug)]
struct Missing {
    reason: String,
}

impl Gate for Missing {
    fn summary(&self) -> String {
        self.reason.clone()
    }

    fn check<'a>(&'a self, _: &'a Context<'a>) -> BoxFuture<'a, Finding> {
        Box::pin(async { Finding::fail("missing", self.reason.clone()) })
    }
}

impl Reader<'_> {
    pub(super) fn gates(&mut self, gates: Option<Spanned<DeValue<'_>>>) -> Vec<Placed> {
        match gates.map(|gates| (gates.span(), gates.into_inner())) {
            None => Vec::new(),
            Some((_, DeValue::Array(gates))) => {
                gates.into_iter().flat_map(|gate| self.family(gate)).collect()
            }
            Some((span, _)) => {
                self.problem(span, "`gate` is not an array of tables", Some("write `[[gate]]`".to_owned()));
                Vec::new()
            }
        }
    }

    /// That there is something to prove.
    pub(super) fn some_gates(&mut self, placed: &[Placed]) {
        if placed.is_empty() && self.is_sound() {
            let hint = "add a `[[gate]]`; a plan that checks nothing would prove nothing".to_owned();
            self.problem(0..0, "the plan has no gate", Some(hint));
        } else if !placed.is_empty() && placed.iter().all(|placed| !placed.gate.required) {
            let hint = "leave `required = false` out of at least one gate".to_owned();
            let message = "the plan has no required gate, so nothing could block the release";
            self.problem(0..0, message, Some(hint));
        }
    }

    /// A gate, or all gates of its matrix.
    fn family(&mut self, value: Spanned<DeValue<'_>>) -> Vec<Placed> {
        let span = value.span();
        let DeValue::Table(mut table) = value.into_inner() else {
            self.problem(span, "a gate is not a table", Some("write `[[gate]]`".to_owned()));
            return Vec::new();
        };
        let Some(matrix) = table.remove("matrix") else {
            return self.gate(table, &span, None).into_iter().collect();
        };
        let at = matrix.span();
        let Some(matrix) = self.deserialize::<BTreeMap<String, Vec<String>>>(matrix, &[]) else {
            return Vec::new();
        };
        let count = matrix.values().map(Vec::len).try_fold(1_usize, usize::checked_mul).unwrap_or(usize::MAX);
        if matrix.is_empty() || count == 0 || count > MATRIX_LIMIT {
            let hint = "write `matrix = { name = [\"one\", \"two\"] }`".to_owned();
            let message = format!("a matrix makes between 1 and {MATRIX_LIMIT} gates, and this one {count}");
            self.problem(at, message, Some(hint));
            return Vec::new();
        }
        let combinations = matrix.iter().fold(vec![Vec::new()], |made, (name, values)| {
            let with = |row: &Vec<(String, String)>, value: &String| {
                row.iter().cloned().chain([(name.clone(), value.clone())]).collect()
            };
            made.iter().flat_map(|row| values.iter().map(move |value| with(row, value))).collect()
        });
        combinations.iter().filter_map(|row| self.gate(table.clone(), &span, Some(row))).collect()
    }

    fn gate(
        &mut self,
        mut table: DeTable<'_>,
        span: &Range<usize>,
        row: Option<&Vec<(String, String)>>,
    ) -> Option<Placed> {
        if let Some(row) = row {
            table.iter_mut().for_each(|(_, value)| fill(value.get_mut(), row));
        }
        let (common, own): (DeTable<'_>, DeTable<'_>) =
            table.into_iter().partition(|(key, _)| COMMON.contains(&key.get_ref().as_ref()));
        let common = Spanned::new(span.clone(), DeValue::Table(common));
        let (common, mut seen) = seeing(|| self.deserialize::<Common>(common, &["matrix"]));
        let common = common?;
        let own = Spanned::new(span.clone(), DeValue::Table(own));
        let (read, seen_by_kind) = seeing(|| self.options.kinds.read(common.kind.get_ref(), own));
        let (gate, keys) = match read {
            Some(Ok(read)) => read,
            Some(Err(error)) => {
                self.toml_error(&error, span, &COMMON);
                return None;
            }
            None => return self.unknown_kind(&common.kind),
        };
        for threshold in &seen_by_kind.thresholds {
            if let Err(message) = threshold.settle(self.environment) {
                self.problem(span.clone(), message, None);
            }
        }
        let verbatim: Vec<_> = gate.verbatim().into_iter().cloned().collect();
        seen.texts.extend(seen_by_kind.texts.into_iter().filter(|text| !verbatim.contains(text)));
        seen.names.extend(seen_by_kind.names);
        let (timeout, total) = self.timeouts(&common, span);
        let wrong =
            [common.retry.as_ref().and_then(Retry::wrong), common.when.as_ref().and_then(When::wrong)];
        for problem in wrong.into_iter().flatten() {
            self.problem(span.clone(), problem, None);
        }
        let family = common.id.get_ref().clone();
        let suffix: Vec<&str> =
            row.iter().flat_map(|row| row.iter().map(|(_, value)| value.as_str())).collect();
        let id = if suffix.is_empty() { family.clone() } else { format!("{family}-{}", suffix.join("-")) };
        Some(Placed {
            span: span.clone(),
            source: self.current,
            family,
            id: common.id.span(),
            needs: common.needs.iter().map(Spanned::span).collect(),
            group: common.group.as_ref().map(Spanned::span),
            seen,
            gate: PlannedGate {
                id,
                kind: common.kind.into_inner(),
                description: common.description,
                required: common.required,
                needs: common.needs.into_iter().map(Spanned::into_inner).collect(),
                timeout,
                total,
                retry: common.retry,
                group: common.group.map(Spanned::into_inner),
                exclusive: common.exclusive,
                when: common.when,
                may_be_skipped: true,
                may_be_waived: true,
                gate,
                keys,
            },
        })
    }

    fn unknown_kind(&mut self, kind: &Spanned<String>) -> Option<Placed> {
        let known: Vec<&str> = self.options.kinds.names().collect();
        let hint = nearest(kind.get_ref(), known.iter().copied()).map_or_else(
            || format!("known kinds: `{}`", known.join("`, `")),
            |name| format!("did you mean `{name}`?"),
        );
        self.problem(kind.span(), format!("kind `{}` is not known", kind.get_ref()), Some(hint));
        None
    }

    /// The time of one attempt, and of all.
    fn timeouts(&mut self, common: &Common, span: &Range<usize>) -> (Span, Span) {
        let given = common.timeout.unwrap_or(Timeout { attempt: None, total: None });
        let attempt = given.attempt.or(given.total).unwrap_or(DEFAULT_TIMEOUT);
        if given.total.is_some_and(|total| total < attempt) {
            self.problem(span.clone(), "`timeout.total` is shorter than `timeout.attempt`", None);
        }
        let attempts = common.retry.as_ref().map_or(1, |retry| retry.attempts);
        let pauses = common.retry.as_ref().map_or_else(Default::default, Retry::longest_pauses);
        let all = Span::of(attempt.get().saturating_mul(attempts).saturating_add(pauses));
        (attempt, given.total.unwrap_or(all))
    }

    pub(super) fn ids_needs_and_groups(&mut self, placed: &mut [Placed], groups: &Groups) {
        if self.names_are_right(placed, groups) {
            name_members(placed);
            self.no_cycle(placed);
        }
    }

    /// Whether every id and every name that refers to one is right.
    fn names_are_right(&mut self, placed: &[Placed], groups: &Groups) -> bool {
        let mut seen: HashMap<&str, usize> = HashMap::new();
        for (position, Placed { gate, id: span, source, .. }) in placed.iter().enumerate() {
            self.current = *source;
            if !is_id(&gate.id) {
                let hint = "use letters, digits, `-`, `_` and `.`, at most 64, the first a letter or digit"
                    .to_owned();
                let message = format!("id `{}` cannot name a gate", gate.id.escape_debug());
                self.problem(span.clone(), message, Some(hint));
            }
            if let Some(first) = seen.insert(&gate.id, position) {
                let first = self.place(placed[first].source, placed[first].id.start);
                self.problem(span.clone(), format!("id `{}` is already used in {first}", gate.id), None);
            }
        }
        let families: HashSet<&str> = placed.iter().map(|placed| placed.family.as_str()).collect();
        let known = |id: &str| seen.contains_key(id) || families.contains(id);
        let mut sound = true;
        for Placed { gate, needs, group, source, .. } in placed {
            self.current = *source;
            for (need, span) in gate.needs.iter().zip(needs).filter(|(need, _)| !known(need)) {
                let hint = nearest(need, seen.keys().copied()).map(|name| format!("did you mean `{name}`?"));
                let message = format!("gate `{}` needs `{need}`, which does not exist", gate.id);
                self.problem(span.clone(), message, hint);
                sound = false;
            }
            if let (Some(name), Some(span)) = (&gate.group, group)
                && groups.position(name).is_none()
            {
                let hint = format!("write `[groups]` and `{name} = {{ max = 1 }}`");
                self.problem(span.clone(), format!("the plan has no group `{name}`"), Some(hint));
            }
        }
        self.current = 0;
        sound
    }

    fn no_cycle(&mut self, placed: &[Placed]) {
        let gates: Vec<&PlannedGate> = placed.iter().map(|placed| &placed.gate).collect();
        if let Some(cycle) = graph::cycle(&graph::edges(&gates)) {
            let mut names: Vec<&str> = cycle.iter().map(|&gate| gates[gate].id.as_str()).collect();
            names.push(names[0]);
            self.current = placed[cycle[0]].source;
            let message = format!("gates wait for each other: `{}`", names.join("` needs `"));
            self.problem(placed[cycle[0]].id.clone(), message, None);
            self.current = 0;
        }
    }
}

/// Names the gates of a matrix where the matrix as a whole is needed.
fn name_members(placed: &mut [Placed]) {
    let mut members: HashMap<String, Vec<String>> = HashMap::new();
    for one in placed.iter().filter(|one| one.family != one.gate.id) {
        members.entry(one.family.clone()).or_default().push(one.gate.id.clone());
    }
    for one in placed.iter_mut().filter(|_| !members.is_empty()) {
        let needs = std::mem::take(&mut one.gate.needs);
        one.gate.needs = needs
            .into_iter()
            .flat_map(|need| members.get(&need).cloned().unwrap_or_else(|| vec![need]))
            .collect();
    }
}

/// Replaces `${matrix:name}` in every text of a value.
fn fill(value: &mut DeValue<'_>, row: &[(String, String)]) {
    match value {
        DeValue::String(text) if text.contains("${matrix:") => {
            let filled = row.iter().fold(text.to_string(), |text, (name, value)| {
                text.replace(&format!("${{matrix:{name}}}"), value)
            });
            *text = filled.into();
        }
        DeValue::Array(values) => values.iter_mut().for_each(|value| fill(value.get_mut(), row)),
        DeValue::Table(values) => values.iter_mut().for_each(|(_, value)| fill(value.get_mut(), row)),
        _ => {}
    }
}

/// Whether the text can name a gate: it becomes a file name and an XML attribute.
fn is_id(id: &str) -> bool {
    let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=64).contains(&id.len())
        && id.starts_with(|c: char| c.is_ascii_alphanumeric())
        && id.chars().all(part)
}
