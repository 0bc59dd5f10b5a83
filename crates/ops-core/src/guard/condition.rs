//! Conditions: does a `WHERE` tell rows apart, or does it hold for all of them?
//!
//! Only what the text alone proves is called constant. `id > -1`, `x IS NOT NULL` and a parameter that happens to be NULL
//! cannot be seen here; a limit on the rows is the rule for those.

use super::effect::Bound;
use super::names::{Name, column_name, strings};
use super::parse::ast::{a_const::Val, node::Node as NodeEnum};
use super::parse::{NodeRef, ast};
use super::walk;

/// A table whose rows a statement changes, as its conditions may call it.
pub(super) struct Target<'a> {
    /// The alias, else the table's name.
    pub(super) name: &'a str,
    /// The table itself.
    pub(super) table: &'a ast::RangeVar,
}

/// What the text of a condition proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Truth {
    Always,
    Never,
    Unknown,
}

impl std::ops::Not for Truth {
    type Output = Self;

    fn not(self) -> Self {
        match self {
            Self::Always => Self::Never,
            Self::Never => Self::Always,
            Self::Unknown => Self::Unknown,
        }
    }
}

impl From<bool> for Truth {
    fn from(value: bool) -> Self {
        if value { Self::Always } else { Self::Never }
    }
}

type Condition<'a> = Option<&'a ast::Node>;

/// Judges the condition of a write.
pub(super) fn bound(condition: Condition<'_>, target: &Target<'_>) -> Bound {
    let Some(node) = condition.and_then(|node| node.node.as_ref()) else { return Bound::None };
    match truth(node, target, 0) {
        Truth::Always => Bound::Constant,
        Truth::Never => Bound::Conditional,
        Truth::Unknown if names_column_of(node, target) => Bound::Conditional,
        Truth::Unknown => Bound::Constant,
    }
}

/// Beyond this depth nothing is proven; the condition then counts by the columns that it names.
const MAX_DEPTH: usize = 200;

fn truth(node: &NodeEnum, target: &Target<'_>, depth: usize) -> Truth {
    if depth > MAX_DEPTH {
        return Truth::Unknown;
    }
    let inner = |node: Condition<'_>| {
        node.and_then(|node| node.node.as_ref()).map_or(Truth::Unknown, |node| truth(node, target, depth + 1))
    };
    match node {
        NodeEnum::AConst(constant) => constant_truth(constant),
        NodeEnum::TypeCast(cast) => inner(cast.arg.as_deref()),
        NodeEnum::CollateClause(collate) => inner(collate.arg.as_deref()),
        NodeEnum::BoolExpr(expression) => {
            // Once each: looking twice at every level would take a time exponential in the depth.
            let parts: Vec<Truth> = expression.args.iter().map(|part| inner(Some(part))).collect();
            let all = |truth| parts.iter().all(|part| *part == truth);
            match expression.boolop() {
                ast::BoolExprType::NotExpr => parts.first().map_or(Truth::Unknown, |part| !*part),
                ast::BoolExprType::AndExpr if all(Truth::Always) => Truth::Always,
                ast::BoolExprType::AndExpr if parts.contains(&Truth::Never) => Truth::Never,
                ast::BoolExprType::OrExpr if parts.contains(&Truth::Always) => Truth::Always,
                ast::BoolExprType::OrExpr if covers_all(&expression.args) => Truth::Always,
                ast::BoolExprType::OrExpr if all(Truth::Never) => Truth::Never,
                _ => Truth::Unknown,
            }
        }
        NodeEnum::NullTest(test) => null_test(test),
        NodeEnum::BooleanTest(test) => match (test.booltesttype(), inner(test.arg.as_deref())) {
            (ast::BoolTestType::IsTrue | ast::BoolTestType::IsNotFalse, truth) => truth,
            (ast::BoolTestType::IsFalse | ast::BoolTestType::IsNotTrue, truth) => !truth,
            _ => Truth::Unknown,
        },
        NodeEnum::CoalesceExpr(coalesce) => inner(coalesce.args.first()),
        NodeEnum::CaseExpr(case) if case.arg.is_none() => {
            match case.args.first().and_then(|when| when.node.as_ref()) {
                Some(NodeEnum::CaseWhen(when)) if inner(when.expr.as_deref()) == Truth::Always => {
                    inner(when.result.as_deref())
                }
                _ => Truth::Unknown,
            }
        }
        NodeEnum::SubLink(link) => sub_link(link, target, depth),
        NodeEnum::AExpr(expression) => comparison(expression),
        _ => Truth::Unknown,
    }
}

