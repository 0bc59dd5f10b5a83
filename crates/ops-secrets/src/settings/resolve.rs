//! References in settings: found where a secret may stand, and replaced by what they lead to.

use super::merge::Merged;
use crate::error::{ErrorKind, Problem};
use crate::reference::{Resolution, Wanted, looks_like_reference};
use crate::schema::{Node, Schema, Setting, Shape};
use crate::source::{Given, from_text};
use figment::value::Value;

/// The references in the settings that win; those in layers below are not resolved.
pub(super) fn wanted(merged: &Merged, schema: &Schema, asking: &[String]) -> Vec<Wanted> {
    let mut found = Vec::new();
    for (setting, mut value, origin) in winners(merged, schema, asking) {
        each_text(&mut value, &setting.node, asking.contains(&setting.key), &mut |value, node| {
            if let Value::String(_, text) = value
                && looks_like_reference(text)
            {
                found.push(Wanted {
                    key: setting.key.clone(),
                    origin: origin.clone(),
                    text: text.clone(),
                    only_text: matches!(node.shape, Shape::Text | Shape::Unknown),
                });
            }
        });
    }
    found
}

/// The values of settings with references, as a layer over all others.
pub(super) fn resolved(
    merged: &Merged,
    given: &[Given],
    schema: &Schema,
    asking: &[String],
    resolution: &mut Resolution,
) -> Vec<Given> {
    let mut layer = Vec::new();
    for (setting, mut value, origin) in winners(merged, schema, asking) {
        let (mut paths, mut note): (Vec<&str>, _) = (Vec::new(), None);
        let (values, problems) = (&resolution.values, &mut resolution.problems);
        each_text(&mut value, &setting.node, asking.contains(&setting.key), &mut |value, node| {
            let Value::String(_, text) = value else { return };
            let Some(resolved) = values.get(&(setting.key.clone(), text.clone())) else { return };
            let path = resolved.path.as_str();
            match from_text(&resolved.value, node) {
                Ok(found) => *value = found,
                Err(why) => {
                    let message = format!("`{}` from {origin} -> {path}: {why}", setting.key);
                    problems.push(Problem::new(ErrorKind::InvalidValue, message));
                }
            }
            if !paths.contains(&path) {
                paths.push(path);
            }
            note = note.or(resolved.note);
        });
        if !paths.is_empty() {
            let from = given.iter().find(|given| given.key == setting.key && given.origin == origin);
            let origin = format!("{origin} -> {}", paths.join(", "));
            let note = note.or(from.and_then(|given| given.note));
            layer.push(Given { key: setting.key.clone(), value, origin, note });
        }
    }
    layer
}

/// The settings in which references may stand, with the value that wins and where it came from.
fn winners<'a>(
    merged: &'a Merged,
    schema: &'a Schema,
    asking: &'a [String],
) -> impl Iterator<Item = (&'a Setting, Value, String)> {
    let may_hold = |setting: &&Setting| setting.secret || asking.contains(&setting.key);
    schema.settings.iter().filter(may_hold).filter_map(|setting| {
        let (value, origin) = merged.get(&setting.key)?;
        Some((setting, value, origin))
    })
}

/// Visits each scalar at a place that the type calls secret, or each at all where the setting asks for it.
fn each_text(value: &mut Value, node: &Node, secret: bool, visit: &mut dyn FnMut(&mut Value, &Node)) {
    let secret = secret || node.secret;
    match (value, &node.shape) {
        (Value::Array(_, items), Shape::List(item)) => {
            items.iter_mut().for_each(|value| each_text(value, item, secret, visit));
        }
        (Value::Dict(_, entries), Shape::Map(item)) => {
            entries.values_mut().for_each(|value| each_text(value, item, secret, visit));
        }
        (Value::Dict(_, entries), Shape::Table(fields)) => {
            for (name, node) in fields {
                if let Some(value) = entries.get_mut(*name) {
                    each_text(value, node, secret, visit);
                }
            }
        }
        (Value::Dict(_, entries), Shape::Choice(variants)) => {
            for (name, node) in variants {
                if let (Some(value), Some(node)) = (entries.get_mut(*name), node) {
                    each_text(value, node, secret, visit);
                }
            }
        }
        (value, _) if secret => visit(value, node),
        _ => {}
    }
}
