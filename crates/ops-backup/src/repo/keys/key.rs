//! What a person or a secret store holds, and how it is read from a file.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind, Result};
use crate::repo::crypt;

/// What unlocks an encrypted repository. Never shown.
#[derive(Clone)]
pub enum Key {
    /// Something that a person remembers. Deriving a key from it takes a moment and 19 MiB of memory each time.
    Passphrase(SecretString),
    /// 32 random bytes, from a file or a secret store.
    Raw(Zeroizing<[u8; 32]>),
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(…)")
    }
}

const BASE64: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);

impl Key {
    /// A key that a person remembers.
    ///
    /// # Errors
    /// `Configuration` where it is empty or only white space: a variable that was not set, most likely.
    pub fn passphrase(passphrase: SecretString) -> Result<Self> {
        let key = Key::Passphrase(passphrase);
        key.refuse_empty()?;
        Ok(key)
    }

    /// A new random key. Whoever loses it loses the repository.
    ///
    /// # Errors
    /// `Io` where the operating system gives no random bytes.
    pub fn generate() -> Result<Self> {
        Ok(Key::Raw(Zeroizing::new(crypt::random()?)))
    }

    /// Reads the content of a key file: 32 random bytes as they are, or in hexadecimal or base64, with white space
    /// around them.
    ///
    /// # Errors
    /// `Configuration` for anything else; the content is not shown.
    pub fn from_file_bytes(bytes: &[u8]) -> Result<Self> {
        let text = bytes.trim_ascii();
        let decoded = Zeroizing::new(decode_hex(text).or_else(|| decode_base64(text)).unwrap_or_default());
        // Text of this length is half of a key in hexadecimal, or a passphrase.
        let is_text = bytes.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace());
        let raw = if !decoded.is_empty() {
            <[u8; 32]>::try_from(decoded.as_slice()).ok()
        } else if is_text {
            None
        } else {
            <[u8; 32]>::try_from(bytes).ok()
        };
        let raw = raw.map(Zeroizing::new).ok_or_else(|| {
            let message = format!(
                "the key file holds {} bytes that are no key; expected 32 random bytes, or these in hexadecimal or base64",
                bytes.len()
            );
            Error::new(ErrorKind::Configuration, message)
        })?;
        if raw.iter().all(|byte| *byte == raw[0]) {
            let message = "the key file holds 32 equal bytes, which are no random key";
            return Err(Error::new(ErrorKind::Configuration, message));
        }
        Ok(Key::Raw(raw))
    }

    /// An empty passphrase would be no protection, and looks like one.
    pub(super) fn refuse_empty(&self) -> Result<()> {
        match self {
            Key::Passphrase(passphrase) if passphrase.expose_secret().trim().is_empty() => {
                Err(Error::new(ErrorKind::Configuration, "the passphrase is empty"))
            }
            Key::Passphrase(_) | Key::Raw(_) => Ok(()),
        }
    }
}

fn decode_hex(text: &[u8]) -> Option<Vec<u8>> {
    if text.len() != 64 {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    text.chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

fn decode_base64(text: &[u8]) -> Option<Vec<u8>> {
    // 32 bytes, and nothing else, have so many characters.
    if !(43..=44).contains(&text.len()) {
        return None;
    }
    let read = |alphabet: &alphabet::Alphabet| GeneralPurpose::new(alphabet, BASE64).decode(text).ok();
    read(&alphabet::STANDARD).or_else(|| read(&alphabet::URL_SAFE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_is_read_in_every_usual_form_and_never_shown() {
        let raw: [u8; 32] = std::array::from_fn(|at| (at * 37 + 251) as u8);
        let hex: String = raw.iter().map(|byte| format!("{byte:02x}")).collect();
        let encoded = GeneralPurpose::new(&alphabet::STANDARD, BASE64).encode(raw);
        let url = GeneralPurpose::new(&alphabet::URL_SAFE, BASE64).encode(raw);
        let accepted = [
            raw.to_vec(),
            hex.clone().into_bytes(),
            format!(" {}\r\n", hex.to_uppercase()).into_bytes(),
            format!("{encoded}\n").into_bytes(),
            encoded.trim_end_matches('=').as_bytes().to_vec(),
            url.into_bytes(),
        ];
        for bytes in accepted {
            let Ok(Key::Raw(read)) = Key::from_file_bytes(&bytes) else {
                panic!("{:?} is refused", String::from_utf8_lossy(&bytes))
            };
            assert_eq!(*read, raw);
        }
        let refused = [
            b"".to_vec(),
            raw[1..].to_vec(),
            [&raw[..], b"\n"].concat(),
            hex.as_bytes()[1..].to_vec(),
            b"correct horse battery staple ok!".to_vec(),
            hex.as_bytes()[..32].to_vec(),
            [0; 32].to_vec(),
            "00".repeat(32).into_bytes(),
        ];
        for bytes in refused {
            let error = Key::from_file_bytes(&bytes).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration);
            assert!(
                bytes.is_empty() || !error.to_string().contains(&*String::from_utf8_lossy(&bytes)),
                "{error}"
            );
        }
        for empty in ["", " \n"] {
            assert!(Key::passphrase(SecretString::from(empty)).is_err());
        }
        assert_eq!(format!("{:?}", Key::generate().unwrap()), "Key(…)");
    }
}