fn constant_truth(constant: &ast::AConst) -> Truth {
    match &constant.val {
        Some(Val::Boolval(value)) => value.boolval.into(),
        // The forms that a cast to boolean takes (manual, "Boolean Type"), and any prefix of the words.
        Some(Val::Sval(text)) => match text.sval.trim().to_ascii_lowercase().as_str() {
            "t" | "tr" | "tru" | "true" | "y" | "ye" | "yes" | "on" | "1" => Truth::Always,
            "f" | "fa" | "fal" | "fals" | "false" | "n" | "no" | "of" | "off" | "0" => Truth::Never,
            _ => Truth::Unknown,
        },
        Some(Val::Ival(number)) => (number.ival != 0).into(),
        _ if constant.isnull => Truth::Never,
        _ => Truth::Unknown,
    }
}

fn null_test(test: &ast::NullTest) -> Truth {
    let is_null = test.nulltesttype() == ast::NullTestType::IsNull;
    match test.arg.as_deref().and_then(|arg| arg.node.as_ref()) {
        Some(NodeEnum::AConst(constant)) => (constant.isnull == is_null).into(),
        Some(NodeEnum::ColumnRef(column)) if is_system_column(column) => (!is_null).into(),
        _ => Truth::Unknown,
    }
}

/// Every row has these.
fn is_system_column(column: &ast::ColumnRef) -> bool {
    column_name(column)
        .and_then(|name| name.last())
        .is_some_and(|name| matches!(name, "ctid" | "tableoid" | "xmin" | "xmax" | "cmin" | "cmax"))
}

/// Tells whether a list of alternatives has a test and its opposite: `x IS NULL OR x IS NOT NULL`, `a = 1 OR a <> 1`.
fn covers_all(alternatives: &[ast::Node]) -> bool {
    // Every pair is compared; a longer list is no slip of the pen.
    if alternatives.len() > 64 {
        return false;
    }
    let null_tests = |kind| {
        alternatives.iter().filter_map(move |node| match node.node.as_ref() {
            Some(NodeEnum::NullTest(test)) if test.nulltesttype() == kind => column(test.arg.as_deref()),
            _ => None,
        })
    };
    if null_tests(ast::NullTestType::IsNull)
        .any(|name| null_tests(ast::NullTestType::IsNotNull).any(|other| other == name))
    {
        return true;
    }
    let comparisons = || {
        alternatives.iter().filter_map(|node| match node.node.as_ref() {
            Some(NodeEnum::AExpr(expression)) => {
                let name = column(expression.lexpr.as_deref())?;
                let value = constant(expression.rexpr.as_deref())?;
                Some((strings(&expression.name).last()?, name, value))
            }
            _ => None,
        })
    };
    const OPPOSITES: [(&str, &str); 3] = [("=", "<>"), ("<", ">="), (">", "<=")];
    comparisons().any(|(operator, name, value)| {
        comparisons().any(|(other, other_name, other_value)| {
            name == other_name && value == other_value && OPPOSITES.contains(&(operator, other))
        })
    })
}

/// A value that stands in the text.
#[derive(Debug, PartialEq, PartialOrd)]
enum Constant<'a> {
    Number(f64),
    Text(&'a str),
    Bool(bool),
}

