//! The parser: PostgreSQL's own grammar, run so that no input can exhaust the stack. The one file that names `pg_query`.

mod regroup;

use std::panic::{AssertUnwindSafe, catch_unwind};

pub(super) use pg_query::NodeRef;
pub(super) use pg_query::protobuf as ast;

/// The longest text that is parsed; more is refused. It bounds the time: about a second for the worst of such texts.
pub(super) const MAX_BYTES: usize = 2 << 20;

/// Up to this many tokens a text is parsed on the caller's stack.
///
/// A tree is never deeper than its text has tokens, and a level takes about two kilobytes of stack.
const INLINE_TOKENS: usize = 128;

/// The stack of the thread that parses longer texts. The C library refuses trees of more than 10,000 messages, which
/// bounds what is needed; pages that are not used are never there.
const DEEP_STACK_BYTES: usize = 128 << 20;

/// The longest part of a parser's message that is kept.
const MAX_MESSAGE_CHARS: usize = 200;

/// Why there is no tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The text is not SQL that this version knows.
    Syntax {
        /// The parser's message.
        message: String,
    },
    /// The text is deeper than the parser can follow.
    TooComplex,
    /// The text is longer than [`MAX_BYTES`].
    TooLong,
}

/// One statement of a text.
#[derive(Debug)]
pub(super) struct Statement<'a> {
    /// The statement's node; none where the parser gave none.
    pub(super) node: Option<NodeRef<'a>>,
    /// The statement's bytes, without leading blanks and comments.
    pub(super) start: usize,
    /// Where it ends, before the semicolon.
    pub(super) end: usize,
}

/// Parses a text and hands its statements over; the tree lives no longer than the call.
pub(super) fn with_statements<R: Send>(
    sql: &str,
    read: impl FnOnce(Vec<Statement<'_>>) -> R + Send,
) -> Result<R, Failure> {
    if sql.len() > MAX_BYTES {
        return Err(Failure::TooLong);
    }
    if is_slow_to_scan(sql) {
        return Err(Failure::TooComplex);
    }
    if !has_more_tokens(sql, INLINE_TOKENS) {
        return parse(sql).map(|tree| read(statements(sql, &tree)));
    }
    let deep = || {
        let tree = match parse(sql) {
            // Thousands of terms make a tree as deep as they are many, unless they are put into groups.
            Err(Failure::TooComplex) => match regroup::regrouped(sql) {
                Some(regrouped) => parse(&regrouped),
                None => Err(Failure::TooComplex),
            },
            parsed => parsed,
        };
        tree.map(|tree| read(statements(sql, &tree)))
    };
    std::thread::scope(|scope| {
        let worker = std::thread::Builder::new().stack_size(DEEP_STACK_BYTES).spawn_scoped(scope, deep);
        match worker.map(std::thread::ScopedJoinHandle::join) {
            Ok(Ok(result)) => result,
            // No memory for the stack, or a panic: either way nothing is known of the text.
            Ok(Err(_)) | Err(_) => Err(Failure::TooComplex),
        }
    })
}

fn parse(sql: &str) -> Result<pg_query::ParseResult, Failure> {
    // The library casts nodes where it lists tables; a cast that fails must not take the caller down.
    catch_unwind(AssertUnwindSafe(|| pg_query::parse(sql, 0)))
        .map_err(|_| Failure::TooComplex)?
        .map_err(failure)
}

fn statements<'a>(sql: &str, tree: &'a pg_query::ParseResult) -> Vec<Statement<'a>> {
    let statements = tree.protobuf.stmts.iter().map(|raw| {
        let from = usize::try_from(raw.stmt_location).unwrap_or(0).min(sql.len());
        // A length of zero means: up to the end of the text.
        let end = match usize::try_from(raw.stmt_len) {
            Ok(length) if length > 0 => (from + length).min(sql.len()),
            _ => sql.len(),
        };
        let node = raw.stmt.as_ref().and_then(|node| node.node.as_ref()).map(pg_query::NodeEnum::to_ref);
        let start = (from + blank_bytes(&sql.as_bytes()[from..end])).min(end);
        Statement { node, start, end: end - trailing_blanks(&sql.as_bytes()[start..end]) }
    });
    statements.collect()
}

