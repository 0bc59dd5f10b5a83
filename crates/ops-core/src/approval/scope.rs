//! What an approval permits: one statement, one class of effects on one table, or a session.

use std::fmt;

use crate::error::{Error, ErrorKind};
use crate::guard::{Bound, Effect, Operation, quoted, redact};

/// What an approval permits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope(pub(super) Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Statement { sha256: String, redacted: String },
    Table { table: String, effect: EffectClass },
    Session,
}

impl Scope {
    /// Permits one text, byte for byte as the client will send it: a blank more is another statement.
    pub fn statement(sql: &str) -> Self {
        let sha256 = crate::digest::sha256_hex(sql.as_bytes());
        Self(Kind::Statement { sha256, redacted: redact(sql) })
    }

    /// Permits one class of effects on one table, which is named with its schema as SQL would write it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidApproval`] where the name is not a schema and a table.
    pub fn table(table: &str, effect: EffectClass) -> Result<Self, Error> {
        let table = canonical_table(table).ok_or_else(|| {
            let message = format!("approval for the table {table:?}, which is not a schema and a name");
            Error::new(ErrorKind::InvalidApproval, message)
        })?;
        Ok(Self(Kind::Table { table, effect }))
    }

    /// Permits a session whatever can be parsed and is not a transaction command: break-glass.
    pub fn session() -> Self {
        Self(Kind::Session)
    }

    /// Returns the SHA-256 of the statement's bytes in hexadecimal, where it is about one.
    pub fn statement_sha256(&self) -> Option<&str> {
        match &self.0 {
            Kind::Statement { sha256, .. } => Some(sha256),
            _ => None,
        }
    }

    /// Tells whether it permits a whole session.
    pub fn is_session(&self) -> bool {
        self.0 == Kind::Session
    }
}

/// A scope as a person reads it.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Statement { sha256, redacted } => write!(f, "the statement {redacted} (SHA-256 {sha256})"),
            Kind::Table { table, effect } => write!(f, "{effect} on {table}"),
            Kind::Session => f.write_str("a whole session (break-glass)"),
        }
    }
}

macro_rules! classes {
    ($($(#[$doc:meta])* $class:ident = $name:literal;)*) => {
        /// A class of effects on a table, named as the rule that refuses it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum EffectClass {
            $($(#[$doc])* $class,)*
        }

        impl EffectClass {
            /// Every class.
            pub const ALL: &[Self] = &[$(Self::$class,)*];

            /// Returns the stable name.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$class => $name,)*
                }
            }
        }
    };
}

classes! {
    /// Adds rows.
    Insert = "insert";
    /// Changes rows, with a condition on them.
    Update = "update";
    /// Changes rows, with or without a condition.
    UpdateAll = "update-all";
    /// Removes rows, with a condition on them.
    Delete = "delete";
    /// Removes rows, with or without a condition.
    DeleteAll = "delete-all";
    /// Removes all rows at once, but not those of other tables.
    Truncate = "truncate";
    /// Locks the table.
    LockTable = "lock-table";
    /// Changes the table without losing anything.
    SchemaChange = "schema-change";
    /// Rewrites the table or a column of it; also what `schema-change` is.
    Rewrite = "rewrite";
    /// Drops columns, constraints or defaults of the table or detaches it, without CASCADE; also what `schema-change` is.
    SchemaDrop = "schema-drop";
    /// Drops the table itself, without CASCADE.
    DropTable = "drop-table";
}

impl EffectClass {
    /// Returns the class of this name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|class| class.name() == name)
    }

    /// Tells whether an effect is of this class and concerns this table. What reaches further, as CASCADE does, is not.
    pub(super) fn covers(self, effect: &Effect, approved: &str) -> bool {
        let is_part = |name: &str| name.strip_prefix(approved).is_some_and(|rest| rest.starts_with('.'));
        match effect {
            Effect::Write { table, operation, bound } => {
                let has_condition = *bound == Bound::Conditional;
                table == approved
                    && match operation {
                        Operation::Insert => self == Self::Insert,
                        Operation::Update => self == Self::UpdateAll || self == Self::Update && has_condition,
                        Operation::Delete => self == Self::DeleteAll || self == Self::Delete && has_condition,
                    }
            }
            Effect::Truncate { table, cascade: false } => self == Self::Truncate && table == approved,
            Effect::LockTable { table, .. } => self == Self::LockTable && table == approved,
            Effect::SchemaChange { kind, name } => {
                matches!(self, Self::SchemaChange | Self::Rewrite | Self::SchemaDrop)
                    && kind == "table"
                    && name == approved
            }
            Effect::Rewrite { name } => self == Self::Rewrite && (name == approved || is_part(name)),
            Effect::SchemaDrop { kind, name, cascade: false } => match kind.as_str() {
                "table" => self == Self::DropTable && name == approved,
                "partition" => self == Self::SchemaDrop && name == approved,
                "column" | "constraint" | "column default" => self == Self::SchemaDrop && is_part(name),
                _ => false,
            },
            _ => false,
        }
    }
}

