//! Text with `${env:NAME}`, `${secret:NAME}` or `${gate:id.field}` in it, and the variables that a plan names.
//!
//! A template keeps its text: what is printed, serialised or debugged is what the author wrote, never the value.

use super::see;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

/// A string of the plan in which `${env:NAME}` stands for a variable of the environment, `${secret:NAME}` for a secret of
/// the plan, and `${gate:id.field}` for what a gate found that this one needs. A bare `$` is just that.
#[derive(Clone, PartialEq, Eq)]
pub struct Text {
    template: String,
    pub(crate) span: Range<usize>,
}

/// The name of an environment variable that a gate reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VariableName {
    name: String,
    pub(crate) span: Range<usize>,
}

/// The environment variables and secrets that a plan names, read once before anything runs.
#[derive(Debug, Clone, Default)]
pub struct Variables {
    environment: BTreeMap<String, SecretString>,
    secrets: BTreeMap<String, SecretString>,
}

/// What a `${…}` stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reference<'a> {
    Env(&'a str),
    Secret(&'a str),
    Gate { id: &'a str, field: &'a str },
}

impl Text {
    /// The text as the plan has it.
    pub fn template(&self) -> &str {
        &self.template
    }

    /// What stands in it.
    ///
    /// # Errors
    /// Says what is wrong where a `${` is anything else than a reference.
    pub(crate) fn references(&self) -> Result<Vec<Reference<'_>>, String> {
        let mut references = Vec::new();
        let mut rest = self.template.as_str();
        while let Some(start) = rest.find("${") {
            let (reference, tail) = placeholder(&rest[start..])?;
            references.push(reference);
            rest = tail;
        }
        Ok(references)
    }

    /// The text with every reference replaced by its value; values are not looked at again.
    ///
    /// # Errors
    /// Names the reference without a value, and what is wrong where a text was not checked with its plan.
    pub(crate) fn resolve<'a>(
        &self,
        value: &dyn Fn(Reference<'_>) -> Option<Cow<'a, str>>,
    ) -> Result<String, String> {
        let mut resolved = String::with_capacity(self.template.len());
        let mut rest = self.template.as_str();
        while let Some(start) = rest.find("${") {
            resolved.push_str(&rest[..start]);
            let (reference, tail) = placeholder(&rest[start..])?;
            let value = value(reference)
                .ok_or_else(|| format!("`{}` has no value", &rest[start..rest.len() - tail.len()]))?;
            resolved.push_str(&value);
            rest = tail;
        }
        resolved.push_str(rest);
        Ok(resolved)
    }
}

/// Splits `${env:NAME}tail`.
fn placeholder(text: &str) -> Result<(Reference<'_>, &str), String> {
    let end = text.find('}').ok_or_else(|| format!("`{text}` has no closing `}}`"))?;
    let (inner, tail) = (&text[2..end], &text[end + 1..]);
    let reference = match inner.split_once(':') {
        Some(("env", name)) if is_variable_name(name) => Reference::Env(name),
        Some(("secret", name)) if is_variable_name(name) => Reference::Secret(name),
        Some(("gate", path)) => match path.rsplit_once('.') {
            Some((id, field)) if !id.is_empty() && !field.is_empty() => Reference::Gate { id, field },
            _ => return Err(format!("`${{{inner}}}` is not understood; write `${{gate:id.field}}`")),
        },
        _ => {
            return Err(format!(
                "`${{{inner}}}` is not understood; only `${{env:NAME}}`, `${{secret:NAME}}` and `${{gate:id.field}}` are"
            ));
        }
    };
    Ok((reference, tail))
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

/// Whether a URL or a `key=value` string has a password written out, and not as a reference.
pub(crate) fn holds_a_password(template: &str) -> bool {
    let user_info =
        template.split_once("://").and_then(|(_, rest)| rest.split(['/', '?']).next()?.rsplit_once('@'));
    let in_url = user_info.and_then(|(user_info, _)| after_user(user_info));
    let after_key =
        |at: usize| template[at + "password".len()..].trim_start().strip_prefix('=').map(str::trim_start);
    let in_pairs = template.match_indices("password").filter_map(|(at, _)| after_key(at));
    let written = |password: &str| !password.is_empty() && !password.starts_with("${");
    in_url.into_iter().chain(in_pairs).any(written)
}

/// What stands after the user's name, which may be a reference with a colon of its own.
fn after_user(user_info: &str) -> Option<&str> {
    let mut in_reference = false;
    user_info.char_indices().find_map(|(at, c)| {
        in_reference = (in_reference || user_info[at..].starts_with("${")) && c != '}';
        (c == ':' && !in_reference).then(|| &user_info[at + 1..])
    })
}

impl VariableName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.name
    }
}

impl Variables {
    pub(crate) fn insert(&mut self, name: &str, value: String) {
        self.environment.insert(name.to_owned(), SecretString::from(value));
    }

