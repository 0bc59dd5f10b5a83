//! Trace and span ids: on every line, inherited, and passed on.

use ops_telemetry::testing::Capture;
use ops_telemetry::{Options, TraceContext, child_env};
use tracing::{Instrument, info, info_span};

use crate::{lines, options, parse};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-02";

fn child_of_parent() -> Options {
    let parent = TraceContext::parse(PARENT).expect("valid");
    Options { parent: Some(parent), tracestate: Some("v=1".into()), baggage: Some("k=v".into()), ..options() }
}

#[test]
fn every_line_has_ids_and_spans_nest() {
    let lines = lines(options(), || {
        info!("outside");
        let _outer = info_span!("outer").entered();
        info!("outer");
        let inner = info_span!("inner");
        info!(parent: &inner, "before it is entered");
        inner.in_scope(|| info!("inner"));
        info!("outer again");
        info!(parent: None, "outside again");
        info_span!(parent: None, "root").in_scope(|| info!("a root of its own"));
    });
    let id = |key: &str| lines.iter().map(|line| line.get(key).as_str().expect("text")).collect::<Vec<_>>();
    let traces = id("trace_id");
    assert!(traces.iter().all(|trace| *trace == traces[0] && trace.len() == 32));
    let spans = id("span_id");
    let [process, outer, inner, same_inner, same_outer, same_process, root] = spans[..] else {
        panic!("{spans:?}")
    };
    assert_eq!((inner, outer, process), (same_inner, same_outer, same_process));
    let mut different = [process, outer, inner, root];
    different.sort_unstable();
    assert!(different.windows(2).all(|pair| pair[0] != pair[1]), "{different:?}");
    assert!(lines.iter().all(|line| line.get("trace_flags") == "03"));
}

#[test]
fn the_trace_of_the_caller_is_continued() {
    let lines = lines(child_of_parent(), || {
        info!("outside");
        info_span!("inside").in_scope(|| info!("inside"));
    });
    for line in &lines {
        assert_eq!(line.get("trace_id"), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(line.get("trace_flags"), "02");
        assert_ne!(line.get("span_id"), "b7ad6b7169203331", "the caller's span is not ours");
    }
}

#[test]
fn a_process_without_a_caller_has_a_trace_of_its_own() {
    let trace = || lines(options(), || info!("x"))[0].get("trace_id").clone();
    assert_ne!(trace(), trace());
}

#[test]
fn a_child_process_is_told_the_current_span() {
    let capture = Capture::default();
    capture
        .run(child_of_parent(), || {
            let outside = child_env();
            let span = info_span!("call").entered();
            info!("inside");
            let inside = child_env();
            assert_eq!(inside[1..], [("TRACESTATE", "v=1".to_owned()), ("BAGGAGE", "k=v".to_owned())]);
            assert_eq!(inside[0].0, "TRACEPARENT");
            assert_ne!(inside[0], outside[0]);
            let told = TraceContext::parse(&inside[0].1).expect("valid");
            assert_eq!(Some(told), TraceContext::current());
            let line = parse(&capture.lines()[0]);
            assert_eq!(line.get("span_id"), told.span_id.to_string().as_str());
            drop(span);
            assert_eq!(child_env(), outside);
        })
        .expect("valid options");
}

#[test]
fn without_telemetry_there_is_no_context() {
    let nothing = tracing::subscriber::NoSubscriber::default();
    tracing::subscriber::with_default(nothing, || {
        assert_eq!(TraceContext::current(), None);
        assert!(child_env().is_empty());
    });
}

#[test]
fn ids_follow_a_future_that_moves_between_polls() {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    let lines = lines(options(), || {
        let work = |name: &'static str| {
            async move {
                info!("{name} first");
                let mut polled = false;
                std::future::poll_fn(|_| {
                    if std::mem::replace(&mut polled, true) { Poll::Ready(()) } else { Poll::Pending }
                })
                .await;
                info!("{name} second");
            }
            .instrument(info_span!("work", name))
        };
        let (mut a, mut b) = (pin!(work("a")), pin!(work("b")));
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..2 {
            let _ = a.as_mut().poll(&mut context);
            let _ = b.as_mut().poll(&mut context);
        }
    });
    let span_of = |message: &str| {
        lines.iter().find(|line| line.get("message") == message).expect(message).get("span_id").clone()
    };
    assert_eq!(span_of("a first"), span_of("a second"));
    assert_eq!(span_of("b first"), span_of("b second"));
    assert_ne!(span_of("a first"), span_of("b first"));
}

/// The id of a span is drawn when somebody asks for it.
#[test]
fn threads_that_ask_for_an_id_at_the_same_time_are_told_the_same_one() {
    let capture = Capture::default();
    let asked = capture.run(options(), || {
        let dispatch = tracing::dispatcher::get_default(Clone::clone);
        for _ in 0..300 {
            let span = info_span!("shared");
            let barrier = std::sync::Barrier::new(2);
            let ask = || {
                tracing::dispatcher::with_default(&dispatch, || {
                    let _span = span.enter();
                    barrier.wait();
                    TraceContext::current().expect("telemetry is there")
                })
            };
            let (one, other) = std::thread::scope(|scope| {
                let other = scope.spawn(ask);
                (ask(), other.join().expect("no panic"))
            });
            assert_eq!(one, other);
        }
    });
    asked.expect("valid options");
}