impl fmt::Display for EffectClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Returns the name as the guard writes it, where it is a schema and a table.
fn canonical_table(name: &str) -> Option<String> {
    let (schema, rest) = identifier(name)?;
    let (table, rest) = identifier(rest.strip_prefix('.')?)?;
    rest.is_empty().then(|| format!("{}.{}", quoted(&schema), quoted(&table)))
}

/// Reads one identifier, as SQL would, and returns it with what follows.
fn identifier(text: &str) -> Option<(String, &str)> {
    if let Some(mut rest) = text.strip_prefix('"') {
        let mut name = String::new();
        loop {
            let (part, after) = rest.split_once('"')?;
            name.push_str(part);
            match after.strip_prefix('"') {
                Some(after) => {
                    name.push('"');
                    rest = after;
                }
                None => return (!name.is_empty()).then_some((name, after)),
            }
        }
    }
    let is_part = |c: char| c == '_' || c == '$' || c.is_ascii_alphanumeric() || !c.is_ascii();
    let end = text.find(|c: char| !is_part(c)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let starts_well = name.starts_with(|c: char| !c.is_ascii_digit() && c != '$');
    starts_well.then(|| (name.to_ascii_lowercase(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::Policy;

    #[test]
    fn a_table_is_named_with_its_schema() {
        let cases = [
            ("public.ledger", Some("public.ledger")),
            ("Public.LEDGER", Some("public.ledger")),
            ("public.\"Ledger\"", Some("public.\"Ledger\"")),
            ("\"public\".\"ledger\"", Some("public.ledger")),
            ("\"a.b\".\"c\"\"d\"", Some("\"a.b\".\"c\"\"d\"")),
            ("ledger", None),
            ("", None),
            ("public.", None),
            (".ledger", None),
            ("db.public.ledger", None),
            ("public.ledger x", None),
            ("public.\"ledger", None),
            ("public.\"\"", None),
            ("public.1x", None),
        ];
        for (name, expected) in cases {
            let found = Scope::table(name, EffectClass::Delete).ok();
            let expected = expected
                .map(|table| Scope(Kind::Table { table: table.to_owned(), effect: EffectClass::Delete }));
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn a_class_covers_its_own_effects_on_its_own_table() {
        use EffectClass as Class;

        let cases: &[(&str, &[Class])] = &[
            ("INSERT INTO s.t VALUES (1)", &[Class::Insert]),
            ("UPDATE s.t SET a = 1 WHERE b = 2", &[Class::Update, Class::UpdateAll]),
            ("UPDATE s.t SET a = 1", &[Class::UpdateAll]),
            ("DELETE FROM s.t WHERE b = 2", &[Class::Delete, Class::DeleteAll]),
            ("DELETE FROM s.t WHERE true", &[Class::DeleteAll]),
            ("TRUNCATE s.t", &[Class::Truncate]),
            ("TRUNCATE s.t CASCADE", &[]),
            ("TRUNCATE s.t, s.u", &[]),
            ("LOCK TABLE s.t", &[Class::LockTable]),
            ("ALTER TABLE s.t ADD a int", &[Class::SchemaChange, Class::Rewrite, Class::SchemaDrop]),
            ("ALTER TABLE s.t ALTER a TYPE int", &[Class::Rewrite]),
            ("ALTER TABLE s.t DROP a", &[Class::SchemaDrop]),
            ("ALTER TABLE s.t DROP a CASCADE", &[]),
            ("DROP TABLE s.t", &[Class::DropTable]),
            ("DROP TABLE s.t CASCADE", &[]),
            ("DROP TABLE s.t, s.u", &[]),
            ("DROP VIEW s.t", &[]),
            ("DELETE FROM s.tt", &[]),
            ("ALTER TABLE s.tt DROP a", &[]),
            ("DELETE FROM t", &[]),
            ("CREATE TABLE s.t (a int)", &[]),
        ];
        for (sql, expected) in cases {
            let verdict = Policy::break_glass().judge(sql);
            let effects = || verdict.statements.iter().flat_map(|statement| &statement.effects);
            let relevant = || {
                effects()
                    .map(|predicted| &predicted.effect)
                    .filter(|effect| !matches!(effect, Effect::Read { .. }))
            };
            assert!(relevant().next().is_some(), "{sql}");
            let covering = |class: &&Class| relevant().all(|effect| class.covers(effect, "s.t"));
            let found: Vec<Class> = Class::ALL.iter().filter(covering).copied().collect();
            assert_eq!(found, *expected, "{sql}: {:?}", verdict.statements);
        }
        assert_eq!(Class::by_name("delete-all"), Some(Class::DeleteAll));
        assert_eq!(Class::by_name("everything"), None);
    }
}
