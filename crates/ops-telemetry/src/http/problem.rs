//! Errors as RFC 9457 shows them to a client: what kind, and which trace to ask for. Why it happened is in the log.

use std::borrow::Cow;
use std::error::Error;

use http::{HeaderValue, Response, StatusCode, header};

use crate::context::{TraceContext, TraceId};
use crate::init::redact;
use crate::json;

/// An `application/problem+json` body with the `trace_id` of the request.
///
/// ```
/// use http::StatusCode;
/// use ops_telemetry::http::Problem;
///
/// let problem = Problem::new(StatusCode::CONFLICT, "order is already paid").detail("paid on 2026-11-02");
/// let response: http::Response<String> = problem.into_response();
/// assert_eq!(response.headers()["content-type"], "application/problem+json");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    title: Cow<'static, str>,
    kind: Cow<'static, str>,
    detail: Option<String>,
    trace_id: Option<TraceId>,
}

impl Problem {
    /// Describes a problem by its kind: the title is the same each time it happens. The trace is the current one.
    pub fn new(status: StatusCode, title: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            title: title.into(),
            kind: "about:blank".into(),
            detail: None,
            trace_id: TraceContext::current().map(|context| context.trace_id),
        }
    }

    /// Logs `error` with its causes and tells the client nothing of it but the trace. For whatever is not the client's
    /// fault: an error of a database or a file names things that are nobody's business.
    pub fn internal(error: &(dyn Error + 'static)) -> Self {
        tracing::error!(target: "http.server", error, "internal error");
        Self::panicked()
    }

    /// What a client is told when a handler panicked; the panic has a line of its own.
    pub(super) fn panicked() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")
    }

    /// Says what is special about this time, for the client to read. The redactor sees it first.
    #[must_use]
    pub fn detail(self, detail: impl Into<String>) -> Self {
        Self { detail: Some(redact(&detail.into())), ..self }
    }

    /// Sets the URI that names the kind of problem; it should lead to its documentation.
    #[must_use]
    pub fn kind(self, uri: impl Into<Cow<'static, str>>) -> Self {
        Self { kind: uri.into(), ..self }
    }

    /// Returns the status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Writes the body.
    pub fn to_json(&self) -> String {
        let mut out = Vec::new();
        let mut member = |key: &str, value: &str| {
            out.extend_from_slice(if out.is_empty() { b"{\"" } else { b",\"" });
            out.extend_from_slice(key.as_bytes());
            out.extend_from_slice(b"\":\"");
            json::escape(&mut out, value);
            out.push(b'"');
        };
        member("type", &self.kind);
        member("title", &self.title);
        if let Some(detail) = &self.detail {
            member("detail", detail);
        }
        if let Some(trace_id) = self.trace_id {
            member("trace_id", &trace_id.to_string());
        }
        out.extend_from_slice(format!(",\"status\":{}}}", self.status.as_u16()).as_bytes());
        String::from_utf8_lossy(&out).into_owned()
    }

    /// Makes a response of it, with any body that can be made of a text.
    pub fn into_response<B: From<String>>(self) -> Response<B> {
        self.response_with(B::from)
    }

    pub(super) fn response_with<B>(&self, body: impl FnOnce(String) -> B) -> Response<B> {
        let mut response = Response::new(body(self.to_json()));
        *response.status_mut() = self.status;
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}
