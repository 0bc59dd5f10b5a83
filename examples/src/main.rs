//! examples.
fn main() {}
