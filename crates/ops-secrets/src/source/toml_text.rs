//! TOML. Its parser's own messages quote the source, so only the place of an error is taken from them.

use super::{Gathered, is_foreign, text};
use crate::error::{ErrorKind, Problem};
use crate::schema::{Node, Schema, Shape};
use crate::suggest::nearest;
use figment::value::{Dict, Value};
use toml::de::{DeTable, DeValue};

/// A TOML text and its name.
pub(crate) struct TomlText<'a> {
    pub(crate) text: &'a str,
    /// The path of the file; None for the defaults in the program, whose values have no line.
    pub(crate) file: Option<String>,
    /// Tables that belong to other programs, by their paths.
    pub(crate) foreign: &'a [String],
}

impl TomlText<'_> {
    /// Reads all values.
    pub(crate) fn gather(&self, schema: &Schema, into: &mut Gathered) {
        match DeTable::parse(self.text) {
            Ok(table) => self.table(table.get_ref(), &schema.fields, "", into),
            Err(error) => {
                let place = error.span().map_or_else(String::new, |span| self.line_and_column(span.start));
                let name = self.file.as_deref().unwrap_or("the program's defaults");
                into.problems
                    .push(Problem::new(ErrorKind::Syntax, format!("{name}{place} is not well-formed TOML")));
            }
        }
    }

    fn table(&self, table: &DeTable<'_>, fields: &[(&'static str, Node)], prefix: &str, into: &mut Gathered) {
        for (name, value) in table {
            let origin = self.origin(name.span().start);
            let key = format!("{prefix}{}", name.get_ref());
            match (fields.iter().find(|(field, _)| field == name.get_ref()), value.get_ref()) {
                (Some((_, Node { shape: Shape::Table(fields), .. })), DeValue::Table(inner)) => {
                    // An empty table is a value too: of a struct that has only defaults.
                    into.give(&key, &origin, Dict::new());
                    self.table(inner, fields, &format!("{key}."), into);
                }
                (Some((_, node @ Node { shape: Shape::Table(_), .. })), other) => {
                    let why = format!("expected {}, found {}", node.expected(), kind(other));
                    into.refuse(ErrorKind::InvalidValue, &key, &origin, why);
                }
                (Some(_), value) => match convert(value) {
                    Ok(value) => into.give(&key, &origin, value),
                    Err(why) => into.refuse(ErrorKind::InvalidValue, &key, &origin, why),
                },
                (None, _) if is_foreign(&key, self.foreign) => {}
                (None, _) => into.problems.push(self.unknown(name.get_ref(), prefix, fields, &origin)),
            }
        }
    }

    fn unknown(&self, name: &str, prefix: &str, fields: &[(&'static str, Node)], origin: &str) -> Problem {
        let foreign = self.foreign.iter().filter_map(|key| key.strip_prefix(prefix));
        let foreign = foreign.filter(|name| !name.contains('.'));
        let candidates = fields.iter().map(|(field, _)| *field).chain(foreign);
        let hint = nearest(name, candidates)
            .map_or_else(String::new, |near| format!("; did you mean `{prefix}{near}`?"));
        // What does not look like a key may be a value in the wrong place.
        let plain = name.len() <= 64
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
        let shown = if plain { format!("`{prefix}{name}`") } else { "a key".into() };
        Problem::new(ErrorKind::UnknownSetting, format!("{shown} from {origin} is no setting{hint}"))
    }

    fn origin(&self, offset: usize) -> String {
        match &self.file {
            Some(file) => format!("{file}:{}", self.text[..offset].matches('\n').count() + 1),
            None => "default".into(),
        }
    }

    fn line_and_column(&self, offset: usize) -> String {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        format!(":{}:{}", before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

/// A TOML value on its own, as the text of a list or table in a variable or flag.
pub(super) fn value(text: &str) -> Result<Value, String> {
    // The cause is left out: it quotes the text.
    let value = DeValue::parse(text).map_err(|_| "is not a well-formed TOML value".to_owned())?;
    convert(value.get_ref())
}

fn convert(value: &DeValue<'_>) -> Result<Value, String> {
    Ok(match value {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Integer(number) => text::integer(number.as_str(), number.radix())?,
        DeValue::Float(number) => {
            Value::from(number.as_str().parse::<f64>().map_err(|_| "the number is out of range")?)
        }
        DeValue::Boolean(on) => Value::from(*on),
        DeValue::Datetime(time) => Value::from(time.to_string()),
        DeValue::Array(items) => {
            Value::from(items.iter().map(|item| convert(item.get_ref())).collect::<Result<Vec<_>, _>>()?)
        }
        DeValue::Table(table) => {
            let entries =
                table.iter().map(|(key, value)| Ok((key.get_ref().to_string(), convert(value.get_ref())?)));
            Value::from(entries.collect::<Result<Dict, String>>()?)
        }
    })
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
