//! The trace on its way out of the process, by every carrier, and into a real child.

use std::process::Command;

use ops_telemetry::propagate::environment::{CommandExt, VARIABLES};
use ops_telemetry::propagate::{Baggage, BaggagePolicy, Outgoing, Received, kafka, postgres, redis};
use ops_telemetry::testing::Capture;
use ops_telemetry::{Options, TraceContext, child_env};
use tracing::info_span;

use crate::options;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03";

/// Runs `body` in a process that was told a trace.
fn told(body: impl FnOnce(&Capture)) {
    let parent = TraceContext::parse(PARENT).expect("valid");
    let options = Options {
        parent: Some(parent),
        tracestate: Some("vendor=1".into()),
        baggage: Some("tenant=7,user=alice".into()),
        ..options()
    };
    let capture = Capture::default();
    capture.run(options, || body(&capture)).expect("valid options");
}

fn baggage_of(outgoing: Option<Outgoing>) -> Option<String> {
    outgoing.expect("telemetry is there").baggage.to_header()
}

#[test]
fn what_the_process_was_told_goes_on_and_baggage_only_by_policy() {
    told(|_| {
        let _span = info_span!("call").entered();
        let outgoing = Outgoing::current(&BaggagePolicy::default()).expect("telemetry is there");
        assert_eq!(Some(outgoing.context), TraceContext::current());
        assert_eq!(outgoing.state.to_header().as_deref(), Some("vendor=1"));
        assert_eq!(outgoing.context.flags.bits(), 3, "the random flag stays set");
        assert_eq!(baggage_of(Some(outgoing)), None);
        let only = BaggagePolicy::Only(vec!["tenant".into()]);
        assert_eq!(baggage_of(Outgoing::current(&only)).as_deref(), Some("tenant=7"));
        let all = Outgoing::current(&BaggagePolicy::Everything);
        assert_eq!(baggage_of(all).as_deref(), Some("tenant=7,user=alice"));
    });
}

#[test]
fn baggage_of_a_span_holds_below_it_and_nowhere_else() {
    told(|capture| {
        let outer = info_span!("outer").entered();
        let mut baggage = Baggage::current();
        baggage.insert("cart", "a b").expect("valid");
        let inner = info_span!("inner");
        baggage.attach(&inner);
        inner.in_scope(|| {
            let _deeper = info_span!("deeper").entered();
            assert_eq!(Baggage::current().get("cart").as_deref(), Some("a b"));
            let all = Outgoing::current(&BaggagePolicy::Everything).expect("telemetry is there");
            assert_eq!(
                all.state.to_header().as_deref(),
                Some("vendor=1"),
                "the state is not lost on the way"
            );
            tracing::info!("a line");
        });
        assert_eq!(Baggage::current().get("cart"), None);
        drop(outer);
        let lines = capture.lines().join("\n");
        assert!(!lines.contains("alice") && !lines.contains("a b") && !lines.contains("cart"), "{lines}");
    });
}

#[test]
fn a_message_that_is_passed_on_carries_our_trace_alone() {
    told(|_| {
        let claimed = "00-11111111111111111111111111111111-2222222222222222-01";
        let received = vec![
            ("key".to_owned(), b"x".to_vec()),
            ("traceparent".to_owned(), claimed.as_bytes().to_vec()),
            ("TraceParent".to_owned(), claimed.as_bytes().to_vec()),
            ("tracestate".to_owned(), b"theirs=1".to_vec()),
            ("baggage".to_owned(), b"admin=true".to_vec()),
        ];
        let sent = kafka::replace(received.clone(), &BaggagePolicy::Nothing);
        let names: Vec<_> = sent.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["key", "traceparent", "tracestate"]);
        let read = kafka::extract(sent.iter().map(|(name, value)| (name, value)));
        assert_eq!((read.context, read.fault.is_none()), (TraceContext::current(), true));
        assert_eq!(read.state.get("vendor"), Some("1"));

        let mut pairs = received;
        Outgoing::current(&BaggagePolicy::Nothing).expect("telemetry is there").inject(&mut pairs);
        assert_eq!(Received::extract(&pairs).context, TraceContext::current());
        assert!(!pairs.iter().any(|(name, _)| name == "baggage"), "what the sender claimed is gone");
    });
}

