//! YAML as the same tables that TOML gives, with the places where things stand, so that one reader reads both.
//!
//! The strict part of YAML 1.2 that has a meaning in a plan: no tags, no anchors, no duplicate keys, no nulls. `yes` and
//! `no` are texts; a number is what TOML takes for one.

use saphyr_parser::{Event, Parser, ScalarStyle, Span as Place};
use std::borrow::Cow;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// How deep lists and tables may stand in each other.
const DEPTH: usize = 32;

type Problem = (Range<usize>, String);

/// Reads one document.
pub(super) fn table(text: &str) -> Result<DeTable<'_>, Problem> {
    let mut reader = Reader { text, events: Parser::new_from_str(text), offsets: offsets(text) };
    loop {
        match reader.next()? {
            (Event::StreamStart | Event::DocumentStart(_), _) => {}
            (event @ Event::MappingStart(..), place) => {
                let value = reader.value(event, place, 0)?;
                reader.end()?;
                return match value.into_inner() {
                    DeValue::Table(table) => Ok(table),
                    _ => Err((0..0, "the plan is not a mapping".to_owned())),
                };
            }
            (_, place) => return Err((place, "the plan is not a mapping".to_owned())),
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    events: Parser<'a, saphyr_parser::StrInput<'a>>,
    /// Where in the text each character begins.
    offsets: Vec<usize>,
}

fn offsets(text: &str) -> Vec<usize> {
    text.char_indices().map(|(offset, _)| offset).chain([text.len()]).collect()
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Range<usize>), Problem> {
        let event = self.events.next().ok_or((0..0, "the text ends too early".to_owned()))?;
        match event {
            Ok((event, place)) => Ok((event, self.place(place))),
            Err(error) => {
                let at = self.offset(error.marker().index());
                Err((at..at, error.info().to_owned()))
            }
        }
    }

    /// That nothing stands behind the document.
    fn end(&mut self) -> Result<(), Problem> {
        loop {
            match self.next()? {
                (Event::DocumentEnd, _) => {}
                (Event::StreamEnd, _) => return Ok(()),
                (_, place) => return Err((place, "a plan is one document".to_owned())),
            }
        }
    }

    fn value(
        &mut self,
        event: Event<'a>,
        place: Range<usize>,
        depth: usize,
    ) -> Result<Spanned<DeValue<'a>>, Problem> {
        if depth > DEPTH {
            return Err((place, "this stands too deep".to_owned()));
        }
        let value = match event {
            Event::Scalar(text, style, _, None) => {
                self.scalar(text, style, &place).map_err(|error| (place.clone(), error))?
            }
            Event::SequenceStart(_, None) => self.sequence(depth)?,
            Event::MappingStart(_, None) => self.mapping(depth)?,
            Event::Alias(_) => return Err((place, "aliases are not understood in a plan".to_owned())),
            _ => return Err((place, "tags are not understood in a plan".to_owned())),
        };
        Ok(Spanned::new(place, value))
    }

    fn sequence(&mut self, depth: usize) -> Result<DeValue<'a>, Problem> {
        let mut values = DeArray::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(DeValue::Array(values)),
                (event, place) => values.push(self.value(event, place, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<DeValue<'a>, Problem> {
        let mut table = DeTable::new();
        loop {
            let (key, place) = match self.next()? {
                (Event::MappingEnd, _) => return Ok(DeValue::Table(table)),
                (Event::Scalar(text, ..), place) => (text, place),
                (_, place) => return Err((place, "a key is not a text".to_owned())),
            };
            let (event, at) = self.next()?;
            let value = self.value(event, at, depth + 1)?;
            let message = format!("key `{key}` stands here twice");
            if table.insert(Spanned::new(place.clone(), key), value).is_some() {
                return Err((place, message));
            }
        }
    }

    fn scalar(
        &self,
        text: Cow<'a, str>,
        style: ScalarStyle,
        place: &Range<usize>,
    ) -> Result<DeValue<'a>, String> {
        if style != ScalarStyle::Plain {
            return Ok(DeValue::String(text));
        }
        match &*text {
            "true" => return Ok(DeValue::Boolean(true)),
            "false" => return Ok(DeValue::Boolean(false)),
            "" | "~" | "null" => return Err("a key without a value says nothing; leave it out".to_owned()),
            _ => {}
        }
        // What TOML reads as a number is one here too; everything else is a text.
        let written = self.text.get(place.clone()).unwrap_or_default().trim_end();
        if written == text
            && text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+'))
            && let Ok(value) = DeValue::parse(written)
            && matches!(value.get_ref(), DeValue::Integer(_) | DeValue::Float(_))
        {
            return Ok(value.into_inner());
        }
        Ok(DeValue::String(text))
    }

    fn place(&self, place: Place) -> Range<usize> {
        self.offset(place.start.index())..self.offset(place.end.index())
    }

    fn offset(&self, characters: usize) -> usize {
        self.offsets.get(characters).or(self.offsets.last()).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_reads_as_the_same_table_as_toml_with_places_in_bytes() {
        let yaml = "name: \"é\"\ngate:\n  - id: a\n    n: 3\n    x: 1.5\n    on: true\n    t: 30s\n    list: [no, 'yes']\n";
        let table = table(yaml).expect("a table");
        let gate = match table["gate"].get_ref() {
            DeValue::Array(gates) => gates[0].get_ref().as_table().expect("a table"),
            other => panic!("{other:?}"),
        };
        assert_eq!(table["name"].get_ref().as_str(), Some("é"));
        assert_eq!(gate["n"].get_ref().as_integer().map(|number| number.as_str()), Some("3"));
        assert_eq!(gate["x"].get_ref().as_float().map(|number| number.as_str()), Some("1.5"));
        assert_eq!(gate["on"].get_ref().as_bool(), Some(true));
        assert_eq!(gate["t"].get_ref().as_str(), Some("30s"));
        let texts: Vec<_> = gate["list"]
            .get_ref()
            .as_array()
            .expect("a list")
            .iter()
            .map(|it| it.get_ref().as_str())
            .collect();
        assert_eq!(texts, [Some("no"), Some("yes")]);
        assert_eq!(&yaml[gate["t"].span()], "30s");
    }

    #[test]
    fn what_has_no_meaning_in_a_plan_is_refused() {
        for (yaml, part) in [
            ("a: &x 1\nb: *x\n", "aliases"),
            ("a: !int 1\n", "tags"),
            ("a: 1\na: 2\n", "twice"),
            ("a:\n", "says nothing"),
            ("- a\n", "not a mapping"),
            ("a: 1\n---\nb: 2\n", "one document"),
            ("a: [1\n", ""),
            ("", "not a mapping"),
            ("? [a]\n: 1\n", "not a text"),
            (&format!("a: {}1{}\n", "[".repeat(40), "]".repeat(40)), "too deep"),
        ] {
            let (_, message) = table(yaml).expect_err(yaml);
            assert!(message.contains(part), "{yaml}: {message}");
        }
    }
}
