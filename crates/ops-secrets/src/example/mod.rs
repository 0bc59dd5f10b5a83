//! `.env.example`: every variable that a program takes, made from its settings type, and compared with the file that was
//! committed.
//!
//! A hand-written example is wrong from its second week on: variables are missing, stale, or filled with what worked on
//! somebody's machine. Here the type says which variables there are and what each accepts; the defaults say what holds
//! without them; and the comments above a key in the defaults, which people read anyway, say what it is for. Nothing is read
//! but these texts, and nothing is written.

mod comments;
mod drift;

pub use drift::Drift;

use crate::error::{Error, ErrorKind};
use crate::schema::{Schema, Setting, Shape, variable};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::marker::PhantomData;
use toml::de::{DeTable, DeValue};

/// How wide a comment gets before it is broken.
const WIDTH: usize = 110;

/// The `.env.example` of settings of type `T`.
///
/// A setting with a default is a comment that shows it; one without is a variable to fill in. The doc of a setting is the
/// comment above its key in the defaults. One without default is documented by a comment that looks like it: no space after
/// the `#`.
///
/// ```
/// use ops_secrets::{Example, Secret};
///
/// #[derive(serde::Deserialize)]
/// struct Settings {
///     database: Database,
/// }
///
/// #[derive(serde::Deserialize)]
/// struct Database {
///     host: String,
///     password: Secret,
/// }
///
/// let defaults = "[database]\n# Where it answers.\nhost = 'localhost'\n# Of the role `shop`.\n#password = ''\n";
/// let example = Example::<Settings>::new("SHOP_").title("shop").defaults_toml(defaults);
/// let text = example.render()?;
/// assert!(text.contains("\n# Where it answers.\n# Text.\n#SHOP_DATABASE_HOST=localhost\n"));
/// assert!(text.ends_with("\nSHOP_DATABASE_PASSWORD=\n"));
/// assert!(example.compare(&text)?.is_none());
/// # Ok::<(), ops_secrets::Error>(())
/// ```
pub struct Example<T> {
    prefix: String,
    title: String,
    defaults: String,
    docs: BTreeMap<String, String>,
    settings: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Example<T> {
    /// An example of the variables that begin with a prefix.
    pub fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            title: "this program".into(),
            defaults: String::new(),
            docs: BTreeMap::new(),
            settings: PhantomData,
        }
    }

    /// Sets the program's name, for the first line.
    #[must_use]
    pub fn title(mut self, program: &str) -> Self {
        program.clone_into(&mut self.title);
        self
    }

    /// Sets the defaults, the same TOML text that the [`Loader`](crate::Loader) gets.
    #[must_use]
    pub fn defaults_toml(mut self, text: &str) -> Self {
        text.clone_into(&mut self.defaults);
        self
    }

    /// Sets what a setting is for, over what the comments of the defaults say.
    #[must_use]
    pub fn doc(mut self, key: &str, text: &str) -> Self {
        self.docs.insert(key.to_owned(), text.to_owned());
        self
    }

    /// Makes the file's text.
    ///
    /// # Errors
    /// Fails where the type cannot be read, where the defaults are not well-formed, where a doc is of no setting, and where a
    /// secret has a default: the example would publish it.
    pub fn render(&self) -> Result<String, Error> {
        let schema = Schema::of::<T>()?;
        let invalid = |message: String| Error::new(ErrorKind::InvalidDefinition, message);
        if let Some(key) = self.docs.keys().find(|key| schema.find(key).is_none()) {
            return Err(invalid(format!("`{key}` has a doc and is no setting")));
        }
        let table = DeTable::parse(&self.defaults)
            .map_err(|_| invalid("the program's defaults are not well-formed TOML".into()))?;
        let mut docs = comments::of(&self.defaults);
        docs.extend(self.docs.clone());
        let mut defaults = BTreeMap::new();
        flatten(table.get_ref(), "", &schema, &self.defaults, &mut defaults);
        let mut text = format!(
            "# The variables of {}, made from its settings. A line that is a comment with a name shows the default.\n",
            self.title
        );
        for setting in &schema.settings {
            let default = defaults.get(&setting.key).filter(|value| !value.is_empty());
            if setting.secret && default.is_some() {
                return Err(invalid(format!(
                    "secret `{}` has a default, and an example would publish it",
                    setting.key
                )));
            }
            self.entry(
                setting,
                docs.get(&setting.key),
                default,
                defaults.contains_key(&setting.key),
                &mut text,
            );
        }
        Ok(text)
    }

    /// Compares a file that was committed with what it should be; None where they are the same.
    ///
    /// # Errors
    /// As [`render`](Self::render).
    pub fn compare(&self, committed: &str) -> Result<Option<Drift>, Error> {
        Ok(Drift::between(&self.render()?, committed))
    }

    fn entry(
        &self,
        setting: &Setting,
        doc: Option<&String>,
        default: Option<&String>,
        known: bool,
        text: &mut String,
    ) {
        let name = variable(&self.prefix, &setting.key);
        text.push('\n');
        for line in doc.into_iter().flat_map(|doc| doc.lines()) {
            wrapped(line, text);
        }
        let mut facts = capital(&setting.node.expected());
        if matches!(setting.node.shape, Shape::List(_)) {
            facts.push_str(", written a,b,c");
        }
        if setting.secret {
            facts.push_str(", secret");
        }
        match (default, known) {
            (None, true) => facts.push_str(", empty by default."),
            (None, false) => facts.push_str(", no default."),
            (Some(_), _) => facts.push('.'),
        }
        if setting.secret {
            let _ = write!(facts, " {name}_FILE may name a file that holds it.");
        }
        wrapped(&facts, text);
        // The String takes all.
        let _ = match default {
            Some(value) => writeln!(text, "#{name}={}", quoted(value)),
            None => writeln!(text, "{name}="),
        };
    }
}

