//! A quick look that tells, for almost every text without a secret, that there is none.

use std::collections::BTreeSet;

/// How many bytes are looked at together; no form is shorter.
const GRAM: usize = 4;
/// More of a form's begin than this makes the look no quicker, but its memory fuller.
const LONGEST_BEGIN: usize = 16;

/// Knows the pieces of the begins of all forms.
///
/// Every form has at least `length` bytes. Of the pieces that begin in its first `stride` bytes, one stands at a
/// multiple of `stride` in the text; so only each `stride`-th place needs a look (the idea of Wu and Manber, "A fast
/// algorithm for multi-pattern searching", 1994).
pub(super) struct Filter {
    length: usize,
    stride: usize,
    first: Grams,
    any: Grams,
}

impl Filter {
    pub(super) fn new(forms: &BTreeSet<Vec<u8>>) -> Self {
        let length = forms.iter().map(Vec::len).min().unwrap_or(GRAM).clamp(GRAM, LONGEST_BEGIN);
        let (mut first, mut any) = (Grams::new(), Grams::new());
        for form in forms {
            first.insert(&form[..GRAM]);
            form[..length].windows(GRAM).for_each(|gram| any.insert(gram));
        }
        Self { length, stride: length - GRAM + 1, first, any }
    }

    /// Whether a form may stand in the text; false only if none does.
    pub(super) fn may_hold(&self, text: &[u8]) -> bool {
        let Some(last) = text.len().checked_sub(self.length) else { return false };
        let places = (0..=text.len() - GRAM).step_by(self.stride);
        let mut hits = places.filter(|place| self.any.has(&text[*place..]));
        hits.any(|place| {
            let begins = (place + 1).saturating_sub(self.stride)..=place.min(last);
            begins.into_iter().any(|begin| {
                self.first.has(&text[begin..]) && self.any.has(&text[begin + self.length - GRAM..])
            })
        })
    }

    /// Whether a form may begin with the bytes; false only if none does.
    pub(super) fn may_begin_with(&self, bytes: &[u8]) -> bool {
        bytes.len() < GRAM || self.first.has(bytes)
    }
}

/// A set of pieces that answers "perhaps" or "no" (a Bloom filter with one hash).
struct Grams(Vec<u64>);

impl Grams {
    fn new() -> Self {
        Self(vec![0; 1 << 10])
    }

    /// The bit of the piece at the begin of the bytes.
    fn bit(bytes: &[u8]) -> (usize, u64) {
        let gram = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        // Multiplicative hashing by the golden ratio; the upper 16 bits are the best mixed.
        let hash = gram.wrapping_mul(0x9E37_79B1) >> 16;
        ((hash >> 6) as usize, 1 << (hash & 63))
    }

    fn insert(&mut self, gram: &[u8]) {
        let (word, bit) = Self::bit(gram);
        self.0[word] |= bit;
    }

    fn has(&self, bytes: &[u8]) -> bool {
        let (word, bit) = Self::bit(bytes);
        self.0[word] & bit != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_seen_at_every_place() {
        for form in ["abcd", "abcde", "a-longer-form", "one that is longer than what is looked at"] {
            let filter =
                Filter::new(&[form.as_bytes().to_vec(), b"another form, a longer one".to_vec()].into());
            for before in 0..40 {
                for after in 0..20 {
                    let text = format!("{}{form}{}", ".".repeat(before), ".".repeat(after));
                    assert!(filter.may_hold(text.as_bytes()), "{text}");
                    assert!(filter.may_begin_with(&text.as_bytes()[before..]));
                }
            }
        }
    }

    #[test]
    fn most_texts_without_a_form_are_told() {
        let forms = (0..500).map(|index| format!("secret-{}", index * 7919).into_bytes()).collect();
        let filter = Filter::new(&forms);
        let held = (0..1000).filter(|index| {
            filter.may_hold(format!("line {index} of a log with some words in it").as_bytes())
        });
        assert!(held.count() < 10);
        assert!(!filter.may_hold(b"") && !filter.may_hold(b"secret") && !filter.may_hold(b"secret-"));
    }
}
