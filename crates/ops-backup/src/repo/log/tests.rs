//! Several writers of one log, lost answers, damaged and missing records.

use std::sync::Arc;

use bytes::Bytes;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt as _};

use super::*;
use crate::error::ErrorKind;
use crate::repo::fake::{self, Fault, FaultyStore};
use crate::repo::object_path;

fn begin(id: &str) -> Event {
    Event::Begin { backup: id.to_owned(), source: "tree/x".to_owned(), bases: Vec::new() }
}

async fn append(repository: &Repository, event: Event) -> State {
    repository.append(|_| Ok(Some(event.clone()))).await.unwrap()
}

async fn site() -> (Arc<InMemory>, Repository) {
    let memory = Arc::new(InMemory::new());
    let repository = Repository::open_or_create(Arc::clone(&memory) as _, None).await.unwrap();
    (memory, repository)
}

/// The same repository as a process that has just started sees it.
async fn fresh(memory: &Arc<InMemory>) -> Repository {
    fake::through(Arc::clone(memory) as _).await
}

async fn overwrite(memory: &InMemory, path: &Path) {
    memory.put(path, Bytes::from_static(b"damaged").into()).await.unwrap();
}

fn running(state: &State) -> Vec<&str> {
    state.running.keys().map(String::as_str).collect()
}

