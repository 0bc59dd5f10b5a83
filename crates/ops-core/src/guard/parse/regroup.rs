//! Long runs of one operator: `a || b || c …` with thousands of terms makes a tree deeper than the parser's library
//! writes out. Put into groups, the same terms make a flat one.

use super::{Token, ast, tokens};

/// Shorter runs are left as they are.
const LONG_RUN: usize = 64;

/// Returns the text with parentheses in its long runs; none where it has none.
///
/// A parenthesis takes the place of a blank, so every byte of the text stays where it was. Grouped are only terms that
/// have the run's own operator on both sides: `x * a + b + c + d` becomes `x * a + (b + c) + d`. All binary operators
/// concerned associate to the left, so nothing but the association changes, and no analysis looks at that.
pub(super) fn regrouped(sql: &str) -> Option<String> {
    let mut reader = Reader { sql, text: sql.as_bytes().to_vec(), has_groups: false };
    let mut levels = vec![Level::default()];
    for token in tokens(sql)? {
        let level = levels.last_mut()?;
        match token.kind {
            ast::Token::Ascii40 | ast::Token::Ascii91 => {
                level.operand.take_start(&token);
                levels.push(Level::default());
            }
            ast::Token::Ascii41 | ast::Token::Ascii93 => {
                level.end_run(&mut reader);
                // A text with more closing than opening parentheses is for the parser to refuse.
                if levels.len() == 1 {
                    return None;
                }
                levels.pop();
                levels.last_mut()?.operand.take_group(&token);
            }
            _ if is_operator(token.kind) => level.operator(&token, &mut reader),
            _ => level.operand.take(&token),
        }
        if matches!(token.kind, ast::Token::Ascii44 | ast::Token::Ascii59) {
            levels.last_mut()?.end_run(&mut reader);
        }
    }
    while let Some(mut level) = levels.pop() {
        level.end_run(&mut reader);
    }
    // Blanks became parentheses: it is still UTF-8.
    if reader.has_groups { String::from_utf8(reader.text).ok() } else { None }
}

/// The binary operators that associate to the left, and are no comparison.
fn is_operator(kind: ast::Token) -> bool {
    use ast::Token::{Ascii37, Ascii42, Ascii43, Ascii45, Ascii47, Ascii94, Op};
    matches!(kind, Op | Ascii37 | Ascii42 | Ascii43 | Ascii45 | Ascii47 | Ascii94)
}

struct Reader<'a> {
    sql: &'a str,
    text: Vec<u8>,
    has_groups: bool,
}

/// What stands between one pair of parentheses.
#[derive(Default)]
struct Level {
    /// The bytes of the operator before the operand at hand.
    operator: Option<(usize, usize)>,
    operand: Operand,
    /// The operands between two operators of the run.
    run: Vec<(usize, usize)>,
}

impl Level {
    fn operator(&mut self, token: &Token, reader: &mut Reader<'_>) {
        let is_same = self
            .operator
            .is_some_and(|(start, end)| reader.sql.get(start..end) == reader.sql.get(token.start..token.end));
        match self.operand.simple() {
            Some(operand) if is_same => self.run.push(operand),
            _ => self.end_run(reader),
        }
        self.operator = Some((token.start, token.end));
        self.operand = Operand::default();
    }

    fn end_run(&mut self, reader: &mut Reader<'_>) {
        let run = std::mem::take(&mut self.run);
        self.operator = None;
        self.operand = Operand::default();
        if run.len() < LONG_RUN {
            return;
        }
        // As many groups as there are terms in each: then neither makes a deep tree.
        for group in run.chunks(run.len().isqrt()) {
            let (Some(first), Some(last)) = (group.first(), group.last()) else { continue };
            let (before, after) = (first.0.wrapping_sub(1), last.1);
            let is_blank = |at: usize| matches!(reader.text.get(at), Some(b' ' | b'\t'));
            if group.len() > 1 && is_blank(before) && is_blank(after) {
                reader.text[before] = b'(';
                reader.text[after] = b')';
                reader.has_groups = true;
            }
        }
    }
}

