//! `kind = "compare"` against a real Prometheus, with a deployment an hour ago.

use crate::prometheus::Prometheus;
use crate::support::run;
use ops_gates::Plan;
use std::fmt::Write as _;

const HOUR: i64 = 3600;
const DIGEST: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// Four hours, a sample a minute, with a noise of a few per cent that is the same in every run.
fn past(now: i64) -> String {
    let deployed = now - HOUR;
    let mut text = String::new();
    let mut series = |name: &str, labels: &str, value: &dyn Fn(i64, f64) -> Option<f64>| {
        if !text.contains(&format!("# TYPE {name} ")) {
            let _ = writeln!(text, "# TYPE {name} gauge");
        }
        for minute in 0..=240_i32 {
            let time = now - i64::from(240 - minute) * 60;
            let noise = 1.0 + 0.03 * f64::from((minute * 7919) % 101 - 50) / 50.0;
            if let Some(value) = value(time, noise) {
                let _ = writeln!(text, "{name}{labels} {value} {time}");
            }
        }
    };
    let moved = |by: f64| move |time: i64, noise: f64| Some(if time > deployed { by * noise } else { noise });
    series("same", "", &moved(1.0));
    series("slower", "", &moved(1.5));
    series("halved", "", &moved(0.5));
    series("edge", "", &moved(1.1));
    series("zero", "", &|_, _| Some(0.0));
    series("errors", "", &|time, _| Some(if time > deployed { 0.05 } else { 0.0 }));
    series("young", "", &|time, noise| (time > deployed).then_some(noise));
    series("died", "", &|time, noise| (time < now - 1200).then_some(noise));
    series("broken", "", &|time, _| Some(if time == now - 600 { f64::NAN } else { 1.0 }));
    series("gappy", "", &|time, noise| ((now - time) % 600 == 0).then_some(noise));
    series("two", "{instance=\"a\"}", &moved(1.0));
    series("two", "{instance=\"b\"}", &moved(1.0));
    text.push_str("# EOF\n");
    text
}

fn plan(url: &str, deployed: &str, keys: &str, metrics: &str) -> String {
    let keys =
        if keys.contains("after") { keys.to_owned() } else { format!("{keys}\nafter = {{ skip = \"5m\" }}") };
    let keys = if keys.contains("good") { keys } else { format!("{keys}\ngood = {{ before = \"2h\" }}") };
    format!(
        "name = \"x\"\n[subject]\nname = \"shop\"\ndigest = \"sha256:{DIGEST}\"\n[[gate]]\nid = \"it\"\nkind = \"compare\"\n\
         url = \"{url}\"\ndeployed_at = \"{deployed}\"\n{keys}\n\
         rollback = {{ plan = \"ROLLBACK.md\", command = \"kubectl rollout undo deploy/shop\", to = \"shop 1.4.1\", decides = \"Tech Lead\" }}\n\
         {metrics}\n"
    )
}

fn metric(name: &str, keys: &str) -> String {
    format!("[gate.metrics.{name}]\nquery = \"{name}\"\n{keys}\n")
}

