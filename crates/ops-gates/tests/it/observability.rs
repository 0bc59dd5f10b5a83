//! Prometheus, Alertmanager and collectors of traces: real ones; Loki and Grafana cannot be installed here, and have
//! stand-ins.

use crate::server::{Server, find, free_port};
use crate::stand_in::{Request, http};
use crate::support::run_gate;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

/// Runs a gate until it is none of the errors that mean "not yet".
async fn settled(keys: &str) -> crate::support::Ran {
    loop {
        let ran = run_gate(keys).await;
        match ran.record.gates[0].code.as_deref() {
            Some("not-ready" | "not-scraped" | "not-evaluated" | "cluster" | "alertmanagers") => {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
            _ => return ran,
        }
    }
}

fn alertmanager(folder: &Path) -> Option<Server> {
    let program = find("prometheus-alertmanager").or_else(|| find("alertmanager"))?;
    let config = "route: { receiver: team }\nreceivers: [{ name: team }, { name: night }]\n";
    std::fs::write(folder.join("alertmanager.yml"), config).expect("a file");
    Some(Server::start(|port| {
        let mut command = Command::new(program);
        command.args(["--config.file=alertmanager.yml", "--storage.path=am", "--cluster.listen-address="]);
        command.arg(format!("--web.listen-address=127.0.0.1:{port}")).current_dir(folder);
        command
    }))
}

#[tokio::test]
async fn a_real_prometheus_must_see_its_targets_and_have_its_rules() {
    let Some(program) = find("prometheus") else { ops_testkit::skip!("prometheus is not installed") };
    let folder = tempfile::tempdir().expect("a temporary directory");
    let closed = free_port();
    let alerts = alertmanager(folder.path());
    let alerting = alerts.as_ref().map_or(closed, |it| it.port);
    let rules = "groups:\n- name: g\n  interval: 1s\n  rules:\n  - { record: ones, expr: vector(1) }\n  - { alert: Down, expr: up == 0, labels: { severity: critical } }\n";
    std::fs::write(folder.path().join("rules.yml"), rules).expect("a file");
    let server = Server::start(|port| {
        let config = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: [rules.yml]\n\
             alerting: {{ alertmanagers: [{{ static_configs: [{{ targets: ['127.0.0.1:{alerting}'] }}] }}] }}\n\
             scrape_configs:\n- {{ job_name: self, static_configs: [{{ targets: ['127.0.0.1:{port}'] }}] }}\n\
             - {{ job_name: mixed, static_configs: [{{ targets: ['127.0.0.1:{port}', '127.0.0.1:{closed}'] }}] }}\n"
        );
        std::fs::write(folder.path().join("prometheus.yml"), config).expect("a file");
        let mut command = Command::new(program);
        command.args(["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--web.enable-lifecycle"]);
        command.arg("--rules.alert.resend-delay=1s");
        command.arg(format!("--web.listen-address=127.0.0.1:{port}")).current_dir(folder.path());
        command
    });
    let url = format!("kind = \"prometheus\"\nurl = \"http://127.0.0.1:{}\"", server.port);
    // It is ready before it knows of its targets.
    while run_gate(&format!("{url}\njobs = {{ self = 1 }}")).await.record.gates[0].code.as_deref()
        != Some("ok")
    {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    for (keys, outcome, code) in [
        ("jobs = { self = 1 }", "PASS", "ok"),
        ("jobs = { self = 2 }", "FAIL", "targets"),
        ("jobs = { absent = 1 }", "FAIL", "targets"),
        ("jobs = { mixed = 1 }", "FAIL", "targets-down"),
        ("jobs = { mixed = 1, self = 1 }\nmax_down = 1", "PASS", "ok"),
        ("rules = [\"ones\", \"Down\"]", "PASS", "ok"),
        ("rules = [\"ones\", \"Up\"]", "FAIL", "rule-missing"),
        ("min_alertmanagers = 2", "FAIL", "alertmanagers"),
    ] {
        let keys = format!("{url}\n{keys}");
        let ran = if code == "alertmanagers" { run_gate(&keys).await } else { settled(&keys).await };
        ran.expect(outcome, code);
    }
    settled(&format!("{url}\nmin_alertmanagers = 1")).await.expect("PASS", "ok");
    if let Some(alerts) = &alerts {
        let url = format!("kind = \"alertmanager\"\nurl = \"http://127.0.0.1:{}\"", alerts.port);
        settled(&format!("{url}\nreceivers = [\"team\", \"night\"]")).await.expect("PASS", "ok");
        settled(&format!("{url}\nreceivers = [\"day\"]")).await.expect("FAIL", "receiver-missing");
        settled(&format!("{url}\nmin_peers = 2")).await.expect("FAIL", "peers");
        // The alert of the target that is down arrives, and counts where the filter matches.
        while settled(&format!("{url}\nmax_alerts = 0")).await.record.gates[0].code.as_deref() == Some("ok") {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        settled(&format!("{url}\nmax_alerts = 0")).await.expect("FAIL", "alerts");
        settled(&format!("{url}\nmax_alerts = 1")).await.expect("PASS", "ok");
        let none = "max_alerts = 0\nfilter = ['severity=\"info\"']";
        settled(&format!("{url}\n{none}")).await.expect("PASS", "ok");
        run_gate(&format!("{url}\nmax_alerts = 0\nfilter = [\"=\"]")).await.expect("ERROR", "status");
    } else {
        ops_testkit::record_skip("observability::alertmanager", "alertmanager is not installed");
    }
    // A configuration that is refused leaves the old one running: nothing else would tell.
    std::fs::write(folder.path().join("prometheus.yml"), "nonsense: true\n").expect("a file");
    let reload = format!("http://127.0.0.1:{}/-/reload", server.port);
    let answered = reqwest::Client::new().post(reload).send().await.expect("an answer");
    assert_eq!(answered.status().as_u16(), 500);
    run_gate(&format!("{url}\njobs = {{ self = 1 }}")).await.expect("FAIL", "reload");
    settled(&format!("{url}\njobs = {{ self = 1 }}\nreload_ok = false")).await.expect("PASS", "ok");
    run_gate(
        &url.replace(&server.port.to_string(), &closed.to_string()).replace("url", "jobs = { a = 1 }\nurl"),
    )
    .await
    .expect("ERROR", "connect");
}

#[tokio::test]
async fn a_stand_in_for_loki_gives_back_what_it_was_given_or_does_not() {
    let loki = |status: u16, keeps: bool| {
        let kept: Arc<Mutex<Vec<String>>> = Arc::default();
        http(move |request: &Request| {
            let lines = |lines: &[String]| {
                let values: Vec<_> = lines.iter().map(|line| serde_json::json!(["1", line])).collect();
                let result = if values.is_empty() {
                    vec![]
                } else {
                    vec![serde_json::json!({ "stream": {}, "values": values })]
                };
                serde_json::json!({ "status": "success", "data": { "resultType": "streams", "result": result } }).to_string()
            };
            match request.path.split('?').next().unwrap_or_default() {
                "/ready" if status == 200 => (200, "ready".to_owned()),
                "/ready" => (status, "Ingester not ready: waiting for 15s".to_owned()),
                "/loki/api/v1/push" => {
                    let body: serde_json::Value = serde_json::from_str(&request.body).expect("JSON");
                    let line =
                        body.pointer("/streams/0/values/0/1").and_then(|line| line.as_str()).expect("a line");
                    if keeps {
                        kept.lock().expect("no panic").push(line.to_owned());
                    }
                    (204, String::new())
                }
                "/loki/api/v1/query_range" if request.path.contains("metric") => {
                    (200, r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#.to_owned())
                }
                "/loki/api/v1/query_range" => (200, lines(&kept.lock().expect("no panic"))),
                _ => (404, String::new()),
            }
        })
    };
    let query = "query = '{app=\"x\"}'\nmax_age = \"1h\"";
    for (status, keeps, keys, outcome, code) in [
        (200, true, "round_trip = true", "PASS", "ok"),
        (200, false, "round_trip = true\ntimeout = \"600ms\"", "FAIL", "round-trip"),
        (503, true, "round_trip = true", "ERROR", "not-ready"),
        // An answer without a line is no line.
        (200, true, query, "FAIL", "lines"),
        (200, true, "query = 'metric'\nmax_age = \"1h\"", "ERROR", "protocol"),
    ] {
        let keys = format!("kind = \"loki\"\nurl = \"{}\"\n{keys}", loki(status, keeps));
        run_gate(&keys).await.expect(outcome, code);
    }
    let url = loki(200, true);
    run_gate(&format!("kind = \"loki\"\nurl = \"{url}\"\nround_trip = true")).await.expect("PASS", "ok");
    run_gate(&format!("kind = \"loki\"\nurl = \"{url}\"\n{query}")).await.expect("PASS", "ok");
    run_gate(&format!("kind = \"loki\"\nurl = \"{url}\"\n{query}\nmin_lines = 2"))
        .await
        .expect("FAIL", "lines");
}

#[tokio::test]
async fn a_stand_in_for_grafana_is_judged_by_its_body() {
    let grafana = |database: &'static str| {
        http(move |request: &Request| {
            let allowed = request.headers.iter().any(|line| line == "authorization: bearer t0ken");
            match request.path.split('?').next().unwrap_or_default() {
                "/api/health" => (200, format!("{{\"database\":\"{database}\",\"version\":\"11.0\"}}")),
                _ if !allowed => (401, "{\"message\":\"Unauthorized\"}".to_owned()),
                "/api/search" => (200, "[{\"uid\":\"u1\",\"title\":\"SLO review\"}]".to_owned()),
                "/api/datasources" => {
                    (200, "[{\"uid\":\"p\",\"name\":\"prom\"},{\"uid\":\"l\",\"name\":\"loki\"},{\"uid\":\"x\",\"name\":\"other\"}]".to_owned())
                }
                "/api/datasources/uid/p/health" => (200, "{\"status\":\"OK\",\"message\":\"fine\"}".to_owned()),
                "/api/datasources/uid/l/health" => (400, "{\"status\":\"ERROR\",\"message\":\"refused\"}".to_owned()),
                _ => (404, "{}".to_owned()),
            }
        })
    };
    let (good, failing) = (grafana("ok"), grafana("failing"));
    let login = "headers = { authorization = \"Bearer t0ken\" }";
    for (url, keys, outcome, code) in [
        (&good, String::new(), "PASS", "ok"),
        // The status is 200 here too.
        (&failing, String::new(), "FAIL", "database"),
        (&good, "dashboards = [\"u1\"]".to_owned(), "ERROR", "unauthorized"),
        (&good, format!("dashboards = [\"u1\", \"SLO review\"]\n{login}"), "PASS", "ok"),
        (&good, format!("dashboards = [\"u2\"]\n{login}"), "FAIL", "dashboard-missing"),
        (&good, format!("datasources = [\"prom\"]\n{login}"), "PASS", "ok"),
        (&good, format!("datasources = [\"p\", \"loki\"]\n{login}"), "FAIL", "datasource"),
        (&good, format!("datasources = [\"absent\"]\n{login}"), "FAIL", "datasource-missing"),
        (&good, format!("datasources = [\"other\"]\n{login}"), "INCONCLUSIVE", "datasource-unknown"),
    ] {
        run_gate(&format!("kind = \"grafana\"\nurl = \"{url}\"\n{keys}")).await.expect(outcome, code);
    }
}

#[tokio::test]
async fn real_collectors_take_a_span() {
    let rotel = ops_testkit::tools_dir().join("rotel/rotel/rotel-agent");
    let tap = ops_testkit::tools_dir().join("oteltap");
    if !rotel.is_file() || !tap.join("oteltap").is_dir() {
        ops_testkit::skip!("rotel and oteltap are not installed");
    }
    let log = tempfile::NamedTempFile::new().expect("a file");
    let server = Server::start(|port| {
        let mut command = Command::new("sh");
        let agent = rotel.display();
        // `exec`, so that what is ended is the collector.
        command.arg("-c").arg(format!(
            "exec {agent} start --otlp-grpc-endpoint 127.0.0.1:{} --otlp-http-endpoint 127.0.0.1:{port} --exporter blackhole --debug-log traces --debug-log-verbosity detailed > {} 2>&1",
            free_port(),
            log.path().display()
        ));
        command
    });
    let accepted =
        format!("kind = \"otlp\"\nurl = \"http://127.0.0.1:{}\"\naccepted_only = true", server.port);
    run_gate(&accepted).await.expect("PASS", "ok");
    let seen = || std::fs::read_to_string(log.path()).expect("a log").contains("ops-gates canary");
    while !seen() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let server = Server::start(|port| {
        let mut command = Command::new("python3");
        command.args(["-m", "oteltap", "--port", &port.to_string()]).env("PYTHONPATH", tap);
        command
    });
    let accepted =
        format!("kind = \"otlp\"\nurl = \"http://127.0.0.1:{}\"\naccepted_only = true", server.port);
    run_gate(&accepted).await.expect("PASS", "ok");
}

#[tokio::test]
async fn a_span_must_come_back_from_a_stand_in() {
    let store = |keeps: bool| {
        let kept: Arc<Mutex<String>> = Arc::default();
        http(move |request: &Request| match request.path.as_str() {
            "/v1/traces" => {
                if keeps {
                    *kept.lock().expect("no panic") = request.body.clone();
                }
                (200, String::new())
            }
            "/full/v1/traces" => (200, "\u{a}\u{6}\u{8}\u{1}\u{12}\u{2}no".to_owned()),
            "/busy/v1/traces" => (503, String::new()),
            path if path.starts_with("/api/traces/") && path.len() == 44 => {
                let kept = kept.lock().expect("no panic");
                if kept.is_empty() { (404, String::new()) } else { (200, kept.clone()) }
            }
            _ => (404, String::new()),
        })
    };
    let (keeps, loses) = (store(true), store(false));
    for (base, url, timeout, outcome, code) in [
        (&keeps, "", "10s", "PASS", "ok"),
        // Accepted, and gone: the status alone would have passed.
        (&loses, "", "600ms", "FAIL", "round-trip"),
        (&keeps, "/full", "10s", "FAIL", "rejected"),
        (&keeps, "/busy", "10s", "ERROR", "not-ready"),
        (&keeps, "/nowhere", "10s", "ERROR", "status"),
    ] {
        let gate = format!(
            "kind = \"otlp\"\nurl = \"{base}{url}\"\nquery_url = \"{base}/api/traces/{{trace_id}}\"\ntimeout = \"{timeout}\""
        );
        run_gate(&gate).await.expect(outcome, code);
    }
}

#[tokio::test]
async fn a_stand_in_for_a_language_model_must_say_a_token() {
    let model = |health: u16, events: &'static str| {
        http(move |request: &Request| match request.path.as_str() {
            "/health" => (health, String::new()),
            "/v1/models" => (200, "{\"data\":[{\"id\":\"qwen\"}]}".to_owned()),
            "/v1/chat/completions" => {
                let body: serde_json::Value = serde_json::from_str(&request.body).expect("JSON");
                assert_eq!(body["max_tokens"], 1);
                if events.starts_with("data") { (200, events.to_owned()) } else { (429, events.to_owned()) }
            }
            _ => (404, String::new()),
        })
    };
    let token = "data: {\"model\":\"qwen-2\",\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}\n\n\
                 data: {\"model\":\"qwen-2\",\"choices\":[{\"delta\":{\"content\":\"ok\"}}]}\n\ndata: [DONE]\n\n";
    let empty =
        "data: {\"model\":\"qwen-2\",\"choices\":[{\"delta\":{\"content\":\"\"}}]}\n\ndata: [DONE]\n\n";
    let error = "data: {\"error\":{\"message\":\"out of memory\"}}\n\n";
    for (url, name, keys, outcome, code) in [
        (model(200, token), "qwen", "", "PASS", "ok"),
        (model(200, token), "qwen", "max_first_token_seconds = 60", "PASS", "ok"),
        (model(200, token), "qwen", "max_first_token_seconds = 0.000001", "FAIL", "too-slow"),
        (model(200, token), "qwen", "answers_as = \"qwen-2\"", "PASS", "ok"),
        (model(200, token), "qwen", "answers_as = \"qwen-1\"", "FAIL", "model"),
        (model(200, token), "llama", "", "FAIL", "model-missing"),
        (model(503, token), "qwen", "", "ERROR", "not-ready"),
        (model(404, token), "qwen", "", "ERROR", "status"),
        (model(404, token), "qwen", "health_path = \"\"", "PASS", "ok"),
        // It listens, has the model, and says nothing.
        (model(200, empty), "qwen", "", "ERROR", "no-token"),
        (model(200, error), "qwen", "", "ERROR", "completion"),
        (model(200, "data: {\n\n"), "qwen", "", "ERROR", "not-json"),
        (model(200, "busy"), "qwen", "", "ERROR", "not-ready"),
    ] {
        let gate = format!("kind = \"llm\"\nurl = \"{url}\"\nmodel = \"{name}\"\n{keys}");
        run_gate(&gate).await.expect(outcome, code);
    }
}
