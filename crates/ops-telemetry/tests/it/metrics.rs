//! The page of metrics, as its readers see it: by eye, by Prometheus' own tool, by a parser that is not ours, and by a
//! real Prometheus.

use std::io::Write;
use std::process::{Command, Stdio};

use ops_telemetry::metrics::{Buckets, Counter, Desc, Exposition, Family, Registry, Unit};
use ops_telemetry::testing::Capture;
use ops_telemetry::{ErrorKind, TraceContext, labels};

use crate::options;

labels! {
    struct Request { method: &'static str, route: String }
}

fn context(flags: u8) -> TraceContext {
    let text = format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags:02x}");
    TraceContext::parse(&text).expect("valid")
}

/// A registry with one of each kind.
pub(crate) fn registry() -> Registry {
    let registry = Registry::new();
    let orders = Desc::new("orders_accepted_total", "Orders that were \"accepted\".\\ \n Really.");
    let orders = registry.counter(orders).expect("valid");
    orders.add(3);
    orders.add_with(2, Some(context(1)));
    let depth = registry.gauge(Desc::new("queue_depth", "What waits.")).expect("valid");
    depth.set(-2.5);
    let took = Desc::new("settlement_duration_seconds", "How long it took.").unit(Unit::Seconds);
    let took = registry
        .histogram_family::<Request>(took, Buckets::explicit(&[0.1, 1.0]).expect("valid"))
        .expect("valid");
    let took = took.with(&Request { method: "GET", route: "/a\\b\"c\n{id}".into() });
    took.observe_with(0.05, Some(context(1)));
    took.observe_with(0.5, Some(context(0)));
    took.observe(7.0);
    registry.info(Desc::new("app_info", "Facts."), &[("flavour", "plain".into())]).expect("valid");
    registry
}

