//! Masking of a stream that comes in pieces.

use super::{Masker, REDACTED};
use std::io::{self, Write};

/// A writer that masks what passes through, wherever the pieces are cut.
///
/// It holds back only the last bytes that more text could complete to a secret, so whole lines flow at once. Call
/// [`finish`](Self::finish) at the end; dropping writes the rest too, but cannot report an error.
///
/// ```
/// use ops_secrets::{Masker, MaskingWriter};
/// use std::io::Write;
///
/// let masker = Masker::new();
/// masker.register("password", "hunter2");
/// let mut writer = MaskingWriter::new(Vec::new(), masker);
/// writer.write_all(b"login with hun")?;
/// writer.write_all(b"ter2\n")?;
/// assert_eq!(writer.finish()?, b"login with [redacted]\n");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct MaskingWriter<W: Write> {
    /// None once it was given back.
    inner: Option<W>,
    cutter: Cutter,
}

impl<W: Write> MaskingWriter<W> {
    /// Masks what is written to `inner`.
    pub fn new(inner: W, masker: Masker) -> Self {
        Self { inner: Some(inner), cutter: Cutter::new(masker) }
    }

    /// Writes what is held back, and returns the inner writer.
    ///
    /// # Errors
    /// The inner writer's.
    pub fn finish(mut self) -> io::Result<W> {
        self.pass(true)?;
        let mut inner = self.inner.take().expect("only finish takes the inner writer, and it takes self");
        inner.flush()?;
        Ok(inner)
    }

    fn pass(&mut self, at_end: bool) -> io::Result<()> {
        let Some(inner) = &mut self.inner else { return Ok(()) };
        inner.write_all(&self.cutter.cut(at_end))
    }
}

impl<W: Write> Write for MaskingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.cutter.push(bytes);
        self.pass(false)?;
        Ok(bytes.len())
    }

    /// Flushes the inner writer; what could be the begin of a secret stays held back.
    fn flush(&mut self) -> io::Result<()> {
        self.inner.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl<W: Write> Drop for MaskingWriter<W> {
    fn drop(&mut self) {
        // A failure cannot be told here; `finish` is for those who need to know.
        let _ = self.pass(true);
    }
}

/// Cuts a stream where no secret is cut: the part of both writers that masks.
#[derive(Debug)]
pub(super) struct Cutter {
    masker: Masker,
    held: Vec<u8>,
    /// How many of the held bytes belong to a secret whose mask is written already.
    covered: usize,
}

impl Cutter {
    pub(super) fn new(masker: Masker) -> Self {
        Self { masker, held: Vec::new(), covered: 0 }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
    }

    /// Takes out, masked, what can be told to be no part of a secret, or all of it at the end.
    pub(super) fn cut(&mut self, at_end: bool) -> Vec<u8> {
        let patterns = self.masker.patterns();
        let cut = match &patterns {
            Some(patterns) if !at_end => patterns.unfinished(&self.held),
            _ => self.held.len(),
        };
        let mut out = Vec::with_capacity(cut);
        let mut end = self.covered;
        for span in patterns.iter().flat_map(|patterns| patterns.spans(&self.held)) {
            if span.start >= cut {
                break;
            }
            // Else it goes on with the secret whose mask was written before.
            if span.start >= end {
                out.extend_from_slice(&self.held[end..span.start]);
                out.extend_from_slice(REDACTED.as_bytes());
            }
            end = end.max(span.end);
        }
        if end < cut {
            out.extend_from_slice(&self.held[end..cut]);
        }
        self.covered = end.saturating_sub(cut);
        self.held.drain(..cut);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masker() -> Masker {
        let masker = Masker::new();
        for secret in
            ["hunter2", "hunter2-long-secret", "word1-extra", "pass-word1", "aaaa", "quo\"te\nline two"]
        {
            masker.register("name", secret);
        }
        masker
    }

    const TEXT: &str = "hunter2 hunter2-long-secret, hunter2-long pass-word1-extra \
        aaaaaaa aaa hunter hunter2hunter2 {\"k\":\"quo\\\"te\\nline two\"} pass-word1-extrapass-word1 \
        aHVudGVyMg== line two quo\"te\nline two hunter";

    #[test]
    fn every_cut_gives_what_the_whole_gives() {
        let whole = masker().mask_str(TEXT).into_owned();
        assert!(
            !whole.contains("hunter2") && !whole.contains("word1") && whole.ends_with("hunter"),
            "{whole}"
        );
        let bytes = TEXT.as_bytes();
        for first in 0..=bytes.len() {
            for second in first..=bytes.len() {
                let mut writer = MaskingWriter::new(Vec::new(), masker_once());
                for piece in [&bytes[..first], &bytes[first..second], &bytes[second..]] {
                    writer.write_all(piece).unwrap();
                }
                assert_eq!(
                    String::from_utf8(writer.finish().unwrap()).unwrap(),
                    whole,
                    "cut at {first} and {second}"
                );
            }
        }
        let mut writer = MaskingWriter::new(Vec::new(), masker_once());
        for byte in bytes {
            writer.write_all(&[*byte]).unwrap();
        }
        assert_eq!(String::from_utf8(writer.finish().unwrap()).unwrap(), whole, "byte by byte");
    }

    fn masker_once() -> Masker {
        static MASKER: std::sync::OnceLock<Masker> = std::sync::OnceLock::new();
        MASKER.get_or_init(masker).clone()
    }

    #[test]
    fn only_the_begin_of_a_secret_is_held_back() {
        let mut writer = MaskingWriter::new(Vec::new(), masker());
        writer.write_all(b"a whole line\n").unwrap();
        assert_eq!(writer.inner.as_deref().unwrap(), b"a whole line\n");
        writer.write_all(b"the hunt").unwrap();
        assert_eq!(writer.inner.as_deref().unwrap(), b"a whole line\nthe ");
        writer.write_all(b"s\n").unwrap();
        assert_eq!(writer.inner.as_deref().unwrap(), b"a whole line\nthe hunts\n");
    }

    #[test]
    fn dropping_writes_the_rest() {
        let mut out = Vec::new();
        let mut writer = MaskingWriter::new(&mut out, masker());
        writer.write_all(b"the hunt").unwrap();
        drop(writer);
        assert_eq!(out, b"the hunt");
    }
}
