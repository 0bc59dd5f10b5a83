//! The statements that mutation begins with.

/// The seeds, split at blank lines.
pub fn seeds() -> Vec<&'static str> {
    include_str!("../seeds.sql").split("\n\n").map(str::trim).filter(|seed| !seed.is_empty()).collect()
}
