//! Words of a person as values: ages, shares, rates, recovery targets.

use crate::args::TargetArgs;
use jiff::{SignedDuration, Span, SpanRelativeTo};
use ops_backup::{
    Compression, IncrementalUse, Lsn, RecoveryTarget, SystemIdentifier, TargetAction, TargetTimeline,
    WireCompression,
};
use ops_cli::{Exit, Failure};
use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::path::PathBuf;

/// An age such as `7d`, `24h`, `90m` or `2w`; a day has 24 hours.
pub(crate) fn age(what: &str, text: &str) -> Result<SignedDuration, Failure> {
    let parsed = text.parse::<Span>().ok();
    let parsed = parsed.and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()).ok());
    parsed.filter(|age| !age.is_negative()).ok_or_else(|| {
        Failure::new(Exit::Usage, format!("{what}: `{text}` is no age"))
            .hint("write it like 7d, 24h, 90m or 2w")
    })
}

/// When the server sends changes alone: `auto`, `never` or `require`.
pub(crate) fn incremental(text: &str) -> Result<IncrementalUse, Failure> {
    match text {
        "auto" => Ok(IncrementalUse::Auto),
        "never" => Ok(IncrementalUse::Never),
        "require" => Ok(IncrementalUse::Require),
        _ => Err(Failure::new(
            Exit::Usage,
            format!("--incremental: `{text}` is none of auto, never and require"),
        )),
    }
}

/// How the server compresses what it sends: `auto`, `none`, `lz4` or `zstd`.
pub(crate) fn wire_compression(text: &str) -> Result<WireCompression, Failure> {
    match text {
        "auto" => Ok(WireCompression::Auto),
        "none" => Ok(WireCompression::None),
        "lz4" => Ok(WireCompression::Lz4),
        "zstd" => Ok(WireCompression::Zstd),
        _ => Err(Failure::new(
            Exit::Usage,
            format!("--wire-compression: `{text}` is none of auto, none, lz4 and zstd"),
        )),
    }
}

/// A share such as `10%` or `0.1`.
pub(crate) fn share(text: &str) -> Result<f64, Failure> {
    let number = match text.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().ok().map(|percent| percent / 100.0),
        None => text.parse().ok(),
    };
    number.filter(|share| *share > 0.0 && *share <= 1.0).ok_or_else(|| {
        Failure::new(Exit::Usage, format!("--sample: `{text}` is no share")).hint("write it like 10% or 0.1")
    })
}

/// Bytes a second from megabytes a second; zero is no limit.
pub(crate) fn rate(name: &str, megabytes: f64) -> Result<Option<NonZeroU64>, Failure> {
    if !(0.0..=1e9).contains(&megabytes) {
        return Err(Failure::new(
            Exit::Config,
            format!("`{name}` cannot be {megabytes}: it is megabytes a second"),
        ));
    }
    // A limit that is not zero must not become none.
    Ok(NonZeroU64::new((megabytes * 1e6).ceil() as u64))
}

/// `zstd:LEVEL`, `lz4` or `none`.
pub(crate) fn compression(text: &str) -> Result<Compression, Failure> {
    let method = match text.split_once(':') {
        None if text == "none" => Some(Compression::None),
        None if text == "lz4" => Some(Compression::Lz4),
        None if text == "zstd" => Some(Compression::default()),
        Some(("zstd", level)) => {
            level.parse().ok().filter(|level| (1..=19).contains(level)).map(Compression::Zstd)
        }
        _ => None,
    };
    method.ok_or_else(|| {
        Failure::new(Exit::Config, format!("`compression` cannot be {text:?}"))
            .hint("accepted are zstd:1 to zstd:19, lz4 and none")
    })
}

/// Where recovery stops. A moment without a zone is refused: the server would read it in a zone of its own.
pub(crate) fn target(args: &TargetArgs) -> Result<RecoveryTarget, Failure> {
    if let Some(text) = &args.target_time {
        let time = text.parse().map_err(|_| {
            let failure = Failure::new(Exit::Usage, format!("`{text}` is no moment with a zone"));
            failure.hint("write it like 2026-11-21T09:30:00Z or 2026-11-21T10:30:00+01:00")
        })?;
        return Ok(RecoveryTarget::Time(time));
    }
    if let Some(text) = &args.target_lsn {
        return lsn(text).map(RecoveryTarget::Lsn);
    }
    Ok(match (args.target_xid, &args.target_name) {
        (Some(xid), _) => RecoveryTarget::Xid(xid),
        (None, Some(name)) => RecoveryTarget::Name(name.clone()),
        (None, None) if args.immediate => RecoveryTarget::Immediate,
        (None, None) => RecoveryTarget::Latest,
    })
}

