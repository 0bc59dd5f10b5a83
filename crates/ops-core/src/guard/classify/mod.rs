//! The classifier: walks a statement's tree and collects its effects. One file for each family of nodes.

mod behind;
mod code;
mod query;
mod schema;
mod session;

use super::body::Reading;
use super::catalog::{Access, Catalog, Oid, Reference, Summary};
use super::effect::Effect;
use super::parse::{NodeRef, ast};
use super::verdict::Predicted;
use super::walk::{self, Family};

/// An effect, and where in the text it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Located {
    pub(super) predicted: Predicted,
    pub(super) offset: Option<usize>,
}

/// What the tree of one statement says, whatever a policy thinks of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Analysis {
    /// The effects, each once, in the order of the text; those of the statement as a whole first.
    pub(super) effects: Vec<Located>,
    /// Whether it can run inside a transaction block.
    pub(super) transactional: bool,
}

/// What names mean: a catalog, and the schemas in which a name without one is looked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names<'c> {
    pub(super) catalog: &'c Catalog,
    pub(super) path: &'c [String],
}

/// Analyses one statement; with a catalog, names are resolved and the code behind them is looked into.
pub(super) fn analyse(statement: NodeRef<'_>, catalog: Option<&Catalog>) -> Analysis {
    let names = catalog.map(|catalog| Names { catalog, path: catalog.search_path() });
    let mut walker = Walker::new(Reading::new(names));
    walker.walk(statement);
    let Walker { mut effects, references, .. } = walker;
    if let Some(catalog) = catalog {
        behind::expand(catalog, references, &mut effects);
    }
    effects.sort_by_key(|located| located.offset.unwrap_or(0));
    Analysis { effects, transactional: transactional(statement) }
}

/// Tells what a statement inside other code does, without looking behind its names.
pub(super) fn summarise(statement: NodeRef<'_>, reading: Reading<'_>) -> Summary {
    let mut walker = Walker::new(reading);
    walker.walk(statement);
    Summary {
        effects: walker.effects.into_iter().map(|located| located.predicted.effect).collect(),
        references: walker.references.into_iter().map(|(reference, _)| reference).collect(),
    }
}

/// Tells whether PostgreSQL lets a statement run inside a transaction block (`PreventInTransactionBlock` in its source).
fn transactional(statement: NodeRef<'_>) -> bool {
    match statement {
        NodeRef::VacuumStmt(vacuum) => !vacuum.is_vacuumcmd,
        NodeRef::IndexStmt(index) => !index.concurrent,
        NodeRef::DropStmt(drop) => !drop.concurrent,
        NodeRef::ClusterStmt(cluster) => cluster.relation.is_some(),
        NodeRef::ReindexStmt(reindex) => {
            option(&reindex.params, "concurrently").is_none()
                && matches!(
                    reindex.kind(),
                    ast::ReindexObjectType::ReindexObjectIndex | ast::ReindexObjectType::ReindexObjectTable
                )
        }
        NodeRef::AlterTableStmt(alter) => !alter.cmds.iter().any(|command| match command.node.as_ref() {
            Some(ast::node::Node::AlterTableCmd(command)) => match command.def.as_deref() {
                Some(ast::Node { node: Some(ast::node::Node::PartitionCmd(partition)) }) => {
                    partition.concurrent
                }
                _ => false,
            },
            _ => false,
        }),
        NodeRef::TransactionStmt(transaction) => !matches!(
            transaction.kind(),
            ast::TransactionStmtKind::TransStmtCommitPrepared
                | ast::TransactionStmtKind::TransStmtRollbackPrepared
        ),
        NodeRef::CreatedbStmt(_)
        | NodeRef::DropdbStmt(_)
        | NodeRef::CreateTableSpaceStmt(_)
        | NodeRef::DropTableSpaceStmt(_)
        | NodeRef::AlterSystemStmt(_)
        | NodeRef::CreateSubscriptionStmt(_)
        | NodeRef::DropSubscriptionStmt(_)
        | NodeRef::AlterDatabaseStmt(_)
        | NodeRef::DiscardStmt(_) => false,
        _ => true,
    }
}

