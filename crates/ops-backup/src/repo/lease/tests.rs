//! Who may begin, who may commit, and when a job counts as dead.

use object_store::ObjectStoreExt as _;

use super::*;
use crate::repo::fake::{SOURCE, another, backup, repository};
use crate::repo::log::Host;
use crate::repo::object_path;

fn none(_: &State) -> Vec<String> {
    Vec::new()
}

/// Writes the record of a job as another machine would have done.
async fn begun_elsewhere(repository: &Repository, id: &str, change: impl Fn(&mut Host)) {
    let mut host = Host::this();
    change(&mut host);
    repository.append_by(&host, |_| Ok(Some(begin_event(id)))).await.map(drop).unwrap();
}

fn begin_event(id: &str) -> Event {
    Event::Begin { backup: id.to_owned(), source: SOURCE.to_owned(), bases: Vec::new() }
}

#[tokio::test]
async fn one_job_of_a_source_runs_at_a_time() {
    let repository = repository().await;
    let other = another(&repository).await;
    let lease = repository.begin("a", SOURCE, none, false).await.unwrap();
    let refused = other.begin("b", SOURCE, none, false).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Busy, "{refused}");
    assert!(refused.to_string().contains("backup a of tree/x is running"), "{refused}");
    let elsewhere = other.begin("c", "tree/y", none, false).await.unwrap();
    let beside = other.begin("d", SOURCE, none, true).await.unwrap();
    assert_eq!(other.begin("a", SOURCE, none, true).await.unwrap_err().kind(), ErrorKind::Conflict);
    lease.commit(backup("a")).await.unwrap();
    beside.abandon("enough").await.unwrap();
    let _running =
        other.begin("e", SOURCE, |state| state.backups.keys().cloned().collect(), false).await.unwrap();
    drop(elsewhere);
    let missing = other.begin("f", "tree/z", |_| vec!["nobody".to_owned()], false).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_job_that_was_given_up_cannot_commit() {
    let repository = repository().await;
    let other = another(&repository).await;
    let lease = repository.begin("a", SOURCE, none, false).await.unwrap();
    other.abandon("a", "silence").await.unwrap();
    let error = lease.commit(backup("a")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Abandoned);
    assert!(error.to_string().contains("silence"), "{error}");
    let state = other.state().await.unwrap();
    assert!(state.backups.is_empty() && state.abandoned.contains_key("a"));
    assert_eq!(other.begin("a", SOURCE, none, false).await.unwrap_err().kind(), ErrorKind::Conflict);
}

#[tokio::test]
async fn what_has_committed_cannot_be_abandoned() {
    let repository = repository().await;
    repository.begin("a", SOURCE, none, false).await.unwrap().commit(backup("a")).await.unwrap();
    repository.abandon("a", "late").await.unwrap();
    assert!(repository.state().await.unwrap().backups.contains_key("a"));
}

#[tokio::test]
async fn a_dropped_lease_abandons_its_job_and_heartbeats_do_not_stay() {
    let repository = repository().await;
    drop(repository.begin("a", SOURCE, none, false).await.unwrap());
    while repository.state().await.unwrap().abandoned.is_empty() {
        tokio::task::yield_now().await;
    }
    let lease = repository.begin("b", SOURCE, none, false).await.unwrap();
    while repository.last_heartbeat("b").await.unwrap().is_none() {
        tokio::task::yield_now().await;
    }
    lease.commit(backup("b")).await.unwrap();
    assert_eq!(repository.last_heartbeat("b").await.unwrap(), None);
}

#[tokio::test]
async fn the_newest_heartbeat_counts_and_older_ones_go() {
    let repository = repository().await;
    for number in 0..5 {
        repository.heartbeat("a", number).await.unwrap();
    }
    let at = repository.last_heartbeat("a").await.unwrap().unwrap();
    let head = repository.store().head(&object_path("leases/a/00000000000000000004")).await.unwrap();
    assert_eq!(at, beat::stored_at(&head));
    assert!(!repository.exists(&object_path("leases/a/00000000000000000003")).await.unwrap());
    assert!(repository.store_clock().await.unwrap() >= at);
}

#[tokio::test]
async fn only_a_dead_job_makes_way() {
    let repository = repository().await;
    let far = |host: &mut Host| {
        host.name = "far".to_owned();
        host.boot = "another machine".to_owned();
    };
    begun_elsewhere(&repository, "far", far).await;
    let busy = repository.begin("a", SOURCE, none, false).await.unwrap_err();
    assert_eq!(busy.kind(), ErrorKind::Busy);
    assert_eq!(repository.abandon_dead().await.unwrap(), Vec::<String>::new());
    repository.abandon("far", "test").await.unwrap();

    begun_elsewhere(&repository, "killed", |host| host.started += 1).await;
    let lease = repository.begin("b", SOURCE, none, false).await.unwrap();
    let state = repository.state().await.unwrap();
    let (_, reason) = state.abandoned["killed"].abandoned.clone().unwrap();
    assert_eq!(reason, "its process is gone");
    lease.abandon("test").await.unwrap();

    begun_elsewhere(&repository, "also killed", |host| host.started += 1).await;
    assert_eq!(repository.abandon_dead().await.unwrap(), ["also killed"]);
}
