//! Extensions whose functions only compute.

/// Extensions all of whose functions in C, or in the server itself, compute a value from their arguments, or read what the planner reads.
/// Their functions in SQL and PL/pgSQL are read like anybody's.
const COMPUTING: &[&str] = &[
    "btree_gin",
    "btree_gist",
    "citext",
    "cube",
    "dict_int",
    "dict_xsyn",
    "earthdistance",
    "fuzzystrmatch",
    "hstore",
    "insert_username",
    "intagg",
    "intarray",
    "isn",
    "ltree",
    "moddatetime",
    "pg_trgm",
    "pgcrypto",
    "postgis",
    "seg",
    "tsm_system_rows",
    "tsm_system_time",
    "unaccent",
    "uuid-ossp",
    "vector",
];

/// Tells whether such a function is known to compute only.
pub(super) fn only_computes(extension: &str, function: &str) -> bool {
    COMPUTING.binary_search(&extension).is_ok() || extension == "tablefunc" && function == "normal_rand"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_can_be_searched() {
        assert!(COMPUTING.is_sorted());
        assert!(only_computes("vector", "l2_distance") && only_computes("tablefunc", "normal_rand"));
        assert!(!only_computes("tablefunc", "crosstab") && !only_computes("dblink", "dblink_exec"));
    }
}
