//! The redactor sees everything that a user can put into a line, whole and before it is cut.

use ops_telemetry::testing::Capture;
use ops_telemetry::{LogFormat, Options, Redactor};
use tracing::{info, info_span};

use crate::{options, parse};

/// Replaces one word.
pub(crate) struct Word(pub(crate) &'static str);

impl Redactor for Word {
    fn redact(&self, line: &mut Vec<u8>) {
        let text = String::from_utf8(std::mem::take(line)).expect("utf-8");
        *line = text.replace(self.0, "[redacted]").into_bytes();
    }
}

fn logged(secret: &'static str, format: LogFormat, body: impl FnOnce()) -> String {
    let capture = Capture::default();
    let options = Options { format, ..options() }.with_redactor(Word(secret));
    capture.run(options, body).expect("valid options");
    capture.lines().remove(0)
}

#[test]
fn no_part_of_a_line_shows_a_secret() {
    for format in [LogFormat::Json, LogFormat::Human] {
        let line = logged("hunter2", format, || {
            let _span = info_span!("s", url = "pg://u:hunter2@h", late = tracing::field::Empty).entered();
            tracing::Span::current().record("late", "hunter2");
            info!(shown = %"xhunter2x", debugged = ?["hunter2"], "says hunter2");
        });
        assert!(!line.contains("hunter2"), "{line}");
        assert_eq!(line.matches("[redacted]").count(), 5, "{line}");
    }
}

#[test]
fn a_secret_on_the_edge_of_a_cut_leaves_no_half() {
    for before in 8180..8200 {
        let text = "x".repeat(before) + "hunter2" + &"y".repeat(5000);
        let line = logged("hunter2", LogFormat::Json, || info!(text));
        assert!(!line.contains("hunt"), "{before}");
        parse(&line);
    }
}

#[test]
fn a_secret_that_looks_like_a_part_of_the_line_breaks_nothing() {
    for secret in
        ["INFO", "true", "1234", "trace_id", "\"", ":", "00", "service", "message", "\\", "null", ","]
    {
        let line = logged(secret, LogFormat::Json, || {
            info!(n = 1234, yes = true, nan = f64::NAN, q = "a\"b\\c", "x, y")
        });
        let line = parse(&line);
        assert_eq!(line.get("level"), "INFO", "{secret}");
        assert_eq!(line.get("trace_id").as_str().map(str::len), Some(32), "{secret}");
        assert_eq!(line.0.len(), 13, "{secret}");
    }
}
