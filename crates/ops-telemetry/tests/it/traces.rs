//! Traces: of their own, of a caller, recorded or not, across threads; and what a collector is handed.

use ops_telemetry::testing::{self, Capture, FieldValue};
use ops_telemetry::{
    ErrorKind, LogFormat, Options, RemoteParent, Roots, Sampling, SpanExt, TraceContext, UnsampledLines,
    child_env, spawn_thread,
};
use tracing::{info, info_span, warn};

use crate::{lines, options, parse};

const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const CALLER_TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

fn caller() -> TraceContext {
    TraceContext::parse(CALLER).expect("valid")
}

fn own() -> Options {
    Options { roots: Roots::Own, ..options() }
}

#[test]
fn each_root_span_of_a_service_is_a_trace_of_its_own() {
    let lines = lines(own(), || {
        info!("outside");
        for _ in 0..2 {
            let _request = info_span!("request").entered();
            info!("request");
            info_span!("query").in_scope(|| info!("query"));
        }
    });
    let trace = |index: usize| lines[index].get("trace_id").clone();
    assert_eq!((trace(1), trace(3)), (trace(2), trace(4)));
    assert!(trace(1) != trace(3) && trace(0) != trace(1) && trace(0) != trace(3));
}

#[test]
fn a_process_with_a_parent_is_one_trace_unless_told_otherwise() {
    let traces = |roots| {
        let with_parent = Options { parent: Some(caller()), roots, ..options() };
        let lines = lines(with_parent, || info_span!("a").in_scope(|| info!("x")));
        lines[0].get("trace_id").as_str().expect("text").to_owned()
    };
    assert_eq!(traces(Roots::Auto), CALLER_TRACE);
    assert_eq!(traces(Roots::Process), CALLER_TRACE);
    assert_ne!(traces(Roots::Own), CALLER_TRACE);
}

#[test]
fn a_recorded_span_has_the_tracestate_of_its_own_trace() {
    let process = Options { parent: Some(caller()), tracestate: Some("p=1".into()), ..options() };
    let remote = RemoteParent { tracestate: Some("v=1".into()), ..RemoteParent::from(caller()) };
    let found = |roots| {
        let capture = Capture::default();
        let options = Options { roots, ..process.clone() };
        capture
            .run(options, || {
                info_span!("root").in_scope(|| drop(info_span!("child")));
                let request = remote.clone().parent_of(|| info_span!("request"));
                request.in_scope(|| drop(info_span!("query")));
            })
            .expect("valid options");
        let spans = capture.spans().into_iter();
        spans.map(|span| (span.name, span.tracestate.as_deref().map(str::to_owned))).collect::<Vec<_>>()
    };
    let vendor = Some("v=1".to_owned());
    let below = |root: Option<&str>| {
        let root = root.map(str::to_owned);
        vec![("child", root.clone()), ("root", root), ("query", vendor.clone()), ("request", vendor.clone())]
    };
    assert_eq!(found(Roots::Process), below(Some("p=1")));
    assert_eq!(found(Roots::Own), below(None));
}

#[test]
fn a_span_continues_the_trace_of_a_caller() {
    let remote =
        RemoteParent { context: caller(), tracestate: Some("v=1".into()), baggage: Some("k=secret".into()) };
    let capture = Capture::default();
    capture
        .run(own(), || {
            let _around = info_span!("around").entered();
            let first = remote.clone().parent_of(|| info_span!("request"));
            first.in_scope(|| {
                info!("inside");
                let handed_on = info_span!("query").in_scope(child_env);
                assert!(handed_on[0].1.contains(CALLER_TRACE));
                assert_eq!(handed_on[1..], [("TRACESTATE", "v=1".into()), ("BAGGAGE", "k=secret".into())]);
            });
            let second = info_span!(parent: None, "request");
            second.set_parent(remote.clone()).expect("in time");
            second.in_scope(|| info!("inside"));
            remote.clone().parent_of(|| ());
            info_span!(parent: None, "unrelated").in_scope(|| info!("outside"));
        })
        .expect("valid options");
    let lines: Vec<_> = capture.lines().iter().map(|line| parse(line)).collect();
    assert_eq!(
        (lines[0].get("trace_id"), lines[1].get("trace_id")),
        (&CALLER_TRACE.into(), &CALLER_TRACE.into())
    );
    assert_ne!(lines[2].get("trace_id"), CALLER_TRACE, "the promise ends with its closure");
    assert!(!capture.lines().join("").contains("k=secret"), "baggage is never logged");
    let requests: Vec<_> = capture.spans().into_iter().filter(|span| span.name == "request").collect();
    assert!(requests.iter().all(|span| span.parent == Some(caller().span_id)) && requests.len() == 2);
}

#[test]
fn ids_that_were_seen_do_not_change() {
    let check = |look: fn(&tracing::Span)| {
        Capture::default()
            .run(own(), || {
                let span = info_span!("request");
                look(&span);
                let error = span.set_parent(caller()).expect_err("too late");
                assert_eq!(error.kind(), ErrorKind::TooLate);
            })
            .expect("valid options");
    };
    check(|span| info!(parent: span, "an event"));
    check(|span| drop(info_span!(parent: span, "a child")));
    check(|span| assert!(span.in_scope(TraceContext::current).is_some()));
    check(|span| assert!(span.trace_context().is_some()));
}