/// An operand, as far as it has been read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Operand {
    start: usize,
    end: usize,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Empty,
    /// A name, to which a further part or a list of arguments may belong.
    Name,
    /// A keyword that is a name where nothing follows.
    Keyword,
    /// A constant, a parameter, or anything that ends in a parenthesis.
    Value,
    /// Behind a dot.
    Dot,
    /// Behind `::`.
    Cast,
    /// Anything else: not simple.
    Other,
}

impl Operand {
    fn take(&mut self, token: &Token) {
        use ast::Token as Kind;

        let is_unreserved = token.keyword == ast::KeywordKind::UnreservedKeyword;
        let is_keyword = token.keyword != ast::KeywordKind::NoKeyword;
        let next = match (self.state, token.kind) {
            (State::Empty, Kind::Ident) => State::Name,
            (State::Empty, _) if is_unreserved => State::Keyword,
            (
                State::Empty,
                Kind::Sconst
                | Kind::Usconst
                | Kind::Bconst
                | Kind::Xconst
                | Kind::Fconst
                | Kind::Iconst
                | Kind::Param,
            ) => State::Value,
            (State::Name | State::Keyword | State::Value, Kind::Ascii46) => State::Dot,
            (State::Dot, Kind::Ident) => State::Name,
            (State::Dot, _) if is_keyword => State::Name,
            (State::Name | State::Keyword | State::Value, Kind::Typecast) => State::Cast,
            (State::Cast, Kind::Ident) => State::Name,
            (State::Cast, _) if is_keyword => State::Name,
            _ => State::Other,
        };
        self.go(next, token);
    }

    /// An opening parenthesis or bracket.
    fn take_start(&mut self, token: &Token) {
        let next = match self.state {
            State::Empty if token.kind == ast::Token::Ascii40 => State::Value,
            State::Name | State::Value => State::Value,
            _ => State::Other,
        };
        self.go(next, token);
    }

    /// The parenthesis or bracket that closes what [`Operand::take_start`] has opened.
    fn take_group(&mut self, token: &Token) {
        self.go(self.state, token);
    }

    fn go(&mut self, state: State, token: &Token) {
        if self.state == State::Empty {
            self.start = token.start;
        }
        self.end = token.end;
        self.state = state;
    }

    fn simple(&self) -> Option<(usize, usize)> {
        matches!(self.state, State::Name | State::Keyword | State::Value).then_some((self.start, self.end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_inner_terms_of_a_long_run_are_grouped() {
        let run =
            |terms: usize, operator: &str, operand: &str| vec![operand; terms].join(&format!(" {operator} "));
        for operand in
            ["b", "t.name", "name", "f(1, 'x')", "'x'", "$1", "(a = 1)", "a[1]", "b::text", "b::numeric(1,2)"]
        {
            let sql = format!("SELECT x * {} = 1", run(100, "+", operand));
            let grouped = regrouped(&sql).unwrap_or_else(|| panic!("{operand} is simple"));
            assert_eq!(grouped.len(), sql.len());
            assert!(grouped.starts_with(&format!("SELECT x * {operand} +({operand} +")), "{grouped}");
            assert!(grouped.ends_with(&format!("+ {operand} = 1")), "{grouped}");
            // Nothing but blanks became parentheses, and the tree is one of the same parts.
            let count = |text: &str| {
                let tree = super::super::parse(text).expect("it parses").protobuf;
                format!("{tree:?}").matches("AExpr(").count()
            };
            assert_eq!(count(&grouped), count(&sql));
        }
        for left in
            ["- b", "b COLLATE c", "CASE WHEN a THEN b END", "b ESCAPE 'x'", "DATE '2020-01-01'", "NOT b"]
        {
            assert_eq!(regrouped(&format!("SELECT {}", run(100, "||", left))), None, "{left}");
        }
        assert_eq!(regrouped(&format!("SELECT {}", run(20, "+", "b"))), None);
        assert_eq!(regrouped(&format!("SELECT {}", run(100, "=", "b"))), None);
        assert_eq!(regrouped(&format!("SELECT {}", run(100, "+", "b").replace(" + ", "+"))), None);
        assert_eq!(regrouped(&format!("SELECT ({}", run(100, ",", "b"))), None);
    }
}
