//! The layer around a service that answers requests.

use std::fmt;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Extensions, HeaderMap, HeaderValue, Method, Request, Response};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;
use tracing::Span;

use super::body::{Body, ResponseHead};
use super::exchange::{self, Exchange, Outcome, Status};
use super::problem::Problem;
use crate::context::TraceContext;
use crate::error::Error;
use crate::metrics::{Buckets, Desc, Family, Gauge, Histogram, Registry, Unit};
use crate::propagate::{Received, Trust};

crate::labels! {
    /// OpenTelemetry's names, in snake case.
    struct Labels {
        http_request_method: &'static str,
        http_route: String,
        http_response_status_code: Status,
        error_type: &'static str,
    }
}

crate::labels! {
    /// What is known before the request is routed.
    struct Active { http_request_method: &'static str }
}

/// Gives each request a span in the trace of its caller, as far as that is trusted, a line when it has ended, and its part
/// in the metrics `http_server_request_duration_seconds` and `http_server_active_requests`. A panic of the service
/// becomes a 500 with a [`Problem`] as its body.
///
/// Put it around the router, outside of what may answer on its own (limits, timeouts, authentication), so that these
/// answers are counted too; with axum, `Router::layer` is where the matched route is known.
#[derive(Clone, Debug)]
pub struct ServerLayer {
    shared: Arc<Shared>,
}

/// The headers that tell a client its trace. None is a secret: an id is worth nothing without the logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseHeaders {
    /// `x-trace-id` with the bare id, for people.
    pub x_trace_id: bool,
    /// `server-timing: trace;desc=…` with a `traceparent`, as the current draft of W3C wants it; browsers can read it.
    pub server_timing: bool,
    /// `traceresponse`, the name that an earlier draft had.
    pub traceresponse: bool,
}

type FindPeer = dyn Fn(&Extensions) -> Option<IpAddr> + Send + Sync;

type FindRoute = dyn for<'a> Fn(&'a Extensions) -> Option<&'a str> + Send + Sync;

#[derive(Clone)]
struct Shared {
    duration: Family<Labels, Histogram>,
    active: Family<Active, Gauge>,
    trust: Trust,
    peer: Arc<FindPeer>,
    route: Arc<FindRoute>,
    headers: ResponseHeaders,
    log_requests: bool,
}

impl ServerLayer {
    /// Makes the layer; two of them on one registry count together. Without [`ServerLayer::peer`] nobody knows a peer, so
    /// of the kinds of trust only [`Trust::Always`] admits anyone.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidMetric`](crate::ErrorKind::InvalidMetric) where a name of its metrics means something else
    /// already.
    pub fn new(metrics: &Registry, trust: Trust) -> Result<Self, Error> {
        let duration = Desc::new(
            "http_server_request_duration_seconds",
            "Time from the request's head to the last byte of the response's body.",
        );
        let active = Desc::new("http_server_active_requests", "Requests whose response has not ended.");
        let shared = Shared {
            duration: metrics.histogram_family(duration.unit(Unit::Seconds), Buckets::seconds())?,
            active: metrics.gauge_family(active)?,
            trust,
            peer: Arc::new(|_| None),
            route: Arc::new(|_| None),
            headers: ResponseHeaders::default(),
            log_requests: true,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Tells how to find the peer's address among a request's extensions, where the server puts it.
    #[must_use]
    pub fn peer(self, find: impl Fn(&Extensions) -> Option<IpAddr> + Send + Sync + 'static) -> Self {
        self.with(|shared| shared.peer = Arc::new(find))
    }

    /// Tells how to find the template of the route, like `/orders/{id}`, among a request's extensions, where the router
    /// puts it. Without it all requests count for one route without a name: a path would be a series for each request.
    #[must_use]
    pub fn route(
        self,
        find: impl for<'a> Fn(&'a Extensions) -> Option<&'a str> + Send + Sync + 'static,
    ) -> Self {
        self.with(|shared| shared.route = Arc::new(find))
    }

    /// Sets which headers a response gets.
    #[must_use]
    pub fn response_headers(self, headers: ResponseHeaders) -> Self {
        self.with(|shared| shared.headers = headers)
    }

    /// Sets whether each request has a line when it has ended: INFO, and WARN for a status of 500 and above or an exchange
    /// that broke. On by default.
    #[must_use]
    pub fn log_requests(self, log: bool) -> Self {
        self.with(|shared| shared.log_requests = log)
    }

    fn with(mut self, change: impl FnOnce(&mut Shared)) -> Self {
        change(Arc::make_mut(&mut self.shared));
        self
    }
}

impl Default for ResponseHeaders {
    fn default() -> Self {
        Self { x_trace_id: true, server_timing: true, traceresponse: false }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("trust", &self.trust)
            .field("headers", &self.headers)
            .field("log_requests", &self.log_requests)
            .finish_non_exhaustive()
    }
}

impl<S> Layer<S> for ServerLayer {
    type Service = Server<S>;

