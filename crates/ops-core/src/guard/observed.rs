//! What a statement really did, as the server tells it, compared with what was predicted and what is allowed.

use serde::Serialize;

use super::catalog::Catalog;
use super::context::Context;
use super::effect::{Bound, Effect, Operation};
use super::names;
use super::policy::{Policy, RuleText};
use super::verdict::{Decision, Limits, StatementVerdict};

/// What one statement did inside its transaction, as far as PostgreSQL tells it before the commit.
///
/// What leaves the transaction is not in it: files, programs, other servers, notifications, sequences, advisory locks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Observation {
    /// The relations that it changed, dropped, or locked more strongly than changing rows does.
    pub relations: Vec<Touched>,
    /// Whether the transaction has an id: one without has certainly changed nothing.
    pub wrote: bool,
}

/// What happened to one relation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Touched {
    /// Its name with its schema, quoted where SQL needs it.
    pub relation: String,
    /// Rows that were added.
    pub inserted: u64,
    /// Rows that were changed.
    pub updated: u64,
    /// Rows that were removed.
    pub deleted: u64,
    /// The strongest lock that was newly taken on it, as `LOCK TABLE` names it; none where it is one that changing rows
    /// takes.
    pub lock: Option<&'static str>,
    /// Whether it is gone.
    pub dropped: bool,
}

impl Observation {
    /// Returns the number of rows that were added, changed and removed, over all relations but the system's own.
    pub fn rows(&self) -> u64 {
        self.relations.iter().filter(|touched| !touched.is_system()).map(Touched::rows).sum()
    }

    /// Returns the number of rows to which this was done, over all relations but the system's own.
    pub fn rows_of(&self, operation: Operation) -> u64 {
        self.relations
            .iter()
            .filter(|touched| !touched.is_system())
            .map(|touched| touched.count(operation))
            .sum()
    }
}

impl Touched {
    /// Returns the number of rows that were added, changed and removed.
    pub fn rows(&self) -> u64 {
        self.inserted + self.updated + self.deleted
    }

    /// Returns the number of rows to which this was done.
    pub fn count(&self, operation: Operation) -> u64 {
        match operation {
            Operation::Insert => self.inserted,
            Operation::Update => self.updated,
            Operation::Delete => self.deleted,
        }
    }

    fn is_system(&self) -> bool {
        self.relation.starts_with("pg_catalog.")
    }

    /// From what says most of what happened to what says least.
    fn weight(&self) -> u8 {
        match (self.is_system(), self.dropped, self.lock) {
            (false, true, _) => 0,
            (false, false, Some(_)) => 1,
            (false, false, None) => 2,
            (true, ..) if !matches!(system_effect(&self.relation), Effect::SchemaChange { .. }) => 3,
            (true, ..) => 4,
        }
    }

    /// A table of the session alone: whoever may create one may do with it what he likes.
    fn is_temporary(&self) -> bool {
        self.relation.starts_with("pg_temp_") || self.relation.starts_with("pg_toast_temp_")
    }
}

/// Why an observation is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// A stable name in kebab case.
    pub(crate) rule: String,
    pub(crate) reason: String,
    pub(crate) hint: String,
    /// Whether a newer catalog might have predicted it.
    pub(crate) is_unpredicted: bool,
}

const OPERATIONS: [Operation; 3] = [Operation::Insert, Operation::Update, Operation::Delete];

/// What statements were predicted to do, in the form that an observation is compared with.
pub(crate) struct Prediction<'a> {
    statements: &'a [&'a StatementVerdict],
    catalog: Option<&'a Catalog>,
    /// Something runs that nobody could read: then the policy alone decides.
    is_hidden: bool,
    /// It changes objects, maintains or locks tables: then locks and changes of the system's tables are its own.
    changes_schema: bool,
    drops_rows: bool,
}

