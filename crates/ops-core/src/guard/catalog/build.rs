//! Puts a catalog together from rows, in the shape in which a server gives them.

use std::collections::HashMap;

use super::model::{Body, ForeignKey, Function, Operator, Relation, Rule, Trigger, TriggerEvents, Type, Use};
use super::{Catalog, FIRST_OWN_OID, Oid, extensions};
use crate::guard::{functions, names};

/// What a server was asked for.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub(crate) search_path: Vec<String>,
    pub(crate) relations: Vec<RelationRow>,
    pub(crate) triggers: Vec<TriggerRow>,
    pub(crate) rules: Vec<RuleRow>,
    pub(crate) foreign_keys: Vec<ForeignKeyRow>,
    pub(crate) functions: Vec<FunctionRow>,
    pub(crate) operators: Vec<OperatorRow>,
    pub(crate) types: Vec<TypeRow>,
    pub(crate) casts: Vec<CastRow>,
    pub(crate) depends: Vec<DependsRow>,
}

/// One relation; several rows where it inherits from several.
#[derive(Debug, Default)]
pub(crate) struct RelationRow {
    pub(crate) oid: Oid,
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) kind: char,
    pub(crate) parent: Option<Oid>,
    /// The table of an index.
    pub(crate) table: Option<Oid>,
    /// Its TOAST table, or zero.
    pub(crate) toast: Oid,
}

#[derive(Debug)]
pub(crate) struct TriggerRow {
    pub(crate) oid: Oid,
    pub(crate) relation: Oid,
    pub(crate) name: String,
    pub(crate) function: Oid,
    /// `tgtype`.
    pub(crate) events: i16,
}

#[derive(Debug)]
pub(crate) struct RuleRow {
    pub(crate) oid: Oid,
    pub(crate) relation: Oid,
    pub(crate) name: String,
    pub(crate) event: char,
    pub(crate) is_instead: bool,
    pub(crate) text: String,
}

#[derive(Debug)]
pub(crate) struct ForeignKeyRow {
    pub(crate) parent: Oid,
    pub(crate) child: Oid,
    pub(crate) name: String,
    pub(crate) on_delete: char,
    pub(crate) on_update: char,
}

#[derive(Debug, Default)]
pub(crate) struct FunctionRow {
    pub(crate) oid: Oid,
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) signature: String,
    pub(crate) arguments: i16,
    pub(crate) defaults: i16,
    pub(crate) is_variadic: bool,
    pub(crate) takes_row: bool,
    /// `prokind`.
    pub(crate) kind: char,
    /// `provolatile`.
    pub(crate) volatility: char,
    pub(crate) is_security_definer: bool,
    pub(crate) settings: Vec<String>,
    pub(crate) language: String,
    pub(crate) extension: Option<String>,
    pub(crate) source: String,
    pub(crate) standard_body: Option<String>,
    /// The functions that an aggregate is made of.
    pub(crate) support: Vec<Oid>,
}

#[derive(Debug)]
pub(crate) struct OperatorRow {
    pub(crate) oid: Oid,
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) is_prefix: bool,
    pub(crate) function: Oid,
}

#[derive(Debug)]
pub(crate) struct TypeRow {
    pub(crate) oid: Oid,
    pub(crate) schema: String,
    pub(crate) name: String,
    /// The type of arrays of it, or zero.
    pub(crate) array: Oid,
}

#[derive(Debug)]
pub(crate) struct CastRow {
    pub(crate) source: Oid,
    pub(crate) target: Oid,
    pub(crate) function: Oid,
}

/// Something that depends on code.
#[derive(Debug)]
pub(crate) struct DependsRow {
    pub(crate) dependent: Dependent,
    pub(crate) oid: Oid,
    /// `f`, `o` or `t`: a function, an operator, a type.
    pub(crate) kind: char,
    pub(crate) used: Oid,
}

/// What kind of object depends on code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dependent {
    /// An expression that runs when rows of a relation are written.
    Expression,
    /// A policy of row security.
    Policy,
    Trigger,
    Rule,
    Type,
    Function,
}

