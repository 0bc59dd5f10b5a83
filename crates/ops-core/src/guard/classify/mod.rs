//! The classifier: walks a statement's tree and collects its effects. One file for each family of nodes.

mod query;
mod schema;
mod session;

use super::catalog::Catalog;
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

/// Analyses one statement; with a catalog, names are resolved and the code behind them is looked into.
pub(super) fn analyse(statement: NodeRef<'_>, catalog: Option<&Catalog>) -> Analysis {
    let _ = catalog;
    Analysis { effects: effects(statement), transactional: transactional(statement) }
}

fn effects(statement: NodeRef<'_>) -> Vec<Located> {
    let mut walker = Walker::new();
    walker.walk(statement);
    walker.effects.sort_by_key(|located| located.offset.unwrap_or(0));
    walker.effects
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
struct Walker<'a> {
    effects: Vec<Located>,
    todo: Vec<(NodeRef<'a>, Option<usize>)>,
    scopes: Vec<Scope<'a>>,
    /// The scope of the node at hand.
    scope: Option<usize>,
    /// Tables that are written or defined: not reported as read. By address, since a name may stand for both.
    targets: Vec<*const ast::RangeVar>,
}

impl<'a> Walker<'a> {
    fn new() -> Self {
        Self { effects: Vec::new(), todo: Vec::new(), scopes: Vec::new(), scope: None, targets: Vec::new() }
    }

    fn walk(&mut self, root: NodeRef<'a>) {
        self.todo.push((root, None));
        while let Some((node, scope)) = self.todo.pop() {
            self.scope = scope;
            let (family, name) = walk::family(node);
            let descend = match family {
                Family::Part => Descend::Yes,
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
        // The parser gives -1 where it does not know, and 0 in nodes that have no location.
        let offset = usize::try_from(location).ok().filter(|offset| *offset > 0);
        // A list of a thousand values would repeat one effect a thousand times; the last few are looked through.
        if !self.effects.iter().rev().take(64).any(|known| known.predicted.effect == effect) {
            self.effects.push(Located { predicted: Predicted { effect, via: None }, offset });
        }
        Descend::Yes
    }

    fn opaque(&mut self, node: &'static str) -> Descend {
        self.add(Effect::Opaque { node }, -1)
    }

    /// Marks a table as written or defined, so that the walk does not report it as read.
    fn target(&mut self, table: Option<&'a ast::RangeVar>) -> (String, i32) {
        match table {
            Some(table) => {
                self.targets.push(std::ptr::from_ref(table));
                (super::names::table(table), table.location)
            }
            None => (String::new(), -1),
        }
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
