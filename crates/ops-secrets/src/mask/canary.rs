//! The start-up canary: proof that what writes the logs of this process also masks them.

use super::{Masker, REDACTED, forms};
use std::fmt;

/// Why masking is not proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unmasked {
    /// A form of the canary came out: what writes does not mask.
    CameOut,
    /// No mask came out either: the line went elsewhere, and nothing is known.
    Unseen,
}

impl Unmasked {
    /// Returns the stable machine-readable name.
    pub fn code(self) -> &'static str {
        match self {
            Self::CameOut => "came_out",
            Self::Unseen => "unseen",
        }
    }
}

impl fmt::Display for Unmasked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CameOut => "masking does not work: a secret made for this test came out of the writer",
            Self::Unseen => {
                "masking is not proven: neither the secret made for this test nor its mask came out"
            }
        })
    }
}

impl std::error::Error for Unmasked {}

impl Masker {
    /// Sends a random value, as it is and as other programs write it, through what writes the logs, and wants its mask back.
    ///
    /// `through` logs a text by the very writer that the program logs with, and returns what came out of it. The value is
    /// made of `random`, so it stands in no log by chance; it is let go by the sweep after the next.
    ///
    /// ```
    /// use ops_secrets::{Masker, MaskingWriter};
    /// use std::io::Write;
    ///
    /// let masker = Masker::new();
    /// let through = |text: &str| {
    ///     let mut log = MaskingWriter::new(Vec::new(), masker.clone());
    ///     log.write_all(text.as_bytes()).and_then(|()| log.finish()).unwrap_or_default()
    /// };
    /// masker.prove(*b"16 random bytes.", through)?;
    /// # Ok::<(), ops_secrets::Unmasked>(())
    /// ```
    ///
    /// # Errors
    /// Fails where the value came out in any form, or where nothing came out at all.
    pub fn prove(&self, random: [u8; 16], mut through: impl FnMut(&str) -> Vec<u8>) -> Result<(), Unmasked> {
        use fmt::Write as _;
        let mut value = String::from("canary \"");
        for byte in random {
            write!(value, "{byte:02x}").expect("a String takes all");
        }
        // A quote and a slash make the written forms differ.
        value.push_str("/'");
        let _registration = self.hold("canary", &value);
        let all = forms::of(&value);
        for form in &all {
            let text = String::from_utf8_lossy(form);
            let out = through(&format!("canary: {text} ."));
            if all.iter().any(|form| out.windows(form.len()).any(|window| window == form)) {
                return Err(Unmasked::CameOut);
            }
            if !out.windows(REDACTED.len()).any(|window| window == REDACTED.as_bytes()) {
                return Err(Unmasked::Unseen);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canary_tells_who_masks_who_does_not_and_who_is_silent() {
        let masker = Masker::new();
        let random = *b"0123456789abcdef";
        assert_eq!(masker.prove(random, |text| masker.mask_str(text).into_owned().into()), Ok(()));
        assert_eq!(masker.prove(random, |text| text.into()), Err(Unmasked::CameOut));
        assert_eq!(masker.prove(random, |_| Vec::new()), Err(Unmasked::Unseen));
        let other = Masker::new();
        let wrong = masker.prove(random, |text| other.mask_str(text).into_owned().into());
        assert_eq!(wrong, Err(Unmasked::CameOut), "a writer with the masker of somebody else");
        // A writer that knows the plain form alone is found out.
        let plain = |text: &str| text.replace("canary \"", "[redacted]").into();
        assert_eq!(masker.prove(random, plain), Err(Unmasked::CameOut));
    }
}
