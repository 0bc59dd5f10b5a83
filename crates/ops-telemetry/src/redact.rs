//! The hook that keeps secrets out of every line. What is secret is known elsewhere.

/// Removes secrets from text that is about to be written.
///
/// Contract: an implementation may be called from many threads at once, and on text inside a JSON string, so it must
/// know a value's escaped form too. It must not log. It is called on whole values, before they are shortened.
pub trait Redactor: Send + Sync {
    /// Replaces every secret in `line` by something that is none.
    fn redact(&self, line: &mut Vec<u8>);
}
