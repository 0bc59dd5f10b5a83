//! Finds secrets in bytes.
//!
//! One search over the bytes (Aho–Corasick, over the fixed texts of all rules) says where anything may begin; a matcher of
//! the rule looks there, and reads a bounded number of bytes. Then the runs that may be base64 or hex are decoded and
//! searched in the same way. Every step is linear: the bytes that matchers read are counted, and a test holds the bound.

pub(crate) mod assign;
mod checksum;
mod cursor;
pub(crate) mod decode;
mod join;
mod jwt;
mod keys;
mod links;
mod nearby;
pub(crate) mod noise;
#[cfg(test)]
mod tests;

use self::assign::Named;
use self::checksum::Proof;
use super::rules::shape::{Alphabet, Miss, Part};
use super::rules::{self, Rule, Tier, Token};
use crate::mask;
use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use std::collections::BTreeMap;
use std::ops::Range;

pub(crate) use super::rules::shape::begins as shape_begins;

/// How many texts inside texts are opened.
const DEEPEST: usize = 3;
/// A binary file shows itself within its first bytes.
const BINARY_HEAD: usize = 8 * 1024;
/// A shorter known value would be found everywhere.
pub(crate) const SHORTEST_KNOWN: usize = 6;

/// A secret in a buffer.
#[derive(Clone, Debug)]
pub(crate) struct Hit {
    pub(crate) rule: &'static Rule,
    pub(crate) tier: Tier,
    /// Where it stands; of a decoded one, where what was decoded stands.
    pub(crate) span: Range<usize>,
    /// Lines count from 0 here: a buffer may be the middle of a file.
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) secret: Vec<u8>,
    /// What was decoded to see it, outermost first.
    pub(crate) through: Vec<&'static str>,
    /// The name of a known value.
    pub(crate) name: Option<String>,
    priority: u8,
}

/// What the text that the search found may begin.
#[derive(Clone, Copy, Debug)]
enum Use {
    Token(usize),
    Near(usize),
    Named(Named),
    Pem,
    Putty,
    Jwt,
    Url,
    Basic,
    Bearer,
    User,
}

/// All rules, ready to search.
pub(crate) struct Detector {
    search: AhoCorasick,
    /// What each text of the search may begin.
    uses: Vec<Vec<Use>>,
    tokens: Vec<Token>,
    known: Option<Known>,
    /// Seconds since 1970, to judge what expires.
    now: u64,
}

struct Known {
    search: AhoCorasick,
    names: Vec<String>,
}

/// What a search keeps between buffers.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// How many bytes matchers have read.
    pub(crate) work: u64,
}