impl<T> fmt::Debug for Example<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Example")
            .field("prefix", &self.prefix)
            .field("title", &self.title)
            .finish_non_exhaustive()
    }
}

/// The value of each setting in the defaults, as a variable would give it.
fn flatten(
    table: &DeTable<'_>,
    prefix: &str,
    schema: &Schema,
    source: &str,
    into: &mut BTreeMap<String, String>,
) {
    for (name, value) in table {
        let key = format!("{prefix}{}", name.get_ref());
        match value.get_ref() {
            DeValue::Table(inner) if schema.find(&key).is_none() => {
                flatten(inner, &format!("{key}."), schema, source, into);
            }
            DeValue::String(text) => {
                into.insert(key, text.to_string());
            }
            // A table that has a section of its own cannot be shown on a line; it is empty in all defaults that we know.
            DeValue::Table(inner) if inner.is_empty() => {
                into.insert(key, String::new());
            }
            _ => {
                let written = source.get(value.span()).unwrap_or_default();
                let line: Vec<&str> = written.lines().map(str::trim).collect();
                into.insert(key, line.join(" ").replace("[]", ""));
            }
        }
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// A comment of as many lines as it needs.
fn wrapped(line: &str, into: &mut String) {
    let mut width = 0;
    for word in line.split_whitespace() {
        if width == 0 || width + 1 + word.len() > WIDTH {
            into.push_str(if width == 0 { "# " } else { "\n# " });
            into.push_str(word);
            width = word.len();
        } else {
            into.push(' ');
            into.push_str(word);
            width += 1 + word.len();
        }
    }
    into.push_str(if width == 0 { "#\n" } else { "\n" });
}

/// The value as all readers of such files read it the same.
fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:,@%+=[]{}".contains(c);
    if value.chars().all(plain) {
        value.to_owned()
    } else if value.contains(['\'', '\n', '\r', '\t']) {
        let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
        format!("\"{}\"", escaped.replace('\n', "\\n").replace('\r', "\\r").replace('\t', "\\t"))
    } else {
        format!("'{value}'")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Secret;
    use serde::Deserialize;

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only its shape is read")]
    struct Settings {
        name: String,
        shop: Shop,
        mode: Mode,
    }

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only its shape is read")]
    struct Shop {
        ports: Vec<u16>,
        empty: Vec<String>,
        motto: String,
        password: Secret,
        url: Option<String>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Mode {
        Fast,
        Slow,
    }

    const DEFAULTS: &str = "
# Its name.
name = 'x'
mode = \"fast\"

# A comment of nobody: a blank line follows.

[shop]
# Where it listens.
# In this order.
ports = [
  1,
  2,
]
empty = []
motto = \"it's \\\"fine\\\"\"
password = ''
# Where the rest is.
#url = 'https://…'
";

    #[test]
    fn every_setting_has_its_doc_its_type_and_its_default() {
        let text =
            Example::<Settings>::new("A_").title("a").defaults_toml(DEFAULTS).doc("mode", "How.").render();
        let text = text.expect("the type is a struct");
        let expected = "# The variables of a, made from its settings. A line that is a comment with a name shows the default.

# Its name.
# Text.
#A_NAME=x

# Where it listens.
# In this order.
# A list, written a,b,c.
#A_SHOP_PORTS='[ 1, 2, ]'

# A list, written a,b,c, empty by default.
A_SHOP_EMPTY=

# Text.
#A_SHOP_MOTTO=\"it's \\\"fine\\\"\"

# Text, secret, empty by default. A_SHOP_PASSWORD_FILE may name a file that holds it.
A_SHOP_PASSWORD=

# Where the rest is.
# Text, no default.
A_SHOP_URL=

# How.
# One of `fast`, `slow`.
#A_MODE=fast
";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_default_that_is_secret_and_a_doc_of_nothing_are_refused() {
        let example = || Example::<Settings>::new("A_");
        let secret = example().defaults_toml("[shop]\npassword = 'hunter2'").render();
        let secret = secret.expect_err("it would be published").to_string();
        assert_eq!(
            secret,
            "cannot load settings: secret `shop.password` has a default, and an example would publish it"
        );
        let doc = example().doc("shop.port", "x").render().expect_err("there is no such setting");
        assert_eq!(doc.kind(), ErrorKind::InvalidDefinition);
        assert!(example().defaults_toml("x = hunter2").render().is_err());
    }

    #[test]
    fn values_are_quoted_where_readers_would_differ() {
        for (value, expected) in [
            ("plain-1./:,@", "plain-1./:,@"),
            ("two words", "'two words'"),
            ("a$b#c\\d", "'a$b#c\\d'"),
            ("it's \"a\\b\"\n", "\"it's \\\"a\\\\b\\\"\\n\""),
        ] {
            assert_eq!(quoted(value), expected);
        }
    }
}