/// A position of the WAL.
pub(crate) fn lsn(text: &str) -> Result<Lsn, Failure> {
    text.parse().map_err(|_| {
        Failure::new(Exit::Usage, format!("`{text}` is no WAL position"))
            .hint("a WAL position looks like 0/3000148")
    })
}

/// The timeline to follow.
pub(crate) fn timeline(text: &str) -> Result<TargetTimeline, Failure> {
    match (text, text.parse()) {
        ("latest", _) => Ok(TargetTimeline::Latest),
        ("current", _) => Ok(TargetTimeline::Current),
        (_, Ok(id)) if id > 0 => Ok(TargetTimeline::Id(id)),
        _ => Err(Failure::new(Exit::Usage, format!("`{text}` is no timeline"))
            .hint("accepted are latest, current and a number such as 2")),
    }
}

/// What the server does at the target.
pub(crate) fn action(text: &str) -> Result<TargetAction, Failure> {
    match text {
        "promote" => Ok(TargetAction::Promote),
        "pause" => Ok(TargetAction::Pause),
        "shutdown" => Ok(TargetAction::Shutdown),
        _ => Err(Failure::new(Exit::Usage, format!("`{text}` is no target action"))
            .hint("accepted are promote, pause and shutdown")),
    }
}

/// A cluster.
pub(crate) fn cluster(text: Option<&String>) -> Result<Option<SystemIdentifier>, Failure> {
    let parse = |text: &String| {
        text.parse().map_err(|_| {
            Failure::new(Exit::Usage, format!("`{text}` is no system identifier"))
                .hint("`ops-backup list` shows it for each cluster")
        })
    };
    text.map(parse).transpose()
}

/// New places of tablespaces.
pub(crate) fn tablespaces(words: &[String]) -> Result<BTreeMap<u32, PathBuf>, Failure> {
    let parse = |word: &String| {
        let (oid, place) = word.split_once('=')?;
        Some((oid.parse().ok()?, PathBuf::from(place)))
    };
    words
        .iter()
        .map(|word| parse(word).ok_or_else(|| Failure::new(Exit::Usage, format!("`{word}` is not OID=DIR"))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_written_as_people_do() {
        for (text, hours) in [("24h", 24), ("7d", 168), ("2w", 336), ("90m", 1), ("1d 12h", 36)] {
            assert_eq!(age("--grace", text).unwrap().as_hours(), hours, "{text}");
        }
        for text in ["", "7", "-1d", "1mo", "a week", "1y"] {
            assert!(age("--grace", text).is_err(), "{text}");
        }
    }

    #[test]
    fn shares_and_rates() {
        assert_eq!(share("10%").unwrap(), 0.1);
        assert_eq!(share("1").unwrap(), 1.0);
        for text in ["0", "0%", "101%", "-1", "NaN", "x", ""] {
            assert!(share(text).is_err(), "{text}");
        }
        assert_eq!(rate("x", 0.0).unwrap(), None);
        assert_eq!(rate("x", 1.5).unwrap(), NonZeroU64::new(1_500_000));
        assert_eq!(rate("x", 1e-9).unwrap(), NonZeroU64::new(1));
        for number in [-1.0, f64::NAN, f64::INFINITY] {
            assert!(rate("x", number).is_err(), "{number}");
        }
    }

    #[test]
    fn compression_and_timelines() {
        assert_eq!(compression("zstd:19").unwrap(), Compression::Zstd(19));
        assert_eq!(compression("zstd").unwrap(), Compression::Zstd(3));
        assert_eq!(compression("lz4").unwrap(), Compression::Lz4);
        assert_eq!(compression("none").unwrap(), Compression::None);
        for text in ["", "zstd:0", "zstd:20", "gzip", "lz4:3"] {
            assert!(compression(text).is_err(), "{text}");
        }
        assert_eq!(timeline("7").unwrap(), TargetTimeline::Id(7));
        assert!(timeline("0").is_err() && timeline("newest").is_err());
    }
}
