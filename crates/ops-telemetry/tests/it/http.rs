//! The HTTP layers around services that answer, stream, fail, panic and are given up.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Extensions, HeaderMap, Method, Request, Response, StatusCode};
use http_body::{Body as _, Frame, SizeHint};
use ops_telemetry::admin::Admin;
use ops_telemetry::http::{ClientLayer, Problem, ResponseHeaders, ServerLayer};
use ops_telemetry::metrics::{Exposition, Registry};
use ops_telemetry::propagate::{Baggage, BaggagePolicy, Received, Trust};
use ops_telemetry::testing::Capture;
use ops_telemetry::{Options, Redactor, TraceContext};
use tower_layer::Layer;
use tower_service::Service;

use crate::{Line, options, parse};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// A body of pieces, whose length nobody knows before unless it says so.
#[derive(Default)]
struct Pieces {
    left: VecDeque<Result<&'static str, &'static str>>,
    len: Option<u64>,
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        tracing::debug!("a piece");
        Poll::Ready(self.left.pop_front().map(|piece| piece.map(|text| Frame::data(text.into()))))
    }

    fn size_hint(&self) -> SizeHint {
        self.len.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

fn pieces(texts: &[&'static str]) -> Pieces {
    Pieces { left: texts.iter().map(|text| Ok(*text)).collect(), len: None }
}

/// A service that is a closure.
#[derive(Clone)]
struct Handler<F>(F);

impl<A, B, E, F, R> Service<Request<A>> for Handler<F>
where
    F: FnMut(Request<A>) -> R,
    R: Future<Output = Result<Response<B>, E>>,
{
    type Response = Response<B>;
    type Error = E;
    type Future = R;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), E>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<A>) -> R {
        (self.0)(request)
    }
}

fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("nothing here waits"),
    }
}

fn read<B: http_body::Body<Data = Bytes, Error = &'static str>>(body: B) -> Result<String, &'static str> {
    let mut body = pin!(body);
    let mut text = Vec::new();
    while let Some(frame) = now(poll_fn(|context| body.as_mut().poll_frame(context))) {
        text.extend_from_slice(&frame?.into_data().expect("data"));
    }
    Ok(String::from_utf8(text).expect("utf-8"))
}

fn request(method: &str, path: &str) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(method.as_bytes()).expect("a method");
    *request.uri_mut() = path.parse().expect("a path");
    request
}

fn from_caller(path: &str) -> Request<()> {
    let mut request = request("GET", path);
    let headers = request.headers_mut();
    headers.insert("traceparent", PARENT.parse().expect("a header"));
    headers.insert("tracestate", "theirs=1".parse().expect("a header"));
    headers.insert("baggage", "tenant=7,user=alice".parse().expect("a header"));
    request
}

/// Runs `body` with telemetry and a server layer of `trust`; returns the lines and the page.
fn serve(trust: Trust, options: Options, body: impl FnOnce(ServerLayer)) -> (Vec<Line>, String) {
    let registry = Registry::new();
    let layer = ServerLayer::new(&registry, trust).expect("free names");
    let capture = Capture::default();
    capture.run(options, || body(layer)).expect("valid options");
    let lines = capture.lines().iter().map(|line| parse(line)).collect();
    (lines, registry.render(Exposition::OpenMetrics))
}

fn line_of<'a>(lines: &'a [Line], message: &str) -> &'a Line {
    let found = lines.iter().find(|line| line.get("message") == message);
    found.unwrap_or_else(|| {
        panic!("no {message:?} in {:?}", lines.iter().map(|l| l.get("message")).collect::<Vec<_>>())
    })
}

fn answering(
    texts: &'static [&'static str],
) -> impl Fn(Request<()>) -> std::future::Ready<Result<Response<Pieces>, Infallible>> + Clone {
    move |_| std::future::ready(Ok(Response::new(pieces(texts))))
}

