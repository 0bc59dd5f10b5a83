//! Leases under a clock of the test: never an ended secret in use, whatever the source says and whenever it is down.

use super::fake::Source;
use super::text;
use ops_secrets::Masker;
use ops_secrets::rotate::{ErrorKind, Group, Live, Options};
use std::time::Duration;
use tokio::time::{Instant, sleep};

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn options() -> Options {
    Options { grace: seconds(3), ..Options::default() }
}

async fn watched(source: &Source, options: Options, random: f64) -> Live {
    let group = Group::new(options, move || random).member("db", source.clone());
    let (live, watch) = group.start().await.unwrap();
    tokio::spawn(watch.run(std::future::pending()));
    live
}

#[tokio::test(start_paused = true)]
async fn a_secret_in_use_is_always_valid_though_renewals_are_capped() {
    for random in [0.0, 0.5, 1.0] {
        // What OpenBao gives at a default of 5 s and a maximum of 12 s.
        let source = Source::leasing(5, 12);
        let live = watched(&source, options(), random).await;
        let begin = Instant::now();
        while begin.elapsed() < seconds(120) {
            let current = live.current().unwrap();
            assert!(source.accepts(text(&current, "db", "value")), "after {:?}", begin.elapsed());
            sleep(Duration::from_millis(50)).await;
        }
        let state = source.state();
        // At least one renewal for each secret, and one secret for each lease: no login storm.
        assert!(state.renewals >= state.fetches, "{} renewals", state.renewals);
        assert!((10..=20).contains(&state.fetches), "{} secrets in 120 s", state.fetches);
    }
}

#[tokio::test(start_paused = true)]
async fn an_old_lease_is_revoked_after_the_grace_and_not_before() {
    let source = Source::leasing(100, 100);
    let live = watched(&source, options(), 0.5).await;
    let first = live.current().unwrap();
    let first = text(&first, "db", "value").to_owned();
    let mut versions = live.subscribe();
    versions.next().await.unwrap();
    assert_eq!(text(&live.previous().unwrap(), "db", "value"), first);
    sleep(Duration::from_millis(2900)).await;
    assert!(source.accepts(&first), "those who use it still may");
    sleep(Duration::from_millis(200)).await;
    assert!(!source.accepts(&first) && live.previous().is_none());
    assert_eq!(source.state().revoked, ["lease/1"]);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_down_is_asked_again_and_the_secret_lives_as_long_as_its_lease() {
    let source = Source::leasing(100, 10_000);
    let live = watched(&source, options(), 0.0).await;
    sleep(seconds(10)).await;
    source.state().down = true;
    sleep(seconds(60)).await;
    let health = live.health();
    assert!(health.failing_since.is_some() && health.failures > 0, "{health:?}");
    assert_eq!(health.error.as_deref(), Some("`db`: the source is down"));
    assert!(live.current().is_ok(), "the lease has not ended");
    source.state().down = false;
    sleep(seconds(40)).await;
    let health = live.health();
    assert_eq!((health.failing_since, health.failures), (None, 0), "it was renewed in time");
    assert_eq!(source.state().fetches, 1);

    source.state().down = true;
    sleep(seconds(101)).await;
    let error = live.current().unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (ErrorKind::Stale, "the secrets are stale: `db`: the source is down")
    );
    let calls = |source: &Source| {
        let state = source.state();
        state.renewals + state.fetches
    };
    let asked = calls(&source);
    sleep(seconds(3600)).await;
    let tries = calls(&source) - asked;
    assert!((3..60).contains(&tries), "{tries} tries in an hour: neither given up nor a storm");
    source.state().down = false;
    sleep(seconds(901)).await;
    assert!(
        source.accepts(text(&live.current().unwrap(), "db", "value")),
        "a new secret after the old one ended"
    );
}

