//! Undo: the statements that keep the doomed rows of a DELETE or an UPDATE in tables of their own, and those that put them back.
//!
//! Pure: the statement and the shapes of the tables go in, SQL comes out. `ops_core::undo::load` reads the shapes.
//!
//! ```
//! use ops_core::guard::undo::{self, Naming, Shapes, TableName, TableShape};
//!
//! let orders = TableShape::new(TableName::new("public", "orders"), &["id", "amount"], &["id"]);
//! let shapes = Shapes { tables: vec![orders], foreign_keys: Vec::new() };
//! let plan = undo::plan("DELETE FROM orders WHERE amount < $1", &Naming::new("t1"), &shapes)?;
//! assert_eq!(plan.copies[0].name, "\"guard_undo_t1_1\"");
//! assert_eq!(plan.restore.len(), 1);
//! # Ok::<(), undo::NotPossible>(())
//! ```
//!
//! The caller runs, in one REPEATABLE READ transaction: [`UndoPlan::before`], then the statement, then the commit. It compares
//! the number of rows in each copy with the number of rows that it observes to be gone or changed, and rolls back where they
//! differ: a condition may give other rows the second time (`random()`, a `LIMIT` without an order), a trigger may have
//! removed more.
//!
//! Putting the rows back runs the triggers of the tables, as every INSERT does. An administrator who wants the rows
//! exactly as they were runs [`UndoPlan::restore`] under `session_replication_role = replica`.

mod cascade;
mod failure;
mod reach;
mod shape;
mod statement;

pub use failure::NotPossible;
pub use reach::{Reached, reached};
pub use shape::{Action, ColumnShape, ForeignKey, Naming, Shapes, TableName, TableShape};

use super::parse;
use cascade::Graph;
use shape::quote;
use statement::Doomed;

/// How to keep the doomed rows of one statement, and how to put them back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UndoPlan {
    /// The tables that keep the rows; the target's first.
    pub copies: Vec<Copied>,
    /// What to run before the statement, in order.
    pub before: Vec<Step>,
    /// What puts the rows back, in order; to be run in one transaction.
    pub restore: Vec<String>,
    /// What removes the copies when they are no longer wanted.
    pub forget: Vec<String>,
}

/// A table that keeps rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// The copy, as SQL writes its name.
    pub name: String,
    /// The table that the rows are from.
    pub table: TableName,
    /// Whether the rows are removed; else they are changed.
    pub removed: bool,
}

/// One step before the statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// To be run once.
    Once {
        /// The statement.
        sql: String,
        /// Whether it takes the parameters of the statement that is to be undone, by the same numbers. It must be prepared with
        /// the types that the server gives that statement's parameters, because it may not use them all.
        takes_parameters: bool,
    },
    /// To be run again and again, all of them in order, until a round adds no row: rows that refer to each other in a circle.
    UntilNothingIsAdded {
        /// The statements.
        sql: Vec<String>,
    },
}

/// Returns the table whose rows a DELETE or UPDATE concerns, as the statement names it, quoted for `to_regclass`.
///
/// # Errors
/// [`NotPossible`] where the text is something else.
pub fn target(sql: &str) -> Result<String, NotPossible> {
    read(sql, |doomed| Ok(doomed.written_name()))
}

/// Plans how to keep and put back the rows that a DELETE or UPDATE concerns. The first of the shapes is the target's.
///
/// # Errors
/// [`NotPossible`] says why the rows cannot be kept or not be put back.
pub fn plan(sql: &str, naming: &Naming, shapes: &Shapes) -> Result<UndoPlan, NotPossible> {
    naming.check()?;
    read(sql, |doomed| {
        let target = shapes.tables.first().ok_or(NotPossible::UnknownTable)?;
        doomed.check(target, shapes)?;
        let mut graph = Graph::new(naming, shapes);
        graph.seed(target, doomed.is_delete())?;
        let copies = graph.copies();
        let first = copies.first().ok_or(NotPossible::UnknownTable)?;
        let mut before: Vec<Step> = graph.creates();
        before.push(Step::Once { sql: doomed.fill(&first.name, target)?, takes_parameters: true });
        before.extend(graph.fills());
        let mut restore = graph.restores();
        if !doomed.is_delete() {
            restore.push(doomed.restore_update(&first.name, target));
        }
        let forget = copies.iter().rev().map(|copy| format!("DROP TABLE IF EXISTS {}", copy.name)).collect();
        Ok(UndoPlan { copies, before, restore, forget })
    })
}

/// Parses a text of one statement and hands its target over; the tree lives no longer than the call.
fn read<R: Send>(
    sql: &str,
    work: impl FnOnce(Doomed<'_>) -> Result<R, NotPossible> + Send,
) -> Result<R, NotPossible> {
    let read = parse::with_statements(sql, |statements| match statements.as_slice() {
        [statement] => work(Doomed::new(statement.node.ok_or(NotPossible::Unreadable)?)?),
        _ => Err(NotPossible::NotOneStatement),
    });
    read.unwrap_or(Err(NotPossible::Unreadable))
}

/// The columns of a list, quoted, each after a prefix.
fn columns<'a>(prefix: &str, names: impl IntoIterator<Item = &'a String>) -> String {
    names.into_iter().map(|name| format!("{prefix}{}", quote(name))).collect::<Vec<_>>().join(", ")
}

/// The condition that two rows have equal columns; the columns come in pairs.
fn equal<'a>(left: &str, right: &str, pairs: impl IntoIterator<Item = (&'a String, &'a String)>) -> String {
    let terms = pairs.into_iter().map(|(a, b)| format!("{left}.{} = {right}.{}", quote(a), quote(b)));
    terms.collect::<Vec<_>>().join(" AND ")
}
