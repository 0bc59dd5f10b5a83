//! What can be seen in a query without the server: ways to pass without data, and the series that it reads.
//!
//! This is a reader of tokens, not of the whole grammar: the server has that, and refuses what is wrong. Two patterns turn
//! no data into a good answer. `or vector(0)` puts a zero where nothing is. A comparison at the top drops the series for
//! which it is false, so that "nothing is bad" and "nothing is there" look the same.

/// What was seen in a query.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::kind) struct Lint {
    /// What makes the query unfit to judge by.
    pub(super) problems: Vec<&'static str>,
    /// The series that it reads, each as an instant selector.
    pub(super) selectors: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    /// A comparison.
    Compares,
    /// `{…}` with everything in it.
    Matchers(&'a str),
    Open,
    Close,
    Other,
}

/// Words that are followed by labels in parentheses, or stand between operands.
const KEYWORDS: [&str; 16] = [
    "and",
    "or",
    "unless",
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "bool",
    "offset",
    "atan2",
    "start",
    "end",
    "inf",
    "nan",
];

/// The keywords whose parentheses hold names of labels.
const LABELS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];

/// Reads a query.
pub(in crate::kind) fn read(query: &str) -> Lint {
    let tokens = tokens(query);
    let selectors = selectors(&tokens);
    let mut problems = Vec::new();
    if query.trim().is_empty() {
        problems.push("the query is empty");
    } else if selectors.is_empty() {
        problems.push("the query reads no series, so its answer says nothing about anything");
    }
    if has_fallback(&tokens) {
        problems.push("`or vector(…)` answers where there is no data; leave it away, or say `on_empty = \"pass\"` and `because`");
    }
    if compares_at_the_top(&tokens) {
        problems.push(
            "a comparison at the top gives nothing where it is false, which looks like no data; give the value and use `max` or `min`, or write `bool` after the operator",
        );
    }
    Lint { problems, selectors }
}

fn is_word(token: &Token<'_>, words: &[&str]) -> bool {
    matches!(token, Token::Word(word) if words.iter().any(|known| known.eq_ignore_ascii_case(word)))
}

/// `or vector(…)`, also with `on (…)` between, and with parentheses around.
fn has_fallback(tokens: &[Token<'_>]) -> bool {
    let ors = (0..tokens.len()).filter(|at| is_word(&tokens[*at], &["or"]));
    ors.into_iter().any(|at| {
        let mut rest = &tokens[at + 1..];
        if rest.first().is_some_and(|token| is_word(token, &["on", "ignoring"])) {
            let close = rest.iter().position(|token| *token == Token::Close).unwrap_or(0);
            rest = &rest[close + 1..];
        }
        let first = rest.iter().find(|token| **token != Token::Open);
        first.is_some_and(|token| is_word(token, &["vector"]))
    })
}

/// A comparison without `bool` that is not within a function or an aggregation.
fn compares_at_the_top(tokens: &[Token<'_>]) -> bool {
    // For each open parenthesis, whether it only groups.
    let mut open: Vec<bool> = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        match token {
            Token::Open => {
                let before = at.checked_sub(1).map(|before| &tokens[before]);
                let calls = matches!(before, Some(Token::Word(word)) if !is_operator(word))
                    || closes_labels(tokens, at);
                open.push(!calls);
            }
            Token::Close => {
                open.pop();
            }
            Token::Compares
                if open.iter().all(|groups| *groups)
                    && !tokens.get(at + 1).is_some_and(|next| is_word(next, &["bool"])) =>
            {
                return true;
            }
            _ => {}
        }
    }
    false
}

fn is_operator(word: &str) -> bool {
    ["and", "or", "unless", "bool", "atan2"].iter().any(|operator| operator.eq_ignore_ascii_case(word))
}

/// Whether the parenthesis opens the operand of an aggregation with its labels before it: `sum by (a) (…)`.
fn closes_labels(tokens: &[Token<'_>], at: usize) -> bool {
    if at == 0 || tokens[at - 1] != Token::Close {
        return false;
    }
    let Some(open) = tokens[..at].iter().rposition(|token| *token == Token::Open) else { return false };
    open > 0 && is_word(&tokens[open - 1], &["by", "without"])
}

fn selectors(tokens: &[Token<'_>]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let next = tokens.get(at + 1);
        let selector = match &tokens[at] {
            Token::Word(word)
                if LABELS.iter().any(|known| known.eq_ignore_ascii_case(word))
                    && next == Some(&Token::Open) =>
            {
                let close = tokens[at..].iter().position(|token| *token == Token::Close);
                at += close.unwrap_or(0);
                None
            }
            Token::Word(word) if KEYWORDS.iter().any(|known| known.eq_ignore_ascii_case(word)) => None,
            Token::Word(_) if next == Some(&Token::Open) => None,
            // An aggregation with its labels first: `sum by (a) (…)`.
            Token::Word(_) if next.is_some_and(|next| is_word(next, &["by", "without"])) => None,
            Token::Word(word) => match next {
                Some(Token::Matchers(matchers)) => {
                    at += 1;
                    Some(format!("{word}{matchers}"))
                }
                _ => Some((*word).to_owned()),
            },
            Token::Matchers(matchers) => Some((*matchers).to_owned()),
            _ => None,
        };
        found.extend(selector.filter(|selector| !found.contains(selector)));
        at += 1;
    }
    found
}

fn tokens(query: &str) -> Vec<Token<'_>> {
    let bytes = query.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        let token = match bytes[at] {
            b'#' => {
                at = end_of(bytes, at, |byte| byte != b'\n');
                continue;
            }
            byte if byte.is_ascii_whitespace() => {
                at += 1;
                continue;
            }
            b'"' | b'\'' | b'`' => {
                at = end_of_string(bytes, at);
                Token::Other
            }
            b'{' => {
                at = end_of_matchers(bytes, at);
                Token::Matchers(&query[start..at])
            }
            b'[' => {
                at = end_of(bytes, at, |byte| byte != b']') + 1;
                Token::Other
            }
            b'(' => {
                at += 1;
                Token::Open
            }
            b')' => {
                at += 1;
                Token::Close
            }
            b'=' | b'!' | b'<' | b'>' => {
                at = end_of(bytes, at, |byte| matches!(byte, b'=' | b'!' | b'<' | b'>' | b'~'));
                Token::Compares
            }
            byte if byte.is_ascii_digit() => {
                at = end_of(bytes, at, |byte| byte.is_ascii_alphanumeric() || byte == b'.');
                Token::Other
            }
            byte if byte.is_ascii_alphabetic() || matches!(byte, b'_' | b':') => {
                at = end_of(bytes, at, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':'));
                Token::Word(&query[start..at])
            }
            _ => {
                at += 1;
                Token::Other
            }
        };
        at = at.min(bytes.len());
        tokens.push(token);
    }
    tokens
}

