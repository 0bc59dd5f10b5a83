//! What a gate is: the trait that every kind implements, and what a check works with.
//!
//! A kind is a struct that holds its keys as the plan writes them, and implements [`Gate`]. The kinds of this crate stand
//! in `kind/`; a program brings its own by [`Kinds::with`](crate::Kinds::with).

mod context;
mod program;

pub use context::Context;
pub(crate) use context::{Parts, Results};
pub(crate) use program::Program;

use crate::outcome::Finding;
use crate::value::{Span, Text, VariableName};
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

/// A check of a plan.
///
/// # Contract
/// - `check` only looks, unless the kind's documentation says what it does and how it takes it back.
/// - [`Outcome::Pass`](crate::Outcome::Pass) means shown. Where there was nothing to see, the finding is an error
///   ([`Fault::NoData`](crate::Fault::NoData)) or inconclusive.
/// - The future may be dropped at any point: when the gate's time is over, or the run is cancelled. Programs are started
///   by the context, which ends them and all that they started.
/// - No finding holds the value of a secret. (Reasons are masked as well, but that is the second net.)
pub trait Gate: fmt::Debug + Send + Sync {
    /// What is wrong with the keys beyond their types, told when the plan is read.
    fn wrong(&self, _facts: &Facts) -> Vec<Wrong> {
        Vec::new()
    }

    /// Texts in which nothing is replaced, because somebody else reads a `${…}` in them.
    fn verbatim(&self) -> Vec<&Text> {
        Vec::new()
    }

    /// Variables whose values must never be shown, whatever their names say.
    fn secrets(&self) -> Vec<&VariableName> {
        Vec::new()
    }

    /// What the gate looks at, in one line for people; variables by name, never by value.
    fn summary(&self) -> String {
        String::new()
    }

    /// Looks, and says what it found.
    fn check<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Finding>;
}

/// What a kind may want to know of the rest of its plan.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The promises that the plan states.
    pub objectives: Objectives,
    /// Whether the plan names what is released.
    pub has_subject: bool,
}

/// One thing that is wrong with a gate's keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    pub(crate) message: String,
    pub(crate) span: Option<Range<usize>>,
}

impl Wrong {
    /// Something that is wrong with the gate as a whole.
    pub fn gate(message: impl Into<String>) -> Self {
        Self { message: message.into(), span: None }
    }

    /// Something that is wrong with one text of it.
    pub fn text(text: &Text, message: impl Into<String>) -> Self {
        Self { message: message.into(), span: Some(text.span.clone()) }
    }
}

/// The promises of a service, `[objectives]` in the plan. A gate that judges by one does not run without it: there is no
/// silent default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Objectives {
    /// Recovery time objective: how long a recovery may take.
    pub rto: Option<Span>,
    /// Recovery point objective: how much time of changes may be lost.
    pub rpo: Option<Span>,
    /// Service level objective: the share of good events in per cent, such as 99.5.
    pub slo: Option<f64>,
}

/// What is released: the verdict speaks about these bytes, and about no others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// The name of the artifact or repository.
    pub name: String,
    /// Digests by algorithm: `sha256`, `sha512` or `gitCommit`.
    pub digest: BTreeMap<String, String>,
}
