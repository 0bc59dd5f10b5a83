//! The rules: one for each class of effects, with the words for whoever is refused. From the worst to the mildest.

use super::super::effect::{Bound, Effect, Operation, Reach};

macro_rules! rules {
    ($($(#[$group:meta])* $rule:ident = $id:literal, $reason:literal, $hint:literal;)*) => {
        /// A class of effects that a policy allows or refuses as one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(in crate::guard) enum Rule {
            $($rule,)*
        }

        impl Rule {
            pub(super) const ALL: &[Self] = &[$(Self::$rule,)*];

            /// Returns the stable name.
            pub(in crate::guard) fn id(self) -> &'static str {
                match self {
                    $(Self::$rule => $id,)*
                }
            }

            fn words(self) -> (&'static str, &'static str) {
                match self {
                    $(Self::$rule => ($reason, $hint),)*
                }
            }
        }
    };
}

rules! {
    Unparsable = "unparsable", "the text is not SQL that the guard can read",
        "check the syntax; statements newer than PostgreSQL 18 are not known";
    TooComplex = "too-complex", "the text nests deeper than the guard can follow",
        "split the statement, or pass long lists as one array parameter";
    TooLong = "too-long", "the text is longer than 2 MiB",
        "split the text, or pass long lists as one array parameter";
    MultipleStatements = "multiple-statements", "the text has more than one statement",
        "send one statement at a time, inside a transaction if they belong together";
    Opaque = "opaque", "the guard does not know what {} does",
        "ask for a person with the break_glass policy";
    External = "external", "{} reaches out of the database",
        "move data through the client instead of the server's files, programs or network";
    Cluster = "cluster", "{} concerns the whole cluster",
        "this is work for an administrator, with the break_glass policy";
    DataDrop = "data-drop", "drops {} with the rows in it",
        "stop using it first, take a backup, and drop it with the break_glass policy";
    Truncate = "truncate", "removes every row of {} at once",
        "delete the rows that you mean, with a condition";
    DeleteAll = "delete-all", "would delete every row of {}",
        "add a WHERE clause that tells rows apart by the table's own columns";
    UpdateAll = "update-all", "would change every row of {}",
        "add a WHERE clause that tells rows apart by the table's own columns";
    DynamicCode = "dynamic-code", "{} runs code that the guard cannot read",
        "send the statements themselves";
    LargeObject = "large-object", "{} writes or deletes large objects, which no condition bounds",
        "keep large values in a bytea column or in object storage";
    SessionEscape = "session-escape", "changes {}, on which the guard relies",
        "open a session with the settings or the role that you need";
    Role = "role", "changes roles: {}",
        "this is work for an administrator, with the break_glass policy";
    Privilege = "privilege", "changes who may do what: {}",
        "put it into a migration";
    CodeDefinition = "code-definition", "defines code that the server runs later: {}",
        "put it into a migration";
    SchemaDrop = "schema-drop", "drops {}",
        "put it into a migration";
    Rewrite = "rewrite", "rewrites {} under a lock that keeps others out",
        "put it into a migration, at a quiet time";
    SchemaChange = "schema-change", "changes {}",
        "put it into a migration";
    SchemaAdd = "schema-add", "creates {}",
        "put it into a migration";
    LockTable = "lock-table", "locks the whole table {}",
        "lock the rows that you need with SELECT … FOR UPDATE";
    SequenceReset = "sequence-reset", "moves a sequence, which a rollback does not undo",
        "let the sequence count on its own, or put it into a migration";
    TransactionControl = "transaction-control", "{} would begin or end a transaction behind the client's back",
        "use the client's transaction methods";
    UnknownFunction = "unknown-function", "calls {}, of which nothing is known",
        "if the function is safe for this application, name it under `functions` in the policy";
    HiddenCode = "hidden-code", "runs {}, which cannot be read",
        "this session may only read";
    SessionSetting = "session-setting", "changes the setting {} for all later statements of the session",
        "set it where the connection is configured";
    SchemaAddTemporary = "schema-add-temporary", "creates {} for the session",
        "a session that only reads needs no temporary objects";
    Delete = "delete", "deletes rows of {}", "this session may only read";
    Update = "update", "changes rows of {}", "this session may only read";
    Insert = "insert", "adds rows to {}", "this session may only read";
    SequenceAdvance = "sequence-advance", "takes a value from a sequence", "this session may only read";
    LockRows = "lock-rows", "locks the rows that it reads", "this session may only read";
    AdvisoryLock = "advisory-lock", "{} takes a lock", "this session may only read";
    Maintenance = "maintenance", "maintains a table", "this session may only read";
    Notification = "notification", "sends or awaits notifications", "this session may only read";
    HarmlessSetting = "harmless-setting", "changes the setting {}", "this session may change nothing";
    Read = "read", "reads {}", "this session may read nothing";
}

/// The words of a rule, for one effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RuleText {
    pub(crate) id: String,
    pub(crate) reason: String,
    pub(crate) hint: String,
}

impl Rule {
    /// The rules over effects. The first four are over the text as a whole, and no policy can switch them off.
    pub(in crate::guard) const EFFECTS: &[Self] = Self::ALL.split_at(4).1;

