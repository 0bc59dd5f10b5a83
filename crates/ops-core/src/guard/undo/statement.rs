//! The statement itself: which rows it concerns, told from its tree and never from its text.

use super::failure::NotPossible;
use super::shape::{Action, Shapes, TableShape, quote};
use super::{columns, equal};
use crate::guard::names;
use crate::guard::parse::ast::node::Node as NodeEnum;
use crate::guard::parse::{NodeRef, ast};
use crate::guard::walk;

/// The parts of a DELETE or UPDATE that say which rows it concerns.
pub(super) struct Doomed<'a> {
    relation: &'a ast::RangeVar,
    condition: Option<&'a ast::Node>,
    /// The further tables: USING, or FROM.
    others: &'a [ast::Node],
    with: Option<&'a ast::WithClause>,
    /// The columns that an UPDATE sets; none of a DELETE.
    set: Option<Vec<&'a str>>,
}

impl<'a> Doomed<'a> {
    pub(super) fn new(node: NodeRef<'a>) -> Result<Self, NotPossible> {
        let mut inside = Vec::new();
        walk::children(node, &mut |child| inside.push(child));
        while let Some(part) = inside.pop() {
            match part {
                NodeRef::InsertStmt(_)
                | NodeRef::UpdateStmt(_)
                | NodeRef::DeleteStmt(_)
                | NodeRef::MergeStmt(_) => return Err(NotPossible::ChangesDataInside),
                NodeRef::CurrentOfExpr(_) => return Err(NotPossible::Cursor),
                _ => walk::children(part, &mut |child| inside.push(child)),
            }
        }
        match node {
            NodeRef::DeleteStmt(delete) => Ok(Self {
                relation: delete.relation.as_ref().ok_or(NotPossible::Unreadable)?,
                condition: delete.where_clause.as_deref(),
                others: &delete.using_clause,
                with: delete.with_clause.as_ref(),
                set: None,
            }),
            NodeRef::UpdateStmt(update) => {
                let set = update.target_list.iter().filter_map(|target| match target.node.as_ref() {
                    Some(NodeEnum::ResTarget(target)) => Some(target.name.as_str()),
                    _ => None,
                });
                Ok(Self {
                    relation: update.relation.as_ref().ok_or(NotPossible::Unreadable)?,
                    condition: update.where_clause.as_deref(),
                    others: &update.from_clause,
                    with: update.with_clause.as_ref(),
                    set: Some(set.collect()),
                })
            }
            _ => Err(NotPossible::NotDeleteOrUpdate),
        }
    }

    pub(super) fn is_delete(&self) -> bool {
        self.set.is_none()
    }

    /// The columns that an UPDATE sets; none of a DELETE.
    pub(super) fn set_columns(&self) -> Option<Vec<String>> {
        self.set.as_ref().map(|set| set.iter().map(|&column| column.to_owned()).collect())
    }

    pub(super) fn written_name(&self) -> String {
        names::table(self.relation)
    }

    /// Tells whether the rows of this target can be kept and found again.
    pub(super) fn check(&self, target: &TableShape, shapes: &Shapes) -> Result<(), NotPossible> {
        let name = || target.name.clone();
        if !target.holds_rows {
            return Err(NotPossible::NotATable(name()));
        }
        if target.inherited && self.relation.inh {
            return Err(NotPossible::Inherited(name()));
        }
        if target.has_rules {
            return Err(NotPossible::Rules(name()));
        }
        let Some(set) = &self.set else { return Ok(()) };
        if target.primary_key.is_empty() {
            return Err(NotPossible::NoPrimaryKey(name()));
        }
        let is_set = |column: &String| set.contains(&column.as_str());
        if target.primary_key.iter().any(is_set) {
            return Err(NotPossible::PrimaryKeyChanged(name()));
        }
        if target.columns.iter().any(|column| column.always_identity && is_set(&column.name)) {
            return Err(NotPossible::IdentityChanged(name()));
        }
        let passes_on = shapes.foreign_keys.iter().find(|key| {
            key.parent == target.name
                && key.on_update != Action::Refuse
                && key.parent_columns.iter().any(is_set)
        });
        passes_on.map_or(Ok(()), |key| Err(NotPossible::KeyPassesOn(key.name.clone())))
    }

    /// The statement that copies the rows that the condition holds for.
    ///
    /// The columns are read by a template of ours; into its tree go the parts of the statement's own. With further tables a row may
    /// match more than once and is still one row, so they go into an EXISTS.
    pub(super) fn fill(&self, copy: &str, target: &TableShape) -> Result<String, NotPossible> {
        let alias = self.relation.alias.as_ref().map(|alias| quote(&alias.aliasname));
        let prefix = alias.clone().unwrap_or_else(|| target.name.to_string());
        let all: Vec<&String> = target.columns.iter().map(|column| &column.name).collect();
        let only = if self.relation.inh { "" } else { "ONLY " };
        let called = alias.map(|alias| format!(" AS {alias}")).unwrap_or_default();
        let filter = match (self.condition.is_some(), self.others.is_empty()) {
            (false, true) => "",
            (true, true) => " WHERE true",
            (_, false) => " WHERE EXISTS (SELECT 1 FROM a WHERE true)",
        };
        let template = format!(
            "INSERT INTO {copy} ({}) SELECT {} FROM {only}{}{called}{filter}",
            columns("", all.iter().copied()),
            columns(&format!("{prefix}."), all.iter().copied()),
            target.name
        );
        crate::guard::parse::with_statements(&template, |statements| {
            let node = statements.first().and_then(|statement| statement.node);
            let Some(NodeRef::InsertStmt(insert)) = node else { return Err(NotPossible::Unreadable) };
            let mut insert = insert.clone();
            self.put_into(&mut insert).ok_or(NotPossible::Unreadable)?;
            let tree = NodeEnum::InsertStmt(Box::new(insert));
            tree.to_ref().deparse(Default::default()).map_err(|_| NotPossible::Unreadable)
        })
        .unwrap_or(Err(NotPossible::Unreadable))
    }

    /// Puts the statement's own parts into the template; none where the template is not what it was made to be.
    fn put_into(&self, insert: &mut ast::InsertStmt) -> Option<()> {
        let Some(NodeEnum::SelectStmt(select)) = insert.select_stmt.as_mut()?.node.as_mut() else {
            return None;
        };
        select.with_clause = self.with.cloned();
        let condition = self.condition.cloned().map(Box::new);
        if self.others.is_empty() {
            select.where_clause = condition;
            return Some(());
        }
        let Some(NodeEnum::SubLink(exists)) = select.where_clause.as_mut()?.node.as_mut() else {
            return None;
        };
        let Some(NodeEnum::SelectStmt(inner)) = exists.subselect.as_mut()?.node.as_mut() else { return None };
        inner.from_clause = self.others.to_vec();
        inner.where_clause = condition;
        Some(())
    }

    /// The statement that gives the rows of an UPDATE their old values back.
    ///
    /// All columns, because a trigger may have changed more than the statement set.
    pub(super) fn restore_update(&self, copy: &str, target: &TableShape) -> String {
        let is_key = |name: &String| target.primary_key.contains(name);
        let written = target.columns.iter().filter(|column| !column.computed && !column.always_identity);
        let set: Vec<String> = written
            .filter(|column| !is_key(&column.name))
            .map(|column| format!("{0} = saved.{0}", quote(&column.name)))
            .collect();
        let key = equal("lost", "saved", target.primary_key.iter().zip(&target.primary_key));
        format!("UPDATE {} AS lost SET {} FROM {copy} AS saved WHERE {key}", target.from(), set.join(", "))
    }
}
