//! The catalog: what the names of one database mean, as plain data. Read from a server elsewhere; nothing here asks one.

mod build;
mod extensions;
mod model;

use std::collections::{BTreeSet, HashMap};

pub(crate) use build::{
    CastRow, Dependent, DependsRow, ForeignKeyRow, FunctionRow, OperatorRow, RelationRow, Rows, RuleRow,
    TriggerRow, TypeRow,
};
pub(in crate::guard) use model::{
    Access, Body, Function, Operator, Reference, Relation, Rule, Summary, Type, Use,
};

/// The number by which a server knows an object.
pub(crate) type Oid = u32;

/// The first number that a server gives to an object that did not come with it.
const FIRST_OWN_OID: Oid = 16_384;

/// A picture of a database's own functions, operators, casts, views, rules, triggers and foreign keys.
///
/// It is old as soon as it is taken. That is why it only predicts: what really happened is observed, and where the two
/// do not agree the picture is taken again before a statement is refused.
#[derive(Clone, Default)]
pub struct Catalog {
    search_path: Vec<String>,
    relations: HashMap<Oid, Relation>,
    /// By the name without its schema.
    relation_names: HashMap<String, Vec<Oid>>,
    /// By the name with its schema, quoted where SQL needs it.
    relation_titles: HashMap<String, Oid>,
    functions: HashMap<Oid, Function>,
    function_names: HashMap<String, Vec<Oid>>,
    operators: HashMap<String, Vec<Operator>>,
    types: HashMap<Oid, Type>,
    type_names: HashMap<String, Vec<Oid>>,
    /// The functions of casts to types that came with the server, or are made of other types.
    foreign_casts: Vec<Oid>,
}

/// Only how much there is: the bodies of functions are nothing for a log.
impl std::fmt::Debug for Catalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Catalog")
            .field("search_path", &self.search_path)
            .field("relations", &self.relations.len())
            .field("functions", &self.functions.len())
            .finish_non_exhaustive()
    }
}

impl Catalog {
    /// Returns the schemas in which a name without one is looked for, in order.
    pub(in crate::guard) fn search_path(&self) -> &[String] {
        &self.search_path
    }

    /// Returns a relation's name with its schema, quoted where SQL needs it, and its kind as `pg_class.relkind` has it.
    /// It knows relations that have vanished since.
    pub fn relation_name(&self, oid: u32) -> Option<(&str, char)> {
        self.relations.get(&oid).map(|relation| (relation.title.as_str(), relation.kind))
    }

    /// Tells whether a relation was there when the picture was taken.
    pub fn is_known(&self, oid: u32) -> bool {
        oid < FIRST_OWN_OID || self.relations.contains_key(&oid)
    }

    /// Tells whether a write that was announced for one relation explains that another one was touched: a partition of
    /// it, a table below a view, an index or the TOAST table of it, a temporary table that took its name.
    ///
    /// Both are names as effects have them, quoted where SQL needs it.
    pub fn covers(&self, written: &str, touched: &str) -> bool {
        if written == touched {
            return true;
        }
        let is_bare = !written.contains('.');
        let last = touched.strip_suffix(written).and_then(|schema| schema.strip_suffix('.'));
        if is_bare && last.is_some() {
            return true;
        }
        let Some(&touched_oid) = self.relation_titles.get(touched) else {
            // Made since the picture was taken; a session's own temporary table hides one of its name.
            let name = written.rsplit_once('.').map_or(written, |(_, name)| name);
            return touched.strip_prefix("pg_temp_").is_some_and(|rest| {
                rest.split_once('.').is_some_and(|(_, touched_name)| touched_name == name)
            });
        };
        let Some(&written_oid) = self.relation_titles.get(written) else { return false };
        let touched = self.relations.get(&touched_oid);
        let owner = touched.and_then(|relation| relation.table).unwrap_or(touched_oid);
        self.below(written_oid).contains(&owner)
    }

    /// Returns a relation and all that a write on it may reach as part of itself: partitions, inheritors, what a view
    /// stands on.
    pub(in crate::guard) fn below(&self, oid: Oid) -> BTreeSet<Oid> {
        let mut found = BTreeSet::new();
        let mut todo = vec![oid];
        while let Some(oid) = todo.pop() {
            if !found.insert(oid) {
                continue;
            }
            if let Some(relation) = self.relations.get(&oid) {
                todo.extend(&relation.children);
                todo.extend(relation.base);
            }
        }
        found
    }

    pub(in crate::guard) fn relation(&self, oid: Oid) -> Option<&Relation> {
        self.relations.get(&oid)
    }

    pub(in crate::guard) fn function(&self, oid: Oid) -> Option<&Function> {
        self.functions.get(&oid)
    }

    pub(in crate::guard) fn type_of(&self, oid: Oid) -> Option<&Type> {
        self.types.get(&oid)
    }

    /// Finds the relation that a name means in a search path.
    pub(in crate::guard) fn find_relation(
        &self,
        schema: Option<&str>,
        name: &str,
        path: &[String],
    ) -> Option<(Oid, &Relation)> {
        let candidates = self.relation_names.get(name)?;
        let in_schema = |wanted: &str| {
            candidates.iter().find_map(|oid| {
                let relation = self.relations.get(oid)?;
                (relation.schema == wanted).then_some((*oid, relation))
            })
        };
        match schema {
            Some("pg_temp") => path.iter().filter(|schema| is_temporary(schema)).find_map(|s| in_schema(s)),
            Some(schema) => in_schema(schema),
            None => path.iter().find_map(|schema| in_schema(schema)),
        }
    }

