//! Azure Blob Storage, as far as Azurite, Microsoft's emulator of it, goes.

use std::sync::Arc;

use object_store::ObjectStore;
use ops_backup::location::{self, AzureCredentials, AzureOptions, LocationOptions};
use ops_backup::wal::{self, Fetched, Pushed};
use ops_backup::{ErrorKind, Repository};
use ops_testkit::Azure;

use crate::store::keeps_its_contract;
use crate::wal::{cluster, raw_key, segment, write};

fn open(azure: &Azure, location: &str, key: &str) -> Arc<dyn ObjectStore> {
    let mut options = LocationOptions::default();
    options.azure = AzureOptions {
        account: azure.account().to_owned(),
        credentials: Some(AzureCredentials::AccessKey(key.into())),
        endpoint: Some(azure.endpoint()),
        allow_http: true,
    };
    location::open(location, &options).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn azurite_keeps_the_contract_and_holds_a_repository() {
    let azure = ops_testkit::or_skip!(Azure::start());
    let location = format!("az://{}/team/shop", azure.container());
    let store = open(&azure, &location, azure.key());
    keeps_its_contract(&store, "contract").await;

    let error = Repository::open(Arc::clone(&store), None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotARepository);
    let key = raw_key();
    let repository = Repository::open_or_create(Arc::clone(&store), Some(&key)).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let name = "000000010000000000000003";
    let bytes = segment(3, 7, 1, 1);
    let path = write(directory.path(), name, &bytes);
    assert_eq!(wal::push(&repository, &cluster(7), &path).await.unwrap(), Pushed::Stored);
    assert_eq!(wal::push(&repository, &cluster(7), &path).await.unwrap(), Pushed::AlreadyThere);
    let out = directory.path().join("out");
    let again = Repository::open_or_create(store, Some(&key)).await.unwrap();
    assert_eq!(wal::fetch(&again, &cluster(7), name, &out).await.unwrap(), Fetched::Written);
    assert_eq!(std::fs::read(out).unwrap(), bytes);
    let absent = directory.path().join("absent");
    let fetched = wal::fetch(&again, &cluster(7), "000000010000000000000009", &absent).await.unwrap();
    assert_eq!(fetched, Fetched::Absent);

    // A refusal is final, and no matter of patience.
    let wrong = open(&azure, &location, "d3Jvbmc=");
    let error = Repository::open(wrong, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
}
