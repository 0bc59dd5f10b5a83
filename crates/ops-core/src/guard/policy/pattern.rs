//! Patterns over names: `*` stands for any run of characters, and everything else for itself.

use serde::Serialize;

/// PostgreSQL cuts longer names (`NAMEDATALEN` less one).
const MAX_NAME_BYTES: usize = 63;

/// A pattern over one name: a role, a database, a schema, a table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub(super) struct Glob(String);

impl Glob {
    /// Reads a pattern, or says why no name could fit it.
    pub(super) fn new(pattern: &str) -> Result<Self, String> {
        if pattern.is_empty() {
            return Err("an empty name fits nothing".into());
        }
        if pattern.len() > MAX_NAME_BYTES && !pattern.contains('*') {
            return Err(format!(
                "the name is longer than {MAX_NAME_BYTES} bytes, where PostgreSQL cuts names"
            ));
        }
        Ok(Self(pattern.to_owned()))
    }

    /// Tells whether it fits every name.
    pub(super) fn is_any(&self) -> bool {
        self.0.bytes().all(|byte| byte == b'*')
    }

    pub(super) fn fits(&self, name: &str) -> bool {
        let (pattern, name) = (self.0.as_bytes(), name.as_bytes());
        let (mut at, mut read) = (0, 0);
        // Where the last star stands, and up to where it reaches so far.
        let mut star: Option<(usize, usize)> = None;
        while read < name.len() {
            if pattern.get(at) == Some(&b'*') {
                star = Some((at, read));
                at += 1;
            } else if pattern.get(at) == Some(&name[read]) {
                (at, read) = (at + 1, read + 1);
            } else if let Some((place, reach)) = star {
                star = Some((place, reach + 1));
                (at, read) = (place + 1, reach + 1);
            } else {
                return false;
            }
        }
        pattern[at..].iter().all(|byte| *byte == b'*')
    }
}

/// How well a pattern fits what is known; from the worst to the best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fit {
    No,
    /// It fits in some of the cases that the unknown leaves open.
    Maybe,
    Yes,
}

impl From<bool> for Fit {
    fn from(fits: bool) -> Self {
        if fits { Self::Yes } else { Self::No }
    }
}

/// A pattern over tables: `schema.table`, as SQL would quote the names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct TablePattern {
    schema: Glob,
    table: Glob,
}

impl TablePattern {
    /// Reads a pattern, or says why no table could fit it.
    pub(super) fn new(pattern: &str) -> Result<Self, String> {
        if let Some(folded) = folded(pattern) {
            return Err(format!(
                "SQL reads names without quotes in lower case: write `{folded}`, or put the name between double quotes"
            ));
        }
        let parts = parts(pattern).ok_or("a double quote is not closed")?;
        match parts.as_slice() {
            [schema, table] => Ok(Self { schema: Glob::new(schema)?, table: Glob::new(table)? }),
            [table] => Err(format!("the schema is missing: write `public.{table}`, or `*.{table}` for any")),
            _ => Err("a table is written `schema.table`".into()),
        }
    }

    /// Tells whether it fits a table's name as an effect has it: with quotes, and perhaps without schema.
    pub(super) fn fit(&self, name: &str) -> Fit {
        let Some(parts) = parts(name).filter(|_| !name.is_empty()) else { return Fit::Maybe };
        match parts.as_slice() {
            [table] if !self.table.fits(table) => Fit::No,
            [_] => {
                if self.schema.is_any() {
                    Fit::Yes
                } else {
                    Fit::Maybe
                }
            }
            // A name of three parts begins with the database, which can only be the session's own.
            [.., schema, table] => Fit::from(self.schema.fits(schema) && self.table.fits(table)),
            [] => Fit::Maybe,
        }
    }

    /// Tells whether it fits the table of a part (`public.ledger.amount`).
    pub(super) fn fit_owner(&self, part: &str) -> Fit {
        match last_dot(part) {
            Some(dot) => self.fit(&part[..dot]),
            None => Fit::Maybe,
        }
    }
}