fn end_of(bytes: &[u8], from: usize, belongs: impl Fn(u8) -> bool) -> usize {
    from + bytes[from..].iter().take_while(|byte| belongs(**byte)).count()
}

fn end_of_string(bytes: &[u8], from: usize) -> usize {
    let quote = bytes[from];
    let mut at = from + 1;
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' && quote != b'`' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

fn end_of_matchers(bytes: &[u8], from: usize) -> usize {
    let mut at = from + 1;
    while at < bytes.len() && bytes[at] != b'}' {
        at = if matches!(bytes[at], b'"' | b'\'' | b'`') { end_of_string(bytes, at) } else { at + 1 };
    }
    (at + 1).min(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_without_data_is_seen() {
        for (query, problem) in [
            ("sum(rate(errors_total[5m])) or vector(0)", "or vector"),
            ("sum(up) OR on() vector(0)", "or vector"),
            ("sum(up) or (vector(0))", "or vector"),
            ("up == 0", "comparison"),
            ("(up < 1)", "comparison"),
            ("up > 0 and on(job) down", "comparison"),
            ("sum by (job) (up) != 3", "comparison"),
            ("(sum(up)) > (1)", "comparison"),
            ("vector(1)", "no series"),
            ("1 + 2", "no series"),
            ("time()", "no series"),
            (" ", "is empty"),
        ] {
            let problems = read(query).problems;
            assert!(problems.iter().any(|text| text.contains(problem)), "{query}: {problems:?}");
        }
        for query in [
            "up",
            "up == bool 0",
            "count(up == 0)",
            "sum by (job) (up > 0)",
            "sum(up > 0) by (job)",
            "count without (a) (up{a!=\"b\"} > 3) / 2",
            "a or b",
            "up{job=\"a == b or vector(0)\"}",
            "up # == 0",
            "histogram_quantile(0.95, sum by (le) (rate(http_seconds_bucket{job='x'}[5m])))",
        ] {
            assert_eq!(read(query).problems, Vec::<&str>::new(), "{query}");
        }
    }

    #[test]
    fn the_series_that_are_read_are_found() {
        for (query, expected) in [
            ("up", &["up"][..]),
            (
                "sum by (job, up) (rate(http_total{code=~\"5..\"}[5m])) / sum(rate(http_total[5m]))",
                &["http_total{code=~\"5..\"}", "http_total"],
            ),
            ("{__name__=\"a}b\"}", &["{__name__=\"a}b\"}"]),
            ("a * on (x) group_left (y) b offset 5m", &["a", "b"]),
            ("a - a offset 1w", &["a"]),
            ("topk(3, x:y:z) @ 1e9", &["x:y:z"]),
            ("sum(a) without (b)", &["a"]),
            ("absent(nonesuch)", &["nonesuch"]),
            ("quantile(0.9, a[5m:1m]) + Inf", &["a"]),
        ] {
            assert_eq!(read(query).selectors, expected, "{query}");
        }
    }

    #[test]
    fn rubbish_is_read_to_its_end() {
        for query in [
            "up{",
            "up{a=\"",
            "[",
            "up[",
            "\"",
            "(((",
            ")))",
            "==",
            "é == 0",
            "up{a=\"\\",
            "by",
            "or",
            "sum by (",
        ] {
            let _ = read(query);
        }
    }
}
