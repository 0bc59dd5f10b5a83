//! `kind = "cost"`.

use crate::support::run_gate;

#[tokio::test]
async fn growth_beyond_a_fifth_needs_a_decision() {
    for (current, previous, keys, outcome, code) in [
        ("120", "100", "", "PASS", "ok"),
        ("80", "100", "", "PASS", "ok"),
        ("121", "100", "", "FAIL", "increase"),
        ("121", "100", "max_increase_percent = 30", "PASS", "ok"),
        ("0", "100", "", "PASS", "ok"),
        ("100", "0", "", "ERROR", "no-cost"),
        ("-1", "100", "", "ERROR", "no-cost"),
        ("NaN", "100", "", "ERROR", "not-a-number"),
        ("", "100", "", "ERROR", "not-a-number"),
    ] {
        let keys = format!("kind = \"cost\"\ncurrent = \"{current}\"\nprevious = \"{previous}\"\n{keys}");
        run_gate(&keys).await.expect(outcome, code);
    }
}
