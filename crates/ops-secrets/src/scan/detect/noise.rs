//! What looks like a secret and is none: words, placeholders, counters, the rhythm of English.

/// Words that stand in a value where a person wrote an example.
const PLACEHOLDERS: [&[u8]; 22] = [
    b"example",
    b"placeholder",
    b"changeme",
    b"change_me",
    b"change-me",
    b"your",
    b"xxxx",
    b"dummy",
    b"sample",
    b"redacted",
    b"insert",
    b"replace",
    b"todo",
    b"fixme",
    b"****",
    b"....",
    b"notreal",
    b"not-real",
    b"not_real",
    b"fake",
    b"invalid",
    b"deadbeef",
];

/// Shannon's entropy of bytes, in bits a byte.
pub(crate) fn entropy(bytes: &[u8]) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in bytes {
        counts[usize::from(*byte)] += 1;
    }
    let total = bytes.len() as f64;
    let bits = |count: u32| {
        let share = f64::from(count) / total;
        -share * share.log2()
    };
    counts.into_iter().filter(|count| *count > 0).map(bits).sum()
}

/// How much of the entropy that so many bytes of an alphabet could have is there: near 0.9 for random ones.
pub(crate) fn randomness(bytes: &[u8], alphabet: u32) -> f64 {
    let most = (bytes.len().min(alphabet as usize).max(2) as f64).log2();
    entropy(bytes) / most
}

/// Whether the random part of a token is one that a person typed: repeats, counts, or says that it is an example.
pub(crate) fn is_example(bytes: &[u8], alphabet: u32) -> bool {
    bytes.len() >= 8 && randomness(bytes, alphabet) < 0.68 || is_placeholder(bytes) || has_count(bytes)
}

/// Whether a value says of itself that it is none.
pub(crate) fn is_placeholder(bytes: &[u8]) -> bool {
    let lower = bytes.to_ascii_lowercase();
    PLACEHOLDERS.iter().any(|word| holds(&lower, word))
}

fn holds(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window == word)
}

/// Whether eight bytes in a row count up or down, or are the same: `12345678`, `abcdefgh`, `00000000`.
pub(crate) fn has_count(bytes: &[u8]) -> bool {
    let (mut run, mut step) = (1, 0);
    for pair in bytes.windows(2) {
        let next = i16::from(pair[1].to_ascii_lowercase()) - i16::from(pair[0].to_ascii_lowercase());
        // After 9 comes 0, and after 9 comes a: both are how people count.
        let next = if matches!((pair[0], pair[1]), (b'9', b'0' | b'a') | (b'0', b'a')) { 1 } else { next };
        if (-1..=1).contains(&next) && (run == 1 || next == step) {
            (run, step) = (run + 1, next);
        } else if (-1..=1).contains(&next) {
            (run, step) = (2, next);
        } else {
            (run, step) = (1, 0);
        }
        if run >= 8 {
            return true;
        }
    }
    false
}

/// The pairs of letters that make up most of English text, one row a first letter.
const PAIRS: [&[u8]; 26] = [
    b"bcdgilmnprstuvy",
    b"aeiloruys",
    b"acehikloratu",
    b"aeiosury",
    b"acdeflmnoprstvwxy",
    b"aefiloru",
    b"aehilnoru",
    b"aeiortu",
    b"abcdefgklmnoprstvz",
    b"aou",
    b"eains",
    b"adefiklosty",
    b"abeimopsu",
    b"acdefgiklnostuvy",
    b"bcdfgiklmnoprstuvw",
    b"aehiloprstu",
    b"u",
    b"acdegiklmnorstuvy",
    b"acehikmopqstuw",
    b"aehiorstuwy",
    b"abcdegilmnprst",
    b"aeio",
    b"aehiornt",
    b"aceipt",
    b"esipao",
    b"aeioz",
];