impl<'a> Prediction<'a> {
    pub(crate) fn of(statements: &'a [&'a StatementVerdict], catalog: Option<&'a Catalog>) -> Self {
        let effects = || statements.iter().flat_map(|statement| &statement.effects).map(|one| &one.effect);
        Self {
            statements,
            catalog,
            is_hidden: effects().any(is_hidden),
            changes_schema: effects().any(changes_schema),
            drops_rows: effects().any(|effect| matches!(effect, Effect::SchemaDrop { .. })),
        }
    }

    /// Compares with what happened. `granted` is given where somebody approved the statements: then the prediction counts
    /// and not what the policy refuses, and its limits count before those of the policy.
    pub(crate) fn check(
        &self,
        observation: &Observation,
        policy: &Policy,
        context: &Context,
        granted: Option<Limits>,
    ) -> Result<(), Violation> {
        let predicted = self.statements.iter().filter_map(|statement| statement.limits);
        let mut limits = predicted.reduce(Limits::and).unwrap_or_default();
        let mut limited: Vec<(&str, u64)> = Vec::new();
        let mut relations: Vec<&Touched> =
            observation.relations.iter().filter(|touched| !touched.is_temporary()).collect();
        // What explains a refusal best comes first.
        relations.sort_by_key(|touched| touched.weight());
        for touched in relations {
            self.check_objects(touched, observation, policy, context, granted.is_some())?;
            if touched.is_system() {
                continue;
            }
            for operation in OPERATIONS {
                let rows = touched.count(operation);
                if rows == 0 {
                    continue;
                }
                let Some(effect) = self.explanation(touched, operation) else {
                    return Err(unpredicted(touched, operation, rows));
                };
                let ruling = policy.rule_on(&effect, context);
                match (ruling.decision, ruling.words) {
                    (Decision::Limit, _) => limits = limits.and(ruling.limits),
                    (Decision::Approve | Decision::Deny, Some(words)) if granted.is_none() => {
                        return Err(found(words, &format!("{rows} rows, found when it ran")));
                    }
                    _ => {}
                }
                limited.push((&touched.relation, rows));
            }
        }
        check_limits(granted.map_or(limits, |granted| granted.or(limits)), &limited)
    }

    /// Returns the effect that a change of rows is: the predicted one, or what hidden code may have done; none where nothing
    /// explains it.
    fn explanation(&self, touched: &Touched, operation: Operation) -> Option<Effect> {
        let own = || Effect::Write { table: touched.relation.clone(), operation, bound: Bound::Conditional };
        let effects = self.statements.iter().flat_map(|statement| &statement.effects);
        for effect in effects.map(|predicted| &predicted.effect) {
            match effect {
                Effect::Write { table, operation: predicted, .. } => {
                    // A row that moves to another partition is removed here and added there.
                    let moves = *predicted == Operation::Update && *table != touched.relation;
                    if (*predicted == operation || moves) && self.covers(table, &touched.relation) {
                        return Some(effect.clone());
                    }
                }
                Effect::SchemaAdd { name, .. } | Effect::Rewrite { name }
                    if self.covers(name, &touched.relation) =>
                {
                    return Some(effect.clone());
                }
                _ => {}
            }
        }
        self.is_hidden.then(own)
    }

    fn covers(&self, predicted: &str, touched: &str) -> bool {
        if predicted == touched || self.catalog.is_some_and(|catalog| catalog.covers(predicted, touched)) {
            return true;
        }
        // Without a catalog, or for a table that is younger than it, a name may come without its schema.
        !names::has_qualifier(predicted) && names::last_part(touched) == predicted
    }

    /// Checks locks, drops and changes of the system's own tables.
    fn check_objects(
        &self,
        touched: &Touched,
        observation: &Observation,
        policy: &Policy,
        context: &Context,
        is_granted: bool,
    ) -> Result<(), Violation> {
        let effect = if touched.dropped {
            if self.drops_rows {
                return Ok(());
            }
            Effect::SchemaDrop { kind: "table".into(), name: touched.relation.clone(), cascade: false }
        } else if touched.is_system() {
            if touched.rows() == 0 || self.changes_schema || explains_temporary(touched, observation) {
                return Ok(());
            }
            system_effect(&touched.relation)
        } else if let Some(mode) = touched.lock {
            if self.changes_schema {
                return Ok(());
            }
            Effect::LockTable { table: touched.relation.clone(), mode }
        } else {
            return Ok(());
        };
        if !self.is_hidden {
            return Err(unpredicted_object(&effect));
        }
        let ruling = policy.rule_on(&effect, context);
        match ruling.words {
            Some(words) if ruling.decision > Decision::Limit && !is_granted => {
                Err(found(words, "found when it ran"))
            }
            _ => Ok(()),
        }
    }
}

/// What a policy says to an effect that only showed when the statement ran.
fn found(words: RuleText, how: &str) -> Violation {
    let reason = format!("{} ({how})", words.reason);
    Violation { rule: words.id, reason, hint: words.hint, is_unpredicted: false }
}

