//! Text with `${env:NAME}` in it, and the variables that a plan names.
//!
//! A template keeps its text: what is printed, serialised or debugged is what the author wrote, never the value.

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

/// A string of the plan in which `${env:NAME}` stands for a variable of the environment.
#[derive(Clone, PartialEq, Eq)]
pub struct Text {
    template: String,
    pub(crate) span: Range<usize>,
}

/// The environment variables that a plan names, read once before anything runs.
#[derive(Debug, Clone, Default)]
pub struct Variables(BTreeMap<String, SecretString>);

impl Text {
    /// The text as the plan has it.
    pub fn template(&self) -> &str {
        &self.template
    }

    /// The names of the variables in it.
    ///
    /// # Errors
    /// Says what is wrong where a `${` is anything else than `${env:NAME}`.
    pub(crate) fn names(&self) -> Result<Vec<&str>, String> {
        let mut names = Vec::new();
        let mut rest = self.template.as_str();
        while let Some(start) = rest.find("${") {
            let (name, tail) = placeholder(&rest[start..])?;
            names.push(name);
            rest = tail;
        }
        Ok(names)
    }

    /// The text with every variable replaced by its value; values are not looked at again.
    pub(crate) fn resolve(&self, variables: &Variables) -> String {
        let mut resolved = String::with_capacity(self.template.len());
        let mut rest = self.template.as_str();
        while let Some(start) = rest.find("${") {
            resolved.push_str(&rest[..start]);
            let (name, tail) = placeholder(&rest[start..]).expect("the plan was checked when it was read");
            resolved.push_str(
                variables.get(name).expect("every variable was read with the plan").expose_secret(),
            );
            rest = tail;
        }
        resolved.push_str(rest);
        resolved
    }
}

/// Splits `${env:NAME}tail`.
fn placeholder(text: &str) -> Result<(&str, &str), String> {
    let end = text.find('}').ok_or_else(|| format!("`{text}` has no closing `}}`"))?;
    let (inner, tail) = (&text[2..end], &text[end + 1..]);
    match inner.strip_prefix("env:") {
        Some(name) if is_variable_name(name) => Ok((name, tail)),
        _ => Err(format!("`${{{inner}}}` is not understood; only `${{env:NAME}}` is")),
    }
}

/// Whether a shell could set a variable of this name.
pub(crate) fn is_variable_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Whether a variable's name says that its value is a secret, which must not be seen in a process list.
pub(crate) fn names_a_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    [
        "PASSWORD",
        "PASSWD",
        "PASSPHRASE",
        "DATABASE_URL",
        "DSN",
        "SECRET",
        "TOKEN",
        "CREDENTIAL",
        "API_KEY",
        "APIKEY",
        "PRIVATE_KEY",
        "ACCESS_KEY",
    ]
    .iter()
    .any(|word| name.contains(word))
}

impl Variables {
    pub(crate) fn insert(&mut self, name: &str, value: String) {
        self.0.insert(name.to_owned(), SecretString::from(value));
    }

    /// The value of a variable that the plan names.
    pub(crate) fn get(&self, name: &str) -> Option<&SecretString> {
        self.0.get(name)
    }

    /// The names and values, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &SecretString)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.template)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.template)
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.template)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = toml::Spanned::<String>::deserialize(deserializer)?;
        let span = spanned.span();
        Ok(Self { template: spanned.into_inner(), span })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(template: &str) -> Text {
        Text { template: template.to_owned(), span: 0..0 }
    }

    #[test]
    fn only_env_placeholders_are_understood() {
        for (template, expected) in [
            ("plain $HOME $$ {x}", Ok(vec![])),
            ("a${env:A}b${env:B_2}", Ok(vec!["A", "B_2"])),
            ("${env:}", Err(())),
            ("${env:1A}", Err(())),
            ("${env:A", Err(())),
            ("${HOME}", Err(())),
            ("${env:A:-x}", Err(())),
            ("${secret:A}", Err(())),
        ] {
            assert_eq!(text(template).names().map_err(|_| ()), expected, "{template}");
        }
    }

    #[test]
    fn a_value_is_inserted_as_it_is_and_shown_nowhere() {
        let mut variables = Variables::default();
        variables.insert("A", "pa${env:A}$'\"%".to_owned());
        let template = text("x-${env:A}-${env:A}");
        assert_eq!(template.resolve(&variables), "x-pa${env:A}$'\"%-pa${env:A}$'\"%");
        assert_eq!(format!("{template:?}"), r#""x-${env:A}-${env:A}""#);
        assert!(!format!("{variables:?}").contains("pa$"), "{variables:?}");
    }
}