/// The share of pairs of neighbouring letters that English likes: above 0.8 for words, near 0.35 for random letters.
pub(crate) fn wordiness(bytes: &[u8]) -> Option<f64> {
    let (mut pairs, mut liked) = (0_u32, 0_u32);
    for pair in bytes.windows(2) {
        let both_lower = pair[0].is_ascii_alphabetic() && pair[1].is_ascii_lowercase();
        let both_upper = pair[0].is_ascii_uppercase() && pair[1].is_ascii_uppercase();
        if both_lower || both_upper {
            pairs += 1;
            let row = PAIRS[usize::from(pair[0].to_ascii_lowercase() - b'a')];
            liked += u32::from(row.contains(&pair[1].to_ascii_lowercase()));
        }
    }
    (pairs > 0).then(|| f64::from(liked) / f64::from(pairs))
}

/// Whether a value reads like words: most of it is letters, in runs that English likes, with few changes of kind.
pub(crate) fn is_wordy(bytes: &[u8]) -> bool {
    // What joins words is no change of kind.
    let plain: Vec<u8> = bytes.iter().copied().filter(u8::is_ascii_alphanumeric).collect();
    let letters = plain.iter().filter(|byte| byte.is_ascii_alphabetic()).count();
    // A word may begin with a capital: that is none either.
    let breaks = turns(&plain) - plain.windows(2).filter(|pair| is_capital(pair)).count();
    letters * 10 >= bytes.len() * 6
        && breaks * 3 <= plain.len()
        && wordiness(bytes).is_some_and(|share| share >= 0.66)
}

fn is_capital(pair: &[u8]) -> bool {
    pair[0].is_ascii_uppercase() && pair[1].is_ascii_lowercase()
}

/// Whether a value has the mixture and the disorder of one that a machine made.
pub(crate) fn is_random(bytes: &[u8]) -> bool {
    let count = |is: fn(&u8) -> bool| bytes.iter().filter(|byte| is(byte)).count();
    let (digits, letters) = (count(u8::is_ascii_digit), count(u8::is_ascii_alphabetic));
    let (upper, lower) = (count(u8::is_ascii_uppercase), count(u8::is_ascii_lowercase));
    // Without digits, upper and lower case take turns far more often than in a name.
    let shuffled = letters >= 12 && upper >= 3 && lower >= 3 && turns(bytes) * 5 >= letters * 2;
    let is_hex = bytes.iter().all(u8::is_ascii_hexdigit);
    let alphabet = if is_hex { 16 } else { 64 };
    (digits >= 2 && letters >= 2 || shuffled)
        && entropy(bytes) >= 3.0
        && randomness(bytes, alphabet) >= 0.72
        && !is_wordy(bytes)
        && !has_count(bytes)
}

/// How often the kind of character changes.
fn turns(bytes: &[u8]) -> usize {
    let kind = |byte: u8| (byte.is_ascii_uppercase(), byte.is_ascii_lowercase(), byte.is_ascii_digit());
    bytes.windows(2).filter(|pair| kind(pair[0]) != kind(pair[1])).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_and_words_are_told_apart() {
        for (value, random) in [
            ("q7Zt9mX2vK4pL8sW", true),
            ("9f86d081884c7d65", true),
            ("aGkQzPbWxRmTfLcVnYdS", true),
            ("my-super-secret-token-value-2", false),
            ("getAuthenticationTokenProvider1", false),
            ("0123456789abcdef", false),
            ("aaaaaaaabbbbbbbb11", false),
            ("com.example.service.v2beta1", false),
            ("user_password_reset_2024_01", false),
            ("count_key1_value1", false),
            ("rsa_test_private_key_2048.p8", false),
        ] {
            assert_eq!(is_random(value.as_bytes()), random, "{value}");
        }
    }

    #[test]
    fn counting_is_seen() {
        for (value, counts) in [
            ("x12345678", true),
            ("87654321", true),
            ("abcdefgh", true),
            ("00000000", true),
            ("1234567", false),
            ("12321232", false),
            ("7890abcdef", true),
        ] {
            assert_eq!(has_count(value.as_bytes()), counts, "{value}");
        }
    }

    #[test]
    fn examples_say_so() {
        for value in ["AKIAIOSFODNN7EXAMPLE", "your-api-key-here", "xxxxxxxxxxxx", "changeMe"] {
            assert!(is_placeholder(value.as_bytes()), "{value}");
        }
        assert!(!is_placeholder(b"q7Zt9mX2vK4pL8sW"));
    }
}