/// Whether the walk goes on into a node's children.
enum Descend {
    Yes,
    No,
}

/// The names that common table expressions give to a part of a statement.
struct Scope<'a> {
    parent: Option<usize>,
    with: &'a ast::WithClause,
    /// How many of its expressions can be seen.
    visible: usize,
}

/// The walk is a loop over its own stack, so that depth costs no stack of the thread.
struct Walker<'a, 'c> {
    reading: Reading<'c>,
    effects: Vec<Located>,
    /// What the statement names, and where.
    references: Vec<(Reference, Option<usize>)>,
    todo: Vec<(NodeRef<'a>, Option<usize>)>,
    scopes: Vec<Scope<'a>>,
    /// The scope of the node at hand.
    scope: Option<usize>,
    /// Tables that are written or defined: not reported as read. By address, since a name may stand for both.
    targets: Vec<*const ast::RangeVar>,
}

impl<'a, 'c> Walker<'a, 'c> {
    fn new(reading: Reading<'c>) -> Self {
        Self {
            reading,
            effects: Vec::new(),
            references: Vec::new(),
            todo: Vec::new(),
            scopes: Vec::new(),
            scope: None,
            targets: Vec::new(),
        }
    }

    fn walk(&mut self, root: NodeRef<'a>) {
        self.todo.push((root, None));
        while let Some((node, scope)) = self.todo.pop() {
            self.scope = scope;
            let (family, name) = walk::family(node);
            let descend = match family {
                Family::Part => self.part(node),
                Family::Query => self.query(node),
                Family::Session => self.session(node, name),
                Family::Schema => self.schema(node, name),
                Family::Analysed => self.opaque(name),
            };
            if matches!(descend, Descend::Yes) {
                self.push_children(node);
            }
        }
    }

    fn push_children(&mut self, node: NodeRef<'a>) {
        let first = self.todo.len();
        let scope = self.scope;
        walk::children(node, &mut |child| self.todo.push((child, scope)));
        self.todo[first..].reverse();
    }

    fn add(&mut self, effect: Effect, location: i32) -> Descend {
        self.add_via(effect, None, location)
    }

    /// Adds an effect that other text has, which the statement runs.
    fn add_via(&mut self, effect: Effect, via: Option<&str>, location: i32) -> Descend {
        let predicted = Predicted { effect, via: via.map(str::to_owned) };
        // A list of a thousand values would repeat one effect a thousand times; the last few are looked through.
        if !self.effects.iter().rev().take(64).any(|known| known.predicted == predicted) {
            self.effects.push(Located { predicted, offset: offset(location) });
        }
        Descend::Yes
    }

    /// Notes that code may stand behind a name.
    fn refer(&mut self, reference: Reference, location: i32) {
        if !self.references.iter().rev().take(64).any(|(known, _)| *known == reference) {
            self.references.push((reference, offset(location)));
        }
    }

    /// Takes over what a text does that the statement runs.
    fn adopt(&mut self, summary: Summary, via: &str, location: i32) {
        for effect in summary.effects {
            self.add_via(effect, Some(via), location);
        }
        for reference in summary.references {
            self.refer(reference, location);
        }
    }

    /// Finds the relation that a name means, and its name with its schema.
    fn relation_named(&self, table: &ast::RangeVar) -> (String, Option<Oid>) {
        let schema = Some(table.schemaname.as_str()).filter(|schema| !schema.is_empty());
        let names = self.reading.names;
        let found = names.and_then(|names| names.catalog.find_relation(schema, &table.relname, names.path));
        match found {
            Some((oid, relation)) => (relation.title.clone(), Some(oid)),
            None => (super::names::table(table), None),
        }
    }

