//! What a rehearsal measures, and exactly what each number means. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::options::Wanted;
use super::server::Position;
use crate::postgres::lsn::Lsn;
use crate::postgres::recovery::RecoveryTarget;
use crate::postgres::segment::SegmentName;

/// The numbers of a rehearsal. What was not reached or cannot be known is `None`, never zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Measurements {
    /// Fetching all files from the repository, and making them durable.
    pub restore: Option<Duration>,
    /// Bytes of these files.
    pub restored_bytes: Option<u64>,
    /// `pg_verifybackup`. Not a part of the recovery time.
    pub verify: Option<Duration>,
    /// From the start of `postgres` until it answers, which includes replay up to the end of the backup.
    pub start: Option<Duration>,
    /// From there to the target, and until the server takes writes.
    pub replay: Option<Duration>,
    /// `pg_amcheck` and the assertions. Not a part of the recovery time.
    pub checks: Option<Duration>,
    /// From the last replayed transaction to the moment that ought to be recovered ([`Wanted::time`]).
    ///
    /// An upper bound of the data lost in time: nothing may have been committed in between. `None` where that
    /// moment is unknown, or where replay met no transaction.
    pub data_lost: Option<Duration>,
    /// WAL between the end of replay and the position that ought to be recovered ([`Wanted::lsn`]).
    ///
    /// At the end of an archive this is the part of a record whose rest was never archived. `None` where that
    /// position is unknown.
    pub data_lost_bytes: Option<u64>,
}

impl Measurements {
    /// Returns the time from an empty directory to a server that takes writes: restore, start and replay.
    pub fn recovery_time(&self) -> Option<Duration> {
        Some(self.restore? + self.start? + self.replay?)
    }

    /// Notes what is missing between where replay stands and what was wanted.
    pub(super) fn compare(&mut self, reached: &Position, wanted: &Wanted) {
        self.data_lost = wanted.time.zip(reached.last_transaction).map(|(wanted, reached)| {
            // Later than wanted is not a loss.
            Duration::try_from(wanted.duration_since(reached)).unwrap_or_default()
        });
        self.data_lost_bytes =
            wanted.lsn.zip(reached.lsn).map(|(wanted, reached)| wanted.0.saturating_sub(reached.0));
    }

    /// The numbers as they stand in the record, each with its unit in its name.
    pub(super) fn named(&self) -> BTreeMap<String, f64> {
        let seconds = [
            ("restore_seconds", self.restore),
            ("verify_seconds", self.verify),
            ("start_seconds", self.start),
            ("replay_seconds", self.replay),
            ("checks_seconds", self.checks),
            ("recovery_time_seconds", self.recovery_time()),
            ("data_lost_seconds", self.data_lost),
        ];
        let seconds =
            seconds.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.as_secs_f64())));
        #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 bytes")]
        let bytes = [("restored_bytes", self.restored_bytes), ("data_lost_bytes", self.data_lost_bytes)]
            .map(|(name, value)| Some((name.to_owned(), value? as f64)));
        seconds.chain(bytes.into_iter().flatten()).collect()
    }
}

/// How far the archive goes, along the timelines that replay follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ArchiveEnd {
    /// The first position of the newest segment that is complete.
    pub(super) begins: Lsn,
    /// The position after it, or after what is known of the next one.
    pub(super) ends: Lsn,
    /// When the last of it was stored, by the clock of the store.
    pub(super) stored_at: Option<Timestamp>,
    /// The first segment that is missing while later ones are there; the newest segment is then the one before.
    pub(super) gap: Option<SegmentName>,
}

/// Fills what the caller left open.
pub(super) fn wanted(given: Wanted, target: &RecoveryTarget, archive: &ArchiveEnd) -> Wanted {
    let (time, lsn) = match target {
        RecoveryTarget::Latest => (archive.stored_at, Some(archive.ends)),
        RecoveryTarget::Time(time) => (Some(*time), None),
        RecoveryTarget::Lsn(lsn) => (None, Some(*lsn)),
        RecoveryTarget::Immediate | RecoveryTarget::Name(_) | RecoveryTarget::Xid(_) => (None, None),
    };
    Wanted { time: given.time.or(time), lsn: given.lsn.or(lsn) }
}