    pub(crate) fn insert_secret(&mut self, name: &str, value: SecretString) {
        self.secrets.insert(name.to_owned(), value);
    }

    /// The value of an environment variable that the plan names.
    pub(crate) fn get(&self, name: &str) -> Option<&SecretString> {
        self.environment.get(name)
    }

    /// The value of a secret of the plan.
    pub(crate) fn secret(&self, name: &str) -> Option<&SecretString> {
        self.secrets.get(name)
    }

    /// The variables of the environment, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &SecretString)> {
        self.environment.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The secrets of the plan, by name.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = (&str, &SecretString)> {
        self.secrets.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The value that a reference to a variable or a secret stands for.
    pub(crate) fn value(&self, reference: Reference<'_>) -> Option<Cow<'_, str>> {
        let secret = match reference {
            Reference::Env(name) => self.get(name),
            Reference::Secret(name) => self.secret(name),
            Reference::Gate { .. } => None,
        };
        secret.map(|secret| Cow::Borrowed(secret.expose_secret()))
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

impl fmt::Display for VariableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl From<&str> for Text {
    fn from(template: &str) -> Self {
        Self { template: template.to_owned(), span: 0..0 }
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.template)
    }
}

impl Serialize for VariableName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = toml::Spanned::<String>::deserialize(deserializer)?;
        let span = spanned.span();
        let text = Self { template: spanned.into_inner(), span };
        see(|seen| seen.texts.push(text.clone()));
        Ok(text)
    }
}

impl<'de> Deserialize<'de> for VariableName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = toml::Spanned::<String>::deserialize(deserializer)?;
        let span = spanned.span();
        let name = Self { name: spanned.into_inner(), span };
        see(|seen| seen.names.push(name.clone()));
        Ok(name)
    }
}

impl JsonSchema for Text {
    fn schema_name() -> Cow<'static, str> {
        "Text".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A text in which ${env:NAME}, ${secret:NAME} and ${gate:id.field} are replaced",
        })
    }
}

impl JsonSchema for VariableName {
    fn schema_name() -> Cow<'static, str> {
        "VariableName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^[A-Za-z_][A-Za-z0-9_]*$",
            "description": "The name of an environment variable",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(template: &str) -> Text {
        Text::from(template)
    }

    #[test]
    fn only_references_are_understood() {
        let gate = |id, field| Reference::Gate { id, field };
        for (template, expected) in [
            ("plain $HOME $$ {x}", Ok(vec![])),
            ("a${env:A}b${env:B_2}", Ok(vec![Reference::Env("A"), Reference::Env("B_2")])),
            ("${secret:A}", Ok(vec![Reference::Secret("A")])),
            ("${gate:a.b.version}", Ok(vec![gate("a.b", "version")])),
            ("${gate:a}", Err(())),
            ("${gate:.x}", Err(())),
            ("${env:}", Err(())),
            ("${env:1A}", Err(())),
            ("${env:A", Err(())),
            ("${HOME}", Err(())),
            ("${env:A:-x}", Err(())),
            ("${vault:A}", Err(())),
        ] {
            assert_eq!(text(template).references().map_err(|_| ()), expected, "{template}");
        }
    }

    #[test]
    fn a_value_is_inserted_as_it_is_and_shown_nowhere() {
        let mut variables = Variables::default();
        variables.insert("A", "pa${env:A}$'\"%".to_owned());
        let template = text("x-${env:A}-${env:A}");
        let resolve = |text: &Text| text.resolve(&|reference| variables.value(reference));
        assert_eq!(resolve(&template).as_deref(), Ok("x-pa${env:A}$'\"%-pa${env:A}$'\"%"));
        assert_eq!(resolve(&text("a${secret:B}c")), Err("`${secret:B}` has no value".to_owned()));
        assert_eq!(format!("{template:?}"), r#""x-${env:A}-${env:A}""#);
        assert!(!format!("{variables:?}").contains("pa$"), "{variables:?}");
    }

    #[test]
    fn a_password_is_seen_where_it_is_written_out() {
        for (template, expected) in [
            ("postgresql://app@db/shop", false),
            ("postgresql://app:hunter2@db/shop", true),
            ("postgresql://app:p@ss@db/shop", true),
            ("postgresql://app:${env:P}@db/shop", false),
            ("postgresql://app:${secret:P}@db/shop", false),
            ("mongodb://${env:USER}@${env:ADDRESS}/shop", false),
            ("mongodb://${env:USER}:hunter2@db/shop", true),
            ("mongodb://${env:USER}:${secret:P}@db/shop", false),
            ("postgresql://db:5432/a:b@c", false),
            ("postgresql://db/shop?password=x", true),
            ("host=db password = 'x' user=app", true),
            ("host=db password=${env:P}", false),
            ("host=db user=password", false),
            ("${env:DATABASE_URL}", false),
            ("http://user:pw@host/", true),
            ("http://[::1]:80/", false),
        ] {
            assert_eq!(holds_a_password(template), expected, "{template}");
        }
    }
}
