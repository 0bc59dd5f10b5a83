//! Which events and spans are kept: a list of `target=level` directives. Pure.

use std::fmt;
use std::str::FromStr;

use tracing::Level;
use tracing::level_filters::LevelFilter;

use crate::error::{Error, ErrorKind};

/// Decides by target and level; the longest matching target wins, and among equals the last one written.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    /// Longest target first, so that the first match decides. The empty target matches all.
    directives: Vec<(String, LevelFilter)>,
}

impl fmt::Display for Filter {
    /// Writes it as [`Filter::parse`] reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (target, level)) in self.directives.iter().rev().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            match target.as_str() {
                "" => write!(f, "{comma}{level}")?,
                target => write!(f, "{comma}{target}={level}")?,
            }
        }
        Ok(())
    }
}

impl Filter {
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let mut directives = Vec::new();
        for directive in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            directives.push(parse_directive(directive)?);
        }
        directives.reverse();
        directives.sort_by_key(|(target, _): &(String, _)| std::cmp::Reverse(target.len()));
        Ok(Self { directives })
    }

    pub(crate) fn is_enabled(&self, target: &str, level: Level) -> bool {
        level <= self.level_of(target)
    }

    /// The most verbose level that any directive lets through.
    pub(crate) fn max_level(&self) -> LevelFilter {
        self.directives.iter().map(|(_, level)| *level).max().unwrap_or(LevelFilter::OFF)
    }

    fn level_of(&self, target: &str) -> LevelFilter {
        let matching = self.directives.iter().find(|(prefix, _)| is_within(target, prefix));
        matching.map_or(LevelFilter::OFF, |(_, level)| *level)
    }
}

fn parse_directive(directive: &str) -> Result<(String, LevelFilter), Error> {
    let (target, level) = match directive.split_once('=') {
        Some((target, level)) => (Some(target.trim()), level.trim()),
        None => (None, directive),
    };
    match (target, parse_level(level)) {
        (None, Some(level)) => Ok((String::new(), level)),
        (Some(target), Some(level)) if is_target(target) => Ok((target.to_owned(), level)),
        // A bare target would be valid elsewhere, but a misspelt level looks the same and would silence everything.
        _ => Err(Error::new(
            ErrorKind::InvalidFilter,
            format!(
                "cannot read log filter directive {directive:?}: expected a level (off, error, warn, info, debug, \
                 trace) or target=level"
            ),
        )),
    }
}

/// Numbers are refused: `LevelFilter` would take them, and `1` for error surprises people.
fn parse_level(text: &str) -> Option<LevelFilter> {
    if text.starts_with(|c: char| c.is_ascii_alphabetic()) { LevelFilter::from_str(text).ok() } else { None }
}

fn is_target(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || "_:.-/".contains(c))
}

/// A directive covers its target and the modules below it: `h2` does not cover `h2o`.
fn is_within(target: &str, prefix: &str) -> bool {
    match target.strip_prefix(prefix) {
        Some(rest) => prefix.is_empty() || rest.is_empty() || rest.starts_with("::"),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_target_decides() {
        let check = |filter: &str, target: &str, expected: &str| {
            let filter = Filter::parse(filter).expect(filter);
            assert_eq!(filter.level_of(target).to_string(), expected, "{target} in {filter:?}");
        };
        check("info", "any", "info");
        check("INFO", "any", "info");
        check("", "any", "off");
        check("warn, ,", "any", "warn");
        check("info,ops_backup=debug", "ops_backup::job", "debug");
        check("ops_backup=debug,info", "ops_backup", "debug");
        check("info,h2=off", "h2", "off");
        check("info,h2=off", "h2o", "info");
        check("a=info,a::b=trace", "a::b::c", "trace");
        check("a::b=trace,a=info", "a::c", "info");
        check("a=info,a=debug", "a", "debug");
        check(" ops-core = warn ", "ops-core", "warn");
    }

    #[test]
    fn the_most_verbose_level_bounds_the_rest() {
        assert_eq!(Filter::parse("info,a=trace").expect("valid").max_level(), LevelFilter::TRACE);
        assert_eq!(Filter::parse("").expect("valid").max_level(), LevelFilter::OFF);
    }

    #[test]
    fn what_is_written_is_read_back() {
        for text in ["info", "warn,h2=off,ops_core=debug,ops_core::guard=trace", "off"] {
            assert_eq!(Filter::parse(text).expect(text).to_string(), text);
        }
    }

    #[test]
    fn refuses_what_it_does_not_support() {
        for text in [
            "a=loud",
            "=info",
            "a=",
            "[span]=debug",
            "a[{b}]=debug",
            "info,a=3",
            "3",
            "inof",
            "hyper",
            "a b",
            "a=b=c",
        ] {
            let error = Filter::parse(text).expect_err(text);
            assert_eq!(error.kind(), ErrorKind::InvalidFilter);
            assert!(error.to_string().contains("target=level"), "{error}");
        }
    }
}
