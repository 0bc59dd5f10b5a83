//! A group changes as a whole or not at all.

use super::fake::Source;
use super::text;
use ops_secrets::rotate::{ErrorKind, Group, Options};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::sleep;

#[tokio::test(start_paused = true)]
async fn a_pair_is_never_seen_half() {
    let (user, password) = (Source::fixed("user-1"), Source::fixed("word-1"));
    let trials = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&trials);
    let group = Group::new(Options::default(), || 0.5)
        .member("user", user.clone())
        .member("password", password.clone())
        .validate(move |candidate| {
            counter.fetch_add(1, Ordering::Relaxed);
            Box::pin(async move {
                let number = |member| text(&candidate, member, "value").rsplit('-').next().map(str::to_owned);
                if number("user") == number("password") {
                    Ok(())
                } else {
                    Err("user and password do not fit".into())
                }
            })
        });
    let (live, watch) = group.start().await.unwrap();
    tokio::spawn(watch.run(std::future::pending()));
    for round in 2..12 {
        user.state().fixed = Some(format!("user-{round}"));
        // Whoever writes the two takes a while in between, and every poll falls into it.
        sleep(Duration::from_secs(150)).await;
        let current = live.current().unwrap();
        assert_eq!(
            (text(&current, "user", "value"), text(&current, "password", "value")),
            (format!("user-{}", round - 1).as_str(), format!("word-{}", round - 1).as_str())
        );
        assert!(live.health().failing_since.is_some());
        password.state().fixed = Some(format!("word-{round}"));
        sleep(Duration::from_secs(150)).await;
        let current = live.current().unwrap();
        assert_eq!(
            (text(&current, "user", "value"), text(&current, "password", "value")),
            (format!("user-{round}").as_str(), format!("word-{round}").as_str())
        );
        assert_eq!((current.generation(), live.health().failures), (round, 0));
    }
    assert!(trials.load(Ordering::Relaxed) > 20);
}

#[tokio::test(start_paused = true)]
async fn one_that_cannot_be_fetched_keeps_the_group_as_it_is() {
    let (first, second) = (Source::fixed("first-1"), Source::leasing(1000, 10_000));
    let group = Group::new(Options::default(), || 0.5).member("a", first.clone()).member("b", second.clone());
    let (live, watch) = group.start().await.unwrap();
    tokio::spawn(watch.run(std::future::pending()));
    first.state().fixed = Some("first-2".into());
    second.state().down = true;
    assert_eq!(text(&live.refresh().await.unwrap(), "a", "value"), "first-1");
    // Who is missing, and not who has to wait for it.
    assert_eq!(live.health().waits_for, ["b"]);
    second.state().down = false;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(text(&live.current().unwrap(), "a", "value"), "first-2");
    // It is well again when it was asked again, which a lease is when it is due.
    sleep(Duration::from_secs(900)).await;
    assert!(live.health().waits_for.is_empty());
    // A dynamic secret that was issued for a group that was not swapped is given back.
    first.state().down = true;
    let before = second.state().revoked.len();
    live.refresh().await.unwrap();
    assert_eq!(second.state().revoked.len(), before + 1);
}

#[tokio::test(start_paused = true)]
async fn a_start_needs_all_and_a_trial_that_hangs_is_refused() {
    let group = Group::new(Options::default(), || 0.5).member("a", Source::fixed(""));
    assert!(group.start().await.is_ok(), "what is empty is the provider's to refuse");
    let group = Group::new(Options::default(), || 0.5)
        .member("a", Source::fixed("value"))
        .validate(|_| Box::pin(std::future::pending()));
    let error = group.start().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotValidated);
    assert_eq!(
        error.to_string(),
        "the new secrets were tried out and refused: the trial did not end in time"
    );
}

#[tokio::test(start_paused = true)]
async fn a_member_that_is_well_does_not_hide_one_that_is_not() {
    let (broken, busy) = (Source::fixed("value-1"), Source::leasing(10, 100_000));
    let group = Group::new(Options::default(), || 0.5).member("a", broken.clone()).member("b", busy.clone());
    let (live, watch) = group.start().await.unwrap();
    tokio::spawn(watch.run(std::future::pending()));
    broken.state().down = true;
    sleep(Duration::from_secs(120)).await;
    let before = broken.state().fetches;
    for _ in 0..300 {
        sleep(Duration::from_secs(10)).await;
        assert!(live.health().failing_since.is_some(), "a renewal of the other is no recovery");
    }
    let tries = broken.state().fetches - before;
    assert!((3..40).contains(&tries), "{tries} tries in an hour");
    assert!(busy.accepts(text(&live.current().unwrap(), "b", "value")));
    broken.state().down = false;
    sleep(Duration::from_secs(901)).await;
    assert_eq!(live.health().failing_since, None);
}
