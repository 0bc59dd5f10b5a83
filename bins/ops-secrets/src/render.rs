//! The report of a scan on stdout: for people, as JSON, and as annotations of GitHub's workflows.

use crate::sarif::has_line;
use ops_cli::{Format, output};
use ops_secrets::scan::{Finding, Report, State, Tier, Verdict};
use serde::Serialize;
use std::fmt::Write as _;

/// Places that are shown to people; JSON has more.
const SHOWN: usize = 5;

/// The report as JSON: its shape is a promise.
#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    #[serde(flatten)]
    report: &'a Report,
}

pub(crate) fn report(report: &Report, strict: bool, format: Format) -> std::io::Result<()> {
    match format {
        Format::Json => output::json(&Document { schema: "ops-secrets/scan/v1", report }),
        Format::Text => output::text(&text(report, strict)),
    }
}

fn text(report: &Report, strict: bool) -> String {
    let mut text = String::new();
    let open = |finding: &&Finding| matches!(finding.state, State::New | State::Expired);
    for finding in report.findings.iter().filter(open) {
        let word = if finding.blocks(strict) { "blocks" } else { "warns" };
        let expired =
            if finding.state == State::Expired { ", suppressed until a day that has passed" } else { "" };
        let _ = writeln!(
            text,
            "{word}  {} ({}, {}{expired})\n        {} {} bytes, fingerprint {}",
            finding.title,
            finding.rule,
            tier(finding.tier),
            finding.preview,
            finding.length,
            finding.fingerprint
        );
        for place in finding.places.iter().take(SHOWN) {
            let _ = writeln!(text, "        {place}");
        }
        let more = finding.count.saturating_sub(SHOWN as u64);
        if more > 0 {
            let _ = writeln!(text, "        and {more} more");
        }
    }
    for gap in &report.gaps {
        let _ = writeln!(text, "not judged  {}: {}", gap.place, gap.reason);
    }
    for fingerprint in &report.unused {
        let _ = writeln!(text, "unused  the suppression of {fingerprint} can go");
    }
    let count = |state: State| report.findings.iter().filter(|finding| finding.state == state).count();
    let of_tier =
        |wanted: Tier| report.findings.iter().filter(open).filter(|finding| finding.tier == wanted).count();
    let scanned = report.scanned;
    let _ = write!(
        text,
        "{}: {} certain, {} likely, {} suppressed, {} in the baseline; {} files, {} objects, {:.1} MiB",
        verdict(report.verdict),
        of_tier(Tier::Certain),
        of_tier(Tier::Likely),
        count(State::Suppressed),
        count(State::Baseline),
        scanned.files,
        scanned.objects,
        scanned.bytes as f64 / f64::from(1 << 20),
    );
    for (number, what) in [
        (report.gaps.len() as u64, "not judged"),
        (report.opaque.len() as u64, "opaque"),
        (report.excluded, "excluded"),
    ] {
        if number > 0 {
            let _ = write!(text, ", {number} {what}");
        }
    }
    text
}

fn tier(tier: Tier) -> &'static str {
    if tier == Tier::Certain { "certain" } else { "likely" }
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Clean => "clean",
        Verdict::Found => "FOUND",
        Verdict::Nothing => "NOTHING was there to scan",
        _ => "NOT JUDGED",
    }
}

/// Workflow commands: one a place, then the summary as a notice.
pub(crate) fn github(report: &Report, strict: bool) -> std::io::Result<()> {
    let mut text = String::new();
    for finding in
        report.findings.iter().filter(|finding| matches!(finding.state, State::New | State::Expired))
    {
        let level = if finding.blocks(strict) { "error" } else { "warning" };
        for place in finding.places.iter().take(SHOWN) {
            let position = place.path.as_ref().map(|path| {
                let line = match has_line(place) {
                    true => format!("line={},col={},", place.line, place.column),
                    false => String::new(),
                };
                format!(" file={},{line}title={}", property(path), property(&finding.title))
            });
            let said = format!("{} at {place}, fingerprint {}", finding.title, finding.fingerprint);
            let _ = writeln!(text, "::{level}{}::{}", position.unwrap_or_default(), data(&said));
        }
    }
    for gap in &report.gaps {
        let _ = writeln!(text, "::error::{}", data(&format!("not judged: {}: {}", gap.place, gap.reason)));
    }
    let scanned = report.scanned;
    let end = format!("{}: {} files, {} objects", verdict(report.verdict), scanned.files, scanned.objects);
    let _ = write!(text, "::notice::{}", data(&end));
    output::text(&text)
}

/// What stands in a message must not end it.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