#[tokio::test]
async fn what_moved_after_a_deployment_is_shown_or_not_judged() {
    let now = jiff::Timestamp::now().as_second();
    let Some(server) = Prometheus::start_with(&past(now)) else {
        ops_testkit::skip!("prometheus is not installed")
    };
    let at = |second: i64| jiff::Timestamp::from_second(second).expect("a time").to_string();
    let deployed = at(now - HOUR);
    let ten = "max_worse_percent = 10";
    let given = |name: &str| {
        format!("{name} = {{ start = \"{}\", end = \"{}\" }}", at(now - 3 * HOUR), at(now - HOUR))
    };
    for (name, metric_keys, keys, outcome, code) in [
        ("same", ten, "", "PASS", "ok"),
        ("same", ten, given("good").as_str(), "PASS", "ok"),
        ("slower", ten, "", "FAIL", "worse"),
        ("slower", "max_worse_percent = 100", "", "PASS", "ok"),
        ("slower", "max_worse_percent = 10\nbetter = \"more\"", "", "PASS", "ok"),
        ("halved", "max_worse_percent = 10\nbetter = \"more\"", "", "FAIL", "worse"),
        ("halved", ten, "", "PASS", "ok"),
        // Exactly at the margin nothing is shown.
        ("edge", ten, "", "INCONCLUSIVE", "undecided"),
        ("zero", "max_worse = 0.01", "", "PASS", "ok"),
        ("zero", ten, "", "INCONCLUSIVE", "no-ratio"),
        ("errors", "max_worse = 0.01", "", "FAIL", "worse"),
        ("nonesuch", ten, "", "ERROR", "empty"),
        ("young", ten, "", "ERROR", "empty"),
        ("died", ten, "", "ERROR", "no-sample"),
        ("broken", ten, "", "ERROR", "not-a-number"),
        ("gappy", ten, "", "INCONCLUSIVE", "window-not-covered"),
        ("two", ten, "", "ERROR", "series"),
        ("same", ten, "step = \"5m\"", "INCONCLUSIVE", "few-samples"),
        ("same", ten, "max_age = \"1ms\"\nafter = { skip = \"5m\", length = \"40m30s\" }", "ERROR", "stale"),
        ("same", ten, "after = { length = \"2h\" }", "ERROR", "not-over"),
        ("same", ten, "after = { skip = \"2h\" }", "ERROR", "not-over"),
        (
            "same",
            ten,
            given("good").replace(&at(now - HOUR), &at(now - HOUR + 60)).as_str(),
            "ERROR",
            "window",
        ),
    ] {
        let ran = run(&plan(&server.url(), &deployed, keys, &metric(name, metric_keys))).await;
        println!(
            "{name} {metric_keys} {keys}: {:?} {:?}",
            ran.record.gates[0].reason, ran.record.gates[0].measurements
        );
        ran.expect(outcome, code);
    }
    run(&plan(&server.url(), "yesterday", "", &metric("same", ten))).await.expect("ERROR", "time");
    let nobody = ops_testkit::free_port().expect("a free port");
    let nobody = format!("http://127.0.0.1:{nobody}");
    run(&plan(&nobody, &deployed, "", &metric("same", ten))).await.expect("ERROR", "connect");
}

#[tokio::test]
async fn what_got_worse_is_proposed_to_be_rolled_back_and_nothing_else_is_done() {
    let now = jiff::Timestamp::now().as_second();
    let Some(server) = Prometheus::start_with(&past(now)) else {
        ops_testkit::skip!("prometheus is not installed")
    };
    let deployed = jiff::Timestamp::from_second(now - HOUR).expect("a time").to_string();
    let ten = "max_worse_percent = 10";
    // The one that has no data does not hide the one that is worse.
    let metrics = [metric("slower", ten), metric("same", ten), metric("nonesuch", ten)].concat();
    let ran = run(&plan(&server.url(), &deployed, "", &metrics)).await;
    let gate = ran.expect("FAIL", "worse");
    assert!(gate.thresholds.iter().any(|it| it.starts_with("slower_worse_percent < 10 (plan)")), "{gate:?}");
    let worse = gate.measurements["slower_worse_percent"];
    assert!((45.0..55.0).contains(&worse), "{worse}");
    let text = ran.read("logs/it.rollback.md");
    for part in [
        "# Proposal: roll back shop sha256:aaaa",
        "| to | `shop 1.4.1` |",
        "ROLLBACK.md` — **this file is missing**",
        "| who decides | Tech Lead |",
        "| **WORSE** |",
        "| not worse |",
        "    kubectl rollout undo deploy/shop\n",
        "Nothing was executed.",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // Nothing is proposed where nothing is worse.
    let ran = run(&plan(&server.url(), &deployed, "", &metric("same", ten))).await;
    assert!(!ran.directory.join("logs/it.rollback.md").exists());
}

#[test]
fn a_comparison_that_shows_nothing_is_refused() {
    let problem = |keys: &str, metrics: &str| {
        let text = plan("http://p", "2026-11-21T09:30:00Z", keys, metrics);
        Plan::parse(&text, "x.toml")
            .err()
            .map(|error| error.problems()[0].message.clone())
            .unwrap_or_default()
    };
    let good = metric("a", "max_worse_percent = 10");
    for (keys, metrics, part) in [
        ("", "metrics = {}", "nothing to compare"),
        ("", &metric("a", ""), "exactly one of"),
        ("", &metric("a", "max_worse = 1\nmax_worse_percent = 1"), "exactly one of"),
        ("", "[gate.metrics.\"a b\"]\nquery = \"a\"\nmax_worse = 1", "no name of a metric"),
        ("", "[gate.metrics.a]\nquery = \"a or vector(0)\"\nmax_worse = 1", "or vector"),
        ("min_samples = 3", &good, "at least 20"),
        ("error_percent = 50", &good, "between 0 and 50"),
        ("good = { start = \"x\" }", &good, "`start` and `end`"),
        ("after = { start = \"x\", end = \"y\", skip = \"1m\" }", &good, "`skip` and `length`"),
    ] {
        assert!(problem(keys, metrics).contains(part), "{keys} {metrics}: {}", problem(keys, metrics));
    }
    assert_eq!(problem("", &good), "");
}