impl Detector {
    /// Prepares the rules, and the values that are known; `now` is in seconds since 1970.
    pub(crate) fn new<'a>(known: impl IntoIterator<Item = (&'a str, &'a str)>, now: u64) -> Self {
        let tokens = rules::compiled();
        let mut words: BTreeMap<String, Vec<Use>> = BTreeMap::new();
        let mut add = |word: &str, what: Use| words.entry(word.to_ascii_lowercase()).or_default().push(what);
        for (index, token) in tokens.iter().enumerate() {
            match token.shape.word() {
                Some(word) if token.rule.near.is_empty() => add(word, Use::Token(index)),
                _ => token.rule.near.iter().for_each(|word| add(word, Use::Near(index))),
            }
        }
        assign::WORDS.iter().for_each(|(word, named)| add(word, Use::Named(*named)));
        for (word, what) in [
            ("-----BEGIN ", Use::Pem),
            ("PuTTY-User-Key-File-", Use::Putty),
            ("eyJ", Use::Jwt),
            ("://", Use::Url),
            ("basic ", Use::Basic),
            ("bearer ", Use::Bearer),
            (" -u ", Use::User),
            (" --user ", Use::User),
        ] {
            add(word, what);
        }
        let search = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            .kind(Some(AhoCorasickKind::DFA))
            .build(words.keys())
            .expect("a few hundred short texts stay far below the automaton's limits");
        Self { search, uses: words.into_values().collect(), tokens, known: Known::new(known), now }
    }

    /// All secrets in a buffer, in the order of where they stand.
    pub(crate) fn scan(&self, bytes: &[u8], scratch: &mut Scratch) -> Vec<Hit> {
        self.scan_inside(bytes, scratch, 0)
    }

    fn scan_inside(&self, bytes: &[u8], scratch: &mut Scratch, depth: usize) -> Vec<Hit> {
        if let Some(text) = decode::utf16(bytes) {
            let mut hits = self.scan_text(&text, scratch, depth);
            hits.iter_mut().for_each(|hit| hit.through.insert(0, "utf-16"));
            return hits;
        }
        self.scan_text(bytes, scratch, depth)
    }

    fn scan_text(&self, bytes: &[u8], scratch: &mut Scratch, depth: usize) -> Vec<Hit> {
        let mut hits = Vec::new();
        let is_binary = bytes[..bytes.len().min(BINARY_HEAD)].contains(&0);
        let mut last = Last::default();
        for found in self.search.find_overlapping_iter(bytes) {
            for what in &self.uses[found.pattern().as_usize()] {
                self.look(bytes, found.range(), *what, is_binary, &mut last, scratch, &mut hits);
            }
        }
        if let Some(known) = &self.known {
            known.scan(bytes, &mut hits);
        }
        if depth < DEEPEST {
            let mut work = 0;
            decode::runs(bytes, &mut work, |span, how, text| {
                for mut hit in self.scan_inside(&text, scratch, depth + 1) {
                    hit.span = span.clone();
                    hit.through.insert(0, how);
                    hits.push(hit);
                }
            });
            scratch.work += work;
        }
        let mut hits = without_overlaps(hits);
        place(bytes, &mut hits);
        hits
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one call a word that was found; a struct would only rename them"
    )]
    fn look(
        &self,
        bytes: &[u8],
        word: Range<usize>,
        what: Use,
        is_binary: bool,
        last: &mut Last,
        scratch: &mut Scratch,
        hits: &mut Vec<Hit>,
    ) {
        let work = &mut scratch.work;
        let mut push = |rule, tier, span: Range<usize>, priority| {
            hits.push(Hit::new(rule, tier, span.clone(), bytes[span].to_vec(), priority));
        };
        match what {
            Use::Token(index) => {
                if let Some((tier, span, secret)) = self.token(&self.tokens[index], bytes, word.start, work) {
                    hits.push(Hit::new(self.tokens[index].rule, tier, span, secret, 6));
                }
            }
            Use::Near(_) | Use::Named(_) if is_binary => {}
            Use::Near(index) => {
                let token = &self.tokens[index];
                let line = last.line(bytes, word, work);
                if let Some((tier, span)) = line.and_then(|line| nearby::find(token, bytes, line)) {
                    push(token.rule, tier, span, 5);
                }
            }
            Use::Named(named) => {
                if last.is_new(word.start, named)
                    && let Some((rule, span)) = assign::secret(bytes, word, named, work)
                {
                    last.done(span.start, named);
                    push(rule, rule.tier, span, 1);
                }
            }
            Use::Pem => {
                if let Some((rule, span)) = keys::pem(bytes, word.start, work) {
                    push(rule, rule.tier, span, 7);
                }
            }
            Use::Putty => {
                if let Some((rule, span)) = keys::putty(bytes, word.start) {
                    push(rule, rule.tier, span, 7);
                }
            }
            Use::Jwt => {
                if let Some((rule, span)) = jwt::find(bytes, word.start, self.now, work) {
                    push(rule, rule.tier, span, 4);
                }
            }
            Use::Url => {
                if let Some((rule, tier, span)) = links::url(bytes, word.start, work) {
                    push(rule, tier, span, 3);
                }
            }
            Use::User => {
                if let Some((rule, tier, span)) = links::user_option(bytes, word.end) {
                    push(rule, tier, span, 2);
                }
            }
            Use::Basic | Use::Bearer => {
                if let Some((rule, tier, span)) =
                    links::header(bytes, word.start, matches!(what, Use::Bearer))
                {
                    push(rule, tier, span, 2);
                }
            }
        }
    }

    /// A token whose first text stands at an offset: how sure, where, and the token itself.
    fn token(
        &self,
        token: &Token,
        bytes: &[u8],
        at: usize,
        work: &mut u64,
    ) -> Option<(Tier, Range<usize>, Vec<u8>)> {
        let word = token.shape.word()?;
        *work += 1;
        // The search ignores case; a token does not.
        if !bytes[at..].starts_with(word.as_bytes()) {
            return None;
        }
        let (span, secret) = match token.shape.around(bytes, at) {
            Ok(span) => (span.clone(), bytes[span].to_vec()),
            Err(Miss::Short(end)) if shape_begins(bytes, at) => {
                *work += (end - at) as u64;
                let (joined, end) = join::literal(bytes, at, end, work)?;
                let inner = token.shape.around(&joined, 0).ok()?;
                (at..end, joined[inner].to_vec())
            }
            Err(_) => return None,
        };
        *work += secret.len() as u64;
        let tier = sure(token, &secret)?;
        Some((tier, span, secret))
    }
}

/// How sure a token is that has its shape; None where it is an example, or its checksum is wrong.
pub(crate) fn sure(token: &Token, secret: &[u8]) -> Option<Tier> {
    if is_example(token, secret) {
        return None;
    }
    match checksum::check(token.rule.check, secret) {
        Proof::No => None,
        Proof::Weaker => Some(Tier::Likely),
        Proof::Fits => Some(token.rule.tier),
    }
}