fn constant(node: Condition<'_>) -> Option<Constant<'_>> {
    match node?.node.as_ref()? {
        NodeEnum::AConst(constant) => match constant.val.as_ref()? {
            Val::Ival(number) => Some(Constant::Number(f64::from(number.ival))),
            Val::Fval(number) => number.fval.parse().ok().map(Constant::Number),
            Val::Sval(text) => Some(Constant::Text(&text.sval)),
            Val::Boolval(value) => Some(Constant::Bool(value.boolval)),
            Val::Bsval(_) => None,
        },
        NodeEnum::TypeCast(cast) => constant(cast.arg.as_deref()),
        _ => None,
    }
}

fn column(node: Condition<'_>) -> Option<Name<'_>> {
    match node?.node.as_ref()? {
        NodeEnum::ColumnRef(column) => column_name(column),
        NodeEnum::TypeCast(cast) => column(cast.arg.as_deref()),
        _ => None,
    }
}

fn comparison(expression: &ast::AExpr) -> Truth {
    let (left, right) = (expression.lexpr.as_deref(), expression.rexpr.as_deref());
    let Some(operator) = strings(&expression.name).last() else { return Truth::Unknown };
    let same = is_same(left, right);
    match expression.kind() {
        ast::AExprKind::AexprNotDistinct if same => Truth::Always,
        ast::AExprKind::AexprDistinct if same => Truth::Never,
        ast::AExprKind::AexprLike | ast::AExprKind::AexprIlike | ast::AExprKind::AexprSimilar => {
            match constant(right) {
                Some(Constant::Text(pattern))
                    if !pattern.is_empty() && pattern.bytes().all(|byte| byte == b'%') =>
                {
                    Truth::from(!operator.starts_with('!'))
                }
                _ if same => Truth::from(!operator.starts_with('!')),
                _ => Truth::Unknown,
            }
        }
        ast::AExprKind::AexprIn => match right.and_then(|list| list.node.as_ref()) {
            Some(NodeEnum::List(list)) if list.items.iter().any(|item| is_equal(left, Some(item))) => {
                Truth::from(operator == "=")
            }
            _ => Truth::Unknown,
        },
        ast::AExprKind::AexprBetween | ast::AExprKind::AexprBetweenSym => {
            match right.and_then(|list| list.node.as_ref()) {
                Some(NodeEnum::List(list)) => {
                    match (constant(left), constant(list.items.first()), constant(list.items.get(1))) {
                        (Some(value), Some(low), Some(high)) => (low <= value && value <= high).into(),
                        _ if is_same(left, list.items.first()) && is_same(left, list.items.get(1)) => {
                            Truth::Always
                        }
                        _ => Truth::Unknown,
                    }
                }
                _ => Truth::Unknown,
            }
        }
        ast::AExprKind::AexprOp => match (operator, constant(left), constant(right)) {
            ("~" | "~*", _, Some(Constant::Text("" | ".*" | "^" | "$" | "^.*$"))) => Truth::Always,
            ("=" | ">=" | "<=", _, _) if same => Truth::Always,
            ("<>" | "<" | ">", _, _) if same => Truth::Never,
            (_, Some(left), Some(right)) => compare(operator, &left, &right),
            _ => Truth::Unknown,
        },
        _ => Truth::Unknown,
    }
}

fn compare(operator: &str, left: &Constant<'_>, right: &Constant<'_>) -> Truth {
    if std::mem::discriminant(left) != std::mem::discriminant(right) {
        return Truth::Unknown;
    }
    // The order of texts is the database's to know; whether they are equal is not.
    match (operator, left) {
        ("=", _) => (left == right).into(),
        ("<>", _) => (left != right).into(),
        ("<", Constant::Number(_)) => (left < right).into(),
        ("<=", Constant::Number(_)) => (left <= right).into(),
        (">", Constant::Number(_)) => (left > right).into(),
        (">=", Constant::Number(_)) => (left >= right).into(),
        _ => Truth::Unknown,
    }
}

/// Tells whether two expressions are the same column, or rows of the same columns.
fn is_same(left: Condition<'_>, right: Condition<'_>) -> bool {
    if let (Some(left), Some(right)) = (column(left), column(right)) {
        return left == right
            || left.last() == right.last() && (left.parts().count() == 1 || right.parts().count() == 1);
    }
    match (left.and_then(|node| node.node.as_ref()), right.and_then(|node| node.node.as_ref())) {
        (Some(NodeEnum::RowExpr(left)), Some(NodeEnum::RowExpr(right))) => {
            !left.args.is_empty()
                && left.args.len() == right.args.len()
                && left.args.iter().zip(&right.args).all(|(left, right)| is_equal(Some(left), Some(right)))
        }
        _ => false,
    }
}

fn is_equal(left: Condition<'_>, right: Condition<'_>) -> bool {
    is_same(left, right)
        || constant(left).is_some_and(|left| constant(right).is_some_and(|right| left == right))
}

/// `EXISTS (SELECT 1)`, and `id IN (SELECT id FROM same_table)`.
fn sub_link(link: &ast::SubLink, target: &Target<'_>, depth: usize) -> Truth {
    let Some(NodeEnum::SelectStmt(select)) = link.subselect.as_deref().and_then(|node| node.node.as_ref())
    else {
        return Truth::Unknown;
    };
    let restricts = select.limit_count.is_some()
        || select.limit_offset.is_some()
        || select.having_clause.is_some()
        || !select.group_clause.is_empty()
        || select.larg.is_some()
        || select
            .where_clause
            .as_deref()
            .and_then(|node| node.node.as_ref())
            .is_some_and(|node| truth(node, target, depth + 1) != Truth::Always);
    if restricts {
        return Truth::Unknown;
    }
    match (link.sub_link_type(), select.from_clause.as_slice()) {
        (ast::SubLinkType::ExistsSublink, []) if !select.target_list.is_empty() => Truth::Always,
        (ast::SubLinkType::AnySublink, [from]) => match from.node.as_ref() {
            Some(NodeEnum::RangeVar(table))
                if table.relname == target.table.relname && column(link.testexpr.as_deref()).is_some() =>
            {
                Truth::Always
            }
            _ => Truth::Unknown,
        },
        _ => Truth::Unknown,
    }
}

/// Tells whether a condition names something that may be a column of the target.
fn names_column_of(condition: &NodeEnum, target: &Target<'_>) -> bool {
    let mut stack = vec![condition.to_ref()];
    while let Some(node) = stack.pop() {
        match node {
            NodeRef::CurrentOfExpr(_) => return true,
            NodeRef::ColumnRef(column) => {
                let Some(name) = column_name(column) else { return true };
                let parts: Vec<&str> = name.parts().collect();
                let is_ours = match parts.as_slice() {
                    // A bare name may be a column, or the table as a whole.
                    [_] => true,
                    [table, _] => *table == target.name,
                    [.., table, _] => *table == target.table.relname,
                    [] => true,
                };
                if is_ours {
                    return true;
                }
            }
            _ => walk::children(node, &mut |child| stack.push(child)),
        }
    }
    false
}
