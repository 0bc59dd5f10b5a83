//! Names for secrets that tell nothing about them.
//!
//! A fingerprint is a keyed hash of rule and value. The salt differs from repository to repository, so that a table of
//! common passwords serves for one repository at most; the hash is repeated, so that making such a table is slow; and who
//! wants more gives a key that is not in the repository, without which nobody can even begin.

use super::rules::Rule;

/// Repetitions of the hash: about a millisecond, which nobody feels for one finding and every guesser does for each guess.
const ROUNDS: usize = 4096;
/// 80 bits: two secrets of one repository do not meet by accident.
const LENGTH: usize = 10;
const CONTEXT: &str = "ops-secrets 2026-11 scan fingerprint v1";

/// Makes fingerprints under one salt and key.
pub(crate) struct Fingerprints {
    key: [u8; 32],
}

impl Fingerprints {
    pub(crate) fn new(salt: &str, secret: Option<&str>) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        hasher.update(&(salt.len() as u64).to_le_bytes());
        hasher.update(salt.as_bytes());
        hasher.update(secret.unwrap_or_default().as_bytes());
        Self { key: *hasher.finalize().as_bytes() }
    }

    pub(crate) fn of(&self, rule: &Rule, value: &[u8]) -> String {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(rule.id.as_bytes());
        hasher.update(&[0]);
        hasher.update(value);
        let mut hash = hasher.finalize();
        for _ in 0..ROUNDS {
            hash = blake3::keyed_hash(&self.key, hash.as_bytes());
        }
        hash.to_hex().chars().take(2 * LENGTH).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::rules::{PASSWORD, SECRET};

    #[test]
    fn everything_that_goes_in_matters() {
        let of = |salt, key, rule, value: &str| Fingerprints::new(salt, key).of(rule, value.as_bytes());
        let one = of("salt", None, &PASSWORD, "value");
        assert_eq!(one.len(), 20);
        assert_eq!(one, of("salt", None, &PASSWORD, "value"));
        for other in [
            of("other", None, &PASSWORD, "value"),
            of("salt", Some("key"), &PASSWORD, "value"),
            of("salt", None, &SECRET, "value"),
            of("salt", None, &PASSWORD, "valuf"),
        ] {
            assert_ne!(one, other);
        }
    }
}
