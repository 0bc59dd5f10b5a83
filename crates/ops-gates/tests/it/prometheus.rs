//! `kind = "promql"` and `kind = "slo"` against a real Prometheus with a known past.

use crate::support::{run, run_gate};
use ops_gates::Plan;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const STEP: u64 = 60;
const PAST: u64 = 30 * 3600;

/// A Prometheus that scrapes nothing, ended with the test.
pub(crate) struct Prometheus {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Prometheus {
    /// None where Prometheus is not installed.
    fn start() -> Option<Self> {
        Self::start_with(&past())
    }

    /// With this past, in the text format of OpenMetrics. None where Prometheus is not installed.
    pub(crate) fn start_with(past: &str) -> Option<Self> {
        let found = Command::new("prometheus").arg("--version").output();
        let promtool = Command::new("promtool").arg("--version").output();
        if !(found.is_ok_and(|it| it.status.success()) && promtool.is_ok_and(|it| it.status.success())) {
            return None;
        }
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("past.txt"), past).expect("a file");
        std::fs::write(path("prometheus.yml"), "global: {}\n").expect("a file");
        let made = Command::new("promtool")
            .args(["tsdb", "create-blocks-from", "openmetrics"])
            .args([path("past.txt"), path("data")])
            .output()
            .expect("promtool");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let port = ops_testkit::free_port().expect("a free port");
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", path("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", path("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus");
        let server = Self { child, port, _folder: folder };
        for _ in 0..600 {
            if server.is_ready().is_some() {
                return Some(server);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("prometheus is not ready");
    }

    fn is_ready(&self) -> Option<()> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.write_all(b"GET /-/ready HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.contains(" 200 ").then_some(())
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

/// Thirty hours, a sample a minute. `slow_burn` has 0.2 % of bad events; `fast_burn` none until 70 minutes ago, and then 10 %;
/// `spent` always 1 %.
fn past() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let times = || (0..=PAST / STEP).map(move |step| now - PAST + step * STEP);
    let mut text = String::new();
    let mut series = |name: &str, labels: &str, kind: &str, value: &dyn Fn(u64) -> Option<f64>| {
        if !text.contains(&format!("# TYPE {name} ")) {
            let _ = writeln!(text, "# TYPE {name} {kind}");
        }
        let suffix = if kind == "counter" { "_total" } else { "" };
        for time in times() {
            if let Some(value) = value(time) {
                let _ = writeln!(text, "{name}{suffix}{labels} {value} {time}");
            }
        }
    };
    #[expect(clippy::cast_precision_loss, reason = "seconds of a day")]
    let since = |time: u64, from: u64| time.saturating_sub(from) as f64;
    let start = now - PAST;
    for (name, bad, from) in
        [("slow_burn", 0.002, start), ("fast_burn", 0.1, now - 4200), ("spent", 0.01, start)]
    {
        series(name, "{code=\"200\"}", "counter", &|time| Some(since(time, start) - bad * since(time, from)));
        series(name, "{code=\"500\"}", "counter", &|time| Some(bad * since(time, from)));
    }
    series("load", "{instance=\"a\"}", "gauge", &|_| Some(2.0));
    series("load", "{instance=\"b\"}", "gauge", &|_| Some(3.0));
    series("zero", "", "gauge", &|_| Some(0.0));
    series("endless", "", "gauge", &|_| Some(f64::INFINITY));
    series("late", "", "gauge", &|time| (time <= now - 120).then_some(1.0));
    series("gone", "", "gauge", &|time| (time <= now - 3600).then_some(1.0));
    series("old", "", "counter", &|time| (time <= now - 3600).then(|| since(time, start)));
    text.push_str("# EOF\n");
    text
}

#[tokio::test]
async fn an_answer_decides_only_if_it_is_there_whole_and_fresh() {
    let Some(server) = Prometheus::start() else { ops_testkit::skip!("prometheus is not installed") };
    let traffic = |query: &str, least: u32| format!("max = 9\ntraffic = '{query}'\nmin_traffic = {least}");
    for (query, keys, outcome, code) in [
        ("load{instance=\"a\"}", "max = 2", "PASS", "ok"),
        ("load{instance=\"a\"}", "max = 1.9", "FAIL", "above"),
        ("load{instance=\"a\"}", "min = 2.1", "FAIL", "below"),
        ("load", "max = 3\nseries = 2", "PASS", "ok"),
        ("load", "max = 2\nseries = 2", "FAIL", "above"),
        ("load", "min = 3\nmin_series = 1", "FAIL", "below"),
        ("load", "max = 3", "ERROR", "series"),
        ("load", "max = 3\nseries = 3", "ERROR", "series"),
        ("load", "max = 3\nmin_series = 3", "ERROR", "series"),
        ("scalar(zero)", "max = 1", "PASS", "ok"),
        ("nonesuch", "max = 1", "ERROR", "no-sample"),
        ("sum(rate(nonesuch[5m]))", "max = 1", "ERROR", "no-sample"),
        // There is load, but none above ten: an empty answer without any missing sample.
        ("count(load > 10)", "max = 1", "ERROR", "empty"),
        (
            "count(load > 10)",
            "max = 1\non_empty = \"pass\"\nbecause = \"nothing is overloaded\"",
            "PASS",
            "ok",
        ),
        ("zero / zero", "max = 1", "ERROR", "not-a-number"),
        ("endless", "min = 1", "ERROR", "not-a-number"),
        ("late", "max = 1", "PASS", "ok"),
        ("late", "max = 1\nmax_age = \"1m\"", "ERROR", "stale"),
        ("gone", "max = 1", "ERROR", "no-sample"),
        // Two hours of a counter that nobody has written for one.
        ("sum(increase(old_total[2h]))", "min = 1", "ERROR", "no-sample"),
        ("load{instance=\"a\"}", &traffic("sum(increase(spent_total[5m]))", 100), "PASS", "ok"),
        ("load{instance=\"a\"}", &traffic("sum(increase(spent_total[5m]))", 1000), "INCONCLUSIVE", "traffic"),
        ("load{instance=\"a\"}", &traffic("sum(increase(nonesuch[5m]))", 1), "INCONCLUSIVE", "traffic"),
        ("load{instance=\"a\"}", &traffic("zero / zero", 1), "INCONCLUSIVE", "traffic"),
        ("sum(load", "max = 1", "ERROR", "query"),
        ("load[5m]", "max = 1", "ERROR", "query"),
    ] {
        let ran =
            run_gate(&format!("kind = \"promql\"\nurl = \"{}\"\nquery = '{query}'\n{keys}", server.url()))
                .await;
        println!("{query} {keys}: {:?}", ran.record.gates[0].reason);
        ran.expect(outcome, code);
    }
    let nobody = ops_testkit::free_port().expect("a free port");
    run_gate(&format!("kind = \"promql\"\nurl = \"http://127.0.0.1:{nobody}\"\nquery = 'up'\nmax = 1"))
        .await
        .expect("ERROR", "connect");
}

#[test]
fn a_query_that_passes_without_data_is_refused() {
    let gate = |keys: &str| {
        let plan =
            format!("name = \"x\"\n[[gate]]\nid = \"it\"\nkind = \"promql\"\nurl = \"http://p\"\n{keys}");
        Plan::parse(&plan, "x.toml").err().map(|error| error.problems()[0].message.clone())
    };
    for (keys, part) in [
        ("query = 'sum(errors_total) or vector(0)'\nmax = 1", "or vector"),
        ("query = 'up == 0'\nmax = 1", "comparison at the top"),
        ("query = 'up'", "every answer would pass"),
        ("query = 'up'\nmax = 1\nseries = 0", "proves nothing"),
        ("query = 'up'\nmax = 1\non_empty = \"pass\"", "needs `because`"),
        ("query = 'up'\nmax = 1\ntraffic = 'up'", "belong together"),
        ("query = 'up'\nmax = 1\ntraffic = '1'\nmin_traffic = 1", "reads no series"),
    ] {
        assert!(gate(keys).is_some_and(|message| message.contains(part)), "{keys}: {:?}", gate(keys));
    }
    assert_eq!(gate("query = 'up == bool 0'\nmax = 1"), None);
}

#[tokio::test]
async fn a_budget_that_is_spent_or_burns_stops_the_release() {
    let Some(server) = Prometheus::start() else { ops_testkit::skip!("prometheus is not installed") };
    for (name, slo, keys, outcome, code) in [
        ("slow_burn", "99.5", "window = \"1d\"", "PASS", "ok"),
        ("slow_burn", "99.5", "window = \"1d\"\nmax_spent_percent = 30", "FAIL", "budget-spent"),
        ("slow_burn", "99.9", "window = \"1d\"", "FAIL", "budget-spent"),
        ("spent", "99.5", "window = \"1d\"", "FAIL", "budget-spent"),
        // 0.49 % over the day, but twenty times the budget in the last hour.
        ("fast_burn", "99.5", "window = \"1d\"", "FAIL", "budget-burns"),
        ("fast_burn", "99.5", "window = \"1d\"\nburn = false", "PASS", "ok"),
        // Four weeks, of which only thirty hours are there.
        ("slow_burn", "99.5", "", "INCONCLUSIVE", "window-not-covered"),
        ("slow_burn", "99.5", "young = true", "PASS", "ok"),
        ("slow_burn", "99.5", "window = \"1d\"\nmin_events = 1000000", "ERROR", "few-events"),
        ("nonesuch", "99.5", "window = \"1d\"", "ERROR", "empty"),
    ] {
        let keys = format!(
            "name = \"x\"\nobjectives = {{ slo = {slo} }}\n[[gate]]\nid = \"it\"\nkind = \"slo\"\nurl = \"{}\"\n\
             good = 'sum(increase({name}_total{{code!~\"5..\"}}[{{{{.window}}}}]))'\n\
             total = 'sum(increase({name}_total[{{{{.window}}}}]))'\n{keys}",
            server.url()
        );
        let ran = run(&keys).await;
        println!(
            "{name} {slo} {keys}: {:?} {:?}",
            ran.record.gates[0].reason, ran.record.gates[0].measurements
        );
        ran.expect(outcome, code);
    }
    let swapped = format!(
        "name = \"x\"\nobjectives = {{ slo = 99.5 }}\n[[gate]]\nid = \"it\"\nkind = \"slo\"\nurl = \"{}\"\nwindow = \"1d\"\n\
         total = 'sum(increase(spent_total{{code=\"500\"}}[{{{{.window}}}}]))'\n\
         good = 'sum(increase(spent_total[{{{{.window}}}}]))'\n",
        server.url()
    );
    run(&swapped).await.expect("ERROR", "more-good-than-all");
    let without = Plan::parse(
        "name = \"x\"\n[[gate]]\nid = \"it\"\nkind = \"slo\"\nurl = \"http://p\"\ngood = 'sum(a[{{.window}}])'\ntotal = 'sum(b)'",
        "x.toml",
    );
    let problems: Vec<String> = without
        .err()
        .map(|error| error.problems().iter().map(|problem| problem.message.clone()).collect())
        .unwrap_or_default();
    assert!(
        problems.len() == 2 && problems[0].contains("objectives") && problems[1].contains("window"),
        "{problems:?}"
    );
}