/// A token of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) kind: ast::Token,
    pub(super) keyword: ast::KeywordKind,
}

impl Token {
    pub(super) fn is_comment(&self) -> bool {
        matches!(self.kind, ast::Token::SqlComment | ast::Token::CComment)
    }

    /// Tells whether it is a string of any kind, a bit string or a number.
    pub(super) fn is_constant(&self) -> bool {
        matches!(
            self.kind,
            ast::Token::Sconst
                | ast::Token::Usconst
                | ast::Token::Bconst
                | ast::Token::Xconst
                | ast::Token::Iconst
                | ast::Token::Fconst
        )
    }
}

/// Cuts a text into tokens, comments included, with PostgreSQL's own scanner; none where it refuses the text.
pub(super) fn scan(text: &str) -> Option<Vec<Token>> {
    // The library makes a slice of a null pointer where there is no token at all.
    if text.bytes().all(|byte| byte.is_ascii_whitespace() || byte == 0x0b) {
        return Some(Vec::new());
    }
    if text.len() > MAX_BYTES || is_slow_to_scan(text) {
        return None;
    }
    let scanned = pg_query::scan_tokens(text).ok()?;
    let tokens = scanned.into_iter().map(|token| {
        let (start, end) = (usize::try_from(token.start).ok()?, usize::try_from(token.end).ok()?);
        // So that no later slice of the text can panic.
        text.get(start..end)?;
        let (kind, keyword) = (ast::Token::try_from(token.token).ok()?, token.keyword_kind());
        Some(Token { start, end, kind, keyword })
    });
    tokens.collect()
}

/// Returns the words and signs of a text, without comments.
pub(super) fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut tokens = scan(text)?;
    tokens.retain(|token| !token.is_comment());
    Some(tokens)
}

fn failure(error: pg_query::Error) -> Failure {
    let message = match error {
        pg_query::Error::Parse(message) => message,
        pg_query::Error::Conversion(_) => "the text has a NUL byte".to_owned(),
        pg_query::Error::Decode(_) => return Failure::TooComplex,
        other => other.to_string(),
    };
    // The two messages of the C library for a text that is too deep, and the one of the grammar's own stack.
    let too_deep = ["stack depth limit exceeded", "nested too deeply", "memory exhausted"];
    if too_deep.iter().any(|known| message.contains(known)) {
        return Failure::TooComplex;
    }
    // It quotes the text from the fault to the end.
    Failure::Syntax { message: message.chars().take(MAX_MESSAGE_CHARS).collect() }
}

/// Tells whether a text may have more tokens than this; words and every other sign that is no blank count as one.
fn has_more_tokens(sql: &str, limit: usize) -> bool {
    if sql.len() <= limit {
        return false;
    }
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
    let mut tokens = 0;
    let mut in_word = false;
    for byte in sql.bytes() {
        tokens += usize::from(if is_word(byte) { !in_word } else { !byte.is_ascii_whitespace() });
        in_word = is_word(byte);
        if tokens > limit {
            return true;
        }
    }
    false
}

/// Tells whether the scanner would take long over nested comments.
///
/// At each `/*` it looks at all operator signs that follow, so `/*/*/*…` takes a time that is quadratic: a hundred
/// kilobytes of it were measured to take sixteen seconds.
fn is_slow_to_scan(sql: &str) -> bool {
    const MAX_LOOKS: usize = 10_000_000;
    const SHORT_RUN: usize = 1_000;
    if sql.len() <= SHORT_RUN {
        return false;
    }
    let is_sign = |byte: &u8| b"~!@#^&|`?+-*/%<>=".contains(byte);
    let runs = sql.as_bytes().split(|byte| !is_sign(byte));
    runs.filter(|run| run.len() > SHORT_RUN)
        .any(|run| run.windows(2).filter(|pair| *pair == b"/*").count() * run.len() > MAX_LOOKS)
}

