//! How much the scanner finds of what is there, and how much it says of what is not.

use super::corpus::generate;
use super::scan_bytes;
use std::collections::BTreeMap;

#[test]
fn the_corpus_is_found_and_little_else() {
    let corpus = generate(1);
    let positives = corpus.iter().filter(|sample| sample.secret).count();
    assert!(positives >= 600 && corpus.len() - positives >= 2000, "{positives} of {}", corpus.len());
    let (mut found, mut said) = (0, 0);
    let mut wrong: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for sample in &corpus {
        let report = scan_bytes(sample.bytes.clone());
        let hit = !report.findings.is_empty();
        match (sample.secret, hit) {
            (true, true) => found += 1,
            (false, true) => said += 1,
            _ => {}
        }
        if sample.secret != hit {
            let rules: Vec<&str> = report.findings.iter().map(|finding| finding.rule).collect();
            let text: String = String::from_utf8_lossy(&sample.bytes).chars().take(160).collect();
            wrong.entry(sample.family).or_default().push(format!("{} {rules:?} {text:?}", sample.path));
        }
    }
    let recall = f64::from(found) / positives as f64;
    let precision = f64::from(found) / f64::from(found + said);
    let told: String = wrong
        .iter()
        .map(|(family, all)| format!("{family}: {}\n  {}\n", all.len(), all[..all.len().min(6)].join("\n  ")))
        .collect();
    assert!(recall >= 0.97 && precision >= 0.95, "recall {recall:.3}, precision {precision:.3}\n{told}");
}
