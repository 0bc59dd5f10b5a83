//! The shape of a line: order, types, names, bounds.

use std::fmt;

use ops_telemetry::testing::Capture;
use ops_telemetry::{LogFormat, Options};
use proptest::prelude::*;
use serde_json::{Value, json};
use tracing::field::Empty;
use tracing::{debug, error, info, info_span, warn};

use crate::{line, lines, options, parse};

#[test]
fn the_order_is_fixed() {
    let line = line(|| {
        let _outer = info_span!("outer", a = 1).entered();
        let _inner = info_span!("inner", b = 2).entered();
        info!(c = 3, "text");
    });
    let head = [
        "timestamp",
        "level",
        "message",
        "target",
        "trace_id",
        "span_id",
        "trace_flags",
        "service.name",
        "service.version",
    ];
    assert_eq!(line.keys(), [&head[..], &["b", "a", "c"]].concat());
    assert_eq!((line.get("message"), line.get("level")), (&json!("text"), &json!("INFO")));
    assert_eq!(line.get("target"), module_path!());
    let time = line.get("timestamp").as_str().expect("text");
    assert!(time.len() == 27 && time.starts_with("20") && time.ends_with('Z'), "{time}");
}

#[test]
fn values_keep_their_type() {
    let failed = std::io::Error::other("disk is gone");
    let line = line(|| {
        info!(
            int = -3,
            big = u64::MAX,
            wide = u128::MAX,
            float = 1.5,
            nan = f64::NAN,
            yes = true,
            text = "x\u{1b}[31m\u{2028}\n",
            shown = %"a\"b",
            debugged = ?Some("a"),
            error = &failed as &(dyn std::error::Error + 'static),
            none = Option::<u8>::None,
            r#type = "word"
        );
    });
    let check = |key: &str, expected: Value| assert_eq!(line.get(key), &expected, "{key}");
    check("int", json!(-3));
    check("big", json!(u64::MAX));
    assert_eq!(line.get("wide").as_f64(), Some(u128::MAX as f64));
    check("float", json!(1.5));
    check("nan", Value::Null);
    check("yes", json!(true));
    check("text", json!("x\u{1b}[31m\u{2028}\n"));
    check("shown", json!("a\"b"));
    check("debugged", json!("Some(\"a\")"));
    check("error", json!("disk is gone"));
    check("type", json!("word"));
    check("message", json!(""));
    assert!(line.find("none").is_none());
}

#[test]
fn an_error_is_written_with_its_causes() {
    #[derive(Debug)]
    struct Outer(std::io::Error);
    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("cannot save")
        }
    }
    impl std::error::Error for Outer {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }
    let failed = Outer(std::io::Error::other("disk is gone"));
    let line = line(|| error!(error = &failed as &(dyn std::error::Error + 'static)));
    assert_eq!(line.get("error"), "cannot save: disk is gone");
}

#[test]
fn no_field_can_pose_as_part_of_the_line() {
    let line = line(|| {
        let _span = info_span!("s", message = "span says", span_id = "evil", service.name = "evil").entered();
        info!(
            timestamp = "evil",
            level = "FAKE",
            target = "evil",
            trace_id = "evil",
            trace_flags = "evil",
            truncated = true,
            field.level = "later",
            "real"
        );
    });
    assert_eq!((line.get("message"), line.get("level")), (&json!("real"), &json!("INFO")));
    assert_eq!(line.get("field.level"), "later");
    for key in ["timestamp", "target", "trace_id", "trace_flags", "span_id", "service.name"] {
        assert_ne!(line.get(key), "evil", "{key}");
        assert_eq!(line.get(&format!("field.{key}")), "evil");
    }
    assert_eq!(line.get("field.truncated"), true);
    assert_eq!(line.get("field.message"), "span says");
    assert!(line.find("truncated").is_none());
}

#[test]
fn a_key_stands_once_and_the_nearest_wins() {
    let lines = lines(options(), || {
        let outer = info_span!("outer", a = "outer", b = "outer", late = Empty).entered();
        let _inner = info_span!("inner", b = "inner", c = "inner").entered();
        info!(c = "event", d = "event");
        outer.record("late", 1);
        outer.record("late", 2);
        info!("after");
    });
    let [first, second] = &lines[..] else { panic!("two lines") };
    for (key, expected) in [("a", "outer"), ("b", "inner"), ("c", "event"), ("d", "event")] {
        assert_eq!(first.get(key), expected, "{key}");
    }
    assert!(first.find("late").is_none());
    assert_eq!(second.get("late"), 2);
    assert_eq!(second.get("c"), "inner");
}

#[test]
fn a_long_value_is_cut_and_the_line_says_so() {
    for character in ["x", "é", "😀", "\n", "\u{1}"] {
        let text = character.repeat(20_000);
        let line = line(|| info!(long = text, short = 1));
        let long = line.get("long").as_str().expect("text");
        assert!(text.starts_with(long) && !long.is_empty());
        let written = serde_json::to_string(long).expect("text").len() - 2;
        assert!((8 * 1024 - 5..=8 * 1024).contains(&written), "{written}");
        assert_eq!((line.get("short"), line.get("truncated")), (&json!(1), &json!(true)));
    }
}

#[test]
fn a_long_line_leaves_fields_out_and_says_so() {
    let long = "x".repeat(8000);
    let capture = Capture::default();
    let span = || {
        let _a = info_span!("a", a1 = long, a2 = long, a3 = long, a4 = long).entered();
        let _b = info_span!("b", b1 = long, b2 = long, b3 = long, b4 = long).entered();
        let _c = info_span!("c", c1 = long).entered();
        info!(d = 1, "text");
    };
    capture.run(options(), span).expect("valid options");
    let text = &capture.lines()[0];
    assert!(text.len() < 64 * 1024 && text.len() > 48 * 1024, "{}", text.len());
    let line = parse(text);
    assert_eq!((line.get("truncated"), line.get("message")), (&json!(true), &json!("text")));
    assert_eq!(line.get("c1").as_str().map(str::len), Some(8000));
    assert!(line.find("a4").is_none() && line.find("d").is_none());
}

#[test]
fn the_filter_decides() {
    let filtered = Options { filter: "warn,it::lines=debug,quiet=off".into(), ..options() };
    let lines = lines(filtered, || {
        debug!("kept");
        tracing::trace!("dropped");
        info!(target: "other", "dropped");
        warn!(target: "other", "kept");
        error!(target: "quiet", "dropped");
        let _hidden = tracing::info_span!(target: "other", "hidden", a = 1).entered();
        info!("kept");
    });
    assert_eq!(lines.iter().map(|line| line.get("message").as_str()).collect::<Vec<_>>(), [Some("kept"); 3]);
    assert!(lines[2].find("a").is_none());
}

#[test]
fn a_value_may_log_while_it_is_written() {
    struct Chatty;
    impl fmt::Debug for Chatty {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            info!("inner");
            f.write_str("chatty")
        }
    }
    let capture = Capture::default();
    // Only a global subscriber lets an event through that is logged inside another; here it must at least not hang.
    capture
        .run(options(), || {
            let span = info_span!("s", a = ?Chatty, late = Empty).entered();
            span.record("late", tracing::field::debug(Chatty));
            info!(b = ?Chatty, "outer");
        })
        .expect("valid options");
    let lines = capture.lines();
    let outer = parse(lines.last().expect("a line"));
    assert_eq!(
        (outer.get("a"), outer.get("b"), outer.get("late")),
        (&json!("chatty"), &json!("chatty"), &json!("chatty"))
    );
}

#[test]
fn a_person_gets_one_readable_line() {
    let capture = Capture::default();
    let human = Options { format: LogFormat::Human, ..options() };
    capture.run(human, || info!(path = "/a b", n = 7, "saved \"x\"\n\u{1b}[31m")).expect("valid options");
    let line = &capture.lines()[0];
    assert!(line.contains(r#" INFO  saved "x"\n\u001b[31m path="/a b" n=7 trace_id="#), "{line}");
    assert!(line.contains(" span_id=") && !line.contains('\n') && !line.contains('\u{1b}'));
}

#[test]
fn a_bad_filter_is_refused() {
    let error =
        Capture::default().run(Options { filter: "a=loud".into(), ..options() }, || ()).expect_err("bad");
    assert_eq!(error.code(), "invalid_filter");
}

proptest! {
    #[test]
    fn any_text_comes_back_as_it_was(message: String, value: String) {
        let line = line(|| {
            let _span = info_span!("s", inherited = value).entered();
            info!(value, "{message}");
        });
        prop_assert_eq!(line.get("message").as_str(), Some(message.as_str()));
        prop_assert_eq!(line.get("value").as_str(), Some(value.as_str()));
        prop_assert_eq!(line.get("inherited").as_str(), Some(value.as_str()));
    }

    #[test]
    fn any_number_comes_back_as_it_was(int: i64, float: f64) {
        let capture = Capture::default();
        capture.run(options(), || info!(int, float)).expect("valid options");
        let line = &capture.lines()[0];
        prop_assert_eq!(parse(line).get("int").as_i64(), Some(int));
        // serde_json reads floats with a small error, so the text itself is read.
        let (_, text) = line.trim_end_matches('}').rsplit_once(':').expect("a value");
        prop_assert_eq!(text.parse().ok(), Some(float).filter(|f| f.is_finite()));
    }
}
