//! The texts for Redis and PostgreSQL, as the real servers take them and show them.

use ops_telemetry::propagate::{Baggage, BaggagePolicy};
use ops_telemetry::propagate::{Outgoing, TraceState, postgres, redis};
use ops_telemetry::testing::Capture;
use ops_telemetry::{Options, TraceContext};
use ops_testkit::{Postgres, Redis, or_skip};

use crate::options;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

fn parent() -> TraceContext {
    TraceContext::parse(PARENT).expect("valid")
}

#[test]
fn the_reader_of_a_redis_stream_continues_the_trace() {
    let server = or_skip!(Redis::start());
    let told = Options {
        parent: Some(parent()),
        tracestate: Some("vendor=a b,other=1".into()),
        baggage: Some("tenant=%E2%82%AC,user=alice".into()),
        ..options()
    };
    let sent = Capture::default().run(told, || {
        let _span = tracing::info_span!("send order", otel.kind = "producer").entered();
        let fields = redis::stream_fields(&BaggagePolicy::Only(vec!["tenant".into()]));
        let mut words = vec!["XADD", "orders", "*", "order", "7"];
        words.extend(fields.iter().flat_map(|(name, value)| [*name, value.as_str()]));
        server.command(&words).expect("the stream takes an entry");
        TraceContext::current().expect("telemetry is there")
    });
    let sent = sent.expect("valid options");
    // An entry is a list of names and values in turn.
    let script =
        "local entry = redis.call('XRANGE', KEYS[1], '-', '+')[1] return table.concat(entry[2], '\\n')";
    let entry = server.command(&["EVAL", script, "1", "orders"]).expect("there is an entry");
    let words: Vec<&str> = entry.lines().collect();
    let fields: Vec<(&str, &str)> = words.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
    assert_eq!(fields[0], ("order", "7"));
    let received = redis::extract(fields);
    assert_eq!(received.context, Some(sent));
    assert_eq!(received.context.map(|context| context.trace_id), Some(parent().trace_id));
    assert_eq!(received.state.to_header().as_deref(), Some("vendor=a b,other=1"));
    assert_eq!(received.baggage.to_header().as_deref(), Some("tenant=%E2%82%AC"));
    assert!(received.fault.is_none(), "{:?}", received.fault);
}

#[test]
fn redis_takes_the_name_of_a_connection() {
    let server = or_skip!(Redis::start());
    for (service, version) in [("my orders\n", "1.0"), ("büch\u{7f}er", "é"), ("a\"b'c", "1\t2")] {
        let name = redis::client_name(service, version);
        assert_eq!(server.command(&["CLIENT", "SETNAME", &name]).expect("it is taken"), "OK", "{name}");
    }
    server.command(&["CLIENT", "SETNAME", "my orders"]).expect_err("or there would be nothing to replace");
}

#[test]
fn postgresql_shows_the_names_and_the_comment_that_it_was_given() {
    let server = or_skip!(Postgres::start());
    let as_service = |name: &str, sql: &str| {
        let mut psql = server.command("psql");
        psql.args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-c", sql]).env("PGAPPNAME", name);
        let output = psql.output().expect("psql starts");
        assert!(output.status.success(), "{sql}: {output:?}");
        String::from_utf8(output.stdout).expect("utf-8").trim_end().to_owned()
    };
    let mine = "SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()";
    for (service, version) in
        [("orders", "1.2.3"), ("bücher\n", "1"), (&*"x".repeat(70), "1"), ("o'br\\ien", "2")]
    {
        let name = postgres::application_name(service, version);
        assert_eq!(as_service(&name, mine), name, "the server shows it as it was given");
    }
    // Both ways to read a backslash, and names that would end the constant.
    for conforming in ["on", "off"] {
        for service in ["orders", "o'brien", "a\\'; DROP TABLE kept; --", &"é\\".repeat(40)] {
            let set = postgres::set_local(service, &parent());
            let sql = format!(
                "SET standard_conforming_strings = {conforming};
                 CREATE TABLE IF NOT EXISTS kept (); BEGIN; {set}; {mine}; COMMIT; {mine}; TABLE kept"
            );
            let shown = server.psql(&sql).unwrap_or_else(|error| panic!("{set}: {error:?}"));
            let [inside, after] = shown.lines().collect::<Vec<_>>()[..] else { panic!("{shown}") };
            assert!(inside.ends_with(&format!(":{TRACE}")) && inside.len() <= 63, "{inside}");
            assert_eq!(after, "psql", "the name ends with the transaction");
        }
    }
    let outgoing = Outgoing {
        context: parent(),
        state: TraceState::parse(["vendor=a b,other=1*/"]).unwrap_or_default(),
        baggage: Baggage::parse(["user=alice"]),
    };
    let sql = "SELECT query FROM pg_stat_activity WHERE pid = pg_backend_pid()";
    let tags = [("route", "/orders/{id}"), ("a key", "*/ DROP TABLE kept; --"), ("quote", "'\\'")];
    let commented = postgres::comment(sql, &outgoing, &tags);
    assert!(commented.contains(PARENT) && !commented.contains("alice"), "{commented}");
    assert_eq!(as_service("x", &commented), *commented, "the server's own view has all of it");
    server.psql("TABLE kept").expect("no comment ended early");
}