    /// Finds every function that a call may mean; `arguments` is none where their number says nothing.
    pub(in crate::guard) fn find_functions<'a>(
        &'a self,
        schema: Option<&'a str>,
        name: &str,
        arguments: Option<usize>,
        path: &'a [String],
    ) -> impl Iterator<Item = (Oid, &'a Function)> {
        let candidates = self.function_names.get(name).map_or(&[][..], Vec::as_slice);
        candidates.iter().filter_map(move |oid| {
            let function = self.functions.get(oid)?;
            let is_meant = is_reachable(&function.schema, schema, path)
                && arguments.is_none_or(|count| function.takes(count));
            is_meant.then_some((*oid, function))
        })
    }

    /// Tells whether any function has this name, wherever it is.
    pub(in crate::guard) fn has_function(&self, name: &str) -> bool {
        self.function_names.contains_key(name)
    }

    /// Finds every operator that a name may mean.
    pub(in crate::guard) fn find_operators<'a>(
        &'a self,
        schema: Option<&'a str>,
        name: &str,
        path: &'a [String],
    ) -> impl Iterator<Item = &'a Operator> {
        let candidates = self.operators.get(name).map_or(&[][..], Vec::as_slice);
        candidates.iter().filter(move |operator| is_reachable(&operator.schema, schema, path))
    }

    /// Returns the functions that a cast may run although its target is no type of the users'.
    pub(in crate::guard) fn foreign_casts(&self) -> &[Oid] {
        &self.foreign_casts
    }

    /// Finds the type that a name means.
    pub(in crate::guard) fn find_type(
        &self,
        schema: Option<&str>,
        name: &str,
        path: &[String],
    ) -> Option<Oid> {
        let candidates = self.type_names.get(name)?;
        let in_schema = |wanted: &str| {
            candidates.iter().find(|oid| self.types.get(oid).is_some_and(|found| found.schema == wanted))
        };
        match schema {
            Some(schema) => in_schema(schema).copied(),
            None => path.iter().find_map(|schema| in_schema(schema)).copied(),
        }
    }
}

fn is_temporary(schema: &str) -> bool {
    schema.starts_with("pg_temp_")
}

/// Functions and operators are not looked for in the schema of temporary objects, unless it is named.
fn is_reachable(own: &str, wanted: Option<&str>, path: &[String]) -> bool {
    match wanted {
        Some("pg_temp") => is_temporary(own),
        Some(wanted) => own == wanted,
        None => !is_temporary(own) && path.iter().any(|schema| schema == own),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relation(oid: Oid, schema: &str, name: &str, kind: char, parent: Option<Oid>) -> RelationRow {
        let (schema, name) = (schema.to_owned(), name.to_owned());
        RelationRow { oid, schema, name, kind, parent, ..RelationRow::default() }
    }

    fn catalog() -> Catalog {
        let mut rows = Rows {
            search_path: ["pg_temp_3", "pg_catalog", "app", "public"].map(str::to_owned).into(),
            relations: vec![
                relation(20_001, "public", "t", 'r', None),
                relation(20_002, "app", "t", 'r', None),
                relation(20_003, "public", "Parts", 'p', None),
                relation(20_004, "public", "part1", 'p', Some(20_003)),
                relation(20_005, "public", "part11", 'r', Some(20_004)),
                relation(20_006, "public", "v", 'v', None),
                relation(20_007, "public", "u", 'r', None),
                relation(1_259, "pg_catalog", "pg_class", 'r', None),
                relation(20_009, "public", "pg_class", 'r', None),
            ],
            ..Rows::default()
        };
        rows.relations[6].toast = 20_010;
        rows.relations.push(relation(20_010, "pg_toast", "pg_toast_20007", 't', None));
        let index = relation(20_011, "public", "u_key", 'i', None);
        rows.relations.push(RelationRow { table: Some(20_007), ..index });
        rows.rules.push(RuleRow {
            oid: 20_008,
            relation: 20_006,
            name: "_RETURN".into(),
            event: '1',
            is_instead: true,
            text: "CREATE RULE \"_RETURN\" AS ON SELECT TO public.v DO INSTEAD SELECT x FROM public.u".into(),
        });
        Catalog::from_rows(rows)
    }

    #[test]
    fn names_mean_what_the_search_path_says() {
        let catalog = catalog();
        let find = |schema, name| {
            catalog.find_relation(schema, name, catalog.search_path()).map(|(_, found)| found.title.as_str())
        };
        assert_eq!(find(None, "t"), Some("app.t"));
        assert_eq!(find(Some("public"), "t"), Some("public.t"));
        assert_eq!(find(None, "Parts"), Some("public.\"Parts\""));
        assert_eq!(find(None, "parts"), None);
        assert_eq!(find(None, "pg_class"), Some("pg_catalog.pg_class"));
        assert_eq!(catalog.relation_name(20_003), Some(("public.\"Parts\"", 'p')));
        assert!(catalog.is_known(20_011) && catalog.is_known(1_255) && !catalog.is_known(30_000));
    }

    #[test]
    fn a_write_explains_what_it_reaches() {
        let catalog = catalog();
        let cases = [
            (true, "public.t", "public.t"),
            (false, "public.t", "app.t"),
            (true, "public.\"Parts\"", "public.part1"),
            (true, "public.\"Parts\"", "public.part11"),
            (false, "public.part1", "public.\"Parts\""),
            (true, "public.v", "public.u"),
            (false, "public.u", "public.v"),
            (true, "public.u", "public.u_key"),
            (true, "public.u", "pg_toast.pg_toast_20007"),
            (true, "fresh", "public.fresh"),
            (true, "public.t", "pg_temp_3.t"),
            (false, "public.t", "pg_temp_3.u"),
            (false, "public.t", "other.t"),
            (false, "t", "public.nt"),
        ];
        for (expected, written, touched) in cases {
            assert_eq!(catalog.covers(written, touched), expected, "{written} covers {touched}");
        }
    }
}