#[test]
fn a_trace_that_is_not_recorded_has_its_warnings_all_the_same() {
    let unsampled = Sampling { ratio: 0.0, follow_parent: true, lines: UnsampledLines::Warnings };
    let capture = Capture::default();
    capture
        .run(Options { sampling: unsampled, ..own() }, || {
            let collected = std::cell::Cell::new(0);
            let _span = info_span!("request", user = ?Counted(&collected)).entered();
            assert_eq!(collected.get(), 0, "what is not recorded is not collected");
            info!("left out");
            warn!("kept");
            let followed = RemoteParent::from(caller()).parent_of(|| info_span!("request", a = 1));
            followed.in_scope(|| info!("kept"));
        })
        .expect("valid options");
    let lines: Vec<_> = capture.lines().iter().map(|line| parse(line)).collect();
    assert_eq!(lines.iter().map(|line| line.get("message")).collect::<Vec<_>>(), ["kept", "kept"]);
    assert_eq!((lines[0].get("trace_flags"), lines[1].get("trace_flags")), (&"02".into(), &"01".into()));
    assert_eq!(lines[1].get("a"), 1);
    assert_eq!(capture.spans().len(), 1, "only the caller's trace is recorded");
    let all = Options { sampling: Sampling { ratio: 0.0, ..Sampling::default() }, ..own() };
    let line = &crate::lines(all, || info_span!("request", a = 1).in_scope(|| info!("x")))[0];
    assert_eq!((line.get("a"), line.get("trace_flags")), (&1.into(), &"02".into()));
}

struct Counted<'a>(&'a std::cell::Cell<u32>);

impl std::fmt::Debug for Counted<'_> {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.set(self.0.get() + 1);
        Ok(())
    }
}

#[test]
fn a_sink_gets_what_the_lines_show() {
    let capture = Capture::default();
    capture
        .run(own(), || {
            let outer = info_span!("outer", n = 1, token = "abc").entered();
            outer.add_link(caller());
            info_span!("inner").in_scope(|| warn!(ok = true, "said \"so\""));
            outer.record("n", 2);
        })
        .expect("valid options");
    let spans = capture.spans();
    let [inner, outer] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!((inner.name, outer.name), ("inner", "outer"));
    assert_eq!((inner.parent, outer.parent), (Some(outer.context.span_id), None));
    assert_eq!(outer.fields.get("n"), Some(FieldValue::I64(2)));
    assert_eq!(outer.fields.get("token"), Some(FieldValue::Text("[redacted]".into())));
    assert!(outer.links.contains(&caller()));
    assert!(outer.start <= inner.start && inner.end <= outer.end);
    let log = &capture.logs()[0];
    assert_eq!((log.message.as_str(), log.context), ("said \"so\"", inner.context));
    assert_eq!(log.fields.get("ok"), Some(FieldValue::Bool(true)));
}

#[test]
fn a_thread_stays_in_the_span_of_its_parent() {
    let trace = testing::trace();
    let span = trace.span("threads");
    span.in_scope(|| {
        let (stays, leaves) = (spawn_thread(|| info!("stays")), std::thread::spawn(|| info!("leaves")));
        stays.join().and(leaves.join()).expect("no panic");
    });
    let own_id = span.trace_context().expect("installed").span_id.to_string();
    let lines: Vec<_> = trace.lines().iter().map(|line| parse(line)).collect();
    assert_eq!(lines.len(), 1, "a plain thread is outside the trace");
    assert_eq!(
        (lines[0].get("message"), lines[0].get("span_id")),
        (&"stays".into(), &own_id.as_str().into())
    );
}

#[test]
fn tests_in_parallel_see_their_own_trace() {
    let (a, b) = (testing::trace(), testing::trace());
    a.span("a").in_scope(|| info!("for a"));
    b.span("b").in_scope(|| info!(pose = %a.trace_id(), "for b"));
    assert_eq!((a.lines().len(), b.lines().len()), (1, 1));
    assert!(a.lines()[0].contains("for a") && b.lines()[0].contains("for b"));
    assert_eq!((a.spans().len(), b.logs().len()), (1, 1));
}

#[test]
fn records_of_the_log_crate_keep_their_target_and_get_ids() {
    let capture = Capture::default();
    let filtered = Options { filter: "info,noisy=off".into(), format: LogFormat::Json, ..options() };
    capture
        .run(filtered, || {
            let _span = info_span!("s", a = 1).entered();
            log::info!(target: "third::party", "from {}", "log");
            log::debug!(target: "third::party", "filtered");
            log::error!(target: "noisy", "filtered");
        })
        .expect("valid options");
    let lines = capture.lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    let line = parse(&lines[0]);
    assert_eq!((line.get("target"), line.get("message")), (&"third::party".into(), &"from log".into()));
    assert_eq!((line.get("a"), line.get("level")), (&1.into(), &"INFO".into()));
    assert!(!lines[0].contains("log."), "{}", lines[0]);
}
