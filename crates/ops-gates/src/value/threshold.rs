//! A number that a gate compares with: written in the plan, or taken from the environment within a bound of the plan.

use super::see;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, OnceLock};

/// A threshold: `1.5`, or `{ env = "MAX_LATENCY_SECONDS", default = 1.2, ceiling = 1.5 }`.
///
/// The environment can only move it up to the `ceiling` and down to the `floor`, of which a table with `env` must have
/// one: a threshold that anybody can loosen is none. Where the value came from is kept for every report.
#[derive(Clone)]
pub struct Threshold(Arc<Inner>);

struct Inner {
    env: Option<String>,
    default: Option<f64>,
    ceiling: Option<f64>,
    floor: Option<f64>,
    value: OnceLock<f64>,
    from_env: OnceLock<bool>,
}

impl Threshold {
    /// The value that counts.
    pub fn get(&self) -> f64 {
        // Thresholds of a plan are settled when it is read; one that was deserialised by other hands has its default.
        self.0.value.get().copied().or(self.0.default).unwrap_or(f64::NAN)
    }

    /// Where the value came from: `plan`, `default`, or `env NAME`.
    pub fn origin(&self) -> String {
        match (&self.0.env, self.0.from_env.get()) {
            (None, _) => "plan".to_owned(),
            (Some(name), Some(true)) => format!("env {name}"),
            (Some(_), _) => "default".to_owned(),
        }
    }

    /// Takes the value from the environment where it is to come from there.
    pub(crate) fn settle(&self, variable: &dyn Fn(&str) -> Option<String>) -> Result<(), String> {
        let it = &self.0;
        let text =
            it.env.as_deref().and_then(|name| Some((name, variable(name).filter(|text| !text.is_empty())?)));
        let value = match (&text, it.default, &it.env) {
            (Some((name, text)), ..) => {
                text.trim().parse().map_err(|_| format!("variable `{name}` is not a number"))?
            }
            (None, Some(default), _) => default,
            (None, None, name) => {
                let name = name.as_deref().unwrap_or_default();
                return Err(format!("variable `{name}` is not set, or is empty, and there is no `default`"));
            }
        };
        let whose = text
            .as_ref()
            .map_or_else(|| "the threshold".to_owned(), |(name, _)| format!("variable `{name}`"));
        if !f64::is_finite(value) {
            return Err(format!("{whose} is not a finite number"));
        }
        if let Some(ceiling) = it.ceiling.filter(|ceiling| value > *ceiling) {
            return Err(format!("{whose} is {value}, above the ceiling {ceiling} of the plan"));
        }
        if let Some(floor) = it.floor.filter(|floor| value < *floor) {
            return Err(format!("{whose} is {value}, below the floor {floor} of the plan"));
        }
        let _ = it.value.set(value);
        let _ = it.from_env.set(text.is_some());
        Ok(())
    }

    fn new(inner: Inner) -> Self {
        let threshold = Self(Arc::new(inner));
        see(|seen| seen.thresholds.push(threshold.clone()));
        threshold
    }
}

impl From<f64> for Threshold {
    fn from(value: f64) -> Self {
        let (env, default, value, from_env) = (None, Some(value), OnceLock::new(), OnceLock::new());
        Self(Arc::new(Inner { env, default, ceiling: None, floor: None, value, from_env }))
    }
}

impl fmt::Debug for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.env {
            None => write!(f, "{}", self.get()),
            Some(_) => write!(f, "{} ({})", self.get(), self.origin()),
        }
    }
}

impl Serialize for Threshold {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shown<'a> {
            value: f64,
            origin: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            ceiling: Option<f64>,
            #[serde(skip_serializing_if = "Option::is_none")]
            floor: Option<f64>,
        }
        if self.0.env.is_none() {
            return serializer.serialize_f64(self.get());
        }
        let origin = self.origin();
        Shown { value: self.get(), origin: &origin, ceiling: self.0.ceiling, floor: self.0.floor }
            .serialize(serializer)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    env: String,
    default: Option<f64>,
    ceiling: Option<f64>,
    floor: Option<f64>,
}