    /// Returns the rule that an effect falls under.
    pub(in crate::guard) fn of(effect: &Effect) -> Self {
        match effect {
            Effect::Read { .. } => Self::Read,
            Effect::LockRows => Self::LockRows,
            // Weaker modes are what ordinary statements take.
            Effect::LockTable { mode: "ACCESS SHARE" | "ROW SHARE" | "ROW EXCLUSIVE", .. } => Self::LockRows,
            Effect::LockTable { .. } => Self::LockTable,
            Effect::AdvisoryLock { .. } => Self::AdvisoryLock,
            Effect::Write { operation: Operation::Insert, .. } => Self::Insert,
            Effect::Write { operation: Operation::Update, bound: Bound::Conditional, .. } => Self::Update,
            Effect::Write { operation: Operation::Update, .. } => Self::UpdateAll,
            Effect::Write { operation: Operation::Delete, bound: Bound::Conditional, .. } => Self::Delete,
            Effect::Write { operation: Operation::Delete, .. } => Self::DeleteAll,
            Effect::Truncate { .. } => Self::Truncate,
            Effect::SequenceAdvance => Self::SequenceAdvance,
            Effect::SequenceReset => Self::SequenceReset,
            Effect::LargeObject { .. } => Self::LargeObject,
            Effect::SchemaAdd { temporary: true, .. } => Self::SchemaAddTemporary,
            Effect::SchemaAdd { .. } => Self::SchemaAdd,
            Effect::SchemaChange { .. } => Self::SchemaChange,
            Effect::SchemaDrop { cascade: true, .. } => Self::DataDrop,
            Effect::SchemaDrop { kind, .. } if holds_rows(kind) => Self::DataDrop,
            Effect::SchemaDrop { .. } => Self::SchemaDrop,
            Effect::Rewrite { .. } => Self::Rewrite,
            Effect::CodeDefinition { .. } => Self::CodeDefinition,
            Effect::Privilege { .. } => Self::Privilege,
            Effect::Role { .. } => Self::Role,
            Effect::Setting { reach: Reach::Harmless, .. } => Self::HarmlessSetting,
            Effect::Setting { reach: Reach::Session, .. } => Self::SessionSetting,
            Effect::Setting { reach: Reach::Escape, .. } => Self::SessionEscape,
            Effect::TransactionControl { .. } => Self::TransactionControl,
            Effect::Call { .. } => Self::UnknownFunction,
            Effect::DynamicCode { .. } => Self::DynamicCode,
            Effect::External { .. } => Self::External,
            Effect::Cluster { .. } => Self::Cluster,
            Effect::HiddenCode { .. } => Self::HiddenCode,
            Effect::Maintenance => Self::Maintenance,
            Effect::Notification => Self::Notification,
            Effect::Opaque { .. } => Self::Opaque,
        }
    }

    /// Returns the words of the rule, for the effect that it refuses.
    pub(in crate::guard) fn text(self, effect: Option<&Effect>) -> RuleText {
        let (reason, hint) = self.words();
        let mut reason = reason.replace("{}", &effect.map(object).unwrap_or_default());
        match effect {
            Some(Effect::Write { bound: Bound::None, .. }) => reason.push_str(": it has no condition"),
            Some(Effect::Write { bound: Bound::Constant, .. }) => {
                reason.push_str(": its condition is the same for all of them");
            }
            Some(Effect::Truncate { cascade: true, .. } | Effect::SchemaDrop { cascade: true, .. }) => {
                reason.push_str(", and what depends on it");
            }
            _ => {}
        }
        RuleText { id: self.id().to_owned(), reason, hint: hint.to_owned() }
    }
}

fn holds_rows(kind: &str) -> bool {
    matches!(
        kind,
        "table"
            | "column"
            | "schema"
            | "materialized view"
            | "sequence"
            | "partition"
            | "type"
            | "domain"
            | "extension"
            | "everything owned"
    )
}

/// Returns the object of an effect as the sentence needs it.
fn object(effect: &Effect) -> String {
    match effect {
        Effect::Read { table }
        | Effect::LockTable { table, .. }
        | Effect::Write { table, .. }
        | Effect::Truncate { table, .. } => table.clone(),
        Effect::SchemaAdd { kind, name, .. }
        | Effect::SchemaChange { kind, name }
        | Effect::SchemaDrop { kind, name, .. }
        | Effect::CodeDefinition { kind, name } => format!("{kind} {name}").trim_end().to_owned(),
        Effect::Rewrite { name: what }
        | Effect::Setting { name: what, .. }
        | Effect::Privilege { action: what }
        | Effect::Role { action: what }
        | Effect::DynamicCode { construct: what }
        | Effect::External { construct: what }
        | Effect::Cluster { construct: what }
        | Effect::AdvisoryLock { function: what }
        | Effect::LargeObject { function: what }
        | Effect::Call { function: what }
        | Effect::HiddenCode { code: what } => what.clone(),
        Effect::TransactionControl { action: what } | Effect::Opaque { node: what } => (*what).to_owned(),
        Effect::LockRows
        | Effect::SequenceAdvance
        | Effect::SequenceReset
        | Effect::Maintenance
        | Effect::Notification => String::new(),
    }
}