#[tokio::test]
async fn two_writers_agree_on_one_order_and_decide_again() {
    let (memory, first) = site().await;
    let second = fresh(&memory).await;
    append(&first, begin("a")).await;
    second
        .append(|state| {
            assert!(state.running.contains_key("a"));
            Ok(Some(begin("b")))
        })
        .await
        .unwrap();
    let mut seen = Vec::new();
    first
        .append(|state| {
            seen.push(state.sequence);
            Ok(None)
        })
        .await
        .unwrap();
    assert_eq!(seen, [2]);
    assert_eq!(running(&second.state().await.unwrap()), ["a", "b"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_writers_at_once_lose_nothing_and_write_nothing_twice() {
    let (memory, repository) = site().await;
    let writers = (0..8).map(|writer| {
        let memory = Arc::clone(&memory);
        tokio::spawn(async move {
            let repository = fresh(&memory).await;
            for number in 0..20 {
                append(&repository, begin(&format!("{writer}-{number}"))).await;
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let state = repository.state().await.unwrap();
    assert_eq!((state.sequence, state.running.len()), (160, 160));
    let audit = repository.audit_log().await.unwrap();
    assert_eq!(audit.records, 160);
    assert!(audit.damaged.is_empty() && audit.snapshots.is_empty(), "{audit:?}");
}

#[tokio::test(start_paused = true)]
async fn a_record_is_there_once_whatever_becomes_of_the_answer() {
    let (mut failed, mut succeeded) = (0, 0);
    for fault in [Fault::Fail, Fault::Break, Fault::LoseAnswer] {
        for at in 0.. {
            let (memory, sound) = site().await;
            append(&sound, begin("before")).await;
            let faulty = FaultyStore::new(&memory, fault, at);
            let result = match Repository::open(Arc::clone(&faulty) as Arc<dyn ObjectStore>, None).await {
                Ok(repository) => {
                    let mut calls = 0;
                    let event = |state: &State| {
                        calls += 1;
                        assert!(calls < 3, "{fault:?} at {at}: decides again without end");
                        Ok((!state.running.contains_key("a")).then(|| begin("a")))
                    };
                    repository.append(event).await.map(drop)
                }
                Err(error) => Err(error),
            };
            let state = sound.state().await.unwrap();
            if result.is_ok() {
                assert_eq!(running(&state), ["a", "before"], "{fault:?} at {at}: acknowledged and lost");
                succeeded += 1;
            } else {
                failed += 1;
            }
            assert_eq!(
                state.sequence,
                1 + u64::from(state.running.contains_key("a")),
                "{fault:?} at {at}: twice"
            );
            if faulty.operations() <= at {
                break;
            }
        }
    }
    assert!(failed > 0 && succeeded > 10, "{failed} {succeeded}");
}

#[tokio::test]
async fn thousands_of_records_are_read_from_the_newest_snapshot() {
    let (memory, repository) = site().await;
    for number in 0..2000 {
        append(&repository, begin(&format!("{number:04}"))).await;
    }
    let counting = FaultyStore::new(&memory, Fault::Fail, usize::MAX);
    let reader = fake::through(Arc::clone(&counting) as _).await;
    let state = reader.state().await.unwrap();
    assert_eq!((state.sequence, state.running.len()), (2000, 2000));
    assert!(counting.operations() < 50, "{} requests", counting.operations());
    let before = counting.operations();
    reader.state().await.unwrap();
    assert_eq!(counting.operations() - before, 1, "one request tells that nothing is new");

    // Without the snapshots, or with a list that misses them, it is only slower.
    overwrite(&memory, &object_path("log/snapshots/00000000000000001984")).await;
    assert_eq!(fresh(&memory).await.state().await.unwrap().running.len(), 2000);
    let forgetful = FaultyStore::new(&memory, Fault::Forget, 0);
    for _ in 0..5 {
        let reader = fake::through(Arc::clone(&forgetful) as _).await;
        assert_eq!(reader.state().await.unwrap().running.len(), 2000);
    }
    let audit = repository.audit_log().await.unwrap();
    assert_eq!(audit.snapshots.keys().collect::<Vec<_>>(), [&1984]);
    assert!(audit.damaged.is_empty());
}

#[tokio::test]
async fn one_damaged_or_missing_record_loses_nothing() {
    for missing in [false, true] {
        let (memory, repository) = site().await;
        for id in ["a", "b", "c", "d"] {
            append(&repository, begin(id)).await;
        }
        for sequence in 1..=3 {
            let memory = Arc::new(memory.fork());
            if missing {
                memory.delete(&path(sequence)).await.unwrap();
            } else {
                overwrite(&memory, &path(sequence)).await;
            }
            let reader = fresh(&memory).await;
            let state = reader.state().await.unwrap();
            assert_eq!(running(&state), ["a", "b", "c", "d"], "record {sequence}");
            assert!(state.damaged.is_empty());
            assert_eq!(state.recovered.keys().collect::<Vec<_>>(), [&sequence]);
            let audit = reader.audit_log().await.unwrap();
            assert_eq!((audit.records, audit.damaged.keys().collect::<Vec<_>>()), (4, vec![&sequence]));
            assert_eq!(append(&reader, begin("e")).await.sequence, 5, "it can still be written");
        }
    }
}

#[tokio::test]
async fn what_cannot_be_made_good_is_told_and_stops_only_what_removes() {
    let (memory, repository) = site().await;
    for id in ["a", "b", "c", "d"] {
        append(&repository, begin(id)).await;
    }
    overwrite(&memory, &path(2)).await;
    overwrite(&memory, &path(3)).await;
    let reader = fresh(&memory).await;
    let state = reader.state().await.unwrap();
    assert_eq!(running(&state), ["a", "c", "d"], "the fourth repeats the third");
    assert_eq!(state.damaged.keys().collect::<Vec<_>>(), [&2]);
    let error = state.refuse_damage("expire anything").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(
        error.to_string().starts_with("cannot expire anything: record 2 of the log cannot be read"),
        "{error}"
    );
    // No snapshot is made of it, which would hide the damage.
    for number in 5..=64 {
        append(&reader, begin(&format!("n{number}"))).await;
    }
    assert!(reader.snapshots().await.unwrap().is_empty());

    // The newest record is not repeated yet.
    overwrite(&memory, &path(64)).await;
    let reader = fresh(&memory).await;
    assert_eq!(reader.state().await.unwrap().damaged.keys().collect::<Vec<_>>(), [&2, &64]);
}

#[tokio::test]
async fn a_commit_needs_every_record_since_its_begin() {
    for damaged in [vec![3], vec![2, 3]] {
        let (memory, repository) = site().await;
        append(&repository, begin("x")).await;
        let lease = repository.begin("a", fake::SOURCE, |_| Vec::new(), true).await.unwrap();
        append(&fresh(&memory).await, begin("y")).await;
        for sequence in &damaged {
            overwrite(&memory, &path(*sequence)).await;
        }
        // The record that cannot be read may have abandoned the job.
        let error = lease.commit(fake::backup("a")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains("cannot commit backup a: record 3 of the log"), "{error}");
        let fresh = fresh(&memory).await;
        assert!(fresh.state().await.unwrap().backups.is_empty());
        let next = fresh.begin("b", fake::SOURCE, |_| Vec::new(), true).await.unwrap();
        assert!(
            next.commit(fake::backup("b")).await.is_ok(),
            "a job that begins after the damage can commit"
        );
    }
}

#[tokio::test]
async fn a_backup_whose_begin_is_lost_is_still_a_backup() {
    let (memory, repository) = site().await;
    fake::commit(&repository, fake::backup("a"), 1, &[]).await;
    // Both the record and the one that repeats it: only the commit of a later backup is left to read.
    overwrite(&memory, &path(1)).await;
    let (first, second) = (path(1), path(2));
    let commit = memory.get(&second).await.unwrap().bytes().await.unwrap();
    let record = repository.secrets().unseal(Kind::Record, second.as_ref(), &commit).unwrap();
    let mut record = Record::decode(second.as_ref(), &record).unwrap();
    record.previous = None;
    let object = repository
        .secrets()
        .seal(Kind::Record, second.as_ref(), &record.encode(), Compression::default())
        .unwrap();
    memory.put(&second, object.into()).await.unwrap();
    let state = fresh(&memory).await.state().await.unwrap();
    assert_eq!(state.backups["a"].source, "tree/x");
    assert_eq!(state.damaged.keys().collect::<Vec<_>>(), [&1], "{first}");
}

#[tokio::test]
async fn a_backup_whose_commit_is_lost_is_found_by_its_manifest() {
    let (memory, repository) = site().await;
    fake::commit(&repository, fake::backup("a"), 3, &[]).await;
    let error = repository.backup("b").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    overwrite(&memory, &path(2)).await;
    let reader = fresh(&memory).await;
    assert!(reader.backups().await.unwrap().is_empty());
    let backup = reader.backup("a").await.unwrap();
    assert_eq!((backup.id.as_str(), backup.source.key().as_str(), backup.stored_bytes), ("a", "tree/x", 30));
    assert_eq!(reader.backup("b").await.unwrap_err().kind(), ErrorKind::NotFound);
    // What is known to have expired does not come back.
    let (memory, repository) = site().await;
    fake::commit(&repository, fake::backup("a"), 1, &[]).await;
    let expired = Expired { backup: "a".to_owned(), reason: String::new() };
    append(&repository, Event::Expire { backups: vec![expired] }).await;
    append(&repository, begin("b")).await;
    overwrite(&memory, &path(4)).await;
    assert_eq!(fresh(&memory).await.backup("a").await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_record_of_a_newer_program_is_not_guessed_at() {
    let (memory, repository) = site().await;
    append(&repository, begin("a")).await;
    let place = path(2);
    let known = Record::new(2, Timestamp::now(), Host::this(), begin("b"), None).encode();
    let change = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut record = serde_json::from_slice(&known).unwrap();
        change(&mut record);
        serde_json::to_vec(&record).unwrap()
    };
    let redis = |record: &mut serde_json::Value| {
        record["event"] = "commit".into();
        record["backup"] = serde_json::json!({"id": "b", "source": {"engine": "redis"}});
    };
    let rows = [
        (br#"{"version":3,"sequence":2,"what":"is this"}"#.to_vec(), Some("has version 3")),
        (change(&|record| record["version"] = 3.into()), Some("has version 3")),
        (change(&|record| record["event"] = "thaw".into()), Some("the unknown event \"thaw\"")),
        (change(&redis), Some("the unknown engine \"redis\"")),
        (change(&|record| record["colour"] = "blue".into()), None),
    ];
    for (json, expected) in rows {
        let object =
            repository.secrets().seal(Kind::Record, place.as_ref(), &json, Compression::default()).unwrap();
        memory.put(&place, object.into()).await.unwrap();
        match (fresh(&memory).await.state().await, expected) {
            (Ok(state), None) => assert_eq!(running(&state), ["a", "b"], "an unknown field is ignored"),
            (Ok(_), Some(expected)) => panic!("{expected}: it was guessed at"),
            (Err(error), expected) => {
                assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
                let text = error.to_string();
                assert!(text.contains(place.as_ref()) && text.contains(expected.unwrap()), "{text}");
            }
        }
    }
}

#[tokio::test]
async fn records_that_break_a_rule_change_nothing() {
    let (_, repository) = site().await;
    append(&repository, begin("a")).await;
    let again =
        Event::Begin { backup: "a".to_owned(), source: "tree/y".to_owned(), bases: vec!["x".to_owned()] };
    assert_eq!(append(&repository, again).await.running["a"].source, "tree/x");
    let commit = |id: &str| Event::Commit { backup: Box::new(fake::backup(id)) };
    assert!(append(&repository, commit("nobody")).await.backups.is_empty());
    append(&repository, Event::Abandon { backup: "a".to_owned(), reason: String::new() }).await;
    let state = append(&repository, commit("a")).await;
    assert!(state.backups.is_empty() && state.abandoned.contains_key("a"));
}
