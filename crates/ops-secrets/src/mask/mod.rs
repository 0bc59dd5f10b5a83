//! Masking: whatever is known to be secret is replaced in text, in every form that text gives it.

mod embedded;
mod filter;
mod forms;
mod writer;

pub(crate) use embedded::{decoded, passwords};
pub(crate) use forms::of as forms_of;
pub use writer::MaskingWriter;

use self::filter::Filter;
use aho_corasick::{AhoCorasick, MatchKind};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::{Bound, Range};
use std::sync::{Arc, PoisonError, RwLock};

/// What stands where a secret stood.
pub(crate) const REDACTED: &str = "[redacted]";

/// A shorter secret would be found everywhere, so it is not looked for.
const SHORTEST: usize = 4;
/// A longer one would cost more memory than it deserves.
const LONGEST: usize = 16 * 1024;

/// Knows secrets, and replaces them in bytes by `[redacted]`.
///
/// A secret is found as it is, and as other programs write it: escaped for JSON, for Rust's `{:?}`, for a shell, for SQL
/// or for libpq, percent-encoded, in hex, and in base64 at any alignment; also each longer line of a secret of several
/// lines. Where secrets overlap, all of their bytes go.
///
/// Clones share what they know, so a secret that is registered later is masked by all of them.
///
/// ```
/// use ops_secrets::Masker;
///
/// let masker = Masker::new();
/// masker.register("database.password", "p4ss\"word");
/// assert_eq!(masker.mask_str(r#"{"dsn":"host=db password=p4ss\"word"}"#), r#"{"dsn":"host=db password=[redacted]"}"#);
/// ```
#[derive(Clone, Default)]
pub struct Masker {
    known: Arc<RwLock<Known>>,
}

#[derive(Default)]
struct Known {
    patterns: Option<Arc<Patterns>>,
    unmaskable: BTreeSet<String>,
}

impl Masker {
    /// A masker that knows nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a secret known under a name, which is for [`unmaskable`](Self::unmaskable) alone.
    pub fn register(&self, name: &str, secret: &str) {
        self.register_all([(name, secret)]);
    }

    /// Makes several secrets known at the cost of one.
    ///
    /// An empty secret is no secret. One of fewer than 4 or more than 16384 bytes is not masked.
    pub fn register_all<'a>(&self, secrets: impl IntoIterator<Item = (&'a str, &'a str)>) {
        let mut forms = BTreeSet::new();
        let mut unmaskable = BTreeSet::new();
        for (name, secret) in secrets {
            let secret = secret.trim();
            if (SHORTEST..=LONGEST).contains(&secret.len()) {
                forms.extend(forms::of(secret).into_iter().filter(|form| form.len() >= SHORTEST));
            } else if !secret.is_empty() {
                unmaskable.insert(name.to_owned());
            }
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.unmaskable.extend(unmaskable);
        let before = known.patterns.as_ref().map(|patterns| &patterns.forms);
        if before.is_some_and(|before| forms.is_subset(before)) || forms.is_empty() {
            return;
        }
        forms.extend(before.into_iter().flatten().cloned());
        known.patterns = Some(Arc::new(Patterns::new(forms)));
    }

    /// Returns the names of secrets that are too short or too long to be looked for.
    pub fn unmaskable(&self) -> Vec<String> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.unmaskable.iter().cloned().collect()
    }

    /// Masks a buffer in place; costs one scan and no allocation where nothing is found.
    pub fn mask(&self, text: &mut Vec<u8>) {
        if let Some(masked) = self.masked(text) {
            *text = masked;
        }
    }

    /// Masks a text.
    pub fn mask_str<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self.masked(text.as_bytes()) {
            // Every form is whole characters, so what is left is UTF-8 too.
            Some(masked) => Cow::Owned(String::from_utf8_lossy(&masked).into_owned()),
            None => Cow::Borrowed(text),
        }
    }

    fn masked(&self, text: &[u8]) -> Option<Vec<u8>> {
        let spans = self.patterns()?.spans(text);
        if spans.is_empty() {
            return None;
        }
        let mut masked = Vec::with_capacity(text.len());
        let mut end = 0;
        for span in spans {
            masked.extend_from_slice(&text[end..span.start]);
            masked.extend_from_slice(REDACTED.as_bytes());
            end = span.end;
        }
        masked.extend_from_slice(&text[end..]);
        Some(masked)
    }

    fn patterns(&self) -> Option<Arc<Patterns>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).patterns.clone()
    }
}

