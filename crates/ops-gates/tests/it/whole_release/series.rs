//! The metrics of the shop: what Prometheus scrapes now, and the ninety days before it, by the same formulas.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

/// The jobs that Prometheus scrapes, and how many targets each has.
pub(crate) const JOBS: [(&str, u32); 9] = [
    ("shop", 2),
    ("task-workers", 2),
    ("llm-api", 1),
    ("mcp", 1),
    ("node", 3),
    ("postgres", 1),
    ("kafka", 3),
    ("ci", 1),
    ("kubernetes", 1),
];

/// A series of a job: its name, its labels, and either a constant or how much a counter grows in a second.
enum Series {
    Gauge(&'static str, &'static str, f64),
    Counter(&'static str, &'static str, f64),
}

use Series::{Counter, Gauge};

const HOUR: f64 = 3600.0;
const DAY: f64 = 24.0 * HOUR;

fn of(job: &str) -> Vec<Series> {
    match job {
        "shop" => vec![
            Counter("http_requests_total", "code=\"200\"", 9.99),
            Counter("http_requests_total", "code=\"500\"", 0.01),
            Counter("db_query_duration_seconds_bucket", "le=\"0.05\"", 1.0),
            Counter("db_query_duration_seconds_bucket", "le=\"+Inf\"", 1.0),
            Counter("db_query_duration_seconds_count", "", 1.0),
            Counter("redis_keyspace_hits_total", "", 9.0),
            Counter("redis_keyspace_misses_total", "", 1.0),
        ],
        "node" => vec![
            Counter("node_cpu_seconds_total", "mode=\"idle\",cpu=\"0\"", 0.6),
            Counter("node_cpu_seconds_total", "mode=\"user\",cpu=\"0\"", 0.4),
            Gauge("node_memory_MemAvailable_bytes", "", 6e9),
            Gauge("node_memory_MemTotal_bytes", "", 8e9),
            Gauge("node_filesystem_avail_bytes", "mountpoint=\"/\"", 6e10),
            Gauge("node_filesystem_size_bytes", "mountpoint=\"/\"", 1e11),
        ],
        "ci" => vec![
            Counter("ci_runs_total", "branch=\"main\",result=\"success\"", 49.0 / DAY),
            Counter("ci_runs_total", "branch=\"main\",result=\"failure\"", 1.0 / DAY),
            Counter("deployments_total", "environment=\"production\",result=\"success\"", 1.99 / DAY),
            Counter("deployments_total", "environment=\"production\",result=\"failure\"", 0.01 / DAY),
            Counter("deployment_duration_seconds_sum", "", 2.0 * 900.0 / DAY),
            Counter("deployment_duration_seconds_count", "", 2.0 / DAY),
            Counter("incident_recovery_seconds_sum", "", 120.0 / (30.0 * DAY)),
            Counter("incident_recovery_seconds_count", "", 1.0 / (30.0 * DAY)),
        ],
        "kubernetes" => {
            vec![Counter("kube_pod_container_status_restarts_total", "namespace=\"shop\"", 0.1 / HOUR)]
        }
        _ => vec![Gauge("build_info", "version=\"1.2.0\"", 1.0)],
    }
}

/// How long the past is: more than the longest window of the plan.
const PAST: u64 = 95 * 24 * 3600;

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

#[expect(clippy::cast_precision_loss, reason = "seconds since 1970")]
fn value(series: &Series, time: u64) -> f64 {
    match series {
        Gauge(.., value) => *value,
        // From a fixed day on, so that the past and the present are one counter.
        Counter(.., rate) => rate * (time - 1_700_000_000) as f64,
    }
}

/// What a target of a job says now. Instances differ only by what Prometheus calls them.
pub(crate) fn page(job: &str) -> String {
    let time = now();
    let mut page = String::new();
    for series in of(job) {
        let (Gauge(name, labels, _) | Counter(name, labels, _)) = &series;
        let _ = writeln!(page, "{name}{{{labels}}} {}", value(&series, time));
    }
    page
}

/// The past of all jobs in the text format of OpenMetrics: a sample an hour, and one a minute of the last seven hours.
pub(crate) fn past() -> String {
    let now = now();
    let times: Vec<u64> =
        (now - PAST..now - 7 * 3600).step_by(3600).chain((now - 7 * 3600..=now).step_by(60)).collect();
    let mut text = String::new();
    let mut names = Vec::new();
    for (job, _) in JOBS {
        for series in of(job) {
            let (Gauge(name, ..) | Counter(name, ..)) = series;
            if !names.contains(&(job, name)) {
                names.push((job, name));
            }
        }
    }
    for (job, name) in names {
        let counts = JOBS.iter().find(|(it, _)| *it == job).map_or(0, |(_, count)| *count);
        let _ = writeln!(text, "# TYPE {name} unknown");
        for series in of(job) {
            let (Gauge(this, labels, _) | Counter(this, labels, _)) = &series;
            if *this != name {
                continue;
            }
            let comma = if labels.is_empty() { "" } else { "," };
            for number in 1..=counts {
                for time in &times {
                    let value = value(&series, *time);
                    let _ = writeln!(
                        text,
                        "{name}{{job=\"{job}\",instance=\"{job}-{number}\"{comma}{labels}}} {value} {time}"
                    );
                }
            }
        }
    }
    text.push_str("# EOF\n");
    text
}

/// The configuration of a Prometheus that scrapes every target at this address.
pub(crate) fn configuration(address: &str, alertmanager: u16) -> String {
    let host = address.trim_start_matches("http://");
    let mut text = format!(
        "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: [rules.yml]\n\
         alerting: {{ alertmanagers: [{{ static_configs: [{{ targets: ['127.0.0.1:{alertmanager}'] }}] }}] }}\nscrape_configs:\n"
    );
    for (job, count) in JOBS {
        let _ = writeln!(text, "- job_name: {job}\n  static_configs:");
        for number in 1..=count {
            let labels = format!("{{ __metrics_path__: /scrape/{job}/{number}, instance: {job}-{number} }}");
            let _ = writeln!(text, "  - {{ targets: ['{host}'], labels: {labels} }}");
        }
    }
    text
}

/// The rules that the plan wants to see.
pub(crate) const RULES: &str = "groups:
- name: shop
  interval: 1s
  rules:
  - { alert: ErrorBudgetBurn, expr: 'sum(rate(http_requests_total{code=\"500\"}[5m])) / sum(rate(http_requests_total[5m])) > 0.02', labels: { severity: critical } }
  - { alert: InstanceDown, expr: up == 0, for: 1h, labels: { severity: warning } }
  - { alert: KafkaLag, expr: kafka_lag > 1000, labels: { severity: warning } }
";