#[test]
fn a_request_of_a_trusted_caller_is_in_its_trace_to_the_last_byte() {
    let (lines, page) = serve(Trust::Always, options(), |layer| {
        let handler = Handler(|_: Request<()>| async {
            tracing::info!("handled");
            assert_eq!(Baggage::current().get("tenant").as_deref(), Some("7"));
            Ok::<_, Infallible>(Response::new(pieces(&["a", "b"])))
        });
        let layer = layer.route(|extensions| extensions.get::<&'static str>().copied());
        let mut request = from_caller("/orders/7?card=4111");
        request.extensions_mut().insert("/orders/{id}");
        let response = now(layer.layer(handler).call(request)).expect("an answer");
        let ours = response.headers()["server-timing"].to_str().expect("text");
        let ours = TraceContext::parse(ours.strip_prefix("trace;desc=").expect("a trace")).expect("valid");
        assert_eq!(response.headers()["x-trace-id"], TRACE);
        assert_eq!((ours.trace_id.to_string().as_str(), ours.flags.bits()), (TRACE, 1));
        assert_ne!(ours.to_traceparent(), PARENT);
        assert!(!response.headers().contains_key("traceresponse"));
        assert_eq!(read(response.into_body()), Ok("ab".into()));
    });
    for message in ["handled", "a piece", "request finished"] {
        let line = line_of(&lines, message);
        assert_eq!(line.get("trace_id"), TRACE, "{message}");
        assert_eq!(line.get("http.route"), "/orders/{id}");
        assert_eq!(line.get("url.path"), "/orders/7");
    }
    let last = lines.last().expect("lines");
    assert_eq!(
        (last.get("message"), last.get("http.response.status_code")),
        (&"request finished".into(), &200.into())
    );
    assert!(last.get("duration_ms").is_number());
    let series = "http_request_method=\"GET\",http_route=\"/orders/{id}\",http_response_status_code=\"200\",error_type=\"\"";
    assert!(page.contains(&format!("http_server_request_duration_seconds_count{{{series}}} 1\n")), "{page}");
    assert!(page.contains(&format!("# {{trace_id=\"{TRACE}\"")), "an exemplar: {page}");
    assert!(page.contains("http_server_active_requests{http_request_method=\"GET\"} 0.0\n"), "{page}");
    assert!(!page.contains("/orders/7") && !page.contains("4111"), "{page}");
    for line in &lines {
        let text = format!("{:?}", line.0);
        assert!(!text.contains("4111") && !text.contains("alice"), "{text}");
    }
}

#[test]
fn a_stranger_gets_a_trace_of_its_own() {
    let peer = |extensions: &Extensions| extensions.get::<IpAddr>().copied();
    let (lines, _) = serve(Trust::SameNetwork, options(), |layer| {
        let mut service = layer.peer(peer).layer(Handler(|_: Request<()>| async {
            tracing::info!(baggage = Baggage::current().iter().count(), "handled");
            Ok::<_, Infallible>(Response::new(pieces(&[])))
        }));
        for address in ["8.8.8.8", "10.0.0.7"] {
            let mut request = from_caller("/");
            request.extensions_mut().insert(address.parse::<IpAddr>().expect("an address"));
            let response = now(service.call(request)).expect("an answer");
            assert_eq!(response.headers()["x-trace-id"] == TRACE, address == "10.0.0.7");
        }
        now(service.call(from_caller("/"))).expect("an answer of a peer that nobody knows");
    });
    let handled: Vec<_> = lines.iter().filter(|line| line.get("message") == "handled").collect();
    let is_theirs: Vec<bool> = handled.iter().map(|line| line.get("trace_id") == TRACE).collect();
    assert_eq!(is_theirs, [false, true, false]);
    let baggage: Vec<_> = handled.iter().map(|line| line.get("baggage").as_u64()).collect();
    assert_eq!(baggage, [Some(0), Some(2), Some(0)]);
    assert_ne!(handled[0].get("trace_id"), handled[2].get("trace_id"), "requests do not share a trace");
}

#[test]
fn a_panic_is_a_problem_that_names_its_trace() {
    let (lines, page) = serve(Trust::Always, options(), |layer| {
        let poll = Handler(|_: Request<()>| async {
            let no_answer = |text: &str| -> Response<Pieces> { panic!("{text}") };
            Ok::<_, Infallible>(no_answer("secret 4711"))
        });
        let call = Handler(|_: Request<()>| -> std::future::Ready<Result<Response<Pieces>, Infallible>> {
            panic!("secret 4711")
        });
        let answers = [
            now(layer.layer(poll).call(from_caller("/a"))).expect("an answer"),
            now(layer.layer(call).call(from_caller("/b"))).expect("an answer"),
        ];
        for response in answers {
            assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
            assert_eq!(response.headers()["content-type"], "application/problem+json");
            assert_eq!(response.headers()["x-trace-id"], TRACE);
            let body = read(response.into_body()).expect("a body");
            let problem: serde_json::Value = serde_json::from_str(&body).expect("JSON");
            assert_eq!((&problem["trace_id"], &problem["status"]), (&TRACE.into(), &500.into()));
            assert!(!body.contains("4711"), "{body}");
        }
    });
    assert_eq!(line_of(&lines, "request failed").get("error.type"), "panic");
    assert!(page.contains("http_response_status_code=\"500\",error_type=\"panic\"} 2\n"), "{page}");
    assert!(page.contains("active_requests{http_request_method=\"GET\"} 0.0\n"), "{page}");
}

#[test]
fn an_exchange_ends_with_its_body_and_not_before() {
    let registry = Registry::new();
    let layer = ServerLayer::new(&registry, Trust::Never).expect("free names");
    let count = |error: &str| {
        let page = registry.render(Exposition::Prometheus);
        let wanted = format!("error_type=\"{error}\"}}");
        let line = page.lines().find(|line| line.contains("_seconds_count") && line.contains(&wanted));
        line.map_or(0, |line| line.rsplit(' ').next().expect("a number").parse::<u64>().expect("a number"))
    };
    let active = || {
        registry.render(Exposition::Prometheus).contains("active_requests{http_request_method=\"GET\"} 1.0")
    };
    Capture::default()
        .run(options(), || {
            let call = |body: Pieces, request: Request<()>| {
                let body = Mutex::new(Some(body));
                let mut service = layer.layer(Handler(move |_: Request<()>| {
                    let body = body.lock().expect("not poisoned").take().expect("called once");
                    std::future::ready(Ok::<_, Infallible>(Response::new(body)))
                }));
                now(service.call(request)).expect("an answer").into_body()
            };
            let get = || request("GET", "/");
            let body = call(pieces(&["a"]), get());
            assert!(active() && count("") == 0);
            assert_eq!(read(body), Ok("a".into()));
            assert!(!active() && count("") == 1);
            // Given up in the middle.
            let mut body = Box::pin(call(pieces(&["a", "b"]), get()));
            assert!(now(poll_fn(|context| body.as_mut().poll_frame(context))).is_some());
            drop(body);
            assert_eq!((count(""), count("cancelled")), (1, 1));
            // Whole, and the server does not ask for the end: the length was known.
            let mut body = Box::pin(call(Pieces { len: Some(1), ..pieces(&["a"]) }, get()));
            assert!(now(poll_fn(|context| body.as_mut().poll_frame(context))).is_some());
            drop(body);
            assert_eq!((count(""), count("cancelled")), (2, 1));
            // Nothing is to come, so nobody asks.
            drop(call(Pieces { len: Some(0), ..Pieces::default() }, get()));
            drop(call(pieces(&["never sent"]), request("HEAD", "/")));
            let page = registry.render(Exposition::Prometheus);
            assert!(page.contains("_count{http_request_method=\"HEAD\",http_route=\"\",http_response_status_code=\"200\",error_type=\"\"} 1"));
            assert_eq!((count(""), count("cancelled")), (3, 1));
            // Broken.
            let body = Pieces { left: [Ok("a"), Err("disk")].into(), len: None };
            assert_eq!(read(call(body, get())), Err("disk"));
            assert_eq!(count("body"), 1);
            // The client left before there was a response.
            let pending = Handler(|_: Request<()>| std::future::pending::<Result<Response<Pieces>, Infallible>>());
            let mut waiting = Box::pin(layer.layer(pending).call(get()));
            assert!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            assert!(active());
            drop(waiting);
            assert_eq!((count("cancelled"), active()), (1, false), "without a status it is a series of its own");
            assert!(registry.render(Exposition::Prometheus).contains("_count{http_request_method=\"GET\",http_route=\"\",http_response_status_code=\"\",error_type=\"cancelled\"} 1"));
            // The service failed without a response.
            let failing = Handler(|_: Request<()>| std::future::ready(Err::<Response<Pieces>, _>("no")));
            assert_eq!(now(layer.layer(failing).call(get())).err(), Some("no"));
            assert_eq!((count("service"), active()), (1, false));
        })
        .expect("valid options");
}

#[test]
fn what_a_client_makes_up_is_no_series() {
    let (_, page) = serve(Trust::Never, options(), |layer| {
        for n in 0..50 {
            let mut service = layer.layer(Handler(answering(&[])));
            let request = request(&format!("M{n}"), &format!("/{n}?q={n}"));
            drop(read(now(service.call(request)).expect("an answer").into_body()));
        }
    });
    assert_eq!(page.matches("request_duration_seconds_count{").count(), 1, "{page}");
    assert!(page.contains("http_request_method=\"_OTHER\""));
}

#[test]
fn a_filter_takes_no_ids_and_lines_of_requests_can_be_turned_off() {
    let quiet = Options { filter: "warn".into(), ..options() };
    let (lines, _) = serve(Trust::Always, quiet, |layer| {
        let handler = Handler(|_: Request<()>| async {
            tracing::warn!("careful");
            Ok::<_, Infallible>(Response::new(pieces(&[])))
        });
        drop(read(now(layer.layer(handler).call(from_caller("/"))).expect("an answer").into_body()));
    });
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0].get("trace_id"), TRACE);
    let (lines, page) = serve(Trust::Always, Options { filter: "info".into(), ..options() }, |layer| {
        let headers = ResponseHeaders { x_trace_id: false, server_timing: false, traceresponse: true };
        let layer = layer.log_requests(false).response_headers(headers);
        let response =
            now(layer.layer(Handler(answering(&["a"]))).call(from_caller("/"))).expect("an answer");
        let names: Vec<_> = response.headers().keys().map(|name| name.as_str()).collect();
        assert_eq!(names, ["traceresponse"]);
        assert!(TraceContext::parse(response.headers()["traceresponse"].to_str().expect("text")).is_ok());
        drop(read(response.into_body()));
    });
    assert!(lines.is_empty() && page.contains("_count{"), "they count all the same");
}

