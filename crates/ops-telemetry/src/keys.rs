//! What a field is called on the line, and whether its value may be shown: decided once for each name.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError, RwLock};

/// Names that belong to the line in every schema.
const ALWAYS_RESERVED: [&str; 6] =
    ["message", "truncated", "stream", "audit.seq", "audit.prev", "telemetry.dropped"];

/// Names of fields whose values are never shown.
///
/// A pattern matches where the name, or some of its words put together, ends with it: `api_key` matches `api.key`,
/// `apiKey` and `stripe_api_key_id`. Words end at anything but a letter or digit, and before a capital. Truth values
/// are shown all the same.
#[derive(Clone, Debug)]
pub struct FieldMask {
    /// Lower case, letters and digits alone.
    patterns: Vec<String>,
}

impl Default for FieldMask {
    /// Masks what commonly names a secret: passwords, secrets, tokens, keys of an API, cookies, authorization headers,
    /// connection strings.
    fn default() -> Self {
        let patterns = [
            "password",
            "passwd",
            "secret",
            "token",
            "api_key",
            "authorization",
            "cookie",
            "dsn",
            "private_key",
        ];
        patterns.into_iter().fold(Self::none(), FieldMask::with)
    }
}

impl FieldMask {
    /// Masks no field by its name.
    pub fn none() -> Self {
        Self { patterns: Vec::new() }
    }

    /// Masks fields of this name too.
    #[must_use]
    pub fn with(mut self, pattern: &str) -> Self {
        let pattern: String = words(pattern).concat();
        if !pattern.is_empty() {
            self.patterns.push(pattern);
        }
        self
    }

    fn matches(&self, name: &str) -> bool {
        let words = words(name);
        (0..words.len()).any(|start| {
            let mut joined = String::new();
            words[start..].iter().any(|word| {
                joined.push_str(word);
                self.patterns.iter().any(|pattern| joined.ends_with(pattern.as_str()))
            })
        })
    }
}

fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_lower = false;
    for c in name.chars() {
        if !c.is_alphanumeric() || c.is_uppercase() && was_lower {
            words.push(String::new());
        }
        if c.is_alphanumeric() {
            words.last_mut().expect("there is always one").extend(c.to_lowercase());
        }
        was_lower = c.is_lowercase();
    }
    words.retain(|word| !word.is_empty());
    words
}

/// What was decided about a name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    /// Whether the value is replaced.
    pub(crate) is_masked: bool,
    /// Whether the name stands in a JSON string as it is.
    pub(crate) is_plain: bool,
    /// One bit that names share rarely, and equal names always.
    pub(crate) bit: u64,
}

impl Key {
    /// A name that this crate itself gives.
    pub(crate) fn shown(name: &'static str) -> Self {
        Self { name, is_masked: false, is_plain: false, bit: bit_of(name) }
    }
}

/// Returns the bit of a name.
fn bit_of(name: &str) -> u64 {
    // FNV-1a; all that counts is that it spreads.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    1 << (hash >> 58)
}

/// Decides about names. Each thread keeps the answers that it used lately, and all of them are kept for all threads: what
/// is decided anew costs memory, and two names that take each other's place would be for ever.
#[derive(Debug)]
pub(crate) struct KeyRules {
    /// Tells rules apart in the threads' memory.
    id: u64,
    reserved: Vec<String>,
    mask: FieldMask,
    decided: RwLock<HashMap<Place, Key>>,
}

/// Address and length: a name is `'static`, so the same address is the same text.
type Place = (usize, usize);

#[derive(Clone, Copy)]
struct Slot {
    rules: u64,
    name: Place,
    key: Key,
}

/// A name may lie in any slot of its own set.
const SETS: usize = 64;
const WAYS: usize = 4;
const NOTHING: Key = Key { name: "", is_masked: false, is_plain: true, bit: 0 };

thread_local! {
    static REMEMBERED: [[Cell<Slot>; WAYS]; SETS] = const {
        [const { [const { Cell::new(Slot { rules: 0, name: (0, 0), key: NOTHING }) }; WAYS] }; SETS]
    };
}

