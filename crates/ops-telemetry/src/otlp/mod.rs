//! Spans, log records and metrics to an OpenTelemetry collector, over OTLP with protobuf. Feature `otlp`.
//!
//! No package of OpenTelemetry is part of it: the messages are few and fixed, and are written here ([`encode`],
//! [`metrics`]). Over HTTP ([`http`]) nothing else is needed either; gRPC takes an implementation of HTTP/2, so it is a
//! feature of its own (`otlp-grpc`).

mod answer;
mod courier;
mod encode;
#[cfg(feature = "otlp-grpc")]
mod grpc;
mod http;
mod lane;
mod metrics;
mod options;
mod protobuf;
mod socket;
#[cfg(feature = "otlp-grpc")]
mod status;
#[cfg(feature = "otlp-tls")]
mod tls;
mod url;

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use self::courier::{Client, Courier};
use self::encode::Resource;
#[cfg(feature = "otlp-grpc")]
use self::grpc::GrpcClient;
use self::http::HttpClient;
use self::lane::{Lane, Source, Way};
use self::metrics::Snapshot;
pub use self::options::{Collector, Otlp, Protocol};
use crate::error::{Error, ErrorKind};
use crate::metrics::{Desc, Registry};
use crate::record::{LogRecord, Sink, SpanRecord, Undelivered};

/// How long a span or a log record waits for others to go with it.
const DELAY: Duration = Duration::from_secs(1);

/// Sends everything on.
pub(crate) struct Exporter {
    spans: Option<Lane<SpanRecord>>,
    logs: Option<Lane<LogRecord>>,
    metrics: Option<Lane<Snapshot>>,
}

impl Exporter {
    /// Starts the threads. Without a registry no metrics are sent, and nothing is counted in metrics.
    pub(crate) fn start(
        otlp: &Otlp,
        resource: &[(String, String)],
        registry: Option<&Registry>,
    ) -> Result<Self, Error> {
        let resource = Arc::new(Resource::new(resource));
        let of = Arc::clone(&resource);
        let spans = lane(otlp.spans.as_ref(), || Way {
            name: "spans",
            service: "opentelemetry.proto.collector.trace.v1.TraceService",
            source: Source::Queue { capacity: otlp.capacity },
            delay: DELAY,
            encode: Box::new(move |batch: &mut [SpanRecord]| encode::spans(&of, batch)),
            count: |batch| batch.len() as u64,
        })?;
        let of = Arc::clone(&resource);
        let logs = lane(otlp.logs.as_ref(), || Way {
            name: "logs",
            service: "opentelemetry.proto.collector.logs.v1.LogsService",
            source: Source::Queue { capacity: otlp.capacity },
            delay: DELAY,
            encode: Box::new(move |batch: &mut [LogRecord]| encode::logs(&of, batch)),
            count: |batch| batch.len() as u64,
        })?;
        let since = SystemTime::now();
        let metrics = match registry.cloned() {
            None => None,
            Some(registry) => lane(otlp.metrics.as_ref(), || Way {
                name: "metrics",
                service: "opentelemetry.proto.collector.metrics.v1.MetricsService",
                source: Source::Read(Box::new(move || {
                    vec![Snapshot { since, time: SystemTime::now(), metrics: registry.read() }]
                })),
                delay: otlp.interval,
                encode: Box::new(move |batch: &mut [Snapshot]| metrics::metrics(&resource, batch)),
                count: metrics::points,
            })?,
        };
        let exporter = Self { spans, logs, metrics };
        if let Some(registry) = registry {
            exporter.register(registry)?;
        }
        Ok(exporter)
    }

    fn register(&self, registry: &Registry) -> Result<(), Error> {
        let counts = |delivered: bool| {
            let spans = self.spans.as_ref().map(Lane::counts);
            let logs = self.logs.as_ref().map(Lane::counts);
            move |samples: &mut crate::metrics::Samples<'_>| {
                let mut add = |name: &str, (taken, lost): (u64, u64)| {
                    samples.add(&[name], if delivered { taken } else { lost } as f64);
                };
                spans.iter().for_each(|counts| add("spans", counts()));
                logs.iter().for_each(|counts| add("logs", counts()));
            }
        };
        registry.observe_counter(
            Desc::new("telemetry_otlp_delivered_total", "Records that a collector took."),
            &["records"],
            counts(true),
        )?;
        registry.observe_counter(
            Desc::new("telemetry_otlp_undelivered_total", "Records that no collector took."),
            &["records"],
            counts(false),
        )
    }
}

fn lane<T: Send + 'static>(
    collector: Option<&Collector>,
    way: impl FnOnce() -> Way<T>,
) -> Result<Option<Lane<T>>, Error> {
    let Some(collector) = collector else { return Ok(None) };
    let way = way();
    let courier = Courier::new(client(collector, way.service)?, collector.timeout, way.name);
    let cannot = |error: io::Error| {
        Error::new(ErrorKind::InvalidCollector, format!("cannot start the thread for the collector: {error}"))
    };
    Lane::start(way, courier).map(Some).map_err(cannot)
}

fn client(collector: &Collector, service: &str) -> Result<Box<dyn Client>, Error> {
    let cannot = |why: String| Err(Error::new(ErrorKind::InvalidCollector, why));
    match &collector.protocol {
        Protocol::Http => Ok(Box::new(HttpClient::new(collector)?)),
        #[cfg(feature = "otlp-grpc")]
        Protocol::Grpc => Ok(Box::new(GrpcClient::new(collector, service)?)),
        #[cfg(not(feature = "otlp-grpc"))]
        Protocol::Grpc => {
            cannot(format!("{service} of the collector is gRPC, which needs the feature `otlp-grpc`"))
        }
        Protocol::Other(name) => {
            cannot(format!("protocol {name:?} for the collector is neither `http/protobuf` nor `grpc`"))
        }
    }
}

impl Sink for Exporter {
    fn span(&self, span: SpanRecord) {
        if let Some(lane) = &self.spans {
            lane.push(span.size(), span);
        }
    }

    fn log(&self, log: LogRecord) {
        if let Some(lane) = &self.logs {
            lane.push(log.size(), log);
        }
    }

    fn flush(&self, until: Instant) -> bool {
        let spans = self.spans.as_ref().is_none_or(|lane| lane.flush(until));
        spans & self.logs.as_ref().is_none_or(|lane| lane.flush(until))
    }

    fn shutdown(&self, until: Instant) -> Undelivered {
        thread::scope(|scope| {
            let metrics = self.metrics.as_ref().map(|lane| scope.spawn(move || lane.close(until)));
            let spans = self.spans.as_ref().map(|lane| scope.spawn(move || lane.close(until)));
            let logs = self.logs.as_ref().map_or(0, |lane| lane.close(until));
            let joined = |thread: Option<thread::ScopedJoinHandle<'_, u64>>| {
                thread.map_or(0, |thread| thread.join().unwrap_or_default())
            };
            Undelivered { spans: joined(spans), logs, points: joined(metrics) }
        })
    }
}
