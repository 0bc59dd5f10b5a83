//! One request with its response, from the first to the last byte, and what becomes known of it.

use std::fmt;
use std::time::Instant;

use http::Method;
use tracing::Span;

use crate::context::TraceContext;

/// How an exchange ended.
pub(super) struct Outcome {
    pub(super) status: Status,
    /// Empty where nothing went wrong; a status is not an error of the exchange.
    pub(super) error: &'static str,
    pub(super) seconds: f64,
    pub(super) context: Option<TraceContext>,
}

/// Ends when it is dropped: reports once, in its span.
pub(super) struct Exchange {
    pub(super) span: Span,
    start: Instant,
    status: Status,
    error: Option<&'static str>,
    /// Bytes of the body that are still to come, where that is known.
    left: Option<u64>,
    report: Option<Report>,
}

type Report = Box<dyn FnOnce(&Outcome) + Send>;

/// A status as a label, empty where there was none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Status(pub(super) Option<u16>);

impl Exchange {
    /// `report` is called when it ends.
    pub(super) fn start(span: Span, report: impl FnOnce(&Outcome) + Send + 'static) -> Self {
        Self {
            span,
            start: Instant::now(),
            status: Status(None),
            error: Some("cancelled"),
            left: None,
            report: Some(Box::new(report)),
        }
    }

    /// The response has begun. `len` is the length of its body, `is_ended` whether there is none to wait for.
    pub(super) fn responded(&mut self, status: u16, len: Option<u64>, is_ended: bool) {
        self.status = Status(Some(status));
        self.span.record("http.response.status_code", status);
        self.left = len;
        if is_ended || len == Some(0) {
            self.end(None);
        }
    }

    /// Bytes of the body went by. A server that knows the length may never ask for the end.
    pub(super) fn passed(&mut self, len: usize) {
        self.left = self.left.map(|left| left.saturating_sub(len as u64));
        if self.left == Some(0) {
            self.end(None);
        }
    }

    /// Everything is there, or what went wrong.
    pub(super) fn end(&mut self, error: Option<&'static str>) {
        self.error = error;
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let Some(report) = self.report.take() else { return };
        let error = self.error.unwrap_or_default();
        if !error.is_empty() {
            self.span.record("error.type", error);
        }
        let seconds = self.start.elapsed().as_secs_f64();
        self.span.in_scope(|| {
            let context = TraceContext::current();
            report(&Outcome { status: self.status, error, seconds, context });
        });
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |status| status.fmt(f))
    }
}

/// The methods that everyone knows, and one word for all others: a client can make up as many as it likes.
pub(super) fn method(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] = ["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS", "CONNECT", "TRACE"];
    KNOWN.into_iter().find(|known| method.as_str() == *known).unwrap_or("_OTHER")
}