impl fmt::Debug for Masker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let forms = self.patterns().map_or(0, |patterns| patterns.forms.len());
        f.debug_struct("Masker").field("forms", &forms).finish_non_exhaustive()
    }
}

/// All forms of all secrets, and the automaton that finds them; never changed, only replaced.
struct Patterns {
    forms: BTreeSet<Vec<u8>>,
    longest: usize,
    filter: Filter,
    search: AhoCorasick,
}

impl Patterns {
    fn new(forms: BTreeSet<Vec<u8>>) -> Self {
        // The standard kind reports overlapping matches: a leftmost match would leave the rest of one that begins in it.
        let search = AhoCorasick::builder().match_kind(MatchKind::Standard).build(&forms);
        let search = search.expect("bounded secrets stay far below the automaton's limit of 2^31 states");
        let longest = forms.iter().map(Vec::len).max().unwrap_or(0);
        Self { filter: Filter::new(&forms), forms, longest, search }
    }

    /// Where secrets stand, in order; those that overlap are one.
    fn spans(&self, text: &[u8]) -> Vec<Range<usize>> {
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
    fn unfinished(&self, text: &[u8]) -> usize {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn masker(secrets: &[&str]) -> Masker {
        let masker = Masker::new();
        masker.register_all(secrets.iter().map(|secret| ("name", *secret)));
        masker
    }

    #[test]
    fn secrets_are_replaced_wherever_they_stand() {
        let table: &[(&[&str], &str, &str)] = &[
            (&[], "nothing known", "nothing known"),
            (&["hunter2"], "no secret here", "no secret here"),
            (&["hunter2"], "hunter2", "[redacted]"),
            (&["hunter2"], "a hunter2 b hunter2", "a [redacted] b [redacted]"),
            // The longer one wins, in either order of registration.
            (&["hunter2", "hunter2-long-secret"], "x hunter2-long-secret y", "x [redacted] y"),
            (&["hunter2-long-secret", "hunter2"], "x hunter2-long-secret y", "x [redacted] y"),
            // Overlaps leave no rest, whichever begins first.
            (&["pass-word1", "word1-extra"], "pass-word1-extra", "[redacted]"),
            (&["abcde", "bcd1", "cdefgh"], "abcdefgh", "[redacted]"),
            (&["aaaa"], "aaaaaaaaab", "[redacted]b"),
            // Whitespace around a secret is not what makes it secret.
            (&[" hunter2\n"], "pw=hunter2;", "pw=[redacted];"),
            (&["hünter€"], "pw=hünter€;", "pw=[redacted];"),
        ];
        for (secrets, text, expected) in table {
            assert_eq!(masker(secrets).mask_str(text), *expected, "{secrets:?}");
        }
    }

    #[test]
    fn short_and_endless_secrets_are_named_not_masked() {
        let masker = Masker::new();
        masker.register("pin", "123");
        masker.register("blob", &"x".repeat(LONGEST + 1));
        masker.register("none", " ");
        assert_eq!(masker.unmaskable(), ["blob", "pin"]);
        assert_eq!(masker.mask_str("123"), "123");
    }

    #[test]
    fn clones_share_and_debug_shows_nothing() {
        let masker = Masker::new();
        let clone = masker.clone();
        masker.register("a", "first-secret");
        masker.register("b", "second-secret");
        let mut line = b"first-secret second-secret \xff".to_vec();
        clone.mask(&mut line);
        assert_eq!(line, b"[redacted] [redacted] \xff");
        assert!(!format!("{masker:?}").contains("secret"));
    }
}
