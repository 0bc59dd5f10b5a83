//! `wal receive`: the receiver of the library, with its numbers on a listener for operators.

use super::watched::{self, Number, count};
use super::{Answered, Job};
use crate::args::ReceiveArgs;
use crate::failed::failed;
use crate::render::Answer;
use crate::{open, parse};
use ops_backup::wal::receive::{ReceiveOptions, Status, receive};
use ops_cli::{Exit, Failure};
use ops_telemetry::admin::Listener;
use ops_telemetry::metrics::{Registry, Unit};
use std::time::Duration;
use tokio::sync::watch;

const LINE_EVERY: Duration = Duration::from_secs(60);

pub(super) async fn run(args: &ReceiveArgs, job: &Job<'_>) -> Answered {
    let settings = job.settings;
    let options = options(args, job)?;
    // `synchronous_standby_names` knows it by the name of the slot.
    let server = open::server(settings, "")?.with_application(&args.slot, None);
    let repository = open::writable_repository(settings).await?;
    let (sender, status) = watch::channel(Status::default());
    let listener = listen(args, &status)?;
    if let Some(listener) = &listener {
        tracing::info!(metrics = format!("http://{}/metrics", listener.local_addr()), "listening");
    }
    let lines = tokio::spawn(tell(status));
    let done = receive(&repository, &server, &options, &job.context.stop.token(), &sender).await;
    lines.abort();
    let status = done.map_err(|error| failed(&error))?;
    Ok((Answer::Received(Box::new(status)), Exit::Done))
}

fn options(args: &ReceiveArgs, job: &Job<'_>) -> Result<ReceiveOptions, Failure> {
    let mut options = ReceiveOptions::new(&args.slot);
    options.create_slot = args.create_slot;
    options.flush_interval = parse::age("--flush-interval", &args.flush_interval)?.unsigned_abs();
    options.warn_lag = u64::from(args.warn_lag) << 20;
    options.compression =
        parse::compression(args.compression.as_deref().unwrap_or(&job.settings.compression))?;
    options.system_identifier = parse::cluster(args.cluster.as_ref())?;
    Ok(options)
}

/// Says now and then how far it is.
async fn tell(status: watch::Receiver<Status>) {
    loop {
        tokio::time::sleep(LINE_EVERY).await;
        let now = status.borrow().clone();
        let durable = now.durable.map(|lsn| lsn.to_string());
        tracing::info!(
            streaming = now.streaming,
            durable,
            lag_bytes = now.lag_bytes,
            segments = now.segments,
            "receiving"
        );
    }
}

fn listen(args: &ReceiveArgs, status: &watch::Receiver<Status>) -> Result<Option<Listener>, Failure> {
    let Some(addr) = args.listen else { return Ok(None) };
    let asked = status.clone();
    let check = move || {
        let status = asked.borrow();
        match (&status.warning, status.streaming) {
            (Some(warning), _) => Err(warning.clone()),
            (None, false) => Err("no WAL is being streamed".to_owned()),
            (None, true) => Ok(()),
        }
    };
    watched::listen(addr, registry(status), "receiver", check).map(Some)
}

fn registry(status: &watch::Receiver<Status>) -> Result<Registry, ops_telemetry::Error> {
    let status = status.clone();
    watched::registry(&COUNTERS, &GAUGES, move |read| read(&status.borrow()))
}

/// What is counted from the start on.
const COUNTERS: [Number<Status>; 4] = [
    ("ops_wal_receive_bytes_total", "Bytes of WAL that were received.", Unit::Bytes, |s| count(s.bytes)),
    ("ops_wal_receive_segments_total", "Complete segments that became durable.", Unit::Count, |s| {
        count(s.segments)
    }),
    (
        "ops_wal_receive_pieces_total",
        "Pieces of incomplete segments that became durable.",
        Unit::Count,
        |s| count(s.pieces),
    ),
    ("ops_wal_receive_reconnects_total", "How often the connection was lost.", Unit::Count, |s| {
        count(s.reconnects)
    }),
];

/// What is so now. A value that is not known has no sample.
const GAUGES: [Number<Status>; 6] = [
    ("ops_wal_receive_streaming", "Whether WAL is being streamed.", Unit::Count, |s| {
        count(u64::from(s.streaming))
    }),
    ("ops_wal_receive_timeline", "The timeline that is received.", Unit::Count, |s| {
        count(u64::from(s.timeline)).filter(|_| s.timeline > 0)
    }),
    (
        "ops_wal_receive_lag_bytes",
        "What would be lost with the server now: WAL that is not durable here.",
        Unit::Bytes,
        |s| count(s.lag_bytes).filter(|_| s.server_end.is_some()),
    ),
    ("ops_wal_receive_durable_position_bytes", "How far WAL is durable.", Unit::Bytes, |s| {
        s.durable.and_then(|lsn| count(lsn.0))
    }),
    ("ops_wal_receive_last_durable_timestamp_seconds", "When WAL last became durable.", Unit::Seconds, |s| {
        s.last_durable_at.map(|at| at.as_duration().as_secs_f64())
    }),
    ("ops_wal_receive_warning", "Whether something needs a person's eye.", Unit::Count, |s| {
        count(u64::from(s.warning.is_some()))
    }),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_all_numbers_are_accepted() {
        registry(&watch::channel(Status::default()).1).unwrap();
    }
}
