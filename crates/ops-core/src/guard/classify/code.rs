//! Calls: functions, procedures, operators, casts, functions that look like columns, and SQL in string literals.

use super::super::body::text;
use super::super::catalog::{Access, Body, Oid, Reference};
use super::super::effect::Effect;
use super::super::functions::{self, Hazard};
use super::super::names::{self, Name, strings};
use super::super::parse::ast::AExprKind;
use super::super::parse::ast::node::Node as NodeEnum;
use super::super::parse::{NodeRef, ast};
use super::{Descend, Names, Walker, session};

impl<'a, 'c> Walker<'a, 'c> {
    /// Nodes that have no effect of their own, but may name code.
    pub(super) fn part(&mut self, node: NodeRef<'a>) -> Descend {
        match node {
            NodeRef::ColumnRef(column) => self.column(column),
            NodeRef::AIndirection(indirection) => self.indirection(indirection),
            NodeRef::TypeName(name) => self.type_name(name),
            NodeRef::JoinExpr(join) if join.is_natural || !join.using_clause.is_empty() => {
                self.implied_operators(&["="], -1);
            }
            _ => {}
        }
        Descend::Yes
    }

    pub(super) fn procedure(&mut self, call: &'a ast::CallStmt) -> Descend {
        if let Some(call) = call.funccall.as_deref() {
            let name = strings(&call.funcname);
            let known = self.reading.names.is_some_and(|names| {
                let mut found = find(names, name, Some(call.args.len()));
                found.next().is_some()
            });
            if !known {
                self.add(Effect::Call { function: name.to_string() }, call.location);
            }
        }
        Descend::Yes
    }

    pub(super) fn call(&mut self, call: &'a ast::FuncCall) -> Descend {
        let name = strings(&call.funcname);
        if name.last() == Some("set_config") {
            let setting =
                call.args.first().and_then(text).map_or_else(|| "(computed)".to_owned(), str::to_lowercase);
            let value = call.args.get(1).and_then(text);
            let reach = session::reach(&setting, value);
            return self.add(Effect::Setting { name: setting, reach }, call.location);
        }
        // The arguments of an aggregate may stand behind WITHIN GROUP.
        let count = (!call.agg_within_group && !call.agg_star).then_some(call.args.len());
        if self.function(name, count, call.location).runs_text() {
            self.literals(&call.args, name, call.location);
        }
        Descend::Yes
    }

    /// A function by its name; `arguments` is none where their number says nothing.
    pub(super) fn function(&mut self, name: Name<'a>, arguments: Option<usize>, location: i32) -> Called {
        let Some(last) = name.last() else {
            self.opaque("FuncCall");
            return Called::Other;
        };
        let schema = name.qualifier();
        let is_known = self.refer_functions(name, arguments, location);
        let may_be_built_in = matches!(schema, None | Some("pg_catalog"));
        if may_be_built_in && functions::is_harmless(last) {
            return Called::Other;
        }
        match functions::hazard(schema, last) {
            Some(hazard) => {
                let (effect, called) = effect(hazard, || name.to_string());
                self.add(effect, location);
                called
            }
            None if is_known => Called::Other,
            None => {
                self.add(Effect::Call { function: name.to_string() }, location);
                Called::Other
            }
        }
    }

    /// Refers to every function that a call may mean, and tells whether there is one.
    fn refer_functions(&mut self, name: Name<'a>, arguments: Option<usize>, location: i32) -> bool {
        let Some(names) = self.reading.names else { return false };
        let mut is_known = false;
        for (oid, _) in find(names, name, arguments) {
            is_known = true;
            self.refer(Reference::Function(oid), location);
        }
        is_known
    }

    /// Text that a function runs as SQL: its literals are read as far as they are SQL.
    fn literals(&mut self, arguments: &'a [ast::Node], name: Name<'a>, location: i32) {
        let via = format!("SQL in {name}");
        for literal in arguments.iter().filter_map(text) {
            if let Some(summary) = self.reading.sql(literal) {
                self.adopt(summary, &via, location);
            }
        }
    }

