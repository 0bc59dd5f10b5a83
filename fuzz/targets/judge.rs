//! Any bytes: what must hold for any text, and for it before and behind a seed.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_mutator, fuzz_target};
use ops_fuzz::mutate::{Dice, mutate};
use ops_fuzz::{checks, seeds};

fuzz_target!(|bytes: &[u8]| -> Corpus {
    let Ok(text) = std::str::from_utf8(bytes) else { return Corpus::Reject };
    let found = checks::any_text(bytes);
    let seeds = seeds::seeds();
    let seed = seeds[text.len() % seeds.len()];
    checks::one_after_the_other(text, seed);
    checks::one_after_the_other(seed, text);
    // What is no SQL is not worth keeping: the mutator makes enough of it.
    if found.is_some() { Corpus::Keep } else { Corpus::Reject }
});

// Words, not bytes: libFuzzer's own mutations leave hardly any SQL.
fuzz_mutator!(|bytes: &mut [u8], size: usize, most: usize, seed: u32| {
    let mut dice = Dice::new(u64::from(seed));
    if dice.below(4) == 0 {
        return libfuzzer_sys::fuzzer_mutate(bytes, size, most);
    }
    let others: Vec<String> = seeds::seeds().into_iter().map(str::to_owned).collect();
    let text = String::from_utf8_lossy(&bytes[..size]).into_owned();
    let text = if text.trim().is_empty() { dice.of_list::<String>(&others).clone() } else { text };
    let mutated = mutate(&text, &others, most.min(checks::MOST_BYTES), &mut dice);
    let length = mutated.len().min(most);
    bytes[..length].copy_from_slice(&mutated.as_bytes()[..length]);
    length
});
