//! Temporary.
#![allow(missing_docs, clippy::all)]
use ops_backup::*;
use ops_core::connection::ConnectionSettings;
use std::path::Path;
#[tokio::main]
async fn main() {
    let a: Vec<String> = std::env::args().collect();
    let store = location::open(&a[2], &location::LocationOptions::default()).unwrap();
    let t = std::time::Instant::now();
    match a[1].as_str() {
        "push" => {
            let repo = Repository::open_or_create(store).await.unwrap();
            let p = Path::new(&a[3]);
            let c = wal::cluster_of_segment(p).unwrap();
            wal::push(&repo, &c, p).await.unwrap();
            return;
        }
        "fetch" => {
            let repo = Repository::open(store).await.unwrap();
            let c = postgres::control::ControlFile::read(Path::new(".")).unwrap().cluster;
            match wal::fetch(&repo, &c, &a[3], Path::new(&a[4])).await.unwrap() {
                wal::Fetched::Written => {}
                wal::Fetched::Absent => std::process::exit(1),
            }
            return;
        }
        "backup" => {
            let repo = Repository::open_or_create(store).await.unwrap();
            let b = backup(
                &repo,
                &ConnectionSettings::parse(&a[3]).unwrap(),
                &BackupOptions { workers: 2, ..Default::default() },
                &Monitor::default(),
            )
            .await
            .unwrap();
            println!("files {} raw {} stored {}", b.files, b.raw_bytes, b.stored_bytes);
        }
        "restore" => {
            let repo = Repository::open(store).await.unwrap();
            let plan = restore::plan(
                &repo,
                RestoreTarget::check(Path::new(&a[3])).unwrap(),
                RestoreOptions { workers: 2, ..Default::default() },
            )
            .await
            .unwrap();
            println!("plan {:?}", t.elapsed());
            restore::apply(&repo, plan, &Monitor::default()).await.unwrap();
        }
        _ => {
            let repo = Repository::open(store).await.unwrap();
            let r = verify(&repo, &VerifyOptions::default(), &Monitor::default()).await.unwrap();
            println!("{r:?}");
        }
    }
    println!("{} {:?}", a[1], t.elapsed());
}
