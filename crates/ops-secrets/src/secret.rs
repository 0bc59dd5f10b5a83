//! The secret value itself.

use secrecy::{ExposeSecret as _, SecretBox};
use serde::de::{Deserialize, Deserializer, Visitor};
use std::fmt;
use std::marker::PhantomData;
use zeroize::Zeroize;

/// What a secret calls itself while it is deserialised, so that the schema can see which settings are secret.
pub(crate) const MARKER: &str = "$ops_secrets::Secret";

/// A value that does not show itself: no `Display`, no `Serialize`, no comparison, and a `Debug` without the value.
///
/// The memory is wiped when the secret is dropped. That is best effort: copies that parsers, the environment or the
/// kernel hold are not reached.
///
/// ```
/// use ops_secrets::Secret;
///
/// let password = Secret::from("correct horse");
/// assert_eq!(format!("{password:?}"), "Secret([redacted])");
/// assert_eq!(password.expose_secret(), "correct horse");
/// ```
pub struct Secret<T: Zeroize = String>(SecretBox<T>);

impl<T: Zeroize> Secret<T> {
    /// Wraps a value.
    pub fn new(value: T) -> Self {
        Self(SecretBox::new(Box::new(value)))
    }

    /// Returns the value; the name is long so that each use is found by a search.
    pub fn expose_secret(&self) -> &T {
        self.0.expose_secret()
    }
}

impl Secret {
    /// Returns whether the text is empty, which in settings means that no secret was given.
    pub fn is_empty(&self) -> bool {
        self.expose_secret().is_empty()
    }
}

impl From<&str> for Secret {
    fn from(value: &str) -> Self {
        Self::new(value.to_owned())
    }
}

impl From<String> for Secret {
    fn from(value: String) -> Self {
        Self::new(value)
    }
}

impl<T: Zeroize + Clone> Clone for Secret<T> {
    fn clone(&self) -> Self {
        Self::new(self.expose_secret().clone())
    }
}

impl<T: Zeroize + Default> Default for Secret<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret([redacted])")
    }
}

impl<'de, T: Zeroize + Deserialize<'de>> Deserialize<'de> for Secret<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Inner<T>(PhantomData<T>);

        impl<'de, T: Zeroize + Deserialize<'de>> Visitor<'de> for Inner<T> {
            type Value = Secret<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a secret")
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Self::Value, D::Error> {
                T::deserialize(inner).map(Secret::new)
            }
        }

        deserializer.deserialize_newtype_struct(MARKER, Inner(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_expose_secret_shows_the_value() {
        let secret: Secret = serde_json::from_str(r#""hunter2""#).unwrap();
        assert_eq!(secret.expose_secret(), "hunter2");
        assert_eq!(secret.clone().expose_secret(), "hunter2");
        assert_eq!(format!("{secret:?} {secret:#?}"), "Secret([redacted]) Secret([redacted])");
        assert!(!secret.is_empty() && Secret::default().is_empty());
    }

    #[test]
    fn other_types_can_be_secret() {
        let pin: Secret<u64> = serde_json::from_str("1234").unwrap();
        assert_eq!(*pin.expose_secret(), 1234);
    }
}
