//! How one event becomes one line, in JSON for machines and in a human format for terminals. Pure: bytes in, bytes out.

mod human;
mod machine;
mod schema;

use std::time::SystemTime;

use crate::context::TraceContext;
use crate::severity::Severity;
use crate::timestamp::Stamp;

pub use schema::Schema;

/// The longest line, in bytes, newline included; fields that do not fit are left out, and `truncated` says so.
pub(crate) const MAX_LINE_LEN: usize = 64 * 1024;

/// What stands in every line before the fields.
#[derive(Debug)]
pub(crate) struct Head<'a> {
    pub(crate) time: SystemTime,
    pub(crate) severity: Severity,
    pub(crate) target: &'a str,
    pub(crate) context: TraceContext,
}

/// What an event says of itself, without secrets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Body<'a> {
    /// A JSON value, or nothing.
    pub(crate) message: &'a [u8],
    /// The fields, as JSON members with leading commas.
    pub(crate) members: &'a [u8],
    /// Whether a value was cut.
    pub(crate) truncated: bool,
}

/// The looks of a line.
#[derive(Debug)]
pub(crate) enum Style {
    Json(Box<machine::JsonStyle>),
    /// One line for a person, with or without colours.
    Human {
        color: bool,
    },
}

impl Style {
    /// `resource` describes the service: the attributes that every line carries.
    pub(crate) fn json(schema: &Schema, resource: &[(String, String)]) -> Self {
        Self::Json(Box::new(machine::JsonStyle::new(schema, resource)))
    }

    /// Appends a line, newline included.
    pub(crate) fn write(&self, out: &mut Vec<u8>, stamp: &mut Stamp, head: &Head<'_>, body: Body<'_>) {
        match self {
            Self::Json(style) => style.write(out, stamp, head, body),
            Self::Human { color } => human::write(out, head, body, *color),
        }
    }
}