#[test]
fn without_telemetry_nothing_is_sent_and_claims_are_removed() {
    let nothing = tracing::subscriber::NoSubscriber::default();
    tracing::subscriber::with_default(nothing, || {
        assert!(Outgoing::current(&BaggagePolicy::Everything).is_none());
        assert!(kafka::headers(&BaggagePolicy::Everything).is_empty());
        assert!(redis::stream_fields(&BaggagePolicy::Everything).is_empty());
        let claimed = vec![("traceparent".to_owned(), PARENT.as_bytes().to_vec())];
        assert!(kafka::replace(claimed, &BaggagePolicy::Everything).is_empty());
        assert!(Baggage::current().is_empty());
    });
}

#[test]
fn a_stream_entry_and_a_statement_lead_back_to_the_span() {
    told(|_| {
        let _span = info_span!("call").entered();
        let fields = redis::stream_fields(&BaggagePolicy::Nothing);
        assert_eq!(redis::extract(fields).context, TraceContext::current());
        let outgoing = Outgoing::current(&BaggagePolicy::Everything).expect("telemetry is there");
        let sql = postgres::comment("SELECT 1", &outgoing, &[]);
        assert!(sql.contains(&outgoing.context.to_traceparent()) && !sql.contains("alice"), "{sql}");
    });
}

/// What a real child sees of the three variables.
fn seen_by_child(prepare: impl FnOnce(&mut Command)) -> Vec<String> {
    let mut command = Command::new("sh");
    command.args(["-c", r#"echo "${TRACEPARENT-none}"; echo "${TRACESTATE-none}"; echo "${BAGGAGE-none}""#]);
    // What a process inherits is in its environment; our own is never changed.
    for name in VARIABLES {
        command.env(name, "stale");
    }
    prepare(&mut command);
    let output = command.output().expect("sh runs");
    String::from_utf8(output.stdout).expect("utf-8").lines().map(str::to_owned).collect()
}

#[test]
fn a_child_continues_the_trace_or_learns_nothing() {
    told(|_| {
        let _span = info_span!("call").entered();
        let current = TraceContext::current().expect("telemetry is there").to_traceparent();
        let seen = seen_by_child(|command| {
            command.trace();
        });
        assert_eq!(seen, [current.as_str(), "vendor=1", "tenant=7,user=alice"]);
        let seen = seen_by_child(|command| {
            command.untraced();
        });
        assert_eq!(seen, ["none", "none", "none"]);
    });
    // A process with nothing to hand on removes what is stale.
    Capture::default()
        .run(options(), || {
            let seen = seen_by_child(|command| {
                command.trace();
            });
            assert_eq!(seen[1..], ["none", "none"]);
            assert_ne!(seen[0], "stale");
        })
        .expect("valid options");
}

#[test]
fn a_malformed_state_of_the_process_is_not_handed_on() {
    let parent = TraceContext::parse(PARENT).expect("valid");
    let options = Options {
        parent: Some(parent),
        tracestate: Some("a=1,B".into()),
        baggage: Some("k=v,;,x y=z".into()),
        ..options()
    };
    Capture::default()
        .run(options, || {
            let sent = child_env();
            assert_eq!(sent[1..], [("BAGGAGE", "k=v".to_owned())]);
        })
        .expect("valid options");
}

#[test]
fn work_of_a_trusted_caller_is_in_its_trace_and_of_a_stranger_in_one_of_its_own() {
    let theirs = "00-11111111111111111111111111111111-2222222222222222-00";
    let message = vec![
        ("traceparent", theirs.as_bytes().to_vec()),
        ("tracestate", b"theirs=1".to_vec()),
        ("baggage", b"k=v".to_vec()),
    ];
    told(|capture| {
        let work = |is_trusted: bool| {
            let span = Received::extract(&message).admit(is_trusted).open(|| info_span!("work"));
            span.in_scope(|| {
                tracing::info!("a line");
                let _below = info_span!("below").entered();
                Outgoing::current(&BaggagePolicy::Everything).expect("telemetry is there")
            })
        };
        let trusted = work(true);
        assert_eq!(trusted.context.trace_id.to_string(), "1".repeat(32));
        assert_eq!(trusted.context.flags.bits(), 0);
        assert_eq!(trusted.state.to_header().as_deref(), Some("theirs=1"));
        assert_eq!(trusted.baggage.to_header().as_deref(), Some("k=v"));
        let line = crate::parse(&capture.lines()[0]);
        assert_eq!(line.get("trace_id"), "1".repeat(32).as_str());
        let stranger = work(false);
        let ours = [TraceContext::current().expect("telemetry is there").trace_id, trusted.context.trace_id];
        assert!(!ours.contains(&stranger.context.trace_id), "a trace of its own");
        assert!(stranger.context.flags.is_sampled(), "their flag is not believed");
        assert!(stranger.state.is_empty() && stranger.baggage.is_empty());
    });
}