    fn opaque(&mut self, node: &'static str) -> Descend {
        self.add(Effect::Opaque { node }, -1)
    }

    /// Marks a table as written or defined, so that the walk does not report it as read.
    fn target(&mut self, table: Option<&'a ast::RangeVar>) -> (String, i32) {
        let Some(table) = table else { return (String::new(), -1) };
        self.targets.push(std::ptr::from_ref(table));
        (self.relation_named(table).0, table.location)
    }

    /// As [`Walker::target`], where something is done to the table behind which there may be code.
    fn accessed(&mut self, table: Option<&'a ast::RangeVar>, access: Access) -> (String, i32) {
        let Some(table) = table else { return (String::new(), -1) };
        self.targets.push(std::ptr::from_ref(table));
        let (name, oid) = self.relation_named(table);
        if let Some(oid) = oid {
            self.refer(Reference::Relation(oid, access), table.location);
        }
        (name, table.location)
    }

    /// Opens the scope of a statement that has a `WITH` clause.
    fn open_scope(&mut self, with: Option<&'a ast::WithClause>) {
        if let Some(with) = with {
            self.scopes.push(Scope { parent: self.scope, with, visible: with.ctes.len() });
            self.scope = Some(self.scopes.len() - 1);
        }
    }

    /// Visits the expressions of a `WITH` clause: each sees those before it, or all of them where it is recursive.
    fn with_clause(&mut self, with: &'a ast::WithClause) -> Descend {
        let parent = self.scope.and_then(|scope| self.scopes[scope].parent);
        for (index, expression) in with.ctes.iter().enumerate().rev() {
            let Some(node) = expression.node.as_ref() else { continue };
            let scope = if with.recursive {
                self.scope
            } else {
                self.scopes.push(Scope { parent, with, visible: index });
                Some(self.scopes.len() - 1)
            };
            self.todo.push((node.to_ref(), scope));
        }
        Descend::No
    }

    fn is_common_table(&self, table: &ast::RangeVar) -> bool {
        if !table.schemaname.is_empty() {
            return false;
        }
        let mut scope = self.scope;
        while let Some(index) = scope {
            let Scope { parent, with, visible } = &self.scopes[index];
            let names = with.ctes[..*visible].iter().filter_map(|node| node.node.as_ref());
            for node in names {
                if let NodeRef::CommonTableExpr(expression) = node.to_ref()
                    && expression.ctename == table.relname
                {
                    return true;
                }
            }
            scope = *parent;
        }
        false
    }
}

/// The parser gives -1 where it does not know, and 0 in nodes that have no location.
fn offset(location: i32) -> Option<usize> {
    usize::try_from(location).ok().filter(|offset| *offset > 0)
}

/// Returns an option of a statement (`EXPLAIN (ANALYZE off)`): none where it is absent, else whether it is on.
fn option(options: &[ast::Node], name: &str) -> Option<bool> {
    use ast::a_const::Val;
    use ast::node::Node as NodeEnum;

    let element = options.iter().rev().find_map(|node| match node.node.as_ref() {
        Some(NodeEnum::DefElem(element)) if element.defname == name => Some(element),
        _ => None,
    })?;
    let is_off = |word: &str| matches!(word.to_ascii_lowercase().as_str(), "false" | "off" | "no" | "0");
    // What cannot be read counts as on.
    Some(match element.arg.as_deref().and_then(|arg| arg.node.as_ref()) {
        Some(NodeEnum::String(word)) => !is_off(&word.sval),
        Some(NodeEnum::Integer(number)) => number.ival != 0,
        Some(NodeEnum::Boolean(value)) => value.boolval,
        Some(NodeEnum::AConst(constant)) => match &constant.val {
            Some(Val::Sval(word)) => !is_off(&word.sval),
            Some(Val::Ival(number)) => number.ival != 0,
            Some(Val::Boolval(value)) => value.boolval,
            _ => true,
        },
        _ => true,
    })
}