    /// `DO`: what its block does, as far as it can be read; that it runs code is an effect in any case.
    pub(super) fn block(&mut self, block: &'a ast::DoStmt) -> Descend {
        self.add(Effect::DynamicCode { construct: "DO".into() }, -1);
        let option = |wanted: &str| {
            block.args.iter().find_map(|node| match node.node.as_ref() {
                Some(NodeEnum::DefElem(element)) if element.defname == wanted => element.arg.as_deref(),
                _ => None,
            })
        };
        let word = |node: Option<&'a ast::Node>| match node.and_then(|node| node.node.as_ref()) {
            Some(NodeEnum::String(word)) => Some(word.sval.as_str()),
            _ => None,
        };
        let is_plpgsql = option("language").is_none_or(|node| word(Some(node)) == Some("plpgsql"));
        let text = word(option("as")).filter(|_| is_plpgsql);
        if let Some(summary) = text.and_then(|text| self.reading.plpgsql(text)) {
            self.adopt(summary, "DO", -1);
        }
        Descend::No
    }

    pub(super) fn expression(&mut self, expression: &'a ast::AExpr) -> Descend {
        match expression.kind() {
            AExprKind::AexprBetween
            | AExprKind::AexprNotBetween
            | AExprKind::AexprBetweenSym
            | AExprKind::AexprNotBetweenSym => {
                self.implied_operators(&["<", "<=", ">", ">="], expression.location);
                Descend::Yes
            }
            _ => self.operator(strings(&expression.name), expression.lexpr.is_none(), expression.location),
        }
    }

    pub(super) fn operator(&mut self, name: Name<'a>, is_prefix: bool, location: i32) -> Descend {
        let Some(last) = name.last() else { return Descend::Yes };
        let schema = name.qualifier();
        let full_name = || match schema {
            Some(schema) => format!("operator {}.{last}", names::quoted(schema)),
            None => format!("operator {last}"),
        };
        if self.refer_operators(schema, last, is_prefix, location)
            || functions::is_known_operator(last) && matches!(schema, None | Some("pg_catalog"))
        {
            return Descend::Yes;
        }
        self.add(Effect::Call { function: full_name() }, location)
    }

    /// Refers to every operator that a name may mean, and tells whether there is one whose function can be read.
    fn refer_operators(&mut self, schema: Option<&str>, name: &str, is_prefix: bool, location: i32) -> bool {
        let Some(Names { catalog, path }) = self.reading.names else { return false };
        let mut is_known = false;
        for operator in catalog.find_operators(schema, name, path) {
            if operator.is_prefix != is_prefix {
                continue;
            }
            let function = catalog.function(operator.function);
            if function.is_some_and(|function| function.body == Body::Unreadable) {
                let function = format!("operator {}.{name}", names::quoted(&operator.schema));
                self.add(Effect::Call { function }, location);
            } else {
                self.refer(Reference::Function(operator.function), location);
            }
            is_known = true;
        }
        is_known
    }

    /// Operators that the grammar takes for granted.
    fn implied_operators(&mut self, names: &[&str], location: i32) {
        for name in names {
            self.refer_operators(None, name, false, location);
        }
    }

    /// A function of a row can be called as if it were a column: `t.wipe`.
    fn column(&mut self, column: &'a ast::ColumnRef) {
        let Some(Names { catalog, path }) = self.reading.names else { return };
        if column.fields.len() < 2 {
            return;
        }
        let Some(last) = names::column_name(column).and_then(|name| name.last()) else { return };
        if !catalog.has_function(last) {
            return;
        }
        let found = catalog.find_functions(None, last, Some(1), path);
        for (oid, _) in found.filter(|(_, function)| function.takes_row) {
            self.refer(Reference::Function(oid), column.location);
        }
    }

    /// A function of one argument can be called as if it were a field: `(t).wipe`.
    fn indirection(&mut self, indirection: &'a ast::AIndirection) {
        let fields = indirection.indirection.iter().filter_map(|node| match node.node.as_ref() {
            Some(NodeEnum::String(field)) => Some(field.sval.as_str()),
            _ => None,
        });
        for field in fields {
            // Measured: `(123).lo_unlink` and `(123).pg_terminate_backend` do what they say.
            let hazard = functions::built_in_hazard(field);
            if let Some((effect, _)) = hazard.map(|hazard| effect(hazard, || names::quoted(field))) {
                self.add(effect, -1);
            }
            let Some(Names { catalog, path }) = self.reading.names else { continue };
            for (oid, _) in catalog.find_functions(None, field, Some(1), path) {
                self.refer(Reference::Function(oid), -1);
            }
        }
    }

    /// A value of a user's type runs what the type checks, and a cast from one what the users defined for it.
    fn type_name(&mut self, name: &'a ast::TypeName) {
        let Some(Names { catalog, path }) = self.reading.names else { return };
        let name = (strings(&name.names), name.location);
        let Some(last) = name.0.last() else { return };
        match catalog.find_type(name.0.qualifier(), last, path) {
            Some(oid) => self.refer(Reference::Makes(oid), name.1),
            // What is cast, the text does not tell.
            None => {
                for function in catalog.foreign_casts() {
                    self.refer(Reference::Function(*function), name.1);
                }
            }
        }
    }

    pub(super) fn is_volatile(&self, oid: Oid) -> bool {
        let names = self.reading.names;
        names.and_then(|names| names.catalog.function(oid)).is_some_and(|function| function.is_volatile)
    }

    /// What `TRUNCATE … CASCADE` empties too.
    pub(super) fn truncate_cascade(&mut self, oid: Oid, location: i32) {
        let Some(Names { catalog, .. }) = self.reading.names else { return };
        let mut seen = vec![oid];
        let mut at = 0;
        while let Some(relation) = seen.get(at).and_then(|oid| catalog.relation(*oid)) {
            for key in &relation.foreign_keys {
                if seen.contains(&key.child) {
                    continue;
                }
                seen.push(key.child);
                if let Some(child) = catalog.relation(key.child) {
                    let effect = Effect::Truncate { table: child.title.clone(), cascade: true };
                    self.add_via(effect, Some(&format!("foreign key {}", key.name)), location);
                    self.refer(Reference::Relation(key.child, Access::Truncate), location);
                }
            }
            at += 1;
        }
    }
}

