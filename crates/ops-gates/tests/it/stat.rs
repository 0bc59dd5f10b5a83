//! The reference values of `stat`, computed again by SciPy where it is installed.

use std::path::Path;
use std::process::Command;

#[test]
fn scipy_still_computes_the_reference_values() {
    let reference = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/stat/reference");
    let has_scipy = Command::new("python3").args(["-c", "import scipy"]).output();
    if !has_scipy.is_ok_and(|output| output.status.success()) {
        ops_testkit::skip!("python3 with scipy is not installed");
    }
    let folder = tempfile::tempdir().expect("a temporary directory");
    let made = Command::new("python3").arg(reference.join("generate.py")).arg(folder.path()).output();
    let made = made.expect("python3");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    for name in ["binomial", "bootstrap", "mann_whitney", "mann_whitney_large"] {
        let numbers = |folder: &Path| -> Vec<f64> {
            let text = std::fs::read_to_string(folder.join(format!("{name}.in"))).expect("a file");
            let parts = text.split(|c: char| !(c.is_ascii_digit() || "+-.e".contains(c)));
            parts.filter_map(|part| part.parse().ok()).collect()
        };
        let (committed, computed) = (numbers(&reference), numbers(folder.path()));
        assert!(!committed.is_empty() && committed.len() == computed.len(), "{name}");
        // Resampling and other versions differ in the last places.
        let close = |(a, b): (&f64, &f64)| (a - b).abs() <= 0.01 * a.abs().max(1e-9);
        assert!(committed.iter().zip(&computed).all(close), "{name}: {committed:?}, now {computed:?}");
    }
}
