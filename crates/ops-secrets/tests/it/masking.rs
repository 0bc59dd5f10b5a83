//! Whatever a program does with a secret, its writers' text has none of it left.

use ops_secrets::{Masker, MaskingWriter};
use proptest::prelude::*;
use std::io::Write as _;

/// Secrets that masking takes on: at least four bytes, without whitespace around.
fn secret() -> impl Strategy<Value = String> {
    let special = prop::sample::select(vec![
        '"', '\'', '\\', '\n', '%', '/', '+', '=', '&', ' ', '\u{7f}', '\u{85}', '\u{2028}', 'é', '🦀', '$',
        '{', '\t',
    ]);
    let plain = prop::char::range('!', '~');
    let middle = prop::collection::vec(prop_oneof![plain, special], 2..24);
    ("[a-zA-Z0-9]", middle, "[a-zA-Z0-9]")
        .prop_map(|(first, middle, last)| format!("{first}{}{last}", String::from_iter(middle)))
}

fn masker(secrets: &[String]) -> Masker {
    let masker = Masker::new();
    masker.register_all(secrets.iter().map(|secret| ("name", secret.as_str())));
    masker
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_secret_is_found_in_what_writers_make_of_it(secret in secret()) {
        let masker = masker(std::slice::from_ref(&secret));
        let json = serde_json::to_string(&secret).unwrap();
        let texts = [
            format!("<{secret}>"),
            format!("<{}>", &json[1..json.len() - 1]),
            format!("<{}>", { let twice = serde_json::to_string(&json[1..json.len() - 1]).unwrap(); twice[1..twice.len() - 1].to_owned() }),
            format!("<{}>", { let debug = format!("{secret:?}"); debug[1..debug.len() - 1].to_owned() }),
            format!("<{}>", secret.escape_debug()),
        ];
        // `escape_debug` of a str escapes single quotes too, as `{:?}` does not.
        let last = texts.len() - usize::from(secret.contains('\''));
        for text in &texts[..last] {
            prop_assert_eq!(masker.mask_str(text), "<[redacted]>", "{}", text);
        }
    }

    #[test]
    fn text_without_the_secret_is_untouched(secret in secret(), text in "[ -,:-@]{0,200}") {
        prop_assume!(!text.contains(&secret));
        prop_assert_eq!(masker(&[secret]).mask_str(&text), text.as_str());
    }

    #[test]
    fn a_stream_is_masked_as_the_whole(secrets in prop::collection::vec(secret(), 1..4), cuts in prop::collection::vec(1_usize..9, 1..60)) {
        let masker = masker(&secrets);
        let text = secrets.iter().flat_map(|secret| ["log ", secret, " ", &secret[..1], secret, secret, "\n"]).collect::<String>();
        let whole = masker.mask_str(&text).into_owned();
        let mut writer = MaskingWriter::new(Vec::new(), masker);
        let mut rest = text.as_bytes();
        for cut in cuts.iter().cycle() {
            let (piece, after) = rest.split_at(rest.len().min(*cut));
            writer.write_all(piece).unwrap();
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(String::from_utf8(writer.finish().unwrap()).unwrap(), whole);
    }
}

#[test]
fn masking_costs_one_scan() {
    // Not a timed assertion: a quadratic masker would not end.
    let masker = Masker::new();
    let names: Vec<String> =
        (0..100).map(|index| format!("secret-value-{index:04}-{}", index * 7919)).collect();
    masker.register_all(names.iter().map(|name| ("name", name.as_str())));
    masker.register("run", &"a".repeat(1000));
    let mut text = "a".repeat(1_000_000).into_bytes();
    masker.mask(&mut text);
    assert_eq!(text, b"[redacted]");
}

#[test]
fn registering_and_masking_go_on_at_once() {
    let masker = Masker::new();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let masker = masker.clone();
            scope.spawn(move || {
                for index in 0..20 {
                    let secret = format!("secret-{thread}-{index}-end");
                    masker.register("name", &secret);
                    assert_eq!(masker.mask_str(&secret), "[redacted]");
                }
            });
        }
    });
    for thread in 0..4 {
        assert_eq!(masker.mask_str(&format!("<secret-{thread}-0-end>")), "<[redacted]>");
    }
}
