//! Masking: whatever is known to be secret is replaced in text, in every form that text gives it.
//!
//! A secret is known for the life of the process ([`Masker::register`]), or as long as somebody holds it and for a time
//! after ([`Masker::hold`], [`Masker::sweep`]). Forms and automaton are never changed, only replaced, so a thread that masks
//! waits for nobody. Nothing is on disk: a crash leaves nothing.

#[cfg(feature = "tokio")]
mod async_writer;
mod canary;
mod derived;
mod embedded;
mod filter;
mod forms;
mod held;
mod panic;
mod patterns;
mod writer;

#[cfg(feature = "tokio")]
pub use async_writer::MaskingAsyncWriter;
pub use canary::Unmasked;
pub(crate) use embedded::{decoded, passwords};
#[cfg(feature = "scan")]
pub(crate) use forms::of as forms_of;
pub use held::Registration;
pub use panic::PanicHook;
pub use writer::MaskingWriter;

use self::held::Holds;
use self::patterns::Patterns;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// What stands where a secret stood.
pub(crate) const REDACTED: &str = "[redacted]";

/// A shorter secret would be found everywhere, so it is not looked for.
const SHORTEST: usize = 4;
/// A longer one would cost more memory than it deserves.
const LONGEST: usize = 16 * 1024;

/// Knows secrets, and replaces them in bytes by `[redacted]`.
///
/// A secret is found as it is, and as other programs write it: escaped for JSON, for Rust's `{:?}`, for XML, for a shell, for
/// SQL or for libpq, percent-encoded, in hex, and in base64 at any alignment; also each longer line of a secret of several
/// lines, the password in a connection string, and what a JSON document calls password, secret, token or key. Where secrets
/// overlap, all of their bytes go.
///
/// What is not found: base64 that is wrapped inside the secret, UTF-16, compressed or encrypted text, and a secret that was
/// shortened.
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
    /// The forms that stay for the life of the process.
    lasting: BTreeSet<Vec<u8>>,
    held: Holds,
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

    /// Makes several secrets known at the cost of one, for the life of the process.
    ///
    /// An empty secret is no secret. One of fewer than 4 or more than 16384 bytes is not masked.
    pub fn register_all<'a>(&self, secrets: impl IntoIterator<Item = (&'a str, &'a str)>) {
        let mut forms = BTreeSet::new();
        let mut unmaskable = BTreeSet::new();
        for (name, secret) in secrets {
            if !forms_into(secret, &mut forms) {
                unmaskable.insert(name.to_owned());
            }
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.unmaskable.extend(unmaskable);
        if forms.is_subset(&known.lasting) {
            return;
        }
        known.lasting.extend(forms);
        known.rebuild();
    }

    /// Makes a secret known as long as the registration lives, and after it until [`sweep`](Self::sweep) lets it go.
    ///
    /// ```
    /// use ops_secrets::Masker;
    /// use std::time::{Duration, Instant};
    ///
    /// let (masker, grace, begin) = (Masker::new(), Duration::from_secs(3600), Instant::now());
    /// let registration = masker.hold("database.password", "first-password");
    /// drop(registration);
    /// masker.sweep(begin, grace);
    /// assert_eq!(masker.mask_str("retrying with first-password"), "retrying with [redacted]");
    /// masker.sweep(begin + grace, grace);
    /// assert_eq!(masker.mask_str("first-password"), "first-password");
    /// ```
    #[must_use = "the secret is let go some time after the registration is dropped"]
    pub fn hold(&self, name: &str, secret: &str) -> Registration {
        let mut forms = BTreeSet::new();
        let maskable = forms_into(secret, &mut forms);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if !maskable {
            known.unmaskable.insert(name.to_owned());
        }
        let number = known.held.add(forms);
        known.rebuild();
        Registration::new(Arc::clone(&self.known), number)
    }

    /// Lets go of secrets whose registrations were dropped before a sweep that is at least `grace` ago.
    ///
    /// A drop has no clock, so the grace begins at the first sweep after it. Who never sweeps, masks for ever.
    pub fn sweep(&self, now: Instant, grace: Duration) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.held.sweep(now, grace) {
            known.rebuild();
        }
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

impl Known {
    /// Makes the automaton anew of all that is known now.
    fn rebuild(&mut self) {
        let mut forms = self.lasting.clone();
        forms.extend(self.held.forms().cloned());
        let same = self.patterns.as_ref().is_some_and(|before| before.forms == forms);
        if !same {
            self.patterns = (!forms.is_empty()).then(|| Arc::new(Patterns::new(forms)));
        }
    }
}

/// Adds the forms of a secret and of what stands within it; false where it is too short or too long to be looked for.
fn forms_into(secret: &str, forms: &mut BTreeSet<Vec<u8>>) -> bool {
    let secret = secret.trim();
    if secret.is_empty() {
        return true;
    }
    if !(SHORTEST..=LONGEST).contains(&secret.len()) {
        return false;
    }
    let derived = derived::of(secret);
    for text in derived.iter().map(|text| text.trim()).chain([secret]) {
        forms.extend(forms::of(text).into_iter().filter(|form| form.len() >= SHORTEST));
    }
    true
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
