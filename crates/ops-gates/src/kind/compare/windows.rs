//! The two windows of a comparison, as a plan tells them and as they count.

use super::Compare;
use crate::gate::{Context, Wrong};
use crate::outcome::{Fault, Finding};
use crate::value::{Span, Text};
use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The last good window: from `start` to `end`, or so long `before` the deployment.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GoodWindow {
    /// Its start (RFC 3339).
    pub start: Option<Text>,
    /// Its end.
    pub end: Option<Text>,
    /// Its length; it then ends with the deployment.
    pub before: Option<Span>,
}

/// The window after the deployment: from `start` to `end`, or from `skip` after the deployment on for the `length`, or until now.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AfterWindow {
    /// Its start (RFC 3339).
    pub start: Option<Text>,
    /// Its end.
    pub end: Option<Text>,
    /// The time after the deployment that does not count, as for filling caches.
    pub skip: Option<Span>,
    /// Its length; until now where it is absent.
    pub length: Option<Span>,
}

/// From, and to.
pub(super) type Window = (Timestamp, Timestamp);

/// Both windows as they count.
pub(super) struct Windows {
    pub(super) good: Window,
    pub(super) after: Window,
}

pub(super) fn wrong(good: &GoodWindow, after: &AfterWindow, deployed_at: Option<&Text>) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    if good.start.is_some() != good.end.is_some() || good.start.is_some() == good.before.is_some() {
        wrong.push(Wrong::gate("`good` needs `start` and `end`, or else `before`"));
    }
    let by_length = after.skip.is_some() || after.length.is_some();
    if after.start.is_some() != after.end.is_some() || (after.start.is_some() && by_length) {
        wrong.push(Wrong::gate("`after` has `start` and `end`, or else `skip` and `length`"));
    }
    if deployed_at.is_none() && (good.before.is_some() || after.start.is_none()) {
        wrong.push(Wrong::gate("a window that is told by its length needs `deployed_at`"));
    }
    wrong
}

impl Windows {
    /// The windows; those that are not over, or lie the wrong way round, are errors.
    pub(super) fn of(keys: &Compare, context: &Context<'_>) -> Result<Self, Finding> {
        let deployed_at = keys.deployed_at.as_ref().map(|text| time(context, text)).transpose()?;
        let unresolved = |reason: &str| Finding::error(Fault::Unresolved, "window", reason);
        let deployed = || deployed_at.ok_or_else(|| unresolved("`deployed_at` is missing"));
        let good = match (&keys.good.start, &keys.good.end, keys.good.before) {
            (Some(start), Some(end), _) => (time(context, start)?, time(context, end)?),
            (_, _, Some(before)) => (shifted(deployed()?, before, -1)?, deployed()?),
            _ => return Err(unresolved("`good` tells no window")),
        };
        let after = match (&keys.after.start, &keys.after.end) {
            (Some(start), Some(end)) => (time(context, start)?, time(context, end)?),
            _ => {
                let start = keys.after.skip.map_or_else(deployed, |skip| shifted(deployed()?, skip, 1))?;
                let end = keys.after.length.map_or(Ok(context.now()), |length| shifted(start, length, 1))?;
                (start, end)
            }
        };
        if good.0 >= good.1 {
            return Err(unresolved("the good window ends before it starts"));
        }
        if good.1 > after.0 || deployed_at.is_some_and(|deployed| good.1 > deployed || after.0 < deployed) {
            return Err(unresolved(
                "the good window must end before the deployment, and the other start after it",
            ));
        }
        if after.1 > context.now() || after.0 >= after.1 {
            let reason = format!("the window after the deployment is not over yet: it ends at {}", after.1);
            return Err(Finding::error(Fault::NotReady, "not-over", reason));
        }
        Ok(Self { good, after })
    }
}

fn time(context: &Context<'_>, text: &Text) -> Result<Timestamp, Finding> {
    let value = context.resolve(text)?;
    value.trim().parse().map_err(|_| {
        let reason = format!("{text} is no time; write it as 2026-11-21T09:30:00Z");
        Finding::error(Fault::Unresolved, "time", reason)
    })
}

fn shifted(time: Timestamp, by: Span, sign: i32) -> Result<Timestamp, Finding> {
    let by = SignedDuration::try_from(by.get()).ok().and_then(|by| by.checked_mul(sign));
    by.and_then(|by| time.checked_add(by).ok())
        .ok_or_else(|| Finding::error(Fault::Unresolved, "window", "the window is beyond the calendar"))
}

impl fmt::Display for Windows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}, after {} to {}", self.good.0, self.good.1, self.after.0, self.after.1)
    }
}
