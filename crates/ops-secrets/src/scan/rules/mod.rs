//! What secrets look like: a table for each field of issuers, and the general rules.
//!
//! A row says what an issuer's own documentation says of its tokens: a prefix, an alphabet, a length, a checksum. Tokens
//! with a prefix are *certain*: nothing else looks like them. Where an issuer gives its tokens no prefix, a row asks for
//! the issuer's name nearby, and is *certain* only where name and form together leave no other reading.

mod ai;
mod cloud;
mod code;
mod general;
mod messaging;
mod money;
mod observe;
mod services;
pub(crate) mod shape;

use self::shape::Shape;

/// How sure a rule is of what it finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Tier {
    /// It may be a secret: a person looks.
    Likely,
    /// It is one: a gate blocks.
    Certain,
}

/// What is checked of a token beyond its shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    None,
    /// GitHub: the last six characters are the CRC-32 of the thirty before; a wrong one proves that it is no token.
    GithubCrc,
    /// npm: the same idea, but what the checksum covers is not documented: a wrong one only makes it less sure.
    NpmCrc,
    /// age: the checksum of Bech32 (BIP 173).
    Bech32,
    /// Bitcoin: the checksum of Base58Check would need SHA-256; its version byte and length are looked at.
    Wif,
    /// A token that begins with base64 of a JSON object.
    JsonHead,
}

/// A kind of secret.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// A short name that never changes: suppressions and reports refer to it.
    pub id: &'static str,
    /// What it is, for people.
    pub title: &'static str,
    /// How sure it is.
    pub tier: Tier,
    pub(crate) check: Check,
    pub(crate) shapes: &'static [&'static str],
    /// Words of which one must stand nearby, in lower case; empty where the shape itself is found by its text.
    pub(crate) near: &'static [&'static str],
}

const fn token(id: &'static str, title: &'static str, shapes: &'static [&'static str]) -> Rule {
    Rule { id, title, tier: Tier::Certain, check: Check::None, shapes, near: &[] }
}

const fn near(
    id: &'static str,
    title: &'static str,
    near: &'static [&'static str],
    shapes: &'static [&'static str],
) -> Rule {
    Rule { id, title, tier: Tier::Certain, check: Check::None, shapes, near }
}

impl Rule {
    const fn likely(mut self) -> Self {
        self.tier = Tier::Likely;
        self
    }

    const fn checked(mut self, check: Check) -> Self {
        self.check = check;
        self
    }
}

pub(crate) use general::{
    BASIC_AUTH, BEARER, CONNECTION, ENCRYPTED_KEY, JWT, JWT_OLD, KEY, KNOWN, PASSWORD, PGP_KEY, PUTTY_KEY,
    SECRET,
};

/// Every table of tokens.
const TABLES: [&[Rule]; 7] =
    [ai::RULES, cloud::RULES, code::RULES, messaging::RULES, money::RULES, observe::RULES, services::RULES];

/// Returns all rules: the tokens of issuers, then the general ones.
pub fn all() -> impl Iterator<Item = &'static Rule> {
    tokens().chain(general::RULES.iter().copied())
}

/// The rules that have shapes.
pub(crate) fn tokens() -> impl Iterator<Item = &'static Rule> {
    TABLES.into_iter().flatten()
}

/// A shape of a rule, ready to match.
#[derive(Debug)]
pub(crate) struct Token {
    pub(crate) rule: &'static Rule,
    pub(crate) shape: Shape,
}

/// All shapes of all rules.
pub(crate) fn compiled() -> Vec<Token> {
    let shapes = |rule: &'static Rule| {
        rule.shapes.iter().map(move |text| Token {
            rule,
            shape: Shape::read(text).expect("a test reads every shape of the tables"),
        })
    };
    tokens().flat_map(shapes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_tables_are_well_formed() {
        let mut ids = BTreeSet::new();
        for rule in all() {
            assert!(ids.insert(rule.id), "{} twice", rule.id);
            assert!(
                rule.id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'),
                "{}",
                rule.id
            );
            assert!(
                rule.near.iter().all(|word| word.len() >= 3 && *word == word.to_lowercase()),
                "{}",
                rule.id
            );
            for text in rule.shapes {
                let shape = Shape::read(text).unwrap_or_else(|| panic!("{}: {text}", rule.id));
                let word = shape.word().map_or(0, str::len);
                assert!(word >= 3 || !rule.near.is_empty(), "{}: {text} cannot be searched for", rule.id);
            }
        }
        let shapes: BTreeSet<&str> = tokens().flat_map(|rule| rule.shapes.iter().copied()).collect();
        assert!(shapes.len() >= 250, "{} shapes", shapes.len());
    }

    #[test]
    fn a_run_never_has_to_give_back() {
        for token in compiled() {
            let parts: Vec<_> = token.shape.parts().collect();
            for pair in parts.windows(2) {
                let [shape::Part::Run { alphabet, least, most }, next] = pair else { continue };
                let meets = match next {
                    shape::Part::Text(text) => alphabet.has(text.as_bytes()[0]),
                    shape::Part::Run { alphabet: other, .. } => other.bytes().any(|byte| alphabet.has(byte)),
                };
                assert!(!meets || least == most, "{}: {:?}", token.rule.id, token.shape);
            }
        }
    }
}