/// What kind of function a name turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Called {
    /// It runs text that it is given.
    RunsText,
    Other,
}

impl Called {
    fn runs_text(self) -> bool {
        self == Self::RunsText
    }
}

fn effect(hazard: Hazard, name: impl FnOnce() -> String) -> (Effect, Called) {
    match hazard {
        Hazard::DynamicCode => (Effect::DynamicCode { construct: name() }, Called::RunsText),
        Hazard::External => (Effect::External { construct: name() }, Called::RunsText),
        Hazard::Cluster => (Effect::Cluster { construct: name() }, Called::Other),
        Hazard::LargeObject => (Effect::LargeObject { function: name() }, Called::Other),
        Hazard::AdvisoryLock => (Effect::AdvisoryLock { function: name() }, Called::Other),
        Hazard::SequenceAdvance => (Effect::SequenceAdvance, Called::Other),
        Hazard::SequenceReset => (Effect::SequenceReset, Called::Other),
        Hazard::Notification => (Effect::Notification, Called::Other),
    }
}

fn find<'n>(
    names: Names<'n>,
    name: Name<'n>,
    arguments: Option<usize>,
) -> impl Iterator<Item = (Oid, &'n super::super::catalog::Function)> {
    let last = name.last().unwrap_or_default();
    names.catalog.find_functions(name.qualifier(), last, arguments, names.path)
}
