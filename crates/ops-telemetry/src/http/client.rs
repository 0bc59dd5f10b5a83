//! The layer around a service that sends requests.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Method, Request, Response};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;
use tracing::Span;

use super::body::{Body, ResponseHead};
use super::exchange::{self, Exchange, Outcome, Status};
use super::inject;
use crate::error::Error;
use crate::metrics::{Buckets, Desc, Family, Histogram, Registry, Unit};
use crate::propagate::BaggagePolicy;

crate::labels! {
    /// OpenTelemetry's names, in snake case.
    struct Labels {
        http_request_method: &'static str,
        server_address: String,
        http_response_status_code: Status,
        error_type: &'static str,
    }
}

/// Gives each request that is sent a span of its own, tells it to the other side, and counts it in
/// `http_client_request_duration_seconds`, by method, host, status and what broke.
#[derive(Clone, Debug)]
pub struct ClientLayer {
    duration: Family<Labels, Histogram>,
    baggage: Arc<BaggagePolicy>,
}

impl ClientLayer {
    /// Makes the layer. It sends no baggage.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidMetric`](crate::ErrorKind::InvalidMetric) where the name of its metric means something else
    /// already.
    pub fn new(metrics: &Registry) -> Result<Self, Error> {
        let duration = Desc::new(
            "http_client_request_duration_seconds",
            "Time from the request to the last byte of the response's body.",
        );
        let duration = metrics.histogram_family(duration.unit(Unit::Seconds), Buckets::seconds())?;
        Ok(Self { duration, baggage: Arc::default() })
    }

    /// Lets baggage out to whomever this client talks to.
    #[must_use]
    pub fn baggage(self, policy: BaggagePolicy) -> Self {
        Self { baggage: Arc::new(policy), ..self }
    }
}

impl<S> Layer<S> for ClientLayer {
    type Service = Client<S>;

    fn layer(&self, inner: S) -> Client<S> {
        Client { inner, layer: self.clone() }
    }
}

/// A service inside a [`ClientLayer`].
#[derive(Clone, Debug)]
pub struct Client<S> {
    inner: S,
    layer: ClientLayer,
}

impl<S, A, B> Service<Request<A>> for Client<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    B: http_body::Body,
    B::Data: From<Bytes>,
{
    type Response = Response<Body<B>>;
    type Error = S::Error;
    type Future = ClientFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<A>) -> Self::Future {
        let is_head = request.method() == Method::HEAD;
        let exchange = self.layer.start(&request);
        let span = exchange.span.clone();
        let inner = span.in_scope(|| {
            inject(request.headers_mut(), &self.layer.baggage);
            self.inner.call(request)
        });
        ClientFuture { inner, exchange: Some(exchange), is_head }
    }
}

impl ClientLayer {
    fn start<A>(&self, request: &Request<A>) -> Exchange {
        let method = exchange::method(request.method());
        let host = request.uri().host().unwrap_or_default().to_owned();
        // At the level ERROR so that no filter keeps the other side from being told; it shows nowhere else.
        let span = tracing::error_span!(
            target: "http.client",
            "http.client.request",
            otel.kind = "client",
            http.request.method = method,
            server.address = host.as_str(),
            server.port = request.uri().port_u16(),
            url.path = request.uri().path(),
            http.response.status_code = tracing::field::Empty,
            error.type = tracing::field::Empty,
        );
        let duration = self.duration.clone();
        Exchange::start(span, move |outcome| {
            let Outcome { status, error, seconds, context } = *outcome;
            let labels = Labels {
                http_request_method: method,
                server_address: host,
                http_response_status_code: status,
                error_type: error,
            };
            duration.with(&labels).observe_with(seconds, context);
            tracing::debug!(target: "http.client", duration_ms = (seconds * 1e6).round() / 1e3, "request finished");
        })
    }
}

pin_project! {
    /// The response to a [`Client`], on its way.
    pub struct ClientFuture<F> {
        #[pin]
        inner: F,
        exchange: Option<Exchange>,
        is_head: bool,
    }
}

impl<F, B, E> Future for ClientFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: http_body::Body,
    B::Data: From<Bytes>,
{
    type Output = Result<Response<Body<B>>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let span = this.exchange.as_ref().map_or_else(Span::none, |exchange| exchange.span.clone());
        let result = span.in_scope(|| this.inner.poll(context));
        let result = ready!(result);
        let Some(mut exchange) = this.exchange.take() else { panic!("polled after it was ready") };
        Poll::Ready(match result {
            Ok(response) => {
                let (parts, body) = response.into_parts();
                let status = parts.status.as_u16();
                let head = ResponseHead { status, headers: &parts.headers, is_to_head: *this.is_head };
                let body = Body::passed(body, exchange, &head);
                Ok(Response::from_parts(parts, body))
            }
            Err(error) => {
                exchange.end(Some("transport"));
                Err(error)
            }
        })
    }
}

impl<F> fmt::Debug for ClientFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientFuture").finish_non_exhaustive()
    }
}