impl Catalog {
    /// Puts a catalog together. Rows that name unknown objects are left out.
    pub(crate) fn from_rows(rows: Rows) -> Self {
        let mut catalog = Self { search_path: rows.search_path, ..Self::default() };
        catalog.add_relations(rows.relations);
        catalog.add_functions(rows.functions);
        let operators = catalog.add_operators(rows.operators);
        let arrays = catalog.add_types(rows.types);
        let triggers = catalog.add_triggers(rows.triggers);
        let rules = catalog.add_rules(rows.rules);
        for row in rows.foreign_keys {
            if let Some(parent) = catalog.relations.get_mut(&row.parent) {
                let ForeignKeyRow { child, name, on_delete, on_update, .. } = row;
                parent.foreign_keys.push(ForeignKey {
                    name: names::quoted(&name),
                    child,
                    on_delete,
                    on_update,
                });
            }
        }
        for row in rows.casts.iter().filter(|row| row.function >= FIRST_OWN_OID) {
            match catalog.types.get_mut(&row.target) {
                Some(target) => target.makes.push(Use::Function(row.function)),
                None => catalog.foreign_casts.push(row.function),
            }
            if let Some(source) = catalog.types.get_mut(&row.source) {
                source.leaves.push(Use::Function(row.function));
            }
        }
        for row in rows.depends {
            let used = match row.kind {
                'f' => Use::Function(row.used),
                'o' => match operators.get(&row.used) {
                    Some(function) => Use::Function(*function),
                    None => continue,
                },
                _ => Use::Type(arrays.get(&row.used).copied().unwrap_or(row.used)),
            };
            // Row types and enumerations run nothing.
            if matches!(used, Use::Type(oid) if !catalog.types.contains_key(&oid)) {
                continue;
            }
            // How values of a base type are read and written is in C, and a superuser's to define.
            let is_unreadable = matches!(used, Use::Function(oid)
                if catalog.functions.get(&oid).is_some_and(|function| function.body == Body::Unreadable));
            if row.dependent == Dependent::Type && is_unreadable {
                continue;
            }
            if let Some(uses) = catalog.uses_of(row.dependent, row.oid, &triggers, &rules)
                && !uses.contains(&used)
            {
                uses.push(used);
            }
        }
        catalog.find_bases();
        catalog
    }

    fn uses_of(
        &mut self,
        dependent: Dependent,
        oid: Oid,
        triggers: &HashMap<Oid, (Oid, usize)>,
        rules: &HashMap<Oid, (Oid, usize)>,
    ) -> Option<&mut Vec<Use>> {
        Some(match dependent {
            // A check of a domain hangs on a type, every other expression on a relation.
            Dependent::Expression if self.types.contains_key(&oid) => &mut self.types.get_mut(&oid)?.makes,
            Dependent::Expression => &mut self.relations.get_mut(&oid)?.expressions,
            Dependent::Policy => &mut self.relations.get_mut(&oid)?.policies,
            Dependent::Trigger => {
                let (relation, index) = triggers.get(&oid)?;
                &mut self.relations.get_mut(relation)?.triggers.get_mut(*index)?.uses
            }
            Dependent::Rule => {
                let (relation, index) = rules.get(&oid)?;
                &mut self.relations.get_mut(relation)?.rules.get_mut(*index)?.uses
            }
            Dependent::Type => &mut self.types.get_mut(&oid)?.makes,
            Dependent::Function => &mut self.functions.get_mut(&oid)?.uses,
        })
    }

    fn add_relations(&mut self, rows: Vec<RelationRow>) {
        let mut children: Vec<(Oid, Oid)> = Vec::new();
        let mut toasts: Vec<(Oid, Oid)> = Vec::new();
        for row in rows {
            children.extend(row.parent.map(|parent| (parent, row.oid)));
            if row.toast != 0 {
                toasts.push((row.toast, row.oid));
            }
            if self.relations.contains_key(&row.oid) {
                continue;
            }
            let title = format!("{}.{}", names::quoted(&row.schema), names::quoted(&row.name));
            self.relation_titles.insert(title.clone(), row.oid);
            self.relation_names.entry(row.name).or_default().push(row.oid);
            let relation = Relation {
                schema: row.schema,
                title,
                kind: row.kind,
                table: row.table,
                ..Relation::default()
            };
            self.relations.insert(row.oid, relation);
        }
        for (parent, child) in children {
            if let Some(parent) = self.relations.get_mut(&parent) {
                parent.children.push(child);
            }
        }
        for (toast, table) in toasts {
            if let Some(toast) = self.relations.get_mut(&toast) {
                toast.table = Some(table);
            }
        }
    }

