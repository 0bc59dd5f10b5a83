//! What tells the series of a metric apart, as types.

use std::fmt::Display;
use std::hash::Hash;

/// The labels of a metric: their names are known when it is registered, their values when it is counted. The macro
/// [`labels!`](crate::labels) writes it.
///
/// Contract: [`Labels::values`] shows exactly one value for each name, in that order, and always the same for an equal
/// set. A value comes from a small set that the program knows: a route's template, never a path; a kind, never an id.
pub trait Labels: Clone + Eq + Hash + Send + Sync + 'static {
    /// The names.
    const NAMES: &'static [&'static str];

    /// Calls `see` with each value.
    fn values(&self, see: &mut dyn FnMut(&dyn Display));
}

impl Labels for () {
    const NAMES: &'static [&'static str] = &[];

    fn values(&self, _: &mut dyn FnMut(&dyn Display)) {}
}

/// Declares a set of labels: a structure whose fields are the names. Values are anything with `Display`, `Clone`, `Eq`
/// and `Hash`.
///
/// ```
/// ops_telemetry::labels! {
///     /// What tells jobs apart.
///     pub struct Job { kind: &'static str, attempt: u8 }
/// }
/// use ops_telemetry::metrics::Labels;
/// assert_eq!(Job::NAMES, ["kind", "attempt"]);
/// ```
#[macro_export]
macro_rules! labels {
    ($(#[$meta:meta])* $visibility:vis struct $name:ident { $($field:ident : $type:ty),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        $visibility struct $name {
            $(#[doc = ::std::concat!("The label `", ::std::stringify!($field), "`.")] $visibility $field: $type,)*
        }

        impl $crate::metrics::Labels for $name {
            const NAMES: &'static [&'static str] = &[$(::std::stringify!($field)),*];

            fn values(&self, see: &mut dyn ::std::ops::FnMut(&dyn ::std::fmt::Display)) {
                $(see(&self.$field);)*
            }
        }
    };
}
