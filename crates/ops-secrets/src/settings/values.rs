//! The texts within a value, and which of them are secret.

use crate::reference::looks_like_reference;
use crate::schema::{Node, Shape};
use figment::value::Value;

/// A scalar as text.
pub(super) fn scalar(value: &Value) -> String {
    match value {
        Value::String(_, text) => text.clone(),
        Value::Char(_, c) => c.to_string(),
        Value::Bool(_, on) => on.to_string(),
        Value::Num(..) => {
            let unsigned = value.to_u128().map(|number| number.to_string());
            let signed = || value.to_i128().map(|number| number.to_string());
            let float = || value.to_f64().map(|number| number.to_string());
            unsigned.or_else(signed).or_else(float).unwrap_or_default()
        }
        Value::Empty(..) | Value::Array(..) | Value::Dict(..) => String::new(),
    }
}

/// All texts within a value.
pub(super) fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Array(_, items) => items.iter().flat_map(texts).collect(),
        Value::Dict(_, entries) => entries.values().flat_map(texts).collect(),
        scalar_value => vec![scalar(scalar_value)],
    }
}

/// The texts at the places that the type calls secret; a list of servers has passwords, but also ports. A reference to a
/// secret is none.
pub(super) fn secret_texts(value: &Value, node: &Node) -> Vec<String> {
    let mut texts = suspects(value, node);
    texts.retain(|text| !looks_like_reference(text) || text.starts_with("literal://"));
    texts
}

fn suspects(value: &Value, node: &Node) -> Vec<String> {
    if node.secret {
        return texts(value);
    }
    match (value, &node.shape) {
        (Value::Array(_, items), Shape::List(item)) => {
            items.iter().flat_map(|value| suspects(value, item)).collect()
        }
        (Value::Dict(_, entries), Shape::Map(item)) => {
            entries.values().flat_map(|value| suspects(value, item)).collect()
        }
        (Value::Dict(_, entries), Shape::Table(fields)) => {
            let known = fields.iter().filter_map(|(name, node)| Some((entries.get(*name)?, node)));
            known.flat_map(|(value, node)| suspects(value, node)).collect()
        }
        (Value::Dict(_, entries), Shape::Choice(variants)) => {
            let known =
                variants.iter().filter_map(|(name, node)| Some((entries.get(*name)?, node.as_ref()?)));
            known.flat_map(|(value, node)| suspects(value, node)).collect()
        }
        // The name of a variant that holds nothing.
        (Value::String(_, text), Shape::Choice(variants))
            if variants.iter().any(|(name, _)| name == text) =>
        {
            Vec::new()
        }
        // What does not have the shape of its type will be refused; until then all of it is suspect.
        (Value::Array(..) | Value::Dict(..), _) if node.holds_secret() => texts(value),
        _ if node.holds_secret() => vec![scalar(value)],
        _ => Vec::new(),
    }
}