#[test]
fn a_client_tells_the_server_and_both_are_one_trace() {
    let registry = Registry::new();
    let server = ServerLayer::new(&registry, Trust::Always).expect("free names");
    let policy = BaggagePolicy::Only(vec!["tenant".into()]);
    let client = ClientLayer::new(&registry).expect("free names").baggage(policy);
    let seen: Arc<Mutex<Vec<HeaderMap>>> = Arc::default();
    let capture = Capture::default();
    capture
        .run(options(), || {
            let headers = Arc::clone(&seen);
            let inner = server.layer(Handler(move |request: Request<()>| {
                headers.lock().expect("not poisoned").push(request.headers().clone());
                tracing::info!("at the server");
                std::future::ready(Ok::<_, Infallible>(Response::new(pieces(&["x"]))))
            }));
            let mut service = client.layer(inner);
            let edge = tracing::info_span!("edge");
            let mut told = request("GET", "http://stock.internal:8080/items/7?key=4111");
            // What a proxy copied from its own caller.
            told.headers_mut().append("traceparent", PARENT.parse().expect("a header"));
            told.headers_mut().append("baggage", "admin=true".parse().expect("a header"));
            let mut baggage = Baggage::default();
            baggage.insert("tenant", "7").expect("valid");
            baggage.insert("user", "alice").expect("valid");
            baggage.attach(&edge);
            let response = edge.in_scope(|| {
                tracing::info!("at the edge");
                now(service.call(told)).expect("an answer")
            });
            assert_eq!(read(response.into_body()), Ok("x".into()));
            let failing = Handler(|_: Request<()>| std::future::ready(Err::<Response<Pieces>, _>("refused")));
            let request = request("GET", "http://gone.internal/");
            assert_eq!(now(client.layer(failing).call(request)).err(), Some("refused"));
        })
        .expect("valid options");
    let lines: Vec<Line> = capture.lines().iter().map(|line| parse(line)).collect();
    let (edge, server) = (line_of(&lines, "at the edge"), line_of(&lines, "at the server"));
    assert_eq!(edge.get("trace_id"), server.get("trace_id"));
    let seen = seen.lock().expect("not poisoned");
    let received = Received::extract(&seen[0]);
    let sent = received.context.expect("one traceparent, and ours");
    assert_eq!(edge.get("trace_id"), sent.trace_id.to_string().as_str());
    let spans = [edge.get("span_id"), server.get("span_id"), &sent.span_id.to_string().into()]
        .map(ToString::to_string);
    assert!(spans[0] != spans[1] && spans[1] != spans[2] && spans[0] != spans[2], "{spans:?}");
    assert_eq!(received.baggage.to_header().as_deref(), Some("tenant=7"));
    let page = registry.render(Exposition::OpenMetrics);
    let has = |text: &str| assert!(page.contains(text), "{text} is not in {page}");
    let client = "http_client_request_duration_seconds_count{http_request_method=\"GET\",server_address";
    has(&format!("{client}=\"stock.internal\",http_response_status_code=\"200\",error_type=\"\"}} 1\n"));
    has(&format!("{client}=\"gone.internal\",http_response_status_code=\"\",error_type=\"transport\"}} 1\n"));
    assert!(!capture.lines().join("").contains("4111"));
}

