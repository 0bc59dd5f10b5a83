//! Whether what happened is among what was predicted: observed ⊆ predicted ∪ opaque.

use std::collections::BTreeMap;

use ops_core::guard::{Effect, Operation};

/// What was predicted for one statement.
pub(super) struct Prediction<'a> {
    pub(super) effects: Vec<Effect>,
    /// For each table the tables that it is a part of.
    pub(super) parents: &'a BTreeMap<String, Vec<String>>,
}

/// Tells whether an effect says that anything may happen.
pub(super) fn is_opaque(effect: &Effect) -> bool {
    matches!(
        effect,
        Effect::Opaque { .. }
            | Effect::Call { .. }
            | Effect::DynamicCode { .. }
            | Effect::HiddenCode { .. }
            | Effect::External { .. }
            | Effect::Cluster { .. }
    )
}

impl Prediction<'_> {
    pub(super) fn is_opaque(&self) -> bool {
        self.effects.iter().any(is_opaque)
    }

    /// Tells whether a fact of the server is one that the effects have in them.
    pub(super) fn explains(&self, fact: &str) -> bool {
        let mut words = fact.split(' ');
        let (kind, first) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let rest: Vec<&str> = words.collect();
        // The number of rows stands last.
        let table = fact
            .split_once(' ')
            .and_then(|(_, rest)| rest.rsplit_once(' '))
            .map_or(first, |(table, _)| table);
        match kind {
            "insert" => self.writes(table, Operation::Insert),
            "update" => self.writes(table, Operation::Update),
            "delete" => self.writes(table, Operation::Delete),
            "gone" => self.any(|effect| {
                matches!(effect, Effect::SchemaDrop { .. } | Effect::Rewrite { .. })
                    || matches!(effect, Effect::SchemaChange { .. }) && first != "r"
            }),
            "filenode" if first == "S" => self.any(|effect| {
                matches!(
                    effect,
                    Effect::SequenceReset | Effect::SchemaChange { .. } | Effect::Truncate { .. }
                )
            }),
            "filenode" => {
                self.any(|effect| matches!(effect, Effect::Rewrite { .. } | Effect::Truncate { .. }))
            }
            "new" => self.any(|effect| {
                matches!(
                    effect,
                    Effect::SchemaAdd { .. } | Effect::SchemaChange { .. } | Effect::Rewrite { .. }
                )
            }),
            "lock" => self.locks(first, &rest.join(" ")),
            "catalog" => self.changes_catalog(first, rest.first().is_some_and(|rows| rows.starts_with('-'))),
            "privileges" => self.any(|effect| {
                matches!(
                    effect,
                    Effect::Privilege { .. }
                        | Effect::Role { .. }
                        | Effect::SchemaDrop { .. }
                        | Effect::LargeObject { .. }
                )
            }),
            "sequence" => self.any(|effect| {
                matches!(
                    effect,
                    Effect::SequenceAdvance
                        | Effect::SequenceReset
                        | Effect::SchemaChange { .. }
                        | Effect::Truncate { .. }
                        | Effect::Write { operation: Operation::Insert, .. }
                )
            }),
            "setting" => self.sets(first),
            "role" => self.sets("role") || self.sets("session_authorization"),
            "advisory" => self.any(|effect| matches!(effect, Effect::AdvisoryLock { .. })),
            "prepared" => self.sets("prepare"),
            // A cursor holds rows for its transaction; what it runs, it runs when it is fetched from.
            "cursor" => true,
            "xid" => self.any(|effect| {
                !matches!(
                    effect,
                    Effect::Read { .. }
                        | Effect::Setting { .. }
                        | Effect::AdvisoryLock { .. }
                        | Effect::TransactionControl { .. }
                )
            }),
            _ => false,
        }
    }

    fn any(&self, is: impl Fn(&Effect) -> bool) -> bool {
        self.effects.iter().any(is)
    }

    fn writes(&self, table: &str, expected: Operation) -> bool {
        let own = [table.to_owned()];
        let parents = self.parents.get(table).map_or(&[][..], Vec::as_slice);
        self.any(|effect| match effect {
            Effect::Write { table: written, operation, .. } => {
                let same = *operation == expected;
                // An update of a partition key moves a row: a deletion here, an insertion there.
                let moved = *operation == Operation::Update;
                own.iter().any(|table| same && is_named(table, written))
                    || parents.iter().any(|table| (same || moved) && is_named(table, written))
            }
            // The rows of a new table, and of a materialized view that is filled again.
            Effect::Rewrite { name } => is_named(table, name),
            _ => false,
        })
    }

    fn locks(&self, mode: &str, table: &str) -> bool {
        let strength = |mode: &str| MODES.iter().position(|(server, sql)| *server == mode || *sql == mode);
        self.any(|effect| match effect {
            Effect::LockTable { table: locked, mode: predicted } => {
                let parents = self.parents.get(table).into_iter().flatten().map(String::as_str);
                parents.chain([table]).any(|table| is_named(table, locked))
                    && strength(predicted) >= strength(mode)
            }
            Effect::SchemaAdd { .. }
            | Effect::SchemaChange { .. }
            | Effect::SchemaDrop { .. }
            | Effect::Rewrite { .. }
            | Effect::Truncate { .. }
            | Effect::Privilege { .. }
            | Effect::Role { .. }
            | Effect::CodeDefinition { .. }
            | Effect::SequenceReset
            | Effect::Maintenance => true,
            _ => false,
        })
    }

    fn changes_catalog(&self, catalog: &str, fewer: bool) -> bool {
        let schema = |effect: &Effect| {
            matches!(
                effect,
                Effect::SchemaAdd { .. }
                    | Effect::SchemaChange { .. }
                    | Effect::Rewrite { .. }
                    | Effect::Truncate { .. }
                    | Effect::CodeDefinition { .. }
                    | Effect::SequenceReset
                    | Effect::Maintenance
            )
        };
        let drops = |effect: &Effect| matches!(effect, Effect::SchemaDrop { .. });
        let privilege = |effect: &Effect| matches!(effect, Effect::Privilege { .. });
        let role = |effect: &Effect| matches!(effect, Effect::Role { .. });
        let everything =
            |effect: &Effect| matches!(effect, Effect::SchemaDrop { kind, .. } if kind == "everything owned");
        let written = format!("pg_catalog.{catalog}");
        let itself = |effect: &Effect| matches!(effect, Effect::Write { table, .. } if *table == written);
        self.any(|effect| match catalog {
            _ if everything(effect) || itself(effect) => true,
            "pg_authid" | "pg_auth_members" | "pg_db_role_setting" => role(effect),
            "pg_largeobject" | "pg_largeobject_metadata" => {
                matches!(effect, Effect::LargeObject { .. }) || privilege(effect) || role(effect)
            }
            // Renamed.
            "pg_policy" if matches!(effect, Effect::SchemaChange { kind, .. } if kind == "policy") => true,
            "pg_default_acl" | "pg_policy" | "pg_seclabel" | "pg_shseclabel" => {
                privilege(effect) || role(effect) || drops(effect)
            }
            "pg_proc" | "pg_operator" | "pg_cast" | "pg_aggregate" | "pg_trigger" | "pg_opclass"
            | "pg_opfamily" | "pg_am" | "pg_language" | "pg_extension" | "pg_transform" | "pg_conversion"
                if !fewer =>
            {
                matches!(
                    effect,
                    Effect::CodeDefinition { .. } | Effect::SchemaChange { .. } | Effect::SchemaAdd { .. }
                ) || privilege(effect)
                    || role(effect)
                    || drops(effect)
            }
            "pg_database" | "pg_tablespace" | "pg_parameter_acl" => privilege(effect) || role(effect),
            "pg_publication"
            | "pg_subscription"
            | "pg_foreign_data_wrapper"
            | "pg_foreign_server"
            | "pg_user_mapping"
            | "pg_event_trigger" => {
                privilege(effect) || role(effect) || matches!(effect, Effect::SchemaChange { .. })
            }
            // Fewer rows: something is dropped. Some also go with what they belong to: DROP DEFAULT, NOT ENFORCED, COMMENT.
            "pg_attrdef" | "pg_constraint" | "pg_description" | "pg_shdescription" | "pg_trigger"
            | "pg_ts_config_map"
                if fewer =>
            {
                drops(effect) || schema(effect) || role(effect)
            }
            _ if fewer => drops(effect) || matches!(effect, Effect::Rewrite { .. }) || role(effect),
            _ => schema(effect) || drops(effect) || privilege(effect) || role(effect),
        })
    }

    fn sets(&self, setting: &str) -> bool {
        self.any(|effect| match effect {
            Effect::Setting { name, .. } => {
                name.eq_ignore_ascii_case(setting)
                    || matches!(name.as_str(), "all" | "discard" | "(computed)")
                    || name == "names" && setting == "client_encoding"
            }
            Effect::TransactionControl { .. } => true,
            _ => false,
        })
    }
}

/// The modes of table locks that keep others' ordinary work out, as the server and as `LOCK TABLE` name them.
const MODES: [(&str, &str); 5] = [
    ("ShareUpdateExclusiveLock", "SHARE UPDATE EXCLUSIVE"),
    ("ShareLock", "SHARE"),
    ("ShareRowExclusiveLock", "SHARE ROW EXCLUSIVE"),
    ("ExclusiveLock", "EXCLUSIVE"),
    ("AccessExclusiveLock", "ACCESS EXCLUSIVE"),
];

/// Tells whether a written name, with or without schema and quotes, is that of a table.
fn is_named(table: &str, written: &str) -> bool {
    let written = written.replace('"', "");
    table == written || table.split_once('.').is_some_and(|(_, name)| name == written)
}
