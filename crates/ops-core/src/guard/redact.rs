//! A statement without what was written into it: for logs and audit entries, which must not keep the data.

use super::parse;

/// The longest text that is returned.
const MAX_BYTES: usize = 4 << 10;

/// What stands where a text was cut.
const CUT: &str = " …";

/// Returns the statement with `?` for every constant and without comments, cut to 4 KiB.
///
/// Constants are strings of every kind, the bodies of functions among them, bit strings and numbers. Names, keywords,
/// operators and the numbers of parameters stay, and so what the statement does stays readable. The tokens are those of
/// PostgreSQL's own scanner; a text that it cannot read becomes `(unreadable, 12 bytes)`.
///
/// ```
/// use ops_core::guard::redact;
///
/// assert_eq!(redact("ALTER ROLE app  PASSWORD 'hunter2' -- at last"), "ALTER ROLE app PASSWORD ?");
/// assert_eq!(redact("SELECT 'no end"), "(unreadable, 14 bytes)");
/// ```
pub fn redact(sql: &str) -> String {
    let Some(tokens) = parse::scan(sql) else {
        return format!("(unreadable, {} bytes)", sql.len());
    };
    // Only tokens are copied: what the scanner skipped cannot come through.
    let mut text = String::new();
    let mut end = 0;
    for token in tokens.iter().filter(|token| !token.is_comment()) {
        if token.start > end && !text.is_empty() {
            text.push(' ');
        }
        text.push_str(if token.is_constant() { "?" } else { &sql[token.start..token.end] });
        end = token.end;
        if text.len() > MAX_BYTES {
            let mut at = MAX_BYTES - CUT.len();
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            text.truncate(at);
            text.push_str(CUT);
            break;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{MAX_BYTES, redact};

    #[test]
    fn constants_and_comments_go_and_the_rest_stays() {
        let cases = [
            ("", ""),
            (" \n\t\x0b\x0c", ""),
            ("  \n-- only this\n", ""),
            ("SELECT 1", "SELECT ?"),
            ("SELECT  $1::int,\n\t-1.5e3", "SELECT $1::int, -?"),
            ("DELETE FROM public.\"Ledger\" WHERE id=42;", "DELETE FROM public.\"Ledger\" WHERE id=?;"),
            ("SELECT 'a' 'b'", "SELECT ? ?"),
            (
                "SELECT 'a'\n'b', E'\\'x', N'x', B'01', X'ff', U&'\\0041' UESCAPE '!'",
                "SELECT ?, ?, N?, ?, ?, ? UESCAPE ?",
            ),
            ("SELECT/* secret /* nested */ */1,0xff, 1_000, 0b1, .5", "SELECT ?,?, ?, ?, ?"),
            ("DO $tag$ BEGIN PERFORM 'secret'; END $tag$", "DO ?"),
            ("COPY t FROM STDIN (DELIMITER ';')", "COPY t FROM STDIN (DELIMITER ?)"),
            ("CREATE ROLE app LOGIN PASSWORD 'secret'", "CREATE ROLE app LOGIN PASSWORD ?"),
            (
                "CREATE USER MAPPING FOR app SERVER s OPTIONS (user 'a', password 'secret')",
                "CREATE USER MAPPING FOR app SERVER s OPTIONS (user ?, password ?)",
            ),
            (
                "CREATE SUBSCRIPTION s CONNECTION 'host=a password=secret' PUBLICATION p",
                "CREATE SUBSCRIPTION s CONNECTION ? PUBLICATION p",
            ),
            ("SELECT 'ä', ö", "SELECT ?, ö"),
            ("SELECT 'open", "(unreadable, 12 bytes)"),
            ("SELECT /* open", "(unreadable, 14 bytes)"),
            ("SELECT 1\0'secret'", "(unreadable, 17 bytes)"),
            ("SELECT 12secret", "(unreadable, 15 bytes)"),
        ];
        for (sql, expected) in cases {
            assert_eq!(redact(sql), expected, "{sql:?}");
        }
    }

    #[test]
    fn a_long_text_is_cut_and_one_that_is_slow_to_scan_is_not_read() {
        let long = redact(&format!("SELECT {}1", "ö, ".repeat(10_000)));
        assert!(long.len() <= MAX_BYTES && long.ends_with(" …"), "{} bytes", long.len());
        assert!(redact(&format!("SELECT {}", "/*".repeat(50_000))).starts_with("(unreadable"));
        assert!(redact(&"x".repeat(3 << 20)).starts_with("(unreadable"));
    }

    /// The constant that must not come through, in every way to write one.
    fn constant() -> impl Strategy<Value = String> {
        let text = "(secret|SECRET|[a-z0-9 ;/*-]){0,6}";
        prop_oneof![
            text.prop_map(|text| format!("'secret{text}'")),
            text.prop_map(|text| format!("E'{text}\\'secret'")),
            text.prop_map(|text| format!("$q${text}'secret$q$")),
            text.prop_map(|text| format!("U&'secret{text}'")),
            text.prop_map(|text| format!("'{text}''secret'\n'secret'")),
            text.prop_map(|text| format!("/* secret {} */ 7734", text.replace(['/', '*'], ""))),
            text.prop_map(|text| format!("7734 -- secret {text}\n")),
            Just("7734.7734e7".to_owned()),
            Just("x'7734'".to_owned()),
            Just("0x7734".to_owned()),
        ]
    }

    proptest! {
        #[test]
        fn no_constant_survives(parts in proptest::collection::vec((constant(), "[a-z]{1,4}|[-+*/<>=(),;]|::|\\$1"), 0..12)) {
            let mut sql = String::from("SELECT ");
            for (constant, word) in &parts {
                sql.push_str(constant);
                sql.push(' ');
                sql.push_str(word);
                sql.push(' ');
            }
            let text = redact(&sql).to_lowercase();
            prop_assert!(!text.contains("secret") && !text.contains("7734"), "{sql:?} gave {text:?}");
        }

        #[test]
        fn any_text_is_answered(sql in ".{0,200}") {
            prop_assert!(redact(&sql).len() <= MAX_BYTES);
        }
    }
}
