//! Other ways to log and trace, set up as their own documentation says, with every line written to nowhere.

use std::fs::File;
use std::io;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::Result;
use opentelemetry::Context;
use opentelemetry::InstrumentationScope;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogProcessor, SdkLogRecord, SdkLoggerProvider};
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, Span, SpanData, SpanProcessor};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::contender::Installed;

/// Keeps the thread of tracing-appender, and what it counts.
pub(crate) struct Appender {
    pub(crate) counter: tracing_appender::non_blocking::ErrorCounter,
    _guard: tracing_appender::non_blocking::WorkerGuard,
}

pub(crate) fn fmt_json() -> Result<Installed> {
    let json = tracing_subscriber::fmt::layer().json().with_writer(io::sink);
    tracing_subscriber::registry().with(json.with_filter(LevelFilter::INFO)).try_init()?;
    Ok(Installed::Nothing)
}

pub(crate) fn fmt_json_to_file() -> Result<Installed> {
    let file = Mutex::new(File::options().write(true).open("/dev/null")?);
    let json = tracing_subscriber::fmt::layer().json().with_writer(file);
    tracing_subscriber::registry().with(json.with_filter(LevelFilter::INFO)).try_init()?;
    Ok(Installed::Nothing)
}

pub(crate) fn appender() -> Result<Installed> {
    let file = File::options().write(true).open("/dev/null")?;
    let (writer, guard) = tracing_appender::non_blocking(file);
    let counter = writer.error_counter();
    let json = tracing_subscriber::fmt::layer().json().with_writer(writer);
    tracing_subscriber::registry().with(json.with_filter(LevelFilter::INFO)).try_init()?;
    Ok(Installed::Appender(Appender { counter, _guard: guard }))
}

pub(crate) fn json_subscriber() -> Result<Installed> {
    let json = json_subscriber::fmt::layer().with_writer(io::sink).flatten_event(true);
    tracing_subscriber::registry().with(json.with_filter(LevelFilter::INFO)).try_init()?;
    Ok(Installed::Nothing)
}

pub(crate) fn json_subscriber_with_ids() -> Result<Installed> {
    let spans = tracing_opentelemetry::layer().with_tracer(tracer(Sampler::AlwaysOn));
    let json = json_subscriber::fmt::layer()
        .with_writer(io::sink)
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_opentelemetry_ids(true);
    tracing_subscriber::registry()
        .with(spans.with_filter(LevelFilter::INFO))
        .with(json.with_filter(LevelFilter::INFO))
        .try_init()?;
    Ok(Installed::Nothing)
}

pub(crate) fn opentelemetry() -> Result<Installed> {
    let spans = tracing_opentelemetry::layer().with_tracer(tracer(Sampler::AlwaysOn));
    let logs = SdkLoggerProvider::builder().with_log_processor(Discard).build();
    let json = tracing_subscriber::fmt::layer().json().with_writer(io::sink);
    tracing_subscriber::registry()
        .with(spans.with_filter(LevelFilter::INFO))
        .with(OpenTelemetryTracingBridge::new(&logs).with_filter(LevelFilter::INFO))
        .with(json.with_filter(LevelFilter::INFO))
        .try_init()?;
    // The provider must live as long as the process.
    std::mem::forget(logs);
    Ok(Installed::Nothing)
}

pub(crate) fn opentelemetry_off() -> Result<Installed> {
    let spans = tracing_opentelemetry::layer().with_tracer(tracer(Sampler::AlwaysOff));
    tracing_subscriber::registry().with(spans.with_filter(LevelFilter::INFO)).try_init()?;
    Ok(Installed::Nothing)
}

fn tracer(sampler: Sampler) -> opentelemetry_sdk::trace::SdkTracer {
    let provider = SdkTracerProvider::builder().with_sampler(sampler).with_span_processor(Discard).build();
    let tracer = provider.tracer("bench");
    std::mem::forget(provider);
    tracer
}

/// Drops what it is given: only the way there is measured.
#[derive(Debug)]
struct Discard;

impl SpanProcessor for Discard {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, _: SpanData) {}

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

impl LogProcessor for Discard {
    fn emit(&self, _: &mut SdkLogRecord, _: &InstrumentationScope) {}

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }
}

pub(crate) fn fastrace() -> Result<Installed> {
    fastrace::set_reporter(Silent, fastrace::collector::Config::default());
    let logger = logforth::core::builder()
        .dispatch(|dispatch| {
            dispatch
                .filter(logforth::record::LevelFilter::MoreSevereEqual(logforth::record::Level::Info))
                .diagnostic(logforth::diagnostic::FastraceDiagnostic::default())
                .append(Formatted(logforth::layout::JsonLayout::default()))
        })
        .build();
    log::set_boxed_logger(Box::new(logforth::bridge::log::LogBridge::new(logger)))?;
    log::set_max_level(log::LevelFilter::Info);
    Ok(Installed::Nothing)
}

struct Silent;

impl fastrace::collector::Reporter for Silent {
    fn report(&mut self, _: Vec<fastrace::collector::SpanRecord>) {}
}

/// Formats as JSON and drops the line.
#[derive(Debug)]
struct Formatted(logforth::layout::JsonLayout);

impl logforth::Append for Formatted {
    fn append(
        &self,
        record: &logforth::record::Record<'_>,
        diagnostics: &[Box<dyn logforth::Diagnostic>],
    ) -> Result<(), logforth::Error> {
        use logforth::Layout as _;
        std::hint::black_box(self.0.format(record, diagnostics)?);
        Ok(())
    }

    fn flush(&self) -> Result<(), logforth::Error> {
        Ok(())
    }
}
