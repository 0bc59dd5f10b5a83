//! Rows and code: SELECT, INSERT, UPDATE, DELETE, MERGE, COPY, calls and operators, wherever they stand.

use super::super::condition::{self, Target};
use super::super::effect::{Bound, Effect, Operation};
use super::super::functions::{self, Hazard};
use super::super::names::{self, Name, strings};
use super::super::parse::ast::node::Node as NodeEnum;
use super::super::parse::{NodeRef, ast};
use super::{Descend, Walker, effects, option};

impl<'a> Walker<'a> {
    pub(super) fn query(&mut self, node: NodeRef<'a>) -> Descend {
        match node {
            NodeRef::RangeVar(table) => self.range_var(table),
            NodeRef::FuncCall(call) => self.call(call),
            NodeRef::AExpr(expression) => self.operator(strings(&expression.name), expression.location),
            NodeRef::SubLink(link) => self.operator(strings(&link.oper_name), link.location),
            NodeRef::SortBy(sort) => self.operator(strings(&sort.use_op), sort.location),
            NodeRef::RangeTableSample(sample) => self.function(strings(&sample.method), sample.location),
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
            NodeRef::DoStmt(_) => {
                self.add(Effect::DynamicCode { construct: "DO".into() }, -1);
                Descend::No
            }
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
            self.add(Effect::Read { table: names::table(table) }, table.location);
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
        let (name, location) = self.target(table);
        self.add(Effect::SchemaAdd { kind: kind.into(), name, temporary }, location)
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
        let (table, location) = self.target(table);
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

    fn procedure(&mut self, call: &'a ast::CallStmt) -> Descend {
        if let Some(call) = call.funccall.as_deref() {
            let function = strings(&call.funcname).to_string();
            self.add(Effect::Call { function }, call.location);
        }
        Descend::Yes
    }

    /// Without ANALYZE nothing is written, but the planner may run functions.
    fn explain(&mut self, explain: &'a ast::ExplainStmt) -> Descend {
        let Some(query) = explain.query.as_deref().and_then(|node| node.node.as_ref()) else {
            return self.opaque("ExplainStmt");
        };
        let analyze = option(&explain.options, "analyze").unwrap_or(false);
        for mut located in effects(query.to_ref()) {
            match located.predicted.effect {
                Effect::Write { table, .. } if !analyze => located.predicted.effect = Effect::Read { table },
                Effect::SchemaAdd { .. } | Effect::LockRows | Effect::Rewrite { .. } if !analyze => continue,
                _ => {}
            }
            self.effects.push(located);
        }
        Descend::No
    }

    fn call(&mut self, call: &'a ast::FuncCall) -> Descend {
        let name = strings(&call.funcname);
        match name.last() {
            Some("set_config") => {
                let setting = call
                    .args
                    .first()
                    .and_then(text)
                    .map_or_else(|| "(computed)".to_owned(), str::to_lowercase);
                let value = call.args.get(1).and_then(text);
                let reach = super::session::reach(&setting, value);
                self.add(Effect::Setting { name: setting, reach }, call.location)
            }
            _ => self.function(name, call.location),
        }
    }

    fn function(&mut self, name: Name<'a>, location: i32) -> Descend {
        let Some(last) = name.last() else { return self.opaque("FuncCall") };
        let schema = name.qualifier();
        let function = name.to_string();
        let effect = match functions::hazard(schema, last) {
            Some(Hazard::DynamicCode) => Effect::DynamicCode { construct: function },
            Some(Hazard::External) => Effect::External { construct: function },
            Some(Hazard::Cluster) => Effect::Cluster { construct: function },
            Some(Hazard::LargeObject) => Effect::LargeObject { function },
            Some(Hazard::AdvisoryLock) => Effect::AdvisoryLock { function },
            Some(Hazard::SequenceAdvance) => Effect::SequenceAdvance,
            Some(Hazard::SequenceReset) => Effect::SequenceReset,
            Some(Hazard::Notification) => Effect::Notification,
            None if matches!(schema, None | Some("pg_catalog")) && functions::is_harmless(last) => {
                return Descend::Yes;
            }
            None => Effect::Call { function },
        };
        self.add(effect, location)
    }

    fn operator(&mut self, name: Name<'a>, location: i32) -> Descend {
        let Some(last) = name.last() else { return Descend::Yes };
        let is_known = functions::is_known_operator(last)
            // The grammar's own names: BETWEEN, its opposite, and their symmetric forms.
            || last.ends_with(|last: char| last.is_ascii_alphabetic());
        if is_known && matches!(name.qualifier(), None | Some("pg_catalog")) {
            return Descend::Yes;
        }
        let function = match name.qualifier() {
            Some(schema) => format!("operator {}.{last}", names::quoted(schema)),
            None => format!("operator {last}"),
        };
        self.add(Effect::Call { function }, location)
    }
}

fn target(table: &ast::RangeVar) -> Target<'_> {
    Target { name: table.alias.as_ref().map_or(table.relname.as_str(), |alias| &alias.aliasname), table }
}

/// Returns the text of a string constant, also under a cast.
fn text(node: &ast::Node) -> Option<&str> {
    match node.node.as_ref()? {
        NodeEnum::AConst(constant) => match constant.val.as_ref()? {
            ast::a_const::Val::Sval(text) => Some(&text.sval),
            _ => None,
        },
        NodeEnum::TypeCast(cast) => text(cast.arg.as_deref()?),
        NodeEnum::NamedArgExpr(argument) => text(argument.arg.as_deref()?),
        _ => None,
    }
}
