//! Recovery targets and the settings that make a restored server replay to them. Pure.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use crate::postgres::lsn::Lsn;

/// Where replay stops.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum RecoveryTarget {
    /// The end of the archived WAL.
    #[default]
    Latest,
    /// As soon as the backup is consistent.
    Immediate,
    /// The last commit before or at this moment.
    Time(Timestamp),
    /// This position of the WAL.
    Lsn(Lsn),
    /// A point made with `pg_create_restore_point`.
    Name(String),
    /// After this transaction has committed.
    Xid(u32),
}

impl fmt::Display for RecoveryTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecoveryTarget::Latest => write!(f, "latest"),
            RecoveryTarget::Immediate => write!(f, "immediate"),
            RecoveryTarget::Time(time) => write!(f, "time {time}"),
            RecoveryTarget::Lsn(lsn) => write!(f, "lsn {lsn}"),
            RecoveryTarget::Name(name) => write!(f, "name {name:?}"),
            RecoveryTarget::Xid(xid) => write!(f, "xid {xid}"),
        }
    }
}

impl Serialize for RecoveryTarget {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The timeline that replay follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TargetTimeline {
    /// The newest one in the archive, as the server itself chooses it.
    #[default]
    Latest,
    /// The one that the backup was taken on.
    Current,
    /// This one.
    Id(u32),
}

/// What the server does once it has reached the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TargetAction {
    /// Opens for writing, on a new timeline.
    #[default]
    Promote,
    /// Stays read-only and waits to be told.
    Pause,
    /// Stops.
    Shutdown,
}

/// Every name that a restore sets or must not inherit.
const NAMES: [&str; 9] = [
    "restore_command",
    "recovery_target",
    "recovery_target_time",
    "recovery_target_lsn",
    "recovery_target_name",
    "recovery_target_xid",
    "recovery_target_timeline",
    "recovery_target_inclusive",
    "recovery_target_action",
];

/// Returns the server settings, name and value, that make a server recover as asked.
///
/// Only the one target is named: the server takes even an empty second one for a contradiction.
pub(crate) fn settings(
    target: &RecoveryTarget,
    timeline: TargetTimeline,
    action: TargetAction,
    restore_command: &str,
) -> Vec<(&'static str, String)> {
    let mut settings = vec![("restore_command", restore_command.to_owned())];
    let target = match target {
        RecoveryTarget::Latest => None,
        RecoveryTarget::Immediate => Some(("recovery_target", "immediate".to_owned())),
        RecoveryTarget::Time(time) => {
            Some(("recovery_target_time", time.strftime("%Y-%m-%d %H:%M:%S%.6f+00").to_string()))
        }
        RecoveryTarget::Lsn(lsn) => Some(("recovery_target_lsn", lsn.to_string())),
        RecoveryTarget::Name(name) => Some(("recovery_target_name", name.clone())),
        RecoveryTarget::Xid(xid) => Some(("recovery_target_xid", xid.to_string())),
    };
    let timeline = match timeline {
        TargetTimeline::Latest => "latest".to_owned(),
        TargetTimeline::Current => "current".to_owned(),
        TargetTimeline::Id(id) => id.to_string(),
    };
    settings.push(("recovery_target_timeline", timeline));
    // Without a target the server opens at the end of the WAL and refuses nothing; with one it obeys the action.
    if let Some(target) = target {
        let action = match action {
            TargetAction::Promote => "promote",
            TargetAction::Pause => "pause",
            TargetAction::Shutdown => "shutdown",
        };
        settings.extend([target, ("recovery_target_action", action.to_owned())]);
    }
    settings
}

/// Appends `settings` to the text of a `postgresql.auto.conf`, in place of everything that an earlier restore set.
pub(crate) fn merge_auto_conf(existing: &str, settings: &[(&'static str, String)]) -> String {
    let is_replaced = |line: &str| {
        let name = line.split(['=', ' ', '\t']).next().unwrap_or_default().trim();
        NAMES.iter().any(|setting| name.eq_ignore_ascii_case(setting))
    };
    let mut text: String = existing
        .lines()
        .filter(|line| !is_replaced(line.trim_start()))
        .flat_map(|line| [line, "\n"])
        .collect();
    for (name, value) in settings {
        let value = value.replace('\\', "\\\\").replace('\'', "''");
        text.push_str(&format!("{name} = '{value}'\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_targets_are_replaced_and_values_quoted() {
        let existing =
            "# by the server\nwork_mem = '8MB'\nrecovery_target_xid='7'\nRestore_Command = 'old'\n";
        let target = RecoveryTarget::Time("2026-11-21T05:00:00.25Z".parse().unwrap());
        let settings = settings(&target, TargetTimeline::Current, TargetAction::Pause, r"sh -c 'a\b' %f %p");
        let text = merge_auto_conf(existing, &settings);
        assert_eq!(
            text,
            r"# by the server
work_mem = '8MB'
restore_command = 'sh -c ''a\\b'' %f %p'
recovery_target_timeline = 'current'
recovery_target_time = '2026-11-21 05:00:00.250000+00'
recovery_target_action = 'pause'
"
        );
    }

    #[test]
    fn each_target_sets_exactly_one_name() {
        for (target, expected) in [
            (RecoveryTarget::Latest, None),
            (RecoveryTarget::Immediate, Some(("recovery_target", "immediate"))),
            (RecoveryTarget::Lsn(Lsn(9)), Some(("recovery_target_lsn", "0/9"))),
            (RecoveryTarget::Name("before".to_owned()), Some(("recovery_target_name", "before"))),
            (RecoveryTarget::Xid(700), Some(("recovery_target_xid", "700"))),
        ] {
            let settings = settings(&target, TargetTimeline::Latest, TargetAction::Promote, "x");
            let kinds = [
                "recovery_target",
                "recovery_target_time",
                "recovery_target_lsn",
                "recovery_target_name",
                "recovery_target_xid",
            ];
            let set: Vec<_> = settings
                .iter()
                .filter(|(name, _)| kinds.contains(name))
                .map(|(name, value)| (*name, value.as_str()))
                .collect();
            assert_eq!(set, expected.into_iter().collect::<Vec<_>>(), "{target}");
        }
    }
}
