//! Numbers, sizes and times in words for people.

use jiff::Timestamp;

/// A size, in binary units.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut divided = count as f64;
    // What rounds to 1024.0 is one of the next unit.
    while divided >= 1023.95 && unit + 1 < UNITS.len() {
        divided /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{divided:.1} {}", UNITS[unit]) }
}

/// A number of things: `1 file`, `20,000 files`.
pub(crate) fn things(count: u64, what: &str) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    format!("{text} {what}{}", if count == 1 { "" } else { "s" })
}

/// A number of directories.
pub(crate) fn folders(count: u64) -> String {
    let text = things(count, "director");
    if count == 1 { format!("{text}y") } else { format!("{}ies", text.trim_end_matches('s')) }
}

/// A share of a whole in percent; an empty whole has none.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "0 %".into();
    }
    let share = part as f64 / whole as f64 * 100.0;
    if share > 0.0 && share < 0.05 { "under 0.1 %".into() } else { format!("{share:.1} %") }
}

/// How long something took.
pub(crate) fn took(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0..60 => format!("{:.1} s", seconds.max(0.0)),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// How long ago something was, in its largest unit.
pub(crate) fn age(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(then).as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// A moment, to the second.
pub(crate) fn moment(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A server's version number, for example 150006, as people write it.
pub(crate) fn version(number: u32) -> String {
    format!("{}.{}", number / 10_000, number % 10_000)
}

/// Rows of cells under a head, each column as wide as its widest cell; columns named in `right` are aligned there.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>], right: &[usize]) -> Vec<String> {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let cells = cells.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
            if right.contains(&column) { format!("{cell:>width$}") } else { format!("{cell:width$}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(head.to_vec())];
    lines.extend(rows.iter().map(|row| line(row.iter().map(String::as_str).collect())));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_numbers_and_times_read_well() {
        for (count, expected) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_048_575, "1.0 MiB"),
            (1536 << 20, "1.5 GiB"),
            (u64::MAX, "16777216.0 TiB"),
        ] {
            assert_eq!(bytes(count), expected);
        }
        for (count, expected) in
            [(0, "0 files"), (1, "1 file"), (999, "999 files"), (1_234_567, "1,234,567 files")]
        {
            assert_eq!(things(count, "file"), expected);
        }
        for (seconds, expected) in
            [(0.04, "0.0 s"), (3.21, "3.2 s"), (59.7, "1 min 0 s"), (3725.0, "1 h 2 min")]
        {
            assert_eq!(took(seconds), expected);
        }
        for (part, whole, expected) in
            [(0, 0, "0 %"), (0, 9, "0.0 %"), (1, 100_000, "under 0.1 %"), (1, 3, "33.3 %")]
        {
            assert_eq!(percent(part, whole), expected);
        }
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        for (then, expected) in [
            ("2026-11-21T12:00:05Z", "0 s"),
            ("2026-11-21T11:58:30Z", "90 s"),
            ("2026-11-21T11:00:00Z", "60 min"),
            ("2026-11-20T12:00:00Z", "24 h"),
            ("2026-10-01T12:00:00Z", "51 d"),
        ] {
            assert_eq!(age(then.parse().unwrap(), now), expected);
        }
        assert_eq!(version(150_006), "15.6");
        assert_eq!((folders(1), folders(2)), ("1 directory".into(), "2 directories".into()));
    }
}
