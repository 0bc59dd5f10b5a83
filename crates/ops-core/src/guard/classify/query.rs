//! Rows and code: SELECT, INSERT, UPDATE, DELETE, MERGE, COPY, calls and operators, wherever they stand.

use super::super::catalog::{Access, Reference};
use super::super::condition::{self, Target};
use super::super::effect::{Bound, Effect, Operation};
use super::super::names;
use super::super::names::strings;
use super::super::parse::ast::node::Node as NodeEnum;
use super::super::parse::{NodeRef, ast};
use super::{Descend, Walker, option};

impl<'a> Walker<'a, '_> {
    pub(super) fn query(&mut self, node: NodeRef<'a>) -> Descend {
        match node {
            NodeRef::RangeVar(table) => self.range_var(table),
            NodeRef::FuncCall(call) => self.call(call),
            NodeRef::AExpr(expression) => self.expression(expression),
            NodeRef::SubLink(link) => self.operator(strings(&link.oper_name), false, link.location),
            NodeRef::SortBy(sort) => self.operator(strings(&sort.use_op), false, sort.location),
            NodeRef::RangeTableSample(sample) => {
                self.function(strings(&sample.method), None, sample.location);
                Descend::Yes
            }
            NodeRef::LockingClause(_) => self.add(Effect::LockRows, -1),
            NodeRef::SelectStmt(select) => self.select(select),
            NodeRef::InsertStmt(insert) => self.insert(insert),
            NodeRef::UpdateStmt(update) => {
                self.open_scope(update.with_clause.as_ref());
                self.write(update.relation.as_ref(), Operation::Update, update.where_clause.as_deref())
            }
            NodeRef::DeleteStmt(delete) => {
                self.open_scope(delete.with_clause.as_ref());
                self.write(delete.relation.as_ref(), Operation::Delete, delete.where_clause.as_deref())
            }
            NodeRef::MergeStmt(merge) => self.merge(merge),
            NodeRef::WithClause(with) => self.with_clause(with),
            NodeRef::CopyStmt(copy) => self.copy(copy),
            NodeRef::CallStmt(call) => self.procedure(call),
            NodeRef::DoStmt(block) => self.block(block),
            NodeRef::ExplainStmt(explain) => self.explain(explain),
            NodeRef::CreateTableAsStmt(create) => {
                let kind = if create.objtype() == ast::ObjectType::ObjectMatview {
                    "materialized view"
                } else {
                    "table"
                };
                self.table_from_query(create.into.as_deref(), kind)
            }
            _ => self.opaque("query"),
        }
    }

    fn range_var(&mut self, table: &'a ast::RangeVar) -> Descend {
        let is_target = self.targets.iter().any(|target| std::ptr::eq(*target, table));
        if !is_target && !self.is_common_table(table) {
            let (name, oid) = self.relation_named(table);
            if let Some(oid) = oid {
                self.refer(Reference::Relation(oid, Access::Read), table.location);
            }
            self.add(Effect::Read { table: name }, table.location);
        }
        Descend::Yes
    }

    fn select(&mut self, select: &'a ast::SelectStmt) -> Descend {
        self.open_scope(select.with_clause.as_ref());
        if select.into_clause.is_some() {
            return self.table_from_query(select.into_clause.as_deref(), "table");
        }
        Descend::Yes
    }

    fn table_from_query(&mut self, into: Option<&'a ast::IntoClause>, kind: &str) -> Descend {
        let table = into.and_then(|into| into.rel.as_ref());
        let temporary = table.is_some_and(|table| table.relpersistence == "t");
        self.add_relation(kind, table, temporary)
    }

    fn write(
        &mut self,
        table: Option<&'a ast::RangeVar>,
        operation: Operation,
        condition: Option<&'a ast::Node>,
    ) -> Descend {
        let bound = table.map_or(Bound::None, |table| condition::bound(condition, &target(table)));
        self.write_bound(table, operation, bound)
    }

    fn write_bound(
        &mut self,
        table: Option<&'a ast::RangeVar>,
        operation: Operation,
        bound: Bound,
    ) -> Descend {
        let is_system = table.is_some_and(names::is_of_the_system);
        let (table, location) = self.accessed(table, operation.into());
        if is_system || table.starts_with("pg_catalog.") {
            self.add(Effect::Cluster { construct: format!("a write to {table}") }, location);
        }
        self.add(Effect::Write { table, operation, bound }, location)
    }

    fn insert(&mut self, insert: &'a ast::InsertStmt) -> Descend {
        self.open_scope(insert.with_clause.as_ref());
        self.write_bound(insert.relation.as_ref(), Operation::Insert, Bound::Conditional);
        // The rows that conflict are among those that the statement gives.
        if insert
            .on_conflict_clause
            .as_ref()
            .is_some_and(|clause| clause.action() == ast::OnConflictAction::OnconflictUpdate)
        {
            self.write_bound(insert.relation.as_ref(), Operation::Update, Bound::Conditional);
        }
        Descend::Yes
    }

    fn merge(&mut self, merge: &'a ast::MergeStmt) -> Descend {
        self.open_scope(merge.with_clause.as_ref());
        self.target(merge.relation.as_ref());
        let Some(table) = merge.relation.as_ref() else { return self.opaque("MergeStmt") };
        let joined = condition::bound(merge.join_condition.as_deref(), &target(table));
        for node in &merge.merge_when_clauses {
            let Some(NodeEnum::MergeWhenClause(clause)) = node.node.as_ref() else { continue };
            let operation = match clause.command_type() {
                ast::CmdType::CmdInsert => Operation::Insert,
                ast::CmdType::CmdUpdate => Operation::Update,
                ast::CmdType::CmdDelete => Operation::Delete,
                ast::CmdType::CmdNothing => continue,
                _ => return self.opaque("MergeWhenClause"),
            };
            let own = || condition::bound(clause.condition.as_deref(), &target(table));
            let bound = match clause.match_kind() {
                ast::MergeMatchKind::MergeWhenNotMatchedByTarget => Bound::Conditional,
                ast::MergeMatchKind::MergeWhenMatched if joined == Bound::Conditional => Bound::Conditional,
                // Rows without a partner are most of the table: only the clause's own condition bounds them.
                _ => own(),
            };
            self.write_bound(Some(table), operation, bound);
        }
        Descend::Yes
    }

    fn copy(&mut self, copy: &'a ast::CopyStmt) -> Descend {
        if copy.is_program {
            self.add(Effect::External { construct: "COPY PROGRAM".into() }, -1);
        } else if !copy.filename.is_empty() {
            self.add(Effect::External { construct: "COPY with a file on the server".into() }, -1);
        }
        if copy.is_from {
            self.write_bound(copy.relation.as_ref(), Operation::Insert, Bound::Conditional);
        }
        Descend::Yes
    }

    /// Without ANALYZE nothing is written, but the planner may run functions.
    fn explain(&mut self, explain: &'a ast::ExplainStmt) -> Descend {
        let Some(query) = explain.query.as_deref().and_then(|node| node.node.as_ref()) else {
            return self.opaque("ExplainStmt");
        };
        let analyze = option(&explain.options, "analyze").unwrap_or(false);
        let mut walker = Walker::new(self.reading);
        walker.walk(query.to_ref());
        for mut located in walker.effects {
            match located.predicted.effect {
                Effect::Write { table, .. } if !analyze => located.predicted.effect = Effect::Read { table },
                Effect::SchemaAdd { .. } | Effect::LockRows | Effect::Rewrite { .. } if !analyze => continue,
                _ => {}
            }
            self.effects.push(located);
        }
        for (reference, offset) in walker.references {
            let reference = match reference {
                Reference::Relation(oid, _) if !analyze => Reference::Relation(oid, Access::Read),
                // The planner runs a function only where its value is the same for the whole statement.
                Reference::Function(oid) if !analyze && self.is_volatile(oid) => continue,
                reference => reference,
            };
            self.references.push((reference, offset));
        }
        Descend::No
    }
}

fn target(table: &ast::RangeVar) -> Target<'_> {
    Target { name: table.alias.as_ref().map_or(table.relname.as_str(), |alias| &alias.aliasname), table }
}
