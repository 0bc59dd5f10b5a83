//! Values that come as text, from a variable, a file or a flag: the setting's type decides how they are read.

use super::toml_text;
use crate::reference::looks_like_reference;
use crate::schema::{Node, Shape};
use figment::value::Value;

/// Reads a text as what the node accepts; the error never quotes it.
///
/// Text is taken byte for byte. A list is written `a,b,c`, or as a TOML array; a table as an inline TOML table.
pub(crate) fn from_text(text: &str, node: &Node) -> Result<Value, String> {
    let expected = || format!("expected {}", node.expected());
    let word = text.trim();
    // What it leads to will be read as the node asks; a list of them is taken apart first.
    if node.secret && !matches!(node.shape, Shape::List(_)) && looks_like_reference(text) {
        return Ok(Value::from(text));
    }
    match &node.shape {
        Shape::Text | Shape::Unknown => Ok(Value::from(text)),
        Shape::Boolean => word.parse::<bool>().map(Value::from).map_err(|_| expected()),
        Shape::Integer => integer(word, 10).map_err(|why| format!("{}: {why}", expected())),
        Shape::Float => word.parse::<f64>().map(Value::from).map_err(|_| expected()),
        Shape::Choice(_) if word.starts_with('{') => {
            toml_text::value(word).map_err(|why| format!("{}: {why}", expected()))
        }
        Shape::Choice(_) => Ok(Value::from(word)),
        Shape::List(_) if word.starts_with('[') => {
            toml_text::value(word).map_err(|why| format!("{}: {why}", expected()))
        }
        Shape::List(_) if word.is_empty() => Ok(Value::from(Vec::<Value>::new())),
        Shape::List(item) => {
            let items = word.split(',').map(|item_text| from_text(item_text.trim(), item));
            Ok(Value::from(items.collect::<Result<Vec<_>, _>>()?))
        }
        Shape::Map(_) | Shape::Table(_) => {
            toml_text::value(word).map_err(|why| format!("{}: {why}", expected()))
        }
    }
}

/// An integer of any size up to 128 bits.
pub(super) fn integer(digits: &str, radix: u32) -> Result<Value, String> {
    if let Ok(number) = i64::from_str_radix(digits, radix) {
        return Ok(Value::from(number));
    }
    if let Ok(number) = u64::from_str_radix(digits, radix) {
        return Ok(Value::from(number));
    }
    i128::from_str_radix(digits, radix)
        .map(Value::from)
        .map_err(|_| "this is not an integer, or out of range".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(shape: Shape) -> Node {
        Node { shape, secret: false }
    }

    #[test]
    fn the_type_decides() {
        let text = || node(Shape::Text);
        let table: Vec<(Node, &str, Option<Value>)> = vec![
            (text(), "12345678", Some("12345678".into())),
            (text(), " \"00123\" [a]\n", Some(" \"00123\" [a]\n".into())),
            (text(), "true", Some("true".into())),
            (node(Shape::Boolean), "true", Some(true.into())),
            (node(Shape::Boolean), "1", None),
            (node(Shape::Integer), " -5\n", Some((-5_i64).into())),
            (node(Shape::Integer), "18446744073709551615", Some(u64::MAX.into())),
            (node(Shape::Integer), "1e3", None),
            (node(Shape::Float), "1", Some(1.0.into())),
            (node(Shape::Float), "one", None),
            (node(Shape::List(text().into())), "a, b,1", Some(vec!["a", "b", "1"].into())),
            (node(Shape::List(text().into())), "['a,b', 'c']", Some(vec!["a,b", "c"].into())),
            (node(Shape::List(node(Shape::Integer).into())), "1,2", Some(vec![1_i64, 2].into())),
            (node(Shape::List(node(Shape::Integer).into())), "1,b", None),
            (node(Shape::List(text().into())), "['a", None),
            (node(Shape::List(text().into())), "", Some(Vec::<Value>::new().into())),
            (
                node(Shape::Map(text().into())),
                "{a = 'b'}",
                Some(figment::util::map!["a".to_owned() => Value::from("b")].into()),
            ),
            (node(Shape::Choice(vec![("fast", None)])), "fast", Some("fast".into())),
        ];
        for (node, given, expected) in table {
            assert_eq!(from_text(given, &node).ok(), expected, "{node:?} {given:?}");
        }
    }
}