/// Says in words whether replay got where it had to, or why not.
pub(super) fn judge(
    target: &RecoveryTarget,
    reached: &Position,
    archive: &ArchiveEnd,
) -> Result<String, String> {
    let at = reached.lsn.map_or_else(|| "an unknown position".to_owned(), |lsn| lsn.to_string());
    if *target == RecoveryTarget::Latest {
        return match archive.gap {
            Some(gap) => Err(format!("replay ended at {at}: WAL segment {gap} is missing from the archive")),
            // A segment is archived once it is complete, so replay must at least get into the newest one.
            None if reached.lsn.is_none_or(|lsn| lsn < archive.begins) => {
                Err(format!("replay ended at {at}, but the archive goes on to {}", archive.ends))
            }
            None => Ok(format!("replayed to {at}; the archive ends at {}", archive.ends)),
        };
    }
    match (&reached.stopped, target, reached.last_transaction) {
        (None, _, _) => Err(format!("replay stopped at {at}, before the target {target}")),
        (Some(_), RecoveryTarget::Time(time), Some(last)) if last > *time => {
            Err(format!("replay went to {last}, past the target {target}"))
        }
        (Some(words), _, _) => Ok(format!("replayed to {at}: {words}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    const END: ArchiveEnd = ArchiveEnd { begins: Lsn(100), ends: Lsn(200), stored_at: None, gap: None };

    fn position(lsn: u64, last: Option<i64>) -> Position {
        Position { lsn: Some(Lsn(lsn)), last_transaction: last.map(time), stopped: None }
    }

    #[test]
    fn what_is_unknown_is_not_zero() {
        let cases = [
            // wanted time, wanted LSN, last transaction, replayed LSN, seconds, bytes
            (Some(10), Some(500), Some(7), 400, Some(3), Some(100)),
            (Some(10), Some(500), Some(12), 600, Some(0), Some(0)),
            (None, Some(500), Some(7), 500, None, Some(0)),
            (Some(10), None, None, 400, None, None),
        ];
        for (wanted_time, wanted_lsn, last, lsn, seconds, bytes) in cases {
            let wanted = Wanted { time: wanted_time.map(time), lsn: wanted_lsn.map(Lsn) };
            let mut measured = Measurements::default();
            measured.compare(&position(lsn, last), &wanted);
            assert_eq!(measured.data_lost, seconds.map(Duration::from_secs), "{wanted:?}");
            assert_eq!(measured.data_lost_bytes, bytes, "{wanted:?}");
        }
    }

    #[test]
    fn the_recovery_time_is_known_only_when_all_its_parts_are() {
        let second = Some(Duration::from_secs(1));
        let mut measured =
            Measurements { restore: second, start: second, verify: second, ..Measurements::default() };
        assert_eq!(measured.recovery_time(), None);
        assert!(!measured.named().contains_key("recovery_time_seconds"));
        measured.replay = second;
        assert_eq!(measured.named()["recovery_time_seconds"], 3.0);
        assert!(!measured.named().contains_key("data_lost_seconds"));
    }

    #[test]
    fn the_target_fills_what_the_caller_left_open() {
        let given = Wanted { time: Some(time(9)), lsn: Some(Lsn(9)) };
        let none = Wanted::default();
        let end = ArchiveEnd { stored_at: Some(time(1)), ..END };
        for (target, filled) in [
            (RecoveryTarget::Latest, Wanted { time: Some(time(1)), lsn: Some(Lsn(200)) }),
            (RecoveryTarget::Time(time(5)), Wanted { time: Some(time(5)), lsn: None }),
            (RecoveryTarget::Lsn(Lsn(7)), Wanted { time: None, lsn: Some(Lsn(7)) }),
            (RecoveryTarget::Immediate, none),
        ] {
            assert_eq!(wanted(none, &target, &end), filled, "{target}");
            assert_eq!(wanted(given, &target, &end), given, "{target}");
        }
        assert_eq!(wanted(none, &RecoveryTarget::Latest, &END), Wanted { time: None, lsn: Some(Lsn(200)) });
    }

    #[test]
    fn only_a_reached_target_passes() {
        let gap = ArchiveEnd { gap: SegmentName::parse("000000010000000000000002"), ..END };
        let stopped = |last| Position {
            stopped: Some("recovery stopping before commit of transaction 7".to_owned()),
            ..position(50, Some(last))
        };
        let at = RecoveryTarget::Time(time(5));
        for (target, reached, archive, passes) in [
            (&RecoveryTarget::Latest, position(100, None), END, true),
            (&RecoveryTarget::Latest, position(99, None), END, false),
            (&RecoveryTarget::Latest, Position::default(), END, false),
            (&RecoveryTarget::Latest, position(200, None), gap, false),
            (&at, stopped(5), END, true),
            (&at, stopped(5), gap, true),
            (&at, stopped(6), END, false),
            (&at, position(500, Some(4)), END, false),
            (&RecoveryTarget::Immediate, stopped(0), END, true),
            (&RecoveryTarget::Immediate, position(500, Some(4)), END, false),
        ] {
            assert_eq!(judge(target, &reached, &archive).is_ok(), passes, "{target} {reached:?}");
        }
    }
}
