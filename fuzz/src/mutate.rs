//! A deterministic mutator: it cuts texts at words, so that more of what comes out is still SQL.

/// A small generator of numbers: the same seed gives the same run everywhere.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Makes one from a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Makes one whose numbers depend on a text alone.
    pub fn of(text: &str) -> Self {
        // FNV-1a; a fuzzer that keeps a text gets the same choices again.
        Self(text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        }))
    }

    /// Returns the next number (SplitMix64).
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below a bound, which is taken for at least 1.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    /// Returns one of a list's elements.
    pub fn of_list<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }

    /// Returns so many random bytes.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }
}

/// Texts that change how what follows is read, and words that change what a statement does.
const WORDS: &[&str] = &[
    "'",
    "''",
    "\"",
    "$$",
    "$a$",
    "E'",
    "U&'",
    "U&\"",
    "B'",
    "X'",
    "N'",
    "--",
    "/*",
    "*/",
    "\\",
    "\n",
    "\r",
    "\t",
    ";",
    "(",
    ")",
    "[",
    "]",
    ",",
    ".",
    "*",
    "::",
    ":=",
    "=>",
    "$1",
    "$2",
    "0",
    "1",
    "-1",
    "1e400",
    "0x1F",
    "1_000",
    ".5",
    "\u{0}",
    "\u{feff}",
    "ä",
    "\u{a0}",
    "\u{2028}",
    "<>",
    "===",
    "@>",
    "->>",
    "||",
    "UESCAPE",
    "ONLY",
    "LATERAL",
    "RECURSIVE",
    "MATERIALIZED",
    "ANALYZE",
    "EXPLAIN",
    "PREPARE p AS",
    "EXECUTE p",
    "DO",
    "CALL f()",
    "lo_unlink(1)",
    "setval('s', 1)",
    "TRUNCATE t",
    "DELETE FROM t",
    "UPDATE t SET a = 1",
    "WHERE true",
    "OR true",
    "AND false",
    "NOT",
    "RETURNING *",
    "UNION ALL",
    "FOR UPDATE",
    "INTO",
    "TO PROGRAM 'x'",
    "CASCADE",
    "CONCURRENTLY",
    "TABLESAMPLE system (1)",
    "OVER ()",
    "FILTER (WHERE a)",
    "COLLATE c",
    "AT TIME ZONE",
    "IS NULL",
    "BETWEEN",
    "VALUES (1)",
    "DEFAULT",
    "CURRENT OF c",
    "OPERATOR(x.+)",
    "SET ROLE a",
    "COMMIT",
];

const PAIRS: &[(&str, &str)] = &[
    ("(", ")"),
    ("(SELECT ", ")"),
    ("(SELECT ", " FROM t)"),
    ("CASE WHEN ", " THEN 1 END"),
    ("/*", "*/"),
    ("'", "'"),
    ("\"", "\""),
    ("$q$", "$q$"),
    ("E'", "'"),
    ("ARRAY[", "]"),
    ("coalesce(", ", 1)"),
    ("WITH w AS (", ") SELECT 1 FROM w"),
    ("EXPLAIN ANALYZE ", ""),
    ("DO $q$ BEGIN ", "; END $q$"),
];

/// Changes a text once or a few times; `others` lend their parts. What comes out is at most `most` bytes long.
pub fn mutate(text: &str, others: &[String], most: usize, dice: &mut Dice) -> String {
    let mut text = text.to_owned();
    for _ in 0..=dice.below(4) {
        text = once(&text, others, dice);
        if text.len() > most {
            let cut = (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            text.truncate(cut);
        }
    }
    text
}

fn once(text: &str, others: &[String], dice: &mut Dice) -> String {
    let words = words(text);
    let (from, to) = {
        let (one, other) = (dice.below(words.len() + 1), dice.below(words.len() + 1));
        (one.min(other), one.max(other))
    };
    let (head, middle, tail) = (words[..from].concat(), words[from..to].concat(), words[to..].concat());
    match dice.below(11) {
        0 => {
            let other = dice.of_list(others);
            let others_words = self::words(other);
            format!("{head}{}", others_words[dice.below(others_words.len() + 1)..].concat())
        }
        1 => format!("{head}{middle}{middle}{tail}"),
        2 => format!("{head}{tail}"),
        3 => flip(text, dice),
        4 => format!("{head}{}{middle}{}", tail, " "),
        5 => {
            let (open, close) = dice.of_list(PAIRS);
            format!("{head}{open}{middle}{close}{tail}")
        }
        6 => format!("{head} {} {middle}{tail}", dice.of_list(WORDS)),
        7 => format!("{head}{}{tail}", dice.of_list(WORDS)),
        8 => format!("{text}\n;{}", dice.of_list(others)),
        9 => format!("{head}{}{tail}", middle.repeat(1 + dice.below(30))),
        _ => {
            let other = self::words(dice.of_list::<String>(others));
            format!("{head}{}{tail}", other[dice.below(other.len() + 1)..].first().unwrap_or(&""))
        }
    }
}

fn flip(text: &str, dice: &mut Dice) -> String {
    let mut bytes = text.as_bytes().to_vec();
    if !bytes.is_empty() {
        let at = dice.below(bytes.len());
        bytes[at] ^= 1 << dice.below(8);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Cuts a text into runs of letters, runs of blanks, and single signs.
fn words(text: &str) -> Vec<&str> {
    let class = |sign: char| match sign {
        _ if sign.is_alphanumeric() || sign == '_' => 0,
        _ if sign.is_whitespace() => 1,
        _ => 2,
    };
    let mut words = Vec::new();
    let (mut start, mut last) = (0, 2);
    for (at, sign) in text.char_indices() {
        if at > start && (class(sign) != last || last == 2) {
            words.push(&text[start..at]);
            start = at;
        }
        last = class(sign);
    }
    if start < text.len() {
        words.push(&text[start..]);
    }
    words
}
