//! What cannot be installed here, and what a shop would write itself: stand-ins, each of which can be told to break.
//!
//! Stand-ins for real products: Grafana, Loki, a store of traces, a language model, Odoo, a vector and a time series
//! database. The shop's own: its API, the MCP server, and the pages that Prometheus scrapes.

use super::series;
use crate::stand_in::{Request, http};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

/// Which stand-ins are broken now, by a name of the fault.
#[derive(Clone, Default)]
pub(crate) struct Faults(Arc<Mutex<BTreeSet<&'static str>>>);

impl Faults {
    pub(crate) fn put(&self, fault: &'static str) {
        self.0.lock().expect("no panic").insert(fault);
    }

    pub(crate) fn clear(&self) {
        self.0.lock().expect("no panic").clear();
    }

    pub(crate) fn has(&self, fault: &str) -> bool {
        self.0.lock().expect("no panic").contains(fault)
    }
}

/// What the stand-ins were given and give back.
#[derive(Default)]
struct Kept {
    lines: Mutex<Vec<String>>,
    spans: Mutex<Vec<String>>,
}

/// Starts all of them behind one address: `/grafana`, `/loki`, `/otlp`, `/tempo`, `/llm`, `/mcp`, `/odoo`, `/vector`,
/// `/series`, `/shop`, `/scrape/JOB/N`.
pub(crate) fn start(faults: &Faults) -> String {
    let (faults, kept) = (faults.clone(), Kept::default());
    http(move |request| {
        let path = request.path.split('?').next().unwrap_or_default();
        let (service, rest) = path[1..].split_once('/').unwrap_or((&path[1..], ""));
        match service {
            "grafana" => grafana(rest, request, &faults),
            "loki" => loki(rest, request, &faults, &kept),
            "otlp" | "tempo" => traces(service, rest, request, &faults, &kept),
            "llm" => llm(rest, request, &faults),
            "mcp" => mcp(rest, request, &faults),
            "shop" => shop(rest, request, &faults),
            "odoo" => health("odoo", &faults),
            "series" => health("series", &faults),
            "vector" if faults.has("vector") => (503, String::new()),
            "vector" => (200, "all shards are ready".to_owned()),
            "scrape" => scrape(rest, &faults),
            _ => (404, String::new()),
        }
    })
}

fn health(service: &str, faults: &Faults) -> (u16, String) {
    let status = if faults.has(service) { "fail" } else { "pass" };
    (200, json!({ "status": status }).to_string())
}

fn has_header(request: &Request, line: &str) -> bool {
    request.headers.iter().any(|header| header == line)
}

fn grafana(path: &str, request: &Request, faults: &Faults) -> (u16, String) {
    let database = if faults.has("grafana-database") { "failing" } else { "ok" };
    if path == "api/health" {
        return (200, json!({ "database": database, "version": "stand-in" }).to_string());
    }
    if !has_header(request, "authorization: bearer grafana-t0ken-of-the-test") {
        return (401, json!({ "message": "Unauthorized" }).to_string());
    }
    match path {
        "api/search" => {
            let uids = ["slo-review", "slo-mcp", "slo-butler", "squad-status"];
            (200, json!(uids.map(|uid| json!({ "uid": uid, "title": uid }))).to_string())
        }
        "api/datasources" => {
            (200, json!(["Prometheus", "Loki"].map(|name| json!({ "uid": name, "name": name }))).to_string())
        }
        "api/datasources/uid/Prometheus/health" | "api/datasources/uid/Loki/health" => {
            (200, json!({ "status": "OK", "message": "fine" }).to_string())
        }
        _ => (404, "{}".to_owned()),
    }
}

fn loki(path: &str, request: &Request, faults: &Faults, kept: &Kept) -> (u16, String) {
    match path {
        "ready" => (200, "ready".to_owned()),
        "config" => {
            let (period, enabled) = (
                if faults.has("loki-period") { "7d" } else { "30d" },
                if faults.has("loki-deletes") { "false" } else { "true" },
            );
            let text = format!(
                "limits_config:\n  retention_period: {period}\ncompactor:\n  retention_enabled: {enabled}\n"
            );
            (200, text)
        }
        "loki/api/v1/push" => {
            let body: serde_json::Value = serde_json::from_str(&request.body).expect("JSON");
            let line = body.pointer("/streams/0/values/0/1").and_then(|line| line.as_str()).expect("a line");
            if !faults.has("loki-loses") {
                kept.lines.lock().expect("no panic").push(line.to_owned());
            }
            (204, String::new())
        }
        "loki/api/v1/query_range" => {
            let lines = if request.path.contains("audit") {
                if faults.has("audit") { vec![] } else { vec!["{\"who\":\"ada\"}".to_owned()] }
            } else {
                kept.lines.lock().expect("no panic").clone()
            };
            let values: Vec<_> = lines.iter().map(|line| json!(["1", line])).collect();
            let streams =
                if values.is_empty() { json!([]) } else { json!([{ "stream": {}, "values": values }]) };
            let data = json!({ "resultType": "streams", "result": streams });
            (200, json!({ "status": "success", "data": data }).to_string())
        }
        _ => (404, String::new()),
    }
}

/// A collector that keeps what it takes, and a store that is asked for a trace by its id.
fn traces(service: &str, path: &str, request: &Request, faults: &Faults, kept: &Kept) -> (u16, String) {
    match (service, path) {
        ("otlp", "v1/traces") => {
            if !faults.has("spans") {
                kept.spans.lock().expect("no panic").push(request.body.clone());
            }
            (200, String::new())
        }
        ("tempo", path) if path.starts_with("api/traces/") => {
            let spans = kept.spans.lock().expect("no panic");
            if spans.is_empty() { (404, String::new()) } else { (200, spans.concat()) }
        }
        _ => (404, String::new()),
    }
}

fn llm(path: &str, request: &Request, faults: &Faults) -> (u16, String) {
    let token = if faults.has("llm-silent") { "" } else { "ok" };
    match path {
        "health" => (200, String::new()),
        "v1/models" if faults.has("llm-models") => (500, String::new()),
        "v1/models" => (200, json!({ "data": [{ "id": "qwen" }] }).to_string()),
        "v1/chat/completions" => {
            let body: serde_json::Value = serde_json::from_str(&request.body).expect("JSON");
            assert_eq!(body["max_tokens"], 1);
            let event = json!({ "model": "qwen", "choices": [{ "delta": { "content": token } }] });
            (200, format!("data: {event}\n\ndata: [DONE]\n\n"))
        }
        _ => (404, String::new()),
    }
}

fn mcp(path: &str, request: &Request, faults: &Faults) -> (u16, String) {
    if faults.has("mcp") {
        return (500, String::new());
    }
    match (request.method.as_str(), path) {
        ("GET", "metrics") => (200, "# HELP mcp_calls_total calls\n".to_owned()),
        ("GET", "tools" | "tools/tokens") => (200, "[]".to_owned()),
        ("POST", "tools/calculator") => {
            let body: serde_json::Value = serde_json::from_str(&request.body).expect("JSON");
            assert_eq!(body["expression"], "1 + 1");
            (200, "{\"result\": 2}".to_owned())
        }
        _ => (404, String::new()),
    }
}

fn shop(path: &str, request: &Request, faults: &Faults) -> (u16, String) {
    match path {
        "orders" if faults.has("orders") => (500, String::new()),
        "orders" if has_header(request, "authorization: bearer smoke-t0ken-of-the-test") => {
            (200, "[]".to_owned())
        }
        "orders" => (401, String::new()),
        "ready" => (200, "ready".to_owned()),
        _ => (404, String::new()),
    }
}

fn scrape(path: &str, faults: &Faults) -> (u16, String) {
    let (job, _) = path.split_once('/').unwrap_or_default();
    if job == "task-workers" && faults.has("worker") {
        return (500, String::new());
    }
    (200, series::page(job))
}