/// Returns the name in lower case, where a part without quotes has capitals.
pub(super) fn folded(name: &str) -> Option<String> {
    let mut quoted = false;
    let folded: String = name
        .chars()
        .map(|c| {
            quoted ^= c == '"';
            if quoted { c } else { c.to_ascii_lowercase() }
        })
        .collect();
    (folded != name).then_some(folded)
}

/// Splits a dotted name as SQL writes it, without its quotes; none where a quote is not closed.
fn parts(name: &str) -> Option<Vec<String>> {
    let mut parts = vec![String::new()];
    let mut quoted = false;
    let mut chars = name.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            // Two quotes within quotes are one of the name.
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                parts.last_mut()?.push('"');
            }
            '"' => quoted = !quoted,
            '.' if !quoted => parts.push(String::new()),
            c => parts.last_mut()?.push(c),
        }
    }
    (!quoted).then_some(parts)
}

/// Returns where the last dot outside quotes stands.
fn last_dot(name: &str) -> Option<usize> {
    let mut quoted = false;
    let dots = name.char_indices().filter(|(_, c)| {
        quoted ^= *c == '"';
        *c == '.' && !quoted
    });
    dots.last().map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_run() {
        let cases = [
            ("shop", "shop", true),
            ("shop", "shop_app", false),
            ("shop", "sho", false),
            ("shop_*", "shop_app", true),
            ("shop_*", "shop_", true),
            ("shop_*", "shop", false),
            ("*_app", "shop_app", true),
            ("*_app", "shop_app_2", false),
            ("s*p*", "shop_app", true),
            ("*a*b*", "xaxxb", true),
            ("*a*b*", "bxa", false),
            ("a*a", "a", false),
            ("a*ab", "aaab", true),
            ("*", "", true),
            ("**", "x", true),
            ("ä*", "ärger", true),
            ("?", "x", false),
            ("[a]", "a", false),
            ("Shop", "shop", false),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(Glob::new(pattern).unwrap().fits(name), expected, "{pattern} over {name}");
        }
    }

    #[test]
    fn long_patterns_over_long_names_end_soon() {
        let pattern = Glob::new(&"a*".repeat(500)).unwrap();
        assert!(!pattern.fits(&format!("{}b{}", "a".repeat(400), "c".repeat(100_000))));
    }

    #[test]
    fn a_table_fits_by_schema_and_name() {
        use Fit::{Maybe, No, Yes};
        let cases = [
            ("public.ledger", "public.ledger", Yes),
            ("public.ledger", "app.ledger", No),
            ("public.ledger", "ledger", Maybe),
            ("public.ledger", "other", No),
            ("public.ledger", "shop.public.ledger", Yes),
            ("public.ledger", "", Maybe),
            ("public.ledger*", "public.ledger_2026", Yes),
            ("*.ledger", "ledger", Yes),
            ("*.*", "ledger", Yes),
            ("public.*", "ledger", Maybe),
            ("public.ledger", "public.\"Ledger\"", No),
            ("public.\"Ledger\"", "public.\"Ledger\"", Yes),
            ("public.\"Ledger*\"", "public.\"Ledger 2026\"", Yes),
            ("public.ledger", "public.\"ledger\"", Yes),
            ("public.*", "public.\"a.b\"", Yes),
            ("*.b", "public.\"a.b\"", No),
            ("\"a.b\".c", "\"a.b\".c", Yes),
            ("public.\"a\"\"b\"", "public.\"a\"\"b\"", Yes),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(TablePattern::new(pattern).unwrap().fit(name), expected, "{pattern} over {name}");
        }
        let ledger = TablePattern::new("public.ledger").unwrap();
        let cases = [
            ("public.ledger.amount", Yes),
            ("ledger.amount", Maybe),
            ("other.amount", No),
            ("amount", Maybe),
        ];
        for (name, expected) in cases {
            assert_eq!(ledger.fit_owner(name), expected, "{name}");
        }
    }
}
