//! Secrets that no single issuer defines: keys, connection strings, signed tokens, and what a name says is secret.

use super::{Check, Rule, Tier};

const fn rule(id: &'static str, title: &'static str, tier: Tier) -> Rule {
    Rule { id, title, tier, check: Check::None, shapes: &[], near: &[] }
}

pub(crate) static KNOWN: Rule = rule("known-value", "A secret that is in use", Tier::Certain);
pub(crate) static KEY: Rule = rule("private-key", "Private key", Tier::Certain);
pub(crate) static ENCRYPTED_KEY: Rule =
    rule("encrypted-private-key", "Private key under a passphrase", Tier::Likely);
pub(crate) static PGP_KEY: Rule = rule("pgp-private-key", "OpenPGP private key", Tier::Certain);
pub(crate) static PUTTY_KEY: Rule = rule("putty-private-key", "PuTTY private key", Tier::Certain);
pub(crate) static CONNECTION: Rule = rule("connection-string", "Password in a URL", Tier::Certain);
pub(crate) static JWT: Rule = rule("jwt", "JSON Web Token", Tier::Certain);
pub(crate) static JWT_OLD: Rule = rule("jwt-expired", "JSON Web Token that has expired", Tier::Likely);
pub(crate) static BASIC_AUTH: Rule = rule("basic-auth", "Basic authentication", Tier::Certain);
pub(crate) static BEARER: Rule = rule("bearer-token", "Bearer token", Tier::Likely);
pub(crate) static PASSWORD: Rule = rule("password", "Password", Tier::Likely);
pub(crate) static SECRET: Rule = rule("secret", "Value of something that is named a secret", Tier::Likely);

pub(super) static RULES: &[&Rule] = &[
    &KNOWN,
    &KEY,
    &ENCRYPTED_KEY,
    &PGP_KEY,
    &PUTTY_KEY,
    &CONNECTION,
    &JWT,
    &JWT_OLD,
    &BASIC_AUTH,
    &BEARER,
    &PASSWORD,
    &SECRET,
];
