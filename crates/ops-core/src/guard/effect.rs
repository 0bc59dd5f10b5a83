//! The closed set of effects: what a statement does, whatever its verb.

use std::fmt;

use serde::Serialize;

/// Something that a statement does or may do, with the object concerned.
///
/// With a catalog objects are named with their schema; without one as the statement names them, and `ledger` may be a view.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(tag = "effect", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Effect {
    /// Reads the rows of a table or view.
    Read {
        /// The table.
        table: String,
    },
    /// Locks the rows that it reads (`FOR UPDATE` and its kin).
    LockRows,
    /// Locks whole tables.
    LockTable {
        /// The table.
        table: String,
        /// The mode, as in `LOCK TABLE`.
        mode: &'static str,
    },
    /// Takes or gives back an advisory lock.
    AdvisoryLock {
        /// The function called.
        function: String,
    },
    /// Adds, changes or removes rows.
    Write {
        /// The table.
        table: String,
        /// What is done to the rows.
        operation: Operation,
        /// What keeps it from touching every row.
        bound: Bound,
    },
    /// Removes all rows at once.
    Truncate {
        /// The table.
        table: String,
        /// Whether tables that refer to it are emptied too.
        cascade: bool,
    },
    /// Takes the next value of a sequence.
    SequenceAdvance,
    /// Moves a sequence; a rollback does not undo it.
    SequenceReset,
    /// Writes, opens or deletes large objects.
    LargeObject {
        /// The function called.
        function: String,
    },
    /// Creates an object.
    SchemaAdd {
        /// The kind of object: `table`, `index`, …
        kind: String,
        /// Its name.
        name: String,
        /// Whether it ends with the session.
        temporary: bool,
    },
    /// Changes an object without dropping anything.
    SchemaChange {
        /// The kind of object.
        kind: String,
        /// Its name.
        name: String,
    },
    /// Drops an object, or a part of one.
    SchemaDrop {
        /// The kind of object.
        kind: String,
        /// Its name.
        name: String,
        /// Whether what depends on it is dropped too.
        cascade: bool,
    },
    /// Rewrites a table or index as a whole, under a strong lock.
    Rewrite {
        /// What is rewritten.
        name: String,
    },
    /// Creates or replaces code that the server runs later: functions, triggers, rules, operators, casts.
    CodeDefinition {
        /// The kind of object.
        kind: String,
        /// Its name.
        name: String,
    },
    /// Grants or revokes privileges on objects, changes owners or row security.
    Privilege {
        /// The construct.
        action: String,
    },
    /// Changes roles or their membership.
    Role {
        /// The construct.
        action: String,
    },
    /// Changes a setting of the session.
    Setting {
        /// The setting.
        name: String,
        /// How far the change can get round what the guard relies on.
        reach: Reach,
    },
    /// Begins, ends or shapes a transaction behind the client's back.
    TransactionControl {
        /// The construct.
        action: &'static str,
    },
    /// Runs a function or an operator of which nothing is known.
    Call {
        /// Its name; operators read `operator ===`.
        function: String,
    },
    /// Runs code that stands outside the statement's grammar: `DO`, `EXECUTE`, SQL in a string.
    DynamicCode {
        /// The construct.
        construct: String,
    },
    /// Reaches out of the database: files, programs, the network, other servers.
    External {
        /// The construct.
        construct: String,
    },
    /// Concerns the whole cluster: other sessions, replication, WAL, databases, the server's settings.
    Cluster {
        /// The construct.
        construct: String,
    },
    /// Runs code that the schema's owner attached to an object and that cannot be read: a trigger in C, a rule's
    /// function with dynamic SQL. What it does is decided by what is observed.
    HiddenCode {
        /// The code, and what it is attached to.
        code: String,
    },
    /// Maintains a table without changing what it says: `VACUUM`, `ANALYZE`.
    Maintenance,
    /// Sends or awaits notifications.
    Notification,
    /// Cannot be judged.
    Opaque {
        /// The node of the grammar.
        node: &'static str,
    },
}

