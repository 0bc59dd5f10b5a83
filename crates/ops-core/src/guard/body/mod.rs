//! Reads code that stands in text: bodies of functions, `DO` blocks, rules, SQL in a string literal.

mod plpgsql;

use super::catalog::{Body, Function, Summary};
use super::classify::{Names, summarise};
use super::effect::Effect;
use super::parse::ast::a_const::Val;
use super::parse::ast::node::Node as NodeEnum;
use super::parse::{self, NodeRef, Statement, ast};

/// Code within code within code: deeper than this nobody means it, and it is not read.
const MAX_LEVEL: u8 = 4;

/// How code is to be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading<'c> {
    /// What names mean; none where there is no catalog.
    pub(super) names: Option<Names<'c>>,
    /// How deep the code stands in other code.
    pub(super) level: u8,
}

impl<'c> Reading<'c> {
    pub(super) fn new(names: Option<Names<'c>>) -> Self {
        Self { names, level: 0 }
    }

    fn deeper(self) -> Option<Self> {
        (self.level < MAX_LEVEL).then_some(Self { level: self.level + 1, ..self })
    }

    /// Reads statements of SQL; none where they cannot be read.
    pub(super) fn sql(self, text: &str) -> Option<Summary> {
        let deeper = self.deeper()?;
        parse::with_statements(text, |statements| {
            statements.iter().try_fold(Summary::default(), |summary, statement| {
                Some(joined(summary, summarise(statement.node?, deeper)))
            })
        })
        .ok()?
    }

    /// Reads a block of PL/pgSQL; none where it cannot be read. Text that it computes is dynamic code in the summary.
    pub(super) fn plpgsql(self, block: &str) -> Option<Summary> {
        let pieces = plpgsql::pieces(block)?;
        let mut summary = self.sql(&pieces.sql)?;
        for text in pieces.executed {
            summary = joined(summary, self.executed(&text)?);
        }
        Some(summary)
    }

    /// Reads an expression whose value is run.
    fn executed(self, expression: &str) -> Option<Summary> {
        let sql = format!("SELECT {expression}");
        let literal =
            parse::with_statements(&sql, |statements| literal(&statements).map(str::to_owned)).ok()?;
        let dynamic = || Summary {
            effects: vec![Effect::DynamicCode { construct: "EXECUTE".into() }],
            references: Vec::new(),
        };
        let run = literal.and_then(|literal| self.sql(&literal)).unwrap_or_else(dynamic);
        Some(joined(self.sql(&sql)?, run))
    }

    /// Reads the body of a function; none where it cannot be read.
    pub(super) fn function(self, body: &Body) -> Option<Summary> {
        match body {
            Body::Harmless => Some(Summary::default()),
            Body::Sql(text) => self.sql(text),
            Body::Plpgsql(text) => self.plpgsql(text),
            Body::Standard(text) => {
                let deeper = self.deeper()?;
                let sql = format!("CREATE FUNCTION f() RETURNS int LANGUAGE sql {text}");
                parse::with_statements(&sql, |statements| match statements.first()?.node? {
                    NodeRef::CreateFunctionStmt(create) => {
                        let body = create.sql_body.as_deref()?.node.as_ref()?;
                        Some(summarise(body.to_ref(), deeper))
                    }
                    _ => None,
                })
                .ok()?
            }
            Body::Unreadable => None,
        }
    }

    /// Reads what a rule does; none where it cannot be read.
    pub(super) fn rule(self, text: &str) -> Option<Summary> {
        let deeper = self.deeper()?;
        parse::with_statements(text, |statements| {
            let Some(NodeRef::RuleStmt(rule)) = statements.first()?.node else { return None };
            let condition = rule.where_clause.as_deref();
            condition.into_iter().chain(&rule.actions).try_fold(Summary::default(), |summary, action| {
                Some(joined(summary, summarise(action.node.as_ref()?.to_ref(), deeper)))
            })
        })
        .ok()?
    }
}

/// Returns the schemas that a function looks for names in, where it says so.
pub(super) fn search_path(function: &Function) -> Option<Vec<String>> {
    let setting = function.settings.iter().find_map(|setting| setting.strip_prefix("search_path="))?;
    let mut path: Vec<String> = setting
        .split(',')
        .map(|schema| schema.trim().trim_matches('"').replace("\"\"", "\""))
        .filter(|schema| !schema.is_empty() && schema != "$user")
        .collect();
    if !path.iter().any(|schema| schema == "pg_catalog") {
        path.insert(0, "pg_catalog".into());
    }
    Some(path)
}

/// Returns the one relation that a view's rule selects from.
pub(super) fn only_source(rule: &str) -> Option<(Option<String>, String)> {
    parse::with_statements(rule, |statements| {
        let Some(NodeRef::RuleStmt(rule)) = statements.first()?.node else { return None };
        let [ast::Node { node: Some(NodeEnum::SelectStmt(select)) }] = rule.actions.as_slice() else {
            return None;
        };
        match select.from_clause.as_slice() {
            [ast::Node { node: Some(NodeEnum::RangeVar(table)) }] => {
                let schema = Some(table.schemaname.clone()).filter(|schema| !schema.is_empty());
                Some((schema, table.relname.clone()))
            }
            _ => None,
        }
    })
    .ok()?
}

/// Returns the text of `SELECT 'text'`.
fn literal<'a>(statements: &'a [Statement<'a>]) -> Option<&'a str> {
    let [Statement { node: Some(NodeRef::SelectStmt(select)), .. }] = statements else { return None };
    match select.target_list.as_slice() {
        [ast::Node { node: Some(NodeEnum::ResTarget(target)) }] => text(target.val.as_deref()?),
        _ => None,
    }
}

/// Returns the text of a string constant, also under a cast.
pub(super) fn text(node: &ast::Node) -> Option<&str> {
    let mut node = node;
    loop {
        node = match node.node.as_ref()? {
            NodeEnum::AConst(constant) => match constant.val.as_ref()? {
                Val::Sval(text) => return Some(&text.sval),
                _ => return None,
            },
            NodeEnum::TypeCast(cast) => cast.arg.as_deref()?,
            NodeEnum::NamedArgExpr(argument) => argument.arg.as_deref()?,
            _ => return None,
        };
    }
}

fn joined(mut first: Summary, second: Summary) -> Summary {
    first.effects.extend(second.effects);
    first.references.extend(second.references);
    first
}
