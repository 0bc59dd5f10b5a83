//! `wal serve`: the service of the library, with its numbers on a listener for operators.

use super::watched::{self, Number, count};
use super::{Job, wal};
use crate::args::ServeArgs;
use crate::failed::failed;
use crate::{open, parse};
use ops_backup::wal::service::{Service, ServiceOptions, Status, StatusHandle};
use ops_cli::{Exit, Failure};
use ops_telemetry::admin::Listener;
use ops_telemetry::metrics::{Registry, Unit};

pub(super) async fn run(args: &ServeArgs, job: &Job<'_>) -> Result<Exit, Failure> {
    let settings = job.settings;
    let mut options = ServiceOptions::new(&args.data_directory);
    options.socket_directory = wal::socket_directory(&settings.wal_socket_dir).map(Into::into);
    options.uploads = usize::from(args.uploads);
    options.prefetch = usize::from(args.prefetch);
    options.push.compression =
        parse::compression(args.compression.as_deref().unwrap_or(&settings.compression))?;
    options.warn_before_full = parse::age("--warn-before-full", &args.warn_before_full)?.unsigned_abs();
    let repository = open::writable_repository(settings).await?;
    let service = Service::bind(repository, &options).await.map_err(|error| failed(&error))?;
    let listener = listen(args, &service.status())?;
    let metrics = listener.as_ref().map(|listener| format!("http://{}/metrics", listener.local_addr()));
    tracing::info!(socket = %service.socket().display(), metrics, "serving WAL");
    service.run(job.context.stop.token()).await.map_err(|error| failed(&error))?;
    tracing::info!("the service has ended");
    Ok(Exit::Done)
}

fn listen(args: &ServeArgs, status: &StatusHandle) -> Result<Option<Listener>, Failure> {
    let Some(addr) = args.listen else { return Ok(None) };
    let asked = status.clone();
    let check = move || asked.get().trouble.map_or(Ok(()), Err);
    watched::listen(addr, registry(status), "archive", check).map(Some)
}

fn registry(status: &StatusHandle) -> Result<Registry, ops_telemetry::Error> {
    let status = status.clone();
    watched::registry(&COUNTERS, &GAUGES, move |read| read(&status.get()))
}

/// What is counted from the start of the service on.
const COUNTERS: [Number<Status>; 9] = [
    ("ops_wal_pushed_total", "WAL files that became durable.", Unit::Count, |s| count(s.totals.pushed)),
    ("ops_wal_push_failures_total", "Attempts to store a WAL file that failed.", Unit::Count, |s| {
        count(s.totals.push_failures)
    }),
    ("ops_wal_push_answers_total", "Calls of archive_command that were answered.", Unit::Count, |s| {
        count(s.totals.push_answers)
    }),
    ("ops_wal_push_wait_seconds_total", "What these calls waited in all.", Unit::Seconds, |s| {
        Some(s.totals.push_seconds)
    }),
    ("ops_wal_fetched_total", "WAL files that recovery was given.", Unit::Count, |s| count(s.totals.fetched)),
    ("ops_wal_fetched_ahead_total", "Those of them that had been fetched ahead.", Unit::Count, |s| {
        count(s.totals.fetched_ahead)
    }),
    ("ops_wal_absent_total", "WAL files that recovery asked for and that are not there.", Unit::Count, |s| {
        count(s.totals.absent)
    }),
    ("ops_wal_fetch_failures_total", "Calls of restore_command that failed.", Unit::Count, |s| {
        count(s.totals.fetch_failures)
    }),
    (
        "ops_wal_fetch_wait_seconds_total",
        "What the calls of restore_command waited in all.",
        Unit::Seconds,
        |s| Some(s.totals.fetch_seconds),
    ),
];

/// What is so now. A value that is not known has no sample.
const GAUGES: [Number<Status>; 6] = [
    ("ops_wal_waiting_files", "WAL files that wait to be archived.", Unit::Count, |s| count(s.waiting)),
    ("ops_wal_waiting_since_timestamp_seconds", "Since when the oldest of them waits.", Unit::Seconds, |s| {
        s.waiting_since.map(|at| at.as_duration().as_secs_f64())
    }),
    ("ops_wal_last_push_timestamp_seconds", "When a WAL file last became durable.", Unit::Seconds, |s| {
        s.last_push.map(|at| at.as_duration().as_secs_f64())
    }),
    ("ops_wal_disk_size_bytes", "The size of the file system of the WAL.", Unit::Bytes, |s| {
        s.disk.and_then(|disk| count(disk.size))
    }),
    ("ops_wal_disk_free_bytes", "What the server can still write there.", Unit::Bytes, |s| {
        s.disk.and_then(|disk| count(disk.free))
    }),
    (
        "ops_wal_disk_full_in_seconds",
        "In how many seconds what waits will have filled it; absent where it does not grow.",
        Unit::Seconds,
        |s| s.disk.and_then(|disk| disk.full_in),
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_all_numbers_are_accepted() {
        registry(&StatusHandle::default()).unwrap();
    }
}