/// Counts the bytes of blanks and comments that a text begins with.
fn blank_bytes(text: &[u8]) -> usize {
    let mut at = 0;
    loop {
        let rest = &text[at..];
        if rest.first().is_some_and(|byte| byte.is_ascii_whitespace() || *byte == 0x0b) {
            at += 1;
        } else if rest.starts_with(b"--") {
            at += rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(rest.len());
        } else if rest.starts_with(b"/*") {
            at += comment_bytes(rest);
        } else {
            return at;
        }
    }
}

/// Counts the bytes of a block comment; those of PostgreSQL nest.
fn comment_bytes(text: &[u8]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        match &text[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn trailing_blanks(text: &[u8]) -> usize {
    text.iter().rev().take_while(|byte| byte.is_ascii_whitespace()).count()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn statements_are_cut_at_their_own_bytes() {
        let cases: &[(&str, &[&str])] = &[
            ("", &[]),
            (" ; ;-- no\n/* /* no */ */", &[]),
            ("SELECT 1", &["SELECT 1"]),
            (" -- a\n /* b /* c */ */ SELECT 1 ; SELECT 2 ", &["SELECT 1", "SELECT 2"]),
            ("SELECT ';'; SELECT $$;$$;", &["SELECT ';'", "SELECT $$;$$"]),
            ("SELECT 'ä'; DELETE FROM ö", &["SELECT 'ä'", "DELETE FROM ö"]),
        ];
        for (sql, expected) in cases {
            let found = with_statements(sql, |statements| {
                statements
                    .iter()
                    .map(|statement| sql[statement.start..statement.end].to_owned())
                    .collect::<Vec<_>>()
            });
            assert_eq!(found.unwrap(), *expected, "{sql}");
        }
    }

    /// Counts the nodes of a tree by kind, as its serialisation has them: nothing that we wrote takes part.
    fn count_serialised(value: &serde_json::Value, counts: &mut BTreeMap<String, usize>) {
        if let Some(variant) =
            value.get("node").and_then(|node| node.as_object()).and_then(|node| node.keys().next())
        {
            // A kind begins with a capital; `node` itself is also the name of a field.
            *counts.entry(variant.clone()).or_default() +=
                usize::from(variant.starts_with(char::is_uppercase));
        }
        match value {
            serde_json::Value::Object(fields) => {
                fields.values().for_each(|field| count_serialised(field, counts))
            }
            serde_json::Value::Array(items) => items.iter().for_each(|item| count_serialised(item, counts)),
            _ => {}
        }
    }

    #[test]
    fn the_walk_leaves_no_node_out() {
        let statements = [
            "WITH RECURSIVE a AS (SELECT 1), b AS MATERIALIZED (DELETE FROM t WHERE x = f(1) RETURNING *) \
             SELECT DISTINCT ON (g(1)) a.*, CASE h(1) WHEN 1 THEN i(2) ELSE j(3) END, ARRAY[k(1)], ROW(l(1)), (m(1))[n(1):o(2)], \
             p(1) FILTER (WHERE q(1)) OVER (PARTITION BY r(1) ORDER BY s(1) ROWS t(1) PRECEDING), x::varchar(3) COLLATE c \
             FROM u TABLESAMPLE system (v(1)), LATERAL w(1) AS y(z int), ROWS FROM (aa(1), bb(2)) WITH ORDINALITY, \
             XMLTABLE('x' PASSING cc(1) COLUMNS d int PATH 'e' DEFAULT dd(1)), JSON_TABLE(ee(1), '$' COLUMNS (f int PATH '$')) \
             JOIN k ON ff(1) WHERE gg(1) IN (hh(1), (SELECT ii(1))) GROUP BY GROUPING SETS ((jj(1)), ()) HAVING kk(1) \
             WINDOW w AS (ORDER BY ll(1) USING <) ORDER BY mm(1) LIMIT nn(1) OFFSET oo(1) FOR UPDATE OF u",
            "INSERT INTO t (a[pp(1)]) VALUES (qq(1)) ON CONFLICT (lower(a)) WHERE rr(1) DO UPDATE SET b = ss(1) WHERE tt(1) RETURNING uu(1)",
            "MERGE INTO t USING (SELECT vv(1)) s ON ww(1) WHEN MATCHED AND xx(1) THEN UPDATE SET (a, b) = (yy(1), 2) \
             WHEN NOT MATCHED THEN INSERT VALUES (zz(1)) RETURNING merge_action()",
            "CREATE TABLE t (a int DEFAULT f(1) CHECK (g(1)) REFERENCES u, b int GENERATED ALWAYS AS (h(1)) STORED, LIKE v, \
             EXCLUDE USING gist (i(1) WITH &&) WHERE (j(1))) PARTITION BY RANGE (k(1))",
            "CREATE TABLE t PARTITION OF u FOR VALUES FROM (l(1)) TO (MAXVALUE)",
            "CREATE FUNCTION f(a int DEFAULT m(1)) RETURNS int BEGIN ATOMIC SELECT n(1); END",
            "CREATE RULE r AS ON INSERT TO t WHERE o(1) DO ALSO (DELETE FROM u WHERE p(1); NOTIFY x)",
            "CREATE TRIGGER x BEFORE UPDATE OF a ON t FOR EACH ROW WHEN (q(1)) EXECUTE FUNCTION r(1)",
            "CREATE POLICY p ON t TO CURRENT_USER USING (s(1)) WITH CHECK (t(1))",
            "ALTER TABLE t ADD CHECK (u(1)), ALTER a TYPE int USING v(1), ALTER b SET DEFAULT w(1), DROP c, OWNER TO x",
            "CREATE INDEX i ON t (x(1) DESC, y) INCLUDE (z) WHERE aa(1)",
            "CREATE DOMAIN d AS int DEFAULT bb(1) CHECK (cc(VALUE))",
            "CREATE STATISTICS s ON (dd(1)), b FROM t",
            "GRANT SELECT (a), UPDATE ON t TO PUBLIC, x GRANTED BY y",
            "COPY (SELECT ee(1)) TO STDOUT (FORMAT csv, FORCE_QUOTE (a))",
            "EXPLAIN (ANALYZE) EXECUTE p(ff(1))",
            "PREPARE p (int) AS SELECT gg($1)",
            "CALL p(hh(1), a => ii(1))",
            "SET search_path = a, b",
            "SELECT JSON_OBJECT(jj(1): kk(1)), JSON_ARRAY(SELECT ll(1)), JSON_ARRAYAGG(mm(1) ORDER BY nn(1)), \
             JSON_QUERY(oo(1), '$' PASSING pp(1) AS x), JSON_EXISTS(qq(1), '$'), xmlforest(rr(1) AS a), xmlserialize(DOCUMENT ss(1) AS text)",
        ];
        for sql in statements {
            let tree = pg_query::parse(sql, 0).expect(sql).protobuf;
            let mut expected = BTreeMap::new();
            count_serialised(&serde_json::to_value(&tree.stmts).expect("the tree serialises"), &mut expected);
            let mut found: BTreeMap<String, usize> = BTreeMap::new();
            let mut todo: Vec<NodeRef<'_>> = tree
                .stmts
                .iter()
                .filter_map(|raw| Some(raw.stmt.as_ref()?.node.as_ref()?.to_ref()))
                .collect();
            while let Some(node) = todo.pop() {
                *found.entry(super::super::walk::family(node).1.to_owned()).or_default() += 1;
                super::super::walk::children(node, &mut |child| todo.push(child));
            }
            for (kind, count) in expected.into_iter().filter(|(_, count)| *count > 0) {
                assert!(found.get(&kind).is_some_and(|found| *found >= count), "{kind} of {sql}");
            }
        }
    }
}