/// Whether what varies in a token was typed by a person.
fn is_example(token: &Token, secret: &[u8]) -> bool {
    let mut widest: Option<(usize, Alphabet)> = None;
    let mut texts = 0;
    for part in token.shape.parts() {
        match part {
            Part::Text(text) => texts += text.len(),
            Part::Run { alphabet, most, .. } => {
                widest = widest.filter(|(length, _)| *length >= most).or(Some((most, alphabet)));
            }
        }
    }
    let Some((_, alphabet)) = widest else { return false };
    // The varying part is what follows the first text, less the few bytes of others.
    let head = match token.shape.parts().next() {
        Some(Part::Text(text)) => text.len(),
        _ => 0,
    };
    let varying = &secret[head.min(secret.len())..];
    // A name in a program may have the shape of a token with a short prefix.
    let is_name = alphabet.size() >= 52 && noise::is_wordy(varying);
    texts < secret.len() && (is_name || noise::is_example(varying, alphabet.size()))
}

/// What the search remembers of the last word, so that a name with three of them is read once.
#[derive(Default)]
struct Last {
    named: [usize; 2],
    word: Range<usize>,
    line: Option<nearby::Line>,
}

impl Last {
    fn is_new(&self, at: usize, named: Named) -> bool {
        at >= self.named[named as usize]
    }

    fn done(&mut self, end: usize, named: Named) {
        self.named[named as usize] = end;
    }

    /// The rest of the line after an issuer's name: read once for all rules of that name.
    fn line(&mut self, bytes: &[u8], word: Range<usize>, work: &mut u64) -> Option<&nearby::Line> {
        if self.word != word {
            self.line = nearby::Line::read(bytes, word.clone(), work);
            self.word = word;
        }
        self.line.as_ref()
    }
}

impl Hit {
    fn new(rule: &'static Rule, tier: Tier, span: Range<usize>, secret: Vec<u8>, priority: u8) -> Self {
        Self { rule, tier, span, line: 0, column: 0, secret, through: Vec::new(), name: None, priority }
    }
}

impl Known {
    fn new<'a>(values: impl IntoIterator<Item = (&'a str, &'a str)>) -> Option<Self> {
        let (mut forms, mut names) = (Vec::new(), Vec::new());
        for (name, value) in values {
            for form in mask::forms_of(value.trim()) {
                if form.len() >= SHORTEST_KNOWN {
                    forms.push(form);
                    names.push(name.to_owned());
                }
            }
        }
        let search = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&forms).ok()?;
        (!names.is_empty()).then_some(Self { search, names })
    }

    fn scan(&self, bytes: &[u8], hits: &mut Vec<Hit>) {
        for found in self.search.find_iter(bytes) {
            let span = found.range();
            let mut hit = Hit::new(&rules::KNOWN, Tier::Certain, span.clone(), bytes[span].to_vec(), 9);
            hit.name = Some(self.names[found.pattern().as_usize()].clone());
            hits.push(hit);
        }
    }
}

/// One hit where several overlap: the surest rule, and of equal ones the first.
fn without_overlaps(mut hits: Vec<Hit>) -> Vec<Hit> {
    hits.sort_by(|a, b| {
        (a.span.start, b.rank(), a.through.len()).cmp(&(b.span.start, a.rank(), b.through.len()))
    });
    let mut kept: Vec<Hit> = Vec::with_capacity(hits.len());
    for hit in hits {
        let Some(last) = kept.last_mut() else {
            kept.push(hit);
            continue;
        };
        if hit.span.start >= last.span.end {
            kept.push(hit);
        } else if hit.span == last.span && hit.through == last.through && !hit.through.is_empty() {
            // Several secrets inside one text that was decoded.
            if kept
                .iter()
                .rev()
                .take_while(|other| other.span == hit.span)
                .all(|other| other.secret != hit.secret)
            {
                kept.push(hit);
            }
        } else if hit.rank() > last.rank() {
            *last = hit;
        }
    }
    kept
}

impl Hit {
    fn rank(&self) -> (u8, Tier) {
        (self.priority, self.tier)
    }
}

/// Fills in lines and columns, which are wanted only where something was found.
fn place(bytes: &[u8], hits: &mut [Hit]) {
    let (mut line, mut line_start, mut from) = (0, 0, 0);
    for hit in hits {
        let before = &bytes[from..hit.span.start];
        let newlines = before.iter().filter(|byte| **byte == b'\n').count();
        if newlines > 0 {
            line += newlines;
            line_start = from + before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        }
        from = hit.span.start;
        (hit.line, hit.column) = (line, hit.span.start - line_start);
    }
}
