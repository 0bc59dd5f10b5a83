//! The JSON Schema of plans, made from the types that read them: an editor knows every key and every kind.

use super::gates::Common;
use super::read::Top;
use crate::kind::Kinds;
use schemars::{JsonSchema as _, SchemaGenerator};
use serde_json::{Value, json};

/// The JSON Schema (draft 2020-12) of plans with these kinds.
pub fn schema(kinds: &Kinds) -> Value {
    let mut generator = SchemaGenerator::default();
    let common = Common::json_schema(&mut generator).to_value();
    let gates: Vec<Value> = kinds
        .names()
        .filter_map(|name| {
            let own = kinds.schema(name, &mut generator)?.to_value();
            let own = definition(&generator, own);
            Some(gate(name, &common, own))
        })
        .collect();
    let mut top = Top::json_schema(&mut generator).to_value();
    if let Some(properties) = top.get_mut("properties").and_then(Value::as_object_mut) {
        properties.insert(
            "gate".to_owned(),
            json!({
                "type": "array",
                "minItems": 1,
                "description": "The checks",
                "items": { "oneOf": gates },
            }),
        );
        properties.insert(
            "include".to_owned(),
            json!({
                "type": "array",
                "items": { "type": "string" },
                "description": "Files with more gates, from the directory of the file that names them",
            }),
        );
    }
    let object = top.as_object_mut().expect("the schema of a struct is an object");
    object.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    object.insert("title".to_owned(), json!("A plan of release gates"));
    let definitions = generator.take_definitions(true);
    object.insert("$defs".to_owned(), Value::Object(definitions.into_iter().collect()));
    top
}

/// A schema itself, where it is a reference to a definition.
fn definition(generator: &SchemaGenerator, schema: Value) -> Value {
    let name = schema.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix("#/$defs/"));
    name.and_then(|name| generator.definitions().get(name)).cloned().unwrap_or(schema)
}

/// The schema of the gates of one kind: the common keys and those of the kind, and no others.
fn gate(kind: &str, common: &Value, own: Value) -> Value {
    let mut gate = own;
    let Some(object) = gate.as_object_mut() else { return Value::Bool(true) };
    let mut properties = common["properties"].as_object().cloned().unwrap_or_default();
    properties.insert("kind".to_owned(), json!({ "const": kind }));
    properties.insert(
        "matrix".to_owned(),
        json!({
            "type": "object",
            "additionalProperties": { "type": "array", "items": { "type": "string" } },
            "description": "Makes one gate of each combination; its values stand for ${matrix:name}",
        }),
    );
    if let Some(Value::Object(own)) = object.remove("properties") {
        properties.extend(own);
    }
    let mut required: Vec<Value> = common["required"].as_array().cloned().unwrap_or_default();
    required.extend(object.get("required").and_then(Value::as_array).cloned().unwrap_or_default());
    object.insert("properties".to_owned(), Value::Object(properties));
    object.insert("required".to_owned(), Value::Array(required));
    object.insert("additionalProperties".to_owned(), Value::Bool(false));
    gate
}