#[test]
fn the_page_is_what_the_format_says() {
    let registry = registry();
    let expected = "\
# HELP app_info Facts.
# TYPE app_info gauge
app_info{flavour=\"plain\"} 1.0
# HELP orders_accepted_total Orders that were \"accepted\".\\\\ \\n Really.
# TYPE orders_accepted_total counter
orders_accepted_total 5
# HELP queue_depth What waits.
# TYPE queue_depth gauge
queue_depth -2.5
# HELP settlement_duration_seconds How long it took.
# TYPE settlement_duration_seconds histogram
settlement_duration_seconds_bucket{method=\"GET\",route=\"/a\\\\b\\\"c\\n{id}\",le=\"0.1\"} 1
settlement_duration_seconds_bucket{method=\"GET\",route=\"/a\\\\b\\\"c\\n{id}\",le=\"1.0\"} 2
settlement_duration_seconds_bucket{method=\"GET\",route=\"/a\\\\b\\\"c\\n{id}\",le=\"+Inf\"} 3
settlement_duration_seconds_sum{method=\"GET\",route=\"/a\\\\b\\\"c\\n{id}\"} 7.55
settlement_duration_seconds_count{method=\"GET\",route=\"/a\\\\b\\\"c\\n{id}\"} 3
";
    assert_eq!(registry.render(Exposition::Prometheus), expected);
    let open = registry.render(Exposition::OpenMetrics);
    let has = |line: &str| assert!(open.contains(line), "{line} is not in {open}");
    has("# TYPE orders_accepted counter\n");
    has("# TYPE app info\n");
    has("# UNIT settlement_duration_seconds seconds\n");
    has(
        "orders_accepted_total 5 # {trace_id=\"0af7651916cd43dd8448eb211c80319c\",span_id=\"b7ad6b7169203331\"} 2.0 1",
    );
    has(
        "le=\"0.1\"} 1 # {trace_id=\"0af7651916cd43dd8448eb211c80319c\",span_id=\"b7ad6b7169203331\"} 0.05 1",
    );
    has("le=\"1.0\"} 2\n");
    assert!(open.ends_with("} 3\n# EOF\n"), "{open}");
}

#[test]
fn a_name_means_one_thing() {
    let registry = Registry::new();
    let desc = || Desc::new("orders_total", "Orders.");
    let first = registry.counter(desc()).expect("valid");
    first.inc();
    assert_eq!(registry.counter(desc()).expect("the same again").get(), 1);
    let refused = [
        registry.counter(Desc::new("orders_total", "Something else.")).err(),
        registry.counter_family::<Request>(desc()).err(),
        registry.gauge(Desc::new("orders", "Too close.")).err(),
        registry.counter(desc().limit(7)).err(),
        registry.observe_counter(desc(), &[], |_| {}).err(),
        registry.counter(Desc::new("telemetry_metric_overflows_total", "Ours.")).err(),
        registry.counter(Desc::new("Orders", "Orders.")).err(),
    ];
    for refused in refused {
        assert_eq!(refused.expect("refused").kind(), ErrorKind::InvalidMetric);
    }
}

#[test]
fn too_many_series_are_counted_together_and_it_is_said_once() {
    let registry = Registry::new();
    let desc = Desc::new("hits_total", "Hits.").limit(3);
    let hits: Family<Request, Counter> = registry.counter_family(desc).expect("valid");
    let hit = |n: usize| hits.with(&Request { method: "GET", route: format!("/{n}") }).inc();
    let capture = Capture::default();
    capture.run(options(), || (0..10).chain(0..10).for_each(hit)).expect("valid options");
    let lines = capture.lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    let line = crate::parse(&lines[0]);
    assert_eq!((line.get("level"), line.get("metric")), (&"WARN".into(), &"hits_total".into()));
    let page = registry.render(Exposition::OpenMetrics);
    let has = |line: &str| assert!(page.contains(line), "{line} is not in {page}");
    has("hits_total{method=\"GET\",route=\"/2\"} 2\n");
    has("hits_total{otel_metric_overflow=\"true\"} 14\n");
    has("telemetry_metric_overflows_total{metric=\"hits_total\"} 14\n");
    assert!(!page.contains("route=\"/3\""));
    assert_eq!(page.matches("hits_total{").count(), 4);
}

#[test]
fn values_that_are_known_elsewhere_are_bounded_too() {
    let registry = Registry::new();
    let desc = Desc::new("reads_total", "Reads.").limit(2);
    registry
        .observe_counter(desc, &["disk"], |samples| {
            samples.add(&["a"], 1.0);
            samples.add(&["a"], 2.0);
            samples.add(&["b", "c"], 3.0);
            samples.add(&["b"], 4.0);
            samples.add(&["c"], 5.0);
        })
        .expect("valid");
    registry.observe_gauge(Desc::new("nothing", "Not known."), &[], |_| {}).expect("valid");
    let page = registry.render(Exposition::Prometheus);
    assert!(page.ends_with("counter\nreads_total{disk=\"a\"} 1.0\nreads_total{disk=\"b\"} 4.0\n"), "{page}");
    assert!(!page.contains("nothing"), "a metric without a series is not there");
}

#[test]
fn a_thousand_threads_of_series_are_all_there() {
    let registry = Registry::new();
    let hits: Family<Request, Counter> =
        registry.counter_family(Desc::new("hits_total", "Hits.")).expect("valid");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for n in 0..1000 {
                    hits.with(&Request { method: "GET", route: format!("/{n}") }).inc();
                    if n % 100 == 0 {
                        registry.render(Exposition::OpenMetrics);
                    }
                }
            });
        }
    });
    let page = registry.render(Exposition::Prometheus);
    assert_eq!(page.matches("} 4\n").count(), 1000);
}

/// A registry with what a process says about itself too.
fn full() -> Registry {
    let registry = registry();
    registry.register_process("orders", "1.2.3").expect("the names are free");
    registry
}

#[test]
fn the_process_is_described() {
    let page = full().render(Exposition::Prometheus);
    assert!(page.contains("build_info{service_name=\"orders\",service_version=\"1.2.3\",telemetry_version="));
    for name in ["cpu_seconds_total", "resident_memory_bytes", "open_fds", "threads", "start_time_seconds"] {
        assert!(page.contains(&format!("\nprocess_{name} ")) || cfg!(not(target_os = "linux")), "{name}");
    }
}

/// Gives `page` to a checker; says why where it is not installed.
fn checked(command: &mut Command, page: &str) -> Result<String, String> {
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match pipes.spawn() {
        Ok(child) => child,
        Err(error) => {
            return Err(format!("{} does not start: {error}", command.get_program().display()));
        }
    };
    child.stdin.take().expect("piped").write_all(page.as_bytes()).expect("the checker reads");
    let output = child.wait_with_output().expect("ends");
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(77) {
        return Err(said);
    }
    assert!(output.status.success(), "{said}\n{page}");
    Ok(said)
}

#[test]
fn promtool_has_nothing_to_say() {
    let page = full().render(Exposition::Prometheus);
    match checked(Command::new("promtool").args(["check", "metrics"]), &page) {
        Ok(said) => assert_eq!(said.trim(), ""),
        Err(why) => ops_testkit::skip!("{why}"),
    }
}

#[test]
fn another_parser_of_openmetrics_reads_the_page_and_its_exemplars() {
    const PROGRAM: &str = r#"
import sys
try:
    from prometheus_client.openmetrics.parser import text_string_to_metric_families as read
except ImportError:
    print("the Python package prometheus_client is not there")
    sys.exit(77)
for family in read(sys.stdin.read()):
    for sample in family.samples:
        e = sample.exemplar
        print(family.name, family.type, family.unit, sample.name, sorted(sample.labels.items()), sample.value,
              e and (e.labels, e.value))
"#;
    let page = full().render(Exposition::OpenMetrics);
    let said = match checked(Command::new("python3").args(["-c", PROGRAM]), &page) {
        Ok(said) => said,
        Err(why) => ops_testkit::skip!("{}", why.trim()),
    };
    let ids = "{'trace_id': '0af7651916cd43dd8448eb211c80319c', 'span_id': 'b7ad6b7169203331'}";
    let has = |line: &str| assert!(said.contains(line), "{line} is not in {said}");
    has(&format!("orders_accepted counter  orders_accepted_total [] 5 ({ids}, 2.0)"));
    has("app info  app_info [('flavour', 'plain')] 1.0 None");
    let labels = r#"[('le', '0.1'), ('method', 'GET'), ('route', '/a\\b"c\n{id}')]"#;
    let bucket = "settlement_duration_seconds histogram seconds settlement_duration_seconds_bucket";
    has(&format!("{bucket} {labels} 1 ({ids}, 0.05)"));
}
