//! The rows of other tables that go with the target's: which, in which order they are kept, and in which they come back.

use super::failure::NotPossible;
use super::shape::{Action, ForeignKey, Naming, Shapes, TableName, TableShape, quote};
use super::{Copied, Step, columns, equal};

/// A table of which rows are lost: removed, or changed by a foreign key's SET NULL or SET DEFAULT.
struct Node<'a> {
    table: &'a TableShape,
    removed: bool,
    copy: String,
}

/// The foreign key through which the rows of one node take those of another with them.
struct Edge<'a> {
    from: usize,
    to: usize,
    key: &'a ForeignKey,
}

/// What a DELETE or UPDATE takes with it.
pub(super) struct Graph<'a> {
    naming: &'a Naming,
    shapes: &'a Shapes,
    nodes: Vec<Node<'a>>,
    edges: Vec<Edge<'a>>,
}

impl<'a> Graph<'a> {
    pub(super) fn new(naming: &'a Naming, shapes: &'a Shapes) -> Self {
        Self { naming, shapes, nodes: Vec::new(), edges: Vec::new() }
    }

    /// Follows the foreign keys from the target on. An UPDATE has none to follow: those that pass it on are refused before.
    pub(super) fn seed(&mut self, target: &'a TableShape, is_delete: bool) -> Result<(), NotPossible> {
        self.node(target, is_delete);
        let mut next = 0;
        while is_delete && next < self.nodes.len() {
            if self.nodes[next].removed {
                self.follow(next)?;
            }
            next += 1;
        }
        for group in self.removed_groups(false) {
            let circle =
                group.len() > 1 || self.edges.iter().any(|edge| edge.from == group[0] && edge.to == group[0]);
            let without_key = group.iter().find(|&&index| self.nodes[index].table.primary_key.is_empty());
            if let (true, Some(&index)) = (circle, without_key) {
                return Err(NotPossible::NoPrimaryKey(self.nodes[index].table.name.clone()));
            }
        }
        Ok(())
    }

