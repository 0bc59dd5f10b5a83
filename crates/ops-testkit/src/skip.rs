//! Tests that cannot run here say so, and are counted. Nothing else stands here.

use std::fs::File;
use std::io::Write as _;

/// Ends the current test as skipped: visibly, countably, and not at all where everything is required.
///
/// Prints `SKIPPED: <test>: <reason>` on stderr, also when the test harness captures output, and appends the same
/// line to the file named by `OPS_TEST_SKIP_LOG`. Panics instead when `OPS_TEST_REQUIRE_ALL` is `1`. Then it returns
/// `()` from the test.
///
/// ```no_run
/// if !std::path::Path::new("/usr/bin/curl").exists() {
///     ops_testkit::skip!("curl is not installed");
/// }
/// ```
#[macro_export]
macro_rules! skip {
    ($($reason:tt)+) => {{
        fn here() {}
        $crate::record_skip(::std::any::type_name_of_val(&here), &::std::format!($($reason)+));
        return;
    }};
}

/// Evaluates to the value of a `Result`, skips the test when its error is "not installed", and panics for others.
///
/// ```no_run
/// let redis = ops_testkit::or_skip!(ops_testkit::Redis::start());
/// ```
#[macro_export]
macro_rules! or_skip {
    ($result:expr) => {
        match $result {
            ::std::result::Result::Ok(value) => value,
            ::std::result::Result::Err(error) if error.kind() == $crate::ErrorKind::NotInstalled => {
                $crate::skip!("{error}")
            }
            ::std::result::Result::Err(error) => ::std::panic!("{error:?}"),
        }
    };
}

/// The part of [`skip!`](crate::skip) that is a function; call the macro.
///
/// # Panics
/// When `OPS_TEST_REQUIRE_ALL` is `1`, or the skip cannot be recorded: an uncounted skip would look like a success.
#[doc(hidden)]
pub fn record_skip(here: &str, reason: &str) {
    let test = here.trim_end_matches("::here").trim_end_matches("::{{closure}}");
    assert!(
        std::env::var_os("OPS_TEST_REQUIRE_ALL").is_none_or(|all| all != "1"),
        "{test} cannot run here, and OPS_TEST_REQUIRE_ALL is set: {reason}"
    );
    let line = format!("SKIPPED: {test}: {reason}\n");
    // Not eprint!: the harness would hide it.
    std::io::stderr().write_all(line.as_bytes()).expect("stderr takes a line");
    if let Some(log) = std::env::var_os("OPS_TEST_SKIP_LOG") {
        let file = File::options().create(true).append(true).open(&log);
        file.and_then(|mut file| file.write_all(line.as_bytes()))
            .unwrap_or_else(|error| panic!("cannot record a skip in {}: {error}", log.display()));
    }
}
