use std::sync::Arc;

use object_store::memory::InMemory;

use super::*;

async fn repository() -> Repository {
    Repository::open_or_create(Arc::new(InMemory::new()), None).await.unwrap()
}

fn begin(id: &str) -> Event {
    Event::Begin { backup: id.to_owned(), source: "tree/x".to_owned(), bases: Vec::new() }
}

#[tokio::test]
async fn two_writers_agree_on_one_order_and_decide_again() {
    let first = repository().await;
    let second = Repository::open(Arc::clone(&first.store), None).await.unwrap();
    first.append(|_| Ok(Some(begin("a")))).await.unwrap();
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
    let state = second.state().await.unwrap();
    assert_eq!(state.running.keys().collect::<Vec<_>>(), ["a", "b"]);
}