struct Hide;

impl Redactor for Hide {
    fn redact(&self, line: &mut Vec<u8>) {
        let text = String::from_utf8_lossy(line).replace("hunter2", "[redacted]");
        *line = text.into_bytes();
    }
}

#[test]
fn a_problem_says_what_a_client_may_know() {
    let options = Options { redactor: Some(Arc::new(Hide)), ..options() };
    let lines = crate::lines(options, || {
        let error = std::io::Error::other("password hunter2 refused by db-7");
        let told = Problem::internal(&error).to_json();
        assert!(!told.contains("db-7") && told.contains("\"trace_id\":\""), "{told}");
        let problem = Problem::new(StatusCode::CONFLICT, "order is \"paid\"")
            .kind("https://errors.example/paid")
            .detail("paid with hunter2");
        let response: Response<String> = problem.into_response();
        assert_eq!(response.status(), StatusCode::CONFLICT);
        let body: serde_json::Value = serde_json::from_str(response.body()).expect("JSON");
        assert_eq!(body["type"], "https://errors.example/paid");
        assert_eq!(body["title"], "order is \"paid\"");
        assert_eq!(body["detail"], "paid with [redacted]");
        assert_eq!(body["status"], 409);
    });
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0].get("error"), "password [redacted] refused by db-7");
    let nothing = tracing::subscriber::NoSubscriber::default();
    tracing::subscriber::with_default(nothing, || {
        let body = Problem::new(StatusCode::NOT_FOUND, "no such order").to_json();
        assert_eq!(body, r#"{"type":"about:blank","title":"no such order","status":404}"#);
    });
}