impl KeyRules {
    /// `reserved` are the names that the line itself uses.
    pub(crate) fn new(reserved: impl IntoIterator<Item = String>, mask: FieldMask) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let always = ALWAYS_RESERVED.into_iter().map(str::to_owned);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { id, reserved: always.chain(reserved).collect(), mask, decided: RwLock::default() }
    }

    pub(crate) fn key(&self, name: &'static str) -> Key {
        let place = (name.as_ptr() as usize, name.len());
        // Names of one event lie next to each other: all bits of the address must count (Fibonacci hashing).
        let spread = (place.0 ^ place.1 << 48).wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as usize);
        let index = (spread >> (usize::BITS / 2)) % SETS;
        let known = REMEMBERED.try_with(|sets| {
            let is_it = |slot: &Slot| slot.rules == self.id && slot.name == place;
            sets[index].iter().map(Cell::get).find(is_it).map(|slot| slot.key)
        });
        if let Ok(Some(key)) = known {
            return key;
        }
        let key = self.look_up(place, name);
        let _ = REMEMBERED.try_with(|sets| {
            // The one that came first goes.
            let mut next = Slot { rules: self.id, name: place, key };
            sets[index].iter().for_each(|slot| next = slot.replace(next));
        });
        key
    }

    #[cold]
    fn look_up(&self, place: Place, name: &'static str) -> Key {
        let known = self.decided.read().unwrap_or_else(PoisonError::into_inner).get(&place).copied();
        known.unwrap_or_else(|| {
            let key = self.decide(name);
            self.decided.write().unwrap_or_else(PoisonError::into_inner).insert(place, key);
            key
        })
    }

    fn decide(&self, name: &'static str) -> Key {
        let is_masked = self.mask.matches(name);
        let bare = name.strip_prefix("r#").unwrap_or(name);
        let name = if self.reserved.iter().any(|reserved| reserved == bare) { renamed(bare) } else { bare };
        let is_plain = name.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'"' && b != b'\\');
        Key { name, is_masked, is_plain, bit: bit_of(name) }
    }
}

/// Returns `field.<name>`. Kept for ever: there are as many as the program has field names that collide.
fn renamed(name: &'static str) -> &'static str {
    static KNOWN: LazyLock<Mutex<HashMap<&'static str, &'static str>>> = LazyLock::new(Mutex::default);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.entry(name).or_insert_with(|| Box::leak(format!("field.{name}").into_boxed_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names that shared a slot used to be decided anew on every line, which took six allocations each; whether they did
    /// was a matter of where the program was loaded.
    #[test]
    fn a_name_is_decided_once_however_many_there_are() {
        let rules = KeyRules::new([], FieldMask::default());
        let names: Vec<&'static str> = (0..5000).map(|n| &*format!("field.{n}").leak()).collect();
        let all = || names.iter().for_each(|name| assert!(!rules.key(name).is_masked));
        all();
        assert_eq!(allocation_counter::measure(all).count_total, 0);
    }

    #[test]
    fn names_of_secrets_are_known_however_they_are_written() {
        let mask = FieldMask::default().with("PIN code");
        for name in [
            "password",
            "db.password",
            "dbPassword",
            "DB_PASSWORD",
            "password_hash",
            "apikey",
            "apiKey",
            "stripe.api-key.id",
            "set-cookie",
            "http.request.header.authorization",
            "accessToken",
            "pin_code",
            "PRIVATE_KEY",
        ] {
            assert!(mask.matches(name), "{name}");
        }
        for name in ["", "tokens", "key", "api", "tokenizer", "author", "cookies", "passing", "pin", "code"] {
            assert!(!mask.matches(name), "{name}");
        }
        assert!(!FieldMask::none().matches("password"));
    }

    #[test]
    fn a_name_of_the_line_is_taken() {
        let rules = KeyRules::new(["level".to_owned()], FieldMask::default());
        let check = |name: &'static str, expected: &str| {
            for _ in 0..2 {
                assert_eq!(rules.key(name).name, expected);
            }
        };
        check("level", "field.level");
        check("r#type", "type");
        check("r#message", "field.message");
        check("audit.seq", "field.audit.seq");
        check("user", "user");
    }

    #[test]
    fn rules_do_not_answer_for_each_other() {
        let masked = KeyRules::new([], FieldMask::default());
        let bare = KeyRules::new([], FieldMask::none());
        for _ in 0..2 {
            assert!(masked.key("password").is_masked);
            assert!(!bare.key("password").is_masked);
        }
        assert!(!bare.key("a\"b").is_plain && !bare.key("é").is_plain && bare.key("a b").is_plain);
    }
}
