//! All forms of all secrets that are known, and the automaton that finds them.

use super::filter::Filter;
use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use std::collections::BTreeSet;
use std::ops::{Bound, Range};

/// All forms of all secrets, and the automaton that finds them; never changed, only replaced.
pub(super) struct Patterns {
    pub(super) forms: BTreeSet<Vec<u8>>,
    longest: usize,
    filter: Filter,
    search: AhoCorasick,
}

impl Patterns {
    pub(super) fn new(forms: BTreeSet<Vec<u8>>) -> Self {
        // The standard kind reports overlapping matches: a leftmost match would leave the rest of one that begins in it.
        // Clean text ends at the filter, so what counts is how soon the automaton is built: each new secret builds it anew,
        // and each start of a program for its canary.
        let kind = Some(AhoCorasickKind::ContiguousNFA);
        let search = AhoCorasick::builder().kind(kind).match_kind(MatchKind::Standard).build(&forms);
        let search = search.expect("bounded secrets stay far below the automaton's limit of 2^31 states");
        let longest = forms.iter().map(Vec::len).max().unwrap_or(0);
        Self { filter: Filter::new(&forms), forms, longest, search }
    }

    /// Where secrets stand, in order; those that overlap are one.
    pub(super) fn spans(&self, text: &[u8]) -> Vec<Range<usize>> {
        let mut spans: Vec<Range<usize>> = Vec::new();
        if !self.filter.may_hold(text) {
            return spans;
        }
        for found in self.search.find_overlapping_iter(text) {
            // Matches come in the order of their ends, so one can only swallow the spans before it.
            let mut span = found.range();
            while let Some(last) = spans.pop_if(|last| last.end > span.start) {
                span.start = span.start.min(last.start);
            }
            spans.push(span);
        }
        spans
    }

    /// Where the last bytes begin that more text could complete to a secret; the length, if there are none.
    pub(super) fn unfinished(&self, text: &[u8]) -> usize {
        let first = text.len().saturating_sub(self.longest.saturating_sub(1));
        let is_begin = |tail: &[u8]| {
            let mut after = self.forms.range::<[u8], _>((Bound::Excluded(tail), Bound::Unbounded));
            after.next().is_some_and(|form| form.starts_with(tail))
        };
        let mut starts = first..text.len();
        let begin =
            starts.find(|start| self.filter.may_begin_with(&text[*start..]) && is_begin(&text[*start..]));
        begin.unwrap_or(text.len())
    }
}
