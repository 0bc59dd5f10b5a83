//! The parser: PostgreSQL's own grammar, run so that no input can exhaust the stack. The one file that names `pg_query`.

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
    if !has_more_tokens(sql, INLINE_TOKENS) {
        return parse(sql, read);
    }
    std::thread::scope(|scope| {
        let worker =
            std::thread::Builder::new().stack_size(DEEP_STACK_BYTES).spawn_scoped(scope, || parse(sql, read));
        match worker.map(std::thread::ScopedJoinHandle::join) {
            Ok(Ok(result)) => result,
            // No memory for the stack, or a panic: either way nothing is known of the text.
            Ok(Err(_)) | Err(_) => Err(Failure::TooComplex),
        }
    })
}

fn parse<R>(sql: &str, read: impl FnOnce(Vec<Statement<'_>>) -> R) -> Result<R, Failure> {
    // The library casts nodes where it lists tables; a cast that fails must not take the caller down.
    let parsed =
        catch_unwind(AssertUnwindSafe(|| pg_query::parse(sql, 0))).map_err(|_| Failure::TooComplex)?;
    let tree = parsed.map_err(failure)?;
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
    Ok(read(statements.collect()))
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
    Failure::Syntax { message }
}

/// Tells whether a text may have more tokens than this; words and every other sign that is no blank count as one.
fn has_more_tokens(sql: &str, limit: usize) -> bool {
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
}