impl<'de> Deserialize<'de> for Threshold {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl<'de> Visitor<'de> for Number {
            type Value = Threshold;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, or a table with `env` and `ceiling` or `floor`")
            }

            #[expect(clippy::cast_precision_loss, reason = "a threshold beyond 2^53 is no threshold")]
            fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Threshold, E> {
                self.visit_f64(value as f64)
            }

            #[expect(clippy::cast_precision_loss, reason = "a threshold beyond 2^53 is no threshold")]
            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Threshold, E> {
                self.visit_f64(value as f64)
            }

            fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Threshold, E> {
                let (value, from_env) = (Some(value), OnceLock::new());
                let inner = Inner {
                    env: None,
                    default: value,
                    ceiling: None,
                    floor: None,
                    value: OnceLock::new(),
                    from_env,
                };
                Ok(Threshold::new(inner))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Threshold, A::Error> {
                let it = Table::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
                if it.ceiling.is_none() && it.floor.is_none() {
                    let why = "a threshold from the environment needs a `ceiling` or a `floor`, or anybody could loosen it";
                    return Err(A::Error::custom(why));
                }
                Ok(Threshold::new(Inner {
                    env: Some(it.env),
                    default: it.default,
                    ceiling: it.ceiling,
                    floor: it.floor,
                    value: OnceLock::new(),
                    from_env: OnceLock::new(),
                }))
            }
        }
        deserializer.deserialize_any(Number)
    }
}

impl JsonSchema for Threshold {
    fn schema_name() -> Cow<'static, str> {
        "Threshold".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A number, or one that the environment may move within bounds",
            "oneOf": [
                { "type": "number" },
                {
                    "type": "object",
                    "required": ["env"],
                    "additionalProperties": false,
                    "anyOf": [{ "required": ["ceiling"] }, { "required": ["floor"] }],
                    "properties": {
                        "env": { "type": "string" },
                        "default": { "type": "number" },
                        "ceiling": { "type": "number" },
                        "floor": { "type": "number" },
                    },
                },
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Plan {
        max: Threshold,
    }

    fn settled(toml: &str, variable: Option<&str>) -> Result<(f64, String), String> {
        let plan: Plan = toml::from_str(toml).map_err(|error| error.message().to_owned())?;
        plan.max.settle(&|name| variable.filter(|_| name == "X").map(str::to_owned))?;
        Ok((plan.max.get(), plan.max.origin()))
    }

    #[test]
    fn a_threshold_moves_only_within_its_bounds_and_says_where_it_came_from() {
        let table = "max = { env = 'X', default = 1.2, ceiling = 1.5, floor = 0 }";
        for (toml, variable, expected) in [
            ("max = 2", None, Ok((2.0, "plan"))),
            (table, None, Ok((1.2, "default"))),
            (table, Some(""), Ok((1.2, "default"))),
            (table, Some("1.5"), Ok((1.5, "env X"))),
            (table, Some("1.51"), Err("above the ceiling 1.5")),
            (table, Some("-1"), Err("below the floor 0")),
            (table, Some("NaN"), Err("not a finite number")),
            (table, Some("inf"), Err("not a finite number")),
            (table, Some("fast"), Err("not a number")),
            ("max = { env = 'X', ceiling = 1 }", None, Err("not set")),
            ("max = { env = 'X', default = 1 }", None, Err("anybody could loosen it")),
            ("max = { env = 'X', default = 2, ceiling = 1 }", None, Err("above the ceiling")),
            ("max = nan", None, Err("not a finite number")),
            ("max = '2'", None, Err("a number, or a table")),
        ] {
            match (settled(toml, variable), expected) {
                (Ok((value, origin)), Ok(expected)) => {
                    assert_eq!((value, origin.as_str()), expected, "{toml}")
                }
                (Err(error), Err(part)) => assert!(error.contains(part), "{toml}: {error}"),
                (got, _) => panic!("{toml} with {variable:?}: {got:?}"),
            }
        }
    }
}