#[test]
fn the_admin_answers_are_a_service_too() {
    let admin = Admin::new(&crate::metrics::registry()).with_level(|_, _| Ok(()));
    let ask = |method: &str, target: &str, body: Pieces, accept: &str| {
        let mut request = request(method, target).map(|()| body);
        request.headers_mut().insert("accept", accept.parse().expect("a header"));
        now(admin.service().call(request)).expect("never fails")
    };
    let response = ask("GET", "/metrics", pieces(&[]), "application/openmetrics-text");
    assert!(response.headers()["content-type"].to_str().expect("text").contains("openmetrics"));
    assert!(response.body().ends_with("# EOF\n"));
    assert_eq!(ask("GET", "/ready", pieces(&[]), "*/*").status(), StatusCode::SERVICE_UNAVAILABLE);
    let level = ask("PUT", "/admin/level?ttl=5", pieces(&["de", "bug"]), "*/*");
    assert_eq!((level.status(), level.body().as_str()), (StatusCode::OK, "level is debug for 5 s\n"));
    let long: &'static str = Box::leak("x".repeat(3000).into_boxed_str());
    assert_eq!(
        ask("PUT", "/admin/level", pieces(&[long, long]), "*/*").status(),
        StatusCode::PAYLOAD_TOO_LARGE
    );
    let wrong = ask("POST", "/live", pieces(&[]), "*/*");
    assert_eq!(
        (wrong.status(), &wrong.headers()["allow"]),
        (StatusCode::METHOD_NOT_ALLOWED, &"GET, HEAD".parse().expect("a header"))
    );
}
