//! The shape of a settings type: which settings there are, what each accepts, and which are secret.

mod tracer;

use crate::error::{Error, ErrorKind};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

/// What a type accepts, and what of it is secret.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) shape: Shape,
    pub(crate) secret: bool,
}

/// What a type accepts.
#[derive(Debug, Clone)]
pub(crate) enum Shape {
    /// A struct: its fields, each a setting or a table of settings.
    Table(Vec<(&'static str, Node)>),
    List(Box<Node>),
    /// A map with keys of the user's choice.
    Map(Box<Node>),
    /// An enum: its variants, and what those hold.
    Choice(Vec<(&'static str, Option<Node>)>),
    Text,
    Boolean,
    Integer,
    Float,
    /// A type that decides by what it gets; nothing is known before, so it is not shown.
    Unknown,
}

/// One setting: a leaf of the settings type.
#[derive(Debug)]
pub(crate) struct Setting {
    /// The path of field names, joined by dots.
    pub(crate) key: String,
    pub(crate) node: Node,
    /// A secret stands somewhere in the value.
    pub(crate) secret: bool,
    /// The value is never shown: it is secret, or nothing is known of what stands in it.
    pub(crate) hidden: bool,
}

/// All settings of a type, in the order of their declaration.
#[derive(Debug)]
pub(crate) struct Schema {
    pub(crate) fields: Vec<(&'static str, Node)>,
    pub(crate) settings: Vec<Setting>,
}

impl Schema {
    /// Reads the schema of a type from its `Deserialize`.
    pub(crate) fn of<T: DeserializeOwned>() -> Result<Self, Error> {
        let invalid = |message: String| Error::new(ErrorKind::InvalidDefinition, message);
        let Shape::Table(fields) = tracer::trace::<T>().map_err(invalid)?.shape else {
            return Err(invalid("the settings type is not a struct with named fields".into()));
        };
        let mut settings = Vec::new();
        flatten(&fields, "", false, &mut settings);
        let schema = Self { fields, settings };
        let mut seen = BTreeMap::new();
        for setting in &schema.settings {
            if let Some(other) = seen.insert(variable("", &setting.key), &setting.key) {
                let message = format!("`{other}` and `{}` have the same environment variable", setting.key);
                return Err(invalid(message));
            }
        }
        Ok(schema)
    }

    pub(crate) fn find(&self, key: &str) -> Option<&Setting> {
        self.settings.iter().find(|setting| setting.key == key)
    }
}

impl Node {
    /// What is accepted, in words for a person.
    pub(crate) fn expected(&self) -> String {
        match &self.shape {
            Shape::Table(_) | Shape::Map(_) => "a table".into(),
            Shape::List(_) => "a list".into(),
            Shape::Choice(variants) => {
                let names: Vec<String> = variants.iter().map(|(name, _)| format!("`{name}`")).collect();
                format!("one of {}", names.join(", "))
            }
            Shape::Text => "text".into(),
            Shape::Boolean => "`true` or `false`".into(),
            Shape::Integer => "an integer".into(),
            Shape::Float => "a number".into(),
            Shape::Unknown => "a value of its own type".into(),
        }
    }

    /// Whether a secret stands in it or in a part of it.
    pub(crate) fn holds_secret(&self) -> bool {
        self.any(|node| node.secret)
    }

    /// Whether the node or a part of it is so.
    fn any(&self, is: fn(&Node) -> bool) -> bool {
        is(self)
            || match &self.shape {
                Shape::Table(fields) => fields.iter().any(|(_, node)| node.any(is)),
                Shape::List(node) | Shape::Map(node) => node.any(is),
                Shape::Choice(variants) => {
                    variants.iter().filter_map(|(_, node)| node.as_ref()).any(|node| node.any(is))
                }
                _ => false,
            }
    }
}

/// The environment variable of a setting.
pub(crate) fn variable(prefix: &str, key: &str) -> String {
    format!("{prefix}{}", key.replace(['.', '-'], "_").to_uppercase())
}

fn flatten(fields: &[(&'static str, Node)], prefix: &str, secret: bool, into: &mut Vec<Setting>) {
    for (name, node) in fields {
        let key = format!("{prefix}{name}");
        match &node.shape {
            Shape::Table(fields) => flatten(fields, &format!("{key}."), secret || node.secret, into),
            _ => {
                let node = Node { secret: secret || node.secret, ..node.clone() };
                let secret = node.holds_secret();
                let hidden = secret || node.any(|node| matches!(node.shape, Shape::Unknown));
                into.push(Setting { key, node, secret, hidden });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;
    use serde::Deserialize;

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only its shape is read")]
    struct Everything {
        text: String,
        path: Option<std::path::PathBuf>,
        address: std::net::IpAddr,
        port: u16,
        ratio: f64,
        on: bool,
        names: Vec<String>,
        labels: BTreeMap<String, u8>,
        mode: Mode,
        password: Secret,
        pin: Option<Secret<u32>>,
        tokens: Vec<Secret>,
        by_name: BTreeMap<String, Secret>,
        servers: Vec<Server>,
        login: Login,
        any: Any,
        nested: Option<Server>,
        tree: Tree,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    #[expect(dead_code, reason = "only its shape is read")]
    struct Server {
        host_name: String,
        password: Secret,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Mode {
        Fast,
        Slow,
    }

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only its shape is read")]
    enum Login {
        Trust,
        Password(Secret),
        Key { file: String },
    }

    #[derive(Deserialize)]
    #[serde(untagged)]
    #[expect(dead_code, reason = "only its shape is read")]
    enum Any {
        Number(u8),
        Text(String),
    }

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only its shape is read")]
    struct Tree {
        children: Vec<Tree>,
    }

    #[test]
    fn a_type_tells_its_settings() {
        let found: Vec<String> = Schema::of::<Everything>()
            .unwrap()
            .settings
            .iter()
            .map(|setting| {
                format!(
                    "{}: {}{}",
                    setting.key,
                    setting.node.expected(),
                    if setting.secret { ", secret" } else { "" }
                )
            })
            .collect();
        assert_eq!(
            found,
            [
                "text: text",
                "path: text",
                "address: text",
                "port: an integer",
                "ratio: a number",
                "on: `true` or `false`",
                "names: a list",
                "labels: a table",
                "mode: one of `fast`, `slow`",
                "password: text, secret",
                "pin: an integer, secret",
                "tokens: a list, secret",
                "by_name: a table, secret",
                "servers: a list, secret",
                "login: one of `Trust`, `Password`, `Key`, secret",
                "any: a value of its own type",
                "nested.host-name: text",
                "nested.password: text, secret",
                "tree.children: a list",
            ]
        );
    }

    #[test]
    fn variables_are_made_from_keys() {
        assert_eq!(variable("OPS_", "backup.s3.access-key_id"), "OPS_BACKUP_S3_ACCESS_KEY_ID");
    }

    #[test]
    fn types_whose_settings_cannot_be_known_are_refused() {
        #[derive(Deserialize)]
        struct Flat {
            #[serde(flatten)]
            _rest: Server,
        }
        #[derive(Deserialize)]
        struct Deep {
            _flat: Flat,
        }
        #[derive(Deserialize)]
        struct Twice {
            _a: Pair,
            _a_b: u8,
        }
        #[derive(Deserialize)]
        struct Pair {
            #[serde(rename = "b")]
            _b: u8,
        }
        let refused = [
            Schema::of::<Flat>().err(),
            Schema::of::<Deep>().err(),
            Schema::of::<Twice>().err(),
            Schema::of::<String>().err(),
            Schema::of::<BTreeMap<String, String>>().err(),
        ];
        for error in refused {
            assert_eq!(error.map(|error| error.kind()), Some(ErrorKind::InvalidDefinition));
        }
    }
}