    pub(super) fn copies(&self) -> Vec<Copied> {
        let copied = |node: &Node<'_>| Copied {
            name: node.copy.clone(),
            table: node.table.name.clone(),
            removed: node.removed,
        };
        self.nodes.iter().map(copied).collect()
    }

    /// The statements that make the copies, all empty, with the columns and no constraint of their tables.
    pub(super) fn creates(&self) -> Vec<Step> {
        let create = |node: &Node<'_>| Step::Once {
            sql: format!("CREATE TABLE {} AS SELECT * FROM {} WITH NO DATA", node.copy, node.table.from()),
            takes_parameters: false,
        };
        self.nodes.iter().map(create).collect()
    }

    /// The statements that fill the copies but the target's, each after those that it depends on.
    pub(super) fn fills(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for group in self.removed_groups(false) {
            let reached: Vec<usize> = group
                .iter()
                .copied()
                .filter(|index| self.edges.iter().any(|edge| edge.to == *index))
                .collect();
            let circle = self.edges.iter().any(|edge| group.contains(&edge.from) && group.contains(&edge.to));
            if circle {
                let sql = reached.iter().map(|&index| self.fill(index, true)).collect();
                steps.push(Step::UntilNothingIsAdded { sql });
            } else {
                let once =
                    |&index: &usize| Step::Once { sql: self.fill(index, false), takes_parameters: false };
                steps.extend(reached.iter().map(once));
            }
        }
        let changed = (0..self.nodes.len()).filter(|&index| !self.nodes[index].removed && index > 0);
        steps.extend(
            changed.map(|index| Step::Once { sql: self.fill(index, false), takes_parameters: false }),
        );
        steps
    }

    /// The statements that put removed rows back, what is referred to before what refers, and then the changed columns.
    pub(super) fn restores(&self) -> Vec<String> {
        let mut statements = Vec::new();
        for group in self.removed_groups(true) {
            let mut inserts: Vec<String> = group.iter().map(|&index| self.insert(index)).collect();
            let Some(last) = inserts.pop() else { continue };
            // Keys that refer to each other in a circle are checked at the end of a statement, so it must be one.
            let parts: Vec<String> = inserts
                .iter()
                .enumerate()
                .map(|(number, insert)| format!("part_{number} AS ({insert} RETURNING 1)"))
                .collect();
            let with = if parts.is_empty() { String::new() } else { format!("WITH {} ", parts.join(", ")) };
            statements.push(with + &last);
        }
        for (index, node) in self.nodes.iter().enumerate().filter(|(_, node)| !node.removed) {
            let mut set: Vec<&String> = self
                .edges
                .iter()
                .filter(|edge| edge.to == index)
                .flat_map(|edge| &edge.key.child_columns)
                .collect();
            set.sort();
            set.dedup();
            if set.is_empty() {
                continue;
            }
            let set: Vec<String> = set.iter().map(|name| format!("{0} = saved.{0}", quote(name))).collect();
            let key = equal("lost", "saved", node.table.primary_key.iter().zip(&node.table.primary_key));
            statements.push(format!(
                "UPDATE {} AS lost SET {} FROM {} AS saved WHERE {key}",
                node.table.from(),
                set.join(", "),
                node.copy
            ));
        }
        statements
    }

    fn node(&mut self, table: &'a TableShape, removed: bool) -> usize {
        let known = |node: &Node<'_>| node.table.name == table.name && node.removed == removed;
        if let Some(index) = self.nodes.iter().position(known) {
            return index;
        }
        let copy = self.naming.copy(self.nodes.len() + 1);
        self.nodes.push(Node { table, removed, copy });
        self.nodes.len() - 1
    }

    fn follow(&mut self, from: usize) -> Result<(), NotPossible> {
        let shapes = self.shapes;
        let parent = &self.nodes[from].table.name;
        let keys: Vec<&ForeignKey> = shapes
            .foreign_keys
            .iter()
            .filter(|key| key.parent == *parent && key.on_delete != Action::Refuse)
            .collect();
        for key in keys {
            let child = shapes.table(&key.child)?;
            if child.has_rules {
                return Err(NotPossible::Rules(child.name.clone()));
            }
            if key.on_delete == Action::Set {
                can_give_back(child, key, shapes)?;
            }
            let to = self.node(child, key.on_delete == Action::Cascade);
            self.edges.push(Edge { from, to, key });
        }
        Ok(())
    }

    /// The statement that copies the rows that refer to rows kept already.
    fn fill(&self, index: usize, only_new: bool) -> String {
        let Node { table, copy, .. } = &self.nodes[index];
        let names: Vec<&String> = table.columns.iter().map(|column| &column.name).collect();
        let referring: Vec<String> = self
            .edges
            .iter()
            .filter(|edge| edge.to == index)
            .map(|edge| {
                let pairs = edge.key.parent_columns.iter().zip(&edge.key.child_columns);
                let from = &self.nodes[edge.from].copy;
                format!("EXISTS (SELECT 1 FROM {from} AS parent WHERE {})", equal("parent", "child", pairs))
            })
            .collect();
        let mut condition = format!("({})", referring.join(" OR "));
        if only_new {
            let key = equal("kept", "child", table.primary_key.iter().zip(&table.primary_key));
            condition = format!("{condition} AND NOT EXISTS (SELECT 1 FROM {copy} AS kept WHERE {key})");
        }
        format!(
            "INSERT INTO {copy} ({}) SELECT {} FROM {} AS child WHERE {condition}",
            columns("", names.iter().copied()),
            columns("child.", names.iter().copied()),
            table.from()
        )
    }

    fn insert(&self, index: usize) -> String {
        let Node { table, copy, .. } = &self.nodes[index];
        let overriding = if table.columns.iter().any(|column| column.always_identity) {
            " OVERRIDING SYSTEM VALUE"
        } else {
            ""
        };
        let names = columns("", table.written());
        format!("INSERT INTO {} ({names}){overriding} SELECT {names} FROM {copy}", table.name)
    }

    /// Groups the nodes whose rows are removed: each group after those that it depends on, nodes in a circle together.
    ///
    /// Rows come back in the order of all foreign keys; they go in the order of those that take rows with them.
    fn removed_groups(&self, all_keys: bool) -> Vec<Vec<usize>> {
        let removed: Vec<usize> = (0..self.nodes.len()).filter(|&index| self.nodes[index].removed).collect();
        let of =
            |name: &TableName| removed.iter().copied().find(|&index| self.nodes[index].table.name == *name);
        let pairs: Vec<(usize, usize)> = if all_keys {
            let keys = self.shapes.foreign_keys.iter();
            keys.filter_map(|key| Some((of(&key.parent)?, of(&key.child)?))).collect()
        } else {
            self.edges
                .iter()
                .map(|edge| (edge.from, edge.to))
                .filter(|(_, to)| removed.contains(to))
                .collect()
        };
        let size = self.nodes.len();
        let mut reaches = vec![vec![false; size]; size];
        for &(from, to) in &pairs {
            reaches[from][to] = true;
        }
        for via in 0..size {
            for from in 0..size {
                for to in 0..size {
                    reaches[from][to] |= reaches[from][via] && reaches[via][to];
                }
            }
        }
        let mut groups: Vec<Vec<usize>> = Vec::new();
        let mut rest = removed;
        while let Some(&first) = rest.iter().find(|&&index| {
            // What it depends on is done, or is in a circle with it.
            rest.iter().all(|&other| other == index || !reaches[other][index] || reaches[index][other])
        }) {
            let is_with = |index: &usize| *index == first || reaches[first][*index] && reaches[*index][first];
            groups.push(rest.iter().copied().filter(is_with).collect());
            rest.retain(|index| !is_with(index));
        }
        groups
    }
}

/// Tells whether columns that a foreign key sets can be given back: by the primary key, which must stay as it is.
fn can_give_back(child: &TableShape, key: &ForeignKey, shapes: &Shapes) -> Result<(), NotPossible> {
    if child.primary_key.is_empty() {
        return Err(NotPossible::NoPrimaryKey(child.name.clone()));
    }
    if key.child_columns.iter().any(|column| child.primary_key.contains(column)) {
        return Err(NotPossible::PrimaryKeyChanged(child.name.clone()));
    }
    let passes_on = shapes.foreign_keys.iter().find(|other| {
        other.parent == child.name
            && other.on_update != Action::Refuse
            && other.parent_columns.iter().any(|column| key.child_columns.contains(column))
    });
    passes_on.map_or(Ok(()), |other| Err(NotPossible::KeyPassesOn(other.name.clone())))
}
