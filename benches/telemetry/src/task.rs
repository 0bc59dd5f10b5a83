//! What is measured.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::Result;
use ops_telemetry::TraceContext;
use ops_telemetry::metrics::{Buckets, Desc, Registry, Unit};
use tracing::{debug, info, info_span};

use crate::Cost;
use crate::contender::{Contender, Installed};

/// Each measurement is the best of so many runs of so many operations: short ones, so that some are not interrupted.
const RUNS: usize = 300;
const OPERATIONS: u32 = 2_000;

const THREADS: u64 = 8;
const THROUGHPUT_RUNS: usize = 15;
/// Together less than the ring holds.
const LINES: u64 = 2_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    Event,
    Span,
    Disabled,
    Enter,
    Throughput,
    Counter,
    Histogram,
    Traceparent,
}

impl Task {
    pub(crate) const ALL: [Self; 8] = [
        Self::Event,
        Self::Span,
        Self::Disabled,
        Self::Enter,
        Self::Throughput,
        Self::Counter,
        Self::Histogram,
        Self::Traceparent,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Span => "span",
            Self::Disabled => "disabled",
            Self::Enter => "enter",
            Self::Throughput => "throughput",
            Self::Counter => "counter",
            Self::Histogram => "histogram",
            Self::Traceparent => "traceparent",
        }
    }

    pub(crate) fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|task| task.name() == name)
    }

    /// Who takes part; we come first.
    pub(crate) fn contenders(self) -> &'static [Contender] {
        use Contender::{
            Appender, Fastrace, FmtJson, JsonSubscriber, JsonSubscriberIds, OpenTelemetry, OpenTelemetryOff,
            Ours, OursOtlp, OursRing, OursSecrets, OursUnsampled,
        };
        match self {
            Self::Event => &[
                Ours,
                OursRing,
                OursSecrets,
                OursOtlp,
                FmtJson,
                JsonSubscriber,
                JsonSubscriberIds,
                OpenTelemetry,
                Fastrace,
            ],
            Self::Span => &[
                Ours,
                OursUnsampled,
                OursOtlp,
                FmtJson,
                JsonSubscriber,
                OpenTelemetry,
                OpenTelemetryOff,
                Fastrace,
            ],
            Self::Disabled => &[Ours, FmtJson, OpenTelemetry, Fastrace],
            Self::Enter => &[Ours, FmtJson, OpenTelemetry],
            Self::Throughput => &[Ours, FmtJson, Appender],
            Self::Counter | Self::Histogram | Self::Traceparent => &[Ours],
        }
    }

    pub(crate) fn run(self, contender: Contender) -> Result<Cost> {
        let installed = contender.install(self == Self::Throughput)?;
        if contender == Contender::Fastrace {
            return Ok(self.run_fastrace());
        }
        Ok(match self {
            Self::Event => {
                let _span = info_span!("request", request.id = 7, route = "/orders").entered();
                repeat(|| {
                    info!(
                        user = "ann",
                        items = black_box(3_u64),
                        paid = true,
                        total = black_box(12.5),
                        "order placed"
                    );
                })
            }
            Self::Span => {
                let _span = info_span!("request", request.id = 7, route = "/orders").entered();
                repeat(|| drop(info_span!("query", rows = black_box(3_u64), table = "orders").entered()))
            }
            Self::Disabled => repeat(|| debug!(items = black_box(3_u64), "not now")),
            Self::Enter => {
                let span = info_span!("request", request.id = 7);
                repeat(|| drop(black_box(span.enter())))
            }
            Self::Throughput => throughput(&installed),
            Self::Counter => {
                let counter = Registry::new().counter(Desc::new("orders_total", "Orders."))?;
                repeat(|| black_box(&counter).inc())
            }
            Self::Histogram => {
                let desc = Desc::new("took_seconds", "How long it took.").unit(Unit::Seconds);
                let histogram = Registry::new().histogram(desc, Buckets::seconds())?;
                repeat(|| black_box(&histogram).observe(black_box(0.2)))
            }
            Self::Traceparent => {
                let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
                repeat(|| {
                    let _ = black_box(TraceContext::parse(black_box(text)));
                })
            }
        })
    }

    /// The same with the macros of `log` and fastrace.
    fn run_fastrace(self) -> Cost {
        use fastrace::prelude::{LocalSpan, Span, SpanContext};
        let root = Span::root("request", SpanContext::random());
        let _guard = root.set_local_parent();
        match self {
            Self::Event => repeat(|| {
                log::info!(user = "ann", items = black_box(3_u64), paid = true, total = black_box(12.5); "order placed");
            }),
            Self::Span => {
                // A local parent holds no more than 10,240 spans, and then does nothing: each run has one of its own.
                let spans = |count: u32| {
                    let root = Span::root("request", SpanContext::random());
                    let _guard = root.set_local_parent();
                    for _ in 0..count {
                        let span = LocalSpan::enter_with_local_parent("query")
                            .with_properties(|| [("rows", "3"), ("table", "orders")]);
                        drop(black_box(span));
                    }
                };
                spans(1_000);
                let allocations = allocation_counter::measure(|| spans(1_000)).count_total as f64 / 1_000.0;
                let mut best = Duration::MAX;
                for _ in 0..RUNS {
                    let began = Instant::now();
                    spans(2_000);
                    best = best.min(began.elapsed());
                }
                Cost { time: best.as_nanos() as f64 / 2_000.0, allocations, lost: None }
            }
            _ => repeat(|| log::debug!(items = black_box(3_u64); "not now")),
        }
    }
}

fn repeat(mut operation: impl FnMut()) -> Cost {
    (0..10_000).for_each(|_| operation());
    let counted = 2_000;
    let allocations = allocation_counter::measure(|| (0..counted).for_each(|_| operation())).count_total;
    let mut best = Duration::MAX;
    for _ in 0..RUNS {
        let began = Instant::now();
        (0..OPERATIONS).for_each(|_| operation());
        best = best.min(began.elapsed());
    }
    Cost {
        time: best.as_nanos() as f64 / f64::from(OPERATIONS),
        allocations: allocations as f64 / f64::from(counted),
        lost: None,
    }
}

/// Eight threads on one writer, all lines from first to last until they are written; a line's share of the time.
fn throughput(installed: &Installed) -> Cost {
    let mut best = Duration::MAX;
    for _ in 0..THROUGHPUT_RUNS {
        let began = Instant::now();
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                scope.spawn(move || {
                    let _span = info_span!("request", request.id = thread, route = "/orders").entered();
                    for items in 0..LINES {
                        info!(user = "ann", items, paid = true, total = 12.5, "order placed");
                    }
                });
            }
        });
        if let Installed::Ours(telemetry) = installed {
            telemetry.flush(Duration::from_secs(60));
        }
        best = best.min(began.elapsed());
    }
    let lost = match installed {
        Installed::Ours(telemetry) => Some(telemetry.lines_lost()),
        Installed::Appender(appender) => Some(appender.counter.dropped_lines() as u64),
        Installed::Nothing => None,
    };
    Cost { time: best.as_nanos() as f64 / (THREADS * LINES) as f64, allocations: 0.0, lost }
}
