//! Keys come and go, and the way in is never lost.

use std::sync::Arc;

use object_store::ObjectStoreExt as _;
use object_store::memory::InMemory;
use secrecy::SecretString;

use super::*;

fn raw(byte: u8) -> Key {
    let mut key = [byte; 32];
    key[0] = 0;
    Key::Raw(Zeroizing::new(key))
}

fn passphrase(text: &str) -> Key {
    Key::passphrase(SecretString::from(text)).unwrap()
}

async fn open(memory: &Arc<InMemory>, key: &Key) -> Result<Repository> {
    Repository::open(Arc::clone(memory) as _, Some(key)).await
}

async fn encrypted() -> (Arc<InMemory>, Repository) {
    let memory = Arc::new(InMemory::new());
    let repository = Repository::open_or_create(Arc::clone(&memory) as _, Some(&raw(1))).await.unwrap();
    (memory, repository)
}

#[tokio::test]
async fn keys_are_changed_without_losing_the_way_in() {
    let (memory, repository) = encrypted().await;
    let new = passphrase("correct horse");
    let id = repository.add_key(&new).await.unwrap();
    assert_eq!(repository.add_key(&new).await.unwrap(), id, "adding twice is adding once");
    let keys = repository.keys().await.unwrap();
    let shown: Vec<_> = keys.iter().map(|key| (key.kind, key.in_use)).collect();
    assert_eq!(shown, [(KeyKind::Raw, true), (KeyKind::Passphrase, false)]);

    let old = keys[0].id.clone();
    let error = repository.remove_key(&old).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    for missing in ["0123456789abcdef", "../repository", ""] {
        assert_eq!(repository.remove_key(missing).await.unwrap_err().kind(), ErrorKind::NotFound);
    }
    let other = open(&memory, &new).await.unwrap();
    other
        .append(|_| Ok(Some(Event::Abandon { backup: "x".to_owned(), reason: String::new() })))
        .await
        .unwrap();
    other.remove_key(&old).await.unwrap();
    assert_eq!(open(&memory, &raw(1)).await.unwrap_err().kind(), ErrorKind::WrongKey);
    let again = open(&memory, &new).await.unwrap();
    assert_eq!(again.state().await.unwrap().sequence, 2, "what was written before can be read");
    assert_eq!(again.keys().await.unwrap().len(), 1);
}

#[tokio::test]
async fn two_hosts_cannot_remove_each_others_key() {
    let (memory, first) = encrypted().await;
    first.add_key(&raw(2)).await.unwrap();
    let second = open(&memory, &raw(2)).await.unwrap();
    let ids: Vec<String> = first.keys().await.unwrap().into_iter().map(|key| key.id).collect();
    let (of_first, of_second) =
        if first.opened_with.as_deref() == Some(&ids[0]) { (&ids[0], &ids[1]) } else { (&ids[1], &ids[0]) };
    // The first host stops after its record.
    first.append(|_| Ok(Some(Event::RemoveKey { key: of_second.clone() }))).await.unwrap();
    let error = second.remove_key(of_first).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongKey, "{error}");
    assert_eq!(first.keys().await.unwrap().len(), 1);
    first.remove_key(of_second).await.unwrap();
    assert!(open(&memory, &raw(1)).await.is_ok());
    assert!(open(&memory, &raw(2)).await.is_err());
}

#[tokio::test]
async fn a_damaged_key_object_is_no_matter_while_another_opens() {
    let (memory, repository) = encrypted().await;
    let id = repository.add_key(&raw(2)).await.unwrap();
    memory.put(&path(&id), Bytes::from_static(b"{\"version\":2}").into()).await.unwrap();
    memory.put(&path("00"), Bytes::from_static(b"{\"version\":3}").into()).await.unwrap();
    memory.put(&object_path("keys/planted.json"), Bytes::from(vec![b' '; 1 << 20]).into()).await.unwrap();
    let repository = open(&memory, &raw(1)).await.unwrap();
    let (count, damaged) = repository.check_keys().await.unwrap();
    assert_eq!((count, damaged.len()), (4, 3));
    assert_eq!(open(&memory, &raw(2)).await.unwrap_err().kind(), ErrorKind::Unsupported);
    memory.delete(&path("00")).await.unwrap();
    let error = open(&memory, &raw(2)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongKey);
    assert!(error.to_string().contains("2 of its key objects cannot be read"), "{error}");
    let mine = repository.opened_with.clone().unwrap();
    memory.put(&path(&mine), Bytes::from_static(b"").into()).await.unwrap();
    assert_eq!(open(&memory, &raw(1)).await.unwrap_err().kind(), ErrorKind::Corrupt);
    memory.put(&path(&mine), Bytes::from_static(b"{\"version\":3}").into()).await.unwrap();
    assert_eq!(open(&memory, &raw(1)).await.unwrap_err().kind(), ErrorKind::Unsupported);
}

#[tokio::test]
async fn a_key_belongs_to_an_encrypted_repository_and_is_never_empty() {
    let memory = Arc::new(InMemory::new());
    let plain = Repository::open_or_create(Arc::clone(&memory) as _, None).await.unwrap();
    assert_eq!(plain.add_key(&raw(1)).await.unwrap_err().kind(), ErrorKind::Configuration);
    assert_eq!(plain.remove_key("0123456789abcdef").await.unwrap_err().kind(), ErrorKind::Configuration);
    assert!(plain.keys().await.unwrap().is_empty());
    let empty = Key::Passphrase(SecretString::from(" "));
    let error = Repository::open_or_create(Arc::new(InMemory::new()), Some(&empty)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
}
