//! The detector as a whole: what each rule finds, what no text costs, and that no bytes are a panic.

use super::*;
use proptest::prelude::*;
use std::sync::LazyLock;

static DETECTOR: LazyLock<Detector> =
    LazyLock::new(|| Detector::new([("known", "correct horse battery")], 1_790_000_000));

fn work(bytes: &[u8]) -> u64 {
    let mut scratch = Scratch::default();
    DETECTOR.scan(bytes, &mut scratch);
    scratch.work
}

/// Every text that the search knows, alone and with what may follow it, over and over: matchers that read on and on
/// from each begin would read many times what there is.
#[test]
fn no_text_makes_the_work_grow_faster_than_the_text() {
    let mut words: Vec<String> = vec![String::new()];
    words.extend(DETECTOR.tokens.iter().filter_map(|token| token.shape.word()).map(str::to_owned));
    words.extend(DETECTOR.tokens.iter().flat_map(|token| token.rule.near).map(|word| (*word).to_owned()));
    words.extend(assign::WORDS.iter().map(|(word, _)| (*word).to_owned()));
    let more = [
        "-----BEGIN RSA PRIVATE KEY-----",
        "PuTTY-User-Key-File-",
        "eyJ",
        "eyJh.eyJ",
        "://",
        "://a:b",
        "basic ",
        "bearer ",
    ];
    words.extend(more.map(str::to_owned));
    words.sort();
    words.dedup();
    let ends = ["", "=\"", "\"\n\"", "A/", " key ", "\n"];
    let mut worst = (0, String::new());
    for word in &words {
        for end in ends {
            let unit = format!("{word}{end}");
            if unit.is_empty() {
                continue;
            }
            let size = 1 << 13;
            let text = unit.repeat(size / unit.len());
            let (small, large) = (work(&text.as_bytes()[..text.len() / 4]), work(text.as_bytes()));
            assert!(
                large <= small * 6 + 4096,
                "{unit:?}: {small} bytes of work for a quarter, {large} for all"
            );
            worst = worst.max((large / text.len() as u64, unit));
        }
    }
    assert!(worst.0 <= 500, "{worst:?}");
}

#[test]
fn a_token_is_found_wherever_a_window_ends() {
    let token = format!("AKIA{}", "Q3ZX7MNB2KLP5VTD");
    let text = format!("{}\nkey = {token}\n{}", "a line of text\n".repeat(40), "more of it\n".repeat(60));
    for window in 256..700 {
        let mut collector = crate::scan::collect::Collector::new(&DETECTOR, 1 << 20);
        let place = crate::scan::Place::new(crate::scan::PlaceKind::Stream, None);
        collector.examine_stream(&place, text.as_bytes(), window).unwrap();
        let found = collector.done();
        let all: Vec<_> =
            found.secrets.values().map(|secret| (secret.count, secret.places[0].line)).collect();
        assert_eq!(all, [(1, 42)], "{window}");
    }
}

/// What a search says does not depend on the neighbours of a secret, nor on a text that holds it.
#[test]
fn each_rule_finds_what_its_own_table_says() {
    let mut state = 7_u64;
    let mut random = move |limit: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % limit
    };
    let mut missed = Vec::new();
    for token in DETECTOR.tokens.iter().filter(|token| token.rule.check == rules::Check::None) {
        let mut text = String::new();
        for part in token.shape.parts() {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Run { alphabet, least, .. } => {
                    let bytes: Vec<u8> = alphabet.bytes().filter(u8::is_ascii_alphanumeric).collect();
                    text.extend((0..least).map(|_| char::from(bytes[random(bytes.len())])));
                }
            }
        }
        let line = match token.rule.near {
            [] => format!("x = '{text}'"),
            // A word that ends in a sign is itself followed by the value.
            [word, ..] => format!("{word}_secret_key = '{text}'"),
        };
        let hits = DETECTOR.scan(line.as_bytes(), &mut Scratch::default());
        if hits.is_empty() {
            missed.push(format!("{}: {line}", token.rule.id));
        }
    }
    assert!(missed.len() * 50 <= DETECTOR.tokens.len(), "{} missed:\n{}", missed.len(), missed.join("\n"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_are_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        work(&bytes);
    }

    /// Bytes that matchers like, in any order.
    #[test]
    fn random_pieces_are_no_panic(pieces in proptest::collection::vec(0_usize..20, 0..60)) {
        let all: [&[u8]; 20] = [
            b"password", b"=", b"\"", b"\\", b"\n", b"ghp_", b"-----BEGIN ", b"PRIVATE KEY-----", b"://", b"@", b":", b"eyJ",
            b".", b"YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4", b"\xff\xfe", b"\0", b"aws_secret", b"'", b"<", b"correct horse",
        ];
        let bytes: Vec<u8> = pieces.iter().flat_map(|piece| all[*piece]).copied().collect();
        work(&bytes);
    }
}
