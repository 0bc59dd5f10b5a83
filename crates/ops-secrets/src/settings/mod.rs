//! Typed settings from layered sources: gather, merge, extract, report.

mod layers;
mod loader;
mod merge;
mod profile;
mod report;
mod resolve;
mod values;

pub use loader::{Loaded, Loader};
pub use profile::{Profile, UnknownProfile};
pub use report::{Entry, Report};