fn check_limits(limits: Limits, limited: &[(&str, u64)]) -> Result<(), Violation> {
    let rows: u64 = limited.iter().map(|(_, rows)| rows).sum();
    let mut tables: Vec<(&str, u64)> = Vec::new();
    for (table, rows) in limited {
        match tables.iter_mut().find(|(known, _)| known == table) {
            Some((_, sum)) => *sum += rows,
            None => tables.push((table, *rows)),
        }
    }
    let most = tables.iter().max_by_key(|(_, rows)| *rows).copied().unwrap_or_default();
    let over = |limit: Option<u64>, found: u64| limit.is_some_and(|limit| found > limit);
    let list = || {
        let parts: Vec<String> = tables.iter().map(|(table, rows)| format!("{rows} of {table}")).collect();
        parts.join(", ")
    };
    let reason = if over(limits.rows, rows) {
        format!("would change {rows} rows ({}), and {} are allowed", list(), limits.rows.unwrap_or_default())
    } else if over(limits.rows_per_table, most.1) {
        let allowed = limits.rows_per_table.unwrap_or_default();
        format!("would change {} rows of {}, and {allowed} of one table are allowed", most.1, most.0)
    } else if over(limits.tables, tables.len() as u64) {
        let allowed = limits.tables.unwrap_or_default();
        format!("would change {} tables ({}), and {allowed} are allowed", tables.len(), list())
    } else {
        return Ok(());
    };
    Err(Violation {
        rule: "row-limit".into(),
        reason,
        hint: "change fewer rows at a time, for example by a range of the key".into(),
        is_unpredicted: false,
    })
}

fn is_hidden(effect: &Effect) -> bool {
    matches!(
        effect,
        Effect::Call { .. }
            | Effect::HiddenCode { .. }
            | Effect::DynamicCode { .. }
            | Effect::External { .. }
            | Effect::Cluster { .. }
            | Effect::Opaque { .. }
    )
}

fn changes_schema(effect: &Effect) -> bool {
    matches!(
        effect,
        Effect::SchemaAdd { .. }
            | Effect::SchemaChange { .. }
            | Effect::SchemaDrop { .. }
            | Effect::Rewrite { .. }
            | Effect::Truncate { .. }
            | Effect::CodeDefinition { .. }
            | Effect::Privilege { .. }
            | Effect::Role { .. }
            | Effect::LargeObject { .. }
            | Effect::LockTable { .. }
            | Effect::SequenceReset
            | Effect::Maintenance
    )
}

/// Creating a temporary table changes these tables of the system, and nobody else sees it.
fn explains_temporary(system: &Touched, observation: &Observation) -> bool {
    const TABLES: [&str; 11] = [
        "pg_attrdef",
        "pg_attribute",
        "pg_class",
        "pg_constraint",
        "pg_depend",
        "pg_index",
        "pg_inherits",
        "pg_namespace",
        "pg_sequence",
        "pg_shdepend",
        "pg_type",
    ];
    TABLES.contains(&names::last_part(&system.relation))
        && observation.relations.iter().any(Touched::is_temporary)
}

/// What a change of one of the system's tables means.
fn system_effect(relation: &str) -> Effect {
    let name = names::last_part(relation);
    match name {
        "pg_authid" | "pg_auth_members" | "pg_db_role_setting" => {
            Effect::Role { action: format!("a change of {name}") }
        }
        "pg_default_acl" | "pg_init_privs" | "pg_policy" | "pg_parameter_acl" => {
            Effect::Privilege { action: format!("a change of {name}") }
        }
        "pg_database" | "pg_tablespace" | "pg_subscription" | "pg_replication_origin" => {
            Effect::Cluster { construct: format!("a change of {name}") }
        }
        "pg_largeobject" | "pg_largeobject_metadata" => Effect::LargeObject { function: "a function".into() },
        "pg_statistic" | "pg_statistic_ext_data" => Effect::Maintenance,
        "pg_proc" | "pg_trigger" | "pg_rewrite" | "pg_operator" | "pg_cast" | "pg_event_trigger"
        | "pg_aggregate" | "pg_opclass" | "pg_amop" | "pg_amproc" => {
            Effect::CodeDefinition { kind: "system table".into(), name: name.to_owned() }
        }
        _ => Effect::SchemaChange { kind: "system table".into(), name: name.to_owned() },
    }
}

const UNPREDICTED_HINT: &str = "look at triggers, rules, views and functions behind the statement; change the rows that you mean by a statement of their own";

fn unpredicted(touched: &Touched, operation: Operation, rows: u64) -> Violation {
    let done = match operation {
        Operation::Insert => "add",
        Operation::Update => "change",
        Operation::Delete => "delete",
    };
    Violation {
        rule: "unpredicted-effect".into(),
        reason: format!(
            "would {done} {rows} rows of {}, which the statement does not show",
            touched.relation
        ),
        hint: UNPREDICTED_HINT.into(),
        is_unpredicted: true,
    }
}

fn unpredicted_object(effect: &Effect) -> Violation {
    Violation {
        rule: "unpredicted-effect".into(),
        reason: format!("would have the effect {effect}, which the statement does not show"),
        hint: UNPREDICTED_HINT.into(),
        is_unpredicted: true,
    }
}