    fn layer(&self, inner: S) -> Server<S> {
        Server { inner, shared: Arc::clone(&self.shared) }
    }
}

/// A service inside a [`ServerLayer`].
#[derive(Clone, Debug)]
pub struct Server<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S, A, B> Service<Request<A>> for Server<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    B: http_body::Body,
    B::Data: From<Bytes>,
{
    type Response = Response<Body<B>>;
    type Error = S::Error;
    type Future = ServerFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let is_head = request.method() == Method::HEAD;
        let exchange = self.shared.start(&request);
        let span = exchange.span.clone();
        let called = span.in_scope(|| catch_unwind(AssertUnwindSafe(|| self.inner.call(request))));
        ServerFuture { inner: called.ok(), exchange: Some(exchange), headers: self.shared.headers, is_head }
    }
}

impl Shared {
    fn start<A>(self: &Arc<Self>, request: &Request<A>) -> Exchange {
        let method = exchange::method(request.method());
        let route = (self.route)(request.extensions()).unwrap_or_default().to_owned();
        let is_trusted = self.trust.admits((self.peer)(request.extensions()));
        let inbound = Received::extract(request.headers()).admit(is_trusted);
        // At the level ERROR so that no filter takes the ids from the lines inside; a span's level shows nowhere else.
        let span = inbound.open(|| {
            tracing::error_span!(
                target: "http.server",
                "http.server.request",
                otel.kind = "server",
                http.request.method = method,
                url.path = request.uri().path(),
                http.route = (!route.is_empty()).then_some(route.as_str()),
                http.response.status_code = tracing::field::Empty,
                error.type = tracing::field::Empty,
            )
        });
        let active = self.active.with(&Active { http_request_method: method }).track();
        let shared = Arc::clone(self);
        Exchange::start(span, move |outcome| {
            drop(active);
            shared.report(method, route, outcome);
        })
    }

    fn report(&self, method: &'static str, route: String, outcome: &Outcome) {
        let Outcome { status, error, seconds, context } = *outcome;
        let labels = Labels {
            http_request_method: method,
            http_route: route,
            http_response_status_code: status,
            error_type: error,
        };
        self.duration.with(&labels).observe_with(seconds, context);
        if !self.log_requests {
            return;
        }
        let duration_ms = (seconds * 1e6).round() / 1e3;
        if status.0.is_none_or(|status| status >= 500) || !error.is_empty() {
            tracing::warn!(target: "http.server", duration_ms, "request failed");
        } else {
            tracing::info!(target: "http.server", duration_ms, "request finished");
        }
    }
}

pin_project! {
    /// The response of a [`Server`], on its way.
    pub struct ServerFuture<F> {
        // None once it panicked.
        #[pin]
        inner: Option<F>,
        exchange: Option<Exchange>,
        headers: ResponseHeaders,
        is_head: bool,
    }
}

impl<F, B, E> Future for ServerFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: http_body::Body,
    B::Data: From<Bytes>,
{
    type Output = Result<Response<Body<B>>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let span = this.exchange.as_ref().map_or_else(Span::none, |exchange| exchange.span.clone());
        let entered = span.enter();
        let polled = match this.inner.as_mut().as_pin_mut() {
            Some(inner) => catch_unwind(AssertUnwindSafe(|| inner.poll(context))).ok(),
            None => None,
        };
        let result = match polled {
            Some(Poll::Pending) => return Poll::Pending,
            Some(Poll::Ready(result)) => Some(result),
            None => None,
        };
        let Some(mut exchange) = this.exchange.take() else { panic!("polled after it was ready") };
        let context = TraceContext::current();
        let mut response = match result {
            Some(Ok(response)) => {
                let (parts, body) = response.into_parts();
                let head = ResponseHead {
                    status: parts.status.as_u16(),
                    headers: &parts.headers,
                    is_to_head: *this.is_head,
                };
                let body = Body::passed(body, exchange, &head);
                Response::from_parts(parts, body)
            }
            Some(Err(error)) => {
                exchange.end(Some("service"));
                return Poll::Ready(Err(error));
            }
            None => {
                let problem = Problem::panicked();
                exchange.responded(problem.status().as_u16(), None, true);
                exchange.end(Some("panic"));
                problem.response_with(Body::own)
            }
        };
        drop(entered);
        add_headers(response.headers_mut(), *this.headers, context);
        Poll::Ready(Ok(response))
    }
}

impl<F> fmt::Debug for ServerFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerFuture").finish_non_exhaustive()
    }
}

fn add_headers(headers: &mut HeaderMap, wanted: ResponseHeaders, context: Option<TraceContext>) {
    let Some(context) = context else { return };
    let value = |text: String| HeaderValue::try_from(text).expect("hexadecimal and dashes");
    if wanted.x_trace_id {
        headers.insert("x-trace-id", value(context.trace_id.to_string()));
    }
    if wanted.server_timing {
        // Appended: a service may have timings of its own.
        headers.append("server-timing", value(format!("trace;desc={}", context.to_traceparent())));
    }
    if wanted.traceresponse {
        headers.insert("traceresponse", value(context.to_traceparent()));
    }
}
