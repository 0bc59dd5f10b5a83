//! What is known of functions and operators by their name: no arguments, no catalog.
//!
//! A name says less than a catalog does: a function of the same name in another schema may come first in the search
//! path. Whoever may create functions there can get round this table; a least-privilege role is what stops that.

mod hazards;

use std::collections::HashSet;
use std::sync::LazyLock;

pub(super) use hazards::{Hazard, built_in_hazard, hazard};

/// The functions of `pg_catalog` (PostgreSQL 15 to 18) that only compute, or only read the server's state.
static HARMLESS: LazyLock<HashSet<&str>> =
    LazyLock::new(|| include_str!("harmless.txt").split_ascii_whitespace().collect());

/// The operators of `pg_catalog`, and those of the extensions that many applications use: `pg_trgm`, `hstore`,
/// `ltree`, `intarray`, PostGIS and pgvector.
const OPERATORS: &str = "
    !! !~ !~* !~~ !~~* # ## #- #> #>> % %> %>> & && &&& &/& &< &<| &> * *< *<= *<> *= *> *>= + - -> ->> -|- / < <#> <%
    <+> <-> <->> <->>> <<-> <<<-> <<->> << <<% <<= <<| <= <=> <> <@ <^ <~> = > >= >> >>= >^ ? ?# ?& ?- ?-| ?<@ ?@ ?@> ?^ ?|
    ?|| ?~ @ @-@ @> @>> @? @@ @@@ @~ ^ ^@ ^<@ ^? ^@> ^~ | |&> |/ |=| |>> || ||/ ~ ~* ~<=~ ~<~ ~= ~== ~>=~ ~>~ ~@ ~~ ~~* != ";

static KNOWN_OPERATORS: LazyLock<HashSet<&str>> =
    LazyLock::new(|| OPERATORS.split_ascii_whitespace().collect());

/// Tells whether a function of `pg_catalog` only computes, or only reads the server's state.
pub(super) fn is_harmless(name: &str) -> bool {
    HARMLESS.contains(name)
}

/// Tells whether an operator is one that only computes.
pub(super) fn is_known_operator(name: &str) -> bool {
    KNOWN_OPERATORS.contains(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_function_is_both_harmless_and_a_hazard() {
        let both: Vec<_> = HARMLESS.iter().filter(|name| hazard(None, name).is_some()).collect();
        assert!(both.is_empty(), "{both:?}");
        assert!(HARMLESS.len() > 1700);
    }
}
