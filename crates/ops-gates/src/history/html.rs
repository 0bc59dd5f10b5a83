//! The health report as one HTML page that needs nothing else: no script, no style sheet, no picture to load.

use super::chart;
use super::health::{Health, HealthLine, LineState, NO_RUN};
use super::statistics::{GateHistory, PlanHistory};
use std::fmt::Write as _;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;color:#1b1f24;background:#fff}\
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #d8dee4}\
svg{width:100%;height:auto;margin:.5rem 0}svg text{font-size:10px;fill:#57606a}.line{fill:none;stroke:#0969da;stroke-width:1.5}\
.point{fill:#0969da}.passed{fill:#1a7f37}.blocked{fill:#cf222e}.good{color:#1a7f37}.bad{color:#cf222e;font-weight:bold}\
.no-data{color:#9a6700;font-weight:bold}";

/// The report as HTML.
pub fn html(health: &Health) -> String {
    let mut page = String::new();
    write(health, &mut page).expect("writing to a string cannot fail");
    page
}

fn write(health: &Health, out: &mut String) -> std::fmt::Result {
    let title = health.title();
    // The policy holds even where a name that slipped through were a script.
    writeln!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"><title>{title}</title><style>{STYLE}</style></head><body>\n<h1>{title}</h1>"
    )?;
    writeln!(out, "<table><tr><th></th><th>state</th><th>value</th></tr>")?;
    for line in &health.lines {
        row(line, out)?;
    }
    writeln!(out, "</table>")?;
    for line in health.lines.iter().filter(|line| line.values.len() > 1) {
        writeln!(out, "<h2>{}</h2>\n{}", escape(&line.title), chart::line(&line.title, &line.values))?;
    }
    if health.runs.is_empty() {
        writeln!(out, "<p class=\"no-data\">{NO_RUN}</p>")?;
    } else {
        writeln!(out, "<h2>Runs</h2>\n{}", chart::bars("Runs", &health.runs))?;
    }
    health.plans.iter().try_for_each(|it| plan(it, out))?;
    if let Some(sentence) = health.not_counted() {
        writeln!(out, "<p class=\"bad\">{sentence}</p>")?;
    }
    writeln!(out, "</body></html>")
}

fn row(line: &HealthLine, out: &mut String) -> std::fmt::Result {
    let class = match line.state {
        LineState::Good => "good",
        LineState::Bad => "bad",
        LineState::Told => "told",
        LineState::NoData => "no-data",
    };
    let (title, word, text) = (escape(&line.title), line.state.word(), escape(&line.text));
    writeln!(out, "<tr><td>{title}</td><td class=\"{class}\">{word}</td><td>{text}</td></tr>")
}

fn plan(plan: &PlanHistory, out: &mut String) -> std::fmt::Result {
    writeln!(out, "<h2>{}</h2>\n<p>{}</p>", escape(&plan.plan), escape(&plan.sentence()))?;
    writeln!(out, "<table><tr><th>{}</th></tr>", GateHistory::COLUMNS.join("</th><th>"))?;
    for gate in &plan.gates {
        let cells = gate.cells().map(|text| escape(&text));
        writeln!(out, "<tr><td>{}</td></tr>", cells.join("</td><td>"))?;
    }
    writeln!(out, "</table>")
}

/// Text that is neither an element nor the end of an attribute.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c if c.is_control() => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}
