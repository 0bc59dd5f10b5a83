//! What stands in a plan's keys: texts with variables in them, durations, thresholds, names of variables.
//!
//! While a gate is deserialised, every text, name and threshold in it notes itself ([`seeing`]). So a kind never lists
//! its own, and none can be forgotten: all variables are there before anything runs.

mod span;
mod suggest;
mod text;
mod threshold;

pub use span::Span;
pub(crate) use suggest::{names_in, nearest};
pub(crate) use text::{Reference, holds_a_password, is_variable_name, names_a_secret};
pub use text::{Text, VariableName, Variables};
pub use threshold::Threshold;

use std::cell::RefCell;

thread_local! {
    static SEEN: RefCell<Option<Seen>> = const { RefCell::new(None) };
}

/// What was deserialised and needs something of the world.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) texts: Vec<Text>,
    pub(crate) names: Vec<VariableName>,
    pub(crate) thresholds: Vec<Threshold>,
}

/// Deserialises something, and tells what was in it.
pub(crate) fn seeing<T>(read: impl FnOnce() -> T) -> (T, Seen) {
    let outer = SEEN.with(|seen| seen.replace(Some(Seen::default())));
    let value = read();
    let seen = SEEN.with(|seen| seen.replace(outer)).unwrap_or_default();
    (value, seen)
}

fn see(note: impl FnOnce(&mut Seen)) {
    SEEN.with(|seen| {
        if let Some(seen) = seen.borrow_mut().as_mut() {
            note(seen);
        }
    });
}

/// Splits `sha256:…` or `sha512:…` where it is well formed.
pub(crate) fn digest(text: &str) -> Option<(&str, &str)> {
    let (algorithm, hex) = text.split_once(':')?;
    let length = match algorithm {
        "sha256" => 64,
        "sha512" => 128,
        _ => return None,
    };
    is_hex(hex, length).then_some((algorithm, hex))
}

/// Whether the text is exactly so many lower-case hexadecimal digits.
pub(crate) fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
