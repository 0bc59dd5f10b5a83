//! Rewritings that do not change what a text means: other blanks, comments anywhere, another case.
//!
//! Tokens are cut by PostgreSQL's own scanner; a text that it cannot cut is not rewritten.

use super::mutate::Dice;

/// A token, and whether it touches the one before it.
#[derive(Debug)]
struct Token<'a> {
    text: &'a str,
    is_joined: bool,
    is_word: bool,
}

impl Token<'_> {
    fn is_string(&self) -> bool {
        // A name may end with a dollar sign too.
        self.text.ends_with('\'') || self.text.starts_with('$') && self.text.ends_with('$')
    }

    fn is_number(&self) -> bool {
        self.text.trim_start_matches('.').starts_with(|first: char| first.is_ascii_digit())
    }
}

/// Puts other blanks and comments between the tokens, and drops the comments that were there.
pub fn respace(text: &str, dice: &mut Dice) -> Option<String> {
    const GAPS: &[&str] = &[
        " ",
        "\t",
        "  ",
        " /* a; b */ ",
        " /* ' /* nested \" */ $$ */ ",
        "\n",
        " -- c' ;\n",
        "\r\n",
        "\x0c",
    ];
    let mut respaced = String::with_capacity(text.len() * 2);
    let mut before: Option<Token<'_>> = None;
    for token in tokens(text)? {
        if let Some(before) = &before {
            let gap = match (before.is_string(), token.is_string()) {
                // A newline between two strings makes one of them.
                (true, true) => " ",
                // `N'…'` is two tokens to the scanner, and something else when they stand apart.
                (false, true) if before.is_word && token.is_joined => "",
                _ => dice.of_list(GAPS),
            };
            respaced.push_str(gap);
        }
        respaced.push_str(token.text);
        before = Some(token);
    }
    Some(respaced)
}

/// Changes the case of letters in keywords and in names that are not quoted.
pub fn recase(text: &str, dice: &mut Dice) -> Option<String> {
    let mut recased = text.to_owned();
    for token in tokens(text)?.iter().filter(|token| token.is_word) {
        let at = token.text.as_ptr() as usize - text.as_ptr() as usize;
        let range = at..at + token.text.len();
        match dice.below(3) {
            0 => recased[range].make_ascii_uppercase(),
            1 => recased[range].make_ascii_lowercase(),
            _ => {}
        }
    }
    Some(recased)
}

/// Returns the constants of a text, and everything else of it that is no comment.
pub fn constants(text: &str) -> Option<(Vec<&str>, String)> {
    let (constants, others): (Vec<_>, Vec<_>) =
        tokens(text)?.into_iter().partition(|token| token.is_string() || token.is_number());
    let others: Vec<&str> = others.iter().map(|token| token.text).collect();
    Some((constants.iter().map(|token| token.text).collect(), others.join(" ")))
}

fn tokens(text: &str) -> Option<Vec<Token<'_>>> {
    let scanned = pg_query::scan(text).ok()?;
    let mut tokens = Vec::with_capacity(scanned.tokens.len());
    let mut last = 0;
    for token in &scanned.tokens {
        let (start, end) = (usize::try_from(token.start).ok()?, usize::try_from(token.end).ok()?);
        let cut = text.get(start..end)?;
        if cut.starts_with("--") || cut.starts_with("/*") {
            continue;
        }
        let is_word = cut
            .starts_with(|first: char| first.is_alphabetic() || first == '_' || !first.is_ascii())
            && !cut.contains(['\'', '"']);
        tokens.push(Token { text: cut, is_joined: start == last, is_word });
        last = end;
    }
    Some(tokens)
}
