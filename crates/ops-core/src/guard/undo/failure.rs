//! Why rows cannot be kept, or not be put back.

use std::fmt;

use super::shape::TableName;

/// The reason why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotPossible {
    /// The text cannot be parsed.
    Unreadable,
    /// The text has no statement, or more than one.
    NotOneStatement,
    /// The statement is neither a DELETE nor an UPDATE.
    NotDeleteOrUpdate,
    /// A part of the statement changes data itself.
    ChangesDataInside,
    /// The condition is a cursor's position.
    Cursor,
    /// The table is not there.
    UnknownTable,
    /// The table is a view, a foreign table or something else that holds no rows itself.
    NotATable(TableName),
    /// Other tables inherit from the table, and their rows would lose the columns that they have beside its own.
    Inherited(TableName),
    /// Rules change what statements on the table do.
    Rules(TableName),
    /// The rows of the table cannot be told apart.
    NoPrimaryKey(TableName),
    /// The statement changes columns of the primary key, by which the rows would be found again.
    PrimaryKeyChanged(TableName),
    /// The statement changes an identity column that is always generated, which no UPDATE can give its old value back.
    IdentityChanged(TableName),
    /// The statement changes columns that a foreign key refers to, and the key passes the change on.
    KeyPassesOn(String),
    /// The suffix for the names of the copies is not made of 1 to 32 lower-case letters, digits and underscores.
    Suffix,
}

impl NotPossible {
    /// Returns the stable machine-readable name.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::NotOneStatement => "not_one_statement",
            Self::NotDeleteOrUpdate => "not_delete_or_update",
            Self::ChangesDataInside => "changes_data_inside",
            Self::Cursor => "cursor",
            Self::UnknownTable => "unknown_table",
            Self::NotATable(_) => "not_a_table",
            Self::Inherited(_) => "inherited",
            Self::Rules(_) => "rules",
            Self::NoPrimaryKey(_) => "no_primary_key",
            Self::PrimaryKeyChanged(_) => "primary_key_changed",
            Self::IdentityChanged(_) => "identity_changed",
            Self::KeyPassesOn(_) => "key_passes_on",
            Self::Suffix => "suffix",
        }
    }
}

impl fmt::Display for NotPossible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("undo is not possible: ")?;
        match self {
            Self::Unreadable => f.write_str("the text is not SQL that the guard can read"),
            Self::NotOneStatement => f.write_str("the text is not one statement"),
            Self::NotDeleteOrUpdate => f.write_str("the statement is neither a DELETE nor an UPDATE"),
            Self::ChangesDataInside => f.write_str("a part of the statement changes data itself"),
            Self::Cursor => f.write_str("the condition is a cursor's position"),
            Self::UnknownTable => f.write_str("the table is not there"),
            Self::NotATable(table) => write!(f, "{table} is not a table that holds rows"),
            Self::Inherited(table) => write!(f, "other tables inherit from {table}"),
            Self::Rules(table) => write!(f, "rules change what statements on {table} do"),
            Self::NoPrimaryKey(table) => write!(f, "{table} has no primary key"),
            Self::PrimaryKeyChanged(table) => write!(f, "the statement changes the primary key of {table}"),
            Self::IdentityChanged(table) => {
                write!(f, "the statement changes an identity column of {table}")
            }
            Self::KeyPassesOn(key) => write!(f, "the foreign key {key} passes the change on to other rows"),
            Self::Suffix => {
                f.write_str("the suffix is not made of 1 to 32 lower-case letters, digits and underscores")
            }
        }
    }
}

impl std::error::Error for NotPossible {}
