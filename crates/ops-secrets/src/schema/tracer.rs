//! Reads the shape of a type by asking its `Deserialize` what it would accept.
//!
//! A derived `Deserialize` calls `deserialize_struct` with the names of its fields, and then reads each field with the
//! field's own type. So one pass along one path, ended by an error as soon as the wanted place has spoken, tells what is
//! there; a pass for each place tells all. Nothing has to be invented to satisfy the type.

use super::{Node, Shape};
use crate::secret::MARKER;
use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, Visitor};
use std::fmt;

/// How deep a type is followed; a type that holds itself has no end.
const DEPTH: usize = 8;
/// How many places of a type are visited.
const PLACES: usize = 4096;

/// Reads the shape of a type; an error says why it cannot be known.
pub(super) fn trace<T: DeserializeOwned>() -> Result<Node, String> {
    explore::<T>(&mut Vec::new(), &mut 0)
}

/// A step from a type to one of its parts.
#[derive(Debug, Clone, Copy)]
enum Step {
    Field(&'static str),
    Item,
    Entry,
    Variant(&'static str),
}

/// What a place of the type asked for.
#[derive(Debug, Clone, Copy)]
enum Asked {
    Struct(&'static [&'static str]),
    Flattened,
    List,
    Map,
    Enum(&'static [&'static str]),
    Nothing,
    Text,
    Boolean,
    Integer,
    Float,
    Unknown,
}

#[derive(Debug, Default)]
struct Found {
    secret: bool,
    asked: Option<Asked>,
}

fn explore<T: DeserializeOwned>(path: &mut Vec<Step>, places: &mut usize) -> Result<Node, String> {
    *places += 1;
    let mut found = Found::default();
    // The value never comes to be: the tracer ends every pass with an error.
    let _ = T::deserialize(Tracer { path, found: &mut found });
    let asked = if path.len() > DEPTH || *places > PLACES {
        Asked::Unknown
    } else {
        found.asked.unwrap_or(Asked::Unknown)
    };
    let mut at = |step: Step| {
        path.push(step);
        let node = explore::<T>(path, places);
        path.pop();
        node
    };
    let shape = match asked {
        Asked::Struct(fields) => {
            let nodes = fields.iter().map(|name| Ok((*name, at(Step::Field(name))?)));
            Shape::Table(nodes.collect::<Result<_, String>>()?)
        }
        Asked::Flattened => {
            let place: String = path.iter().map(|step| format!(".{}", step.name())).collect();
            return Err(format!(
                "the settings of type at `{place}` cannot be known: it uses `#[serde(flatten)]`"
            ));
        }
        Asked::List => Shape::List(Box::new(at(Step::Item)?)),
        Asked::Map => Shape::Map(Box::new(at(Step::Entry)?)),
        Asked::Enum(names) => {
            let mut variants = Vec::new();
            for name in names {
                let node = at(Step::Variant(name))?;
                variants.push((
                    *name,
                    Some(node)
                        .filter(|node| !matches!(node.shape, Shape::Table(ref fields) if fields.is_empty())),
                ));
            }
            Shape::Choice(variants)
        }
        Asked::Nothing => Shape::Table(Vec::new()),
        Asked::Text => Shape::Text,
        Asked::Boolean => Shape::Boolean,
        Asked::Integer => Shape::Integer,
        Asked::Float => Shape::Float,
        Asked::Unknown => Shape::Unknown,
    };
    Ok(Node { shape, secret: found.secret })
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Step::Field(name) | Step::Variant(name) => name,
            Step::Item => "[]",
            Step::Entry => "*",
        }
    }
}

/// Ends a pass; carries nothing.
#[derive(Debug)]
struct Stop;

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the tracer has seen enough")
    }
}

impl std::error::Error for Stop {}

impl de::Error for Stop {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Stop
    }
}

/// A deserializer that walks a path and records what the place at its end asks for.
struct Tracer<'a> {
    path: &'a [Step],
    found: &'a mut Found,
}

impl Tracer<'_> {
    fn record<T>(self, asked: Asked) -> Result<T, Stop> {
        // On the way there is nothing to be asked: the type behaves otherwise than in the pass before.
        self.found.asked = Some(if self.path.is_empty() { asked } else { Asked::Unknown });
        Err(Stop)
    }

    fn next(self) -> Self {
        Self { path: &self.path[1..], found: self.found }
    }
}

macro_rules! leaves {
    ($($asked:ident: $($method:ident)+;)+) => {$($(
        fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Stop> {
            self.record(Asked::$asked)
        }
    )+)+};
}

impl<'de> Deserializer<'de> for Tracer<'_> {
    type Error = Stop;

    leaves! {
        Boolean: deserialize_bool;
        Integer: deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
                 deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128;
        Float: deserialize_f32 deserialize_f64;
        Text: deserialize_char deserialize_str deserialize_string deserialize_bytes deserialize_byte_buf;
        Unknown: deserialize_any deserialize_unit deserialize_identifier deserialize_ignored_any;
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.found.secret |= name == MARKER;
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, _: V) -> Result<V::Value, Stop> {
        self.record(Asked::Unknown)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        match self.path {
            [Step::Item, ..] => visitor.visit_seq(self.next()),
            _ => self.record(Asked::List),
        }
    }

    // The second item cannot be reached without a value for the first.
    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Stop> {
        self.record(Asked::Unknown)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        _: V,
    ) -> Result<V::Value, Stop> {
        self.record(Asked::Unknown)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        // Derived code of a struct with flattened fields asks for a map, but still expects "struct Name".
        let flattened = (&visitor as &dyn de::Expected).to_string().starts_with("struct ");
        match self.path {
            [Step::Entry, ..] => visitor.visit_map(Once { key: Some("key"), tracer: Some(self.next()) }),
            _ => self.record(if flattened { Asked::Flattened } else { Asked::Map }),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        match self.path {
            [Step::Field(name), ..] => visitor.visit_map(Once { key: Some(name), tracer: Some(self.next()) }),
            _ => self.record(Asked::Struct(fields)),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        match self.path {
            [Step::Variant(name), ..] => visitor.visit_enum(OneVariant { name, tracer: self.next() }),
            _ => self.record(Asked::Enum(variants)),
        }
    }
}

/// A list of one item.
impl<'de> de::SeqAccess<'de> for Tracer<'_> {
    type Error = Stop;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Stop> {
        seed.deserialize(Tracer { path: self.path, found: &mut *self.found }).map(Some)
    }
}

/// A map of one entry.
struct Once<'a> {
    key: Option<&'static str>,
    tracer: Option<Tracer<'a>>,
}

impl<'de> de::MapAccess<'de> for Once<'_> {
    type Error = Stop;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Stop> {
        self.key.take().map(|key| seed.deserialize(text(key))).transpose()
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Stop> {
        seed.deserialize(self.tracer.take().ok_or(Stop)?)
    }
}

struct OneVariant<'a> {
    name: &'static str,
    tracer: Tracer<'a>,
}

impl<'de, 'a> de::EnumAccess<'de> for OneVariant<'a> {
    type Error = Stop;
    type Variant = Tracer<'a>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Tracer<'a>), Stop> {
        Ok((seed.deserialize(text(self.name))?, self.tracer))
    }
}

impl<'de> de::VariantAccess<'de> for Tracer<'_> {
    type Error = Stop;

    fn unit_variant(self) -> Result<(), Stop> {
        self.record(Asked::Nothing)
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Stop> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Stop> {
        self.record(Asked::Unknown)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.deserialize_struct("", fields, visitor)
    }
}

fn text(text: &'static str) -> StrDeserializer<'static, Stop> {
    text.into_deserializer()
}