#[tokio::test(start_paused = true)]
async fn a_secret_without_a_lease_is_served_for_the_stale_time_and_then_refused() {
    let source = Source::fixed("static-value");
    let options = Options { stale_for: seconds(300), ..options() };
    let live = watched(&source, options, 0.5).await;
    source.state().down = true;
    sleep(seconds(365)).await;
    assert!(live.current().is_ok());
    sleep(seconds(65)).await;
    assert_eq!(live.current().unwrap_err().kind(), ErrorKind::Stale);
    source.state().down = false;
    sleep(seconds(901)).await;
    assert_eq!(text(&live.current().unwrap(), "db", "value"), "static-value");
}

#[tokio::test(start_paused = true)]
async fn a_revoked_lease_is_replaced_at_once_when_a_login_is_refused() {
    let source = Source::leasing(3600, 7200);
    let live = watched(&source, options(), 0.5).await;
    let first = live.current().unwrap();
    // The parent token has expired, say: the source has ended the lease early, and nobody told us.
    ops_secrets::rotate::Provider::revoke(
        &source,
        &ops_secrets::rotate::Lease { id: "lease/1".into(), remaining: Duration::ZERO, renewable: true },
    )
    .await
    .unwrap();
    assert!(!source.accepts(text(&first, "db", "value")));
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let live = live.clone();
        all.spawn(async move { live.refresh().await.unwrap() });
    }
    for snapshot in all.join_all().await {
        assert!(source.accepts(text(&snapshot, "db", "value")));
    }
    assert_eq!(source.state().fetches, 2, "fifty refused logins are one reason");
}

#[tokio::test(start_paused = true)]
async fn leases_are_revoked_at_the_end_where_that_is_wanted_and_where_a_start_fails() {
    for (revoke_at_end, expected) in [(true, 1), (false, 0)] {
        let source = Source::leasing(100, 200);
        let group = Group::new(Options { revoke_at_end, ..options() }, || 0.5).member("db", source.clone());
        let (live, watch) = group.start().await.unwrap();
        watch.run(std::future::ready(())).await;
        assert_eq!(source.state().revoked.len(), expected);
        assert_eq!(live.refresh().await.unwrap_err().kind(), ErrorKind::Ended);
        assert!(live.subscribe().next().await.is_none());
    }
    let (source, down) = (Source::leasing(100, 200), Source::fixed("x"));
    down.state().down = true;
    let group = Group::new(options(), || 0.5).member("a", source.clone()).member("b", down);
    assert_eq!(group.start().await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(source.state().revoked, ["lease/1"], "nothing is left behind");
}

#[tokio::test(start_paused = true)]
async fn old_values_stay_masked_for_their_time_and_no_text_holds_one() {
    let source = Source::fixed("first-hidden-value");
    let masker = Masker::new();
    let options = Options { grace: seconds(10), mask_for: seconds(600), ..options() };
    let group = Group::new(options, || 0.5).member("db", source.clone()).masker(masker.clone()).validate(
        |candidate| {
            Box::pin(async move {
                let value = text(&candidate, "db", "value").to_owned();
                if value.contains("bad") {
                    Err(format!("the server says: wrong password {value}").into())
                } else {
                    Ok(())
                }
            })
        },
    );
    let (live, watch) = group.start().await.unwrap();
    tokio::spawn(watch.run(std::future::pending()));
    source.state().fixed = Some("bad-hidden-value".into());
    live.refresh().await.unwrap();
    assert_eq!(text(&live.current().unwrap(), "db", "value"), "first-hidden-value", "the old one stays");
    let said = format!("{live:?} {:?} {:?}", live.health(), live.current());
    assert!(!said.contains("hidden-value") && said.contains("wrong password [redacted]"), "{said}");
    sleep(seconds(2)).await;
    source.state().fixed = Some("third-hidden-value".into());
    live.refresh().await.unwrap();
    assert_eq!(text(&live.current().unwrap(), "db", "value"), "third-hidden-value");
    sleep(seconds(500)).await;
    assert_eq!(masker.mask_str("first-hidden-value third-hidden-value"), "[redacted] [redacted]");
    sleep(seconds(1500)).await;
    assert_eq!(masker.mask_str("first-hidden-value third-hidden-value"), "first-hidden-value [redacted]");
}
