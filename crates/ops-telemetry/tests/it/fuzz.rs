//! A run of the fuzz targets' bodies over what callers may send, without a fuzzer. `PROPTEST_CASES` makes it a longer one.

use proptest::prelude::*;

#[path = "../../../../fuzz/src/propagation/baggage.rs"]
#[expect(unreachable_pub, reason = "a fuzz target has this file as well")]
mod baggage;
#[path = "../../../../fuzz/src/propagation/traceparent.rs"]
#[expect(unreachable_pub, reason = "a fuzz target has this file as well")]
mod traceparent;
#[path = "../../../../fuzz/src/propagation/tracestate.rs"]
#[expect(unreachable_pub, reason = "a fuzz target has this file as well")]
mod tracestate;

/// A header that is right, with a few of its bytes replaced, doubled or left out.
fn nearly(header: String) -> impl Strategy<Value = String> {
    let edit = (
        any::<prop::sample::Index>(),
        0..3,
        prop::sample::select(" \t\n,;=%-_@/*azAZ09f\"\\é\u{7f}".chars().collect::<Vec<_>>()),
    );
    prop::collection::vec(edit, 0..4).prop_map(move |edits| {
        let mut text: Vec<char> = header.chars().collect();
        for (at, how, new) in edits {
            let at = at.index(text.len().max(1));
            match how {
                0 if at < text.len() => text[at] = new,
                1 if at < text.len() => drop(text.remove(at)),
                _ => text.insert(at, new),
            }
        }
        text.into_iter().collect()
    })
}

#[test]
fn the_checks_know_what_is_right() {
    assert!(traceparent::check("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
    assert!(traceparent::check(" cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff-more\t"));
    assert!(
        tracestate::check("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE\nt@v=a b") && !tracestate::check("a=b=c")
    );
    assert_eq!(baggage::check("a=%E2%82%AC;p;q = 1 ,b=\nc=d"), 3);
    assert_eq!(baggage::check(&"k=v,".repeat(70)), 64);
}

proptest! {
    #[test]
    fn a_traceparent_is_read_as_the_grammar_says(
        text in "[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-[a-z]{0,3})?".prop_flat_map(nearly),
        version_0 in "00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}".prop_flat_map(nearly),
        any: String,
    ) {
        [text, version_0, any].iter().for_each(|text| { traceparent::check(text); });
    }

    #[test]
    fn a_tracestate_is_read_as_the_grammar_says(
        text in "([a-z0-9][a-z0-9_*/@-]{0,9}=[ -+--<>-~]{1,9}[,\n]){0,40}".prop_flat_map(nearly),
        few in "([a-c]=[x-z]{1,160}[,\n]){0,6}".prop_flat_map(nearly),
        any: String,
    ) {
        [text, few, any].iter().for_each(|text| { tracestate::check(text); });
    }

    #[test]
    fn baggage_is_read_as_the_grammar_says(
        text in "([a-z!#$.^]{1,4} ?=[a-z%0-9=+]{0,6}( ?;[a-z]{0,2}(=[a-z]{0,2})?){0,2}[,\n]){0,70}".prop_flat_map(nearly),
        few in "([a-c]=(%[0-9A-Fa-f]{2}){0,900}[,\n]){0,6}".prop_flat_map(nearly),
        any: String,
    ) {
        [text, few, any].iter().for_each(|text| { baggage::check(text); });
    }
}
