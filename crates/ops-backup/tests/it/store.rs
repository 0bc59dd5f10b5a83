//! What the repository relies on, asked of every kind of store, with and without what stands in front of it.

use std::num::NonZeroU64;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions};
use ops_backup::location::{self, LocationOptions};

use crate::faulty::{Fault, FaultyStore};

/// Everything that a repository expects of its store. `place` is empty, and empty again afterwards.
pub(crate) async fn keeps_its_contract(store: &Arc<dyn ObjectStore>, place: &str) {
    let path = |name: &str| Path::from(format!("{place}/{name}"));
    let create = async |path: &Path, bytes: Bytes| {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        store.put_opts(path, bytes.into(), options).await.map(drop)
    };
    let refused = |result: Result<(), Error>| {
        assert!(
            matches!(result, Err(Error::AlreadyExists { .. } | Error::Precondition { .. })),
            "{result:?}"
        );
    };

    // Created once, read back whole and in parts.
    let name = path("packs/20261121T115652Z-0badcafe/00ff");
    let bytes = Bytes::from((0..300_000_u32).map(|at| (at * 7 / 3) as u8).collect::<Vec<_>>());
    create(&name, bytes.clone()).await.unwrap();
    refused(create(&name, bytes.clone()).await);
    refused(create(&name, "other".into()).await);
    assert_eq!(store.get(&name).await.unwrap().bytes().await.unwrap(), bytes);
    for range in [0..1, 5..100_000, 299_999..300_000] {
        let part = store.get_range(&name, range.clone()).await.unwrap();
        assert_eq!(part, bytes.slice(range.start as usize..range.end as usize));
    }
    assert_eq!(store.get_range(&name, 299_990..300_010).await.unwrap().len(), 10, "clipped at the end");
    assert_eq!(store.head(&name).await.unwrap().size, 300_000);
    create(&path("empty"), Bytes::new()).await.unwrap();
    assert_eq!(store.get(&path("empty")).await.unwrap().bytes().await.unwrap().len(), 0);

    // Absent is an answer of its own.
    let absent = path("log/00000000000000000001");
    assert!(matches!(store.get(&absent).await, Err(Error::NotFound { .. })));
    assert!(matches!(store.head(&absent).await, Err(Error::NotFound { .. })));
    assert!(matches!(store.get_range(&absent, 0..1).await, Err(Error::NotFound { .. })));

    // Of many at once, one wins, and what it wrote is there.
    let writers = (0..8_u8).map(|writer| {
        let (store, absent) = (Arc::clone(store), absent.clone());
        tokio::spawn(async move {
            let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            (writer, store.put_opts(&absent, vec![writer; 10].into(), options).await)
        })
    });
    let mut winners = Vec::new();
    for writer in writers.collect::<Vec<_>>() {
        match writer.await.unwrap() {
            (writer, Ok(_)) => winners.push(writer),
            (_, Err(error)) => refused(Err(error)),
        }
    }
    assert_eq!(winners.len(), 1, "{winners:?}");
    assert_eq!(store.get(&absent).await.unwrap().bytes().await.unwrap(), vec![winners[0]; 10]);

    // Listed below a prefix, and gone once deleted.
    let listed = async |prefix: &str| {
        let listed = store.list(Some(&path(prefix))).map_ok(|object| object.location.to_string());
        let mut listed: Vec<String> = listed.try_collect().await.unwrap();
        listed.sort();
        listed
    };
    assert_eq!(listed("packs").await, [name.to_string()]);
    let folders = store.list_with_delimiter(Some(&Path::from(place))).await.unwrap();
    assert_eq!(folders.common_prefixes, [path("log"), path("packs")]);
    for gone in [&name, &absent, &path("empty")] {
        store.delete(gone).await.unwrap();
        assert!(matches!(store.head(gone).await, Err(Error::NotFound { .. })));
    }
    assert!(matches!(store.delete(&name).await, Ok(()) | Err(Error::NotFound { .. })));
    assert_eq!(listed("packs").await, Vec::<String>::new());
    create(&name, "again".into()).await.unwrap();
    store.delete(&name).await.unwrap();
}

#[tokio::test]
async fn memory_directory_and_what_stands_in_front_keep_the_contract() {
    let parent = tempfile::tempdir().unwrap();
    let place = parent.path().join("repository");
    let mut options = LocationOptions::default();
    let open = |options: &LocationOptions| location::open(place.to_str().unwrap(), options).unwrap();
    let memory = || Arc::new(InMemory::new()) as Arc<dyn ObjectStore>;
    keeps_its_contract(&memory(), "a").await;
    keeps_its_contract(&open(&options), "a").await;
    options.throttle.upload = NonZeroU64::new(50_000_000);
    options.throttle.download = NonZeroU64::new(50_000_000);
    keeps_its_contract(&open(&options), "b").await;
    let harmless: Arc<dyn ObjectStore> = FaultyStore::new(memory(), Fault::Fail, usize::MAX);
    keeps_its_contract(&harmless, "c").await;
    assert_eq!(std::fs::read_dir(&place).unwrap().count(), 0, "empty folders are left");
}