/// What a write does to rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Adds rows.
    Insert,
    /// Changes rows.
    Update,
    /// Removes rows.
    Delete,
}

/// What keeps a write from touching every row of its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// Nothing: there is no condition.
    None,
    /// A condition that is the same for every row: always true, or without a column of the table.
    Constant,
    /// A condition on the rows, or the rows that the statement itself gives.
    Conditional,
}

/// How far a change of a setting can get round what the guard relies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// It changes how values are shown, or makes a limit stricter.
    Harmless,
    /// It changes how statements behave.
    Session,
    /// It changes who one is, which rules hold, or how text is read.
    Escape,
}

/// The modes of table locks by their number, as `LOCK TABLE` names them (PostgreSQL's `lockdefs.h`).
pub(crate) const LOCK_MODES: [&str; 9] = [
    "NONE",
    "ACCESS SHARE",
    "ROW SHARE",
    "ROW EXCLUSIVE",
    "SHARE UPDATE EXCLUSIVE",
    "SHARE",
    "SHARE ROW EXCLUSIVE",
    "EXCLUSIVE",
    "ACCESS EXCLUSIVE",
];

impl Effect {
    /// Returns the effect's name in snake case, as it stands in reports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Read { .. } => "read",
            Self::LockRows => "lock_rows",
            Self::LockTable { .. } => "lock_table",
            Self::AdvisoryLock { .. } => "advisory_lock",
            Self::Write { .. } => "write",
            Self::Truncate { .. } => "truncate",
            Self::SequenceAdvance => "sequence_advance",
            Self::SequenceReset => "sequence_reset",
            Self::LargeObject { .. } => "large_object",
            Self::SchemaAdd { .. } => "schema_add",
            Self::SchemaChange { .. } => "schema_change",
            Self::SchemaDrop { .. } => "schema_drop",
            Self::Rewrite { .. } => "rewrite",
            Self::CodeDefinition { .. } => "code_definition",
            Self::Privilege { .. } => "privilege",
            Self::Role { .. } => "role",
            Self::Setting { .. } => "setting",
            Self::TransactionControl { .. } => "transaction_control",
            Self::Call { .. } => "call",
            Self::DynamicCode { .. } => "dynamic_code",
            Self::External { .. } => "external",
            Self::Cluster { .. } => "cluster",
            Self::HiddenCode { .. } => "hidden_code",
            Self::Maintenance => "maintenance",
            Self::Notification => "notification",
            Self::Opaque { .. } => "opaque",
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::Write { table, operation, bound } => {
                let operation = match operation {
                    Operation::Insert => "insert",
                    Operation::Update => "update",
                    Operation::Delete => "delete",
                };
                let all = if *bound == Bound::Conditional { "" } else { ", every row" };
                write!(f, "({operation} {table}{all})")
            }
            Self::Read { table: object }
            | Self::Truncate { table: object, .. }
            | Self::Rewrite { name: object } => {
                write!(f, "({object})")
            }
            Self::LockTable { table, mode } => write!(f, "({table}, {mode})"),
            Self::SchemaAdd { kind, name, .. }
            | Self::SchemaChange { kind, name }
            | Self::SchemaDrop { kind, name, .. }
            | Self::CodeDefinition { kind, name } => write!(f, "({kind} {name})"),
            Self::Privilege { action: what }
            | Self::Role { action: what }
            | Self::Setting { name: what, .. }
            | Self::DynamicCode { construct: what }
            | Self::External { construct: what }
            | Self::Cluster { construct: what }
            | Self::AdvisoryLock { function: what }
            | Self::LargeObject { function: what }
            | Self::Call { function: what }
            | Self::HiddenCode { code: what } => write!(f, "({what})"),
            Self::TransactionControl { action: what } | Self::Opaque { node: what } => write!(f, "({what})"),
            Self::LockRows
            | Self::SequenceAdvance
            | Self::SequenceReset
            | Self::Maintenance
            | Self::Notification => Ok(()),
        }
    }
}
