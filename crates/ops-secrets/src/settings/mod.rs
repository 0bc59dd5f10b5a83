//! Typed settings from layered sources: gather, merge, extract, report.

mod loader;
mod merge;
mod report;
mod values;

pub use loader::{Loaded, Loader};
pub use report::{Entry, Report};
