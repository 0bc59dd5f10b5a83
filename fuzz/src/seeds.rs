//! What mutation begins with.

/// Returns the statements, which blank lines separate.
pub fn seeds() -> Vec<&'static str> {
    include_str!("../seeds.sql").split("\n\n").map(str::trim).filter(|seed| !seed.is_empty()).collect()
}

/// Returns the policy files, which lines of `#####` separate.
pub fn policies() -> Vec<&'static str> {
    include_str!("../policies.txt").split("#####\n").collect()
}
