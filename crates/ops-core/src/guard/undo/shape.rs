//! What must be known of the tables, as plain data.

use std::fmt;

use super::failure::NotPossible;

/// The name of a table with its schema, not quoted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName {
    /// The schema.
    pub schema: String,
    /// The table.
    pub name: String,
}

impl TableName {
    /// Names a table.
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        Self { schema: schema.into(), name: name.into() }
    }
}

/// As SQL writes it.
impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", quote(&self.schema), quote(&self.name))
    }
}

/// A table, as far as undo must know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableShape {
    /// Its name.
    pub name: TableName,
    /// Its columns, in order.
    pub columns: Vec<ColumnShape>,
    /// The columns of the primary key; none where there is no key.
    pub primary_key: Vec<String>,
    /// Whether it holds rows: a view or a foreign table does not.
    pub holds_rows: bool,
    /// Whether it is partitioned: its rows are in its partitions.
    pub partitioned: bool,
    /// Whether other tables inherit from it that are no partitions.
    pub inherited: bool,
    /// Whether it has rules.
    pub has_rules: bool,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnShape {
    /// Its name.
    pub name: String,
    /// Whether its value is computed from other columns, so that it cannot be written.
    pub computed: bool,
    /// Whether it is an identity column that takes a value only by OVERRIDING SYSTEM VALUE.
    pub always_identity: bool,
}

impl TableShape {
    /// Describes an ordinary table of ordinary columns.
    pub fn new(name: TableName, columns: &[&str], primary_key: &[&str]) -> Self {
        let column =
            |name: &&str| ColumnShape { name: (*name).to_owned(), computed: false, always_identity: false };
        Self {
            name,
            columns: columns.iter().map(column).collect(),
            primary_key: primary_key.iter().map(|&name| name.to_owned()).collect(),
            holds_rows: true,
            partitioned: false,
            inherited: false,
            has_rules: false,
        }
    }

    /// The columns that a statement can write.
    pub(super) fn written(&self) -> impl Iterator<Item = &String> {
        self.columns.iter().filter(|column| !column.computed).map(|column| &column.name)
    }

    /// The table for a FROM clause that means its own rows and its partitions', and no others.
    pub(super) fn from(&self) -> String {
        if self.partitioned { self.name.to_string() } else { format!("ONLY {}", self.name) }
    }
}

/// What a foreign key does to the referring rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It refuses the change, or does nothing.
    Refuse,
    /// It removes or changes them likewise.
    Cascade,
    /// It sets their columns to NULL or to the default.
    Set,
}

/// A foreign key between two of the tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignKey {
    /// Its name.
    pub name: String,
    /// The table that is referred to.
    pub parent: TableName,
    /// The columns that are referred to.
    pub parent_columns: Vec<String>,
    /// The table that refers.
    pub child: TableName,
    /// Its columns, in the same order.
    pub child_columns: Vec<String>,
    /// What happens when a row that is referred to is deleted.
    pub on_delete: Action,
    /// What happens when its columns change.
    pub on_update: Action,
}

/// The target of a statement and every table that it can reach through foreign keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shapes {
    /// The tables, the target first.
    pub tables: Vec<TableShape>,
    /// The foreign keys between them.
    pub foreign_keys: Vec<ForeignKey>,
}

impl Shapes {
    pub(super) fn table(&self, name: &TableName) -> Result<&TableShape, NotPossible> {
        self.tables.iter().find(|table| table.name == *name).ok_or(NotPossible::UnknownTable)
    }
}

/// How the copies are called: `guard_undo_<suffix>_<n>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naming {
    /// The schema for the copies; none for the first of the search path.
    pub schema: Option<String>,
    /// Tells the copies of one statement from those of another: 1 to 32 lower-case letters, digits and underscores.
    pub suffix: String,
}

impl Naming {
    /// Names the copies, in the first schema of the search path.
    pub fn new(suffix: impl Into<String>) -> Self {
        Self { schema: None, suffix: suffix.into() }
    }

    pub(super) fn check(&self) -> Result<(), NotPossible> {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let is_good = (1..=32).contains(&self.suffix.len()) && self.suffix.bytes().all(is_plain);
        if is_good { Ok(()) } else { Err(NotPossible::Suffix) }
    }

    pub(super) fn copy(&self, number: usize) -> String {
        let name = quote(&format!("guard_undo_{}_{number}", self.suffix));
        match &self.schema {
            Some(schema) => format!("{}.{name}", quote(schema)),
            None => name,
        }
    }
}

/// Quotes a name whether it needs it or not: a keyword would.
pub(super) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
