//! What a receiver has done, in words.

use super::words;
use jiff::Timestamp;
use ops_backup::wal::receive::Status;

/// The last status of a receiver that has ended.
pub(super) fn text(status: &Status, now: Timestamp) -> String {
    let position =
        |lsn: Option<ops_backup::Lsn>| lsn.map_or_else(|| "nothing".to_owned(), |lsn| lsn.to_string());
    let mut lines = vec![format!(
        "Received: {} of WAL; stored: {} and {}.",
        words::bytes(status.bytes),
        words::things(status.segments, "segment"),
        words::things(status.pieces, "piece")
    )];
    let durable = match status.last_durable_at {
        Some(at) => format!(
            "{} on timeline {}, {} ago",
            position(status.durable),
            status.timeline,
            words::age(at, now)
        ),
        None => position(status.durable),
    };
    lines.push(format!("Durable up to: {durable}."));
    lines.push(match status.lag_bytes {
        0 => "Nothing that the server has told of is missing.".to_owned(),
        lag => format!("The server is {} ahead: the slot keeps that.", words::bytes(lag)),
    });
    if status.reconnects > 0 {
        lines.push(format!("The connection was lost {}.", words::things(status.reconnects, "time")));
    }
    if let Some(warning) = &status.warning {
        lines.push(format!("WARNING: {warning}."));
    }
    lines.join("\n")
}
