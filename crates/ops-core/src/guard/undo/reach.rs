//! How far a DELETE or UPDATE reaches through foreign keys, whether or not it could be undone.

use super::failure::NotPossible;
use super::shape::{Action, ForeignKey, Shapes, TableName};

/// A table whose rows a foreign key takes along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached {
    /// The table.
    pub table: TableName,
    /// The foreign key, which is the table's own.
    pub foreign_key: String,
    /// The table that the key refers to.
    pub from: TableName,
    /// Whether its rows are removed; else they are changed.
    pub removed: bool,
}

/// Lists the tables that a DELETE or UPDATE can reach through foreign keys, near ones first. The first of the shapes is the target's.
///
/// # Errors
/// [`NotPossible`] where the text is neither, or changes data in another part as well.
pub fn reached(sql: &str, shapes: &Shapes) -> Result<Vec<Reached>, NotPossible> {
    let set = super::read(sql, |doomed| Ok(doomed.set_columns()))?;
    let target = shapes.tables.first().ok_or(NotPossible::UnknownTable)?;
    let mut known: Vec<Reached> = Vec::new();
    // What happens to the rows of a table: they are removed, or these columns of them change.
    let mut todo: Vec<(TableName, Option<Vec<String>>)> = vec![(target.name.clone(), set)];
    while let Some((from, change)) = todo.pop() {
        for key in shapes.foreign_keys.iter().filter(|key| key.parent == from) {
            let Some(removed) = takes_along(key, change.as_deref()) else { continue };
            let reached = Reached {
                table: key.child.clone(),
                foreign_key: key.name.clone(),
                from: from.clone(),
                removed,
            };
            if !known.contains(&reached) {
                known.push(reached);
                todo.insert(0, (key.child.clone(), (!removed).then(|| key.child_columns.clone())));
            }
        }
    }
    Ok(known)
}

/// Tells whether a key takes referring rows along, and whether it removes them.
fn takes_along(key: &ForeignKey, change: Option<&[String]>) -> Option<bool> {
    match change {
        None if key.on_delete == Action::Refuse => None,
        None => Some(key.on_delete == Action::Cascade),
        Some(columns) => {
            let concerned = key.parent_columns.iter().any(|column| columns.contains(column));
            (concerned && key.on_update != Action::Refuse).then_some(false)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::shape::TableShape;
    use super::*;

    #[test]
    fn keys_are_followed_as_the_server_would() {
        let name = |name: &str| TableName::new("s", name);
        let table = |table: &str| TableShape::new(name(table), &["id", "parent"], &["id"]);
        let key = |child: &str, parent: &str, on_delete, on_update| ForeignKey {
            name: format!("{child}_{parent}"),
            parent: name(parent),
            parent_columns: vec!["id".to_owned()],
            child: name(child),
            child_columns: vec!["parent".to_owned()],
            on_delete,
            on_update,
        };
        let shapes = Shapes {
            tables: ["t", "a", "b", "c", "d"].map(table).into(),
            foreign_keys: vec![
                key("a", "t", Action::Cascade, Action::Refuse),
                key("b", "a", Action::Set, Action::Refuse),
                key("c", "b", Action::Cascade, Action::Cascade),
                key("d", "t", Action::Refuse, Action::Cascade),
                key("a", "a", Action::Cascade, Action::Refuse),
            ],
        };
        let cases: [(&str, &[(&str, bool)]); 4] = [
            ("DELETE FROM t", &[("a_t", true), ("b_a", false), ("a_a", true)]),
            ("UPDATE t SET id = 1", &[("d_t", false)]),
            ("UPDATE t SET parent = 1", &[]),
            ("DELETE FROM ONLY t USING u WHERE u.id = t.id", &[("a_t", true), ("b_a", false), ("a_a", true)]),
        ];
        for (sql, expected) in cases {
            let found = reached(sql, &shapes).unwrap();
            let found: Vec<(&str, bool)> =
                found.iter().map(|r| (r.foreign_key.as_str(), r.removed)).collect();
            assert_eq!(found, expected, "{sql}");
        }
        assert_eq!(reached("SELECT 1", &shapes).unwrap_err(), NotPossible::NotDeleteOrUpdate);
    }
}
