//! Timeline histories: which timelines lead to which, and where they fork. Pure.

use crate::error::{Error, Result};
use crate::postgres::lsn::Lsn;
use crate::postgres::segment::SegmentSize;

/// The ancestry of one timeline, as its `.history` file tells it, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct History {
    /// The timeline itself.
    pub(crate) timeline: u32,
    ancestors: Vec<(u32, Lsn)>,
}

impl History {
    /// The history of a timeline without a history file: the first one of a cluster.
    pub(crate) fn root(timeline: u32) -> Self {
        History { timeline, ancestors: Vec::new() }
    }

    /// Reads the text of the history file of `timeline`.
    pub(crate) fn parse(timeline: u32, text: &str) -> Result<Self> {
        let mut ancestors: Vec<(u32, Lsn)> = Vec::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let mut fields = line.split_whitespace();
            let ancestor = fields.next().and_then(|field| field.parse().ok());
            let fork = fields.next().and_then(|field| field.parse().ok());
            let entry = ancestor.zip(fork).filter(|(ancestor, _)| {
                *ancestor < timeline && ancestors.last().is_none_or(|(last, _)| last < ancestor)
            });
            let Some(entry) = entry else {
                return Err(Error::corrupt(format!(
                    "the history of timeline {timeline} holds the line {line:?}"
                )));
            };
            ancestors.push(entry);
        }
        Ok(History { timeline, ancestors })
    }

    /// Returns the timeline that this one left, and where.
    pub(crate) fn fork(&self) -> Option<(u32, Lsn)> {
        self.ancestors.last().copied()
    }

    /// Whether a server that has reached `lsn` on `timeline` can follow this history.
    pub(crate) fn contains(&self, timeline: u32, lsn: Lsn) -> bool {
        timeline == self.timeline
            || self.ancestors.iter().any(|(ancestor, fork)| *ancestor == timeline && lsn <= *fork)
    }

    /// Returns the newest timeline that has begun when segment `number` is replayed: the one that recovery looks for first.
    pub(crate) fn at_segment(&self, number: u64, size: SegmentSize) -> Option<u32> {
        let begun = |(_, fork): &&(u32, Lsn)| size.segment_of(*fork) <= number;
        let ended = self.ancestors.iter().take_while(begun).count();
        let mut timelines = self.ancestors.iter().map(|(timeline, _)| *timeline).chain([self.timeline]);
        timelines.nth(ended)
    }

    /// Returns the timeline that the byte at `lsn` was written on.
    pub(crate) fn timeline_at(&self, lsn: Lsn) -> u32 {
        let ancestor = self.ancestors.iter().find(|(_, fork)| lsn < *fork);
        ancestor.map_or(self.timeline, |(timeline, _)| *timeline)
    }

    /// Returns the timeline that was forked from `timeline`, and where; `None` where that is none of this history's.
    pub(crate) fn child_of(&self, timeline: u32) -> Option<(u32, Lsn)> {
        let at = self.ancestors.iter().position(|(ancestor, _)| *ancestor == timeline)?;
        let child = self.ancestors.get(at + 1).map_or(self.timeline, |(child, _)| *child);
        Some((child, self.ancestors[at].1))
    }

    /// Returns each timeline from `start` on with the position where it ends; the last one is open.
    pub(crate) fn spans_from(&self, start: u32) -> Vec<(u32, Option<Lsn>)> {
        let ended = self.ancestors.iter().map(|(timeline, fork)| (*timeline, Some(*fork)));
        ended.chain([(self.timeline, None)]).skip_while(|(timeline, _)| *timeline != start).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "1\t0/3000060\tno recovery target specified\n\n# a note\n2\t0/5000000\tbefore 2026-11-21\n";

    #[test]
    fn a_history_tells_what_it_contains() {
        let history = History::parse(4, TEXT).unwrap();
        for (timeline, lsn, expected) in [
            (1, 0x300_0060, true),
            (1, 0x300_0061, false),
            (2, 0x500_0000, true),
            (2, 0x500_0001, false),
            (3, 0x100, false),
            (4, u64::MAX, true),
        ] {
            assert_eq!(history.contains(timeline, Lsn(lsn)), expected, "{timeline} {lsn:X}");
        }
        for (lsn, expected) in [(0x300_005F, 1), (0x300_0060, 2), (0x4FF_FFFF, 2), (0x500_0000, 4)] {
            assert_eq!(history.timeline_at(Lsn(lsn)), expected, "{lsn:X}");
        }
        let children = [1, 2, 3, 4].map(|timeline| history.child_of(timeline));
        assert_eq!(children, [Some((2, Lsn(0x300_0060))), Some((4, Lsn(0x500_0000))), None, None]);
        assert_eq!(history.spans_from(2), [(2, Some(Lsn(0x500_0000))), (4, None)]);
        assert_eq!(history.spans_from(3), []);
        assert_eq!(History::root(1).spans_from(1), [(1, None)]);
    }

    #[test]
    fn recovery_looks_on_the_newest_timeline_that_has_begun() {
        let history = History::parse(4, TEXT).unwrap();
        let size = SegmentSize::new(1 << 20).unwrap();
        // Timeline 2 begins in segment 0x30, timeline 4 in segment 0x50.
        for (number, expected) in [(0x2F, 1), (0x30, 2), (0x4F, 2), (0x50, 4), (0x51, 4)] {
            assert_eq!(history.at_segment(number, size), Some(expected), "{number:X}");
        }
    }

    #[test]
    fn a_damaged_history_is_an_error() {
        for text in ["x\t0/1\t", "1\tzero\t", "1", "4\t0/1\t", "2\t0/1\t\n1\t0/2\t"] {
            assert!(History::parse(4, text).is_err(), "{text:?}");
        }
    }
}