    fn add_functions(&mut self, rows: Vec<FunctionRow>) {
        for row in rows {
            let body = body(&row);
            let count = |number: i16| usize::try_from(number).unwrap_or(0);
            self.function_names.entry(row.name.clone()).or_default().push(row.oid);
            let function = Function {
                title: format!("{}.{}", names::quoted(&row.schema), names::quoted(&row.name)),
                schema: row.schema,
                signature: row.signature,
                arguments: count(row.arguments),
                defaults: count(row.defaults),
                is_variadic: row.is_variadic,
                takes_row: row.takes_row,
                takes_any_number: matches!(row.kind, 'a' | 'p'),
                is_volatile: row.volatility == 'v',
                is_security_definer: row.is_security_definer,
                settings: row.settings,
                body,
                uses: own(row.support).map(Use::Function).collect(),
                ..Function::default()
            };
            self.functions.insert(row.oid, function);
        }
    }

    /// Adds the operators, and returns the function of each.
    fn add_operators(&mut self, rows: Vec<OperatorRow>) -> HashMap<Oid, Oid> {
        let mut functions = HashMap::new();
        for row in rows {
            functions.insert(row.oid, row.function);
            let operator = Operator { schema: row.schema, is_prefix: row.is_prefix, function: row.function };
            self.operators.entry(row.name).or_default().push(operator);
        }
        functions
    }

    /// Adds the types, and returns the element of each type of arrays.
    fn add_types(&mut self, rows: Vec<TypeRow>) -> HashMap<Oid, Oid> {
        let mut arrays = HashMap::new();
        for row in rows {
            if row.array != 0 {
                arrays.insert(row.array, row.oid);
            }
            let title = format!("{}.{}", names::quoted(&row.schema), names::quoted(&row.name));
            self.type_names.entry(row.name).or_default().push(row.oid);
            self.types.insert(row.oid, Type { schema: row.schema, title, ..Type::default() });
        }
        arrays
    }

    /// Adds the triggers, and returns where each is.
    fn add_triggers(&mut self, rows: Vec<TriggerRow>) -> HashMap<Oid, (Oid, usize)> {
        let mut places = HashMap::new();
        for row in rows {
            let Some(relation) = self.relations.get_mut(&row.relation) else { continue };
            places.insert(row.oid, (row.relation, relation.triggers.len()));
            relation.triggers.push(Trigger {
                name: names::quoted(&row.name),
                events: TriggerEvents(row.events),
                uses: own(vec![row.function]).map(Use::Function).collect(),
            });
        }
        places
    }

    /// Adds the rules, and returns where each is.
    fn add_rules(&mut self, rows: Vec<RuleRow>) -> HashMap<Oid, (Oid, usize)> {
        let mut places = HashMap::new();
        for row in rows {
            let Some(relation) = self.relations.get_mut(&row.relation) else { continue };
            places.insert(row.oid, (row.relation, relation.rules.len()));
            relation.rules.push(Rule {
                name: names::quoted(&row.name),
                event: row.event,
                is_instead: row.is_instead,
                text: row.text,
                ..Rule::default()
            });
        }
        places
    }

    /// Finds the relation below each view that selects from one alone: its rows can be written through the view.
    fn find_bases(&mut self) {
        let views = self.relations.iter().filter(|(_, relation)| relation.kind == 'v');
        let bases: Vec<(Oid, Oid)> = views
            .filter_map(|(oid, view)| {
                let rule = view.rules.iter().find(|rule| rule.event == '1')?;
                let (schema, name) = crate::guard::body::only_source(&rule.text)?;
                Some((*oid, self.find_relation(schema.as_deref(), &name, &self.search_path)?.0))
            })
            .collect();
        for (view, base) in bases {
            if let Some(view) = self.relations.get_mut(&view) {
                view.base = Some(base);
            }
        }
    }
}

/// Those that did not come with the server.
fn own(oids: Vec<Oid>) -> impl Iterator<Item = Oid> {
    oids.into_iter().filter(|oid| *oid >= FIRST_OWN_OID)
}

fn body(row: &FunctionRow) -> Body {
    if row.kind == 'a' {
        // What it runs are its support functions.
        return Body::Harmless;
    }
    match row.language.as_str() {
        "sql" => match &row.standard_body {
            Some(body) => Body::Standard(body.clone()),
            None => Body::Sql(row.source.clone()),
        },
        "plpgsql" => Body::Plpgsql(row.source.clone()),
        // Extensions also give names of their own to functions of the server.
        "c" | "internal"
            if row
                .extension
                .as_ref()
                .is_some_and(|extension| extensions::only_computes(extension, &row.name)) =>
        {
            Body::Harmless
        }
        "internal" if functions::is_harmless(&row.source) => Body::Harmless,
        _ => Body::Unreadable,
    }
}
